"""A small HTTP/1.1 client for replays: kept connections, one exchange at a time on each, and a bound on everything.

A shadow is not trusted: it may hang, answer without end, reset, or talk nonsense. Each of these ends as a
`Refused` with its reason. httpx would cost many times what the rest of a pair costs, on a core that the live path
may share.
"""

import asyncio
import errno
import socket
from collections import deque
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, NamedTuple, cast

import httptools

from headgate.reach import Reach
from headgate.wire.plan import Endpoint
from router.core.join import Answer, Reason, Refused
from router.tls import Followed

HEAD_BYTES_MAX: Final = 64 * 1024
FRAMING_BYTES_MAX: Final = 1024 * 1024
IDLE_S_MAX: Final = 30.0


class _Gone(Exception):
    """A kept connection was closed before it gave a byte of answer: the request may be sent again."""


class _Bad(Exception):
    """The exchange failed for `reason`; the text is for the record."""

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(why)
        self.reason = reason


class ByteBudget:
    """How many bytes may be held at once; `whole` is the budget of all holders, of which this one has a part."""

    def __init__(self, bytes_max: int, whole: "ByteBudget | None" = None) -> None:
        self.held = 0
        self.bytes_max = bytes_max
        self._whole = whole

    def take(self, count: int) -> bool:
        """Hold so many more, if they fit here and in the whole."""
        if self.held + count > self.bytes_max or not (self._whole is None or self._whole.take(count)):
            return False
        self.held += count
        return True

    def give(self, count: int) -> None:
        """Hold so many less."""
        self.held -= count
        if self._whole is not None:
            self._whole.give(count)


class Limits(NamedTuple):
    """What one exchange may cost: seconds from connecting to the answer's last byte, and the answer's body.

    The body is held in `budget` as it comes; what a whole answer holds of it, the caller gives back.
    """

    timeout_s: float
    body_bytes_max: int
    budget: ByteBudget


class _Reading:
    """One answer as it comes in; httptools calls the `on_…` methods, which may not raise."""

    def __init__(self, bytes_max: int, budget: ByteBudget) -> None:
        self.bad: _Bad | None = None
        self.is_complete = False
        self.has_head = False
        self.is_framed = False
        self.is_last = False
        self.body_bytes = 0
        self._bytes_max = bytes_max
        self._budget = budget
        self._fields: list[bytes] = []
        self._body: list[bytes] = []
        self._wire_bytes = 0
        self._status = 0
        self._parser = httptools.HttpResponseParser(self)

    @property
    def has_begun(self) -> bool:
        """Whether a byte has come."""
        return self._wire_bytes > 0

    def feed(self, data: bytes) -> None:
        """Read on; then `is_complete` or `bad` may be set."""
        self._wire_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:  # an upgrade that nobody asked for, too
            self._fail("shadow_error", f"not HTTP: {type(error).__name__}")
        if not self.has_head and self._wire_bytes > HEAD_BYTES_MAX:
            self._fail("shadow_error", f"a head of more than {HEAD_BYTES_MAX} bytes")
        if self._wire_bytes > 2 * self._bytes_max + FRAMING_BYTES_MAX:
            self._fail("body_too_large", "framing or trailers without end")

    def answer(self, latency_s: float) -> Answer:
        """The answer, once it is complete."""
        return Answer(self._status, latency_s, b"".join(self._fields), b"".join(self._body))

    def on_message_begin(self) -> None:
        if self.is_complete:
            self.is_last = True  # something follows that was not asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_complete:
            return
        self._fields += (name, b": ", value, b"\r\n")
        lowered = name.lower()
        if lowered == b"content-length":
            self.is_framed = True
            if value.isdigit() and (len(value) > 18 or int(value) > self._bytes_max):
                self._fail("body_too_large", f"the shadow announced more than {self._bytes_max} bytes")
        elif lowered == b"transfer-encoding":
            self.is_framed = True

    def on_headers_complete(self) -> None:
        if not self.is_complete:
            self._status = self._parser.get_status_code()
            self.has_head = self._status >= 200

    def on_body(self, body: bytes) -> None:
        if self.is_complete or self.bad is not None:
            return
        if self.body_bytes + len(body) > self._bytes_max:
            self._fail("body_too_large", f"the shadow answered more than {self._bytes_max} bytes")
        elif not self._budget.take(len(body)):
            self._fail("queue_full", "the shadows' answers together are more than is held at a time")
        else:
            self.body_bytes += len(body)
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._status < 200:  # 1xx: the answer is still to come
            self._fields.clear()
            return
        if not self.is_complete and not self._parser.should_keep_alive():
            self.is_last = True
        self.is_complete = True

    def _fail(self, reason: Reason, why: str) -> None:
        if self.bad is None and not self.is_complete:
            self.bad = _Bad(reason, why)


