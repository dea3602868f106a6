"""Requests that match, through a real worker: who answers them, where they are counted, and what the guard makes of it."""

from pathlib import Path
from typing import Any

import msgspec

from headgate.wire.plan import Condition, IdentityKey, Match, Overrides, RoutePlan, Shadow
from router.core.channel import RUN_FILES
from router.core.guard import read_trips
from tests.router.proxy.proxy_world import (
    Agent,
    Model,
    Router,
    ask,
    calling,
    get,
    models,
    plan_of,
    post,
    run,
    serving,
    slots,
    until,
    version,
)
from tests.router.proxy.test_copies import ALL, Observer, warm
from tests.router.proxy.test_plans import fail

BETA = "X-Group: beta"
USER = IdentityKey(("header:x-user-id",))


def to(weights: dict[str, int], *more: Condition) -> Match:
    """Those with `X-Group: beta` are split so."""
    return Match((Condition("header:x-group", exact="beta"), *more), slots(**weights))


def matching(a: Model, b: Model, weights: dict[str, int], **more: Any) -> RoutePlan:
    return plan_of(version("v1", a), version("v2", b), match=to(weights), **more)


async def versions_of(router: Router, *requests: bytes) -> list[str]:
    """Which version answered each, on one connection."""
    async with calling(router) as caller:
        return [(await caller.ask(one))["x-headgate-version"] for one in requests]


def test_only_those_that_match_reach_the_candidate_and_they_are_counted_apart(tmp_path: Path):
    async def test() -> None:
        async with models(Model("a"), Model("b")) as (a, b):
            plan = matching(a, b, {"v2": 10_000})
            async with serving(tmp_path, plan) as router:
                requests = [
                    (get("/", BETA), "v2"),
                    (get("/", "x-group:beta"), "v2"),
                    (get("/", "X-Group: alpha", BETA), "v2"),
                    (get("/", "X-Group: beta2"), "v1"),
                    (get("/", "X-Group: alpha, beta"), "v1"),
                    (get(), "v1"),
                ]
                assert await versions_of(router, *(one for one, _ in requests)) == [n for _, n in requests]
                await router.settled()
                v1, v2 = router.counted("v1"), router.counted("v2")
                assert (v2.matched.requests, v2.matched.status_2xx, sum(v2.matched.latency)) == (3, 3, 3)
                assert (v1.picked.requests, v1.matched.requests) == (3, 0)
                assert (v2.picked.requests, v2.selected.requests, v2.half.requests) == (0, 0, 0)

    run(test())


def test_a_share_of_the_matching_is_random_among_them_and_sticky_as_long_as_it_stays(tmp_path: Path):
    users = [f"X-User-Id: u{i}" for i in range(60)]

    async def test() -> None:
        async with models(Model("a"), Model("b")) as (a, b):
            plan = matching(a, b, {"v1": 5_000, "v2": 5_000}, identity=USER)
            async with serving(tmp_path, plan, workers=2) as router:
                agent = await Agent().start(tmp_path / RUN_FILES.agent_socket)
                first = [(await versions_of(router, get("/", BETA, user)))[0] for user in users]
                assert set(first) == {"v1", "v2"}
                again = [(await versions_of(router, get("/more", user, BETA)))[0] for user in users]
                assert again == first, "another worker, connection or path is no other version"
                assert set(await versions_of(router, *(get("/", user) for user in users))) == {"v1"}

                match = to({"v1": 2_500, "v2": 7_500})
                agent.assign(router.assignment(msgspec.structs.replace(plan, match=match, generation=2)))
                await until(
                    lambda: [str(router.worker(i).applied) for i in range(2)] == ["1.2.0"] * 2, "the plan"
                )
                raised = [(await versions_of(router, get("/", BETA, user)))[0] for user in users]
                assert {(a, b) for a, b in zip(first, raised, strict=True)} == {
                    ("v1", "v1"),
                    ("v1", "v2"),
                    ("v2", "v2"),
                }, "nobody went back"

                none = msgspec.structs.replace(plan, match=None, generation=3)
                agent.assign(router.assignment(none))
                await until(
                    lambda: [str(router.worker(i).applied) for i in range(2)] == ["1.3.0"] * 2, "no match"
                )
                assert set(await versions_of(router, *(get("/", BETA, user) for user in users))) == {"v1"}
                await router.settled()
                matched = [router.counted(name).matched.requests for name in ("v1", "v2")]
                assert sum(matched) == 3 * len(users)
                assert router.counted("v1").picked.requests == 2 * len(users)
                await agent.stop()

    run(test())


def test_every_condition_must_hold_and_cookies_are_read_as_for_the_identity(tmp_path: Path):
    async def test() -> None:
        async with models(Model("a"), Model("b")) as (a, b):
            match = to({"v2": 10_000}, Condition("cookie:tier", prefix="gold"), Condition("header:x-app"))
            plan = plan_of(version("v1", a), version("v2", b), match=match)
            async with serving(tmp_path, plan) as router:
                gold, app = 'Cookie: a=1; tier="gold-7"', "X-App:"
                requests = [get("/", BETA, gold, app), get("/", BETA, gold), get("/", BETA, app)]
                requests += [get("/", gold, app), get("/", BETA, app, "Cookie: a=1", "Cookie: tier=gold")]
                assert await versions_of(router, *requests) == ["v2", "v1", "v1", "v1", "v2"]

    run(test())


