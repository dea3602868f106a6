"""`decide` in a world where everything may happen at any instant: the invariants hold after every step."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from controller.core.slots import weight_of
from controller.core.spec import Stage
from controller.core.status import Phase, Verb
from headgate.wire.plan import PlanVersion
from tests.properties.rough import RoughWorld
from tests.properties.simulator import ROUGH, Seeded, simulate
from tests.properties.world import NAMES, STRATEGIES, first_spec

T = TypeVar("T")

pytestmark = pytest.mark.timeout(600)

IS_QUICK = bool(os.environ.get("HEADGATE_QUICK"))
"""A small budget, for a suite that is run a hundred times over: see tests/planted."""


class Drawn:
    """Choices that Hypothesis draws, and so can shrink."""

    def __init__(self) -> None:
        self.data: Any = None

    def pick(self, choices: Sequence[T]) -> T:
        picked: T = self.data.draw(st.sampled_from(list(choices)))
        return picked


WEIGHED = tuple(name for name, weight in ROUGH for _ in range(weight))
"""The simulator's rules, each as often as it is to happen."""

EACH = tuple(dict(ROUGH))
"""The same, the rare as often as the others."""

ONWARD = ("a_kind_while", "kind_second", "kind_second", "somebody_deploys")
"""Those of them that let a rollout get far in the few steps of one example."""

PROMISED = (
    "record: WeightRaised",
    "record: WeightLowered",
    "record: Promoted",
    "record: RollingBack",
    "rival: raised",
    "match: 1 versions",
    "match: 2 versions",
    "action: accepted",
    "action: refused",
)
"""What the machine reaches in every run; one that sleeps proves nothing."""


