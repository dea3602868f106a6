"""Bodies of any size: whole, in order, and never more of them in memory than a window, whoever is slow."""

import asyncio
import hashlib
from pathlib import Path

from tests.router.proxy.proxy_world import (
    PATIENCE_S,
    Message,
    Model,
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

MIB = 1024 * 1024


def pattern(size: int) -> bytes:
    """Bytes that differ at every place within a few megabytes."""
    return b"".join(b"%08d" % i for i in range(size // 8))


async def digest(request: Message, writer: asyncio.StreamWriter) -> None:
    text = hashlib.sha256(request.body).hexdigest().encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))


def test_large_bodies_arrive_whole_in_both_directions_and_framings(tmp_path: Path):
    body = pattern(5 * MIB)

    async def behave(request: Message, writer: asyncio.StreamWriter) -> None:
        assert request.body == body
        if request.path == "/chunked":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, len(body), 100_003):
                piece = body[at : at + 100_003]
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def test() -> None:
        async with (
            models(Model(behave=behave)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
        ):
            async with calling(router) as caller:
                for path in ("/length", "/chunked"):
                    assert (await caller.ask(post(body, path))).body == body
                caller.send(b"POST /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
                for at in range(0, len(body), 77_777):
                    piece = body[at : at + 77_777]
                    caller.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await caller.writer.drain()
                assert (await caller.ask(b"0\r\n\r\n")).body == body
            await router.settled()
            counted = router.counted("v1")
            assert (counted.bytes_in, counted.bytes_out) == (15 * MIB, 15 * MIB)

    run(test())


def test_a_slow_reader_makes_the_model_wait_and_not_the_worker_grow(tmp_path: Path):
    size, sent = 200 * MIB, 0

    async def behave(request: Message, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        block = bytes(MIB)
        while sent < size:
            writer.write(block)
            sent += len(block)
            await writer.drain()

    async def test() -> None:
        async with (
            models(Model(behave=behave)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
            calling(router) as caller,
        ):
            before = router.memory_bytes()
            caller.send(get())
            await caller.reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(1)  # the reader's own buffer fills, then nothing more is read
            stalled = sent
            assert stalled < 100 * MIB, "the model was made to wait"
            got = 0
            while got < size:
                got += len(await asyncio.wait_for(caller.reader.read(MIB), PATIENCE_S))
            assert got == size
            assert router.memory_bytes() - before < 20 * MIB

    run(test())


def test_a_slow_model_makes_the_client_wait_and_not_the_worker_grow(tmp_path: Path):
    size = 200 * MIB
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        left = size
        while left:
            left -= len(await reader.read(MIB))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=MIB)
        model = Model()
        model.port = server.sockets[0].getsockname()[1]
        async with serving(tmp_path, plan_of(version("v1", model))) as router, calling(router) as caller:
            before = router.memory_bytes()
            caller.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
            sent = 0

            async def upload() -> None:
                nonlocal sent
                block = bytes(MIB)
                while sent < size:
                    caller.send(block)
                    sent += len(block)
                    await caller.writer.drain()

            task = asyncio.create_task(upload())
            await asyncio.sleep(1)
            assert sent < 100 * MIB, "the client was made to wait"
            go_on.set()
            await asyncio.wait_for(task, PATIENCE_S)
            assert (await caller.answer()).body == b"ok"
            assert router.memory_bytes() - before < 20 * MIB
        server.close()

    run(test())


def test_requests_that_are_piled_up_unread_are_bounded(tmp_path: Path):
    gate = asyncio.Event()

    async def behave(request: Message, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(request.body), request.body))

    async def test() -> None:
        async with (
            models(Model(behave=behave)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
            calling(router) as caller,
        ):
            before = router.memory_bytes()
            body, count = bytes(10_000), 4000
            caller.send(b"".join(post(b"%05d" % i + body) for i in range(count)))
            await until(lambda: model.seen, "the first request arrived")
            await asyncio.sleep(0.5)
            assert router.memory_bytes() - before < 10 * MIB
            gate.set()
            for i in range(count):
                assert (await caller.answer()).body[:5] == b"%05d" % i

    run(test())


def test_many_clients_at_once_each_get_their_own_answers(tmp_path: Path):
    async def test() -> None:
        async with models(Model("a"), Model("b"), Model("c")) as several:
            plan = plan_of(
                version("v1", *several[:2]), version("v2", several[2]), weights={"v1": 7000, "v2": 3000}
            )
            async with serving(tmp_path, plan) as router:

                async def client(number: int) -> None:
                    async with calling(router) as caller:
                        for i in range(50):
                            body = b'{"client": %d, "request": %d, "pad": "%b"}' % (
                                number,
                                i,
                                b"x" * (i * 37 % 3000),
                            )
                            got = await caller.ask(post(body))
                            assert (got.status, got.body) == (200, body)

                await asyncio.gather(*(client(number) for number in range(40)))
                await router.settled()
                total = sum(router.counted(name).picked.status_2xx for name in ("v1", "v2"))
                assert total == 2000
                assert sum(one.connections for one in several) < 200, "connections are kept"

    run(test())
