"""The registry of routers: who waits for which plan, who counts, and whose word is taken."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from controller.adapters import routers
from controller.adapters.routers import LOST_S, POLLS_MAX, ROUTERS_MAX, RouterRegistry
from controller.ports import Unwelcome
from headgate.wire.plan import NOTHING_APPLIED, Applied, PlanVersion, RoutePlan, SlotRange
from headgate.wire.telemetry import GuardTrip, Outcomes, Telemetry, VersionCounters
from tests.controller.at_once import at_once
from tests.controller.memory_store import MemoryStore

KEY = "ml/fraud"
LONG_S = 60.0


class World:
    """A registry over a store with one rollout, a clock that is set by hand, and a note of every change told."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        at_once(self.store.put_document(KEY, {"spec": {}}))
        self.now = 1_000.0
        self.changes: list[str] = []
        self.registry = self.reborn()

    def reborn(self) -> RouterRegistry:
        self.registry = RouterRegistry(self.store, lambda: self.now, self.changes.append)
        return self.registry

    async def poll(self, router: str = "r1", applied: Applied = NOTHING_APPLIED, **more: Any) -> Any:
        answer = self.registry.poll(KEY, router, applied, more.get("error", ""), more.get("wait_s", LONG_S))
        return await asyncio.wait_for(answer, LONG_S)


def plan(generation: int = 1, epoch: int = 1, revision: int = 0) -> RoutePlan:
    return RoutePlan(
        rollout=KEY,
        epoch=epoch,
        generation=generation,
        endpoints_revision=revision,
        salt="s",
        stable="v1",
        versions=(PlanVersion(name="v1", identity="i1", role="stable"),),
        slots=(SlotRange(0, 10_000, "v1"),),
    )


def report(at: float, boot: str = "b1", started_at: float = 1.0, **more: Any) -> Telemetry:
    return Telemetry(
        rollout=KEY,
        router=more.pop("router", "r1"),
        boot=boot,
        started_at=started_at,
        at=at,
        applied=more.pop("applied", "1.1.0"),
        **more,
    )


def run(scenario: Callable[[World], Awaitable[None]]) -> World:
    world = World()

    async def main() -> None:
        await scenario(world)

    asyncio.run(main())
    return world


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG_S):
        while not is_true():
            await asyncio.sleep(0.001)


def waiting(world: World, router: str = "r1") -> int:
    return len(world.registry._rollout(KEY).routers[router].waiting)


def test_a_router_that_runs_another_plan_gets_the_plan_at_once() -> None:
    async def scenario(world: World) -> None:
        world.registry.publish(plan(2))
        assert await world.poll(applied=Applied(1, 1, 0)) == plan(2)

    run(scenario)


def test_a_router_that_runs_the_plan_gets_nothing_when_its_wait_is_over() -> None:
    async def scenario(world: World) -> None:
        world.registry.publish(plan(2))
        assert await world.poll(applied=Applied(1, 2, 0), wait_s=0.05) is None

    run(scenario)


@pytest.mark.parametrize("news", [plan(2), plan(1, epoch=2), plan(1, revision=1)])
def test_a_waiting_poll_is_answered_by_any_change_of_the_triple(news: RoutePlan) -> None:
    async def scenario(world: World) -> None:
        world.registry.publish(plan(1))
        poll = asyncio.create_task(world.poll(applied=plan(1).triple))
        await until(lambda: "r1" in world.store.members(KEY) and waiting(world) == 1)
        world.registry.publish(news)
        assert await poll == news

    run(scenario)


def test_the_same_plan_published_again_answers_nobody() -> None:
    async def scenario(world: World) -> None:
        world.registry.publish(plan(1))
        poll = asyncio.create_task(world.poll(applied=plan(1).triple, wait_s=0.3))
        await until(lambda: "r1" in world.store.members(KEY) and waiting(world) == 1)
        world.registry.publish(plan(1))
        assert await poll is None

    run(scenario)


