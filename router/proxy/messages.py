"""The bytes that go out: heads towards models and clients, chunks, and the answers that are ours."""

from http import HTTPStatus
from typing import Final

import msgspec

from router.proxy.framing import CHUNKED, Answer, Request

_UPGRADE: Final = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"


def request_head(
    request: Request, target: bytes, authority: bytes, forwarded: bytes, request_id: bytes
) -> bytes:
    """A request's head as a model server gets it; `forwarded` are whole lines."""
    if request.length == CHUNKED:
        framing = b"Transfer-Encoding: chunked\r\n"
    elif request.has_length:
        framing = b"Content-Length: %d\r\n" % request.length
    else:
        framing = b""
    if request.is_websocket:
        framing += _UPGRADE
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b%bx-request-id: %b\r\n\r\n" % (
        request.method,
        target,
        authority,
        _block(request.kept),
        framing,
        forwarded,
        request_id,
    )


def answer_head(
    answer: Answer, *, is_chunked: bool, keep_alive: bool, is_1_1: bool, lines: bytes, request_id: bytes
) -> bytes:
    """An answer's head as a client gets it; `lines` are whole lines."""
    framing = b""
    if answer.stated is not None:
        framing = b"Content-Length: %d\r\n" % answer.stated
    elif is_chunked:
        framing = b"Transfer-Encoding: chunked\r\n"
    connection = b""
    if not keep_alive:
        connection = b"Connection: close\r\n"
    elif not is_1_1:
        connection = b"Connection: keep-alive\r\n"
    return b"HTTP/1.1 %d%b\r\n%b%b%b%bx-request-id: %b\r\n\r\n" % (
        answer.status,
        answer.reason,
        _block(answer.kept),
        framing,
        connection,
        lines,
        request_id,
    )


def switched_head(answer: Answer, *, lines: bytes, request_id: bytes) -> bytes:
    """A 101 as a client gets it; `lines` are whole lines."""
    return b"HTTP/1.1 101%b\r\n%b%b%bx-request-id: %b\r\n\r\n" % (
        answer.reason,
        _block(answer.kept),
        _UPGRADE,
        lines,
        request_id,
    )


def interim_head(answer: Answer) -> bytes:
    """A 1xx answer as a client gets it."""
    return b"HTTP/1.1 %d%b\r\n%b\r\n" % (answer.status, answer.reason, _block(answer.kept))


def chunk(payload: bytes, *, is_last: bool) -> bytes:
    """The payload as one chunk (nothing for none), and the last chunk after it if the body ends."""
    framed = b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""
    return framed + b"0\r\n\r\n" if is_last else framed


def error_answer(
    status: HTTPStatus,
    cause: str,
    message: str,
    *,
    keep_alive: bool,
    is_head: bool = False,
    lines: bytes = b"",
) -> bytes:
    """A whole answer; `lines` are further header lines, each with its CRLF. A HEAD request gets no body."""
    body = msgspec.json.encode({"error": {"cause": cause, "message": message}})
    head = b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b%b%b\r\n" % (
        status.value,
        status.phrase.encode(),
        len(body),
        b"Retry-After: 1\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else b"",
        b"" if keep_alive else b"Connection: close\r\n",
        lines,
    )
    return head if is_head else head + body


def _block(lines: list[bytes]) -> bytes:
    return b"\r\n".join(lines) + b"\r\n" if lines else b""
