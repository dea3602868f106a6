"""Where messages end: every chunking gives the same, what is ambiguous is refused, and llhttp reads what we accept alike."""

from http import HTTPStatus

import httptools
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from router.proxy.framing import (
    CHUNKED,
    UNTIL_CLOSE,
    Chunks,
    Refused,
    check_partial,
    parse_answer,
    parse_request,
)

HOST = b"Host: h\r\n"


def head(fields: bytes = HOST, line: bytes = b"POST /p HTTP/1.1") -> bytes:
    return line + b"\r\n" + fields + b"\r\n"


def feed_chunks(coded: bytes, size: int) -> None:
    chunks = Chunks()
    for at in range(0, len(coded), size):
        chunks.feed(coded[at : at + size])


def feed_partial(message: bytes, size: int) -> None:
    data, searched = bytearray(), 0
    for at in range(0, len(message), size):
        data += message[at : at + size]
        check_partial(data, searched)
        searched = len(data)


MALFORMED = [
    ("length_and_encoding", head(HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")),
    ("length_and_encoding", head(HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n")),
    ("several_content_length", head(HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n")),
    ("several_content_length", head(HOST + b"Content-Length: 3\r\ncontent-length: 4\r\n")),
    ("bad_content_length", head(HOST + b"Content-Length: 3, 3\r\n")),
    ("bad_content_length", head(HOST + b"Content-Length: +3\r\n")),
    ("bad_content_length", head(HOST + b"Content-Length: -3\r\n")),
    ("bad_content_length", head(HOST + b"Content-Length: 0x3\r\n")),
    ("bad_content_length", head(HOST + b"Content-Length: 3 3\r\n")),
    ("bad_content_length", head(HOST + b"Content-Length: \r\n")),
    ("bad_content_length", head(HOST + b"Content-Length: 3_0\r\n")),
    ("bad_content_length", head(HOST + b"Content-Length: 1e3\r\n")),
    ("bad_content_length", head(HOST + b"Content-Length: \xb2\r\n")),
    ("bad_content_length", head(HOST + b"Content-Length: " + b"9" * 19 + b"\r\n")),
    ("bad_transfer_encoding", head(HOST + b"Transfer-Encoding: gzip, chunked\r\n")),
    ("bad_transfer_encoding", head(HOST + b"Transfer-Encoding: chunked, gzip\r\n")),
    ("bad_transfer_encoding", head(HOST + b"Transfer-Encoding: identity\r\n")),
    ("bad_transfer_encoding", head(HOST + b"Transfer-Encoding: xchunked\r\n")),
    ("bad_transfer_encoding", head(HOST + b"Transfer-Encoding: chunked;q=1\r\n")),
    ("bad_transfer_encoding", head(HOST + b"Transfer-Encoding:\r\n")),
    ("bad_header", head(HOST + b"Transfer-Encoding: \x0bchunked\r\n")),
    (
        "several_transfer_encoding",
        head(HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ),
    ("several_transfer_encoding", head(HOST + b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n")),
    ("bad_transfer_encoding", head(HOST + b"Transfer-Encoding: chunked\r\n", b"POST /p HTTP/1.0")),
    ("folded_header", head(HOST + b"X-A: 1\r\n  2\r\n")),
    ("folded_header", head(HOST + b"X-A: 1\r\n\t2\r\n")),
    ("folded_header", head(b" " + HOST)),
    ("folded_header", head(HOST + b"Transfer-Encoding:\r\n chunked\r\n")),
    ("space_before_colon", head(HOST + b"Content-Length : 3\r\n")),
    ("space_before_colon", head(HOST + b"Transfer-Encoding\t: chunked\r\n")),
    ("bare_cr_or_lf", head(HOST + b"X-A: 1\nX-B: 2\r\n")),
    ("bare_cr_or_lf", head(HOST + b"X-A: 1\rX-B: 2\r\n")),
    ("bare_cr_or_lf", head(HOST + b"X-A: 1\r\r\n")),
    ("bare_cr_or_lf", b"GET / HTTP/1.1\nHost: h\r\n\r\n"),
    ("nul", head(HOST + b"X-A: 1\0\r\n")),
    ("nul", head(HOST + b"X\0A: 1\r\n")),
    ("nul", head(line=b"GET /\0 HTTP/1.1")),
    ("no_host", head(b"")),
    ("several_host", head(HOST + HOST)),
    ("several_host", head(HOST + b"host: other\r\n")),
    ("bad_host", head(b"Host: a b\r\n")),
    ("bad_host", head(b"Host: a/b\r\n")),
    ("bad_host", head(b"Host: a@b\r\n")),
    ("bad_host", head(b"Host: a, b\r\n")),
    ("bad_host", head(b"Host: h:port\r\n")),
    ("bad_host", head(b"Host: h:1:2\r\n")),
    ("target_and_host_differ", head(line=b"GET http://other/p HTTP/1.1")),
    ("bad_target", head(line=b"GET p HTTP/1.1")),
    ("bad_target", head(line=b"GET /p#x HTTP/1.1")),
    ("bad_target", head(line=b"GET * HTTP/1.1")),
    ("bad_target", head(line=b"GET ftp://h/p HTTP/1.1")),
    ("bad_target", head(line=b"GET http://u:p@h/p HTTP/1.1")),
    ("bad_request_line", head(line=b"GET  / HTTP/1.1")),
    ("bad_request_line", head(line=b"GET / HTTP/1.1 ")),
    ("bad_request_line", head(line=b" GET / HTTP/1.1")),
    ("bad_request_line", head(line=b"GET /a b HTTP/1.1")),
    ("bad_request_line", head(line=b"GET\t/ HTTP/1.1")),
    ("bad_request_line", head(line=b"GET /\xff HTTP/1.1")),
    ("bad_request_line", head(line=b"GET /")),
    ("bad_request_line", head(line=b"G(T / HTTP/1.1")),
    ("bad_request_line", head(line=b"GET / http/1.1")),
    ("bad_request_line", head(line=b"GET / HTTP/1.11")),
    ("bad_request_line", head(line=b"GET / HTTP/1.2")),
    ("bad_request_line", head(line=b"A" * 33 + b" / HTTP/1.1")),
    ("bad_header", head(HOST + b"X A: 1\r\n")),
    ("bad_header", head(HOST + b": 1\r\n")),
    ("bad_header", head(HOST + b"X-A\r\n")),
    ("bad_header", head(HOST + b"X-\xe9: 1\r\n")),
    ("bad_header", head(HOST + b"X-A: \x01\r\n")),
    ("bad_header", head(HOST + b"X-A: \x7f\r\n")),
    ("bad_header", head(HOST + b"X-A(: 1\r\n")),
]


@pytest.mark.parametrize(("cause", "message"), MALFORMED, ids=[str(m[1]) for m in MALFORMED])
def test_a_head_that_could_be_read_in_two_ways_is_refused_with_its_cause(cause: str, message: bytes):
    with pytest.raises(Refused) as caught:
        parse_request(message)
    assert caught.value.cause == cause
    assert caught.value.status is HTTPStatus.BAD_REQUEST
    assert "\r" not in caught.value.message


@pytest.mark.parametrize(
    ("status", "cause", "message"),
    [
        (505, "version_not_supported", head(line=b"GET / HTTP/2.0")),
        (505, "version_not_supported", b"PRI * HTTP/2.0\r\n\r\n"),
        (501, "connect_not_proxied", head(line=b"CONNECT h:80 HTTP/1.1")),
    ],
)
def test_what_is_valid_and_not_for_us_says_which(status: int, cause: str, message: bytes):
    with pytest.raises(Refused) as caught:
        parse_request(message)
    assert (caught.value.status, caught.value.cause) == (status, cause)


def test_a_request_is_read_with_what_is_passed_on():
    request = parse_request(
        b"POST /v2/models/m/infer?q=1 HTTP/1.1\r\nhost: model:80\r\nContent-Type: application/json\r\n"
        b"Connection: X-Once, close\r\nX-Once: 1\r\nKeep-Alive: 3\r\nTE: trailers\r\nX-Headgate-Anything: 1\r\n"
        b"Cookie: a=1\r\nCookie: b=2\r\nX-Many: 1\r\nX-Many: 2\r\ncontent-length:  012 \r\n\r\n"
    )
    assert (request.method, request.target, request.is_1_1) == (b"POST", b"/v2/models/m/infer?q=1", True)
    assert (request.length, request.has_length, request.keep_alive) == (12, True, False)
    assert request.headers[b"cookie"] == b"a=1; b=2"
    assert request.headers[b"x-many"] == b"1, 2"
    assert request.headers[b"x-headgate-anything"] == b"1"
    assert [line.partition(b":")[0] for line in request.kept] == [
        b"Content-Type",
        b"Cookie",
        b"Cookie",
        b"X-Many",
        b"X-Many",
    ]


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"Connection: Foo, CLOSE\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", True),
        (b"1.0", b"Connection: keep-alive, close\r\n", False),
    ],
)
def test_whether_a_connection_stays_follows_version_and_options(
    version: bytes, connection: bytes, keeps: bool
):
    assert parse_request(b"GET / HTTP/%b\r\nHost: h\r\n%b\r\n" % (version, connection)).keep_alive is keeps


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://h/p?q", b"/p?q"),
        (b"HTTP://H", b"/"),
        (b"http://h?q=1", b"/?q=1"),
        (b"/", b"/"),
        (b"//x//y", b"//x//y"),
    ],
)
def test_an_absolute_target_becomes_a_path(target: bytes, path: bytes):
    assert parse_request(head(line=b"GET %b HTTP/1.1" % target)).target == path


def test_an_http_1_0_request_needs_no_host():
    assert parse_request(b"GET / HTTP/1.0\r\n\r\n").headers == {}


@pytest.mark.parametrize(
    ("to_head", "message", "length", "stated", "keeps"),
    [
        (False, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 5, 5, True),
        (False, b"HTTP/1.1 200\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", 5, 5, False),
        (True, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 0, 5, True),
        (True, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, None, True),
        (False, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 0, 5, True),
        (False, b"HTTP/1.1 204 No Content\r\n\r\n", 0, None, True),
        (False, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", CHUNKED, None, True),
        (False, b"HTTP/1.1 200 OK\r\n\r\n", UNTIL_CLOSE, None, False),
        (False, b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", 1, 1, False),
        (False, b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\n", 1, 1, True),
    ],
)
def test_where_an_answer_ends_follows_its_status_request_and_fields(
    to_head: bool, message: bytes, length: int, stated: int | None, keeps: bool
):
    answer = parse_answer(message, to_head=to_head)
    assert (answer.length, answer.stated, answer.keep_alive) == (length, stated, keeps)


@pytest.mark.parametrize(
    "message",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : 1\r\n\r\n",
        b"HTTP/1.1 200 OK\nX: 1\r\n\r\n",
        b"HTTP/1.1 099 X\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
    ],
)
def test_an_answer_that_could_be_read_in_two_ways_is_refused(message: bytes):
    with pytest.raises(Refused):
        parse_answer(message, to_head=False)


CODED = b'5\r\nhello\r\n1;ext="x"\r\n \r\n00a \t;y\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n'
PLAIN = b"hello 0123456789"


@pytest.mark.parametrize("coded", [CODED, CODED.replace(b"X-Sum: 1\r\nY: 2\r\n", b"")])
def test_a_chunked_body_is_the_same_however_it_is_cut(coded: bytes):
    for size in range(1, len(coded) + 1):
        chunks, payload, rest = Chunks(), b"", b""
        for at in range(0, len(coded) + 5, size):
            piece = (coded + b"after")[at : at + size]
            if chunks.is_done:
                rest += piece
                continue
            more, rest = chunks.feed(piece)
            payload += more
        assert (payload, rest, chunks.is_done) == (PLAIN, b"after", True), f"cut every {size} bytes"


@pytest.mark.parametrize(
    "coded",
    [
        b"g\r\n",
        b"\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\rhello\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\n",
        b"5\r\nhello\rX",
        b"5;a\nb\r\nhello\r\n",
        b"5;\0\r\nhello\r\n",
        b"1000000000000000\r\n",
        b"5;" + b"x" * 600,
        b"0\r\nX: 1\n\r\n\r\n",
        b"0\r\n X: 1\r\n\r\n",
        b"0\r\nX : 1\r\n\r\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\nX: " + b"x" * 9000,
    ],
)
def test_a_broken_chunked_body_is_refused_however_it_is_cut(coded: bytes):
    for size in (1, 2, 3, len(coded)):
        with pytest.raises(Refused) as caught:
            feed_chunks(coded, size)
        assert caught.value.cause == "bad_chunk"


@pytest.mark.parametrize(
    "bad", [b"GET / HTTP/1.1\nHost: h\n\n", b"\x16\x03\x01\x02", b"GET /\0", b"GET / HTTP/1.1\rX"]
)
def test_what_can_never_become_a_head_is_refused_before_its_end(bad: bytes):
    for size in (1, 2, len(bad)):
        with pytest.raises(Refused):
            feed_partial(bad, size)


@given(st.integers(1, 20))
def test_a_sound_head_is_never_refused_before_its_end(size: int):
    feed_partial(head(HOST + b"X-A: 1\r\nX-B: 2\r\n"), size)


class Seen:
    """What llhttp reads."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.target = b""
        self.heads = 0

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.heads += 1


NAMES = st.sampled_from(
    [
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"X-A",
        b"Expect",
        b"content-length",
        b" X",
        b"X ",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [b"chunked", b"gzip", b"3", b"0", b"h", b"close", b"3, 3", b"keep-alive", b"", b" chunked "]
    ),
    st.binary(max_size=6),
)
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\r\n", b"\r\n "])
LINES = st.sampled_from(
    [
        b"POST / HTTP/1.1",
        b"GET /a?b HTTP/1.1",
        b"PUT http://h/ HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"POST / HTTP/1.0",
    ]
)


@given(LINES, st.lists(st.tuples(NAMES, VALUES, ENDS), max_size=5))
@example(b"POST / HTTP/1.1", [(b"Transfer-Encoding", b"chunked", b"\r\n")])
@example(b"POST / HTTP/1.1", [(b"Content-Length", b"3", b"\r\n")])
def test_llhttp_reads_every_head_that_is_accepted_as_the_same(
    line: bytes, fields: list[tuple[bytes, bytes, bytes]]
):
    message = line + b"\r\n" + HOST + b"".join(b"%b: %b%b" % field for field in fields) + b"\r\n"
    if not message.endswith(b"\r\n\r\n") or message.find(b"\r\n\r\n") != len(message) - 4:
        return
    try:
        request = parse_request(message)
    except Refused as refused:
        event(f"refused: {refused.cause}")
        return
    event("accepted")
    seen = Seen()
    parser = httptools.HttpRequestParser(seen)
    parser.feed_data(message)
    assert seen.heads == 1
    values: dict[bytes, list[bytes]] = {}
    for name, value in seen.headers:
        values.setdefault(name, []).append(value.strip(b" \t"))
    assert values.keys() == request.headers.keys()
    assert {name: b", ".join(found) for name, found in values.items()} == request.headers
    is_chunked = values.get(b"transfer-encoding") == [b"chunked"] or b"transfer-encoding" in values
    assert (request.length == CHUNKED) is is_chunked
    if request.has_length:
        assert request.length == int(values[b"content-length"][0])


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(1, 30))
def test_llhttp_finds_the_same_payload_and_end_in_chunks(pieces: list[bytes], size: int):
    coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    bodies: list[bytes] = []

    class Body(Seen):
        def on_body(self, body: bytes) -> None:
            bodies.append(body)

    httptools.HttpRequestParser(Body()).feed_data(head(HOST + b"Transfer-Encoding: chunked\r\n") + coded)
    chunks, payload, rest = Chunks(), b"", b""
    for at in range(0, len(coded), size):
        more, rest = chunks.feed(coded[at : at + size])
        payload += more
    assert chunks.is_done
    assert rest == b""
    assert payload == b"".join(bodies) == b"".join(pieces)
