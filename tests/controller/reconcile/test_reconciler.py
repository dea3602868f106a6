"""The six verbs around the core, with a real registry of routers and workloads that are ready when told."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from controller.adapters.routers import RouterRegistry
from controller.core.analysis.inputs import Missing
from controller.core.checks import AtMost, Check, Lack, Metric, Query
from controller.core.effects import Effect, EffectOutcome, Hook, HookAt
from controller.core.spec import (
    CanaryStage,
    Capacity,
    FullStage,
    Match,
    MatchStage,
    Spec,
    VersionSpec,
    Warmup,
)
from controller.core.status import (
    Action,
    Decision,
    Phase,
    Reason,
    Verb,
    VersionObserved,
    VersionRef,
    Workload,
)
from controller.errors import StoreUnavailable
from controller.ports import Compiled, Recorded, Stored
from controller.reconcile.gather import Gatherer
from controller.reconcile.reconciler import Again, Done, Gone, Outcome, Reconciler, Retry
from controller.telemetry import Metrics
from headgate.log import Log
from headgate.wire.plan import NOTHING_APPLIED, Applied, Condition, Endpoint, RoutePlan
from tests.controller.at_once import at_once
from tests.controller.memory_store import MemoryStore

KEY = "default/fraud"
GATE = Hook("gate", HookAt.BEFORE_TRAFFIC, "https://hooks.example/gate")


class ReadyWorkloads:
    """Workloads whose versions are ready as soon as they shall run."""

    def __init__(self) -> None:
        self.running: Mapping[str, Workload] = {}
        self.first_port = 9000

    async def observe(
        self, key: str, documents: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, VersionObserved]:
        return {
            identity: VersionObserved((Endpoint("127.0.0.1", self.first_port + index),), is_running=True)
            for index, identity in enumerate(sorted(documents))
            if identity in self.running
        }

    async def apply(
        self, key: str, documents: Mapping[str, Mapping[str, Any]], running: Mapping[str, Workload]
    ) -> None:
        self.running = running


class Thermometer:
    """Versions are warm when told; remembers which rollout's version was measured last."""

    def __init__(self) -> None:
        self.is_warm = False
        self.measured: dict[str, str] = {}

    def measure(
        self, key: str, warmup: Warmup, version: VersionSpec, seen: VersionObserved
    ) -> VersionObserved:
        self.measured[key] = version.name
        return replace(seen, is_warm=self.is_warm and bool(seen.endpoints), warmth="p95 as measured")

    def stop(self, key: str) -> None:
        self.measured.pop(key, None)


class Post:
    """Effects that end when told; remembers everything it was asked to run."""

    def __init__(self) -> None:
        self.running: dict[str, Effect] = {}
        self.ended: dict[str, EffectOutcome] = {}

    def run(self, key: str, effects: Sequence[Effect]) -> None:
        self.running = {effect.id: effect for effect in effects}
        self.ended = {id_: outcome for id_, outcome in self.ended.items() if id_ in self.running}

    def outcomes(self, key: str) -> tuple[EffectOutcome, ...]:
        return tuple(self.ended.values())

    def succeed(self) -> None:
        self.ended = {id_: EffectOutcome(id_, True) for id_ in self.running}


class NoCounters:
    """No provider is configured."""

    async def counts(self, query: Query, version: str) -> Missing:
        return Missing(f"no provider {query.provider} is configured")


class FailingStore(MemoryStore):
    """A store whose disk may be full, and whose rollouts may not be let go."""

    is_full = False
    is_stuck = False

    async def record(self, key: str, recorded: Recorded) -> None:
        if self.is_full:
            raise StoreUnavailable("no space left on device")
        await super().record(key, recorded)

    async def delete(self, key: str) -> None:
        if self.is_stuck:
            raise StoreUnavailable("the API server says 503")
        await super().delete(key)


