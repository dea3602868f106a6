"""One connection to a model server: sends a request at a time, reads its answer, and knows what the server can have seen."""

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from router.proxy.framing import (
    CHUNKED,
    HEAD_END,
    UNTIL_CLOSE,
    Answer,
    Chunks,
    Refused,
    check_partial_answer,
    parse_answer,
)
from router.proxy.pool import Address
from router.proxy.tcp import bytes_acked

if TYPE_CHECKING:
    from router.proxy.exchange import Exchange

INTERIM_MAX: Final = 256
"""So many 1xx answers to one request are passed on; whoever sends more never means to answer."""


class Upstream(asyncio.Protocol):
    """A connection; it belongs to one exchange, or it is idle in the pool of its address."""

    __slots__ = (
        *("_acked_first", "_buffer", "_chunks", "_interim", "_is_paused", "_left", "_sent", "_sent_before"),
        *("address", "exchange", "idle_since", "is_open", "is_reusable", "transport"),
    )

    transport: asyncio.Transport

    def __init__(self, address: Address) -> None:
        self.address = address
        self.exchange: Exchange | None = None
        self.idle_since = 0.0
        self.is_open = False
        self.is_reusable = True
        self._buffer = b""
        self._chunks: Chunks | None = None
        self._left: int | None = None
        """Bytes of the body to come, or UNTIL_CLOSE, or CHUNKED; None while a head is read."""
        self._interim = 0
        self._is_paused = False
        self._sent = self._sent_before = 0
        self._acked_first: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands; nothing is sent before an exchange takes it."""
        self.transport = cast(asyncio.Transport, transport)
        self.is_open = True
        self.address.connections += 1
        self._acked_first = None if self.address.tls else bytes_acked(self.transport)

    def send(self, exchange: "Exchange", payload: bytes) -> None:
        """Begin an exchange with its request's head and what there is of its body."""
        self.exchange = exchange
        self._interim = 0
        self._sent_before = self._sent
        self.write(payload)

    def write(self, data: bytes) -> None:
        """More of the request's body."""
        self._sent += len(data)
        self.transport.write(data)

    def write_eof(self) -> None:
        """Nothing more will be sent; the server may still send."""
        if self.is_open and self.transport.can_write_eof():
            self.transport.write_eof()

    def release(self, now: float, *, is_request_complete: bool) -> None:
        """The exchange is over: keep the connection for another, if the answer's end was its end."""
        self.exchange = None
        if not (self.is_open and self.is_reusable and is_request_complete):
            self.close()
            return
        if self.transport.get_write_buffer_size():
            self.close()
            return
        self.resume_reading()
        self._left = None
        self.address.put(self, now)

    def close(self) -> None:
        """Close it now; what is on its way is lost."""
        self.exchange = None
        if self.is_open:
            self.is_open = False
            self.transport.abort()

    def pause_reading(self) -> None:
        """The client does not keep up: let the kernel's window close."""
        if not self._is_paused and self.is_open:
            self._is_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """The client can take more."""
        if self._is_paused and self.is_open:
            self._is_paused = False
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """The server does not keep up with the request's body."""
        if self.exchange is not None:
            self.exchange.pause_request()

    def resume_writing(self) -> None:
        """The server can take more of the request's body."""
        if self.exchange is not None:
            self.exchange.resume_request()

    def data_received(self, data: bytes) -> None:
        """Some of an answer."""
        if self.exchange is None:
            self.close()  # nobody asked
            return
        try:
            if self._left is None:
                self._head(self._buffer + data if self._buffer else data)
            else:
                self._body(data)
        except Refused as refused:
            self._broken(refused)

    def eof_received(self) -> bool:
        """The server sends no more; a body without a length has ended well."""
        exchange = self.exchange
        if exchange is not None and self._left == UNTIL_CLOSE:
            self.is_reusable = False
            exchange.on_payload(b"", is_last=True)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, for whatever reason."""
        self.address.connections -= 1
        was_open, self.is_open = self.is_open, False
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.on_lost(is_unseen=was_open and self._is_unseen(error))
        elif self in self.address.idle:
            self.address.idle.remove(self)

    def _head(self, data: bytes) -> None:
        """Reads heads until the one that is no interim answer; `data` begins with a head."""
        exchange = self.exchange
        while exchange is not None:
            end = data.find(HEAD_END)
            if end < 0 or end + 4 > exchange.limits.header_bytes_max:
                self._keep_partial(data, exchange.limits.header_bytes_max)
                return
            answer = parse_answer(data[: end + 4], to_head=exchange.is_head)
            data = data[end + 4 :]
            if answer.status >= 200:
                self._buffer = b""
                self.is_reusable = answer.keep_alive
                self._left = answer.length
                self._chunks = Chunks() if answer.length == CHUNKED else None
                payload, is_last = self._cut(data)
                exchange.on_answer(answer, payload, is_last=is_last)
                return
            if answer.status == HTTPStatus.SWITCHING_PROTOCOLS:
                self._switch(exchange, answer, data)
                return
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise Refused(
                    HTTPStatus.BAD_GATEWAY,
                    "bad_answer",
                    f"the model server sent {self._interim} interim answers",
                )
            exchange.on_interim(answer)
            if not data:
                self._buffer = b""
                return

    def _switch(self, exchange: "Exchange", answer: Answer, data: bytes) -> None:
        """From here on the connection is a tunnel; only a 101 that was asked for opens one (RFC 9110, 15.2.2)."""
        if not (exchange.request.is_websocket and answer.is_websocket):
            raise Refused(HTTPStatus.BAD_GATEWAY, "bad_answer", "the model server switched protocols unasked")
        self._buffer = b""
        self.is_reusable = False
        self._left = UNTIL_CLOSE
        exchange.on_switched(answer, data)

    def _keep_partial(self, data: bytes, bytes_max: int) -> None:
        if len(data) > bytes_max:
            raise Refused(
                HTTPStatus.BAD_GATEWAY,
                "bad_answer",
                f"the model server's header has more than {bytes_max} bytes",
            )
        check_partial_answer(data)
        self._buffer = data

    def _body(self, data: bytes) -> None:
        payload, is_last = self._cut(data)
        if (payload or is_last) and self.exchange is not None:
            self.exchange.on_payload(payload, is_last=is_last)

    def _cut(self, data: bytes) -> tuple[bytes, bool]:
        """`(payload, whether the body ends with it)`; what follows the end makes the connection useless."""
        left = self._left
        if self._chunks is not None:
            data, surplus = self._chunks.feed(data)
            is_last = self._chunks.is_done
        elif left is None or left < 0:
            return data, False
        else:
            data, surplus = (data, b"") if len(data) <= left else (data[:left], data[left:])
            self._left = left - len(data)
            is_last = not self._left
        if surplus:
            self.is_reusable = False
        return data, is_last

    def _broken(self, refused: Refused) -> None:
        exchange = self.exchange
        self.close()
        if exchange is not None:
            exchange.on_broken(refused.message)

    def _is_unseen(self, error: Exception | None) -> bool:
        """Whether the model cannot have seen this request, of whose answer not a byte came.

        A server that closed an idle connection before our request came never acknowledges a byte of it; one that
        took it and died has acknowledged it, at the latest with the very segment that says it is gone. One whose
        process closed the connection while our request lay unread in its kernel resets it (RFC 9293, 3.10.4): so
        do servers whose loop was busy for longer than their keep-alive. Only a middlebox can make that untrue.
        """
        if isinstance(error, ConnectionResetError | BrokenPipeError) and self._sent_before:
            return True
        acked = bytes_acked(self.transport)
        if acked is None or self._acked_first is None:
            return False
        return acked - self._acked_first <= self._sent_before
