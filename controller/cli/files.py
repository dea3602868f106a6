"""Reads rollouts from files, as `apply`, `up` and `lint` do: every fault with its file and line."""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from controller.cli.failures import Failure
from controller.crd import BASE_DIR, Document, Fault, Parsed, Refused, load_documents, parse
from controller.crd.claims import contested

STDIN: Final = Path("-")

Placed = Callable[[dict[str, Any], Path], dict[str, Any]]
"""What a document of a file in this folder means where it is going to be."""


@dataclass(frozen=True, slots=True)
class Found:
    """One document of a file: what it parsed to, or what is wrong with it."""

    file: Path
    document: Document | None
    parsed: Parsed | Refused

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with it; nothing if it is sound."""
        return self.parsed.faults if isinstance(self.parsed, Refused) else ()

    def line_of(self, fault: Fault) -> int:
        """The line the fault is on, from 1."""
        return self.document.line_of(fault.path) if self.document is not None else 1

    def lines(self) -> list[str]:
        """The faults as `FILE:LINE: field: what (rule)`."""
        return [f"{self.file}:{self.line_of(fault)}: {fault}" for fault in self.faults]


def with_base(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The document with the folder its processes start in, where it names none itself."""
    metadata = content.get("metadata")
    if not isinstance(metadata, dict):
        return content
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, dict) or BASE_DIR in annotations:
        return content
    return {**content, "metadata": {**metadata, "annotations": {**annotations, BASE_DIR: str(folder)}}}


def read(files: Iterable[Path], placed: Placed = with_base) -> list[Found]:
    """Every document of the files, in order; Failure for a file that cannot be read."""
    found = [found for file in files for found in _read(file, placed)]
    sound_ones = [one.parsed.rollout for one in found if isinstance(one.parsed, Parsed)]
    faults: dict[str, tuple[Fault, ...]] = {}
    for key, fault in contested(sound_ones):
        faults[key] = (*faults.get(key, ()), fault)
    return [_refused(one, faults) for one in found]


def _refused(found: Found, faults: Mapping[str, tuple[Fault, ...]]) -> Found:
    """The same, refused where another rollout of the files has what it asks for."""
    if not isinstance(found.parsed, Parsed) or found.parsed.key not in faults:
        return found
    return replace(found, parsed=Refused(faults[found.parsed.key]))


def sound(files: Iterable[Path], placed: Placed = with_base) -> list[Parsed]:
    """Every rollout of the files; Failure, with all that is wrong, unless all are sound."""
    found = read(files, placed)
    faults = [line for one in found for line in one.lines()]
    if faults:
        count = "one thing is" if len(faults) == 1 else f"{len(faults)} things are"
        raise Failure(f"{count} wrong; nothing was changed", "mend the lines named", faults)
    return [one.parsed for one in found if isinstance(one.parsed, Parsed)]


def _read(file: Path, placed: Placed) -> list[Found]:
    documents = load_documents(_text(file))
    if isinstance(documents, Refused):
        return [Found(file, None, documents)]
    folder = Path.cwd() if file == STDIN else file.resolve().parent
    return [Found(file, document, parse(placed(document.content, folder))) for document in documents]


def _text(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}", "check the name after -f") from error