class Scene:
    """One rollout, one router, one controller on a clock of our own."""

    def __init__(self, store: FailingStore | None = None) -> None:
        self.now = 1000.0
        self.store = store or FailingStore()
        self.routers = RouterRegistry(self.store, lambda: self.now)
        self.workloads = ReadyWorkloads()
        self.warmth = Thermometer()
        self.effects = Post()
        self.metrics = Metrics()
        self.applied = NOTHING_APPLIED
        self.plan: RoutePlan | None = None
        self.error = ""
        self.told: list[Decision | None] = []
        self.gatherer = Gatherer(NoCounters(), lambda key: None)
        self.reconciler = self.controller()

    def controller(self) -> Reconciler:
        return Reconciler(
            store=self.store,
            workloads=self.workloads,
            warmth=self.warmth,
            routers=self.routers,
            gatherer=self.gatherer,
            effects=self.effects,
            compile_document=compile_document,
            epoch=at_once(self.store.acquire_epoch(self.routers.epoch_seen())),
            metrics=self.metrics,
            now=lambda: self.now,
            on_recorded=lambda key, decision: self.told.append(decision),
            log=Log("test"),
            leads=lambda: True,
        )

    def write(self, **document: object) -> None:
        at_once(self.store.put_document(KEY, {"target": "v1", "check": True} | document))

    async def turn(self, times: int = 1, *, seconds: float = 1.0) -> Outcome:
        """Reconcile, let the router apply what it is offered, and let time pass."""
        outcome: Outcome = Done()
        for _ in range(times):
            outcome = await self.reconciler.reconcile(KEY)
            offered = await self.routers.poll(KEY, "r1", self.applied, self.error, 0.0)
            if isinstance(offered, RoutePlan):
                self.plan, self.applied = offered, offered.triple
                await self.routers.poll(KEY, "r1", self.applied, self.error, 0.0)
            self.now += seconds
        return outcome

    def stored(self) -> Stored:
        stored = self.store.load(KEY)
        assert stored is not None
        return stored

    def weight(self, version: str) -> int:
        assert self.plan is not None
        return self.plan.weights().get(version, 0)

    def reaches(self, version: str) -> bool:
        """Does the router send any live request to the version?"""
        assert self.plan is not None
        matched = self.plan.match.weights() if self.plan.match is not None else {}
        return self.weight(version) + matched.get(version, 0) > 0


def compile_document(stored: Stored) -> Compiled | str:
    if stored.document.get("bad"):
        return "spec.target: v9 is not among the versions"
    checks = (Check("errors", Metric.ERRORS, AtMost(0.01)),) if stored.document["check"] else ()
    versions = tuple(VersionSpec(f"v{n}", f"id-{n}") for n in (1, 2, 3))
    canary = CanaryStage((1000, 5000), 3.0, tuple(c.name for c in checks), to=("v2", "v3"))
    alone = replace(canary, to=())
    match = MatchStage(Match((Condition("header:x-beta"),)), 60.0)
    stages = {"beside": (canary, FullStage()), "match": (match, FullStage())}
    spec = Spec(
        key=stored.key,
        generation=stored.generation,
        target=str(stored.document["target"]),
        versions=versions,
        initial_stable="v1",
        stages=stages.get(str(stored.document.get("stages")), (alone, FullStage())),
        checks=checks,
        capacity=Capacity(drain_s=2.0, keep_stable_warm_s=5.0),
        warmup=Warmup() if stored.document.get("warmup") else None,
        hooks=(GATE,) if stored.document.get("hook") else (),
    )
    return Compiled(spec, {version.identity: {"name": version.name} for version in versions})


def test_a_candidate_without_checks_is_ramped_promoted_and_the_old_version_is_stopped_at_last() -> None:
    async def story() -> Scene:
        scene = Scene()
        scene.write(check=False)
        await scene.turn(4)
        assert scene.stored().status.phase is Phase.HEALTHY
        scene.write(check=False, target="v2")
        await scene.turn(4)
        assert scene.weight("v2") == 1000
        await scene.turn(20)
        return scene

    scene = asyncio.run(story())
    assert scene.stored().status.phase is Phase.HEALTHY
    assert scene.weight("v2") == 10_000
    assert set(scene.workloads.running) == {"id-2"}


