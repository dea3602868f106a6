"""WebSockets through a real worker: a client and a server that nobody here wrote, and raw ones for what those never do."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from headgate.wire.plan import Endpoint, Limits, Shadow
from tests.router.proxy.proxy_world import (
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

UPGRADE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nX-A: 1\r\n\r\n"


async def echo(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


@asynccontextmanager
async def echoing(tmp_path: Path, **limits: int) -> AsyncIterator[Router]:
    """A worker in front of a WebSocket server that sends back what it gets."""
    async with serve(echo, "127.0.0.1", 0, max_size=None, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        plan = plan_of(version("v1", endpoints=(Endpoint("127.0.0.1", port),)), limits=Limits(**limits))
        async with serving(tmp_path, plan) as router:
            yield router


def client(router: Router) -> connect:
    url = f"ws://127.0.0.1:{router.port}/chat?a=b"
    return connect(url, max_size=None, ping_interval=None, proxy=None, compression=None)


async def close_code(connection: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed):
        await connection.recv()
    return connection.close_code


def test_messages_of_any_size_pass_both_ways_and_the_close_code_too(tmp_path: Path):
    async def test() -> None:
        async with echoing(tmp_path) as router:
            async with client(router) as connection:
                assert connection.response is not None
                assert connection.response.headers["x-headgate-version"] == "v1"
                for message in ("hello", b"\x00\xff", "", "x" * 100_000, b"y" * 3_000_000):
                    await connection.send(message)
                    assert await connection.recv() == message
                await router.settled()
                assert router.counted("v1").in_flight == 1
                await connection.close(4001, "enough")
                assert connection.close_code == 4001
            await until(lambda: router.counted("v1").in_flight == 0, "the tunnel is gone")
            counted = router.counted("v1")
            assert (counted.picked.requests, counted.picked.status_2xx, counted.picked.failed) == (1, 1, 0)
            assert counted.bytes_in > 3_100_000 < counted.bytes_out

    run(test())


def test_an_upgrade_that_the_model_declines_is_an_answer_like_any_other(tmp_path: Path):
    async def decline(request: Message, writer: asyncio.StreamWriter) -> None:
        assert (request["connection"], request["upgrade"]) == ("Upgrade", "websocket")
        writer.write(
            b"HTTP/1.1 426 No\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nContent-Length: 2\r\n\r\nno"
        )

    async def test() -> None:
        async with (
            models(Model(behave=decline)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
        ):
            with pytest.raises(InvalidStatus) as caught:
                async with client(router):
                    pass
            assert caught.value.response.status_code == 426
            async with calling(router) as caller:
                caller.send(get("/1", *UPGRADE) + get("/2", *UPGRADE))
                assert [(await caller.answer()).status for _ in range(2)] == [426, 426]
            assert [one.path for one in model.seen[1:]] == ["/1", "/2"]

    run(test())


@pytest.mark.parametrize(
    "answer",
    [SWITCH.replace(b"WebSocket", b"h2c"), SWITCH.replace(b"upgrade", b"close")],
    ids=["other", "unsaid"],
)
def test_a_101_to_something_else_than_was_asked_for_is_502(tmp_path: Path, answer: bytes):
    async def switch(request: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    async def test() -> None:
        async with (
            models(Model(behave=switch)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
        ):
            assert (await ask(router, get("/", *UPGRADE))).error == "bad_answer"

    run(test())


def test_bytes_at_once_after_the_heads_and_the_end_of_each_side_pass_the_tunnel(tmp_path: Path):
    got: list[bytes] = []

    async def switch(request: Message, writer: asyncio.StreamWriter) -> bool:
        assert request.reader is not None
        writer.write(SWITCH + b"first")
        got.append(await request.reader.read())
        writer.write(b"last")
        return False

    async def test() -> None:
        plan = {"shadows": (Shadow("v2", 1_000_000),)}
        async with models(Model(behave=switch), Model()) as (model, shadow):
            versions = version("v1", model), version("v2", shadow)
            async with serving(tmp_path, plan_of(*versions, **plan)) as router, calling(router) as caller:
                caller.send(get("/", *UPGRADE) + b"early\0")
                assert b"101 Switching" in await caller.reader.readuntil(b"\r\n\r\n")
                assert await caller.reader.readexactly(5) == b"first"
                caller.send(b"\r\nlate")
                caller.writer.write_eof()
                assert await caller.reader.read() == b"last"
                assert got == [b"early\0\r\nlate"]
                assert sum(router.dropped("v1", "v2").values()) == 0, "a WebSocket is nothing to compare"

    run(test())


def test_a_client_that_does_not_read_makes_the_server_wait_and_not_the_router_swell(tmp_path: Path):
    sent = 0

    async def flood(request: Message, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(SWITCH)
        while sent < 200_000_000:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async def test() -> None:
        async with (
            models(Model(behave=flood)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
            calling(router) as caller,
        ):
            before = router.memory_bytes()
            caller.send(get("/", *UPGRADE))
            await caller.reader.readuntil(b"\r\n\r\n")
            caller.writer.transport.pause_reading()
            seen = -1
            while seen != sent:
                seen = sent
                await asyncio.sleep(0.5)
            assert sent < 100_000_000, "the server was made to wait"
            assert router.memory_bytes() - before < 20_000_000

    run(test())


def test_an_idle_tunnel_ends_by_the_idle_time_out_and_a_busy_one_outlives_the_request_time_out(
    tmp_path: Path,
):
    async def test() -> None:
        async with echoing(tmp_path, body_idle_timeout_ms=1_500, request_timeout_ms=500) as router:
            async with client(router) as connection:
                for _ in range(10):
                    await connection.send("still here")
                    await connection.recv()
                    await asyncio.sleep(0.1)
                assert await close_code(connection) == 1006
            await router.settled()
            assert router.counted("v1").picked.failed == 0

    run(test())


def test_a_drain_lets_tunnels_go_on_and_cuts_them_at_its_end(tmp_path: Path):
    async def test() -> None:
        async with echoing(tmp_path, drain_ms=3_000) as router, client(router) as connection:
            router.processes[0].send_signal(signal.SIGTERM)
            await until(lambda: "draining" in router.log_text(), "the worker drains")
            await connection.send("still here")
            assert await connection.recv() == "still here"
            assert await close_code(connection) == 1006
            assert await router.wait() == 0

    run(test())


def test_a_server_that_dies_breaks_the_tunnel_and_is_no_failed_request(tmp_path: Path):
    async def test() -> None:
        async def die(request: Message, writer: asyncio.StreamWriter) -> bool:
            writer.write(SWITCH)
            await writer.drain()
            assert request.reader is not None
            await request.reader.read(1)
            writer.transport.abort()
            return False

        async with (
            models(Model(behave=die)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
            calling(router) as caller,
        ):
            caller.send(get("/", *UPGRADE))
            await caller.reader.readuntil(b"\r\n\r\n")
            caller.send(b"x")
            assert await caller.is_closed()
            await router.settled()
            assert (router.counted("v1").picked.status_2xx, router.counted("v1").picked.failed) == (1, 0)

    run(test())
