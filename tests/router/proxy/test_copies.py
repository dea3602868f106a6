"""Copies for shadows: what the observer gets, what it does not get and why, and that nobody waits for it."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from headgate.wire.plan import Capture, Overrides, RoutePlan, Shadow
from router.core.channel import RUN_FILES, Copy, Frames
from tests.router.proxy.proxy_world import (
    Caller,
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

ALL = 1_000_000


class Observer:
    """The observer's end of its socket; it reads, or it hangs."""

    def __init__(self) -> None:
        self.copies: list[Copy] = []
        self.lines: list[dict[str, Any]] = []
        self.is_reading = asyncio.Event()
        self.is_reading.set()
        self.connected = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, run_dir: Path) -> "Observer":
        self._server = await asyncio.start_unix_server(self._serve, run_dir / RUN_FILES.observer_socket)
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames(Copy | bytes)
        self._writers.add(writer)
        self.connected.set()
        try:
            while True:
                await self.is_reading.wait()
                data = await reader.read(65536)
                if not data:
                    return
                for one in frames.feed(data):
                    if isinstance(one, Copy):
                        self.copies.append(one)
                    elif isinstance(one, bytes):
                        self.lines += map(msgspec.json.decode, one.splitlines())
        except (ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.close()


def shadowed(a: Model, b: Model, sample: int = ALL, **more: Any) -> RoutePlan:
    return plan_of(version("v1", a), version("v2", b), shadows=(Shadow("v2", sample),), **more)


async def warm(observer: Observer) -> None:
    await asyncio.wait_for(observer.connected.wait(), 30)
    await asyncio.sleep(0.1)  # the worker's side of the same connection


def test_a_copy_holds_the_request_as_sent_and_the_answer_as_given(tmp_path: Path):
    async def behave(request: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 201 Made\r\nContent-Type: text/x\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"3\r\nabc\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"2\r\nde\r\n0\r\n\r\n")

    async def test() -> None:
        observer = await Observer().start(tmp_path)
        async with (
            models(Model(behave=behave), Model()) as (a, b),
            serving(tmp_path, shadowed(a, b)) as router,
        ):
            await warm(observer)
            async with calling(router) as caller:
                caller.send(
                    b"POST /infer?x=1 HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
                    b"Authorization: secret\r\nX-Request-Id: r1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
                )
                await asyncio.sleep(0.05)
                caller.send(b"1\r\n \r\n0\r\n\r\n")
                assert (await caller.answer()).body == b"abcde"
            await until(lambda: observer.copies, "a copy")
            (copy,) = observer.copies
            assert (copy.generation, copy.live, copy.live_identity, copy.shadows) == (
                1,
                "v1",
                "id-v1",
                ("v2",),
            )
            assert (copy.method, copy.target, copy.request_id) == (b"POST", b"/infer?x=1", "r1")
            assert (copy.request_body, copy.answer_body, copy.status, copy.cut) == (b"{} ", b"abcde", 201, "")
            assert copy.request_head == b"Content-Type: application/json\r\nAuthorization: secret"
            assert copy.answer_head == b"Content-Type: text/x"
            assert 0.05 <= copy.latency_s < 30
            assert router.dropped("v1", "v2") == {}
        await observer.stop()

    run(test())


async def ask_many(caller: Caller, count: int) -> None:
    for i in range(count):
        body = b"%d" % i
        assert (await caller.ask(post(body))).body == body


def test_each_shadow_gets_its_sample_and_the_rest_is_counted(tmp_path: Path):
    async def test() -> None:
        observer = await Observer().start(tmp_path)
        async with models(Model(), Model()) as (a, b):
            plan = plan_of(
                version("v1", a),
                version("v2", b),
                version("v3", b),
                shadows=(Shadow("v2", 300_000), Shadow("v3", 300_000)),
            )
            async with serving(tmp_path, plan) as router, calling(router) as caller:
                await warm(observer)
                await ask_many(caller, 400)
                await router.settled()
                got = {name: sum(name in one.shadows for one in observer.copies) for name in ("v2", "v3")}
                assert all(60 < count < 200 for count in got.values())
                both = sum(len(one.shadows) == 2 for one in observer.copies)
                assert 0 < both < min(got.values()), "samples of two shadows are independent"
                for name, count in got.items():
                    assert router.dropped("v1", name) == {"sampled_out": 400 - count}
        await observer.stop()

    run(test())


def test_uncounted_paths_overrides_and_the_shadow_itself_are_not_copied(tmp_path: Path):
    async def test() -> None:
        observer = await Observer().start(tmp_path)
        async with models(Model(), Model()) as (a, b):
            plan = shadowed(
                a,
                b,
                counted_paths=("/infer",),
                overrides=Overrides("x-headgate-version", ("v1", "v2")),
                weights={"v1": 5000, "v2": 5000},
                guard=None,
            )
            async with serving(tmp_path, plan) as router, calling(router) as caller:
                await warm(observer)
                await caller.ask(get("/metrics"))
                await caller.ask(post(b"", "/infer", "X-Headgate-Version: v1"))
                for _ in range(50):
                    await caller.ask(post(b"x"))
                await router.settled()
                assert 5 < len(observer.copies) < 45
                assert {one.live for one in observer.copies} == {"v1"}
                assert len(observer.copies) == router.counted("v1").picked.requests
        await observer.stop()

    run(test())


def test_what_is_not_copied_is_counted_by_its_reason_and_the_live_answer_is_whole(tmp_path: Path):
    big = bytes(3000)

    async def behave(request: Message, writer: asyncio.StreamWriter) -> bool:
        if request.path == "/big-answer":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbb8\r\n%b\r\n0\r\n\r\n" % big)
        elif request.path == "/break":
            return False
        elif request.path == "/hang":
            await asyncio.sleep(100)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True

    async def test() -> None:
        observer = await Observer().start(tmp_path)
        async with models(Model(behave=behave), Model()) as (a, b):
            plan = shadowed(a, b, capture=Capture(body_bytes_max=2000))
            async with serving(tmp_path, plan) as router:
                await warm(observer)
                async with calling(router) as caller:
                    assert (await caller.ask(get("/big-answer"))).body == big
                    assert (await caller.ask(post(big))).body == b"ok"
                    assert (await caller.ask(get("/break"))).status == 502
                    assert (await caller.ask(post(b"x" * 2000))).body == b"ok"
                async with calling(router) as caller:
                    caller.send(post(b"half", "/hang")[:-1])
                    caller.writer.write_eof()
                    assert (await caller.answer()).status == 400
                await router.settled()
                assert router.dropped("v1", "v2") == {
                    "body_too_large": 2,
                    "live_error": 1,
                    "client_cancelled": 1,
                }
                assert [len(one.request_body) for one in observer.copies] == [2000]
        await observer.stop()

    run(test())


def test_an_observer_that_hangs_costs_copies_and_no_live_request(tmp_path: Path):
    body = bytes(500_000)

    async def test() -> None:
        observer = await Observer().start(tmp_path)
        async with models(Model(), Model()) as (a, b), serving(tmp_path, shadowed(a, b)) as router:
            await warm(observer)
            observer.is_reading.clear()
            async with calling(router) as caller:
                before = router.memory_bytes()
                for _ in range(80):  # 80 MB of copies
                    assert (await caller.ask(post(body))).body == body
                await router.settled()
                dropped = router.dropped("v1", "v2")["queue_full"]
                assert 40 < dropped < 80
                assert router.memory_bytes() - before < 60 * 1024 * 1024
                observer.is_reading.set()
                await until(lambda: len(observer.copies) == 80 - dropped, "what was queued arrives")
                await caller.ask(post(b"x"))
                await until(lambda: len(observer.copies) == 81 - dropped, "and what comes after")
        await observer.stop()

    run(test())


def test_an_observer_that_comes_back_gets_copies_again(tmp_path: Path):
    async def test() -> None:
        async with (
            models(Model(), Model()) as (a, b),
            serving(tmp_path, shadowed(a, b)) as router,
            calling(router) as caller,
        ):
            for _ in range(2):
                observer = await Observer().start(tmp_path)
                await warm(observer)
                await caller.ask(post(b"x"))
                await until(lambda observer=observer: observer.copies, "a copy")
                await observer.stop()
                (tmp_path / RUN_FILES.observer_socket).unlink(missing_ok=True)
                assert (await caller.ask(post(b"x"))).status == 200

    run(test())
