"""The counter engine: evidence, block by block, that one version's events are more frequent than tolerated.

One block holds n_c requests with e_c events of the candidate and n_s with e_s of stable in the same seconds;
k = n_c / n_s. Tolerated is p_c <= rho * p_s + delta. For x > 0 with k * rho * x < 1, whatever p_s is in the block,

    E[(1 + x)^e_c * (1 - k*rho*x)^e_s * exp(-n_c*delta*x)] <= exp(n_c * x * (p_c - rho*p_s - delta)) <= 1

by 1 + y <= e^y, so the running product is a non-negative supermartingale and the chance that it ever reaches
1/alpha is at most alpha (Ville's inequality): it may be looked at as often as one likes, under any weights, with a
base rate that drifts. The same holds for -1 < x < 0 when p_c >= rho * p_s + delta, which is how a Pass is proven.
After Lindon & Malek (NeurIPS 2022) and Lindon et al. (KDD 2022).

Everything done to an increment here can only lower the expectation of the product: it is divided by the dispersion
phi >= 1 (Jensen), clipped from above, and the product capped; the start times share a mass of at most 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from controller.core.analysis import interval

WORSE: Final = (1.15, 1.3, 1.6, 2.0, 3.0, 5.0, 8.0, 15.0, 30.0, 100.0)
"""The alternatives that Fail is prepared for: candidate's ratio over the tolerated one, equally weighted."""

BETTER: Final = (0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1, 0.02)
"""The alternatives that Pass is prepared for."""

PASS_ALPHA: Final = 0.05
"""The chance that a version worse than tolerated ever passes."""

CEILING: Final = 20.0
"""No product is kept above so many times what decides: later blocks must be able to bring it down soon."""

LEAST: Final = 1e-6
"""Fewer requests than this are none: interpolated counters leave such crumbs."""

_EXP_MAX: Final = 700.0


class Tally(NamedTuple):
    """Requests and events of the candidate and of stable (`reference_*`) in the same seconds."""

    requests: float = 0.0
    events: float = 0.0
    reference_requests: float = 0.0
    reference_events: float = 0.0

    def plus(self, other: "Tally") -> "Tally":
        return Tally(
            self.requests + other.requests,
            self.events + other.events,
            self.reference_requests + other.reference_requests,
            self.reference_events + other.reference_events,
        )


NOTHING: Final = Tally()


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Tolerated: p_c <= `ratio` * p_s + `plus`; `ratio` 0 asks nothing of stable."""

    ratio: float
    plus: float

    @property
    def is_absolute(self) -> bool:
        return self.ratio == 0


NO_WORSE_AT_ALL: Final = Tolerance(1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a block is judged by.

    `alpha` is this test's share; `dispersion` phi >= 1; `clip_blocks` is how many blocks of the strongest evidence
    a Fail needs at least; `interval_alpha` is for the interval that is shown. `strict`: also test against
    NO_WORSE_AT_ALL.
    """

    tolerance: Tolerance
    alpha: float
    interval_alpha: float
    dispersion: float = 1.0
    clip_blocks: float = 3.0
    strict: bool = True


