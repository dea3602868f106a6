"""What the workers wrote into shared memory, read without asking them: who lives, what they run, what they counted."""

import json
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from headgate.wire.plan import RoutePlan
from headgate.wire.telemetry import GuardTrip, ShadowCounters, VersionCounters
from router.core.channel import RUN_FILES, Assignment
from router.core.counters import (
    ABSENT,
    STOPPED,
    WorkerState,
    read_causes,
    read_dropped,
    read_seconds,
    read_version,
    read_workers,
)
from router.core.guard import read_trips
from router.core.match import is_compared
from router.core.sketch import Snapshot
from router.files import read_pin

_SNAPSHOT: Final = msgspec.json.Decoder(Snapshot)


@dataclass(frozen=True, slots=True)
class Boot:
    """One life of the supervisor: its id, and when it began in Unix seconds."""

    boot: str
    started_at: float


@dataclass(frozen=True, slots=True)
class Shared:
    """The run directory of one life, mapped for reading."""

    path: Path
    boot: Boot
    counters: memoryview

    def workers(self) -> tuple[WorkerState, ...]:
        """The workers whose process is there: a stopped process (SIGSTOP) still holds its plan, a dead one does not."""
        return tuple(one for one in read_workers(self.counters) if _is_there(one))

    def all_workers(self) -> tuple[WorkerState, ...]:
        """Also those whose process is gone: what they counted stays."""
        return read_workers(self.counters)

    def causes(self) -> dict[str, int]:
        """How often workers answered or closed by themselves, by why."""
        return read_causes(self.counters)

    def seconds(self, assignment: Assignment) -> dict[str, float]:
        """By identity, how long all answers together took to requests that the split picked the version for."""
        return {
            one.identity: read_seconds(self.counters, assignment.columns[one.identity], one.identity)
            for one in assignment.plan.versions
        }

    def versions(self, assignment: Assignment) -> tuple[VersionCounters, ...]:
        """What all workers counted for each version of the plan, in the plan's order."""
        return tuple(
            read_version(
                self.counters,
                assignment.columns[version.identity],
                version=version.name,
                identity=version.identity,
                attempt=version.attempt,
            )
            for version in assignment.plan.versions
        )

    def shadows(
        self, assignment: Assignment, observed: Sequence[ShadowCounters]
    ) -> tuple[ShadowCounters, ...]:
        """The observer's counters with the copies that workers dropped before it saw them, present pairs first.

        Those count as offered too (but for the ones that were not sampled), so that pairs ÷ offered is the coverage.
        """
        found = {(one.live_identity, one.shadow_identity): one for one in _pairs(assignment.plan)}
        found |= {(one.live_identity, one.shadow_identity): one for one in observed}
        return tuple(self._with_dropped(one, assignment.columns) for one in found.values())

    def pinned(self) -> str | None:
        """The version that a person pinned on this router; None if there is none, or the file cannot be read."""
        return read_pin(self.path, None)

    def trips(self) -> tuple[GuardTrip, ...]:
        """Every guard trip on record, also of versions that no plan names any more."""
        try:
            return read_trips((self.path / RUN_FILES.trips).read_bytes())
        except FileNotFoundError:
            return ()

    def observed(self) -> tuple[ShadowCounters, ...]:
        """What the observer counted, as it last wrote it down; for when it cannot be asked."""
        try:
            kept = _SNAPSHOT.decode((self.path / RUN_FILES.shadows).read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return ()
        return kept.shadows if kept.boot == self.boot.boot else ()

    def _with_dropped(self, one: ShadowCounters, columns: dict[str, int]) -> ShadowCounters:
        live, shadow = columns.get(one.live_identity), columns.get(one.shadow_identity)
        if live is None or shadow is None:
            return one
        more = read_dropped(
            self.counters, live=(live, one.live_identity), shadow=(shadow, one.shadow_identity)
        )
        reasons = sorted({*one.dropped, *more})
        dropped = {reason: one.dropped.get(reason, 0) + more.get(reason, 0) for reason in reasons}
        lost = sum(count for reason, count in more.items() if reason != "sampled_out")
        return msgspec.structs.replace(one, offered=one.offered + lost, dropped=dropped)


def attach(path: Path) -> Shared:
    """Map what the supervisor left in the run directory. OSError or ValueError if it is no run directory."""
    boot = json.loads((path / RUN_FILES.boot).read_bytes())
    with (path / RUN_FILES.counters).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return Shared(path, Boot(boot["boot"], boot["startedAt"]), memoryview(mapped))


def _is_there(worker: WorkerState) -> bool:
    if worker.state in (ABSENT, STOPPED) or not worker.pid:
        return False
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _pairs(plan: RoutePlan) -> Iterator[ShadowCounters]:
    """An empty row for each shadow against each other version it is compared with, so that a drop is never unseen."""
    matched = plan.match.weights() if plan.match is not None else {}
    live_ones = {name for name, weight in plan.weights().items() if weight}
    if is_compared(matched, plan.stable):
        live_ones |= matched.keys()
    for shadow in plan.shadows:
        copy = plan.version(shadow.version)
        for live in plan.versions:
            if copy is not None and live.name in live_ones and live.identity != copy.identity:
                yield ShadowCounters(
                    shadow=copy.name,
                    shadow_identity=copy.identity,
                    live=live.name,
                    live_identity=live.identity,
                )
