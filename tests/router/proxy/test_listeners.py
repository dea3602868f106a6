"""How clients get to a worker: over TLS, Unix sockets and behind the PROXY protocol, as real clients do."""

import asyncio
import fcntl
import signal
import socket
import ssl
import sys
import termios
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headgate.wire.plan import Endpoint, Limits
from router.core.proxy_protocol import SIGNATURE
from router.proxy.listeners import announced
from router.tls import Pair
from tests.router.authority import Authority
from tests.router.proxy.proxy_world import (
    PATIENCE_S,
    Caller,
    Message,
    Model,
    Router,
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


def told(*pairs: Pair) -> list[str]:
    return [
        word for pair in pairs for word in ("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key))
    ]


def trusting(ca: Path, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


@asynccontextmanager
async def calling_tls(
    router: Router, context: ssl.SSLContext, name: str = "a.test", **more: Any
) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", router.port, ssl=context, server_hostname=name, limit=4 * 1024 * 1024, **more
    )
    caller = Caller(reader, writer)
    try:
        yield caller
    finally:
        caller.close()


def shown(caller: Caller) -> set[str]:
    """The names in the certificate that the router showed."""
    certificate = caller.writer.get_extra_info("peercert")
    return {name for _, name in certificate["subjectAltName"]}


# -- TLS to clients ------------------------------------------------------------------------------------------------


def test_over_tls_requests_of_any_size_are_answered_and_models_are_told(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        async with (
            models(Model()) as (model,),
            serving(
                tmp_path, plan_of(version("v1", model)), words=told(authority.make("a", "a.test"))
            ) as router,
        ):
            async with calling_tls(router, trusting(authority.ca)) as caller:
                assert caller.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
                assert (await caller.ask(get("/one"))).status == 200
                body = bytes(range(256)) * 8000
                assert (await caller.ask(post(body))).body == body
                caller.send(get("/two") + get("/three"))
                paths = [(await caller.answer())["x-path"] for _ in range(2)]
                assert paths == ["/two", "/three"]
            assert model.seen[0]["x-forwarded-proto"] == "https"
            assert model.seen[0]["x-forwarded-for"] == "127.0.0.1"

    run(test())


def test_a_last_answer_over_tls_arrives_whole_and_ends_in_order(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        async with (
            models(Model()) as (model,),
            serving(
                tmp_path, plan_of(version("v1", model)), words=told(authority.make("a", "a.test"))
            ) as router,
        ):
            for request, status in ((get("/", "Connection: close"), 200), (b"nonsense\r\n\r\n", 400)):
                async with calling_tls(router, trusting(authority.ca)) as caller:
                    assert (await caller.ask(request)).status == status
                    assert await caller.is_closed()

    run(test())


def test_the_certificate_is_chosen_by_the_name_that_is_asked_for(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        pairs = [authority.make("a", "a.test"), authority.make("b", "b.test", "*.b.test")]
        context = trusting(authority.ca)
        async with serving(tmp_path, plan_of(version("v1")), words=told(*pairs)) as router:
            for name, expected in (("a.test", "a.test"), ("b.test", "b.test"), ("X.B.test", "b.test")):
                async with calling_tls(router, context, name) as caller:
                    assert expected in shown(caller)
            context.check_hostname = False
            for unknown in ("c.test", "x.y.b.test", "127.0.0.1"):
                async with calling_tls(router, context, unknown) as caller:
                    assert shown(caller) == {"a.test"}

    run(test())


def test_without_a_certificate_of_the_authority_no_client_gets_in(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        (tmp_path / "other").mkdir()
        stranger = Authority(tmp_path / "other", "stranger")
        mine, yours = authority.make("client", "me"), stranger.make("client", "you")
        words = [*told(authority.make("a", "a.test")), "--tls-client-ca", str(authority.ca)]
        async with models(Model()) as (model,):
            async with serving(tmp_path, plan_of(version("v1", model)), words=words) as router:
                async with calling_tls(router, trusting(authority.ca, mine)) as caller:
                    assert (await caller.ask(get())).status == 200
                for pair in (None, yours):
                    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                        async with calling_tls(router, trusting(authority.ca, pair)) as caller:
                            await caller.ask(get())
            assert len(model.seen) == 1

    run(test())


TLS_1_1 = ssl.TLSVersion(0x0302)  # by number: its name is deprecated


@pytest.mark.parametrize(
    ("words", "newest"), [([], TLS_1_1), (["--tls-min", "1.3"], ssl.TLSVersion.TLSv1_2)], ids=["1.1", "1.2"]
)
def test_old_versions_of_tls_are_refused(tmp_path: Path, words: list[str], newest: ssl.TLSVersion):
    async def test() -> None:
        authority = Authority(tmp_path)
        context = trusting(authority.ca)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.maximum_version = newest
        words_ = [*told(authority.make("a", "a.test")), *words]
        async with serving(tmp_path, plan_of(version("v1")), words=words_) as router:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with calling_tls(router, context):
                    pass

    run(test())


async def names_until(router: Router, ca: Path, name: str) -> None:
    """Wait until new connections are shown a certificate for this name."""
    context = trusting(ca)
    context.check_hostname = False
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while asyncio.get_running_loop().time() < deadline:
        async with calling_tls(router, context, name) as caller:
            if name in shown(caller):
                return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never shown {name}")


@pytest.mark.parametrize("hangs_up", [False, True], ids=["by itself", "at SIGHUP"])
def test_a_new_certificate_is_for_new_connections_and_loses_no_old_one(tmp_path: Path, hangs_up: bool):
    async def test() -> None:
        authority = Authority(tmp_path)
        pair = authority.make("a", "old.test")
        context = trusting(authority.ca)
        context.check_hostname = False
        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=told(pair)) as router,
            calling_tls(router, context) as old,
        ):
            assert (await old.ask(get("/before"))).status == 200
            authority.make("a", "new.test")
            if hangs_up:
                router.processes[0].send_signal(signal.SIGHUP)
            await names_until(router, authority.ca, "new.test")
            assert (await old.ask(get("/after"))).status == 200
            assert shown(old) == {"old.test"}

    run(test())


def test_no_request_is_lost_while_certificates_change_all_the_time(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        pair = authority.make("a", "a.test")
        context = trusting(authority.ca)
        is_over = asyncio.Event()
        statuses: list[int] = []

        async def connect_and_ask(router: Router) -> None:
            while not is_over.is_set():
                async with calling_tls(router, context) as caller:
                    statuses.append((await caller.ask(get())).status)

        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), 2, words=told(pair)) as router,
        ):
            asking = [asyncio.create_task(connect_and_ask(router)) for _ in range(4)]
            for number in range(1, 6):
                authority.make("a", "a.test", f"{number}.test")
                await names_until(router, authority.ca, f"{number}.test")
            is_over.set()
            await asyncio.gather(*asking)
        assert set(statuses) == {200}

    run(test())


def test_a_client_that_never_shakes_hands_is_cut_and_others_are_served_meanwhile(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        async with (
            models(Model()) as (model,),
            serving(
                tmp_path, plan_of(version("v1", model)), words=told(authority.make("a", "a.test"))
            ) as router,
            calling(router) as silent,
            calling_tls(router, trusting(authority.ca)) as caller,
        ):
            assert (await caller.ask(get())).status == 200
            assert await silent.is_closed()

    run(test())


def test_plain_http_to_a_tls_port_is_closed_without_an_answer_from_a_model(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        words = told(authority.make("a", "a.test"))
        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=words) as router,
            calling(router) as caller,
        ):
            caller.send(get())
            await caller.is_closed()
            assert not model.seen

    run(test())


def test_a_worker_with_certificates_of_no_use_says_so_and_ends(tmp_path: Path):
    async def test() -> None:
        pair = Pair(tmp_path / "a.crt", tmp_path / "a.key")
        router = Router(tmp_path, 1, told(pair))
        try:
            router.start()
            assert await router.wait() == 1
            assert f"{pair.certificate}: No such file" in router.log_text()
        finally:
            router.stop()

    run(test())


# -- TLS to model servers ------------------------------------------------------------------------------------------


class SecureModel(Model):
    """A model server that speaks TLS; `names` are those that it was asked for."""

    def __init__(self, pair: Pair, client_ca: Path | None = None) -> None:
        super().__init__()
        self.names: list[str | None] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pair.certificate, pair.key)
        self.context.sni_callback = lambda _, name, __: self.names.append(name)
        if client_ca is not None:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED

    async def start(self, port: int = 0) -> "SecureModel":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=self.context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("localhost", self.port, tls=True)


def test_a_model_server_is_verified_by_the_authority_and_asked_by_its_name(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        async with models(SecureModel(authority.make("model", "localhost"))) as (model,):
            words = ["--upstream-ca", str(authority.ca)]
            async with serving(tmp_path, plan_of(version("v1", model)), words=words) as router:
                assert (await ask(router, post(b"x" * 300_000))).status == 200
                assert (await ask(router, get())).status == 200
            assert model.names == ["localhost"]
            assert model.seen[0]["host"] == f"localhost:{model.port}"

    run(test())


@pytest.mark.parametrize(
    "fault", ["another authority", "another name", "expired", "the system's authorities"]
)
def test_a_model_server_that_cannot_prove_itself_gets_no_request(tmp_path: Path, fault: str):
    async def test() -> None:
        authority = Authority(tmp_path)
        (tmp_path / "other").mkdir()
        other = Authority(tmp_path / "other", "other")
        maker = other if fault == "another authority" else authority
        name = "another.test" if fault == "another name" else "localhost"
        pair = maker.make("model", name, days=-1 if fault == "expired" else 30)
        words = [] if fault == "the system's authorities" else ["--upstream-ca", str(authority.ca)]
        async with models(SecureModel(pair)) as (model,):
            async with serving(tmp_path, plan_of(version("v1", model)), words=words) as router:
                answer = await ask(router, get())
                assert (answer.status, answer.error) == (502, "no_connection")
            assert not model.seen

    run(test())


def test_a_model_server_that_wants_a_certificate_is_shown_ours(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        ours = authority.make("router", "router.test")
        model = SecureModel(authority.make("model", "localhost"), client_ca=authority.ca)
        async with models(model):
            plan, trust = plan_of(version("v1", model)), ["--upstream-ca", str(authority.ca)]
            shows = ["--upstream-cert", str(ours.certificate), "--upstream-key", str(ours.key)]
            async with serving(tmp_path, plan, words=[*trust, *shows]) as router:
                assert (await ask(router, get())).status == 200
            async with serving(tmp_path, plan, words=trust) as router:
                assert (await ask(router, get())).status == 502

    run(test())


def test_an_authority_that_is_replaced_is_believed_no_more_and_its_successor_is(tmp_path: Path):
    async def test() -> None:
        old = Authority(tmp_path)
        (tmp_path / "other").mkdir()
        new = Authority(tmp_path / "other", "new")
        bundle = tmp_path / "bundle.crt"
        bundle.write_bytes(old.ca.read_bytes())
        first, second = SecureModel(old.make("m1", "localhost")), SecureModel(new.make("m2", "localhost"))
        async with models(first, second):
            plans = [
                plan_of(version("v1", one), generation=number) for number, one in enumerate((first, second))
            ]
            words = ["--upstream-ca", str(bundle)]
            async with serving(tmp_path, plans[0], words=words) as router:
                assert (await ask(router, get())).status == 200
                bundle.write_bytes(new.ca.read_bytes())
                await until(lambda: "certificates read again" in router.log_text(), "it notices")
                await until(lambda: first.open == 0, "what was verified by the old one is closed")
                assert (await ask(router, get())).status == 502
            async with serving(tmp_path, plans[1], words=words) as router:
                assert (await ask(router, get())).status == 200

    run(test())


# -- Unix sockets --------------------------------------------------------------------------------------------------


def test_a_unix_socket_serves_like_any_other(tmp_path: Path):
    async def test() -> None:
        path = tmp_path / "clients.sock"
        async with models(Model()) as (model,):
            async with serving(tmp_path, plan_of(version("v1", model)), socket_path=path):
                reader, writer = await asyncio.open_unix_connection(path, limit=4 * 1024 * 1024)
                caller = Caller(reader, writer)
                body = b"y" * 1_000_000
                assert (await caller.ask(post(body))).body == body
                assert (await caller.ask(get("/", "X-Forwarded-For: 192.0.2.7"))).status == 200
                writer.write(get("/last"))
                writer.write_eof()
                assert (await caller.answer())["x-path"] == "/last"
                assert await caller.is_closed()
                caller.close()
            assert [one["x-forwarded-for"] for one in model.seen[:2]] == ["unknown", "192.0.2.7, unknown"]

    run(test())


def test_tls_is_not_spoken_on_a_unix_socket(tmp_path: Path):
    async def test() -> None:
        words = told(Authority(tmp_path).make("a", "a.test"))
        path = tmp_path / "clients.sock"
        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=words, socket_path=path),
        ):
            reader, writer = await asyncio.open_unix_connection(path)
            assert (await Caller(reader, writer).ask(get())).status == 200
            writer.transport.abort()

    run(test())


# -- the PROXY protocol --------------------------------------------------------------------------------------------

HERE = ["--proxy-protocol-from", "127.0.0.0/8"]
V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"
V2 = SIGNATURE + b"\x21\x11\x00\x0c" + bytes([192, 0, 2, 8, 192, 0, 2, 1]) + b"\x12\x67\x01\xbb"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


@pytest.mark.parametrize(
    ("header", "client"),
    [(V1, "192.0.2.7"), (V2, "192.0.2.8"), (LOCAL, "127.0.0.1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1")],
    ids=["version 1", "version 2", "local", "unknown"],
)
def test_models_are_told_the_client_that_a_known_sender_names_in_every_chunking(
    tmp_path: Path, header: bytes, client: str
):
    async def test() -> None:
        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=HERE) as router,
        ):
            whole = header + post(b"body")
            for size in (len(whole), 1, 7, len(header), len(header) - 1, len(header) + 1):
                async with calling(router) as caller:
                    opened: socket.socket = caller.writer.get_extra_info("socket")
                    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    for at in range(0, len(whole), size):
                        caller.send(whole[at : at + size])
                        await asyncio.sleep(0)
                    assert (await caller.answer()).body == b"body"
                    assert (await caller.ask(get("/again"))).status == 200
            assert {one["x-forwarded-for"] for one in model.seen} == {client}
            assert not router.causes()

    run(test())


