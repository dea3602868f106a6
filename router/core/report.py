"""What a report says, computed from the observer's counters (every pair) and records (the kept ones).

Agreement comes from counters alone: of agreements only a sample is kept, so a share computed from records would be
wrong. Records give what counters cannot: measures, examples, reasons in words.
"""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from headgate.histogram import quantile
from headgate.wire.record import ComparisonRecord
from headgate.wire.telemetry import ShadowCounters
from router.core.sketch import Pairing

Z_99: Final = 2.5758293035489004
"""The 99.5 % quantile of the standard normal: 99 % two-sided."""

EXAMPLES_MAX: Final = 20
_STRATA_MAX: Final = 512
_REASONS_MAX: Final = 256
_OTHER_REASONS: Final = "(others)"

NOT_A_LOSS: Final = frozenset({"sampled_out", "record_log_full", "redaction_failed"})
"""Reasons that cost no comparison: never meant to be one, or compared and only not kept."""

Verdict = Literal["PASS", "FAIL", "HOLD", "NO BOUND", "NO DATA"]


Kind = Literal["agreements", "disagreements", "kept pairs"]


@dataclass(frozen=True, slots=True)
class Share:
    """`events` of `total`, with a 99 % Wilson interval; all shares 0 … 1."""

    events: int
    total: int
    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a bound on disagreement holds, and one sentence that says it; `more_pairs` is about how many are missing."""

    verdict: Verdict
    sentence: str
    more_pairs: int | None = None


@dataclass(frozen=True, slots=True)
class SliceShare:
    """The disagreement in one slice."""

    name: str
    disagreement: Share


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure over kept pairs: of those that agree (a sample), of those that do not, or of all."""

    name: str
    of: Kind
    pairs: int
    p50: float
    p95: float
    largest: float


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """One quantile of both sides over all compared pairs, in milliseconds (upper bounds of 10 % buckets)."""

    quantile: str
    live_ms: float
    shadow_ms: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Section:
    """One shadow against one live version. `counters` is None where only records are left."""

    rollout: str
    shadow: str
    live: str
    shadow_identity: str
    live_identity: str
    counters: ShadowCounters | None
    disagreement: Share | None
    decision: Decision
    slices: tuple[SliceShare, ...]
    latency: tuple[LatencyRow, ...]
    latency_ratio: Measure | None
    measures: tuple[Measure, ...]
    coverage: Share | None
    reasons: tuple[tuple[str, int], ...]
    kept: dict[str, int]
    examples: tuple[ComparisonRecord, ...]
    not_measured: tuple[str, ...]


@dataclass(slots=True)
class Gathered:
    """What of one pairing's records a report needs, taken in one by one in bounded memory per kind of example."""

    kept: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    values: dict[tuple[str, bool], list[float]] = field(default_factory=lambda: defaultdict(list))
    ratios: list[float] = field(default_factory=list)
    strata: dict[tuple[str, str], deque[ComparisonRecord]] = field(default_factory=dict)

    def add(self, record: ComparisonRecord) -> None:
        """Take one more record in."""
        self.kept[record.verdict] += 1
        if record.why:
            is_known = record.why in self.reasons or len(self.reasons) < _REASONS_MAX
            self.reasons[record.why if is_known else _OTHER_REASONS] += 1
        if record.verdict not in ("agree", "soft", "disagree"):
            return
        for name, value in record.measures.items():
            self.values[name, record.verdict == "agree"].append(value)
        if record.live.latency_ms > 0:
            self.ratios.append(record.shadow.latency_ms / record.live.latency_ms)
        if record.verdict != "agree":
            self._exemplify(record)

    def examples(self) -> tuple[ComparisonRecord, ...]:
        """Up to EXAMPLES_MAX disagreements, the latest of each kind in turn, the most frequent kinds first."""
        queues = [deque(one) for one in sorted(self.strata.values(), key=len, reverse=True)]
        found: list[ComparisonRecord] = []
        while queues and len(found) < EXAMPLES_MAX:
            found += [queue.pop() for queue in queues[: EXAMPLES_MAX - len(found)]]
            queues = [queue for queue in queues if queue]
        return tuple(found)

    def _exemplify(self, record: ComparisonRecord) -> None:
        kind = record.verdict, record.direction or (record.paths[0] if record.paths else "")
        if kind in self.strata or len(self.strata) < _STRATA_MAX:
            self.strata.setdefault(kind, deque(maxlen=EXAMPLES_MAX)).append(record)


