"""One client's connection: reads requests strictly, one exchange at a time, and answers them in order."""

import asyncio
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from headgate.wire.plan import Limits
from router.core import counters as c
from router.proxy.exchange import Exchange
from router.proxy.framing import CHUNKED, HEAD_END, Chunks, Refused, Request, check_partial, parse_request
from router.proxy.messages import error_answer
from router.proxy.tcp import is_reset, reset_at_close

if TYPE_CHECKING:
    from router.proxy.worker import Worker

LINGER_S: Final = 2.0
"""After a last answer, how long what the client still sends is read and thrown away (RFC 9112, 9.6)."""

TOO_MANY: Final = Refused(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_connections",
    "this router has as many connections as it may; try again, or elsewhere",
)

_REFUSALS_MAX: Final = 256
"""So many connections too many get an answer; more are reset, for an answer takes memory too."""

_PENDING_BYTES_MAX: Final = 65_536
_FOR_BODY: Final = 1
_FOR_PENDING: Final = 2


class Client(asyncio.Protocol):
    """A connection from a client. `since` is the instant of its last change between waiting, reading and answering.

    `source` is the client's address where somebody in front of us is trusted to know it better than the connection.
    """

    __slots__ = (
        *(
            "_chunks",
            "_fixed_lines",
            "_has_skipped",
            "_is_tls",
            "_is_tunnel",
            "_left",
            "_pauses",
            "_pending",
            "_source",
            "_started",
            "_taking",
            "_worker",
        ),
        *(
            "exchange",
            "is_closing",
            "is_half_closed",
            "is_lingering",
            "is_writing_paused",
            "since",
            "transport",
        ),
    )

    transport: asyncio.Transport

    def __init__(self, worker: "Worker", source: str | None = None) -> None:
        self._worker = worker
        self._source = source
        self.exchange: Exchange | None = None
        self.since = worker.now
        self.is_closing = self.is_half_closed = self.is_lingering = self.is_writing_paused = False
        self._pending = bytearray()
        self._left = 0
        """Bytes of the request's body still to come; CHUNKED while chunks come."""
        self._chunks: Chunks | None = None
        self._pauses = 0
        self._started = 0.0
        self._taking = self._is_tunnel = self._is_tls = False
        self._has_skipped = False
        """Whether an empty line came before the request that is read now."""
        self._fixed_lines = (b"", b"")

    # -- asyncio -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self.transport = cast(asyncio.Transport, transport)
        self._worker.clients.add(self)
        self._worker.cells[c.ACCEPTED] += 1
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        if self._source is None:
            peer = transport.get_extra_info("peername")
            self._source = peer[0] if isinstance(peer, tuple) else "unknown"
        self._fixed_lines = _forwarded_lines(self._source.encode())
        too_many = len(self._worker.clients) - self._worker.options.connections_max
        if too_many > _REFUSALS_MAX:
            self.abort()
        elif too_many > 0:
            self._refuse(TOO_MANY)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request: its head, its body, or already the next one."""
        if self.is_closing:
            return
        if self.exchange is not None:
            if self._is_tunnel:
                self.exchange.on_tunnelled(data)
                return
            if self._left:
                data = self._body(data)
            if data:
                self._keep(data)
            return
        if self._pending:
            self._more_head(data)
        else:
            self._started = monotonic()
            self._keep(self._take(data))

    def eof_received(self) -> bool:
        """The client sends no more; what it asked for is still answered.

        Not under TLS: there the end of one direction is the end of the connection.
        """
        if self._is_tls:
            return False
        self.is_half_closed = True
        if self.is_lingering or (self.exchange is None and not self._pending):
            self.close()
        elif self.exchange is None:
            self._refuse_incomplete()
        elif self._left:
            self.exchange.on_bad_request(
                HTTPStatus.BAD_REQUEST, "incomplete_request", "the request ended within its body"
            )
        else:
            self.exchange.on_client_half_closed()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone."""
        self.is_closing = True
        self._worker.clients.discard(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_client_lost()

    def pause_writing(self) -> None:
        """The client reads more slowly than the answer comes."""
        self.is_writing_paused = True
        self.since = self._worker.now
        if self.exchange is not None:
            self.exchange.pause_answer()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.is_writing_paused = False
        if self.exchange is not None:
            self.exchange.resume_answer()
        else:
            self._next()

    # -- for the exchange --------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """A piece of the answer."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def done(self, *, keep_alive: bool) -> None:
        """The answer is written; go on with the next request, or close."""
        self.exchange = None
        self.since = self._worker.now
        self.resume_body()
        if not keep_alive:
            self._linger()
        elif not self._taking:
            self._next()

    def open_tunnel(self) -> bytes:
        """From now on all that comes is passed on as it is; gives back what came before."""
        self._is_tunnel = True
        early = bytes(self._pending)
        self._pending.clear()
        self._resume(_FOR_PENDING)
        return early

    def pause_body(self) -> None:
        """The endpoint does not take more of the request's body."""
        self._pause(_FOR_BODY)

    def resume_body(self) -> None:
        """It does again."""
        self._resume(_FOR_BODY)

    def close(self) -> None:
        """Close it once what was written is out."""
        self.is_closing = True
        self.transport.close()

    def abort(self) -> None:
        """Reset it, so that nobody takes a cut answer for a whole one, not even where closing ends an answer."""
        self.is_closing = True
        reset_at_close(self.transport)
        self.transport.abort()

    def forwarded(self, headers: dict[bytes, bytes]) -> bytes:
        """The lines that tell a model server who asked, and by which way (RFC 9110, 7.6.3)."""
        before = headers.get(b"x-forwarded-for")
        first, last = self._fixed_lines
        lines = first if before is None else b"X-Forwarded-For: %b, %b" % (before, first[17:])
        if b"x-forwarded-proto" not in headers:
            lines += b"X-Forwarded-Proto: https\r\n" if self._is_tls else b"X-Forwarded-Proto: http\r\n"
        host = headers.get(b"host")
        if host and b"x-forwarded-host" not in headers:
            lines += b"X-Forwarded-Host: %b\r\n" % host
        return lines + last

    def sweep(self, now: float, limits: Limits) -> None:
        """Close it if it stands still for too long. The clock is monotonic, in seconds."""
        quiet_ms = (now - self.since) * 1000
        if self.is_lingering:
            if quiet_ms > LINGER_S * 1000:
                self.abort()
        elif self.is_writing_paused and self.exchange is None:
            if quiet_ms > limits.body_idle_timeout_ms:
                self.abort()
        elif self.exchange is not None or self.is_closing:
            return
        elif self._pending:
            if (now - self._started) * 1000 > limits.header_timeout_ms:
                message = f"the request's head did not come within {limits.header_timeout_ms} ms"
                self._refuse(Refused(HTTPStatus.REQUEST_TIMEOUT, "header_timeout", message))
        elif quiet_ms > limits.client_idle_timeout_ms:
            self.close()

    @property
    def source(self) -> str:
        """The client's address; `unknown` on a Unix socket."""
        return self._source or "unknown"

    @property
    def is_idle(self) -> bool:
        """Whether nothing of a request has come since the last answer."""
        return self.exchange is None and not self._pending and not self.is_writing_paused

    @property
    def is_gone(self) -> bool:
        """Whether a client that closed its side has since shown that it closed the other too."""
        return self.is_half_closed and is_reset(self.transport)

    @property
    def is_last_answer(self) -> bool:
        """Whether the connection ends after this answer: no more will come, or be taken, and nothing waits."""
        return (self.is_half_closed or self._worker.is_draining) and not self._pending

    # -- reading -----------------------------------------------------------------------------------------------

    def _more_head(self, data: bytes) -> None:
        searched = max(len(self._pending) - 3, 0)
        self._pending += data
        is_partial = self._pending.find(HEAD_END, searched) < 0 and not self._pending.startswith(b"\r\n")
        if is_partial and len(self._pending) <= self._limits.header_bytes_max:
            self._check_partial(self._pending, searched)
            return
        self._next()

    def _next(self) -> None:
        """Go on with what came while another request was answered."""
        if self._pending and not self.is_closing and not self._taking:
            data = bytes(self._pending)
            self._pending.clear()
            self._resume(_FOR_PENDING)
            self._started = monotonic()
            self._keep(self._take(data))
        if not self.is_half_closed or self.exchange is not None or self.is_closing or self.is_writing_paused:
            return
        if self._pending:
            self._refuse_incomplete()
        else:
            self.close()

    def _keep(self, data: bytes) -> None:
        if data and not self.is_closing:
            self._pending += data
            if self.exchange is not None and len(self._pending) > _PENDING_BYTES_MAX:
                self._pause(_FOR_PENDING)

    def _take(self, data: bytes) -> bytes:
        """Begin exchanges from `data` as long as each ends at once; gives back what was not used."""
        self._taking = True
        try:
            while data and self.exchange is None and not self.is_closing and not self.is_writing_paused:
                if data.startswith(b"\r\n") and not self._has_skipped:
                    self._has_skipped = (
                        True  # RFC 9112, 2.2: an empty line before a request; one, not any number
                    )
                    data = data[2:]
                    continue
                end = data.find(HEAD_END)
                if end < 0 or end + 4 > self._limits.header_bytes_max:
                    self._check_partial(data, 0)
                    break
                data = self._start(parse_request(data[: end + 4]), data[end + 4 :])
        except Refused as refused:
            self._refuse(refused)
        finally:
            self._taking = False
        return data

    def _check_partial(self, data: bytes | bytearray, searched: int) -> None:
        """Answer a head that will never be one; `searched` bytes of it were looked at before."""
        maximum = self._limits.header_bytes_max
        try:
            check_partial(data if len(data) <= maximum else data[:maximum], min(searched, maximum))
            if len(data) > maximum:
                raise Refused(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    "header_too_large",
                    f"the request's head has more than {maximum} bytes",
                )
        except Refused as refused:
            self._refuse(refused)

    def _start(self, request: Request, rest: bytes) -> bytes:
        """Begin the exchange of a request; gives back what follows the request in `rest`."""
        worker = self._worker
        routing = worker.routing
        _check_expectation(request)
        self._has_skipped = False
        self._chunks = Chunks() if request.length == CHUNKED else None
        self._left = request.length
        piece, rest = self._cut(rest)
        if routing is None:
            self._answer_without_plan(request)
            return rest
        self.exchange = exchange = Exchange(worker, self, request, routing, self._started)
        exchange.begin(piece, is_last=not self._left)
        return rest

    def _answer_without_plan(self, request: Request) -> None:
        self._worker.cells[c.UNSERVED] += 1
        self._worker.cells[c.cause_cell("no_plan")] += 1
        keep_alive = request.keep_alive and not self._left
        self.write(
            error_answer(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "no_plan",
                "this router has no plan yet: it waits for its controller",
                keep_alive=keep_alive,
                is_head=request.method == b"HEAD",
            )
        )
        self.done(keep_alive=keep_alive)

    def _body(self, data: bytes) -> bytes:
        """Pass on what belongs to the request's body; gives back what follows it."""
        exchange = self.exchange
        try:
            piece, data = self._cut(data)
        except Refused as refused:
            if exchange is not None:
                exchange.on_bad_request(refused.status, refused.cause, refused.message)
            return b""
        if exchange is not None:
            exchange.on_request(piece, is_last=not self._left)
        return data

    def _cut(self, data: bytes) -> tuple[bytes, bytes]:
        """`(piece of the body, what follows the body)`."""
        if self._chunks is not None:
            piece, data = self._chunks.feed(data)
            if self._chunks.is_done:
                self._chunks = None
                self._left = 0
            return piece, data
        left = self._left
        if not left:
            return b"", data
        piece, data = (data, b"") if len(data) <= left else (data[:left], data[left:])
        self._left = left - len(piece)
        return piece, data

    def _refuse(self, refused: Refused) -> None:
        """Answer with an error and close: what follows cannot be trusted."""
        self._worker.cells[c.REFUSED] += 1
        self._worker.cells[c.cause_cell(refused.cause)] += 1
        self.write(error_answer(refused.status, refused.cause, refused.message, keep_alive=False))
        self._linger()

    def _refuse_incomplete(self) -> None:
        self._refuse(
            Refused(HTTPStatus.BAD_REQUEST, "incomplete_request", "the request ended within its head")
        )

    def _linger(self) -> None:
        """Close so that the last answer arrives: a reset, because of unread bytes, could overtake it."""
        if self.is_closing:
            return
        self._pending.clear()
        if self.is_half_closed or not self.transport.can_write_eof():
            self.close()
            return
        self.is_closing = self.is_lingering = True
        self.since = self._worker.now
        self._pauses = self._pauses and self._clear_pauses()
        self.transport.write_eof()

    def _clear_pauses(self) -> int:
        self.transport.resume_reading()
        return 0

    def _pause(self, reason: int) -> None:
        if not self._pauses and not self.transport.is_closing():
            self.transport.pause_reading()
        self._pauses |= reason

    def _resume(self, reason: int) -> None:
        if not self._pauses & reason:
            return
        self._pauses &= ~reason
        if not self._pauses and not self.transport.is_closing():
            self.transport.resume_reading()

    @property
    def _limits(self) -> Limits:
        return self._worker.limits


def _forwarded_lines(peer: bytes) -> tuple[bytes, bytes]:
    return b"X-Forwarded-For: %b\r\n" % peer, b"Via: 1.1 headgate\r\n"


def _check_expectation(request: Request) -> None:
    expected = request.headers.get(b"expect")
    if expected is not None and expected.lower() != b"100-continue":
        raise Refused(
            HTTPStatus.EXPECTATION_FAILED, "expectation_failed", "only 100-continue can be expected"
        )