@pytest.mark.parametrize(
    "header", [V1, V2, LOCAL, b"PROXY UNKNOWN\r\n"], ids=["v1", "v2", "local", "unknown"]
)
def test_not_a_byte_after_the_header_is_taken_wherever_it_is_cut(header: bytes):
    async def test() -> None:
        for cut in range(len(header)):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                theirs.setblocking(False)
                reading = asyncio.create_task(announced(theirs))
                ours.sendall(header[:cut])
                await until(lambda theirs=theirs: not _unread(theirs), "the first piece is taken")
                ours.sendall(header[cut:] + get())
                await asyncio.wait_for(reading, PATIENCE_S)
                assert theirs.recv(1000) == get(), cut

    run(test())


def _unread(opened: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(opened, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.parametrize(
    "header",
    [b"", V1.replace(b"\r\n", b"\n"), V1[:-2] + b" " * 80, V1 + V1, V2[:12] + b"\x31" + V2[13:], V2 + V2],
    ids=["none", "LF", "endless", "twice", "version 3", "version 2 twice"],
)
def test_what_is_not_exactly_such_a_header_gets_nowhere(tmp_path: Path, header: bytes):
    async def test() -> None:
        async with models(Model()) as (model,):
            async with serving(tmp_path, plan_of(version("v1", model)), words=HERE) as router:
                async with calling(router) as caller:
                    caller.send(header + get("/", "Connection: close"))
                    try:
                        said: Message | None = await caller.answer()
                    except (asyncio.IncompleteReadError, ConnectionError):
                        said = None
                await until(router.causes, "it is counted")
                assert said is None or said.status == 400
            assert not model.seen

    run(test())


def test_a_header_that_does_not_come_in_time_ends_the_connection(tmp_path: Path):
    async def test() -> None:
        plan = plan_of(version("v1"), limits=Limits(header_timeout_ms=300))
        async with serving(tmp_path, plan, words=HERE) as router:
            async with calling(router) as caller:
                caller.send(V1[:20])
                assert await caller.is_closed()
            assert router.causes() == {"proxy_protocol": 1}

    run(test())


def test_who_is_not_on_the_list_is_not_heard(tmp_path: Path):
    async def test() -> None:
        async with models(Model()) as (model,):
            words = ["--proxy-protocol-from", "192.0.2.0/24", "--proxy-protocol-from", "unix"]
            async with serving(tmp_path, plan_of(version("v1", model)), words=words) as router:
                for data in (V1 + get(), get()):
                    async with calling(router) as caller:
                        caller.send(data)
                        assert await caller.is_closed()
                await until(lambda: router.causes() == {"proxy_protocol_sender": 2}, "both are counted")
            assert not model.seen

    run(test())


def test_a_load_balancer_that_connects_and_leaves_is_no_mistake(tmp_path: Path):
    async def test() -> None:
        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=HERE) as router,
        ):
            for _ in range(3):
                async with calling(router):
                    pass
            async with calling(router) as caller:
                assert (await caller.ask(V1 + get())).status == 200
            assert not router.causes()

    run(test())


