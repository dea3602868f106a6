"""The guard: when a router takes a failing version's share away by itself, and how it remembers that it did.

The rule is `headgate.wire.plan.Guard`; each worker judges it four times a second on the counters of all workers. A
trip binds one `(identity, attempt)`. It is kept in the file `trips` of the run directory, which outlives every
process: `TRIPS_BYTES` bytes, at first all zero, then records that are never changed, only replaced when there are
more than `TRIPS_MAX`. `changes(buffer)` grows with each write, so that looking for news costs one read. Writers
hold a lock on the file; readers need none, because a record's first cell is written last.

Pure: the caller maps the file, and passes the instant.
"""

import struct
from dataclasses import dataclass
from typing import Final

from headgate.wire.plan import Guard
from headgate.wire.telemetry import GuardTrip

TRIPS_MAX: Final = 64
_RECORD: Final = struct.Struct("=QdQQQQQ64s64s")
_HEAD: Final = struct.Struct("=Q")
_USED: Final = 1
TRIPS_BYTES: Final = _HEAD.size + TRIPS_MAX * _RECORD.size
_SAMPLES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests of one version, and how many of them failed: cumulative, or within a window."""

    requests: int = 0
    failed: int = 0

    @property
    def ratio(self) -> float:
        """The failed share, 0 … 1; 0 without requests."""
        return self.failed / self.requests if self.requests else 0.0

    def since(self, before: "Tally") -> "Tally":
        """What was added since; never negative, also if the counters began anew."""
        if self.requests < before.requests or self.failed < before.failed:
            return Tally()
        return Tally(self.requests - before.requests, self.failed - before.failed)


@dataclass(frozen=True, slots=True)
class Window:
    """Cumulative tallies at instants, oldest first, thinned so that any length needs few of them."""

    samples: tuple[tuple[float, Tally], ...] = ()

    def add(self, now: float, tally: Tally, length_s: float) -> "Window":
        """The window with this sample; what lies before the newest sample that is older than `length_s` goes."""
        kept = self.samples
        while len(kept) > 1 and kept[1][0] <= now - length_s:
            kept = kept[1:]
        if kept and now - kept[-1][0] < length_s / _SAMPLES_MAX:
            return Window(kept)
        return Window((*kept, (now, tally)))

    def within(self, tally: Tally) -> Tally:
        """What was added within the window, given the cumulative tally of now."""
        return tally.since(self.samples[0][1]) if self.samples else Tally()


def is_tripped(guard: Guard, version: Tally, stable: Tally, *, stable_can_serve: bool) -> bool:
    """Whether a version with this tally within the window loses its share to stable, whose tally is beside it.

    Never towards a stable without an endpoint: failing requests are better than none.
    """
    if not stable_can_serve or version.failed < guard.at_least:
        return False
    if not stable.requests:
        return version.ratio > guard.alone_error_ratio
    return version.ratio > guard.error_ratio and version.ratio > guard.times * stable.ratio


def changes(buffer: memoryview) -> int:
    """How often the file was written to."""
    return int(_HEAD.unpack_from(buffer)[0])


def read_trips(buffer: memoryview | bytes) -> tuple[GuardTrip, ...]:
    """All trips on record, also of versions that no plan names any more; none in a file that no worker made yet."""
    if len(buffer) < TRIPS_BYTES:
        return ()
    found = (_RECORD.unpack_from(buffer, _HEAD.size + index * _RECORD.size) for index in range(TRIPS_MAX))
    return tuple(_trip(record) for record in found if record[0] == _USED)


def write_trip(buffer: memoryview, trip: GuardTrip) -> bool:
    """Keep a trip, in place of the oldest if there is no room; False if this identity and attempt already has one."""
    records = [_RECORD.unpack_from(buffer, _HEAD.size + index * _RECORD.size) for index in range(TRIPS_MAX)]
    for record in records:
        if record[0] == _USED and (_text(record[7]), record[6]) == (trip.identity, trip.attempt):
            return False
    index = min(range(TRIPS_MAX), key=lambda i: (records[i][0], records[i][1]))
    at = _HEAD.size + index * _RECORD.size
    _HEAD.pack_into(buffer, at, 0)
    counts = (trip.failed, trip.requests, trip.stable_failed, trip.stable_requests, trip.attempt)
    _RECORD.pack_into(buffer, at, 0, trip.at, *counts, trip.identity.encode(), trip.version.encode())
    _HEAD.pack_into(buffer, at, _USED)
    _HEAD.pack_into(buffer, 0, changes(buffer) + 1)
    return True


def _trip(record: tuple[int, float, int, int, int, int, int, bytes, bytes]) -> GuardTrip:
    _, at, failed, requests, stable_failed, stable_requests, attempt, identity, version = record
    return GuardTrip(
        version=_text(version),
        identity=_text(identity),
        attempt=attempt,
        at=at,
        failed=failed,
        requests=requests,
        stable_failed=stable_failed,
        stable_requests=stable_requests,
    )


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode()