class _Connection(asyncio.Protocol):
    """One connection, with one exchange on it at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._reading: _Reading | None = None
        self.idle_since = 0.0
        self.is_reusable = True

    async def exchange(self, request: bytes, limits: Limits) -> Answer:
        """The answer to the request; its body stays held in the budget. Raises _Gone or _Bad."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise _Gone
        reading = self._reading = _Reading(limits.body_bytes_max, limits.budget)
        waiter = self._waiter = self._loop.create_future()
        sent_at = perf_counter()  # uvloop's own clock moves in whole milliseconds
        transport.write(request)
        try:
            await waiter
        except BaseException:
            limits.budget.give(reading.body_bytes)
            self.abort()
            raise
        finally:
            self._waiter = self._reading = None
        self.is_reusable = self.is_reusable and not reading.is_last
        return reading.answer(perf_counter() - sent_at)

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        reading, waiter = self._reading, self._waiter
        if reading is None or waiter is None or waiter.done():
            self.abort()  # an answer that nobody asked for, or more than was asked for
            return
        reading.feed(data)
        if reading.bad is not None:
            waiter.set_exception(reading.bad)
        elif reading.is_complete:
            waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_reusable = False
        reading, waiter = self._reading, self._waiter
        if reading is None or waiter is None or waiter.done():
            return
        if reading.has_head and not reading.is_framed and exc is None:
            waiter.set_result(None)  # the answer's end is the connection's
        elif not reading.has_begun:
            waiter.set_exception(_Gone())
        else:
            waiter.set_exception(_Bad("shadow_error", "closed before the whole answer came"))


@dataclass(slots=True)
class _Pool:
    """The connections to one endpoint: those at rest, most recently used last, and how many are at work."""

    idle: deque[_Connection] = field(default_factory=deque)
    busy: int = 0


class Client:
    """Exchanges with any number of endpoints."""

    def __init__(self, tls: Followed, reach: Reach) -> None:
        self._tls = tls
        self._reach = reach
        self._pools: dict[Endpoint, _Pool] = {}

    def least_busy(self, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """The endpoints, the one with the fewest exchanges under way first."""
        return tuple(sorted(endpoints, key=self._busy))

    async def ask(self, endpoint: Endpoint, request: bytes, limits: Limits) -> Answer | Refused:
        """The endpoint's answer, or why there is none; never raises but for cancellation."""
        pool = self._pools.setdefault(endpoint, _Pool())
        pool.busy += 1
        try:
            async with asyncio.timeout(limits.timeout_s):
                return await self._exchange(endpoint, pool, request, limits)
        except TimeoutError:
            return Refused("timeout", f"no whole answer within {limits.timeout_s:g} s", limits.timeout_s)
        except _Bad as error:
            return Refused(error.reason, str(error))
        except _Gone:
            return Refused("shadow_error", "closed before it answered")
        except OSError as error:
            return Refused("shadow_error", f"no connection: {error.strerror or type(error).__name__}")
        finally:
            pool.busy -= 1

    def sweep(self, wanted: frozenset[Endpoint]) -> None:
        """Close what rested for too long, and all that goes to endpoints no plan names any more."""
        now = asyncio.get_running_loop().time()
        for endpoint, pool in list(self._pools.items()):
            while pool.idle and (endpoint not in wanted or now - pool.idle[0].idle_since > IDLE_S_MAX):
                pool.idle.popleft().abort()
            if endpoint not in wanted and not pool.busy:
                del self._pools[endpoint]

    def close(self) -> None:
        """Close all connections at rest."""
        self.sweep(frozenset())

    def _busy(self, endpoint: Endpoint) -> int:
        pool = self._pools.get(endpoint)
        return pool.busy if pool else 0

    async def _exchange(self, endpoint: Endpoint, pool: _Pool, request: bytes, limits: Limits) -> Answer:
        if pool.idle:
            try:
                return await self._on(pool.idle.pop(), pool, request, limits)
            except _Gone:
                pass  # the server closed it while it rested; once more, on a new one
        return await self._on(await self._connect(endpoint), pool, request, limits)

    async def _on(self, connection: _Connection, pool: _Pool, request: bytes, limits: Limits) -> Answer:
        answer = await connection.exchange(request, limits)
        if connection.is_reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            pool.idle.append(connection)
        else:
            connection.abort()
        return answer

    async def _connect(self, endpoint: Endpoint) -> _Connection:
        loop = asyncio.get_running_loop()
        self._check_reach(endpoint.host)
        transport, connection = await loop.create_connection(
            _Connection, endpoint.host, endpoint.port, ssl=self._tls.context if endpoint.tls else None
        )
        try:
            self._check_reach(str(transport.get_extra_info("peername")[0]))
        except OSError:
            connection.abort()
            raise
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _check_reach(self, host: str) -> None:
        why = self._reach.refusal(host)
        if why:
            raise OSError(errno.EACCES, why)
