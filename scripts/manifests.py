"""Writes what of manifests/ is generated: the CustomResourceDefinitions. A test says when that is due."""

from pathlib import Path
from typing import Any, Final

import yaml

from controller.crd.crds import model_rollouts, rollout_actions

FOLDER: Final = Path(__file__).resolve().parents[1] / "manifests" / "crds"
HEADER: Final = "# Written by `make manifests` from controller/crd; changes belong there.\n"


class _Blocks(yaml.SafeDumper):
    """Aliases of equal parts are not for people."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def rendered() -> dict[str, str]:
    """What each generated file should hold, by name."""
    definitions = (model_rollouts(), rollout_actions())
    return {f"{found['metadata']['name']}.yaml": HEADER + _yaml(found) for found in definitions}


def _yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Blocks, sort_keys=False, allow_unicode=True, width=140)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in rendered().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
