"""Made-up traffic, second by second, for eight checks at once: what everybody who decides is given to look at.

A world says how many requests a second there are, which share of them fails at stable and at the candidate, and what
happens to both. All is drawn beforehand from one seed, so that each rule sees the same fifteen minutes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SECONDS: Final = 900
CHECKS: Final = 8
BEFORE_S: Final = 600

Counts = NDArray[np.int64]
Shape = NDArray[np.float64]
"""A factor for each second."""


@dataclass(frozen=True)
class World:
    """`per_second` requests in all, of which the candidate has `weight`; shares that fail of both versions.

    `bad` of the eight checks see the candidate's own share, all others see stable's at both. `load` and `weather` are
    factors of the requests and of what fails, for both versions; `onset` is one of the excess of the candidate alone.
    `burst`: failures come in groups of so many on average. `skew_s`: the candidate's seconds are counted so much later.
    `restarts`: how often a router begins anew, with counters from 0.
    """

    name: str
    stable: float
    candidate: float
    per_second: float = 500.0
    weight: float = 0.05
    bad: int = 1
    load: Shape | None = None
    jitter: float = 0.0
    weather: Shape | None = None
    onset: Shape | None = None
    burst: float = 1.0
    skew_s: int = 0
    restarts: int = 0


@dataclass(frozen=True)
class Traffic:
    """What happened in each second; arrays of (second,) for requests and (check, second) for what failed of them.

    `half` and `half_failed` are of one half of stable's requests. `restarts_at`: seconds at which the router restarted.
    `before` is the same four numbers a second of stable alone, of the ten minutes before: requests, failed, and of a half.
    """

    requests: Counts
    failed: Counts
    reference: Counts
    reference_failed: Counts
    half: Counts
    half_failed: Counts
    restarts_at: frozenset[int]
    before: Counts


def tolerated(stable: float) -> float:
    """The share that is just tolerated by default: 1.2 times stable's and 0.02 percentage points."""
    return 1.2 * stable + 0.0002


def during(begin: int, end: int, factor: float) -> Shape:
    """A factor from one second to another, 1 before and after."""
    seconds = np.arange(SECONDS)
    return np.where((seconds >= begin) & (seconds < end), factor, 1.0)


def rising(begin: int, end: int) -> Shape:
    """From 0 at one second to 1 at another."""
    return np.clip((np.arange(SECONDS) - begin) / max(end - begin, 1), 0.0, 1.0)


def wave(period_s: float, depth: float) -> Shape:
    """A sine around 1."""
    return np.asarray(1 + depth * np.sin(2 * np.pi * np.arange(SECONDS) / period_s))


def draw(world: World, seed: int) -> Traffic:
    """The fifteen minutes of this world with this seed."""
    rng = np.random.default_rng([seed, 7])
    rates = world.per_second * (np.ones(SECONDS) if world.load is None else world.load)
    if world.jitter:
        rates = rates * rng.lognormal(-(world.jitter**2) / 2, world.jitter, SECONDS)
    requests = rng.poisson(rates * world.weight)
    reference = rng.poisson(rates * (1 - world.weight))
    half = rng.binomial(reference, 0.5)
    weather = np.ones(SECONDS) if world.weather is None else world.weather
    usual = np.minimum(world.stable * weather, 1.0)
    excess = (world.candidate - world.stable) * (np.ones(SECONDS) if world.onset is None else world.onset)
    own = np.minimum((world.stable + excess) * weather, 1.0)
    fails = _failures(world, rng)
    ratios = np.vstack([own if check < world.bad else usual for check in range(CHECKS)])
    half_failed = fails(half, np.broadcast_to(usual, ratios.shape))
    rest_failed = fails(reference - half, np.broadcast_to(usual, ratios.shape))
    failed = fails(requests, ratios)
    if world.skew_s:
        requests, failed = _later(requests, world.skew_s), _later(failed, world.skew_s)
    alone = rng.poisson(world.per_second, BEFORE_S)
    alone_half = rng.binomial(alone, 0.5)
    shares = np.full((1, BEFORE_S), world.stable)
    alone_half_failed = fails(alone_half, shares)[0]
    alone_failed = alone_half_failed + fails(alone - alone_half, shares)[0]
    restarts = rng.choice(np.arange(30, SECONDS - 30), world.restarts, replace=False)
    return Traffic(
        requests,
        failed,
        reference,
        half_failed + rest_failed,
        half,
        half_failed,
        frozenset(int(second) for second in restarts),
        np.stack([alone, alone_failed, alone_half, alone_half_failed]),
    )