def test_a_poll_before_the_first_plan_waits_for_it() -> None:
    async def scenario(world: World) -> None:
        poll = asyncio.create_task(world.poll())
        await until(lambda: "r1" in world.store.members(KEY) and waiting(world) == 1)
        world.registry.publish(plan(1))
        assert await poll == plan(1)

    run(scenario)


def test_a_rollout_that_does_not_exist_is_unknown_and_leaves_no_trace() -> None:
    async def scenario(world: World) -> None:
        answer = await world.registry.poll("ml/nothing", "r1", NOTHING_APPLIED, "", 1.0)
        assert answer is Unwelcome.UNKNOWN_ROLLOUT
        assert world.store.members("ml/nothing") == ()
        assert "ml/nothing" not in world.registry._rollouts

    run(scenario)


def test_a_waiting_poll_learns_that_its_rollout_was_deleted() -> None:
    async def scenario(world: World) -> None:
        poll = asyncio.create_task(world.poll())
        await until(lambda: "r1" in world.store.members(KEY) and waiting(world) == 1)
        at_once(world.store.delete(KEY))
        world.registry.drop(KEY)
        assert await poll is Unwelcome.UNKNOWN_ROLLOUT

    run(scenario)


def test_every_poll_acknowledges_what_it_names() -> None:
    async def scenario(world: World) -> None:
        await world.poll(applied=Applied(3, 7, 1), wait_s=0)
        (router,) = world.registry.observed(KEY)
        assert (router.applied, router.seen_at) == (Applied(3, 7, 1), 1_000.0)
        assert world.registry.epoch_seen() == 3

    run(scenario)


def test_a_change_is_told_for_a_new_router_an_acknowledgement_and_an_error_and_not_for_the_same_again() -> (
    None
):
    async def scenario(world: World) -> None:
        told = []
        for applied, error in [((0, 0, 0), ""), ((0, 0, 0), ""), ((1, 1, 0), ""), ((1, 1, 0), "disk full")]:
            await world.poll(applied=Applied(*applied), error=error, wait_s=0)
            told.append(len(world.changes))
        assert told == [1, 1, 2, 3]
        assert set(world.changes) == {KEY}

    run(scenario)


@pytest.mark.parametrize("wait_s", [0.2, LONG_S], ids=["when its wait is over", "after a while"])
def test_a_refused_plan_is_offered_again_but_not_in_a_tight_loop(
    wait_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routers, "REFUSED_S", 0.4)

    async def scenario(world: World) -> None:
        world.registry.publish(plan(2))
        assert await world.poll() == plan(2)
        poll = asyncio.create_task(world.poll(error="slots: they end at 9", wait_s=wait_s))
        await until(lambda: waiting(world) == 1)
        world.registry.publish(plan(2))
        await asyncio.sleep(0)
        assert not poll.done()
        assert await poll == plan(2)

    run(scenario)


def test_a_router_that_has_something_else_to_say_gives_up_its_earlier_poll() -> None:
    async def scenario(world: World) -> None:
        world.registry.publish(plan(2))
        earlier = asyncio.create_task(world.poll(applied=plan(2).triple))
        await until(lambda: "r1" in world.store.members(KEY) and waiting(world) == 1)
        later = asyncio.create_task(world.poll(applied=plan(2).triple, error="the disk is full"))
        assert await earlier is None
        assert not later.done()
        world.registry.publish(plan(3))
        assert await later == plan(3)

    run(scenario)


def test_a_refused_plan_is_followed_at_once_by_a_better_one() -> None:
    async def scenario(world: World) -> None:
        world.registry.publish(plan(2))
        await world.poll()
        poll = asyncio.create_task(world.poll(error="slots: they end at 9"))
        await until(lambda: waiting(world) == 1)
        world.registry.publish(plan(3))
        assert await poll == plan(3)
        assert world.registry.observed(KEY)[0].error == "slots: they end at 9"

    run(scenario)


def test_a_router_counts_after_a_restart_of_the_controller_before_it_is_heard() -> None:
    async def scenario(world: World) -> None:
        await world.poll(router="r2", wait_s=0)
        await world.poll(router="r1", applied=Applied(1, 1, 0), wait_s=0)
        world.reborn()
        assert [(seen.id, seen.applied, seen.seen_at) for seen in world.registry.observed(KEY)] == [
            ("r1", NOTHING_APPLIED, 0.0),
            ("r2", NOTHING_APPLIED, 0.0),
        ]

    run(scenario)


