"""The seeded long run: the same rules as the Hypothesis machine, many steps, and a count of what it reached."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from tests.properties.rough import RoughWorld
from tests.properties.world import STRATEGIES, first_spec

T = TypeVar("T")

RULES = (
    ("controller_reconciles", 40),
    ("time_passes", 20),
    ("router_applies", 25),
    ("workload_changes", 6),
    ("evidence_changes", 4),
    ("effect_ends", 10),
    ("person_acts", 1),
    ("spec_is_edited", 2),
    ("routers_come_and_go", 1),
    ("entrance_changes", 1),
    ("kind_second", 10),
    ("a_kind_while", 2),
    ("somebody_deploys", 4),
)
"""What may happen and how often, relative to each other."""

ROUGH = (
    *RULES,
    ("person_acts", 3),
    ("routers_misbehave", 3),
    ("versions_come_and_go", 1),
    ("a_leader_dies_after_a_decrease", 2),
    ("a_restore_brings_nonsense", 1),
    ("a_restore_takes_from_rivals", 4),
    ("nothing_comes_of_it", 1),
    ("person_meets_the_moment", 2),
    ("stable_loses_its_endpoints", 1),
)
"""The same with routers that misbehave, versions that vanish, and leaders that die at the worst instant."""


class Seeded:
    """Choices of a seeded generator; an odd seed lets more go wrong."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._rules = ROUGH if seed % 2 else RULES

    def pick(self, choices: Sequence[T]) -> T:
        return self._random.choice(choices)

    def rule(self) -> str:
        return self._random.choices([name for name, _ in self._rules], [weight for _, weight in self._rules])[
            0
        ]


def simulate(seed: int, length: int) -> Counter[str]:
    """Let the world turn for `length` steps; what was reached, counted. AssertionError when an invariant breaks."""
    choose = Seeded(seed)
    spec = replace(first_spec(), stages=STRATEGIES[seed % len(STRATEGIES)])
    if seed % 8 == 1:  # a first spec that names no version, until somebody mends it
        spec = replace(spec, target="v9", initial_stable=None)
    world = RoughWorld(choose, spec)
    if seed % 8 == 3:
        world.first_version_struggles()
    for _ in range(length):
        getattr(world, choose.rule())()
        world.check()
    return world.seen
