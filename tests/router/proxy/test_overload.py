"""What a router takes no more of: requests of a version, connections of clients; and what it says then."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from headgate.wire.plan import Limits
from tests.router.proxy.proxy_world import (
    Caller,
    Message,
    Model,
    Router,
    ask,
    calling,
    get,
    models,
    plan_of,
    run,
    serving,
    until,
    version,
)


class Gate(Model):
    """A model server that answers nothing until it is opened."""

    def __init__(self, name: str) -> None:
        super().__init__(name, self._wait)
        self.is_open = asyncio.Event()

    async def _wait(self, request: Message, writer: asyncio.StreamWriter) -> None:
        await self.is_open.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def asked(stack: AsyncExitStack, router: Router, times: int) -> list[Caller]:
    """So many requests under way."""
    callers = [await stack.enter_async_context(calling(router)) for _ in range(times)]
    for caller in callers:
        caller.send(get())
    return callers


def test_what_stable_may_not_take_is_503_with_retry_after_and_no_model_sees_it(tmp_path: Path):
    async def test() -> None:
        a, b = Gate("a"), Gate("b")
        async with models(a, b), AsyncExitStack() as stack:
            plan = plan_of(version("v1", a, b), limits=Limits(requests_per_version_max=4))
            router = await stack.enter_async_context(serving(tmp_path, plan))
            callers = await asked(stack, router, 4)
            await until(lambda: len(a.seen) + len(b.seen) == 4, "four are under way")
            for _ in range(3):
                got = await ask(router, get())
                assert (got.status, got.error, got["retry-after"]) == (503, "overloaded", "1")
            assert len(a.seen) + len(b.seen) == 4
            for one in (a, b):
                one.is_open.set()
            assert {(await caller.answer()).status for caller in callers} == {200}
            assert (await ask(router, get())).status == 200
            assert router.causes() == {"overloaded": 3}

    run(test())


def test_what_a_candidate_may_not_take_is_answered_by_stable(tmp_path: Path):
    async def test() -> None:
        slow = Gate("b")
        async with models(Model("a"), slow) as (stable, _), AsyncExitStack() as stack:
            plan = plan_of(
                version("v1", stable),
                version("v2", slow),
                weights={"v2": 10_000},
                limits=Limits(requests_per_version_max=2),
            )
            router = await stack.enter_async_context(serving(tmp_path, plan))
            callers = await asked(stack, router, 2)
            await until(lambda: len(slow.seen) == 2, "two are under way")
            got = await ask(router, get())
            assert (got.status, got["x-headgate-version"]) == (200, "v1")
            slow.is_open.set()
            for caller in callers:
                await caller.answer()
            await router.settled()
            counted = router.counted("v2")
            assert (counted.picked.no_connection, counted.saved_by_stable) == (1, 1)

    run(test())


def test_more_connections_than_may_be_get_503_and_room_that_comes_free_is_used(tmp_path: Path):
    async def test() -> None:
        words = ("--connections-max", "3")
        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=words) as router,
        ):
            async with AsyncExitStack() as stack:
                callers = [await stack.enter_async_context(calling(router)) for _ in range(3)]
                for caller in callers:
                    assert (await caller.ask(get())).status == 200
                async with calling(router) as late:
                    got = await late.answer()
                    assert (got.status, got.error, got["retry-after"]) == (503, "too_many_connections", "1")
                    assert await late.is_closed()
                for caller in callers:
                    assert (await caller.ask(get())).status == 200
            refused = 1
            while (await ask(router, get())).status != 200:
                refused += 1  # it has not heard yet that they are gone
            assert router.causes() == {"too_many_connections": refused}

    run(test())


def test_far_more_connections_than_may_be_are_reset_and_those_that_were_there_served(tmp_path: Path):
    async def test() -> None:
        words = ("--connections-max", "2")
        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=words) as router,
            calling(router) as caller,
        ):
            assert (await caller.ask(get())).status == 200
            async with calling(router) as second:
                assert (await second.ask(get())).status == 200
                ends = await asyncio.gather(*(_end(router) for _ in range(600)))
                assert set(ends) == {"503", "reset"}
                assert (await caller.ask(get())).status == 200

    run(test())


async def _end(router: Router) -> str:
    """What becomes of a connection that stays open as long as it may."""
    try:
        async with calling(router) as caller:
            status = str((await caller.answer()).status)
            await caller.is_closed()
            return status
    except (ConnectionError, asyncio.IncompleteReadError):
        return "reset"
