"""Where a slow request begins: a bucket boundary near stable's own quantile, fixed before anything is counted by it.

"The p99 at most 10 % slower" becomes a question about counts: how often is an answer slower than the boundary b? A
candidate whose whole latency is 1.1 times stable's is so S(b/1.1) / S(b) times as often, S being stable's share of
answers slower than b; both are read from stable's own histogram.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from controller.core.analysis.inputs import Roles
from controller.core.analysis.state import Boundary
from controller.core.checks import NoSlower
from headgate.histogram import BOUNDS_S, BUCKETS, RATIO
from headgate.wire.telemetry import Telemetry

SLOW_MIN: Final = 10
"""Stable must have so many answers beyond the quantile before a boundary is fixed."""


def stable_histogram(reports: tuple[Telemetry, ...], roles: Roles) -> list[int]:
    """Stable's answers by latency, over all routers and all their lives so far."""
    total = [0] * BUCKETS
    for report in reports:
        for version in report.versions:
            if roles.stable is not None and version.identity == roles.stable.identity:
                for index, count in enumerate(version.picked.latency[:BUCKETS]):
                    total[index] += count
    return total


def fix(histogram: Sequence[int], limit: NoSlower) -> Boundary | str:
    """The boundary for `limit`, or in words why none can be fixed yet."""
    total = sum(histogram)
    wanted = 1 - limit.quantile
    if not 0 < wanted < 1 or not limit.slower >= 0:
        return f"a quantile of {limit.quantile:g} with {limit.slower:+.0%} cannot be judged"
    if total * wanted < SLOW_MIN * (1 - 1e-9):
        return f"stable has {total:,} answers, its {named(limit.quantile)} needs {math.ceil(SLOW_MIN / wanted - 1e-6):,}"
    slower = _shares_slower(histogram, total)
    usable = [index for index, share in enumerate(slower) if 0 < share < 1]
    if not usable:
        return "all of stable's answers fall into one latency bucket, so its quantile is not known"
    index = min(usable, key=lambda i: abs(math.log(slower[i] / wanted)))
    tolerated = _share_at(slower, index - math.log1p(limit.slower) / math.log(RATIO))
    return Boundary(index, tolerated / slower[index], slower[index] / wanted)


def named(quantile: float) -> str:
    """`p99` for 0.99, `p99.9` for 0.999."""
    return f"p{quantile * 100:.6g}"


def bound_s(boundary: Boundary) -> float:
    """More than so many seconds is slow."""
    return BOUNDS_S[boundary.bucket]


def _shares_slower(histogram: Sequence[int], total: int) -> list[float]:
    return [1 - reached / total for reached in accumulate(histogram)][: len(BOUNDS_S)]


def _share_at(slower: Sequence[float], position: float) -> float:
    """The share of answers slower than the boundary at a fractional index, log-linear between two."""
    if position <= 0:
        return 1.0
    below = int(position)
    low, high = slower[below], slower[min(below + 1, len(slower) - 1)]
    if high <= 0:
        return low
    return math.exp(math.log(low) + (position - below) * math.log(high / low))
