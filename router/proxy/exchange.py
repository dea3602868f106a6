"""One request and its answer: the answer's half streams to the client, keeps the deadlines, and says how it ended."""

from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Final

from router.core import counters as c
from router.proxy.access import Line, path_of
from router.proxy.counting import status_cell
from router.proxy.framing import Answer, Request
from router.proxy.messages import answer_head, chunk, error_answer, interim_head, request_head, switched_head
from router.proxy.routing import Routing
from router.proxy.sending import Sending
from router.proxy.upstream import Upstream

if TYPE_CHECKING:
    from router.proxy.client import Client
    from router.proxy.worker import Worker

_STALE_TRIES_MAX: Final = 3


class Exchange(Sending):
    """A request that is being answered: what `Client` and `Upstream` tell it, it passes on to the other."""

    __slots__ = (
        "_answer",
        "_answer_bytes",
        "_cause",
        "_chunks_answer",
        "_is_tunnel",
        "_keep_alive",
        "_sent_at",
        "_status",
        "is_head",
    )

    def __init__(
        self, worker: "Worker", client: "Client", request: Request, routing: Routing, started: float
    ) -> None:
        super().__init__(worker, client, request, routing, started)
        self.is_head = request.method == b"HEAD"
        self._answer: Answer | None = None
        self._chunks_answer = self._is_tunnel = False
        self._keep_alive = request.keep_alive
        self._status = 0
        self._answer_bytes = 0
        self._sent_at = 0.0
        self._cause = ""

    def begin(self, piece: bytes, *, is_last: bool) -> None:
        """Send the request's head and what there is of its body to an endpoint."""
        self._worker.active.add(self)
        self._serving.counted.in_flight += 1
        self._hold(self._framed(piece, is_last=is_last))
        self._seek()

    def _send(self, upstream: Upstream) -> None:
        held = self._held or []
        self._upstream = upstream
        self._latest = self._worker.now
        if self._worker.options.tells_timing:
            self._sent_at = monotonic()
        head = request_head(
            self.request,
            self._serving.target_of(self.request.target),
            upstream.address.authority,
            self.client.forwarded(self.request.headers),
            self._request_id,
        )
        upstream.send(self, head + b"".join(held))
        self._forget_if_large()
        if self._is_request_paused:
            self.resume_request()

    # -- the answer --------------------------------------------------------------------------------------------

    def on_interim(self, answer: Answer) -> None:
        """A 1xx answer, passed on to clients that know of them."""
        self._latest = self._worker.now
        if self.request.is_1_1:
            self.client.write(interim_head(answer))

    def on_answer(self, answer: Answer, payload: bytes, *, is_last: bool) -> None:
        """The answer's head, with what came of its body."""
        self._latest = self._worker.now
        self._answer = answer
        self._status = answer.status
        self._forget()
        head = self._answer_head(answer)
        if self._capture is not None and payload:
            self._capture.add_answer(payload)
        self._answer_bytes += len(payload)
        if self._chunks_answer:
            payload = chunk(payload, is_last=is_last)
        self.client.write(head + payload if payload else head)
        if is_last or answer.length == 0:
            self._complete()

    def on_switched(self, answer: Answer, payload: bytes) -> None:
        """The server made the connection a WebSocket: it has answered, and what follows is a tunnel."""
        self._latest = self._worker.now
        self._answer = answer
        self._is_tunnel, self._keep_alive = True, False
        self._forget()
        self._count(c.STATUS_2XX, monotonic() - self.started)
        if self._address is not None:
            self._address.answered()
        head = switched_head(answer, lines=self._serving.answer_line, request_id=self._request_id)
        self._answer_bytes += len(payload)
        self.client.write(head + payload)
        early = self.client.open_tunnel()
        if early:
            self.on_tunnelled(early)
        if self.client.is_half_closed:
            self.on_client_half_closed()

    def on_tunnelled(self, data: bytes) -> None:
        """Bytes of a WebSocket from the client; those from the server are a payload without an end."""
        self._latest = self._worker.now
        self._request_bytes += len(data)
        if self._upstream is not None:
            self._upstream.write(data)

    def on_payload(self, payload: bytes, *, is_last: bool) -> None:
        """More of the answer's body."""
        self._latest = self._worker.now
        self._answer_bytes += len(payload)
        if self._capture is not None and payload:
            self._capture.add_answer(payload)
        if self._chunks_answer:
            payload = chunk(payload, is_last=is_last)
        if payload:
            self.client.write(payload)
        if is_last:
            self._complete()

    def on_lost(self, *, is_unseen: bool) -> None:
        """The connection ended before the answer did."""
        address = self._address
        self._upstream = None
        if address is None:
            return
        if self._is_tunnel:
            self.cut()
            return
        self._let_go(address)
        if (
            is_unseen
            and self._answer is None
            and self._held is not None
            and self._stale_tries < _STALE_TRIES_MAX
        ):
            self._stale_tries += 1
            self._count_retry()
            self._seek()
            return
        self._blame(address)
        self._fail(
            c.BROKEN,
            HTTPStatus.BAD_GATEWAY,
            "connection_lost",
            f"the model server of version {self._serving.name} closed the connection before its answer ended",
        )

    def on_broken(self, message: str) -> None:
        """The answer is not valid HTTP."""
        if self._address is not None:
            self._blame(self._address)
        self._fail(c.BROKEN, HTTPStatus.BAD_GATEWAY, "bad_answer", message)

    def pause_answer(self) -> None:
        """The client does not take more of the answer now."""
        if self._upstream is not None:
            self._upstream.pause_reading()

    def resume_answer(self) -> None:
        """It does again."""
        self._latest = self._worker.now
        if self._upstream is not None:
            self._upstream.resume_reading()

    def _answer_head(self, answer: Answer) -> bytes:
        has_length = answer.stated is not None or answer.length >= 0
        self._chunks_answer = not has_length and self.request.is_1_1
        if not (has_length or self._chunks_answer) or self.client.is_last_answer or not self._is_request_done:
            self._keep_alive = False
        return answer_head(
            answer,
            is_chunked=self._chunks_answer,
            keep_alive=self._keep_alive,
            is_1_1=self.request.is_1_1,
            lines=self._serving.answer_line + self._timing() if self._sent_at else self._serving.answer_line,
            request_id=self._request_id,
        )

    def _timing(self) -> bytes:
        """How long the model server took to begin its answer, and the router before that (W3C Server Timing), in ms."""
        now = monotonic()
        return b"Server-Timing: model;dur=%.2f, router;dur=%.2f\r\n" % (
            (now - self._sent_at) * 1000,
            (self._sent_at - self.started) * 1000,
        )

    # -- the end -----------------------------------------------------------------------------------------------

    def on_client_lost(self) -> None:
        """The client is gone; so is its request."""
        self._drop_capture(c.CLIENT_CANCELLED)
        self._count(status_cell(self._status) if self._status >= 500 else c.CLIENT_CLOSED)
        self._end(is_reusable=False)

    def on_client_half_closed(self) -> None:
        """The client sends no more: it waits for its answer, or it is gone, which only writing to it can tell.

        An interim answer is for nobody's eyes (RFC 9110, 15.2), and a client that is gone resets the connection
        over it, which the sweeper then sees.
        """
        if self._is_tunnel and self._upstream is not None:
            self._upstream.write_eof()
        elif self._answer is None and self.request.is_1_1:
            self.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def sweep(self, now: float) -> None:
        """End what took longer than the plan allows. The clock is monotonic, in seconds."""
        if self.client.is_gone:
            self.client.abort()  # and hear of it by `on_client_lost`
            return
        limits = self.limits
        idle_ms = (now - self._latest) * 1000
        if self._is_tunnel:
            if idle_ms > limits.body_idle_timeout_ms:
                self.cut()
        elif self._answer is not None:
            if idle_ms > limits.body_idle_timeout_ms or self._age_ms(now) > limits.request_timeout_ms:
                self._cut_answer()
        elif not self._is_request_done and self._upstream is not None and not self._is_request_paused:
            if idle_ms > limits.body_idle_timeout_ms or self._age_ms(now) > limits.request_timeout_ms:
                self._give_up_on_client()
        elif self._upstream is not None and idle_ms > limits.first_byte_timeout_ms:
            self._time_out(
                "first_byte_timeout", f"did not begin its answer within {limits.first_byte_timeout_ms} ms"
            )
        elif self._age_ms(now) > limits.request_timeout_ms:
            self._time_out("request_timeout", f"did not answer within {limits.request_timeout_ms} ms")

    def cut(self) -> None:
        """End it, whatever it does: the worker will not wait any longer, or a tunnel is idle or broken."""
        self._drop_capture(c.CLIENT_CANCELLED)
        self._end(is_reusable=False)
        self.client.abort()

    def _age_ms(self, now: float) -> float:
        return (now - self.started) * 1000

    def _time_out(self, cause: str, what: str) -> None:
        if self._address is not None and self._upstream is not None:
            self._blame(self._address)
        message = f"the model server of version {self._serving.name} {what}"
        self._fail(c.TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT, cause, message)

    def _cut_answer(self) -> None:
        """The answer stands still, or takes too long: whose fault it is decides what is counted."""
        if self.client.is_writing_paused:
            self.client.abort()
            return
        if self._address is not None:
            self._blame(self._address)
        self._fail(c.TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT, "body_idle_timeout", "the answer stopped half-way")

    def _give_up_on_client(self) -> None:
        self._drop_capture(c.CLIENT_CANCELLED)
        self._count(c.CLIENT_CLOSED)
        self._refuse(
            HTTPStatus.REQUEST_TIMEOUT, "request_body_timeout", "the request's body did not come in time"
        )

    def on_bad_request(self, status: HTTPStatus, cause: str, message: str) -> None:
        """The rest of the request's body is no valid HTTP."""
        self._drop_capture(c.CLIENT_CANCELLED)
        self._count(c.CLIENT_CLOSED)
        self._refuse(status, cause, message)

    def _complete(self) -> None:
        """The answer's end reached the client's connection."""
        seconds = monotonic() - self.started
        if self._address is not None:
            self._address.answered()
        self._count(status_cell(self._status), seconds)
        if self._capture is not None:
            self._hand_over(seconds)
        keep_alive = self._keep_alive and self._is_request_done
        self._end(is_reusable=self._is_request_done)
        self.client.done(keep_alive=keep_alive)

    def _hand_over(self, seconds: float) -> None:
        capture, answer = self._capture, self._answer
        if capture is None or answer is None:
            return
        self._capture = None
        capture.finish(
            generation=self._routing.plan.generation,
            live=self._serving.name,
            request_id=self._request_id,
            at=self._worker.wall(self.started),
            method=self.request.method,
            target=self.request.target,
            request_head=b"\r\n".join(self.request.kept),
            status=self._status,
            latency_s=seconds,
            answer_head=b"\r\n".join(answer.kept),
        )

    def _fail(self, cell: int, status: HTTPStatus, cause: str, message: str) -> None:
        """The version failed: count it, and tell the client as far as that is still possible."""
        self._drop_capture(c.LIVE_ERROR)
        self._count(cell)
        self._refuse(status, cause, message)

    def _refuse(self, status: HTTPStatus, cause: str, message: str) -> None:
        """Answer with an error of ours, or cut an answer that has begun, so that nobody takes it for whole."""
        self._worker.cells[c.cause_cell(cause)] += 1
        self._cause = cause
        if self._answer is not None:
            self._end(is_reusable=False)
            self.client.abort()
            return
        self._status = status
        is_done = self._is_request_done
        keep_alive = self.request.keep_alive and is_done and not self.client.is_last_answer
        lines = self._serving.answer_line + b"x-request-id: %b\r\n" % self._request_id
        self._end(is_reusable=False)
        self.client.write(
            error_answer(status, cause, message, keep_alive=keep_alive, is_head=self.is_head, lines=lines)
        )
        self.client.done(keep_alive=keep_alive)

    def _end(self, *, is_reusable: bool) -> None:
        """Let go of everything; nothing of this exchange happens after it."""
        if self._is_over:
            return
        self._is_over = True
        self._worker.active.discard(self)
        self._forget()
        counted = self._serving.counted
        counted.in_flight -= 1
        cells = self._worker.cells
        cells[counted.start + c.BYTES_IN] += self._request_bytes
        cells[counted.start + c.BYTES_OUT] += self._answer_bytes
        access = self._worker.access
        if access is not None and access.wants():
            access.add(self._line())
        upstream, self._upstream = self._upstream, None
        if self._address is not None:
            self._let_go(self._address)
        if upstream is not None:
            if is_reusable:
                upstream.release(self._worker.now, is_request_complete=True)
            else:
                upstream.close()

    def _line(self) -> Line:
        """What the access log says of it."""
        return Line(
            at=round(self._worker.wall(self.started), 3),
            id=self._request_id.decode("ascii"),
            client=self.client.source,
            method=self.request.method.decode("ascii"),
            path=path_of(self.request.target),
            version=self._serving.name,
            status=self._status,
            seconds=round(monotonic() - self.started, 6),
            received_bytes=self._request_bytes,
            sent_bytes=self._answer_bytes,
            cause=self._cause,
        )
