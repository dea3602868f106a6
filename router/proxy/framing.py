"""Where an HTTP/1.1 message begins and ends, strictly, so that no next hop can see another message than we did.

Pure: bytes in, values out. A head is checked whole against the grammar of RFC 9112 with one regular expression (at
the speed of C), then read line by line. What is lenient elsewhere is refused here: bare CR or LF, NUL, whitespace
around a field name, folded lines, several or odd lengths, a length beside chunked, any coding but a final chunked.
Why not llhttp: it accepts some of these, hides where a head ends, and with the raw check beside it costs the same;
the tests hold it beside this file instead (whatever is accepted here, llhttp reads as the same message).
"""

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

HEAD_END: Final = b"\r\n\r\n"
CHUNKED: Final = -1
"""The length of a body that comes in chunks."""
UNTIL_CLOSE: Final = -2
"""The length of an answer's body that ends with its connection."""

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_FIELDS: Final = rb"((?:" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"
_REQUEST: Final = re.compile(rb"(" + _TOKEN + rb"{1,32}) ([!-~]++) HTTP/1\.([01])\r\n" + _FIELDS)
_ANSWER: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})( [\t\x20-\x7e\x80-\xff]*+)?\r\n" + _FIELDS)
_BEGIN: Final = re.compile(_TOKEN)
_ANSWER_BEGIN: Final = b"HTTP/1."
_FIELD_LINES: Final = re.compile(_FIELDS)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]{0,5})?")
_ABSOLUTE: Final = re.compile(rb"[Hh][Tt][Tt][Pp]([Ss]?)://([^/?#@]+)(/[^#]*|\?[^#]*)?")
_BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\0")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_CHUNK_LINE_BYTES_MAX: Final = 512
_TRAILER_BYTES_MAX: Final = 4096
_SEEN_MAX: Final = 2048
_SEEN_BYTES_MAX: Final = 256

HOP_BY_HOP: Final = frozenset(
    (
        *(
            b"connection",
            b"keep-alive",
            b"proxy-connection",
            b"te",
            b"trailer",
            b"transfer-encoding",
            b"upgrade",
        ),
        b"content-length",
    )
)
"""Fields of one connection (RFC 9110, 7.6.1), and the length, which we write ourselves."""

_ONCE: Final = frozenset((b"host", b"content-length", b"transfer-encoding"))
_NEVER_OF_A_CONNECTION: Final = frozenset(
    (
        *(b"host", b"content-length", b"transfer-encoding", b"authorization", b"cookie", b"via"),
        *(b"forwarded", b"x-request-id", b"traceparent", b"tracestate"),
        *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-real-ip"),
    )
)
"""Fields for all recipients: who names one in `Connection` wants it taken away on the way (RFC 9110, 7.6.1)."""

_NOT_PASSED_ON: Final = HOP_BY_HOP | {b"host", b"x-request-id", b"x-forwarded-for"}
_NOT_PASSED_BACK: Final = HOP_BY_HOP | {b"x-request-id", b"x-headgate-version"}