def test_without_evidence_the_candidate_stays_where_it_is() -> None:
    async def story() -> Scene:
        scene = Scene()
        scene.write()
        await scene.turn(4)
        scene.write(target="v2")
        await scene.turn(60)
        return scene

    scene = asyncio.run(story())
    assert scene.weight("v2") == 1000
    assert [result.lack for result in scene.stored().results] == [Lack.NO_DATA]


def test_at_rest_nothing_is_written() -> None:
    async def story() -> tuple[Outcome, Stored, Stored]:
        scene = Scene()
        scene.write()
        await scene.turn(5)
        before = scene.stored()
        outcome = await scene.turn(5)
        return outcome, before, scene.stored()

    outcome, before, after = asyncio.run(story())
    assert outcome == Done()
    assert after is before


def test_while_the_version_before_is_kept_warm_nothing_is_written_either() -> None:
    async def story() -> tuple[Outcome, Stored, Stored, float]:
        scene = Scene()
        scene.write(check=False)
        await scene.turn(4)
        scene.write(check=False, target="v2")
        while scene.stored().status.stable != VersionRef("v2", "id-2") or not _is_warm(scene.stored()):
            await scene.turn()
        before = scene.stored()
        outcome = await scene.turn(seconds=0.1)
        return outcome, before, scene.stored(), scene.now

    outcome, before, after, now = asyncio.run(story())
    assert isinstance(outcome, Again)
    assert outcome.at > now + 1
    assert after is before


def _is_warm(stored: Stored) -> bool:
    return any(retiring.warm_until is not None for retiring in stored.status.retiring)


def test_a_rollback_is_done_in_one_reconcile_and_needs_no_evidence() -> None:
    async def story() -> Scene:
        scene = Scene()
        scene.write()
        await scene.turn(4)
        scene.write(target="v2")
        await scene.turn(4)
        at_once(scene.store.add_action(KEY, Action("a1", Verb.ROLLBACK, "v2", "ann", "no good")))
        await scene.turn()
        return scene

    scene = asyncio.run(story())
    assert scene.weight("v2") == 0
    assert scene.store.action_result("a1") == (True, "rollback of v2 accepted")


def test_a_decrease_is_in_force_though_its_record_cannot_be_written_and_an_increase_is_not() -> None:
    async def story() -> Scene:
        scene = Scene()
        scene.write(check=False)
        await scene.turn(4)
        scene.write(check=False, target="v2")
        await scene.turn(1)
        scene.store.is_full = True
        outcome = await scene.turn(3)
        assert isinstance(outcome, Retry)
        assert scene.weight("v2") == 0
        scene.store.is_full = False
        await scene.turn(3)
        assert scene.weight("v2") == 1000
        at_once(scene.store.add_action(KEY, Action("a1", Verb.ROLLBACK, "v2", "ann", "no good")))
        scene.store.is_full = True
        assert isinstance(await scene.turn(2), Retry)
        assert scene.weight("v2") == 0
        scene.store.is_full = False
        await scene.turn(6)
        return scene

    scene = asyncio.run(story())
    assert scene.stored().status.phase is Phase.ROLLED_BACK
    assert scene.weight("v2") == 0
    assert scene.store.action_result("a1") == (True, "rollback of v2 accepted")
    assert not scene.store.pending_actions(KEY)
    assert Reason.ROLLING_BACK in [record.reason for record in scene.store.records(KEY, 10)]
    assert Reason.ROLLING_BACK in [event.reason for event in scene.store.events(KEY, 10)]


@pytest.mark.parametrize(("stages", "gone"), [("beside", "v3"), ("beside", "v2"), ("match", "v2")])
def test_whoever_is_on_trial_is_taken_off_though_it_cannot_be_recorded(stages: str, gone: str) -> None:
    """A rival alone, the target with its rival, and one that only requests that match reach."""

    async def story() -> Scene:
        scene = Scene()
        scene.write(check=False)
        await scene.turn(4)
        scene.write(check=False, target="v2", stages=stages)
        await scene.turn(3)
        assert scene.reaches(gone)
        at_once(scene.store.add_action(KEY, Action("a1", Verb.ROLLBACK, gone, "ann", "no good")))
        scene.store.is_full = True
        assert isinstance(await scene.turn(2), Retry)
        return scene

    scene = asyncio.run(story())
    assert not scene.reaches(gone)
    assert scene.reaches("v3") is False
    assert scene.reaches("v2") is (gone == "v3")


