"""Where a model server's output goes, and that it does not fill the disk."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

BYTES_MAX: Final = 16 * 1024 * 1024
"""A log beyond this is moved to `.1` (one is kept): looked at whenever its process starts, and each minute."""


def log_path(folder: Path, key: str, version: str, number: int = 0) -> Path:
    """`FOLDER/NAMESPACE/NAME/VERSION.log`, and `VERSION.NUMBER.log` for replicas other than 0."""
    return folder.joinpath(*key.split("/"), f"{version}.{number}.log" if number else f"{version}.log")


def bound(path: Path, bytes_max: int = BYTES_MAX) -> None:
    """Move a log that has grown too large aside. Its writer appends, so it goes on at the start of the emptied file."""
    try:
        if path.stat().st_size <= bytes_max:
            return
    except FileNotFoundError:
        return
    shutil.copyfile(path, path.with_suffix(".log.1"))
    with path.open("r+b") as file:
        file.truncate(0)


def say(path: Path, sentence: str) -> None:
    """Write one line of ours into it, made recognisable."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"--- headgate {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}: {sentence}\n")