def test_a_forgotten_router_counts_no_more_and_one_that_is_alive_polls_and_counts_again() -> None:
    async def scenario(world: World) -> None:
        poll = asyncio.create_task(world.poll())
        await until(lambda: "r1" in world.store.members(KEY) and waiting(world) == 1)
        assert await world.registry.forget(KEY, "r1")
        assert world.registry.observed(KEY) == ()
        assert await poll is None  # ended, so that a living router comes back at once
        assert not await world.registry.forget(KEY, "r1")
        await world.poll(wait_s=0)
        assert [seen.id for seen in world.registry.observed(KEY)] == ["r1"]

    run(scenario)


def test_more_routers_than_are_kept_are_refused_and_named_as_that() -> None:
    async def scenario(world: World) -> None:
        for number in range(ROUTERS_MAX):
            await world.poll(router=f"r{number}", wait_s=0)
        assert await world.poll(router="one-more", wait_s=0) is Unwelcome.TOO_MANY_ROUTERS
        assert len(world.store.members(KEY)) == ROUTERS_MAX

    run(scenario)


def test_abandoned_polls_of_one_router_do_not_pile_up() -> None:
    async def scenario(world: World) -> None:
        polls = [asyncio.create_task(world.poll()) for _ in range(POLLS_MAX + 3)]
        await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED, timeout=LONG_S)
        await until(lambda: waiting(world) == POLLS_MAX)
        await until(lambda: [poll.done() for poll in polls] == [True] * 3 + [False] * POLLS_MAX)
        world.registry.close()
        assert await asyncio.gather(*polls) == [None] * len(polls)

    run(scenario)


def test_a_report_of_a_router_that_never_polled_or_of_no_rollout_is_not_kept() -> None:
    async def scenario(world: World) -> None:
        assert world.registry.report(report(5.0)) is Unwelcome.UNKNOWN_ROUTER
        at_once(world.store.delete(KEY))
        world.reborn()
        assert world.registry.report(report(5.0)) is Unwelcome.UNKNOWN_ROLLOUT
        assert world.registry.reports(KEY) == ()

    run(scenario)


@pytest.mark.parametrize(
    ("second", "silence_s", "is_kept"),
    [
        (report(6.0), 0, True),
        (report(4.0), 0, False),
        (report(2.0, boot="b2", started_at=2.0), 0, True),
        (report(9.0, boot="b0", started_at=0.5), 0, False),
        (report(9.0, boot="b0", started_at=0.5), LOST_S + 1, True),
    ],
    ids=["later", "earlier", "a later life", "an earlier life", "a life whose clock went back"],
)
def test_the_newest_report_of_the_newest_life_is_kept(
    second: Telemetry, silence_s: float, is_kept: bool
) -> None:
    async def scenario(world: World) -> None:
        await world.poll(wait_s=0)
        assert world.registry.report(report(5.0)) is None
        world.now += silence_s
        assert (world.registry.report(second) is None) == is_kept
        assert world.registry.reports(KEY) == ((second if is_kept else report(5.0)),)

    run(scenario)


def test_a_trip_and_a_pin_are_told_at_once_and_seen_and_a_plain_report_is_not_told() -> None:
    trip = GuardTrip(
        version="v2",
        identity="i2",
        attempt=1,
        at=5.0,
        failed=30,
        requests=40,
        stable_failed=0,
        stable_requests=900,
    )

    async def scenario(world: World) -> None:
        await world.poll(wait_s=0)
        told = [len(world.changes)]
        for at, more in [
            (5.0, {}),
            (6.0, {"trips": (trip,)}),
            (7.0, {"trips": (trip,)}),
            (8.0, {"pinned": "v1"}),
        ]:
            world.registry.report(report(at, **more))
            told.append(len(world.changes))
            if more.get("trips"):
                (seen,) = world.registry.observed(KEY)[0].trips
                assert (seen.identity, seen.attempt) == ("i2", 1)
                assert seen.text == "v2 failed 30 of 40 requests where stable failed 0 of 900"
        assert told == [1, 1, 2, 2, 3]
        assert world.registry.observed(KEY)[0].pinned == "v1"

    run(scenario)