class Evidence(NamedTuple):
    """What all blocks so far have shown. The first three are the products, one per alternative.

    `reference_share` is the sum of k * e_s: divided by `total.requests` it is stable's ratio in the seconds in which
    the candidate had its requests. `usual_*` are stable's own, outages held down; `in_outage`: in the last block
    stable had far more events than usual. `low` and `high` bound the difference of the ratios, None before the
    first block.
    """

    worse: tuple[float, ...] = (0.0,) * len(WORSE)
    strict: tuple[float, ...] = (0.0,) * len(WORSE)
    better: tuple[float, ...] = (0.0,) * len(BETTER)
    sums: interval.Sums = interval.NO_SUMS
    total: Tally = NOTHING
    reference_share: float = 0.0
    blocks: int = 0
    changes_spent: int = 0
    catastrophic: bool = False
    usual_requests: float = 0.0
    usual_events: float = 0.0
    in_outage: bool = False
    low: float | None = None
    high: float | None = None

    def is_worse_than_tolerated(self, alpha: float) -> bool:
        return sum(self.worse) * alpha >= 1

    def is_worse_than_stable(self, alpha: float) -> bool:
        return sum(self.strict) * alpha >= 1

    def is_within_tolerance(self) -> bool:
        return sum(self.better) * PASS_ALPHA >= 1

    @property
    def ratio(self) -> float | None:
        """The candidate's share of events, None without requests."""
        return self.total.events / self.total.requests if self.total.requests else None

    @property
    def reference(self) -> float | None:
        """Stable's share of events in the same seconds, weighted as the candidate's requests came; None without."""
        if not self.total.requests or not self.total.reference_requests:
            return None
        return self.reference_share / self.total.requests


NO_EVIDENCE: Final = Evidence()


def is_usable(block: Tally, tolerance: Tolerance) -> bool:
    """Whether the block says anything: the candidate had requests, and stable too where it is compared with."""
    return block.requests > LEAST and (tolerance.is_absolute or block.reference_requests > LEAST)


def add_block(evidence: Evidence, block: Tally, changes: int, rules: Rules) -> Evidence:
    """The evidence with one more usable block. `changes` counts the changes of weight so far, this block's included."""
    catastrophic = _is_catastrophic(block, rules.tolerance)
    in_outage = _is_outage(evidence, block)
    worse, strict = _fail_products(evidence, block, changes, catastrophic, rules)
    sums = interval.add(evidence.sums, _for_interval(block, rules.tolerance), rules.dispersion)
    low, high = interval.bounds(sums, rules.interval_alpha)
    return evidence._replace(
        worse=worse,
        strict=strict,
        better=pass_products(evidence, block, in_outage, rules),
        sums=sums,
        total=evidence.total.plus(block),
        reference_share=evidence.reference_share + _kappa(block) * block.reference_events,
        blocks=evidence.blocks + 1,
        changes_spent=max(changes, evidence.changes_spent),
        catastrophic=catastrophic,
        usual_requests=evidence.usual_requests + block.reference_requests,
        usual_events=evidence.usual_events + _usual_events(evidence, block, in_outage),
        in_outage=in_outage,
        low=low,
        high=high,
    )


