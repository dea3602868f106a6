"""The answers that are ours and not a model's: JSON with a cause for machines and a sentence for people."""

from http import HTTPStatus

import msgspec


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