def test_a_report_shows_that_the_router_is_alive_but_acknowledges_nothing() -> None:
    async def scenario(world: World) -> None:
        await world.poll(wait_s=0)
        world.now = 1_007.0
        world.registry.report(report(5.0, applied="4.9.0"))
        (router,) = world.registry.observed(KEY)
        assert (router.seen_at, router.applied) == (1_007.0, NOTHING_APPLIED)
        assert world.registry.epoch_seen() == 4

    run(scenario)


# --- how much traffic there is -------------------------------------------------------------------------------------


def counted(requests: int) -> dict[str, Any]:
    picked = Outcomes(requests=requests)
    return {"versions": (VersionCounters(version="v1", identity="i1", picked=picked),)}


def rates(*told: tuple[float, str, int], routers: tuple[str, ...] = ("r1",)) -> list[float | None]:
    """The rate after each report: (seconds since the first, boot, requests so far)."""
    found: list[float | None] = []

    async def scenario(world: World) -> None:
        for name in routers:
            await world.poll(name, wait_s=0.0)
        for at, boot, requests in told:
            world.now = 1_000.0 + at
            for name in routers:
                life = 1.0 if boot == "b1" else 2.0
                world.registry.report(report(at, boot, life, router=name, **counted(requests)))
            found.append(world.registry.requests_per_s(KEY))
        world.now += LOST_S + 1
        found.append(world.registry.requests_per_s(KEY))

    run(scenario)
    return found


def test_the_rate_is_what_the_routers_split_lately_and_unknown_without_reports() -> None:
    assert rates((1.0, "b1", 1_000), (2.0, "b1", 1_100)) == [None, 100.0, None]


def test_the_rate_adds_up_over_routers() -> None:
    assert rates((1.0, "b1", 0), (11.0, "b1", 500), routers=("r1", "r2"))[1] == 100.0


def test_the_rate_forgets_what_was_long_ago() -> None:
    minute = [(float(at), "b1", 100 * at) for at in range(1, 61)]
    silence = [(float(at), "b1", 6_000) for at in range(61, 121)]
    found = rates(*minute, *silence)
    assert found[59] == 100.0
    assert found[119] == 0.0


def test_a_router_that_started_anew_tells_its_rate_after_two_reports() -> None:
    found = rates((1.0, "b1", 1_000), (2.0, "b1", 1_100), (3.0, "b2", 5), (4.0, "b2", 55))
    assert found[2:4] == [None, 50.0]


def test_a_version_that_is_gone_from_the_reports_makes_no_negative_rate() -> None:
    assert rates((1.0, "b1", 1_000), (2.0, "b1", 400), (3.0, "b1", 500)) == [None, None, 100.0, None]


def test_what_is_usual_with_stable_is_learned_from_every_report_and_forgotten_with_another_stable() -> None:
    async def scenario(world: World) -> None:
        world.registry.publish(plan())
        await world.poll(wait_s=0.0, applied=Applied(1, 1, 0))
        for second in range(60):
            world.now += 1
            counted = VersionCounters(
                version="v1",
                identity="i1",
                picked=Outcomes(100 * second, 10 * second),
                half=Outcomes(50 * second, 10 * second if second % 2 else 10 * second - 10),
            )
            assert world.registry.report(report(float(second), versions=(counted,))) is None
        usual = world.registry.usual(KEY)
        assert usual.is_known
        assert usual.phi > 2
        other = PlanVersion(name="v2", identity="i2", role="stable")
        world.registry.publish(
            msgspec.structs.replace(
                plan(2), stable="v2", versions=(other,), slots=(SlotRange(0, 10_000, "v2"),)
            )
        )
        world.now += 1
        assert world.registry.report(report(60.0)) is None
        assert not world.registry.usual(KEY).is_known

    run(scenario)
