"""`decide` in a world where everything may happen at any instant: the invariants hold after every step."""

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.core.slots import weight_of
from controller.core.status import Phase, Verb
from headgate.wire.plan import PlanVersion
from tests.properties.rough import RoughWorld
from tests.properties.simulator import Seeded, simulate
from tests.properties.world import first_spec

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


class Rollouts(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.drawn = Drawn()
        self.world = RoughWorld(self.drawn, first_spec())

    @rule(
        data=st.data(),
        name=st.sampled_from(("time_passes", "workload_changes", "evidence_changes", "effect_ends")),
    )
    def the_world_changes(self, data: st.DataObject, name: str) -> None:
        self.drawn.data = data
        getattr(self.world, name)()

    @rule(
        data=st.data(),
        name=st.sampled_from(("routers_misbehave", "versions_come_and_go", "a_leader_dies_after_a_decrease")),
    )
    def something_goes_wrong(self, data: st.DataObject, name: str) -> None:
        self.drawn.data = data
        getattr(self.world, name)()

    @rule(data=st.data(), name=st.sampled_from(("person_acts", "spec_is_edited", "routers_come_and_go")))
    def somebody_acts(self, data: st.DataObject, name: str) -> None:
        self.drawn.data = data
        getattr(self.world, name)()

    @rule(data=st.data())
    def the_controller_reconciles(self, data: st.DataObject) -> None:
        self.drawn.data = data
        self.world.controller_reconciles()

    @precondition(lambda self: self.world.published is not None)
    @rule(data=st.data())
    def a_router_applies(self, data: st.DataObject) -> None:
        self.drawn.data = data
        self.world.router_applies()

    @invariant()
    def the_invariants_hold(self) -> None:
        self.world.check()


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(
    max_examples=15 if IS_QUICK else 60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


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
    if status.phase is Phase.HEALTHY:
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