def test_a_restarted_controller_goes_on_where_the_last_one_was() -> None:
    async def story() -> Scene:
        scene = Scene()
        scene.write(check=False)
        await scene.turn(4)
        scene.write(check=False, target="v2")
        await scene.turn(4)
        scene.routers = RouterRegistry(scene.store, lambda: scene.now)
        scene.reconciler = scene.controller()
        await scene.turn(1)
        assert scene.weight("v2") == 1000
        assert scene.plan is not None
        assert scene.plan.epoch == 2
        await scene.turn(12)
        return scene

    assert asyncio.run(story()).weight("v2") == 10_000


def test_a_controller_whose_store_is_older_than_the_routers_takes_a_higher_epoch() -> None:
    async def story() -> RoutePlan | None:
        scene = Scene()
        scene.applied = Applied(41, 7, 1)
        scene.write()
        await scene.turn(3)
        return scene.plan

    plan = asyncio.run(story())
    assert plan is not None
    assert plan.epoch == 42


def test_a_router_that_refuses_the_plan_is_named_and_blocks_the_increase() -> None:
    async def story() -> Scene:
        scene = Scene()
        scene.write(check=False)
        await scene.turn(4)
        scene.error = "slots: they end at 9999 instead of 10000"
        scene.write(check=False, target="v2")
        await scene.turn(6)
        return scene

    scene = asyncio.run(story())
    assert scene.weight("v2") == 0
    assert "they end at 9999" in scene.stored().status.message


def test_a_stored_spec_that_is_not_accepted_stalls_and_leaves_the_traffic_alone() -> None:
    async def story() -> Scene:
        scene = Scene()
        scene.write()
        await scene.turn(4)
        scene.write(bad=True)
        await scene.turn(2)
        return scene

    scene = asyncio.run(story())
    assert scene.stored().status.phase is Phase.STALLED
    assert "v9 is not among the versions" in scene.stored().status.message
    assert scene.weight("v1") == 10_000
    assert set(scene.workloads.running) == {"id-1"}


def test_a_deleted_rollout_moves_all_traffic_to_stable_before_anything_stops() -> None:
    async def story() -> tuple[Scene, list[int], Outcome]:
        scene = Scene()
        scene.write(check=False)
        await scene.turn(4)
        scene.write(check=False, target="v2")
        await scene.turn(4)
        at_once(scene.store.mark_deleting(KEY))
        await scene.turn(1)
        weights = [scene.weight("v2"), len(scene.workloads.running)]
        outcome: Outcome = Again(0.0)
        while not isinstance(outcome, Gone):
            outcome = await scene.reconciler.reconcile(KEY)
            scene.now += 1.0
            if scene.store.load(KEY) is not None:
                await scene.routers.poll(KEY, "r1", scene.applied, "", 0.0)
        return scene, weights, outcome

    scene, weights, _ = asyncio.run(story())
    assert weights == [0, 2]
    assert scene.workloads.running == {}
    assert scene.told[-1] is None


def test_a_deletion_that_the_store_refuses_takes_no_endpoints_from_the_plan() -> None:
    async def story() -> tuple[Scene, RoutePlan | None]:
        scene = Scene()
        scene.write(check=False)
        await scene.turn(4)
        at_once(scene.store.mark_deleting(KEY))
        scene.store.is_stuck = True
        assert isinstance(await scene.turn(4), Retry)
        last, scene.store.is_stuck = scene.plan, False
        assert isinstance(await scene.reconciler.reconcile(KEY), Gone)
        return scene, last

    scene, last = asyncio.run(story())
    assert last is not None
    assert [len(version.endpoints) for version in last.versions] == [1]
    assert scene.workloads.running == {}


