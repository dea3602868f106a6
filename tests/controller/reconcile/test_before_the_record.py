"""What is in force before it is recorded: what a person asked for, if it only takes share away."""

import asyncio
from collections.abc import Awaitable, Callable

from controller.core.status import Action, Phase, Verb
from controller.errors import StoreConflict
from controller.ports import Recorded
from headgate.wire.plan import RoutePlan
from tests.controller.at_once import at_once
from tests.controller.reconcile.test_reconciler import KEY, FailingStore, Scene


class WatchedStore(FailingStore):
    """Notes at each record which share of v2 the router could have had by then; refuses the next one if told to."""

    def __init__(self) -> None:
        super().__init__()
        self.in_force: Callable[[], Awaitable[int]] | None = None
        self.offered: list[int] = []
        self.is_overtaken = False

    async def record(self, key: str, recorded: Recorded) -> None:
        if self.in_force is not None:
            self.offered.append(await self.in_force())
        if self.is_overtaken:
            self.is_overtaken = False
            raise StoreConflict(f"{key} was changed meanwhile")
        await super().record(key, recorded)


def watched() -> tuple[Scene, WatchedStore]:
    """A scene at rest, and its store, which watches from now on."""
    store = WatchedStore()
    scene = Scene(store)

    async def in_force() -> int:
        offered = await scene.routers.poll(KEY, "r1", scene.applied, "", 0.0)
        plan = offered if isinstance(offered, RoutePlan) else scene.plan
        return plan.weights().get("v2", 0) if plan is not None else 0

    scene.write(check=False)
    asyncio.run(_turned(scene, 4))
    store.in_force = in_force
    return scene, store


async def _turned(scene: Scene, times: int) -> None:
    await scene.turn(times)


def with_share() -> tuple[Scene, WatchedStore]:
    """v2 has its first share, and somebody has asked for a rollback."""
    scene, store = watched()
    scene.write(check=False, target="v2")
    asyncio.run(_turned(scene, 2))
    assert scene.weight("v2") == 1000
    store.offered.clear()
    at_once(store.add_action(KEY, Action("a1", Verb.ROLLBACK, "v2", "ann", "no good")))
    return scene, store


def test_the_routers_have_a_persons_rollback_before_it_is_recorded() -> None:
    scene, store = with_share()
    asyncio.run(_turned(scene, 1))
    assert store.offered == [0]


def test_an_increase_is_recorded_before_the_routers_have_it() -> None:
    scene, store = watched()
    scene.write(check=False, target="v2")
    asyncio.run(_turned(scene, 2))
    assert scene.weight("v2") == 1000
    assert store.offered == [0, 0]


def test_a_rollback_whose_record_was_overtaken_stays_in_force_and_is_recorded_under_a_later_number() -> None:
    scene, store = with_share()
    store.is_overtaken = True
    asyncio.run(_turned(scene, 1))
    assert scene.weight("v2") == 0
    ahead = scene.applied.generation
    asyncio.run(_turned(scene, 6))
    assert scene.weight("v2") == 0
    assert scene.stored().status.generation >= ahead
    assert scene.stored().status.phase is Phase.ROLLED_BACK
    assert store.action_result("a1") == (True, "rollback of v2 accepted")
