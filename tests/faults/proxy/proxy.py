"""The proxy itself: TLS on both sides, one connection to the API server for each request, every exchange on record.

It runs in a thread of its own, so that a test may drive it while a client in another process, or the test itself,
talks through it. The client's bearer token is passed on, so the API server sees the person or the controller.
"""

import asyncio
import itertools
import json
import logging
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from tests.cluster.testbed.certificates import Pair
from tests.faults.proxy.http import (
    HEAD_BYTES_MAX,
    Broken,
    Head,
    chunk,
    head_bytes,
    lines,
    pieces,
    read_head,
    whole,
)
from tests.faults.proxy.kube import WRITES, Asked, asked, error_event, status
from tests.faults.proxy.rules import (
    Active,
    Answer,
    Blackhole,
    Delay,
    DelayEvents,
    DropEvents,
    DuplicateEvents,
    EventFault,
    Gone,
    KillAfter,
    KillBefore,
    RequestFault,
    Reset,
    Rule,
    Stale,
    Stall,
    Truncate,
)

CALL_S: Final = 30.0
RST: Final = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds: close sends RST
TOO_OLD: Final = "too old resource version"
T = TypeVar("T")


@dataclass(slots=True)
class Exchange:
    """One request and what became of it; `status` 0: none was passed to the client or seen from the server.

    `at` is a Unix time, `seconds` how long until the answer's end (0 until then); `forwarded` says whether the API server got it,
    `fault` which fault it met. `body` is kept of writes only: parsed if it is JSON, else as text (an apply may be
    YAML, and kubectl sends some built-in kinds as protobuf).
    """

    number: int
    at: float
    verb: str
    resource: str
    group: str
    namespace: str
    name: str
    path: str
    agent: str
    body: Any = None
    status: int = 0
    seconds: float = 0.0
    forwarded: bool = False
    fault: str = ""
    events: int = 0

    @property
    def asked(self) -> Asked:
        return Asked(self.verb, self.resource, self.group, self.namespace, self.name)

    @property
    def write(self) -> bool:
        return self.verb in WRITES


class _Cut(Exception):
    """This connection ends here, with RST."""


class _Ended(Exception):
    """This connection ends here, after what was already sent."""


