"""What a new leader does about rollouts that another left: nothing where they rest, its own epoch first where not."""

import asyncio

from controller.core.status import Action, Phase, Verb
from controller.ports import Stored
from headgate.wire.plan import Applied
from tests.controller.at_once import at_once
from tests.controller.reconcile.test_reconciler import KEY, Scene


def at_rest() -> Scene:
    """A rollout that a leader brought to rest, and another leader that has not looked at it yet."""
    scene = Scene()
    scene.write()
    asyncio.run(_turned(scene, 5))
    assert scene.stored().status.phase is Phase.HEALTHY
    scene.reconciler = scene.controller()
    return scene


async def _turned(scene: Scene, times: int) -> Stored:
    await scene.turn(times)
    return scene.stored()


def test_about_a_rollout_at_rest_nothing_is_written_and_its_routers_keep_their_plan() -> None:
    scene = at_rest()
    before, applied = scene.stored(), scene.applied
    after = asyncio.run(_turned(scene, 5))
    assert after is before
    assert scene.applied == applied


def test_the_first_record_has_its_epoch_and_so_has_every_plan_from_then_on() -> None:
    scene = at_rest()
    asyncio.run(_turned(scene, 2))
    scene.write(target="v2")
    after = asyncio.run(_turned(scene, 3))
    assert after.status.epoch == 2
    assert scene.applied.epoch == 2
    assert scene.weight("v2") == 1000


def test_an_action_is_answered_under_its_epoch() -> None:
    scene = at_rest()
    at_once(scene.store.add_action(KEY, Action("a1", Verb.PAUSE, "v1", "ann", "wait")))
    assert asyncio.run(_turned(scene, 1)).status.epoch == 2
    assert scene.applied.epoch == 2


def test_endpoints_that_changed_reach_the_routers_under_its_epoch() -> None:
    scene = at_rest()
    before = scene.applied
    scene.workloads.first_port = 9500
    assert asyncio.run(_turned(scene, 1)).status.epoch == 2
    assert scene.applied == Applied(2, before.generation, before.endpoints_revision + 1)


def test_a_rollout_with_a_candidate_is_taken_over_at_once() -> None:
    scene = Scene()
    scene.write()
    asyncio.run(_turned(scene, 4))
    scene.write(target="v2")
    asyncio.run(_turned(scene, 4))
    scene.reconciler = scene.controller()
    assert asyncio.run(_turned(scene, 1)).status.epoch == 2
    assert scene.applied.epoch == 2


def test_a_router_that_runs_a_newer_plan_than_is_recorded_is_given_one_of_its_epoch() -> None:
    scene = at_rest()
    newer = scene.applied._replace(generation=scene.applied.generation + 1)
    asyncio.run(scene.routers.poll(KEY, "r1", newer, "", 0.0))
    asyncio.run(scene.reconciler.reconcile(KEY))
    assert scene.stored().status.epoch == 2
