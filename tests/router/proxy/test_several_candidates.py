"""Several candidates at once: each has its own slots and counters, and the guard judges each against stable alone."""

from collections import Counter
from pathlib import Path

from headgate.wire.plan import IdentityKey, RoutePlan
from router.core.channel import RUN_FILES
from router.core.guard import read_trips
from router.core.pick import hash_of, is_in_first_half
from tests.router.proxy.proxy_world import (
    Model,
    Router,
    calling,
    get,
    models,
    plan_of,
    run,
    serving,
    version,
)
from tests.router.proxy.test_plans import fail

USERS = [f"u{number}" for number in range(300)]


def plan_for(stable: Model, one: Model, other: Model) -> RoutePlan:
    return plan_of(
        version("v1", stable),
        version("v2", one),
        version("v3", other),
        weights={"v1": 4_000, "v2": 3_000, "v3": 3_000},
        identity=IdentityKey(("header:x-user-id",)),
    )


async def versions_of(router: Router) -> dict[str, str]:
    async with calling(router) as caller:
        return {
            user: (await caller.ask(get("/", f"X-User-Id: {user}")))["x-headgate-version"] for user in USERS
        }


def test_each_candidate_has_its_users_its_counters_and_its_half(tmp_path: Path):
    async def test() -> None:
        async with (
            models(Model("a"), Model("b"), Model("c")) as (a, b, other),
            serving(tmp_path, plan_for(a, b, other), workers=2) as router,
        ):
            answered = await versions_of(router)
            assert await versions_of(router) == answered
            await router.settled()
            for name, count in Counter(answered.values()).items():
                counted = router.counted(name)
                halves = [
                    is_in_first_half(hash_of(b"pepper", user.encode()))
                    for user, one in answered.items()
                    if one == name
                ]
                assert (counted.picked.requests, counted.picked.failed) == (2 * count, 0)
                assert counted.half.requests == 2 * sum(halves)
                assert sum(counted.half.latency) == counted.half.status_2xx == counted.half.requests

    run(test())


def test_the_guard_takes_one_candidate_s_share_and_not_the_other_s(tmp_path: Path):
    async def test() -> None:
        async with (
            models(Model("a"), Model("b", fail), Model("c")) as (a, b, other),
            serving(tmp_path, plan_for(a, b, other), workers=2) as router,
        ):
            before = await versions_of(router)
            after = before
            for _ in range(200):
                if "v2" not in after.values():
                    break
                after = await versions_of(router)
            assert after == {user: "v1" if one == "v2" else one for user, one in before.items()}
            (found,) = read_trips((tmp_path / RUN_FILES.trips).read_bytes())
            assert (found.version, found.failed, found.stable_failed) == ("v2", found.requests, 0)
            await router.settled()
            assert router.counted("v3").picked.failed == router.counted("v1").picked.failed == 0
            assert router.counted("v2").picked.failed == router.counted("v2").picked.requests

    run(test())
