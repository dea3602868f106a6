"""An interval for the difference of two ratios that holds at every look: what a person reads beside the verdict.

For a difference d the engine's product with rho = 1 and delta = d is prod_j exp(gain_j - d * cost_j), and gain and
cost do not depend on d: so a handful of sums per alternative answer for every d at once. The lower bound is the d at
which the mixture over alternatives falls to 2/alpha: all smaller ones are refuted. The upper bound is its mirror.
Nothing is clipped, and the start is the first block.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

UP: Final = (1.03, 1.1, 1.3, 1.7, 2.5, 4.0, 10.0, 40.0)
DOWN: Final = (0.97, 0.9, 0.77, 0.6, 0.4, 0.2, 0.06, 0.005)
_STEPS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Block:
    """One block: the candidate's requests and events, stable's events, and k = n_c / n_s (0: no comparison)."""

    requests: float
    events: float
    reference_events: float
    kappa: float


class Sums(NamedTuple):
    """Gains and costs per alternative of UP and DOWN, over all blocks."""

    up_gain: tuple[float, ...]
    up_cost: tuple[float, ...]
    down_gain: tuple[float, ...]
    down_cost: tuple[float, ...]


NO_SUMS: Final = Sums((0.0,) * len(UP), (0.0,) * len(UP), (0.0,) * len(DOWN), (0.0,) * len(DOWN))


def add(sums: Sums, block: Block, dispersion: float) -> Sums:
    """The sums with one more block, its evidence divided by `dispersion` >= 1."""
    up_gain, up_cost = _added(sums.up_gain, sums.up_cost, UP, block, dispersion)
    down_gain, down_cost = _added(sums.down_gain, sums.down_cost, DOWN, block, dispersion)
    return Sums(up_gain, up_cost, down_gain, down_cost)


def bounds(sums: Sums, alpha: float) -> tuple[float | None, float | None]:
    """Lower and upper bound of the difference at 1 - alpha together, within -1 … 1; None without data.

    Where the difference itself changed so much that no single one fits, they are the ends of what it was.
    """
    if not any(sums.up_cost):
        return None, None
    wanted = math.log(2 / alpha)
    low = _root(sums.up_gain, sums.up_cost, wanted)
    high = -_root(sums.down_gain, [-cost for cost in sums.down_cost], wanted)
    return max(-1.0, min(low, high, 1.0)), min(1.0, max(low, high, -1.0))


def _added(
    gains: Sequence[float], costs: Sequence[float], ratios: Sequence[float], block: Block, dispersion: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    gained = []
    cost = []
    for before, spent, ratio in zip(gains, costs, ratios, strict=True):
        x = (ratio - 1) / (1 + ratio * block.kappa)
        gain = block.events * math.log1p(x)
        if block.kappa:
            gain += block.reference_events * math.log1p(-block.kappa * x)
        gained.append(before + gain / dispersion)
        cost.append(spent + block.requests * x / dispersion)
    return tuple(gained), tuple(cost)


def _root(gains: Sequence[float], costs: Sequence[float], wanted: float) -> float:
    """The d at which log mean exp(gain - d*cost) = wanted, all costs > 0.

    The left side is convex and falls, so Newton's method from the left never passes the root; it starts where the
    largest term alone reaches what is wanted.
    """
    spread = math.log(len(gains))
    d = max((gain - spread - wanted) / cost for gain, cost in zip(gains, costs, strict=True))
    for _ in range(_STEPS_MAX):
        terms = [gain - d * cost for gain, cost in zip(gains, costs, strict=True)]
        top = max(terms)
        weights = [math.exp(term - top) for term in terms]
        total = sum(weights)
        excess = top + math.log(total) - spread - wanted
        slope = sum(weight * cost for weight, cost in zip(weights, costs, strict=True)) / total
        step = excess / slope
        d += step
        if step <= 1e-7:
            break
    return d
