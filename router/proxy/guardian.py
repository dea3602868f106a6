"""The guard at work: judges each version on what all workers counted, and keeps trips where all workers see them."""

import fcntl
import mmap
import os
from collections.abc import Mapping
from pathlib import Path

from headgate.wire.plan import PlanVersion, RoutePlan
from headgate.wire.telemetry import GuardTrip
from router.core.counters import read_failures
from router.core.guard import TRIPS_BYTES, Tally, Window, changes, is_tripped, read_trips, write_trip


class TripsFile:
    """The mapped file of trips; it outlives every process of the router."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._fd).st_size < TRIPS_BYTES:
            os.ftruncate(self._fd, TRIPS_BYTES)
        self._view = memoryview(mmap.mmap(self._fd, TRIPS_BYTES))

    def changes(self) -> int:
        """How often it was written to, by any worker."""
        return changes(self._view)

    def in_force(self, plan: RoutePlan) -> frozenset[str]:
        """The versions of the plan whose share is taken away: never stable, never another attempt."""
        tripped = {(trip.identity, trip.attempt) for trip in read_trips(self._view)}
        return frozenset(
            one.name
            for one in plan.versions
            if one.name != plan.stable and (one.identity, one.attempt) in tripped
        )

    def write(self, trip: GuardTrip) -> bool:
        """Keep a trip; False if another worker was first."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            return write_trip(self._view, trip)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)


class Guardian:
    """Looks back over the plan's window, for every version that is not stable."""

    def __init__(self, counters: memoryview) -> None:
        self._counters = counters
        self._windows: dict[tuple[str, int], Window] = {}

    def judge(
        self,
        plan: RoutePlan,
        columns: Mapping[str, int],
        tripped: frozenset[str],
        *,
        now: float,
        at: float,
        stable_can_serve: bool,
    ) -> list[GuardTrip]:
        """The trips that are due. `now` is a monotonic instant, `at` the same in Unix seconds."""
        guard = plan.guard
        if guard is None:
            self._windows.clear()
            return []
        within = {one.name: self._within(one, columns, now, guard.window_ms / 1000) for one in plan.versions}
        self._forget(plan)
        stable = within[plan.stable]
        return [
            _trip(one, within[one.name], stable, at)
            for one in plan.versions
            if one.name != plan.stable
            and one.name not in tripped
            and is_tripped(guard, within[one.name], stable, stable_can_serve=stable_can_serve)
        ]

    def _within(self, version: PlanVersion, columns: Mapping[str, int], now: float, length_s: float) -> Tally:
        total = Tally(*read_failures(self._counters, columns[version.identity], version.identity))
        key = (version.identity, version.attempt)
        window = self._windows.get(key, Window()).add(now, total, length_s)
        self._windows[key] = window
        return window.within(total)

    def _forget(self, plan: RoutePlan) -> None:
        known = {(one.identity, one.attempt) for one in plan.versions}
        for key in self._windows.keys() - known:
            del self._windows[key]


def _trip(version: PlanVersion, tally: Tally, stable: Tally, at: float) -> GuardTrip:
    return GuardTrip(
        version=version.name,
        identity=version.identity,
        attempt=version.attempt,
        at=at,
        failed=tally.failed,
        requests=tally.requests,
        stable_failed=stable.failed,
        stable_requests=stable.requests,
    )
