"""One request and its answer through a real worker: what arrives on both sides, in every framing and chunking."""

import asyncio
from pathlib import Path

import pytest

from headgate.wire.plan import IdentityKey, Limits, Overrides, Rewrite
from tests.router.proxy.proxy_world import (
    Caller,
    Message,
    Model,
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
from tests.router.proxy.test_framing import MALFORMED


def test_a_request_arrives_with_its_way_and_its_name_and_the_answer_names_its_version(tmp_path: Path):
    async def test() -> None:
        async with models(Model()) as (model,), serving(tmp_path, plan_of(version("v1", model))) as router:
            fields = [
                "X-Forwarded-For: 10.1.1.1",
                "X-Request-Id: abc-1",
                "X-Headgate-Foo: 1",
                "Connection: X-Once",
            ]
            answer = await ask(router, post(b'{"x": 1}', "/infer?a=b", *fields, "X-Once: 1", "TE: trailers"))
            (seen,) = model.seen
            assert (answer.status, answer.body) == (200, b'{"x": 1}')
            assert (answer["x-headgate-version"], answer["x-request-id"]) == ("v1", "abc-1")
            assert seen.first == "POST /infer?a=b HTTP/1.1"
            assert seen["host"] == f"127.0.0.1:{model.port}"
            assert seen["x-forwarded-for"] == "10.1.1.1, 127.0.0.1"
            assert (seen["x-forwarded-host"], seen["x-forwarded-proto"]) == ("model.test", "http")
            assert (seen["via"], seen["x-request-id"]) == ("1.1 headgate", "abc-1")
            assert not {"x-headgate-foo", "x-once", "te", "connection"} & {
                name.lower() for name, _ in seen.fields
            }

    run(test())


def test_a_request_without_a_usable_id_gets_one_that_is_its_own(tmp_path: Path):
    async def test() -> None:
        async with models(Model()) as (model,), serving(tmp_path, plan_of(version("v1", model))) as router:
            for fields in (
                [],
                ["X-Request-Id: a b"],
                ["X-Request-Id: a", "X-Request-Id: b"],
                [f"X-Request-Id: {'x' * 129}"],
            ):
                answer = await ask(router, get("/", *fields))
                assert answer["x-request-id"] == model.seen[-1]["x-request-id"]
            assert len({one["x-request-id"] for one in model.seen}) == 4

    run(test())


def test_without_a_plan_the_answer_is_503_and_says_so(tmp_path: Path):
    async def test() -> None:
        async with serving(tmp_path, None) as router, calling(router) as caller:
            for _ in range(2):
                answer = await caller.ask(get())
                assert (answer.status, answer.error, answer["retry-after"]) == (503, "no_plan", "1")
            head = await caller.ask(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", to_head=True)
            assert head.status == 503
            assert (await caller.ask(get())).error == "no_plan", "the HEAD answer had no body"
            await router.settled()
            assert router.worker().unserved == 4

    run(test())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_requests_cut_into_pieces_are_answered_in_order(tmp_path: Path, size: int):
    async def test() -> None:
        async with models(Model()) as (model,), serving(tmp_path, plan_of(version("v1", model))) as router:
            chunked = b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n"
            stream = (
                post(b"first", "/a") + get("/b") + chunked + b"\r\n" + post(b"", "/d") + post(b"last", "/e")
            )
            async with calling(router) as caller:
                for at in range(0, len(stream), size):
                    caller.send(stream[at : at + size])
                    await caller.writer.drain()
                    await asyncio.sleep(0)
                answers = [await caller.answer() for _ in range(5)]
            assert [one.body for one in answers] == [b"first", b"", b"abcde", b"", b"last"]
            assert [one["x-path"] for one in answers] == ["/a", "/b", "/c", "/d", "/e"]
            assert [one.body for one in model.seen] == [b"first", b"", b"abcde", b"", b"last"]
            await router.settled()
            assert router.counted("v1").picked.status_2xx == 5

    run(test())


def test_pipelined_requests_in_one_segment_are_answered_in_order_also_the_slow_ones(tmp_path: Path):
    async def slow_first(request: Message, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3 if request.path == "/0" else 0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(request.body), request.body))

    async def test() -> None:
        async with (
            models(Model(behave=slow_first)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
        ):
            async with calling(router) as caller:
                caller.send(b"".join(post(b"%d" % i, f"/{i}") for i in range(200)))
                assert [(await caller.answer()).body for _ in range(200)] == [b"%d" % i for i in range(200)]
            assert model.connections == 1, "one connection is enough for requests one after another"

    run(test())


def test_each_framing_of_answers_arrives_whole(tmp_path: Path):
    answers = {
        "/length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nT: 1\r\n\r\n",
        "/empty-chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "/empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "/none": b"HTTP/1.1 204 No Content\r\n\r\n",
        "/same": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        "/early": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1",
        "/close": b"HTTP/1.1 200 OK\r\n\r\nhello",
        "/1.0": b"HTTP/1.0 200 OK\r\n\r\nhello",
        "/1.0-length": b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "/long-reason": b"HTTP/1.1 500 It did not work\r\nContent-Length: 2\r\nConnection: close, X-Y\r\nX-Y: 1\r\n\r\nno",
    }
    size = 0

    async def behave(request: Message, writer: asyncio.StreamWriter) -> bool:
        data = answers[request.path]
        for at in range(0, len(data), size or len(data)):
            writer.write(data[at : at + (size or len(data))])
            await writer.drain()
            await asyncio.sleep(0)
        return "close" not in request.path and b"HTTP/1.0" not in data

    async def test() -> None:
        nonlocal size
        async with (
            models(Model(behave=behave)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
        ):
            for size in (0, 1, 2, 5):
                async with calling(router) as caller:
                    for path, data in answers.items():
                        answer = await caller.ask(get(path))
                        body = (
                            b""
                            if b" 304 " in data or path == "/empty-chunked"
                            else data.partition(b"\r\n\r\n")[2]
                        )
                        body = {"/chunked": b"hello", "/early": b"1"}.get(path, body)
                        assert answer.body == body, (path, size)
                        assert answer["x-headgate-version"] == "v1"
                        assert answer.get("x-y") is answer.get("trailer") is None
                        assert len(answer.interim) == (2 if path == "/early" else 0)
                        assert (
                            answer.first
                            == "HTTP/1.1 " + data[data.rindex(b"HTTP/1.") + 9 :].split(b"\r\n")[0].decode()
                        )

    run(test())


def test_an_http_1_0_client_gets_what_it_understands(tmp_path: Path):
    async def behave(request: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        if request.path == "/chunked":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    async def test() -> None:
        async with (
            models(Model(behave=behave)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
        ):
            async with calling(router) as caller:
                answer = await caller.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert (answer.body, answer["connection"], answer.interim) == (b"hello", "keep-alive", [])
                answer = await caller.ask(b"GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert (answer.body, answer["connection"]) == (b"hello", "close")
                assert answer.get("transfer-encoding") is None
            answer = await ask(router, b"GET / HTTP/1.0\r\n\r\n")
            assert (answer.body, answer["connection"]) == (b"hello", "close")

    run(test())


def test_head_requests_get_heads_and_leave_the_connection_in_step(tmp_path: Path):
    async def behave(request: Message, writer: asyncio.StreamWriter) -> None:
        body = b"" if request.first.startswith("HEAD") else b"hello"
        framing = b"Transfer-Encoding: chunked" if request.path == "/chunked" else b"Content-Length: 5"
        writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (framing, body))

    async def test() -> None:
        async with (
            models(Model(behave=behave)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
        ):
            async with calling(router) as caller:
                answer = await caller.ask(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", to_head=True)
                assert answer["content-length"] == "5"
                await caller.ask(b"HEAD /chunked HTTP/1.1\r\nHost: h\r\n\r\n", to_head=True)
                assert (await caller.ask(get())).body == b"hello"
            assert model.connections == 1

    run(test())


def test_expect_100_continue_reaches_the_model_and_its_consent_the_client(tmp_path: Path):
    async def test() -> None:
        async with models(Model()) as (model,), serving(tmp_path, plan_of(version("v1", model))) as router:
            async with calling(router) as caller:
                caller.send(
                    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
                )
                assert await caller.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                answer = await caller.ask(b"abc")
                assert (answer.status, answer.body) == (200, b"abc")
                answer = await caller.ask(
                    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: cake\r\n\r\nabc"
                )
                assert (answer.status, answer.error) == (417, "expectation_failed")
                assert await caller.is_closed()
            assert len(model.seen) == 1

    run(test())


def test_malformed_requests_are_refused_with_their_cause_and_nothing_of_them_reaches_a_model(tmp_path: Path):
    async def test() -> None:
        async with models(Model()) as (model,), serving(tmp_path, plan_of(version("v1", model))) as router:
            for cause, message in MALFORMED:
                async with calling(router) as caller:
                    answer = await caller.ask(message + b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
                    assert (answer.status, answer["connection"]) == (400, "close"), message
                    assert answer.error == cause, message
                    assert await caller.is_closed(), message
            assert model.seen == []
            await router.settled()
            assert router.worker().refused == len(MALFORMED)
            assert (await ask(router, get())).status == 200

    run(test())


def test_a_body_that_breaks_its_framing_ends_the_connection_and_is_no_failure_of_the_version(tmp_path: Path):
    async def test() -> None:
        async with models(Model()) as (model,), serving(tmp_path, plan_of(version("v1", model))) as router:
            head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            for early, late in (
                (b"", b"zz\r\n"),
                (b"3\r\nabc\r\n", b"3\r\nabcX"),
                (b"3\r\nabc\r\n0\r\n", b"a b: 1\r\n\r\n"),
            ):
                async with calling(router) as caller:
                    caller.send(head + early)
                    await asyncio.sleep(0.05)
                    answer = await caller.ask(late)
                    assert (answer.status, answer.error) == (400, "bad_chunk")
                    assert await caller.is_closed()
            assert model.seen == [], "no request was ever complete"
            answer = await ask(router, head + b"zz\r\n")
            assert (answer.status, answer.error) == (400, "bad_chunk")
            await router.settled()
            counted = router.counted("v1").picked
            assert (counted.requests, counted.client_closed, counted.failed) == (3, 3, 0)

    run(test())


def test_oversize_heads_are_431_however_they_come(tmp_path: Path):
    async def test() -> None:
        plan = plan_of(version("v1"), limits=Limits(header_bytes_max=2048))
        async with serving(tmp_path, plan) as router:
            for message in (
                get("/", "X: " + "x" * 3000),
                b"GET /" + b"x" * 3000,
                b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 600,
            ):
                for size in (len(message), 1000):
                    async with calling(router) as caller:
                        for at in range(0, len(message), size):
                            caller.send(message[at : at + size])
                            await asyncio.sleep(0.01)
                        answer = await caller.answer()
                        assert (answer.status, answer.error) == (431, "header_too_large")
                        assert await caller.is_closed()

    run(test())


def test_another_protocol_on_the_port_is_refused_at_once(tmp_path: Path):
    async def test() -> None:
        async with serving(tmp_path, None) as router:
            answer = await ask(router, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            assert (answer.status, answer.error) == (400, "bad_request_line")
            answer = await ask(router, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert (answer.status, answer.error) == (505, "version_not_supported")

    run(test())


def test_a_client_that_closes_its_side_after_asking_still_gets_its_answer(tmp_path: Path):
    async def behave(request: Message, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def test() -> None:
        async with (
            models(Model(behave=behave)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
        ):
            async with calling(router) as caller:
                caller.send(get() + get())
                caller.writer.write_eof()
                assert [(await caller.answer()).body for _ in range(2)] == [b"ok", b"ok"]
                assert await caller.is_closed()
            async with calling(router) as caller:
                caller.send(post(b"half")[:-2])
                caller.writer.write_eof()
                assert (await caller.answer()).error == "incomplete_request"
                assert await caller.is_closed()

    run(test())


def test_an_answer_that_comes_before_the_request_is_complete_is_passed_on_and_ends_the_connection(
    tmp_path: Path,
):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await reader.read()
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        model = Model()
        model.port = server.sockets[0].getsockname()[1]
        async with serving(tmp_path, plan_of(version("v1", model))) as router, calling(router) as caller:
            caller.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
            answer = await caller.answer()
            assert (answer.status, answer.body, answer["connection"]) == (413, b"big", "close")
            assert await caller.is_closed()
            await router.settled()
            assert router.counted("v1").picked.status_4xx == 1
        server.close()

    run(test())


def test_a_user_stays_with_one_version_by_each_kind_of_key(tmp_path: Path):
    async def test() -> None:
        async with models(Model("a"), Model("b")) as (a, b):
            plan = plan_of(
                version("v1", a),
                version("v2", b),
                weights={"v1": 5000, "v2": 5000},
                identity=IdentityKey(("header:X-User-Id", "cookie:sid", "query:user")),
            )
            async with serving(tmp_path, plan) as router, calling(router) as caller:
                split = set()
                for user in range(30):
                    ways = [
                        ("/", f"X-User-Id: u{user}"),
                        ("/", f"Cookie: a=b; sid=u{user}; c=d"),
                        (f"/?x=1&user=u{user}", ""),
                    ]
                    found = {
                        (await caller.ask(get(path, *filter(None, [line]))))["x-headgate-version"]
                        for path, line in ways * 2
                    }
                    assert len(found) == 1
                    split |= found
                assert split == {"v1", "v2"}

    run(test())


def test_testers_reach_a_version_by_the_override_and_are_counted_apart(tmp_path: Path):
    async def test() -> None:
        async with models(Model("a"), Model("b")) as (a, b):
            plan = plan_of(
                version("v1", a), version("v2", b), overrides=Overrides("x-headgate-version", ("v2",))
            )
            async with serving(tmp_path, plan) as router, calling(router) as caller:
                for name, expected in (("v2", "v2"), ("v1", "v1"), ("v9", "v1"), ("", "v1")):
                    answer = await caller.ask(get("/", f"X-Headgate-Version: {name}"))
                    assert answer["x-headgate-version"] == expected
                await router.settled()
                counted = router.counted("v2")
                assert (counted.selected.requests, counted.picked.requests) == (1, 0)
                assert router.counted("v1").picked.requests == 3

    run(test())


def test_a_version_with_its_own_path_is_asked_there(tmp_path: Path):
    async def test() -> None:
        async with models(Model()) as (model,):
            rewrite = Rewrite(path="/v2/models/fraud8/infer")
            for more, expected in (
                ({"base_path": "/fraud"}, "/fraud/infer?a=b"),
                ({"rewrite": rewrite}, "/v2/models/fraud8/infer?a=b"),
                ({"rewrite": rewrite, "base_path": "/x/"}, "/x/v2/models/fraud8/infer?a=b"),
            ):
                run_dir = tmp_path / str(len(model.seen))
                run_dir.mkdir()
                async with serving(run_dir, plan_of(version("v1", model, **more))) as router:
                    await ask(router, post(b"{}", "/infer?a=b"))
                assert model.seen[-1].path == expected

    run(test())


def test_only_counted_paths_count(tmp_path: Path):
    async def fail(request: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

    async def test() -> None:
        async with models(Model(behave=fail)) as (model,):
            plan = plan_of(version("v1", model), counted_paths=("/v2/models/*/infer", "/predict"))
            async with serving(tmp_path, plan) as router, calling(router) as caller:
                for path in (
                    "/v2/models/a/infer",
                    "/v2/models/a/b/infer?x=y",
                    "/predict",
                    "/predict/",
                    "/metrics",
                    "/",
                ):
                    assert (await caller.ask(get(path))).status == 500
                await router.settled()
                counted = router.counted("v1")
                assert (counted.picked.requests, counted.picked.failed, counted.other) == (3, 3, 3)

    run(test())


def test_outcomes_are_counted_by_class_with_latency_bytes_and_halves(tmp_path: Path):
    async def behave(request: Message, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %b X\r\nContent-Length: 4\r\n\r\nbody" % request.path[1:].encode())

    async def test() -> None:
        async with (
            models(Model(behave=behave)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
            calling(router) as caller,
        ):
            for status in (200, 201, 302, 404, 422, 429, 500, 503):
                await caller.ask(post(b"12345", f"/{status}"))
            await router.settled()
            counted = router.counted("v1")
            picked = counted.picked
            classes = (picked.status_2xx, picked.status_3xx, picked.status_4xx, picked.status_5xx)
            assert classes == (2, 1, 3, 2)
            assert (picked.requests, picked.failed, sum(picked.latency)) == (8, 2, 8)
            assert (counted.bytes_in, counted.bytes_out) == (40, 32)
            for _ in range(100):
                await caller.ask(post(b"1", "/200"))
            assert 20 < router.counted("v1").half.requests < 88
            await until(lambda: router.counted("v1").in_flight == 0, "nothing is in flight")

    run(test())


async def read_until(caller: Caller, end: bytes) -> bytes:
    return await asyncio.wait_for(caller.reader.readuntil(end), 30)


def test_events_leave_one_by_one_as_they_come(tmp_path: Path):
    go_on = asyncio.Event()

    async def behave(request: Message, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for i in range(5):
            writer.write(b"data: %d\n\n" % i)
            await writer.drain()
            await go_on.wait()
            go_on.clear()
        return False

    async def test() -> None:
        async with (
            models(Model(behave=behave)) as (model,),
            serving(tmp_path, plan_of(version("v1", model))) as router,
            calling(router) as caller,
        ):
            caller.send(get())
            await read_until(caller, b"\r\n\r\n")
            for i in range(5):
                assert await read_until(caller, b"data: %d\n\n\r\n" % i) == b"9\r\ndata: %d\n\n\r\n" % i
                go_on.set()
            assert await read_until(caller, b"\r\n\r\n") == b"0\r\n\r\n"

    run(test())