def test_a_pin_outranks_an_override_and_an_override_a_match(tmp_path: Path):
    async def test() -> None:
        async with models(Model("a"), Model("b"), Model("c")) as (a, b, other):
            plan = plan_of(
                version("v1", a),
                version("v2", b),
                version("v3", other),
                match=to({"v2": 10_000}),
                overrides=Overrides("x-headgate-version", ("v3",)),
                counted_paths=("/infer",),
            )
            async with serving(tmp_path, plan) as router:
                override = "X-Headgate-Version: v3"
                requests = [post(b"", "/infer", BETA, override), post(b"", "/infer", BETA), get("/", BETA)]
                assert await versions_of(router, *requests) == ["v3", "v2", "v2"]
                await router.settled()
                assert (router.counted("v3").selected.requests, router.counted("v3").matched.requests) == (
                    1,
                    0,
                )
                assert (router.counted("v2").matched.requests, router.counted("v2").other) == (1, 1)
                (tmp_path / RUN_FILES.pin).write_text("v1")
                await until(lambda: "pinned" in router.log_text(), "the pin")
                assert await versions_of(router, *requests) == ["v1"] * 3
                await router.settled()
                assert (router.counted("v1").picked.requests, router.counted("v1").matched.requests) == (2, 0)

    run(test())


def test_matched_requests_of_a_version_without_an_endpoint_are_saved_by_stable(tmp_path: Path):
    async def test() -> None:
        gone = await Model("gone").start()
        await gone.stop()
        async with models(Model("a")) as (a,):
            for name, candidate in (("refuses", version("v2", gone)), ("empty", version("v2"))):
                folder = tmp_path / name
                folder.mkdir()
                plan = plan_of(version("v1", a), candidate, match=to({"v2": 10_000}))
                async with serving(folder, plan) as router:
                    assert await versions_of(router, *[get("/", BETA)] * 3) == ["v1"] * 3
                    await router.settled()
                    v1, v2 = router.counted("v1"), router.counted("v2")
                    assert (v2.matched.requests, v2.matched.failed, v2.matched.no_connection) == (3, 3, 3)
                    assert (v2.saved_by_stable, v2.picked.requests) == (3, 0)
                    assert (v1.picked.requests, v1.matched.requests, v1.other) == (0, 0, 3)

    run(test())


def test_the_guard_takes_a_failing_candidate_s_matched_slots_too(tmp_path: Path):
    async def test() -> None:
        async with models(Model("a"), Model("b", fail)) as (a, b):
            plan = matching(a, b, {"v2": 10_000})
            async with serving(tmp_path, plan, workers=2) as router:
                answered: list[str] = []
                for _ in range(3_000):
                    answered += [(await ask(router, get("/", BETA)))["x-headgate-version"]]
                    answered += [(await ask(router, get()))["x-headgate-version"]]
                    if "v2" not in answered[-100:]:
                        break
                assert set(answered[1::2]) == {"v1"}
                assert set(answered[-100:]) == {"v1"}
                (found,) = read_trips((tmp_path / RUN_FILES.trips).read_bytes())
                assert (found.version, found.failed >= 20, found.stable_requests > 0) == ("v2", True, True)
                await router.settled()
                counted = router.counted("v2")
                assert (counted.picked.requests, counted.matched.status_5xx) == (0, answered.count("v2"))
                assert router.counted("v1").matched.requests > 0, (
                    "they match still, and stable has their slots"
                )

    run(test())


def test_matched_requests_are_copied_unless_the_match_gives_everything_to_one_version(tmp_path: Path):
    async def live_versions(folder: Path, plan: RoutePlan) -> list[str]:
        """The live side of every copy that 20 matching requests make."""
        folder.mkdir()
        observer = await Observer().start(folder)
        async with serving(folder, plan) as router, calling(router) as caller:
            await warm(observer)
            for _ in range(20):
                await caller.ask(post(b"x", "/infer", BETA))
            await caller.ask(post(b"last"))
            await until(lambda: any(one.request_body == b"last" for one in observer.copies), "all copies")
        await observer.stop()
        return sorted(one.live for one in observer.copies if one.request_body == b"x")

    async def test() -> None:
        async with models(Model("a"), Model("b"), Model("c")) as (a, b, other):
            three = (version("v1", a), version("v2", b), version("v3", other))
            plan = plan_of(*three, shadows=(Shadow("v3", ALL),))
            change = msgspec.structs.replace
            found = {
                name: await live_versions(tmp_path / name, change(plan, match=to(weights)))
                for name, weights in (
                    ("all", {"v2": 10_000}),
                    ("none", {"v1": 10_000}),
                    ("half", {"v1": 5_000, "v2": 5_000}),
                )
            }
            assert found["all"] == [], "who matches has chosen"
            assert found["none"] == ["v1"] * 20
            assert set(found["half"]) == {"v1", "v2"}
            assert len(found["half"]) == 20

    run(test())