class Rollouts(RuleBasedStateMachine):
    """The world of the simulator, turned by Hypothesis; `reached` counts over all examples of a run."""

    reached: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.drawn = Drawn()
        self.world = RoughWorld(self.drawn, first_spec())

    @initialize(
        data=st.data(),
        stages=st.sampled_from(STRATEGIES),
        aim=st.sampled_from(NAMES[1:]),
        struggles=st.sampled_from((False, False, False, True)),
    )
    def a_trial_begins_beside_a_proven_stable(
        self, data: st.DataObject, stages: tuple[Stage, ...], aim: str, *, struggles: bool
    ) -> None:
        self.drawn.data = data
        world = self.world
        if struggles:
            world.first_version_struggles()
        for _ in range(3):
            world.kind_second()
        assert world.stored.is_stable_proven
        generation = world.spec.generation + 1
        world.spec = replace(world.spec, stages=stages, target=aim, generation=generation)
        for _ in range(3):
            world.kind_second()
        world.readings.clear()  # nobody reads what was before there was a router

    @rule(data=st.data(), name=st.sampled_from(WEIGHED))
    def something_happens(self, data: st.DataObject, name: str) -> None:
        self.turn(data, name)

    @rule(data=st.data(), name=st.sampled_from(EACH))
    def something_rare_happens(self, data: st.DataObject, name: str) -> None:
        self.turn(data, name)

    @rule(data=st.data(), name=st.sampled_from(ONWARD))
    def it_goes_on(self, data: st.DataObject, name: str) -> None:
        self.turn(data, name)

    def turn(self, data: st.DataObject, name: str) -> None:
        self.drawn.data = data
        self.world.seen[f"rule: {name}"] += 1
        getattr(self.world, name)()

    @invariant()
    def the_invariants_hold(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        Rollouts.reached.update(self.world.seen)


def test_whatever_happens_the_invariants_hold_and_enough_of_it_happens() -> None:
    Rollouts.reached.clear()
    run_state_machine_as_test(
        Rollouts,
        settings=settings(
            max_examples=15 if IS_QUICK else 250,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    promised = () if IS_QUICK else (*PROMISED, *(f"rule: {name}" for name, _ in ROUGH))
    missing = [name for name in promised if not Rollouts.reached[name]]
    assert not missing, f"never reached: {missing}"
    failures = sum(count for name, count in Rollouts.reached.items() if name.startswith("failed: "))
    assert failures or IS_QUICK, "no version ever failed"


@pytest.mark.parametrize("seed", range(1 if IS_QUICK else 4))
def test_a_long_seeded_run_breaks_no_invariant(seed: int) -> None:
    simulate(seed, 4000)


def test_the_seeded_runs_reach_what_they_are_to_prove() -> None:
    reached = sum((simulate(seed, 4000) for seed in range(100, 112)), start=simulate(99, 10))
    wanted = {
        *(f"phase: {phase}" for phase in Phase),
        *(
            f"record: {reason}"
            for reason in ("WeightRaised", "Promoted", "RollingBack", "Superseded", "Cancelled")
        ),
        *(f"failed: {cause}" for cause in ("CheckFailed", "Guard", "Operator", "CrashLoop")),
        *(f"fault: dies {when}" for when in ("before the record", "before publishing", "before workloads")),
        *(f"track: {track}" for track in ("stages", "fast", "return")),
        "action: accepted",
        "action: refused",
        "step: approval approval",
        "step: canary fresh",
        "step: canary risk",
        "event: Approved",
        "event: StageSkipped",
        "event: Retargeted",
        "event: Warmed",
        "event: NotWarm",
        "warmth: cold candidate",
        "warmth: goes on cold",
        "step: canary pass",
        "step: flip pass",
        "step: full pass",
        "step: pause person",
        "step: pause time",
        "step: shadow pass",
        "step: match pass",
        "match: 1 versions",
        "match: 2 versions",
        "rival: raised",
        "rival: fails alone",
        "rival: two of them",
        "capacity: grows",
        "capacity: shrinks",
        "restart: counted",
        "schedule: closed",
        "schedule: overruled",
        "hook: waited for",
        *(f"effect: {kind} {ends}" for kind in ("hook", "notification") for ends in ("succeeds", "fails")),
    }
    assert not wanted - set(reached), f"never reached: {sorted(wanted - set(reached))}"


@pytest.mark.parametrize("seed", range(4 if IS_QUICK else 30))
def test_a_world_turned_kind_ends_at_rest_on_the_target_or_rolled_back(seed: int) -> None:
    choose = Seeded(seed)
    world = RoughWorld(choose, first_spec())
    for _ in range(600):
        getattr(world, choose.rule())()
    world.turn_kind()
    for _ in range(900):
        world.kind_second()
    status = world.stored
    assert status.phase in (Phase.HEALTHY, Phase.ROLLED_BACK), status.message
    target = world.spec.version(world.spec.target)
    assert target is not None
    if status.phase is Phase.ROLLED_BACK:
        failed = next((f for f in status.failed if f.identity == target.identity), None)
        assert failed is not None, status.message
        assert failed.is_latched, failed
        assert (failed.identity, failed.attempt) in world.culprits, f"{failed} has done nothing wrong"
        assert target.name in status.message, status.message
    else:
        assert status.stable is not None
        assert status.stable.name == world.spec.target
        assert not status.rivals
        assert set(world.running) == {status.stable.identity}, "whoever took part is stopped"


@pytest.mark.parametrize("seed", range(4 if IS_QUICK else 40))
def test_a_rollback_ends_although_nothing_is_measured_and_the_candidate_is_dead(seed: int) -> None:
    """I17, from wherever a world in turmoil left a candidate that has traffic."""
    choose = Seeded(seed)
    world = RoughWorld(choose, first_spec())
    for _ in range(4000):
        getattr(world, choose.rule())()
        candidate = world.stored.candidate
        if candidate is not None and weight_of(world.stored.slots, candidate.name) and not world.spec.paused:
            break
    assert candidate is not None
    world.asks(Verb.ROLLBACK, candidate.name)
    for _ in range(30):
        world.second_without_candidate_and_evidence(candidate.identity)
        assert not world.actions, "a person's rollback is decided in the next pass"
        assert candidate.identity not in {r.identity for r in weighed(world)}
    assert candidate.identity not in world.running
    assert any(f.identity == candidate.identity and f.is_latched for f in world.stored.failed)


def weighed(world: RoughWorld) -> list[PlanVersion]:
    """The versions that any router sends traffic to."""
    plans = [router.plan for router in world.routers.values() if router.plan is not None]
    return [version for plan in plans for version in plan.versions if plan.weights()[version.name]]