def test_on_a_unix_socket_the_list_says_unix(tmp_path: Path):
    async def test() -> None:
        path, words = tmp_path / "clients.sock", ["--proxy-protocol-from", "unix"]
        async with models(Model()) as (model,):
            plan = plan_of(version("v1", model))
            async with serving(tmp_path, plan, words=words, socket_path=path):
                reader, writer = await asyncio.open_unix_connection(path)
                assert (await Caller(reader, writer).ask(V2 + get())).status == 200
                writer.transport.abort()
            assert model.seen[0]["x-forwarded-for"] == "192.0.2.8"

    run(test())


def test_the_header_comes_before_tls(tmp_path: Path):
    async def test() -> None:
        authority = Authority(tmp_path)
        words = [*HERE, *told(authority.make("a", "a.test"))]
        async with models(Model()) as (model,):
            async with serving(tmp_path, plan_of(version("v1", model)), words=words) as router:
                for header in (V1, V2):
                    opened = socket.create_connection(("127.0.0.1", router.port))
                    opened.sendall(header)
                    reader, writer = await asyncio.open_connection(
                        sock=opened, ssl=trusting(authority.ca), server_hostname="a.test"
                    )
                    assert (await Caller(reader, writer).ask(get())).status == 200
                    writer.transport.abort()
            assert [one["x-forwarded-for"] for one in model.seen] == ["192.0.2.7", "192.0.2.8"]
            assert model.seen[0]["x-forwarded-proto"] == "https"

    run(test())


def test_a_drain_waits_for_a_connection_that_still_owes_its_header(tmp_path: Path):
    async def test() -> None:
        async with (
            models(Model()) as (model,),
            serving(tmp_path, plan_of(version("v1", model)), words=HERE) as router,
        ):
            async with calling(router) as late, calling(router) as served:
                assert (await served.ask(V1 + get())).status == 200  # so both are accepted
                late.send(V1[:10])
                router.processes[0].send_signal(signal.SIGTERM)
                await until(lambda: "draining" in router.log_text(), "the drain begins")
                late.send(V1[10:] + get())
                assert (await late.answer()).status == 200
            assert await router.wait() == 0

    run(test())