class Refused(Exception):
    """A message that is not proxied: the status to answer, a cause for machines, a sentence for people."""

    def __init__(self, status: HTTPStatus, cause: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.cause = cause
        self.message = message


def _bad(cause: str, message: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, cause, message)


@dataclass(slots=True)
class Request:
    """A request's head. `headers` has lower-case names, repeated fields joined; `kept` the lines to pass on.

    `repeated` has each value of those that came more than once; None, as nearly always, if none did.
    `length` is the body's in bytes, 0 without one (`has_length` tells an explicit 0), or `CHUNKED`.
    """

    method: bytes
    target: bytes
    is_1_1: bool
    headers: dict[bytes, bytes]
    kept: list[bytes]
    length: int
    has_length: bool
    keep_alive: bool
    is_websocket: bool
    """Whether it asks for this connection to become a WebSocket."""
    repeated: dict[bytes, list[bytes]] | None = None


@dataclass(slots=True)
class Answer:
    """An answer's head. `length` is the body's in bytes, `CHUNKED` or `UNTIL_CLOSE`; None where the status has none.

    `stated` is the Content-Length that it names, also where no body follows (HEAD, 304).
    """

    status: int
    reason: bytes
    kept: list[bytes]
    length: int
    stated: int | None
    keep_alive: bool
    is_websocket: bool = False
    """Whether it agrees that the connection becomes a WebSocket, if it is a 101."""


def parse_request(head: bytes) -> Request:
    """The request whose head, empty line included, is exactly `head`. Refused says why it is none."""
    found = _REQUEST.fullmatch(head)
    if found is None:
        raise _explain(head)
    method, target, minor, block = found.groups()
    is_1_1 = minor == b"1"
    headers: dict[bytes, bytes] = {}
    kept: list[bytes] = []
    repeated: dict[bytes, list[bytes]] | None = None
    for line in block.split(b"\r\n")[:-1]:
        name, value, is_passed_on, _ = _seen.get(line) or _field(line)
        if name in headers:
            repeated = repeated or {}
            repeated.setdefault(name, [headers[name]]).append(value)
            _join(headers, name, value)
        else:
            headers[name] = value
        if is_passed_on:
            kept.append(line)
    target = _checked_target(method, target, headers, is_1_1)
    keep_alive, is_upgrade = is_1_1, False
    options = headers.get(b"connection")
    if options is not None:
        keep_alive, named = _connection(options, is_1_1)
        if not named.isdisjoint(_NEVER_OF_A_CONNECTION):
            raise _bad("bad_connection", "Connection names a field that is not one of the connection")
        kept = _without(kept, named)
        is_upgrade = b"upgrade" in named and headers.get(b"upgrade", b"").lower() == b"websocket"
    length = _request_length(headers, is_1_1)
    has_length = b"content-length" in headers
    # RFC 6455, 4.1; a request that asks for an upgrade in any other way is answered as if it had not asked
    is_websocket = is_upgrade and method == b"GET" and is_1_1 and length == 0
    return Request(
        method, target, is_1_1, headers, kept, length, has_length, keep_alive, is_websocket, repeated
    )


def parse_answer(head: bytes, *, to_head: bool) -> Answer:
    """The answer whose head is exactly `head`; `to_head` if a HEAD request is answered. Refused if it is none."""
    found = _ANSWER.fullmatch(head)
    if found is None:
        raise _bad("bad_answer", "the model server's answer is not valid HTTP/1.1")
    minor, code, reason, block = found.groups()
    status, is_1_1 = int(code), minor == b"1"
    headers: dict[bytes, bytes] = {}
    kept: list[bytes] = []
    for line in block.split(b"\r\n")[:-1]:
        name, value, _, is_passed_back = _seen.get(line) or _field(line)
        if is_passed_back:
            kept.append(line)
        elif name in headers:
            _join(headers, name, value)
        else:
            headers[name] = value
    keep_alive, is_upgrade = is_1_1, False
    options = headers.get(b"connection")
    if options is not None:
        keep_alive, named = _connection(options, is_1_1)
        kept = _without(kept, named)
        is_upgrade = b"upgrade" in named and headers.get(b"upgrade", b"").lower() == b"websocket"
    stated = _stated_length(headers)
    coded = _is_chunked(headers, is_1_1)
    if coded and stated is not None:
        raise _bad("bad_answer", "the model server's answer has both Content-Length and Transfer-Encoding")
    if status < 200 or status == HTTPStatus.NO_CONTENT:
        # RFC 9110, 8.6 and RFC 9112, 6.1: they must have neither; who sends one may also send the body (RFC 9112, 6.3)
        keep_alive = keep_alive and not coded and not stated
        stated, length = None, 0
    elif to_head or status == HTTPStatus.NOT_MODIFIED:
        length = 0
    elif coded:
        length = CHUNKED
    else:
        length = UNTIL_CLOSE if stated is None else stated
    keep_alive = keep_alive and length != UNTIL_CLOSE
    return Answer(status, reason or b" ", kept, length, stated, keep_alive, is_upgrade)


def check_partial(data: bytes | bytearray, searched: int) -> None:
    """Refused if a head that has not ended yet can no longer become one; `searched` bytes were looked at before."""
    if searched == 0 and data != b"\r" and _BEGIN.match(data) is None:
        raise _explain(bytes(data))
    if _BARE.search(data, max(searched - 1, 0)) is not None:
        raise _explain(bytes(data))


def check_partial_answer(data: bytes) -> None:
    """Refused if the beginning of an answer's head, of whatever length, can no longer become one."""
    if not data.startswith(_ANSWER_BEGIN[: len(data)]) or _BARE.search(data) is not None:
        raise _bad("bad_answer", "the model server's answer is not valid HTTP/1.1")


class Chunks:
    """Takes the chunked coding off a body that comes in any pieces (RFC 9112, 7.1); extensions and trailers go."""

    __slots__ = ("_left", "_line", "_state", "_trailer_bytes", "is_done")

    def __init__(self) -> None:
        self._state = Chunks._size  # not bound: a bound method would make each body a cycle for the collector
        self._left = 0
        self._line = b""
        self._trailer_bytes = 0
        self.is_done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """`(payload, rest)`: what of the body came, and what follows it once `is_done`. Refused if it is broken."""
        pieces: list[bytes] = []
        at = 0
        if self._line:
            data = self._line + data
            self._line = b""
        while not self.is_done and at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                self._left -= len(piece)
                at += len(piece)
                continue
            after = self._state(self, data, at)
            if after < 0:
                self._line = data[at:]
                return b"".join(pieces), b""
            at = after
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), data[at:]

    def _size(self, data: bytes, at: int) -> int:
        found = _CHUNK.match(data, at, at + _CHUNK_LINE_BYTES_MAX)
        if found is None:
            line = data[at : at + _CHUNK_LINE_BYTES_MAX]
            if len(line) == _CHUNK_LINE_BYTES_MAX or b"\n" in line or _BARE.search(line):
                raise _bad("bad_chunk", "a chunk of the body does not begin with its size in hexadecimal")
            if re.match(rb"[0-9A-Fa-f]", line) is None:
                raise _bad("bad_chunk", "a chunk of the body does not begin with its size in hexadecimal")
            return -1
        self._left = int(found[1], 16)
        self._state = Chunks._end if self._left else Chunks._trailer
        return found.end()

    def _end(self, data: bytes, at: int) -> int:
        if not b"\r\n".startswith(data[at : at + 2]):
            raise _bad("bad_chunk", "a chunk of the body is longer than it says")
        if len(data) - at < 2:
            return -1
        self._state = Chunks._size
        return at + 2

    def _trailer(self, data: bytes, at: int) -> int:
        if data[at : at + 2] == b"\r\n":
            self.is_done = True
            return at + 2
        end = data.find(HEAD_END, at)
        block = data[at:] if end < 0 else data[at : end + 4]
        if len(block) > _TRAILER_BYTES_MAX:
            raise _bad("bad_chunk", f"the body's trailer has more than {_TRAILER_BYTES_MAX} bytes")
        if end < 0:
            if _BARE.search(block):
                raise _bad("bad_chunk", "the body's trailer has a bare CR, LF or NUL")
            return -1
        if _FIELD_LINES.fullmatch(block) is None:
            raise _bad("bad_chunk", "the body's trailer is no header field")
        self.is_done = True
        return end + 4


