"""The seeded long run: the same rules as the Hypothesis machine, many steps, and a count of what it reached."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from tests.properties.world import World, first_spec

T = TypeVar("T")

RULES = (
    ("controller_reconciles", 40),
    ("time_passes", 20),
    ("router_applies", 25),
    ("workload_changes", 4),
    ("evidence_changes", 4),
    ("person_acts", 1),
    ("spec_is_edited", 2),
    ("routers_come_and_go", 1),
    ("kind_second", 20),
)
"""What may happen and how often, relative to each other."""


class Seeded:
    """Choices of a seeded generator."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def pick(self, choices: Sequence[T]) -> T:
        return self._random.choice(choices)

    def rule(self) -> str:
        return self._random.choices([name for name, _ in RULES], [weight for _, weight in RULES])[0]


def simulate(seed: int, length: int) -> Counter[str]:
    """Let the world turn for `length` steps; what was reached, counted. AssertionError when an invariant breaks."""
    choose = Seeded(seed)
    world = World(choose, first_spec())
    for _ in range(length):
        getattr(world, choose.rule())()
        world.check()
    return world.seen
