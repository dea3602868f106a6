"""Counters of pairs that add up: over time, over restarts of the observer, over routers.

A `Tally` only ever grows. What is unbounded in the world (labels, directions) is bounded here by who came first,
because a counter that went away to make room for another would go back.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from headgate.histogram import BUCKETS, bucket_of
from headgate.wire.telemetry import ShadowCounters, SliceCounters
from router.core.compare import RowChange
from router.core.join import Outcome

CLASSES_MAX: Final = 64
"""How many classes have a slice of their own; pairs of any further one are counted as `class=other`."""

DIRECTIONS_MAX: Final = 256
"""How many directions are told apart; any further one is counted as `other->other`."""

TALLIES_MAX: Final = 64
"""How many (shadow, live) pairs of identities are kept; then the one that was not used for longest goes."""

REPORTED_MAX: Final = 16
"""How many of them fit into one report: those used last."""


class Pairing(NamedTuple):
    """Which shadow is compared with which live version; counters are kept by the identities."""

    shadow: str
    shadow_identity: str
    live: str
    live_identity: str


class Snapshot(msgspec.Struct, frozen=True, rename="camel"):
    """The observer's counters at one instant, as `shadows.json` holds them; cumulative within `boot`."""

    boot: str
    at: float
    rollout: str
    shadows: tuple[ShadowCounters, ...]


@dataclass(slots=True)
class _Slice:
    pairs: int = 0
    disagreements: int = 0


class Tally:
    """The counters of one pairing. The one mutable thing in this core: it is added to some thousand times a second."""

    __slots__ = (
        "_both_failed",
        "_directions",
        "_disagreements",
        "_dropped",
        "_live_failed",
        "_live_latency",
        "_offered",
        "_pairing",
        "_pairs",
        "_shadow_failed",
        "_shadow_latency",
        "_slices",
        "_soft",
    )

    def __init__(self, pairing: Pairing, before: ShadowCounters | None = None) -> None:
        """Empty, or going on from what was counted before a restart."""
        start = before or _empty(pairing)
        self._pairing = pairing
        self._offered = start.offered
        self._pairs = start.pairs
        self._disagreements = start.disagreements
        self._soft = start.soft
        self._both_failed = start.both_failed
        self._shadow_failed = start.shadow_failed
        self._live_failed = start.live_failed
        self._dropped = dict(start.dropped)
        self._slices = {name: _Slice(one.pairs, one.disagreements) for name, one in start.slices.items()}
        self._directions = dict(start.directions)
        self._live_latency = _whole(start.live_latency)
        self._shadow_latency = _whole(start.shadow_latency)

    def add(self, outcome: Outcome, live_s: float, shadow_s: float) -> None:
        """Count one copy that has come to its end; the latencies (seconds) count where both sides answered."""
        self._offered += 1
        match outcome.verdict:
            case "both_failed":
                self._both_failed += 1
            case "shadow_failed":
                self._shadow_failed += 1
            case "live_failed":
                self._live_failed += 1
            case _:
                pass
        if outcome.dropped is not None:
            self.drop(outcome.dropped)
        if outcome.compared is not None:
            self._compared(outcome)
            self._live_latency[bucket_of(live_s)] += 1
            self._shadow_latency[bucket_of(shadow_s)] += 1

    def drop(self, reason: str) -> None:
        """Count a reason alone: of a record that was not kept, or as a part of `add`."""
        self._dropped[reason] = self._dropped.get(reason, 0) + 1

    def counters(self) -> ShadowCounters:
        """Everything counted so far, as it travels."""
        return ShadowCounters(
            **self._pairing._asdict(),
            offered=self._offered,
            pairs=self._pairs,
            disagreements=self._disagreements,
            soft=self._soft,
            both_failed=self._both_failed,
            shadow_failed=self._shadow_failed,
            live_failed=self._live_failed,
            dropped=dict(self._dropped),
            slices={name: SliceCounters(one.pairs, one.disagreements) for name, one in self._slices.items()},
            directions=dict(self._directions),
            live_latency=tuple(self._live_latency),
            shadow_latency=tuple(self._shadow_latency),
        )

    def _compared(self, outcome: Outcome) -> None:
        self._pairs += 1
        self._disagreements += outcome.verdict != "agree"
        self._soft += outcome.verdict == "soft"
        for name, disagrees in _by_class(outcome.compared.rows if outcome.compared else ()).items():
            one = self._slice(f"class={name}")
            one.pairs += 1
            one.disagreements += disagrees
        for direction in _changes(outcome.compared.rows if outcome.compared else ()):
            name = self._bounded(direction)
            self._directions[name] = self._directions.get(name, 0) + 1

    def _slice(self, name: str) -> _Slice:
        found = self._slices.get(name)
        if found is None:
            name = name if len(self._slices) < CLASSES_MAX else "class=other"
            found = self._slices.setdefault(name, _Slice())
        return found

    def _bounded(self, direction: str) -> str:
        if direction in self._directions or len(self._directions) < DIRECTIONS_MAX:
            return direction
        return "other->other"


def merged(one: ShadowCounters, other: ShadowCounters) -> ShadowCounters:
    """The counters of both together (other routers, other boots); they must be of the same identities."""
    return ShadowCounters(
        shadow=one.shadow,
        shadow_identity=one.shadow_identity,
        live=one.live,
        live_identity=one.live_identity,
        offered=one.offered + other.offered,
        pairs=one.pairs + other.pairs,
        disagreements=one.disagreements + other.disagreements,
        soft=one.soft + other.soft,
        both_failed=one.both_failed + other.both_failed,
        shadow_failed=one.shadow_failed + other.shadow_failed,
        live_failed=one.live_failed + other.live_failed,
        self_pairs=one.self_pairs + other.self_pairs,
        self_disagreements=one.self_disagreements + other.self_disagreements,
        dropped=_sum(one.dropped, other.dropped),
        slices=_sum_slices(one.slices, other.slices),
        directions=_sum(one.directions, other.directions),
        live_latency=_sum_histograms(one.live_latency, other.live_latency),
        shadow_latency=_sum_histograms(one.shadow_latency, other.shadow_latency),
    )


def _empty(pairing: Pairing) -> ShadowCounters:
    return ShadowCounters(**pairing._asdict())


def _whole(histogram: tuple[int, ...]) -> list[int]:
    """The histogram with a cell for every bucket."""
    return [*histogram, *[0] * BUCKETS][:BUCKETS]


def _by_class(rows: tuple[RowChange, ...]) -> dict[str, bool]:
    """Each live label of a pair, and whether any row with it disagrees: a batch counts once in each of its classes."""
    found: dict[str, bool] = {}
    for row in rows:
        found[row.live] = found.get(row.live, False) or row.disagrees
    return found


def _changes(rows: tuple[RowChange, ...]) -> set[str]:
    return {row.direction for row in rows if row.disagrees}


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}


def _sum_slices(one: dict[str, SliceCounters], other: dict[str, SliceCounters]) -> dict[str, SliceCounters]:
    none = SliceCounters()
    return {
        name: SliceCounters(
            one.get(name, none).pairs + other.get(name, none).pairs,
            one.get(name, none).disagreements + other.get(name, none).disagreements,
        )
        for name in sorted({*one, *other})
    }


def _sum_histograms(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    longest = max(len(one), len(other))
    padded = [(*counts, *[0] * (longest - len(counts))) for counts in (one, other)]
    return tuple(a + b for a, b in zip(*padded, strict=True))