_Field = tuple[bytes, bytes, bool, bool]
_seen: dict[bytes, _Field] = {}
"""Lines that came before, already taken apart: most lines of a client's next request are those of its last."""


def _field(line: bytes) -> _Field:
    """`(lower-case name, value, is passed on to models, is passed back to clients)` of a valid line."""
    name, _, value = line.partition(b":")
    name = name.lower()
    is_passed_on = name not in _NOT_PASSED_ON and not name.startswith(b"x-headgate-")
    field = (name, value.strip(b" \t"), is_passed_on, name not in _NOT_PASSED_BACK)
    if len(line) <= _SEEN_BYTES_MAX:
        if len(_seen) >= _SEEN_MAX:
            _seen.clear()
        _seen[line] = field
    return field


def _join(headers: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """A repeated field as one, RFC 9110, 5.3; those that say where a message ends, or for whom it is, come once."""
    if name in _ONCE:
        shown = name.decode().title()
        raise _bad(f"several_{name.decode().replace('-', '_')}", f"the message has more than one {shown}")
    headers[name] += (b"; " if name == b"cookie" else b", ") + value


def _connection(options: bytes, is_1_1: bool) -> tuple[bool, set[bytes]]:
    """Whether the connection stays, and which fields besides those of every connection `Connection` names."""
    options = options.lower()
    if options == b"keep-alive":
        return True, set()
    named = {option.strip(b" \t") for option in options.split(b",")}
    return (b"close" not in named) and (is_1_1 or b"keep-alive" in named), named


def _without(lines: list[bytes], names: set[bytes]) -> list[bytes]:
    if not names:
        return lines
    return [line for line in lines if line.partition(b":")[0].lower() not in names]


def _request_length(headers: dict[bytes, bytes], is_1_1: bool) -> int:
    stated = _stated_length(headers)
    if not _is_chunked(headers, is_1_1):
        return stated or 0
    if stated is not None:
        raise _bad("length_and_encoding", "the request has both Content-Length and Transfer-Encoding")
    return CHUNKED


def _stated_length(headers: dict[bytes, bytes]) -> int | None:
    value = headers.get(b"content-length")
    if value is None:
        return None
    if _LENGTH.fullmatch(value) is None:
        raise _bad("bad_content_length", "Content-Length is not one whole number of at most 18 digits")
    return int(value)


def _is_chunked(headers: dict[bytes, bytes], is_1_1: bool) -> bool:
    coding = headers.get(b"transfer-encoding")
    if coding is None:
        return False
    if not is_1_1:
        raise _bad("bad_transfer_encoding", "Transfer-Encoding in an HTTP/1.0 message")
    if coding.lower() != b"chunked":
        raise _bad("bad_transfer_encoding", "Transfer-Encoding is not exactly chunked")
    return True


def _checked_target(method: bytes, target: bytes, headers: dict[bytes, bytes], is_1_1: bool) -> bytes:
    """The target in origin form (or `*`), if it and Host are as RFC 9112, 3.2 wants them."""
    host = headers.get(b"host")
    if host is None and is_1_1:
        raise _bad("no_host", "the request has no Host")
    if host is not None and _HOST.fullmatch(host) is None:
        raise _bad("bad_host", "Host is not a host name or address with an optional port")
    if method == b"CONNECT":
        raise Refused(HTTPStatus.NOT_IMPLEMENTED, "connect_not_proxied", "CONNECT is not proxied")
    if target.startswith(b"/"):
        if b"#" in target:
            raise _bad("bad_target", "the request target has a fragment")
        return target
    if target == b"*" and method == b"OPTIONS":
        return target
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise _bad("bad_target", "the request target is neither a path nor an http URL")
    if host is not None and found[2].lower() != host.lower():
        raise _bad("target_and_host_differ", "the request target names another host than Host does")
    path = found[3] or b"/"
    return path if path.startswith(b"/") else b"/" + path


_NOT_1 = re.compile(rb"\S+ \S+ HTTP/(?!1\.)[0-9]+(?:\.[0-9]+)?")
_SPACE_BEFORE_COLON = re.compile(_TOKEN + rb"+[ \t]+:")


def _explain(head: bytes) -> Refused:
    """Why a head, or what there is of it, is not of the grammar; only the cause is named, never what was sent.

    The first fault that is found byte by byte is also the one that is found at once.
    """
    bare = _BARE.search(head)
    if _BEGIN.match(head) is None and (bare is None or bare.start() > 0):
        return _bad("bad_request_line", "the request does not begin with a method: is this another protocol?")
    if bare is not None and bare[0] == b"\0":
        return _bad("nul", "the head has a NUL byte")
    if bare is not None:
        return _bad("bare_cr_or_lf", "the head has a CR without LF or an LF without CR")
    first, *lines = head.removesuffix(HEAD_END).split(b"\r\n")
    if _NOT_1.fullmatch(first):
        return Refused(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
            "version_not_supported",
            "only HTTP/1.0 and HTTP/1.1 are spoken",
        )
    if _REQUEST.fullmatch(first + HEAD_END) is None:
        return _bad("bad_request_line", "the request line is not METHOD SP TARGET SP HTTP/1.1")
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            return _bad("folded_header", "a header field goes on in the next line (obs-fold)")
        if _SPACE_BEFORE_COLON.match(line):
            return _bad("space_before_colon", "a header field has whitespace before its colon")
    return _bad("bad_header", "a header field has a name or a value that is not allowed")
