"""Checks and what they say: the vocabulary between the analysis, which judges, and `decide`, which acts on it."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What the evidence says. Only PASS and FAIL are knowledge; INCONCLUSIVE holds."""

    PASS = "Pass"
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"


class Lack(StrEnum):
    """Why a verdict is INCONCLUSIVE: data missing altogether, or data from which nothing is proven yet."""

    NONE = ""
    NO_DATA = "NoData"
    UNDECIDED = "Undecided"


class Metric(StrEnum):
    """What a check measures."""

    ERRORS = "requests.errors"
    LATENCY = "requests.latency"
    DISAGREEMENT = "shadow.disagreement"
    PROMETHEUS = "prometheus"
    GAUGE = "prometheus.value"


@dataclass(frozen=True, slots=True)
class NoWorse:
    """Tolerated: candidate <= ratio x stable + plus. `ratio` >= 1, `plus` a fraction of requests, 0 … 1."""

    ratio: float = 1.2
    plus: float = 0.0002


@dataclass(frozen=True, slots=True)
class NoSlower:
    """Tolerated: the `quantile` (0 … 1) of the candidate's latency at most `slower` (0.1 = 10 %) above stable's."""

    quantile: float = 0.99
    slower: float = 0.1


@dataclass(frozen=True, slots=True)
class AtMost:
    """Tolerated: the candidate's own ratio of events at most `limit`, a fraction of requests or pairs, 0 … 1."""

    limit: float


@dataclass(frozen=True, slots=True)
class Within:
    """Tolerated: a value of at least `least` and at most `most` (None: no such bound), in the value's own unit.

    It fails when `at` (1 … `of`) of the last `of` measurements are beyond.
    """

    least: float | None = None
    most: float | None = None
    of: int = 5
    at: int = 3

    def in_words(self) -> str:
        """The bounds, such as `at least 0.2 and at most 0.9`."""
        said = [f"at least {self.least:g}"] if self.least is not None else []
        said += [f"at most {self.most:g}"] if self.most is not None else []
        return " and ".join(said) or "of any value"


Limit = NoWorse | NoSlower | AtMost | Within


@dataclass(frozen=True, slots=True)
class GaugeQuery:
    """One value of one version, as PromQL with `{{version}}` in it; `provider` is a configured name."""

    provider: str
    value: str


@dataclass(frozen=True, slots=True)
class PrometheusQuery:
    """Two cumulative counters of one version, as PromQL with `{{version}}` in it; `provider` is a configured name."""

    provider: str
    events: str
    total: str


Query = PrometheusQuery | GaugeQuery


@dataclass(frozen=True, slots=True)
class Check:
    """One question the evidence must answer.

    `alpha_weight` is its share of the rollout's alpha, relative to the other checks'. `min_requests` is the number
    of candidate requests (or pairs) of the present step below which it never passes and is not fresh. `required`:
    it must be fresh to advance and Pass to promote; otherwise it only watches (its Fail still rolls back).
    `dry_run`: measured and shown, decides nothing.
    """

    name: str
    metric: Metric
    limit: Limit
    min_requests: int = 50
    alpha_weight: float = 1.0
    required: bool = True
    dry_run: bool = False
    per_slice: bool = False
    query: Query | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check says now.

    `is_fresh`: data of the present step, at least `min_requests` of it, none older than the freshness bound.
    `is_holding`: the strict test shows the candidate worse than stable, if not worse than tolerated: no increase.
    `is_shared`: stable itself has far more events than it used to, so what goes wrong is not the candidate's alone.
    `estimate` and `reference` are the candidate's and stable's ratios (fractions) or None; `low` and `high` bound
    their difference at `1 - alpha`, `bound` is the tolerated difference. `samples` are the candidate's requests or
    pairs of the present step, `reference_samples` stable's, gathered in `window_s` seconds. `text` says it all in one line. `rival` is the version
    it is about if that is not the candidate but one beside it.
    """

    check: str
    verdict: Verdict
    lack: Lack
    text: str
    is_fresh: bool = False
    is_holding: bool = False
    is_shared: bool = False
    required: bool = True
    dry_run: bool = False
    estimate: float | None = None
    reference: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    samples: int = 0
    reference_samples: int = 0
    window_s: float = 0.0
    rival: str = ""
