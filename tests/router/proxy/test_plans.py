"""Plans come and go under load: no request is lost, none is refused in silence, and nothing old comes back."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import msgspec

from headgate.wire.plan import IdentityKey, Limits, RoutePlan, Shadow
from router.core import counters as c
from router.core.channel import RUN_FILES, Assignment
from router.core.guard import read_trips
from tests.router.proxy.proxy_world import (
    Agent,
    Message,
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
    until,
    version,
)


async def fail(request: Message, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")


def flipped(a: Model, b: Model, generation: int, to: str, **more: Any) -> RoutePlan:
    return plan_of(version("v1", a), version("v2", b), weights={to: 10_000}, generation=generation, **more)


def test_a_plan_from_the_agent_is_served_and_reported(tmp_path: Path):
    async def test() -> None:
        async with models(Model("a"), Model("b")) as (a, b), serving(tmp_path, None) as router:
            assert (await ask(router, get())).status == 503
            agent = await Agent().start(tmp_path / RUN_FILES.agent_socket)
            agent.assign(router.assignment(flipped(a, b, 1, "v1")))
            await until(lambda: agent.reports, "a report")
            assert (agent.hellos[0].kind, agent.hellos[0].pid) == ("worker", router.processes[0].pid)
            assert (agent.reports[-1].applied, agent.reports[-1].error) == ("1.1.0", "")
            assert (await ask(router, get()))["x-headgate-version"] == "v1"
            agent.assign(router.assignment(flipped(a, b, 2, "v2")))
            await until(lambda: agent.reports[-1].applied == "1.2.0", "a report of the second plan")
            assert (await ask(router, get()))["x-headgate-version"] == "v2"
            assert str(router.worker().applied) == "1.2.0"
            await agent.stop()
            assert (await ask(router, get()))["x-headgate-version"] == "v2", "serves on without an agent"
            (tmp_path / RUN_FILES.agent_socket).unlink()
            agent = await Agent().start(tmp_path / RUN_FILES.agent_socket)
            agent.assign(router.assignment(flipped(a, b, 3, "v1")))
            await until(
                lambda: agent.reports and agent.reports[-1].applied == "1.3.0", "a new agent is found"
            )
            await agent.stop()

    run(test())


def test_plans_that_are_old_or_unsound_are_refused_and_what_runs_goes_on(tmp_path: Path):
    async def test() -> None:
        async with models(Model("a"), Model("b")) as (a, b):
            plan = flipped(a, b, 5, "v1", epoch=3)
            async with serving(tmp_path, plan) as router:
                agent = await Agent().start(tmp_path / RUN_FILES.agent_socket)
                good = router.assignment(plan)
                change = msgspec.structs.replace
                refused = {
                    "epoch 2 is older than 3": router.assignment(change(plan, epoch=2, generation=9)),
                    "generation 4 is older than 5": router.assignment(change(plan, generation=4)),
                    "v9 is not among versions": router.assignment(change(plan, generation=6, stable="v9")),
                    "columns: none for v2": Assignment(change(plan, generation=6), {"id-v1": 0}),
                    "columns: 0 of v2 is also that of": Assignment(
                        change(plan, generation=6), {"id-v1": 0, "id-v2": 0}
                    ),
                    "columns: 99 of v2 is not in": Assignment(
                        change(plan, generation=6), {"id-v1": 0, "id-v2": 99}
                    ),
                }
                for why, assignment in refused.items():
                    count = len(agent.reports)
                    agent.assign(assignment)
                    await until(lambda count=count: len(agent.reports) > count, "a report")
                    assert why in agent.reports[-1].error
                    assert agent.reports[-1].applied == "3.5.0"
                    assert (await ask(router, get()))["x-headgate-version"] == "v1"
                agent.assign(good)
                await until(lambda: agent.reports[-1].error == "", "the same plan again is no fault")
                agent.assign(router.assignment(flipped(a, b, 1, "v2", epoch=4)))
                await until(lambda: agent.reports[-1].applied == "4.1.0", "a new epoch begins anew")
                await agent.stop()

    run(test())


def test_an_agent_that_talks_nonsense_is_left_and_found_again(tmp_path: Path):
    async def test() -> None:
        talked = asyncio.Event()

        async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"\xff\xff\xff\xff garbage")
            talked.set()
            await reader.read()
            writer.close()

        async with models(Model()) as (model,), serving(tmp_path, plan_of(version("v1", model))) as router:
            server = await asyncio.start_unix_server(nonsense, tmp_path / RUN_FILES.agent_socket)
            await talked.wait()
            assert (await ask(router, get())).status == 200
            server.close()
            (tmp_path / RUN_FILES.agent_socket).unlink()
            agent = await Agent().start(tmp_path / RUN_FILES.agent_socket)
            await until(lambda: agent.hellos, "the worker comes back")
            await agent.stop()

    run(test())


def test_no_request_is_lost_over_a_thousand_flips_under_load(tmp_path: Path):
    async def test() -> None:
        async with (
            models(Model("a"), Model("b")) as (a, b),
            serving(tmp_path, flipped(a, b, 1, "v1")) as router,
        ):
            agent = await Agent().start(tmp_path / RUN_FILES.agent_socket)
            await until(lambda: agent.hellos, "the worker")
            is_over = False
            seen: dict[str, int] = {}

            async def client(number: int) -> int:
                async with calling(router) as caller:
                    i = 0
                    while not is_over:
                        body = b"%d-%d" % (number, i)
                        got = await caller.ask(post(body))
                        assert (got.status, got.body) == (200, body)
                        seen[got["x-headgate-version"]] = seen.get(got["x-headgate-version"], 0) + 1
                        i += 1
                    return i

            clients = [asyncio.create_task(client(number)) for number in range(8)]
            for generation in range(2, 1002):
                agent.assign(
                    router.assignment(flipped(a, b, generation, "v2" if generation % 2 == 0 else "v1"))
                )
                await asyncio.sleep(0.002)
            await until(lambda: agent.reports and agent.reports[-1].applied == "1.1001.0", "the last plan")
            is_over = True
            sent = sum(await asyncio.gather(*clients))
            await router.settled()
            counted = {name: router.counted(name) for name in ("v1", "v2")}
            assert sum(one.picked.status_2xx for one in counted.values()) == sent
            assert sum(one.picked.failed for one in counted.values()) == 0
            assert min(seen.values()) > 10
            assert all(one.error == "" for one in agent.reports)
            await agent.stop()

    run(test())


def test_an_endpoint_that_leaves_the_plan_keeps_its_requests_and_loses_its_connections(tmp_path: Path):
    gate = asyncio.Event()

    async def slow(request: Message, writer: asyncio.StreamWriter) -> None:
        if request.path == "/slow":
            await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def test() -> None:
        async with (
            models(Model("a", slow), Model("b")) as (a, b),
            serving(tmp_path, flipped(a, b, 1, "v1")) as router,
        ):
            agent = await Agent().start(tmp_path / RUN_FILES.agent_socket)
            async with calling(router) as caller, calling(router) as other:
                caller.send(get("/slow"))
                await until(lambda: a.seen, "the request is in flight")
                assert (await other.ask(get())).status == 200
                await until(lambda: a.open == 2, "two connections")
                agent.assign(router.assignment(plan_of(version("v2", b), generation=2)))
                await until(lambda: a.open == 1, "the idle connection is closed")
                assert (await other.ask(get()))["x-headgate-version"] == "v2"
                gate.set()
                got = await caller.answer()
                assert (got.status, got["x-headgate-version"]) == (200, "v1")
                await until(lambda: a.open == 0, "so is the other when its request is over")
            await agent.stop()

    run(test())


def test_a_column_that_another_identity_takes_over_is_counted_anew(tmp_path: Path):
    gate = asyncio.Event()

    async def slow(request: Message, writer: asyncio.StreamWriter) -> None:
        if request.path == "/slow":
            await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def test() -> None:
        async with models(Model("a", slow)) as (a,), serving(tmp_path, plan_of(version("v1", a))) as router:
            agent = await Agent().start(tmp_path / RUN_FILES.agent_socket)
            async with calling(router) as caller, calling(router) as other:
                caller.send(get("/slow"))
                await until(lambda: a.seen, "the request is in flight")
                await other.ask(get())
                plan = plan_of(version("v1", a, identity="new"), generation=2)
                agent.assign(Assignment(plan, {"new": 0}))
                await until(lambda: agent.reports and agent.reports[-1].applied == "1.2.0", "the plan")
                await other.ask(get())
                gate.set()
                assert (await caller.answer()).status == 200
            router.columns["new"] = 0
            await router.settled()
            assert router.counted("v1", "new").picked.requests == 1, (
                "the old one's request is not the new one's"
            )
            await agent.stop()

    run(test())


def test_a_person_s_pin_beats_the_plan_until_it_is_taken_away(tmp_path: Path):
    async def test() -> None:
        async with (
            models(Model("a"), Model("b")) as (a, b),
            serving(tmp_path, flipped(a, b, 1, "v1")) as router,
        ):
            pin = tmp_path / RUN_FILES.pin

            async def answered_by() -> str:
                return (await ask(router, get()))["x-headgate-version"]

            async def becomes(name: str) -> None:
                for _ in range(1000):
                    if await answered_by() == name:
                        return
                    await asyncio.sleep(0.02)
                raise AssertionError(f"never served by {name}")

            pin.write_text("v2\n")
            await becomes("v2")
            pin.write_text("no-such-version")
            await becomes("v1")
            pin.write_text("v2")
            await becomes("v2")
            pin.unlink()
            await becomes("v1")

    run(test())


async def trip(router: Router, callers: int = 4) -> list[str]:
    """Requests until v2 answers none any more; the versions that answered, in order."""
    answered = []
    for i in range(3000):
        got = await ask(router, get("/", f"X-User-Id: u{i}"))
        answered.append(got["x-headgate-version"])
        if len(answered) > 100 and "v2" not in answered[-100:]:
            return answered
        await asyncio.sleep(0.002)
    raise AssertionError("the guard never tripped")


def test_the_guard_takes_a_failing_candidate_s_share_in_every_worker_and_keeps_it(tmp_path: Path):
    async def test() -> None:
        async with models(Model("a"), Model("b", fail)) as (a, b):
            plan = plan_of(
                version("v1", a),
                version("v2", b),
                weights={"v1": 5000, "v2": 5000},
                identity=IdentityKey(("header:x-user-id",)),
            )
            async with serving(tmp_path, plan, workers=2) as router:
                await trip(router)
                (found,) = read_trips((tmp_path / RUN_FILES.trips).read_bytes())
                assert (found.version, found.identity, found.attempt) == ("v2", "id-v2", 1)
                assert found.failed >= 20
                assert found.failed > 0.2 * found.requests
                assert found.stable_requests > 0

                for index in range(2):  # the trip outlives the workers
                    router.processes[index].send_signal(signal.SIGKILL)
                    router.processes[index].wait()
                    router.start(index)
                    await router.ready(index)
                for i in range(50):
                    assert (await ask(router, get("/", f"X-User-Id: u{i}")))["x-headgate-version"] == "v1"

                agent = await Agent().start(tmp_path / RUN_FILES.agent_socket)
                again = msgspec.structs.replace
                agent.assign(router.assignment(again(plan, generation=2)))
                await until(lambda: len(agent.reports) >= 2, "both workers")
                for i in range(50):
                    assert (await ask(router, get("/", f"X-User-Id: u{i}")))["x-headgate-version"] == "v1"

                retry = (plan.versions[0], again(plan.versions[1], attempt=2))
                agent.assign(router.assignment(again(plan, generation=3, versions=retry)))
                await until(
                    lambda: [str(router.worker(i).applied) for i in range(2)] == ["1.3.0"] * 2,
                    "the other attempt",
                )
                got = {
                    (await ask(router, get("/", f"X-User-Id: u{i}")))["x-headgate-version"] for i in range(50)
                }
                assert got == {"v1", "v2"}
                await agent.stop()

    run(test())


def test_after_a_flip_the_guard_needs_a_stable_to_go_back_to(tmp_path: Path):
    async def test() -> None:
        async with models(Model("a"), Model("b", fail)) as (a, b):
            for stable, tripped in ((version("v1", a), True), (version("v1"), False)):
                folder = tmp_path / str(tripped)
                folder.mkdir()
                plan = plan_of(stable, version("v2", b), weights={"v2": 10_000})
                async with serving(folder, plan) as router:
                    if tripped:
                        await trip(router)
                    else:
                        for _ in range(200):
                            assert (await ask(router, get()))["x-headgate-version"] == "v2"
                            await asyncio.sleep(0.005)
                    assert len(read_trips((folder / RUN_FILES.trips).read_bytes())) == int(tripped)

    run(test())


def test_a_healthy_candidate_is_never_tripped_by_the_failures_it_shares_with_stable(tmp_path: Path):
    async def test() -> None:
        async with models(Model("a", fail), Model("b", fail)) as (a, b):
            plan = plan_of(version("v1", a), version("v2", b), weights={"v1": 5000, "v2": 5000})
            async with serving(tmp_path, plan) as router:
                for _ in range(300):
                    await ask(router, get())
                await router.settled()
                await router.settled()
                assert router.counted("v2").picked.failed > 50
                assert read_trips((tmp_path / RUN_FILES.trips).read_bytes()) == ()

    run(test())


def test_a_plan_file_that_cannot_be_read_stops_nothing(tmp_path: Path):
    async def test() -> None:
        (tmp_path / RUN_FILES.plan).write_bytes(b"\x00not a plan")
        async with models(Model()) as (model,), serving(tmp_path, None) as router:
            assert (await ask(router, get())).error == "no_plan"
            agent = await Agent().start(tmp_path / RUN_FILES.agent_socket)
            agent.assign(router.assignment(plan_of(version("v1", model))))
            await until(lambda: agent.reports, "a report")
            assert (await ask(router, get())).status == 200
            await agent.stop()

    run(test())


def test_sigterm_finishes_what_is_in_flight_and_exits_0(tmp_path: Path):
    gate = asyncio.Event()

    async def slow(request: Message, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(request.body), request.body))

    async def test() -> None:
        async with (
            models(Model(behave=slow)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
        ):
            async with calling(router) as busy, calling(router) as idle, calling(router) as late:
                busy.send(post(b"a") + post(b"b"))
                late.send(post(b"c")[:-1])
                await until(lambda: model.seen and router.worker().accepted == 3, "requests are in flight")
                await asyncio.sleep(0.3)
                router.processes[0].send_signal(signal.SIGTERM)
                assert await idle.is_closed()
                late.send(b"c")
                gate.set()
                got = [await busy.answer() for _ in range(2)] + [await late.answer()]
                assert [one.body for one in got] == [b"a", b"b", b"c"]
                assert [one.get("connection") for one in got] == [None, "close", "close"]
            assert await router.wait() == 0

    run(test())


def test_a_draining_worker_leaves_new_connections_to_the_others(tmp_path: Path):
    gate = asyncio.Event()

    async def slow(request: Message, writer: asyncio.StreamWriter) -> None:
        if request.path == "/slow":
            await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def test() -> None:
        async with models(Model(behave=slow)) as (model,):
            plan = plan_of(version("v1", model))
            async with serving(tmp_path, plan, workers=2) as router, calling(router) as caller:
                caller.send(get("/slow"))
                await until(lambda: model.seen, "a request is in flight")
                await router.settled()
                (busy,) = [index for index in range(2) if router.worker(index).connections]
                router.processes[busy].send_signal(signal.SIGTERM)
                await until(lambda: router.worker(busy).state == c.DRAINING, "it drains")
                for _ in range(60):
                    got = await ask(router, get())
                    assert (got.status, got.get("connection")) == (200, None), "the other worker answered"
                assert router.worker(busy).accepted == 1
                gate.set()
                assert (await caller.answer())["connection"] == "close"
                assert await router.wait(busy) == 0

    run(test())


def test_a_drain_has_an_end(tmp_path: Path):
    async def test() -> None:
        async with models(Model(behave=lambda request, writer: asyncio.sleep(100))) as (model,):
            plan = plan_of(version("v1", model), limits=Limits(drain_ms=500))
            async with serving(tmp_path, plan) as router, calling(router) as caller:
                caller.send(get())
                await until(lambda: model.seen, "a request is in flight")
                router.processes[0].send_signal(signal.SIGTERM)
                assert await router.wait() == 0
                assert await caller.is_closed()

    run(test())


def test_a_killed_worker_loses_only_its_own_requests(tmp_path: Path):
    async def test() -> None:
        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), workers=2) as router,
        ):
            before = {}

            async def client(number: int) -> tuple[int, int]:
                answered = lost = 0
                for i in range(100):
                    body = json.dumps({"client": number, "request": i}).encode()
                    try:
                        got = await ask(router, post(body))
                        assert (got.status, got.body) == (200, body)
                        answered += 1
                    except (ConnectionError, asyncio.IncompleteReadError):
                        lost += 1
                    if number == 0 and i == 30:
                        before[0] = router.counted("v1").picked.requests
                        router.processes[0].send_signal(signal.SIGKILL)
                        router.processes[0].wait()
                        router.start(0)
                return answered, lost

            results = await asyncio.gather(*(client(number) for number in range(8)))
            assert sum(answered for answered, _ in results) >= 792, "at most one each"
            await router.ready(0)
            await router.settled()
            assert router.counted("v1").picked.requests >= max(before[0], 792), "counters survive"

    run(test())


def test_shadows_without_an_observer_cost_copies_and_nothing_else(tmp_path: Path):
    async def test() -> None:
        async with models(Model("a"), Model("b")) as (a, b):
            plan = plan_of(version("v1", a), version("v2", b), shadows=(Shadow("v2", 1_000_000),))
            async with serving(tmp_path, plan) as router, calling(router) as caller:
                for i in range(20):
                    assert (await caller.ask(post(b"%d" % i))).body == b"%d" % i
                await router.settled()
                assert router.dropped("v1", "v2") == {"queue_full": 20}

    run(test())