def test_a_decision_that_breaks_an_invariant_is_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Decision:
        from controller.core.machine import decide

        decision = decide(*args)
        if decision.plan is None or decision.status.generation < 2:
            return decision
        return replace(decision, status=replace(decision.status, epoch=0))

    async def story() -> tuple[Outcome, Scene]:
        scene = Scene()
        scene.write(check=False)
        await scene.turn(4)
        monkeypatch.setattr("controller.reconcile.reconciler.decide", broken)
        scene.write(check=False, target="v2")
        return await scene.turn(5), scene

    outcome, scene = asyncio.run(story())
    assert isinstance(outcome, Retry)
    assert "I6" in outcome.why
    assert scene.weight("v1") == 10_000
    assert b"headgate_invariant_violations_total" in scene.metrics.exposition()


def test_a_candidate_gets_its_first_share_once_it_is_warm_and_is_then_measured_no_more() -> None:
    async def story() -> None:
        scene = Scene()
        scene.write(check=False, warmup=True)
        await scene.turn(4)
        assert scene.warmth.measured == {}
        scene.write(check=False, warmup=True, target="v2")
        await scene.turn(10)
        assert scene.warmth.measured == {KEY: "v2"}
        assert "v2 warms up: p95 as measured" in scene.stored().status.message
        assert scene.weight("v2") == 0
        scene.warmth.is_warm = True
        await scene.turn(20)
        assert scene.weight("v2") == 10_000
        assert scene.warmth.measured == {}

    asyncio.run(story())


def test_a_trial_that_is_called_off_is_warmed_up_no_more() -> None:
    async def story() -> None:
        scene = Scene()
        scene.write(check=False, warmup=True)
        await scene.turn(4)
        scene.write(check=False, warmup=True, target="v2")
        await scene.turn(4)
        scene.write(check=False, warmup=True, target="v1")
        await scene.turn(4)
        assert scene.warmth.measured == {}
        assert scene.weight("v2") == 0

    asyncio.run(story())


def test_a_hook_runs_once_it_is_recorded_and_its_yes_lets_the_candidate_in() -> None:
    async def story() -> Scene:
        scene = Scene()
        scene.write(check=False, hook=True)
        await scene.turn(4)
        scene.write(check=False, hook=True, target="v2")
        scene.store.is_full = True
        await scene.turn(3)
        assert scene.effects.running == {}
        scene.store.is_full = False
        await scene.turn(3)
        assert scene.weight("v2") == 0
        assert [effect.name for effect in scene.effects.running.values()] == ["gate"]
        scene.effects.succeed()
        await scene.turn(2)
        return scene

    scene = asyncio.run(story())
    assert scene.weight("v2") == 1000
    assert scene.effects.running == {}


def test_a_controller_that_died_with_a_hook_under_way_leaves_the_very_same_one_to_the_next() -> None:
    async def story() -> tuple[Scene, dict[str, Effect]]:
        scene = Scene()
        scene.write(check=False, hook=True)
        await scene.turn(4)
        scene.write(check=False, hook=True, target="v2")
        await scene.turn(3)
        before, scene.effects = scene.effects.running, Post()
        scene.routers = RouterRegistry(scene.store, lambda: scene.now)
        scene.reconciler = scene.controller()
        await scene.turn(2)
        return scene, before

    scene, before = asyncio.run(story())
    assert len(before) == 1
    assert scene.effects.running == before


def test_a_rollout_that_is_gone_has_no_effects_under_way() -> None:
    async def story() -> Scene:
        scene = Scene()
        scene.write(check=False, hook=True)
        await scene.turn(4)
        scene.write(check=False, hook=True, target="v2")
        await scene.turn(3)
        assert scene.effects.running
        at_once(scene.store.mark_deleting(KEY))
        await scene.turn(8)
        return scene

    scene = asyncio.run(story())
    assert scene.store.load(KEY) is None
    assert scene.effects.running == {}
