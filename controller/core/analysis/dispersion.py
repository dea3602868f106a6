"""How much more than by chance do counts vary? Estimated from stable against itself.

Routers count one half of stable's requests apart, chosen by hash. The two halves are the same version in the same
seconds: given the totals, the events of the first half are hypergeometric if requests fail independently. What they
vary beyond that (users who retry, batches that fail together) is phi, by which all evidence is divided.
Blocks of 1 … 16 ticks are looked at, because what hangs together may hang together for seconds; the largest counts.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

LEVELS: Final = 5
"""Blocks of 1, 2, 4, 8 and 16 ticks."""

TICK_S: Final = 0.9
"""A tick is a second; a look that comes a little early is taken for one."""

ASSUMED: Final = 2.0
"""phi without any history."""

PRIOR_BLOCKS: Final = 8.0
"""How many blocks' worth of `ASSUMED` the estimate starts with; a level with fewer blocks is not asked."""

MEMORY_S: Final = 3600.0
"""What is older counts less than 1/e."""


class Halves(NamedTuple):
    """Requests and events of all of stable, and of its first half, in so many seconds."""

    requests: float = 0.0
    events: float = 0.0
    half_requests: float = 0.0
    half_events: float = 0.0
    elapsed_s: float = 0.0

    def plus(self, other: "Halves") -> "Halves":
        return Halves(*(a + b for a, b in zip(self, other, strict=True)))


class Level(NamedTuple):
    """Blocks of one length: the half of one that waits for the other, and the fading sums of what was seen and of what chance explains."""

    waiting: Halves | None = None
    seen: float = 0.0
    expected: float = 0.0
    blocks: float = 0.0


@dataclass(frozen=True, slots=True)
class Dispersion:
    """The history from which phi is estimated."""

    levels: tuple[Level, ...] = (Level(),) * LEVELS

    @property
    def phi(self) -> float:
        """The estimate, at least 1."""
        return max(1.0, *(_estimate(level) for level in self.levels)) if self.is_known else ASSUMED

    @property
    def is_known(self) -> bool:
        """Whether any level has enough blocks to be asked."""
        return any(level.blocks >= PRIOR_BLOCKS for level in self.levels)


UNKNOWN: Final = Dispersion()


def add_tick(dispersion: Dispersion, tick: Halves) -> Dispersion:
    """The history with what stable counted since the last time, however short that was.

    It is gathered to ticks of a second; two blocks of one level then make one of the next.
    """
    levels = list(dispersion.levels)
    block = tick
    for index, level in enumerate(levels):
        whole = block if level.waiting is None else level.waiting.plus(block)
        if whole.elapsed_s < TICK_S if index == 0 else level.waiting is None:
            levels[index] = level._replace(waiting=whole)
            break
        levels[index], block = _added(level, whole), whole
    return Dispersion(tuple(levels))


def _added(level: Level, block: Halves) -> Level:
    """The level with one more whole block, and what it had faded by the time that took."""
    fade = math.exp(-min(max(block.elapsed_s, 0.0), MEMORY_S) / MEMORY_S)
    seen, expected = _deviation(block)
    return Level(
        waiting=None,
        seen=level.seen * fade + seen,
        expected=level.expected * fade + expected,
        blocks=level.blocks * fade + (1.0 if expected else 0.0),
    )


def _deviation(block: Halves) -> tuple[float, float]:
    """The squared deviation of the first half's events, and its hypergeometric variance; zeros where it says nothing."""
    n, half, events = block.requests, block.half_requests, block.events
    if n < 2 or not 0 < half < n or not 0 < events < n:
        return 0.0, 0.0
    share = half / n
    variance = events * share * (1 - share) * (n - events) / (n - 1)
    return (block.half_events - events * share) ** 2, variance


def _estimate(level: Level) -> float:
    if level.blocks < PRIOR_BLOCKS:
        return 1.0
    prior = PRIOR_BLOCKS * level.expected / level.blocks
    return (level.seen + ASSUMED * prior) / (level.expected + prior)
