"""Writes the JSON Schema of every message of the wire to headgate/wire/schemas; a test says when that is due."""

import json
from pathlib import Path

from headgate.wire.codec import MESSAGES, schema

FOLDER = Path(__file__).resolve().parents[1] / "headgate" / "wire" / "schemas"


def rendered(name: str) -> str:
    """The schema of one message as its file should be."""
    return json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in MESSAGES:
        (FOLDER / f"{name}.json").write_text(rendered(name))


if __name__ == "__main__":
    main()
