"""Finds what observers left on disk and reads it: counters of every pair, records of the kept ones.

A reader must live with a writer that was killed and with a log that goes on growing: a line that cannot be read is
counted and said, never fatal.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from headgate.wire.codec import BYTES_MAX, Malformed, decode_record
from headgate.wire.telemetry import ShadowCounters
from router.agent import planfile
from router.agent.shared import attach
from router.core.channel import RUN_FILES
from router.core.report import Gathered
from router.core.sketch import Snapshot, merged


class Pair(NamedTuple):
    """A shadow against a live version of one rollout; a name that was given to another model is another version."""

    rollout: str
    shadow: str
    live: str
    shadow_identity: str
    live_identity: str


class Wanted(NamedTuple):
    """What the reader asked for; None or empty is everything. `rollout` is a name or NAMESPACE/NAME."""

    rollout: str | None = None
    shadow: str | None = None
    live: str | None = None

    def has(self, pair: Pair) -> bool:
        """Whether this pairing was asked for."""
        is_rollout = self.rollout in (None, pair.rollout, pair.rollout.rpartition("/")[2])
        return is_rollout and self.shadow in (None, pair.shadow) and self.live in (None, pair.live)


@dataclass(slots=True)
class Source:
    """One router's leavings: its record files, oldest first, and its run directory if that is there."""

    files: list[Path]
    run: Path | None


@dataclass(slots=True)
class Read:
    """Everything that was found. `notes` are sentences for the reader; `bad` is what could not be read, by file."""

    counters: dict[Pair, ShadowCounters] = field(default_factory=dict)
    gathered: dict[Pair, Gathered] = field(default_factory=lambda: defaultdict(Gathered))
    lines: int = 0
    files: int = 0
    bad: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    bad_lines: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def pairs(self) -> list[Pair]:
        """Every pairing of which anything is known."""
        return sorted({*self.counters, *self.gathered})


def below(folder: Path) -> list[Source]:
    """Every router's leavings at or below a folder: a state folder, a run directory or a folder of records."""
    runs = {path.parent for path in folder.rglob(RUN_FILES.shadows)}
    if (folder.parent / RUN_FILES.shadows).is_file() and folder.name == RUN_FILES.records:
        runs.add(folder.parent)
    found = [Source(sorted(run.joinpath(RUN_FILES.records).glob("*.jsonl")), run) for run in sorted(runs)]
    taken = {path for source in found for path in source.files}
    rest = sorted(path for path in folder.rglob("*.jsonl") if path not in taken and _is_record_file(path))
    return [*found, *([Source(rest, None)] if rest else [])]


def read(sources: Iterable[Source], wanted: Wanted) -> Read:
    """Everything wanted in all sources together; routers add up."""
    found = Read()
    for source in sources:
        if source.run is not None:
            _counters(source.run, wanted, found)
        for path in source.files:
            _records(path, wanted, found)
    return found


def _is_record_file(path: Path) -> bool:
    """By its name or, where someone renamed it, by its first line."""
    if path.name.startswith("records-"):
        return True
    try:
        with path.open("rb") as file:
            decode_record(file.readline(BYTES_MAX))
    except (OSError, Malformed):
        return False
    return True


def _counters(run: Path, wanted: Wanted, found: Read) -> None:
    path = run / RUN_FILES.shadows
    try:
        snapshot = msgspec.json.decode(path.read_bytes(), type=Snapshot)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        found.notes.append(
            f"{path}: the counters cannot be read ({str(error)[:120]}); only records are left."
        )
        return
    for one in _with_workers(run, snapshot):
        pair = Pair(snapshot.rollout, one.shadow, one.live, one.shadow_identity, one.live_identity)
        if wanted.has(pair):
            before = found.counters.get(pair)
            found.counters[pair] = one if before is None else merged(before, one)


def _with_workers(run: Path, snapshot: Snapshot) -> tuple[ShadowCounters, ...]:
    """The observer's counters with the copies that workers never handed over, where this boot's are still there."""
    try:
        shared, assignment = attach(run), planfile.load(run)
    except (OSError, ValueError, KeyError, planfile.Unreadable):
        return snapshot.shadows
    if assignment is None or shared.boot.boot != snapshot.boot:
        return snapshot.shadows
    return tuple(
        one
        for one in shared.shadows(assignment, snapshot.shadows)
        if one.offered or any(one.dropped.values())
    )


def _records(path: Path, wanted: Wanted, found: Read) -> None:
    found.files += 1
    try:
        for number, line, is_whole in _lines(path):
            _record(path, number, line, is_whole, wanted, found)
    except OSError as error:
        found.notes.append(f"{path}: cannot be read ({error.strerror}).")


def _record(path: Path, number: int, line: bytes, is_whole: bool, wanted: Wanted, found: Read) -> None:
    found.lines += 1
    try:
        record = decode_record(line)
    except Malformed as error:
        found.bad_lines += 1
        why = str(error)[:120] if is_whole else "cut off, as a crash leaves it"
        if len(found.bad[str(path)]) < 3:
            found.bad[str(path)].append(f"line {number}: {why}")
        return
    shadow, live = record.shadow, record.live
    pair = Pair(record.rollout, shadow.version, live.version, shadow.identity, live.identity)
    if wanted.has(pair):
        found.gathered[pair].add(record)


def _lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Each line with its number, and whether it has a line end; what is too long for a record comes in pieces."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(BYTES_MAX):
            number += 1
            if line.strip():
                yield number, line, line.endswith(b"\n")