def section(
    rollout: str, pairing: Pairing, counters: ShadowCounters | None, gathered: Gathered, bound: float | None
) -> Section:
    """All there is to say about one pairing; `bound` is the largest share of disagreement that is tolerated."""
    disagreement = share(counters.disagreements, counters.pairs) if counters and counters.pairs else None
    return Section(
        rollout=rollout,
        **pairing._asdict(),
        counters=counters,
        disagreement=disagreement,
        decision=decide(disagreement, bound, has_counters=counters is not None),
        slices=_slices(counters),
        latency=_latency(counters),
        latency_ratio=_measure("shadow ÷ live latency", "kept pairs", gathered.ratios),
        measures=_measures(gathered),
        coverage=_coverage(counters),
        reasons=tuple(gathered.reasons.most_common(10)),
        kept=dict(sorted(gathered.kept.items())),
        examples=gathered.examples(),
        not_measured=_not_measured(counters, gathered),
    )


def share(events: int, total: int, z: float = Z_99) -> Share:
    """`events` of `total` (at least 1) with its Wilson score interval (Wilson 1927)."""
    p = events / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    low = 0.0 if events == 0 else max(0.0, middle - half)
    high = 1.0 if events == total else min(1.0, middle + half)
    return Share(events, total, p, low, high)


def decide(disagreement: Share | None, bound: float | None, *, has_counters: bool = True) -> Decision:
    """The verdict on the bound from a look at this instant; the rollout's own checks may be looked at all the time."""
    if disagreement is None:
        missing = "no pair was compared" if has_counters else "only records are left, and they hold a sample"
        return Decision("NO DATA", f"NO DATA: {missing}, so nothing is known about agreement.")
    said = (
        f"{percent(disagreement.estimate)} of {disagreement.total:,} pairs disagree, "
        f"99 % interval [{percent(disagreement.low)}, {percent(disagreement.high)}]"
    )
    if bound is None:
        return Decision("NO BOUND", f"{said}. No bound was given: --max 1% makes this a verdict.")
    if disagreement.low > bound:
        return Decision("FAIL", f"FAIL: {said}; tolerated {percent(bound)}.")
    if disagreement.high <= bound:
        return Decision("PASS", f"PASS: {said}; tolerated {percent(bound)}.")
    more = pairs_missing(disagreement, bound)
    rest = "however many follow at this rate" if more is None else f"about {more:,} more pairs at this rate"
    return Decision("HOLD", f"HOLD: {said}; tolerated {percent(bound)}, not proven: {rest}.", more)


