"""What the judge remembers between two looks: small, in bytes, and nothing that could be counted twice.

The baselines of all counters are part of it, so a restarted controller goes on from where its last record was.
What there are many of are named tuples: they are stored as arrays, without the names of their fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from controller.core.analysis.dispersion import UNKNOWN, Dispersion
from controller.core.analysis.engine import NO_EVIDENCE, NOTHING, Evidence, Tally
from controller.core.analysis.readings import NO_READINGS, Readings

FORMAT: Final = 1
"""Raised when state of an older program can no longer be read; such state is dropped, and that is said."""

CHECKSUM_BYTES: Final = 8

WHOLE: Final = ""
"""The key of a check's own counters, beside those of its slices."""


class Counted(NamedTuple):
    """Cumulative requests and events of the candidate, of stable (`reference_*`), and of stable's first half.

    `lost` are copies that should have been compared and were not.
    """

    requests: int = 0
    events: int = 0
    reference_requests: int = 0
    reference_events: int = 0
    half_requests: int = 0
    half_events: int = 0
    lost: int = 0


class Baseline(NamedTuple):
    """What one router had counted when it was last looked at, by slice: see `Counted`.

    `boot` and `started_at` name its life; `at` is its own clock, `heard_at` ours when `at` last changed.
    """

    boot: str
    started_at: float
    at: float
    heard_at: float
    counted: Mapping[str, Counted]


class Line(NamedTuple):
    """The evidence of a check or of one of its slices, and the block that is still open."""

    evidence: Evidence = NO_EVIDENCE
    block: Tally = NOTHING
    opened_at: float = 0.0
    has_failed: bool = False


class Boundary(NamedTuple):
    """Where a slow request begins, fixed before it is used: more than `BOUNDS_S[bucket]` seconds.

    `ratio`: how much more often than stable a candidate whose whole latency is just tolerated is slower than that.
    `nearness`: stable's share of slower answers over the one the quantile means; 1 is exact.
    """

    bucket: int
    ratio: float
    nearness: float = 1.0


class CheckState(NamedTuple):
    """All that is remembered of one check.

    `asks` says what it asked (metric and limit): another question starts anew. `step` names the step
    that runs and `changes` counts those before it; `samples` and `lost` are of this step since it was `acknowledged`. `upto` is
    how far the samples of a provider were used, Unix seconds, `skew` see `series.Increments`. `skipped` ticks were left out, `said` why the last was.
    `readings` are those of a gauge, which has nothing else.
    """

    asks: str
    lines: Mapping[str, Line]
    baselines: Mapping[str, Baseline]
    dispersion: Dispersion = UNKNOWN
    boundary: Boundary | None = None
    step: str = ""
    acknowledged: bool = False
    changes: int = 0
    samples: Tally = NOTHING
    lost: int = 0
    upto: float | None = None
    skew: float = 0.0
    skipped: int = 0
    said: str = ""
    looked_at: float = 0.0
    readings: Readings = NO_READINGS


@dataclass(frozen=True, slots=True)
class AnalysisState:
    """The evidence of one try of one candidate against one stable; another of any of them starts anew.

    `rivals` holds, by identity, the evidence of who is on trial beside it. `note` is said once in every text until the next candidate: that stored evidence was lost, for example.
    """

    candidate: str = ""
    attempt: int = 0
    stable: str = ""
    checks: Mapping[str, CheckState] = field(default_factory=dict)
    note: str = ""
    rivals: Mapping[str, "AnalysisState"] = field(default_factory=dict)
    format: int = FORMAT


FRESH: Final = AnalysisState()


def encode_state(state: AnalysisState) -> bytes:
    """The state as bytes for the store: MessagePack behind a checksum."""
    packed = msgspec.msgpack.encode(state)
    return _checksum(packed) + packed


def decode_state(stored: bytes) -> AnalysisState:
    """The state in `stored`; nothing stored is a fresh state, and what cannot be trusted is one that says so."""
    if not stored:
        return FRESH
    checksum, packed = stored[:CHECKSUM_BYTES], stored[CHECKSUM_BYTES:]
    if checksum != _checksum(packed):
        return _lost("it is damaged")
    try:
        state = msgspec.msgpack.decode(packed, type=AnalysisState)
    except msgspec.DecodeError:
        return _lost("it is of another release")
    return state if state.format == FORMAT else _lost(f"it has format {state.format}, this program {FORMAT}")


def _checksum(packed: bytes) -> bytes:
    return blake2b(packed, digest_size=CHECKSUM_BYTES).digest()


def _lost(why: str) -> AnalysisState:
    return AnalysisState(note=f"stored evidence was dropped: {why}")
