"""Versions behind URLs on a cluster: asked while they are needed, and known before anything is decided."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controller.adapters.kubernetes.urls import FIRSTS_MAX, Urls
from controller.adapters.kubernetes.workloads import read_source
from controller.adapters.processes.version import UrlVersion
from controller.core.status import VersionObserved
from controller.errors import NotSeenYet
from headgate.log import Log
from headgate.reach import ANYWHERE, LOOPBACK, Reach

KEY = "a/fraud"


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, list[int]]]:
    """A port that can be connected to, and who did."""
    asked: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()
        await server.wait_closed()


def at(port: int, host: str = "127.0.0.1", **fields: Any) -> UrlVersion:
    source = read_source(KEY, {"name": "v7", "url": f"http://{host}:{port}/fraud", **fields})
    assert isinstance(source, UrlVersion)
    return source


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.02)


async def seen_of(urls: Urls, port: int, name: str = "x", host: str = "127.0.0.1") -> VersionObserved:
    """What is seen of it, once anything was."""
    async with asyncio.timeout(30):
        while True:
            try:
                return urls.observed((KEY, name), at(port, host))
            except NotSeenYet:
                await asyncio.sleep(0.01)


def test_a_controller_that_has_just_started_sees_what_answers() -> None:
    async def story() -> None:
        async with listening() as (port, _):
            urls = Urls(ANYWHERE, lambda key: None, Log("test"))
            seen = await seen_of(urls, port)
            assert [endpoint.port for endpoint in seen.endpoints] == [port]
            await urls.close()

    asyncio.run(story())


def test_what_does_not_answer_holds_nobody_up_for_long() -> None:
    async def story() -> None:
        async with listening() as (port, _):
            pass
        urls = Urls(ANYWHERE, lambda key: None, Log("test"))
        async with asyncio.timeout(30):
            seen = await seen_of(urls, port)
        assert seen.endpoints == ()
        assert f"127.0.0.1:{port} is not ready: connecting: Connection refused" in seen.message
        await urls.close()

    asyncio.run(story())


def test_only_what_shall_run_is_asked_and_a_change_is_told() -> None:
    async def story() -> None:
        told: list[str] = []
        urls = Urls(ANYWHERE, told.append, Log("test"))
        async with listening() as (port, asked):
            await seen_of(urls, port)
            urls.apply(KEY, [])
            await asyncio.sleep(0)
            asked.clear()
            seen = await seen_of(urls, port)
            assert (seen.endpoints, seen.message) == ((), "it is not asked now")
            told.clear()
            urls.apply(KEY, [("x", at(port))])
            await until(lambda: told == [KEY])
            assert (await seen_of(urls, port)).endpoints
            assert asked
        await until(lambda: len(told) > 1)
        await urls.close()

    asyncio.run(story())


def test_nobody_waits_for_a_first_answer_and_who_asked_is_told_of_it() -> None:
    async def story() -> None:
        told: list[str] = []
        urls = Urls(ANYWHERE, told.append, Log("test"))
        async with listening() as (port, _):
            with pytest.raises(NotSeenYet, match="v7"):
                urls.observed((KEY, "x"), at(port))
            await until(lambda: bool(told))
            await until(lambda: bool(urls.observed((KEY, "x"), at(port)).endpoints))
        await urls.close()

    asyncio.run(story())


def test_more_than_are_asked_at_once_are_all_seen_at_last() -> None:
    async def story() -> None:
        urls = Urls(ANYWHERE, lambda key: None, Log("test"))
        async with listening() as (port, _):
            names = [f"x{number}" for number in range(3 * FIRSTS_MAX)]
            seen = await asyncio.gather(*(seen_of(urls, port, name) for name in names))
            assert all(one.endpoints for one in seen)
        await urls.close()

    asyncio.run(story())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["by its address", "by a name"])
@pytest.mark.parametrize("is_allowed", [False, True], ids=["refused", "allowed"])
def test_a_url_on_an_address_that_is_refused_is_not_asked_and_that_is_said(
    host: str, is_allowed: bool
) -> None:
    async def story() -> None:
        reach = Reach(LOOPBACK if is_allowed else (), "--allow-address")
        async with listening() as (port, asked):
            urls = Urls(reach, lambda key: None, Log("test"))
            seen = await seen_of(urls, port, host=host)
            await urls.close()
        assert bool(seen.endpoints) == bool(asked) == is_allowed
        if not is_allowed:
            assert f"{host}:{port} is not ready: it is not asked: " in seen.message
            assert " is loopback: allow it with --allow-address " in seen.message

    asyncio.run(story())