def _fail_products(
    evidence: Evidence, block: Tally, changes: int, catastrophic: bool, rules: Rules
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Margin and strict; clipped, unless this is the second catastrophic block in a row."""
    onset = start_mass(evidence.blocks, evidence.changes_spent, changes)
    is_clipped = not (catastrophic and evidence.catastrophic)
    limit = clip(rules) if is_clipped else _EXP_MAX
    cap = CEILING / rules.alpha
    gains = log_gains(block, rules.tolerance, WORSE)
    worse = _multiply(evidence.worse, gains, onset, limit, rules.dispersion, cap)
    if not rules.strict or rules.tolerance.is_absolute:
        return worse, evidence.strict
    gains = log_gains(block, NO_WORSE_AT_ALL, WORSE)
    return worse, _multiply(evidence.strict, gains, onset, limit, rules.dispersion, cap)


def clip(rules: Rules) -> float:
    """How much one block adds at most to the logarithm of a product that may fail a version."""
    return (math.log(1 / rules.alpha) + 2.5) / rules.clip_blocks


def pass_products(evidence: Evidence, block: Tally, in_outage: bool, rules: Rules) -> tuple[float, ...]:
    """The products that prove a Pass, with one more block; none gains from one in which stable itself is out."""
    limit = 0.0 if in_outage else (math.log(1 / PASS_ALPHA) + 2.5) / rules.clip_blocks
    gains = log_gains(block, rules.tolerance, BETTER)
    cap = CEILING / PASS_ALPHA
    return _multiply(evidence.better, gains, pass_mass(evidence.blocks), limit, rules.dispersion, cap)


def _is_outage(evidence: Evidence, block: Tally) -> bool:
    """Whether stable itself has far more events than it used to.

    What both versions share then drowns what the candidate adds of its own, and their ratio looks harmless.
    """
    if evidence.usual_requests <= LEAST or block.reference_requests <= LEAST:
        return False
    usual = (evidence.usual_events + 5) / evidence.usual_requests
    return block.reference_events >= 20 and block.reference_events > 3 * usual * block.reference_requests


def _usual_events(evidence: Evidence, block: Tally, in_outage: bool) -> float:
    """Stable's events as they count for what is usual; an outage counts little, so only one many times as long as the history becomes so."""
    if not in_outage:
        return block.reference_events
    return min(
        block.reference_events,
        1.5 * block.reference_requests * evidence.usual_events / evidence.usual_requests,
    )


def start_mass(blocks: int, changes_spent: int, changes: int) -> float:
    """The mass that starts with the block after `blocks`: 0.4 at the first, 0.3 over changes, 0.3 over time.

    Both series telescope, so that all mass ever started is below 1 whatever happens: the n-th change brings
    1/n - 1/(n+1), and the n-th block f(n) - f(n+1) of the slowly falling f of `_left`.
    """
    first = 0.4 if blocks == 0 else 0.0
    by_change = 1 / (changes_spent + 1) - 1 / (max(changes, changes_spent) + 1)
    return first + 0.3 * by_change + 0.3 * (_left(blocks) - _left(blocks + 1))


def pass_mass(blocks: int) -> float:
    """The same for Pass, which mostly asks about the whole rollout: 0.8 at the first block, 0.2 over time."""
    return (0.8 if blocks == 0 else 0.0) + 0.2 * (_left(blocks) - _left(blocks + 1))


def _left(blocks: int) -> float:
    """How much of a mass over time is left after so many blocks: 1 at 0, towards 0; dense in the first minutes."""
    return 1 / (1 + math.log1p(blocks / 12))


def log_gains(block: Tally, tolerance: Tolerance, ratios: Sequence[float]) -> list[float]:
    """The logarithm of the block's factor for each alternative.

    x = (r - 1) / (1 + r*rho*k) makes the factor the likelihood ratio of "r times the tolerated ratio".
    """
    share = tolerance.ratio * _kappa(block)
    gains = []
    for ratio in ratios:
        x = (ratio - 1) / (1 + ratio * share)
        gain = block.events * math.log1p(x) - block.requests * tolerance.plus * x
        if share:
            gain += block.reference_events * math.log1p(-share * x)
        gains.append(gain)
    return gains


def _multiply(
    products: tuple[float, ...], gains: list[float], onset: float, limit: float, dispersion: float, cap: float
) -> tuple[float, ...]:
    each = onset / len(products)
    return tuple(
        min((product + each) * math.exp(min(gain / dispersion, limit)), cap)
        for product, gain in zip(products, gains, strict=True)
    )


def _kappa(block: Tally) -> float:
    return block.requests / block.reference_requests if block.reference_requests > LEAST else 0.0


def _for_interval(block: Tally, tolerance: Tolerance) -> interval.Block:
    kappa = 0.0 if tolerance.is_absolute else _kappa(block)
    return interval.Block(block.requests, block.events, block.reference_events, kappa)


def _is_catastrophic(block: Tally, tolerance: Tolerance) -> bool:
    """More than 20 % and more than ten times stable (or the limit) fail, at least 20 of them."""
    ratio = block.events / block.requests
    if block.reference_requests > LEAST and not tolerance.is_absolute:
        ordinary = block.reference_events / block.reference_requests
    else:
        ordinary = tolerance.plus
    return block.events >= 20 and ratio > 0.2 and ratio > 10 * ordinary