def _failures(world: World, rng: np.random.Generator) -> Callable[[Counts, Shape], Counts]:
    """Draws how many of so many requests fail, for each check: one by one, or in groups that have one cause."""

    def one_by_one(requests: Counts, ratios: Shape) -> Counts:
        return rng.binomial(np.broadcast_to(requests, ratios.shape), ratios)

    def in_groups(requests: Counts, ratios: Shape) -> Counts:
        groups = rng.poisson(np.broadcast_to(requests, ratios.shape) * ratios / world.burst)
        sizes = groups + rng.negative_binomial(np.maximum(groups, 1), 1 / world.burst) * (groups > 0)
        return np.asarray(np.minimum(sizes, requests))

    return one_by_one if world.burst == 1 else in_groups


def _later(counts: Counts, seconds: int) -> Counts:
    """The same counts, each so many seconds later; those of the last ones are never seen."""
    moved = np.zeros_like(counts)
    moved[..., seconds:] = counts[..., :-seconds]
    return moved


def _null(name: str, stable: float, **more: Any) -> tuple[World, World]:
    """An equal candidate, and one at the edge of what is tolerated, in all checks."""
    edge = tolerated(stable)
    return (
        World(f"{name}, equal", stable, stable, **more),
        World(f"{name}, at the edge", stable, edge, bad=CHECKS, **more),
    )


USUAL: Final = 0.0042

GOOD: Final[tuple[World, ...]] = (
    *_null("even traffic, 1 % fail", 0.01),
    *_null("even traffic", USUAL),
    *_null("even traffic, 0.1 % fail", 0.001),
    *_null("jittered traffic", USUAL, jitter=0.6),
    *_null("failures in groups of 3", USUAL, burst=3.0),
    *_null("a day in fifteen minutes", USUAL, load=wave(450, 0.8), weather=wave(300, 0.8)),
    *_null("counted 3 s apart", USUAL, skew_s=3, load=wave(60, 0.5), weather=wave(45, 0.9)),
    *_null("shared outage of a minute", USUAL, weather=during(300, 360, 50)),
    *_null("shared outage of 5 minutes", USUAL, weather=during(300, 600, 50)),
    *_null("stable itself is bad, 20 % fail", 0.2),
    *_null("six restarts of the router", USUAL, restarts=6),
    *_null("a request a minute", USUAL, per_second=1 / 60, weight=0.5),
    *_null("5,000 requests/s", USUAL, per_second=5_000.0),
)
"""Where nobody may roll back."""

BAD: Final[tuple[World, ...]] = (
    World("2 x from 1 %", 0.01, 0.02),
    World("5 x from 1 %", 0.01, 0.05),
    World("5 x from 0.42 %", USUAL, 5 * USUAL),
    World("5 x from 0.1 %", 0.001, 0.005),
    World("10 x from 1 %, at the 1 % step", 0.01, 0.1, weight=0.01),
    World("half of the answers fail", USUAL, 0.5),
    World("5 x from 0.42 %, after 5 minutes", USUAL, 5 * USUAL, onset=rising(300, 301)),
    World("a leak: up to 10 x in 15 minutes", USUAL, 10 * USUAL, onset=rising(0, SECONDS)),
    World("5 x from 0.42 %, in a shared outage", USUAL, 5 * USUAL, weather=during(300, 600, 10)),
    World("5 x from 0.42 %, failures in groups of 3", USUAL, 5 * USUAL, burst=3.0),
)
"""Where everybody should."""