def pairs_missing(now: Share, bound: float) -> int | None:
    """How many more pairs of the same kind bring the interval below the bound; None if none would."""
    if now.estimate >= bound or bound <= 0:
        return None
    total = now.total
    while total < 2**40:
        if share(round(now.estimate * total), total).high <= bound:
            return _smallest(now, bound, total // 2, total) - now.total
        total *= 2
    return None


def percent(value: float) -> str:
    """A share as text: three significant digits where it is small."""
    if value in (0.0, 1.0):
        return f"{value * 100:.0f} %"
    return f"{value * 100:.2f} %" if value >= 0.001 else f"{value * 100:.2g} %"


def directions(counters: ShadowCounters) -> list[tuple[str, str, int]]:
    """(live label, shadow's label, pairs), most frequent first."""
    split = [(*direction.partition("->")[::2], count) for direction, count in counters.directions.items()]
    return sorted(split, key=lambda one: (-one[2], one[0], one[1]))


def _smallest(now: Share, bound: float, low: int, high: int) -> int:
    """The smallest total in (low, high] at which the bound is proven."""
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        if share(round(now.estimate * middle), middle).high <= bound:
            high = middle
        else:
            low = middle
    return high


def _slices(counters: ShadowCounters | None) -> tuple[SliceShare, ...]:
    """The worst first: by the lower end of the interval, so that three unlucky pairs do not lead."""
    found = [
        SliceShare(name, share(one.disagreements, one.pairs))
        for name, one in (counters.slices.items() if counters else ())
        if one.pairs
    ]
    return tuple(sorted(found, key=lambda one: (-one.disagreement.low, -one.disagreement.estimate, one.name)))


def _latency(counters: ShadowCounters | None) -> tuple[LatencyRow, ...]:
    rows = []
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        live = quantile(counters.live_latency, q) if counters else None
        shadow = quantile(counters.shadow_latency, q) if counters else None
        if live is not None and shadow is not None:
            rows.append(LatencyRow(name, live * 1000, shadow * 1000, shadow / live))
    return tuple(rows)


def _coverage(counters: ShadowCounters | None) -> Share | None:
    """Compared pairs among those that were sampled for comparison."""
    if counters is None:
        return None
    lost = sum(count for reason, count in counters.dropped.items() if reason not in NOT_A_LOSS)
    total = counters.pairs + lost
    return share(counters.pairs, total) if total else None


def _measures(gathered: Gathered) -> tuple[Measure, ...]:
    has_batches = any(
        value > 1 for agrees in (True, False) for value in gathered.values.get(("rows", agrees), ())
    )
    found = (
        _measure(name, "agreements" if agrees else "disagreements", values)
        for (name, agrees), values in sorted(gathered.values.items())
        if has_batches or not name.startswith("rows")
    )
    return tuple(one for one in found if one is not None)


def _measure(name: str, of: Kind, values: Sequence[float]) -> Measure | None:
    if not values:
        return None
    ordered = sorted(values)
    return Measure(name, of, len(ordered), _at(ordered, 0.5), _at(ordered, 0.95), ordered[-1])


def _at(ordered: Sequence[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)]


def _not_measured(counters: ShadowCounters | None, gathered: Gathered) -> tuple[str, ...]:
    """What a reader might take for measured and is not."""
    if counters is None:
        return (
            "How many pairs there were and how many agreed: the counters are gone, and records are a sample.",
        )
    said = [
        f"{reason}, {count:,} ×: {DROPPED.get(reason, 'a reason that this release does not know')}."
        for reason, count in _by_count(counters.dropped)
        if count
    ]
    if not counters.self_pairs:
        said.append("The noise floor: the live version was not compared with itself.")
    said.append("Warm-up apart: latency is that of all compared pairs, a version's first ones too.")
    other = counters.slices.get("class=other")
    if other is not None:
        said.append(
            f"{other.pairs:,} pairs of classes beyond the first {len(counters.slices) - 1}: counted together."
        )
    kept = sum(gathered.kept[verdict] for verdict in ("agree", "soft", "disagree"))
    if kept < counters.pairs:
        said.append(f"Measures and examples are of {kept:,} kept pairs; {counters.pairs:,} were compared.")
    return tuple(said)


def _by_count(dropped: dict[str, int]) -> Iterable[tuple[str, int]]:
    return sorted(dropped.items(), key=lambda one: -one[1])


DROPPED: Final = {
    "sampled_out": "the sample did not choose the request",
    "queue_full": "the router had no room for the copy; lower the sample or add a core",
    "body_too_large": "a body was over capture.maxBodyBytes",
    "timeout": "the shadow gave no whole answer in time",
    "shadow_error": "the shadow failed, refused, or answered with nonsense",
    "undecodable": "an answer could not be read; never taken for equal",
    "client_cancelled": "the client left before the live answer was whole",
    "method_not_safe": "the request is no inference and must not be sent twice",
    "redaction_failed": "compared, but the payload could not be redacted, so there is no record",
    "live_error": "the live version itself failed",
    "record_log_full": "compared, but the disk had no room for the record",
}
"""What each drop reason means to a reader."""
