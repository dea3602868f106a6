"""What is delicate over plain TCP, over TLS too: streams, slow readers, WebSockets, cut answers, leaving clients."""

import asyncio
import socket
import ssl
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from headgate.wire.plan import Endpoint, Limits
from tests.router.authority import Authority
from tests.router.proxy.proxy_world import (
    Message,
    Model,
    Router,
    get,
    hang,
    models,
    plan_of,
    run,
    serving,
    until,
    version,
)
from tests.router.proxy.test_listeners import calling_tls, told, trusting
from tests.router.proxy.test_real_peers import uvicorn_server
from tests.router.proxy.test_websocket import echo

PIECE = b"z" * 65_536


async def endless(request: Message, writer: asyncio.StreamWriter) -> bool:
    """Sends for as long as it is read."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
        await writer.drain()


async def half(request: Message, writer: asyncio.StreamWriter) -> bool:
    """Half of what it announces, then the end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"h" * 500)
    return False


def test_httpx_gets_events_as_they_come_and_keeps_its_connection(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        words = told(authority.make("a", "localhost", "127.0.0.1"))
        with uvicorn_server(5) as port:
            plan = plan_of(version("v1", endpoints=(Endpoint("127.0.0.1", port),)))
            async with (
                serving(tmp_path, plan, words=words) as router,
                httpx.AsyncClient(
                    base_url=f"https://127.0.0.1:{router.port}",
                    verify=trusting(authority.ca),
                    trust_env=False,
                    timeout=60,
                ) as client,
            ):
                async with client.stream("GET", "/events") as answer:
                    lines = [line async for line in answer.aiter_lines() if line]
                assert lines == [f"data: {i}" for i in range(20)]
                body = b"x" * 3_000_000
                assert (await client.post("/echo", content=body)).content == body
                await router.settled()
                assert router.worker().accepted == 1

    run(test())


def test_websocket_messages_of_any_size_pass_both_ways(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        words = told(authority.make("a", "127.0.0.1"))
        async with serve(echo, "127.0.0.1", 0, max_size=None, ping_interval=None) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            plan = plan_of(version("v1", endpoints=(Endpoint("127.0.0.1", port),)))
            async with serving(tmp_path, plan, words=words) as router:
                url = f"wss://127.0.0.1:{router.port}/chat"
                async with connect(url, ssl=trusting(authority.ca), max_size=None, proxy=None) as connection:
                    for message in ("hello", b"\x00\xff", "", b"y" * 3_000_000):
                        await connection.send(message)
                        assert await connection.recv() == message
                    await connection.close(4001, "enough")
                    assert connection.close_code == 4001
                await until(lambda: router.counted("v1").in_flight == 0, "the tunnel is gone")

    run(test())


def test_a_client_that_does_not_read_makes_the_model_wait_and_costs_no_memory(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        words = told(authority.make("a", "a.test"))
        async with (
            models(Model(behave=endless)) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=words) as router,
        ):
            before = router.memory_bytes()
            opened = await _stuck(router, authority)
            await until(lambda: len(model.seen) == 1, "it asks")
            await asyncio.sleep(1)  # as long as the model may run ahead, if it could
            assert router.memory_bytes() - before < 32 * 1024 * 1024
            opened.close()
            await until(lambda: model.open == 0, "the model's connection is closed with the client's")

    run(test())


async def _stuck(router: Router, authority: Authority) -> ssl.SSLSocket:
    """A client that asked and then reads nothing."""

    def ask() -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", router.port), timeout=60)
        opened = trusting(authority.ca).wrap_socket(plain, server_hostname="a.test")
        opened.sendall(get())
        return opened

    return await asyncio.to_thread(ask)


def test_a_cut_answer_is_not_taken_for_whole(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        words = told(authority.make("a", "a.test"))
        async with (
            models(Model(behave=half)) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=words) as router,
            calling_tls(router, trusting(authority.ca)) as caller,
        ):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await caller.ask(get())

    run(test())


def test_a_client_that_leaves_takes_its_request_with_it(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        words = told(authority.make("a", "a.test"))
        plan_limits = Limits(first_byte_timeout_ms=600_000, request_timeout_ms=600_000)
        async with (
            models(Model(behave=hang)) as (model,),
            serving(tmp_path, plan_of(version("v1", model), limits=plan_limits), words=words) as router,
        ):
            async with calling_tls(router, trusting(authority.ca)) as caller:
                caller.send(get())
                await until(lambda: len(model.seen) == 1, "it asks")
            await until(lambda: model.open == 0, "the model is let go")
            await router.settled()
            assert router.counted("v1").picked.client_closed == 1

    run(test())
