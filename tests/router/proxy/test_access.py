"""Lines of the access log on their way to the observer: how many, what is in them, and that nobody waits for it."""

from pathlib import Path

from headgate.wire.plan import Limits
from tests.router.proxy.proxy_world import (
    Model,
    calling,
    get,
    hang,
    models,
    plan_of,
    post,
    run,
    serving,
    until,
    version,
)
from tests.router.proxy.test_copies import Observer, warm

ALL = ("--access-log-sample", "1")


def test_a_line_says_how_the_request_ended(tmp_path: Path):
    async def test() -> None:
        observer = await Observer().start(tmp_path)
        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=ALL) as router,
        ):
            await warm(observer)
            async with calling(router) as caller:
                await caller.ask(post(b"12345", "/p?secret=1", "x-request-id: r1"))
            await until(lambda: observer.lines, "the line comes")
            (line,) = observer.lines
            assert (line["id"], line["path"], line["status"], line["version"]) == ("r1", "/p", 200, "v1")
            assert (line["received_bytes"], line["sent_bytes"]) == (5, 5)
            assert "cause" not in line
        await observer.stop()

    run(test())


def test_a_line_says_why_the_router_answered_itself(tmp_path: Path):
    async def test() -> None:
        observer = await Observer().start(tmp_path)
        limits = Limits(first_byte_timeout_ms=200)
        async with (
            models(Model("slow", hang)) as (model,),
            serving(tmp_path, plan_of(version("v1", model), limits=limits), words=ALL) as router,
        ):
            await warm(observer)
            async with calling(router) as caller:
                assert (await caller.ask(get())).status == 504
            await until(lambda: observer.lines, "the line comes")
            assert (observer.lines[0]["status"], observer.lines[0]["cause"]) == (504, "first_byte_timeout")
        await observer.stop()

    run(test())


def test_of_all_requests_about_the_sampled_share_get_a_line(tmp_path: Path):
    async def test() -> None:
        observer = await Observer().start(tmp_path)
        words = ("--access-log-sample", "0.25")
        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=words) as router,
            calling(router) as caller,
        ):
            await warm(observer)
            for _ in range(800):
                await caller.ask(get())
            await router.settled()
            await until(lambda: len(observer.lines) > 100, "lines come")  # 200 ± 12: 8 sigma
            assert len(observer.lines) < 300
        await observer.stop()

    run(test())


def test_without_an_observer_requests_are_answered_and_lost_lines_are_counted(tmp_path: Path):
    async def test() -> None:
        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=ALL) as router,
            calling(router) as caller,
        ):
            for _ in range(20):
                assert (await caller.ask(get())).status == 200
            await until(lambda: router.worker().log_dropped == 20, "all are counted")

    run(test())


def test_an_observer_that_hangs_costs_lines_and_no_request(tmp_path: Path):
    async def test() -> None:
        observer = await Observer().start(tmp_path)
        path = "/" + "p" * 1000
        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=ALL) as router,
            calling(router) as caller,
        ):
            await warm(observer)
            observer.is_reading.clear()
            for _ in range(3000):
                assert (await caller.ask(get(path))).status == 200
            await until(lambda: router.worker().log_dropped, "lines are dropped")
            assert router.memory_bytes() < 120 * 1024 * 1024
            observer.is_reading.set()
        await observer.stop()

    run(test())
