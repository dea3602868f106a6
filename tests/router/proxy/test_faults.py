"""What goes wrong between worker and model: who is told what, who is blamed, and what is tried again."""

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from headgate.wire.plan import Condition, Endpoint, Limits, Match
from tests.router.proxy.proxy_world import (
    Message,
    Model,
    ask,
    calling,
    get,
    hang,
    models,
    plan_of,
    post,
    run,
    serving,
    slots,
    until,
    version,
)


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def nowhere() -> Endpoint:
    """An address where nobody listens."""
    return Endpoint("127.0.0.1", unused_port())


async def break_off(request: Message, writer: asyncio.StreamWriter) -> bool:
    return False


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"", "connection_lost"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "connection_lost"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "connection_lost"),
        (b"nonsense\r\n\r\n", "bad_answer"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "bad_answer",
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "bad_answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "bad_answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "bad_answer"),
    ],
)
def test_a_model_that_breaks_off_or_talks_nonsense_before_its_answer_is_502_and_its_fault(
    tmp_path: Path, answer: bytes, cause: str
):
    async def behave(request: Message, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer)
        await writer.drain()
        return False

    async def test() -> None:
        async with (
            models(Model(behave=behave)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
        ):
            async with calling(router) as caller:
                got = await caller.ask(post(b"once"))
                assert (got.status, got.error, got["x-headgate-version"]) == (502, cause, "v1")
                assert (await caller.ask(get())).status == 502, "the client's connection stays in step"
            await router.settled()
            assert len(model.seen) == 2, "what a model may have seen is not sent again"
            picked = router.counted("v1").picked
            assert (picked.requests, picked.broken, picked.failed, picked.status_5xx) == (2, 2, 2, 0)

    run(test())


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ],
)
@pytest.mark.parametrize("http", [b"1.0", b"1.1"])
def test_an_answer_that_breaks_off_is_cut_so_that_nobody_takes_it_for_whole(
    tmp_path: Path, begun: bytes, http: bytes
):
    async def behave(request: Message, writer: asyncio.StreamWriter) -> bool:
        head, _, rest = begun.partition(b"half")
        writer.write(head + b"half")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(rest)
        await writer.drain()
        return False

    async def test() -> None:
        async with (
            models(Model(behave=behave)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
        ):
            async with calling(router) as caller:
                caller.send(b"GET / HTTP/%b\r\nHost: h\r\n\r\n" % http)
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await caller.answer()
            await router.settled()
            picked = router.counted("v1").picked
            assert (picked.requests, picked.broken, picked.failed) == (1, 1, 1)

    run(test())


def test_a_connection_that_the_model_closed_while_idle_is_replaced_without_a_trace(tmp_path: Path):
    """The server closes after each answer without saying so; the next request may meet the closing connection."""

    async def behave(request: Message, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(request.body), request.body))
        return False

    async def test() -> None:
        async with (
            models(Model(behave=behave)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
        ):

            async def client(number: int) -> None:
                async with calling(router) as caller:
                    for i in range(100):
                        body = b"%d-%d" % (number, i)
                        got = await caller.ask(post(body))
                        assert (got.status, got.body) == (200, body)

            await asyncio.gather(*(client(number) for number in range(4)))
            await router.settled()
            bodies = [one.body for one in model.seen]
            assert len(bodies) == len(set(bodies)) == 400, "no model saw a request twice"
            assert router.counted("v1").picked.status_2xx == 400

    run(test())


def test_only_a_request_that_no_byte_was_acknowledged_of_is_sent_again(tmp_path: Path):
    """Two servers close the reused connection: one before the request came, one after it had read it."""

    async def test() -> None:
        for reads, expected in ((False, 200), (True, 502)):
            listening = socket.socket()
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            listening.setblocking(False)
            model = Model()
            model.port = listening.getsockname()[1]
            folder = tmp_path / str(reads)
            folder.mkdir()
            plan = plan_of(version("v1", model))
            async with serving(folder, plan) as router, calling(router) as caller:
                loop = asyncio.get_running_loop()
                first = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                caller.send(post(b"a"))
                connection, _ = await loop.sock_accept(listening)
                await loop.sock_recv(connection, 65536)
                await loop.sock_sendall(connection, first)
                assert (await caller.answer()).status == 200
                # The worker is stopped while the connection closes under it, so that it must find out by writing.
                if reads:
                    caller.send(post(b"b"))
                    await loop.sock_recv(connection, 65536)
                    connection.close()
                else:
                    router.processes[0].send_signal(19)
                    caller.send(post(b"b"))
                    connection.close()
                    router.processes[0].send_signal(18)
                    connection, _ = await asyncio.wait_for(loop.sock_accept(listening), 30)
                    assert (await loop.sock_recv(connection, 65536)).endswith(b"b")
                    await loop.sock_sendall(connection, first)
                got = await caller.answer()
                assert got.status == expected
                await router.settled()
                assert router.counted("v1").picked.broken == int(reads)
                connection.close()
            listening.close()

    run(test())


def test_a_reused_connection_reset_over_an_unread_request_is_replaced_once(tmp_path: Path):
    """So do servers whose loop was busy for longer than their keep-alive; on a new connection it is a fault."""

    async def test() -> None:
        loop = asyncio.get_running_loop()
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        model = Model()
        model.port = listening.getsockname()[1]

        async def accepted() -> socket.socket:
            connection, _ = await asyncio.wait_for(loop.sock_accept(listening), 30)
            return connection

        async def unread(connection: socket.socket) -> None:
            await until(lambda: readable(connection), "the request lies unread")
            connection.close()

        async with serving(tmp_path, plan_of(version("v1", model))) as router, calling(router) as caller:
            caller.send(post(b"a"))
            connection = await accepted()
            await loop.sock_recv(connection, 65536)
            await loop.sock_sendall(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            assert (await caller.answer()).status == 200
            # In two pieces, of which the first is sent on the connection that is about to be reset.
            caller.send(post(b"bc")[:-1])
            await unread(connection)
            connection = await accepted()
            caller.send(b"c")
            await until(lambda: readable(connection).endswith(b"bc"), "the request is sent again, whole")
            await unread(connection)
            answer = await caller.answer()
            assert (answer.status, answer.error) == (502, "connection_lost")
            await router.settled()
            counted = router.counted("v1")
            assert (counted.retries, counted.picked.broken, counted.picked.status_2xx) == (1, 1, 1)
        listening.close()

    run(test())


def readable(connection: socket.socket) -> bytes:
    """What lies unread in the kernel."""
    try:
        return connection.recv(65536, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


def test_a_refused_connection_is_tried_at_another_endpoint(tmp_path: Path):
    async def test() -> None:
        async with models(Model()) as (model,):
            both = version("v1", endpoints=(nowhere(), model.endpoint))
            async with serving(tmp_path, plan_of(both)) as router, calling(router) as caller:
                for i in range(50):
                    assert (await caller.ask(post(b"%d" % i))).body == b"%d" % i
                await router.settled()
                counted = router.counted("v1")
                assert (counted.picked.requests, counted.picked.failed) == (50, 0)
                assert counted.retries >= 1
                assert counted.ejections <= 8, "an endpoint that fails is left alone"

    run(test())


def test_an_ejected_endpoint_comes_back(tmp_path: Path):
    async def test() -> None:
        port = unused_port()
        async with models(Model("a")) as (model,):
            both = version("v1", endpoints=(Endpoint("127.0.0.1", port), model.endpoint))
            async with serving(tmp_path, plan_of(both)) as router, calling(router) as caller:
                while router.counted("v1").ejections == 0:
                    assert (await caller.ask(get())).status == 200
                late = await Model("b").start(port)
                deadline = asyncio.get_running_loop().time() + 60
                while not late.seen and asyncio.get_running_loop().time() < deadline:
                    assert (await caller.ask(get())).status == 200
                    await asyncio.sleep(0.01)
                assert late.seen
                await late.stop()

    run(test())


def test_a_version_without_a_usable_endpoint_gives_its_share_to_stable_within_the_request(tmp_path: Path):
    async def test() -> None:
        async with models(Model()) as (model,):
            for candidate in (version("v2"), version("v2", endpoints=(nowhere(),))):
                folder = tmp_path / str(len(candidate.endpoints))
                folder.mkdir()
                plan = plan_of(version("v1", model), candidate, weights={"v2": 10_000}, guard=None)
                async with serving(folder, plan) as router, calling(router) as caller:
                    for i in range(20):
                        got = await caller.ask(post(b"%d" % i))
                        assert (got.status, got.body, got["x-headgate-version"]) == (200, b"%d" % i, "v1")
                    await router.settled()
                    counted = router.counted("v2")
                    assert (counted.picked.requests, counted.picked.no_connection) == (20, 20)
                    assert (counted.picked.failed, counted.saved_by_stable) == (20, 20)
                    assert (router.counted("v1").picked.requests, router.counted("v1").other) == (0, 20)

    run(test())


def test_with_nothing_left_to_go_to_the_answer_says_why(tmp_path: Path):
    async def test() -> None:
        for endpoints, status, cause in (((), 503, "no_endpoint"), ((nowhere(),), 502, "no_connection")):
            folder = tmp_path / cause
            folder.mkdir()
            plan = plan_of(version("v1", endpoints=endpoints))
            async with serving(folder, plan) as router, calling(router) as caller:
                for _ in range(6):
                    got = await caller.ask(post(b"x"))
                    assert (got.status, got.error) == (status, cause)
                await router.settled()
                assert router.counted("v1").picked.no_connection == 6

    run(test())


def test_stable_is_tried_even_when_all_its_endpoints_are_ejected(tmp_path: Path):
    async def test() -> None:
        port = unused_port()
        plan = plan_of(version("v1", endpoints=(Endpoint("127.0.0.1", port),)))
        async with serving(tmp_path, plan) as router, calling(router) as caller:
            for _ in range(5):
                assert (await caller.ask(get())).status == 502
            model = await Model().start(port)
            assert (await caller.ask(get())).status == 200
            await model.stop()

    run(test())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["by its address", "by a name"])
@pytest.mark.parametrize("is_allowed", [False, True], ids=["refused", "allowed"])
def test_a_model_server_on_an_address_that_is_refused_is_not_asked(
    tmp_path: Path, host: str, is_allowed: bool
):
    async def test() -> None:
        allows = [] if not is_allowed else ["--upstream-allow", "127.0.0.0/8"]
        async with models(Model()) as (model,):
            plan = plan_of(version("v1", endpoints=(Endpoint(host, model.port),)))
            async with serving(tmp_path, plan, words=["--guard-upstreams", *allows]) as router:
                got = await ask(router, get())
                assert got.status == (200 if is_allowed else 502)
                assert await ask(router, get())
                said = router.log_text().count("is loopback: allow it with --upstream-allow")
                assert said == (0 if is_allowed else 1)
            assert bool(model.seen) == is_allowed

    run(test())


def test_endpoints_that_have_all_they_may_are_503_and_recover(tmp_path: Path):
    gate = asyncio.Event()

    async def behave(request: Message, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def test() -> None:
        async with models(Model(behave=behave)) as (model,):
            plan = plan_of(version("v1", model), limits=Limits(connections_per_endpoint_max=2))
            async with serving(tmp_path, plan) as router, calling(router) as a, calling(router) as b:
                a.send(get())
                b.send(get())
                await until(lambda: len(model.seen) == 2, "two requests are in flight")
                got = await ask(router, get())
                assert (got.status, got.error) == (503, "overloaded")
                gate.set()
                assert [(await a.answer()).status, (await b.answer()).status] == [200, 200]
                assert (await ask(router, get())).status == 200

    run(test())


def test_a_model_that_never_answers_is_504_by_the_first_byte_deadline(tmp_path: Path):
    async def test() -> None:
        async with models(Model(behave=hang)) as (model,):
            plan = plan_of(version("v1", model), limits=Limits(first_byte_timeout_ms=300))
            async with serving(tmp_path, plan) as router, calling(router) as caller:
                got = await caller.ask(post(b"x"))
                assert (got.status, got.error) == (504, "first_byte_timeout")
                await router.settled()
                picked = router.counted("v1").picked
                assert (picked.requests, picked.timeout, picked.failed) == (1, 1, 1)
                assert sum(picked.latency) == 0
                await until(lambda: model.open == 0, "the model's connection is closed")

    run(test())


@pytest.mark.parametrize(
    "match", [None, Match((Condition("header:host"),), slots(v1=10_000))], ids=["split", "matched"]
)
def test_requests_in_flight_and_their_age_are_seen_while_a_model_hangs(tmp_path: Path, match: Match | None):
    async def test() -> None:
        async with (
            models(Model(behave=hang)) as (model,),
            serving(tmp_path, plan_of(version("v1", model), limits=LONG, match=match)) as router,
        ):
            async with calling(router) as a, calling(router) as b:
                a.send(get())
                b.send(get())
                await until(lambda: router.counted("v1").in_flight_ages[3] == 2, "both are a second old")
                assert router.counted("v1").in_flight == 2
            await until(lambda: router.counted("v1").in_flight == 0, "clients that left leave nothing behind")
            await until(lambda: sum(router.counted("v1").in_flight_ages) == 0, "nor its age")

    run(test())


def test_a_body_that_stands_still_is_the_client_s_fault_or_the_model_s_by_who_stopped(tmp_path: Path):
    async def behave(request: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(100)

    async def test() -> None:
        async with models(Model(behave=behave)) as (model,):
            plan = plan_of(version("v1", model), limits=Limits(body_idle_timeout_ms=300))
            async with serving(tmp_path, plan) as router, calling(router) as caller:
                got = await caller.ask(post(b"half a request")[:-3])
                assert (got.status, got.error) == (408, "request_body_timeout")
                assert await caller.is_closed()
                async with calling(router) as other:
                    other.send(get())
                    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                        await other.answer()
                await router.settled()
                picked = router.counted("v1").picked
                assert (picked.requests, picked.client_closed, picked.timeout, picked.failed) == (2, 1, 1, 1)

    run(test())


def test_the_whole_request_has_a_deadline(tmp_path: Path):
    async def behave(request: Message, writer: asyncio.StreamWriter) -> None:
        if request.path == "/drip":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(1000):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        await asyncio.sleep(100)

    async def test() -> None:
        async with models(Model(behave=behave)) as (model,):
            plan = plan_of(version("v1", model), limits=Limits(request_timeout_ms=700))
            async with serving(tmp_path, plan) as router, calling(router) as caller:
                got = await caller.ask(get())
                assert (got.status, got.error) == (504, "request_timeout")
                caller.send(get("/drip"))
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await caller.answer()
                await router.settled()
                assert router.counted("v1").picked.timeout == 2

    run(test())


def test_a_head_that_does_not_come_in_time_is_408_and_an_idle_connection_is_closed(tmp_path: Path):
    async def test() -> None:
        plan = plan_of(version("v1"), limits=Limits(header_timeout_ms=500, client_idle_timeout_ms=2000))
        async with serving(tmp_path, plan) as router, calling(router) as slow, calling(router) as idle:
            slow.send(b"GET / HTTP/1.1\r\nHost:")
            got = await slow.answer()
            assert (got.status, got.error) == (408, "header_timeout")
            assert await slow.is_closed()
            assert await idle.is_closed()

    run(test())


@pytest.mark.parametrize("is_reset", [True, False])
def test_a_client_that_leaves_is_counted_apart_and_frees_the_model(tmp_path: Path, is_reset: bool):
    """A killed process resets its connections, or just closes them, as one does that has waited long enough."""

    async def test() -> None:
        async with (
            models(Model(behave=hang)) as (model,),
            serving(tmp_path, plan_of(version("v1", model), limits=LONG)) as router,
        ):
            async with calling(router) as caller:
                caller.send(post(b"x"))
                await until(lambda: model.seen, "the model has the request")
                raw = caller.writer.get_extra_info("socket")
                if is_reset:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await until(lambda: model.open == 0, "the model's connection is closed")
            await until(lambda: router.counted("v1").picked.client_closed == 1, "it is counted")
            picked = router.counted("v1").picked
            assert (picked.requests, picked.failed) == (1, 0)

    run(test())


LONG = Limits(first_byte_timeout_ms=600_000, request_timeout_ms=600_000)
"""No deadline comes to a test's help."""


def test_a_model_that_says_more_than_its_answer_loses_its_connection_and_mixes_nothing_up(tmp_path: Path):
    async def behave(request: Message, writer: asyncio.StreamWriter) -> None:
        body = request.body
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        if request.path == "/later":
            await writer.drain()
            await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

    async def test() -> None:
        async with (
            models(Model(behave=behave)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
            calling(router) as caller,
        ):
            for path in ("/", "/later"):
                for i in range(20):
                    got = await caller.ask(post(b"%d" % i, path))
                    assert (got.status, got.body) == (200, b"%d" % i)
                    if path == "/later":
                        await asyncio.sleep(0.1)
            assert model.connections >= 38, "such a connection is not used again"

    run(test())


def test_a_name_that_does_not_resolve_is_no_connection(tmp_path: Path):
    async def test() -> None:
        plan = plan_of(version("v1", endpoints=(Endpoint("no-such-host.invalid", 80),)))
        async with serving(tmp_path, plan) as router:
            got = await ask(router, get())
            assert (got.status, got.error) == (502, "no_connection")

    run(test())