class FaultProxy:
    """A proxy in front of the API server at `upstream` (https://host:port), from `with` to its end.

    `ca` is what it trusts upstream, `server` the certificate it shows. Without rules it changes nothing.
    """

    def __init__(self, upstream: str, ca: Path, server: Pair) -> None:
        where = urlsplit(upstream)
        self._host, self._port = where.hostname or "", where.port or 443
        self._trusts = ssl.create_default_context(cafile=str(ca))
        self._shows = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._shows.load_cert_chain(server.certificate, server.key)
        self._active: list[Active] = []
        self._conversations: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._record: list[Exchange] = []
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_note_only)
        self._failure: Exception | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._on_loop(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._shows, limit=HEAD_BYTES_MAX)
        )
        self._own_port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._on_loop(self._close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        if self._failure is not None and error is None:
            raise self._failure

    @property
    def url(self) -> str:
        """The address to use in place of the API server's."""
        return f"https://127.0.0.1:{self._own_port}"

    # Rules.

    def add(self, rule: Rule) -> Active:
        """Put a rule in force from the next request on; of several that take a request the first added counts."""
        active = Active(rule)
        with self._lock:
            self._active.append(active)
        return active

    def remove(self, active: Active) -> None:
        with self._lock:
            self._active.remove(active)

    def clear(self) -> None:
        """No rules."""
        with self._lock:
            self._active.clear()

    @contextmanager
    def during(self, rule: Rule) -> Iterator[Active]:
        """The rule is in force for the block."""
        active = self.add(rule)
        try:
            yield active
        finally:
            self.remove(active)

    def freeze(self) -> None:
        """Nothing passes any more, either way, new or under way; connections stay open. Until `thaw`."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def thaw(self) -> None:
        self._loop.call_soon_threadsafe(self._flows.set)

    def cut(self) -> None:
        """Break all connections (RST), watches too; new ones are taken."""
        self._on_loop(self._cut_all())

    # The record.

    def record(self) -> list[Exchange]:
        """All requests so far, oldest first."""
        with self._lock:
            return list(self._record)

    def writes(self, besides: Collection[str] = ("leases", "events")) -> list[Exchange]:
        """The writes so far that the API server got, of all resources but these."""
        return [
            exchange
            for exchange in self.record()
            if exchange.write and exchange.forwarded and exchange.resource not in besides
        ]

    def forget(self) -> None:
        """Empty the record; numbers go on."""
        with self._lock:
            self._record.clear()

    def save(self, path: Path) -> None:
        """The record as JSON, a line an exchange."""
        path.write_text("".join(f"{json.dumps(asdict(exchange))}\n" for exchange in self.record()))

    # On the loop.

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_S)

    async def _close(self) -> None:
        self._server.close()
        await self._cut_all()

    async def _cut_all(self) -> None:
        tasks = list(self._conversations)
        for task, client in self._conversations.items():
            _reset(client)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, requests: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """One connection of a client, to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._conversations[task] = client
        try:
            await self._converse(requests, client)
            client.close()
        except _Ended:
            client.close()
        except (_Cut, Broken, OSError, asyncio.CancelledError):
            _reset(client)
        except Exception as exc:  # noqa: BLE001 - the outermost frame: a hook's error, raised where the proxy ends
            self._failure = exc
            _reset(client)
        finally:
            del self._conversations[task]

    async def _converse(self, requests: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Request after request; the next is awaited during each, because a client that left is noticed so."""
        head = await read_head(requests)
        while head is not None:
            body = await whole(requests, head, to_close=False)
            coming = asyncio.ensure_future(read_head(requests))
            try:
                await self._exchange(head, body, client, coming)
                head = None if head.get("connection").lower() == "close" else await coming
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def _exchange(
        self, head: Head, body: bytes, client: asyncio.StreamWriter, coming: asyncio.Future[Head | None]
    ) -> None:
        await self._flows.wait()
        exchange, fault = self._meet(head, body)
        started = time.monotonic()
        try:
            handling = _Handling(self, head, body, client, exchange)
            await _while_connected(coming, handling.run(fault))
        finally:
            exchange.seconds = time.monotonic() - started

    def _meet(self, head: Head, body: bytes) -> tuple[Exchange, RequestFault | None]:
        method, target, _ = head.first.split(" ", 2)
        what, agent = asked(method, target), head.get("user-agent")
        exchange = _noted(next(self._numbers), what, target, agent, body)
        with self._lock:
            active = next((one for one in self._active if one.takes(what, agent, body)), None)
            self._record.append(exchange)
        if active is None or isinstance(active.rule.fault, EventFault):
            return exchange, None
        exchange.fault = type(active.rule.fault).__name__
        return exchange, active.rule.fault

    def meet_event(self, exchange: Exchange, kind: str) -> EventFault | None:
        """The fault that an event of this type meets in this watch."""
        with self._lock:
            active = next(
                (one for one in self._active if one.takes_event(exchange.asked, exchange.agent, kind)), None
            )
        fault = active.rule.fault if active else None
        return fault if isinstance(fault, EventFault) else None

    async def flows(self) -> None:
        """Returns when nothing is frozen."""
        await self._flows.wait()

    @asynccontextmanager
    async def upstream(self, head: Head, body: bytes) -> AsyncIterator[tuple[Head, asyncio.StreamReader]]:
        """The API server's answer to the request: its head, and the stream with its body."""
        answers, server = await asyncio.open_connection(
            self._host, self._port, ssl=self._trusts, limit=HEAD_BYTES_MAX
        )
        try:
            server.write(head.forwarded(("Connection", "close"), ("Content-Length", str(len(body)))) + body)
            await server.drain()
            answer = await read_head(answers)
            if answer is None:
                raise Broken("the API server closed without an answer")
            yield answer, answers
        finally:
            server.transport.abort()


def _noted(number: int, what: Asked, target: str, agent: str, body: bytes) -> Exchange:
    exchange = Exchange(
        number, time.time(), what.verb, what.resource, what.group, what.namespace, what.name, target, agent
    )
    if exchange.write and body:
        text = body.decode(errors="replace")
        exchange.body = text
        with suppress(json.JSONDecodeError):
            exchange.body = json.loads(text)
    return exchange


class _Handling:
    """One request on its way: to the fault it meets, if any, and to the API server, and back."""

    def __init__(
        self,
        proxy: FaultProxy,
        head: Head,
        body: bytes,
        client: asyncio.StreamWriter,
        exchange: Exchange,
    ) -> None:
        self._proxy, self._head, self._body, self._client = proxy, head, body, client
        self._exchange = exchange
        self._silent = False
        self._bytes_left: int | None = None

    async def run(self, fault: RequestFault | None) -> None:
        match fault:
            case Delay(seconds):
                await asyncio.sleep(seconds)
                await self._forward()
            case Reset():
                raise _Cut
            case Blackhole(forwards):
                if forwards:
                    await self._ask()
                await _for_ever()
            case Answer():
                await self._answer(fault)
            case Gone(in_stream):
                await (self._gone_in_stream() if in_stream else self._answer(Answer(410, TOO_OLD)))
            case Stale(answers):
                path = self._exchange.path
                answers[path] = answers.get(path) or await self._ask()
                await self._pass(*answers[path])
            case Truncate(bytes_passed):
                self._bytes_left = bytes_passed
                await self._forward()
                raise _Ended
            case KillBefore(hook):
                hook()
                raise _Cut
            case KillAfter(hook):
                await self._ask()
                hook()
                raise _Cut
            case None:
                await self._forward()

    async def _ask(self) -> tuple[Head, bytes]:
        """The API server's whole answer."""
        self._exchange.forwarded = True
        async with self._proxy.upstream(self._head, self._body) as (answer, stream):
            self._exchange.status = _code(answer)
            return answer, await whole(stream, answer, to_close=True)

    async def _forward(self) -> None:
        if self._exchange.verb == "watch":
            await self._forward_watch()
        else:
            await self._pass(*await self._ask())

    async def _pass(self, answer: Head, body: bytes) -> None:
        """The answer with its true length, and of its body what may pass."""
        await self._proxy.flows()
        length = ("Content-Length", str(len(body)))
        self._client.write(answer.forwarded(length) + body[: self._bytes_left])
        await self._client.drain()

    async def _answer(self, fault: Answer) -> None:
        self._exchange.status = fault.status
        body = json.dumps(status(fault.status, fault.message, fault.retry_after_s)).encode()
        fields = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        if fault.retry_after_s is not None:
            fields.append(("Retry-After", str(fault.retry_after_s)))
        self._client.write(head_bytes(f"HTTP/1.1 {fault.status} Injected", *fields) + body)
        await self._client.drain()

    async def _gone_in_stream(self) -> None:
        """A watch that begins well and whose first event is that it cannot go on."""
        self._exchange.status = 200
        fields = (("Content-Type", "application/json"), ("Transfer-Encoding", "chunked"))
        self._client.write(head_bytes("HTTP/1.1 200 OK", *fields))
        self._client.write(chunk(error_event(410, TOO_OLD)) + chunk(b""))
        await self._client.drain()

    async def _forward_watch(self) -> None:
        self._exchange.forwarded = True
        async with self._proxy.upstream(self._head, self._body) as (answer, stream):
            self._exchange.status = _code(answer)
            body = pieces(stream, answer, to_close=True)
            if _code(answer) != 200 or "json" not in answer.get("content-type"):
                await self._pass(answer, b"".join([piece async for piece in body]))
                return
            self._client.write(answer.forwarded(("Transfer-Encoding", "chunked")))
            async for line in lines(body):
                await self._pass_event(line)
        await self._proxy.flows()
        if self._silent:
            await _for_ever()
        self._client.write(chunk(b""))
        await self._client.drain()

    async def _pass_event(self, line: bytes) -> None:
        """Pass an event as its fault wills."""
        self._exchange.events += 1
        sent = line * await self._times(json.loads(line)["type"])
        await self._proxy.flows()
        if self._bytes_left is not None:
            sent = sent[: self._bytes_left]
            self._bytes_left -= len(sent)
        if sent:
            self._client.write(chunk(sent))
            await self._client.drain()
        if self._bytes_left == 0:
            raise _Ended

    async def _times(self, kind: str) -> int:
        """How often this event is sent, once its delay is over."""
        match self._proxy.meet_event(self._exchange, kind):
            case Stall():
                self._silent = True
            case DropEvents():
                return 0
            case DuplicateEvents():
                return 0 if self._silent else 2
            case DelayEvents(seconds):
                await asyncio.sleep(seconds)
        return 0 if self._silent else 1


def _code(answer: Head) -> int:
    return int(answer.first.split(" ", 2)[1])


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _while_connected(coming: asyncio.Future[Head | None], work: Coroutine[Any, Any, None]) -> None:
    """Do the work, unless the client goes first: then `coming`, its next request, is none."""
    doing = asyncio.ensure_future(work)
    try:
        either: set[asyncio.Future[Any]] = {doing, coming}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done() and coming.result() is None:
            raise Broken("the client left")
        await doing
    finally:
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)


def _reset(client: asyncio.StreamWriter) -> None:
    """End the connection with RST; one that is lost already has no socket any more."""
    connection = client.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    client.transport.abort()


def _note_only(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Clients that are killed leave half-done handshakes and the like: of interest to who debugs, to nobody else."""
    logging.getLogger(__name__).debug("%s", context)
