"""The warmer against a real HTTP server that is slow for its first requests, fails, or never gets fast."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from controller.adapters.warmup import Warmer
from controller.adapters.warmup.recorded import NONE_YET
from controller.core.spec import VersionSpec, WarmRequest, Warmup
from controller.core.status import VersionObserved
from headgate.reach import ANYWHERE, LOOPBACK, Reach
from headgate.wire.plan import Endpoint, Rewrite

KEY = "default/sum"
INLINE = (WarmRequest("/infer?n=1", b'{"x":1}'), WarmRequest("/infer?n=2", b'{"x":2}', (("x-tenant", "a"),)))
SOON = Warmup(INLINE, count=40, concurrency=4, p95_s=0.2, stable_for_s=1.0, max_wait_s=60.0)


@dataclass
class Model:
    """A server of one answer; the first `cold` requests take `slow_s` longer."""

    cold: int = 0
    slow_s: float = 0.4
    status: int = 200
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    open_now: int = 0
    open_max: int = 0
    server: asyncio.Server | None = None

    @property
    def endpoint(self) -> Endpoint:
        assert self.server is not None
        return Endpoint("127.0.0.1", self.server.sockets[0].getsockname()[1])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().split("content-length:")[1].split("\r\n")[0])
                body = await reader.readexactly(length)
                self.open_now += 1
                self.open_max = max(self.open_max, self.open_now)
                self.heads.append(head)
                self.bodies.append(body)
                if len(self.heads) <= self.cold:
                    await asyncio.sleep(self.slow_s)
                self.open_now -= 1
                writer.write(f"HTTP/1.1 {self.status} Said\r\nContent-Length: 2\r\n\r\n{{}}".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def serving(*, cold: int = 0, slow_s: float = 0.4, status: int = 200) -> AsyncIterator[Model]:
    model = Model(cold, slow_s, status)
    model.server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
    try:
        yield model
    finally:
        model.server.close()


def seen(*models: Model, restarts: int = 0) -> VersionObserved:
    return VersionObserved(tuple(model.endpoint for model in models), is_running=True, restarts=restarts)


class Scene:
    """A warmer, and what it told."""

    def __init__(self, reach: Reach) -> None:
        self.found: tuple[WarmRequest, ...] = ()
        self.changed: list[str] = []
        self.warmer = Warmer(self._source, self.changed.append, reach=reach)
        self.version = VersionSpec("v2", "id-2")

    async def _source(self, key: str, warmup: Warmup) -> tuple[WarmRequest, ...] | str:
        return self.found or NONE_YET

    def measure(self, looked: VersionObserved, warmup: Warmup = SOON) -> VersionObserved:
        return self.warmer.measure(KEY, warmup, self.version, looked)

    async def until(self, holds: Callable[[], object], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


def run(story: Callable[[Scene], Awaitable[None]], reach: Reach = ANYWHERE) -> None:
    async def go() -> None:
        scene = Scene(reach)
        try:
            await story(scene)
        finally:
            await scene.warmer.close()

    asyncio.run(go())


def test_a_server_that_is_slow_at_first_is_cold_then_warm_and_is_then_left_alone() -> None:
    async def story(scene: Scene) -> None:
        async with serving(cold=60) as model:
            first = scene.measure(seen(model))
            assert not first.is_warm
            await scene.until(lambda: len(model.heads) >= 40)
            during = scene.measure(seen(model))
            assert not during.is_warm
            assert "requests so far" in during.warmth
            await scene.until(lambda: scene.measure(seen(model)).is_warm)
            assert len(model.heads) > 60
            assert model.open_max <= 4
            warm = scene.measure(seen(model))
            assert "ms of at most 200 ms for" in warm.warmth
            await scene.until(lambda: scene.changed == [KEY])
            sent = len(model.heads)
            await asyncio.sleep(0.5)
            assert len(model.heads) == sent
            assert scene.measure(seen(model)).is_warm

    run(story)


def test_the_requests_are_sent_in_turn_and_say_that_no_user_waits() -> None:
    async def story(scene: Scene) -> None:
        async with serving() as model:
            scene.measure(seen(model))
            await scene.until(lambda: len(model.heads) >= 8)
            assert {head.split("\r\n")[0] for head in model.heads} == {
                "POST /infer?n=1 HTTP/1.1",
                "POST /infer?n=2 HTTP/1.1",
            }
            assert set(model.bodies) == {b'{"x":1}', b'{"x":2}'}
            for head in model.heads:
                assert "\r\nx-headgate-shadow: true\r\n" in head.lower()
                assert "\r\ncontent-type: application/json\r\n" in head.lower()
                assert ("x-tenant: a" in head.lower()) == ("n=2" in head)

    run(story)


def test_a_version_gets_the_requests_under_its_base_path_and_as_it_wants_them() -> None:
    async def story(scene: Scene) -> None:
        scene.version = VersionSpec("v2", "id-2", "/base", Rewrite(path="/v2/infer", body={"/x": 9}))
        async with serving() as model:
            scene.measure(seen(model))
            await scene.until(lambda: model.heads)
            assert model.heads[0].startswith("POST /base/v2/infer?n=1 HTTP/1.1")
            assert model.bodies[0] == b'{"x":9}'

    run(story)


def test_a_server_that_never_gets_fast_is_never_warm_and_is_asked_no_longer_than_max_wait() -> None:
    async def story(scene: Scene) -> None:
        async with serving(cold=1_000_000, slow_s=0.3) as model:
            warmup = Warmup(INLINE, count=1, concurrency=8, p95_s=0.2, stable_for_s=0.2, max_wait_s=2.0)
            looked = scene.measure(seen(model), warmup)
            await scene.until(lambda: not _is_sending(scene))
            sent = len(model.heads)
            await asyncio.sleep(0.5)
            assert len(model.heads) == sent > 0
            looked = scene.measure(seen(model), warmup)
            assert not looked.is_warm
            assert scene.changed == []

    run(story)


def _is_sending(scene: Scene) -> bool:
    return any(task.get_name().startswith("warm-up") for task in asyncio.all_tasks() if not task.done())


def test_a_server_that_fails_is_never_warm_and_the_failure_is_told() -> None:
    async def story(scene: Scene) -> None:
        async with serving(status=503) as model:
            scene.measure(seen(model))
            await scene.until(lambda: "HTTP 503" in scene.measure(seen(model)).warmth)
            assert not scene.measure(seen(model)).is_warm

    run(story)


def test_a_restarted_process_and_an_endpoint_that_came_back_are_cold_again() -> None:
    async def story(scene: Scene) -> None:
        async with serving() as model:
            await scene.until(lambda: scene.measure(seen(model)).is_warm)
            assert not scene.measure(seen(model, restarts=1)).is_warm
            await scene.until(lambda: scene.measure(seen(model, restarts=1)).is_warm)
            assert not scene.measure(VersionObserved(restarts=1)).is_warm
            assert not scene.measure(seen(model, restarts=1)).is_warm
            await scene.until(lambda: scene.measure(seen(model, restarts=1)).is_warm)

    run(story)


def test_a_version_is_warm_when_each_of_its_endpoints_is_and_a_new_one_alone_is_asked() -> None:
    async def story(scene: Scene) -> None:
        async with serving() as first, serving() as second:
            await scene.until(lambda: scene.measure(seen(first)).is_warm)
            sent = len(first.heads)
            assert not scene.measure(seen(first, second)).is_warm
            await scene.until(lambda: scene.measure(seen(first, second)).is_warm)
            assert len(first.heads) == sent
            assert len(second.heads) >= 40

    run(story)


def test_while_nothing_is_recorded_nothing_is_sent_and_it_is_said() -> None:
    async def story(scene: Scene) -> None:
        async with serving() as model:
            warmup = Warmup(recorded_path="/infer", count=20, p95_s=0.2, stable_for_s=0.5)
            await scene.until(lambda: "is recorded yet" in scene.measure(seen(model), warmup).warmth)
            assert model.heads == []
            scene.found = (WarmRequest("/infer", b"[]"),)
            await scene.until(lambda: scene.measure(seen(model), warmup).is_warm)
            assert set(model.bodies) == {b"[]"}

    run(story)


def test_a_stopped_measurement_sends_nothing_more_and_is_forgotten() -> None:
    async def story(scene: Scene) -> None:
        async with serving() as model:
            await scene.until(lambda: scene.measure(seen(model)).is_warm)
            scene.warmer.stop(KEY)
            sent = len(model.heads)
            assert not scene.measure(seen(model)).is_warm
            await scene.until(lambda: len(model.heads) > sent)

    run(story)


def test_nobody_there_is_a_failure_like_any_other() -> None:
    async def story(scene: Scene) -> None:
        async with serving() as model:
            looked = seen(model)
        scene.measure(looked)
        await scene.until(lambda: "fail (" in scene.measure(looked).warmth)
        assert not scene.measure(looked).is_warm

    run(story)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["by its address", "by a name"])
def test_an_endpoint_on_an_address_that_is_refused_gets_no_request_and_that_is_said(host: str):
    async def story(scene: Scene) -> None:
        async with serving() as model:
            looked = VersionObserved((Endpoint(host, model.endpoint.port),), is_running=True)
            await scene.until(
                lambda: " is loopback: allow it with --allow-address" in scene.measure(looked).warmth
            )
            assert model.heads == []

    run(story, Reach((), "--allow-address"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["by its address", "by a name"])
def test_an_endpoint_on_an_address_that_is_allowed_is_asked_by_its_name(host: str):
    async def story(scene: Scene) -> None:
        async with serving() as model:
            port = model.endpoint.port
            looked = VersionObserved((Endpoint(host, port),), is_running=True)
            await scene.until(lambda: scene.measure(looked).is_warm)
            assert all(f"host: {host}:{port}" in head.lower() for head in model.heads)

    run(story, Reach(LOOPBACK))
