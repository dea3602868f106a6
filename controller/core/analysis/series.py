"""What a metric provider counted: increments of cumulative series over common spans of time.

Every increment belongs to a span between two samples and is taken as spread evenly over it, so both versions are cut
at the same instants although they are scraped at different ones. What was used up to an instant is never used again:
nothing can be counted twice, and after a pause the samples fill in what they cover and the rest is left out.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

from controller.core.analysis.engine import Tally
from controller.core.analysis.inputs import Arms, Counts, Missing, Samples, Values

INTERVAL_S: Final = 15.0
"""The scrape interval that is assumed of a series with one sample."""

GRACE_S: Final = 15.0
"""Samples older than two intervals and this are stale."""

BLOCK_MIN_S: Final = 5.0
SPANS_MAX: Final = 120
"""No more blocks are filled in at one look; older ones are left out."""

_EPSILON: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Span:
    """What both versions counted in `since` < t <= `until`, Unix seconds."""

    since: float
    until: float
    counts: Tally


@dataclass(frozen=True, slots=True)
class Increments:
    """New spans, oldest first, `block_s` long; samples are used up to `upto`. `lack` says why nothing is to be had now.

    `skew` is how far the two versions may be apart, as a share of a block: one scrape, although both are cut alike.
    """

    spans: tuple[Span, ...]
    upto: float | None
    block_s: float
    lack: str = ""
    skipped: tuple[str, ...] = ()
    skew: float = 1.0


def increments(
    arms: Arms, upto: float | None, since: float | None, is_absolute: bool, now: float
) -> Increments:
    """What is new after `upto`, or after `since` where nothing was used yet (None: nothing counts yet)."""
    lack, counts = _available(arms, is_absolute)
    if lack or counts is None:
        return Increments((), upto, BLOCK_MIN_S, lack)
    candidate, stable = counts
    interval = _interval_s((candidate, stable))
    newest = [_newest(arm) for arm in ((candidate,) if is_absolute else (candidate, stable))]
    block_s = max(BLOCK_MIN_S, interval)
    lack = untimely(min(newest), max(newest), interval, now)
    start = since if upto is None else upto
    if lack or start is None:
        return Increments((), upto, block_s, lack)
    tick = max(1.0, interval)
    end = math.floor((min(newest) - interval) / tick) * tick
    skipped = []
    if end - start > SPANS_MAX * block_s:
        skipped.append(f"{end - start - SPANS_MAX * block_s:.0f} s before the samples at hand")
        start = end - SPANS_MAX * block_s
    spans = []
    while end > start + _EPSILON:
        until = min(end, start + block_s)
        counted = _tally(candidate, stable, start, until)
        if isinstance(counted, str):
            skipped.append(counted)
        else:
            spans.append(Span(start, until, counted))
        start = until
    return Increments(tuple(spans), start, block_s, "", tuple(skipped), min(interval / block_s, 1.0))


def increase(samples: Samples, since: float, until: float) -> float:
    """How much a counter grew in `since` < t <= `until`; a fall is a reset, after which the value itself is the growth."""
    grown = 0.0
    for (before, low), (after, high) in pairwise(samples):
        overlap = min(until, after) - max(since, before)
        if overlap > 0:
            grown += (high - low if high >= low else high) * min(overlap / (after - before), 1.0)
    return grown


def _available(arms: Arms, is_absolute: bool) -> tuple[str, tuple[Counts, Counts] | None]:
    """Both arms with sound samples only; else what is missing, in words."""
    if not isinstance(arms.candidate, Counts):
        return _why(arms.candidate), None
    if not isinstance(arms.stable, Counts):
        if not is_absolute:
            return f"stable: {_why(arms.stable)}", None
        stable = Counts({}, {})
    else:
        stable = _sound(arms.stable)
    candidate = _sound(arms.candidate)
    if not candidate.total:
        return "`total` matched no series of the candidate with a number in it", None
    if not stable.total and not is_absolute:
        return "`total` matched no series of stable with a number in it", None
    if not candidate.events and not stable.events:
        return (
            "`events` matched no series of either version: is its name right? a counter has to start at 0",
            None,
        )
    return "", (candidate, stable)


def _why(measured: Values | Missing) -> str:
    return measured.why if isinstance(measured, Missing) else "it gave values, and no counters"


def _sound(counts: Counts) -> Counts:
    return Counts(_finite(counts.events), _finite(counts.total), counts.warnings)


def _finite(series: Mapping[str, Samples]) -> dict[str, Samples]:
    """The series without NaN, infinities, negative values and samples that are not after the one before."""
    cleaned = {}
    for labels, samples in series.items():
        kept: list[tuple[float, float]] = []
        for at, value in samples:
            if math.isfinite(at) and math.isfinite(value) and value >= 0 and (not kept or at > kept[-1][0]):
                kept.append((at, value))
        if kept:
            cleaned[labels] = tuple(kept)
    return cleaned


def _interval_s(arms: Iterable[Counts]) -> float:
    """The scrape interval: the usual distance of samples in the series that has most of them."""
    longest = max((samples for arm in arms for samples in arm.total.values()), key=len)
    gaps = [after - before for (before, _), (after, _) in pairwise(longest)]
    return median(gaps) if gaps else INTERVAL_S


def _newest(counts: Counts) -> float:
    """Up to when both counters are known: they may come from two queries, one a little later than the other."""
    return min(
        max((samples[-1][0] for samples in series.values()), default=math.inf)
        for series in (counts.total, counts.events)
    )


def untimely(oldest: float, newest: float, interval: float, now: float) -> str:
    """Why samples of these times (Unix seconds), `interval` seconds apart, say nothing of `now`; "" if they do."""
    bound = 2 * interval + GRACE_S
    if now - oldest > bound:
        return f"the newest sample is {now - oldest:.0f} s old, more than {bound:.0f} s"
    if newest - now > bound:
        return f"the newest sample is from {newest - now:.0f} s in the future: the clocks differ"
    return ""


def _tally(candidate: Counts, stable: Counts, since: float, until: float) -> Tally | str:
    grown = [
        sum(increase(samples, since, until) for samples in series.values())
        for series in (candidate.total, candidate.events, stable.total, stable.events)
    ]
    if not all(map(math.isfinite, grown)):
        return "a counter grew beyond all numbers"
    requests, events, reference_requests, reference_events = grown
    if events > requests + _EPSILON or reference_events > reference_requests + _EPSILON:
        return "more events than requests"
    return Tally(
        requests, min(events, requests), reference_requests, min(reference_events, reference_requests)
    )
