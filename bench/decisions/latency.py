"""How soon a slower version is seen: answers with lognormal latency (sigma 0.5, median 50 ms), one check of eight."""

import math
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.decisions.rules import ALPHA, OURS, ROLES, START, telemetry
from bench.decisions.worlds import SECONDS
from controller.core.analysis.inputs import Inputs, StepContext
from controller.core.analysis.judge import judge
from controller.core.analysis.state import FRESH
from controller.core.checks import Check, Metric, NoSlower, Verdict
from headgate.histogram import BOUNDS_S, BUCKETS
from headgate.wire.telemetry import Outcomes

MEDIAN_S: Final = 0.05
SIGMA: Final = 0.5
BEFORE_S: Final = 60
"""So long stable was alone, so that where its p99 lies is known."""

Buckets = NDArray[np.int64]

CHECKS: Final = (Check("latency", Metric.LATENCY, NoSlower(0.99, 0.1)), *OURS[1:])
STEP: Final = StepContext(0, 1, START, weight=500)


def seconds_to_fail(slower: float, seed: int) -> int | None:
    """Seconds until a version whose every answer takes `slower` (0.2: 20 %) longer fails; None: not in 15 minutes."""
    rng = np.random.default_rng([seed, 11])
    stable, half, candidate = (np.zeros(BUCKETS, dtype=np.int64) for _ in range(3))
    state, usual, slow = FRESH, _shares(MEDIAN_S), _shares(MEDIAN_S * (1 + slower))
    for second in range(-BEFORE_S, SECONDS + 1):
        first = rng.multinomial(237, usual)
        half += first
        stable += first + rng.multinomial(238, usual)
        if second > 0:
            candidate += rng.multinomial(25, slow)
        if second < 0 or second % 5:
            continue
        report = telemetry(
            stable=_outcomes(stable),
            half=_outcomes(half),
            candidate=_outcomes(candidate),
            begun_s=-BEFORE_S,
            at_s=second,
        )
        inputs = Inputs((report,))
        state, (result,) = judge(CHECKS, ("latency",), ROLES, state, inputs, STEP, ALPHA, START + second)
        if result.verdict is Verdict.FAIL:
            return second
    return None


def _shares(median_s: float) -> NDArray[np.float64]:
    """The share of answers in each bucket."""
    law = NormalDist(math.log(median_s), SIGMA)
    edges = [0.0, *(law.cdf(math.log(bound)) for bound in BOUNDS_S), 1.0]
    return np.asarray(np.diff(edges))


def _outcomes(histogram: Buckets) -> Outcomes:
    return Outcomes(requests=int(histogram.sum()), latency=tuple(int(count) for count in histogram))
