"""Messages that are malformed, ambiguous or merely rare, each with what the router must do with it.

Data only. A `Case` is run in every chunking against a real worker (`test_corpus.py`) and whole against other proxies
(`test_peers.py`). A request is followed, on the same connection, by TAIL, which a router that judged the end of the
message differently would lose, answer twice or hand on as somebody's body; an `is_cut` one is followed by the end of
the connection instead. An answer is what a model server says to `GET /answer/NAME`.
"""

from dataclasses import dataclass
from typing import Final

TAIL: Final = b"GET /tail HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
LIMIT: Final = 8192
"""`header_bytes_max` of the router under test."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answered with this status and cause, then closed; `answered` sound requests before it got theirs."""

    status: int
    cause: str
    answered: int = 0


@dataclass(frozen=True, slots=True)
class Forward:
    """Models see exactly these requests (`METHOD TARGET BODY`), each is answered with 200.

    `has` and `lacks` are texts in the head of the first, small letters; with `ends` the router closes after them, so
    TAIL is not for anyone to see.
    """

    requests: tuple[str, ...]
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A request, or several, or something that is none."""

    name: str
    raw: bytes
    reaction: Refuse | Forward
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of a model server, and what a client gets: the status and body, a 502, or an answer that breaks off.

    `ends`: the server closes after it. `has_surplus`: bytes follow its end.
    """

    name: str
    raw: bytes
    status: int = 502
    body: bytes = b""
    method: str = "GET"
    interim: int = 0
    is_cut: bool = False
    ends: bool = False
    has_surplus: bool = False
    lacks: tuple[str, ...] = ()


def req(
    fields: bytes = b"", body: bytes = b"", line: bytes = b"POST /p HTTP/1.1", host: bytes = b"Host: h\r\n"
) -> bytes:
    return line + b"\r\n" + host + fields + b"\r\n" + body


def coded(body: bytes) -> bytes:
    return req(CHUNKED, body)


def bad(cause: str, answered: int = 0) -> Refuse:
    return Refuse(400, cause, answered)


def length(value: bytes) -> bytes:
    return b"Content-Length: " + value + b"\r\n"


def coding(value: bytes) -> bytes:
    return b"Transfer-Encoding: " + value + b"\r\n"


P: Final = "POST /p "
SEEN: Final = Forward(("POST /p ",))
HELLO: Final = Forward(("POST /p hello",))
GET: Final = b"GET / HTTP/1.1"
GOT: Final = Forward(("GET / ",))
CL_TE: Final = bad("length_and_encoding")
BAD_TE: Final = bad("bad_transfer_encoding")
BAD_CL: Final = bad("bad_content_length")
BAD_CHUNK: Final = bad("bad_chunk")
BAD_LINE: Final = bad("bad_request_line")
BAD_HEADER: Final = bad("bad_header")
BARE: Final = bad("bare_cr_or_lf")
CUT: Final = bad("incomplete_request")
FIVE: Final = b"5\r\nhello\r\n0\r\n\r\n"

_LENGTHS: Final = (
    Case("cl", req(length(b"5"), b"hello"), HELLO),
    Case("cl-zero", req(length(b"0")), SEEN),
    Case("cl-leading-zeros", req(length(b"0005"), b"hello"), HELLO),
    Case("cl-small-letters", req(b"content-length:5\r\n", b"hello"), HELLO),
    Case("cl-spaces-around", req(b"Content-Length: \t 5 \t\r\n", b"hello"), HELLO),
    Case("cl-on-get", req(length(b"5"), b"hello", GET), Forward(("GET / hello",))),
    Case(
        "cl-body-is-a-request",
        req(length(b"%d" % len(SMUGGLED)), SMUGGLED),
        Forward((P + SMUGGLED.decode(),)),
    ),
    Case("cl-te", req(length(b"5") + CHUNKED, b"0\r\n\r\n" + SMUGGLED), CL_TE),
    Case("te-cl", req(CHUNKED + length(b"4"), b"5c\r\n" + SMUGGLED), CL_TE),
    Case("cl-zero-te", req(length(b"0") + CHUNKED, b"0\r\n\r\n"), CL_TE),
    Case("cl-te-not-chunked", req(length(b"5") + coding(b"gzip"), b"hello"), BAD_TE),
    Case("cl-te-empty", req(length(b"5") + coding(b""), b"hello"), BAD_TE),
    Case("cl-twice-same", req(length(b"5") * 2, b"hello"), bad("several_content_length")),
    Case("cl-twice-different", req(length(b"5") + length(b"0"), b"hello"), bad("several_content_length")),
    Case(
        "cl-twice-in-two-cases",
        req(length(b"5") + b"content-length: 0\r\n", b"hello"),
        bad("several_content_length"),
    ),
    Case("cl-list-same", req(length(b"5, 5"), b"hello"), BAD_CL),
    Case("cl-list-different", req(length(b"5, 0"), b"hello"), BAD_CL),
    Case("cl-trailing-comma", req(length(b"5,"), b"hello"), BAD_CL),
    Case("cl-empty", req(length(b"")), BAD_CL),
    Case("cl-plus", req(length(b"+5"), b"hello"), BAD_CL),
    Case("cl-minus", req(length(b"-5"), b"hello"), BAD_CL),
    Case("cl-minus-zero", req(length(b"-0")), BAD_CL),
    Case("cl-hexadecimal", req(length(b"0x5"), b"hello"), BAD_CL),
    Case("cl-point", req(length(b"5.0"), b"hello"), BAD_CL),
    Case("cl-exponent", req(length(b"5e0"), b"hello"), BAD_CL),
    Case("cl-underscore", req(length(b"0_5"), b"hello"), BAD_CL),
    Case("cl-space-within", req(length(b"5 5"), b"hello"), BAD_CL),
    Case("cl-quoted", req(length(b'"5"'), b"hello"), BAD_CL),
    Case("cl-word", req(length(b"five"), b"hello"), BAD_CL),
    Case("cl-superscript", req(length(b"\xb2"), b"he"), BAD_CL),
    Case("cl-above-64-bits", req(length(b"18446744073709551621"), b"hello"), BAD_CL),
    Case(
        "cl-named-in-connection",
        req(b"Connection: content-length\r\n" + length(b"5"), b"hello"),
        bad("bad_connection"),
    ),
    Case("cl-underscored-name", req(b"Content_Length: 5\r\n"), SEEN),
)

_CODINGS: Final = (
    Case("te-chunked", coded(FIVE), HELLO),
    Case("te-case", req(coding(b"cHuNkEd"), FIVE), HELLO),
    Case("te-name-case", req(b"tRANSFER-eNCODING: chunked\r\n", FIVE), HELLO),
    Case("te-tab-before-value", req(b"Transfer-Encoding:\tchunked\r\n", FIVE), HELLO),
    Case("te-spaces-around-value", req(b"Transfer-Encoding:   chunked  \t\r\n", FIVE), HELLO),
    Case("te-chunked-identity", req(coding(b"chunked, identity"), FIVE), BAD_TE),
    Case("te-identity", req(coding(b"identity"), FIVE), BAD_TE),
    Case("te-identity-chunked", req(coding(b"identity, chunked"), FIVE), BAD_TE),
    Case("te-gzip-chunked", req(coding(b"gzip, chunked"), FIVE), BAD_TE),
    Case("te-chunked-twice-in-list", req(coding(b"chunked, chunked"), FIVE), BAD_TE),
    Case("te-trailing-comma", req(coding(b"chunked,"), FIVE), BAD_TE),
    Case("te-leading-comma", req(coding(b",chunked"), FIVE), BAD_TE),
    Case("te-xchunked", req(coding(b"xchunked"), FIVE), BAD_TE),
    Case("te-chunkedx", req(coding(b"chunkedx"), FIVE), BAD_TE),
    Case("te-chunked-parameter", req(coding(b"chunked;q=1"), FIVE), BAD_TE),
    Case("te-quoted", req(coding(b'"chunked"'), FIVE), BAD_TE),
    Case("te-no-break-space", req(coding(b"\xa0chunked"), FIVE), BAD_TE),
    Case("te-vertical-tab", req(coding(b"\x0bchunked"), FIVE), BAD_HEADER),
    Case("te-form-feed-after", req(coding(b"chunked\x0c"), FIVE), BAD_HEADER),
    Case("te-nul", req(coding(b"chunked\0"), FIVE), bad("nul")),
    Case("te-empty", req(coding(b""), FIVE), BAD_TE),
    Case("te-twice", req(CHUNKED * 2, FIVE), bad("several_transfer_encoding")),
    Case("te-twice-other-first", req(coding(b"x") + CHUNKED, FIVE), bad("several_transfer_encoding")),
    Case("te-twice-other-last", req(CHUNKED + coding(b"identity"), FIVE), bad("several_transfer_encoding")),
    Case("te-folded", req(b"Transfer-Encoding:\r\n chunked\r\n", FIVE), bad("folded_header")),
    Case("te-space-before-colon", req(b"Transfer-Encoding : chunked\r\n", FIVE), bad("space_before_colon")),
    Case("te-tab-before-colon", req(b"Transfer-Encoding\t: chunked\r\n", FIVE), bad("space_before_colon")),
    Case("te-space-before-name", req(b"X: 1\r\n Transfer-Encoding: chunked\r\n", FIVE), bad("folded_header")),
    Case("te-lf-hidden", req(b"X: 1\nTransfer-Encoding: chunked\r\n", FIVE), BARE),
    Case("te-cr-hidden", req(b"X: 1\rTransfer-Encoding: chunked\r\n", FIVE), BARE),
    Case("te-in-1.0", req(CHUNKED, FIVE, b"POST /p HTTP/1.0"), BAD_TE),
    Case("te-underscored-name", req(b"Transfer_Encoding: chunked\r\n" + length(b"5"), b"hello"), HELLO),
    Case(
        "te-named-in-connection",
        req(b"Connection: transfer-encoding\r\n" + CHUNKED, FIVE),
        bad("bad_connection"),
    ),
)

_CHUNKS: Final = (
    Case("chunk-extension", coded(b'5;a="b c"\r\nhello\r\n0;z\r\n\r\n'), HELLO),
    Case("chunk-extension-after-space", coded(b"5 ;a\r\nhello\r\n0\r\n\r\n"), HELLO),
    Case("chunk-leading-zeros", coded(b"0005\r\nhello\r\n000\r\n\r\n"), HELLO),
    Case("chunk-capitals", coded(b"A\r\n0123456789\r\n0\r\n\r\n"), Forward((P + "0123456789",))),
    Case("chunk-each-byte", coded(b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n"), HELLO),
    Case("chunk-none", coded(b"0\r\n\r\n"), SEEN),
    Case(
        "chunk-holds-a-request",
        coded(b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        Forward((P + SMUGGLED.decode(),)),
    ),
    Case("chunk-size-missing", coded(b"\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-word", coded(b"five\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-minus", coded(b"-5\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-plus", coded(b"+5\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-0x", coded(b"0x5\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-underscore", coded(b"0_5\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-space-before", coded(b" 5\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-space-after", coded(b"5 \r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-tab-after", coded(b"5\t\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-comma", coded(b"5,5\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-above-64-bits", coded(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-64-bits", coded(b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-many-zeros", coded(b"0" * 40 + b"5\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-bare-lf", coded(b"5\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-bare-cr", coded(b"5\rhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-size-nul", coded(b"5\0\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-extension-bare-lf", coded(b"5;a\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-extension-bare-cr", coded(b"5;a\rX\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-extension-nul", coded(b"5;a\0\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-extension-long", coded(b"5;" + b"a" * 600 + b"\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-data-without-crlf", coded(b"5\r\nhello0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-data-bare-lf-after", coded(b"5\r\nhello\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-data-longer", coded(b"5\r\nhello!\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-data-two-bytes-swallowed", coded(b"5\r\nhelloXX5\r\nhello\r\n0\r\n\r\n"), BAD_CHUNK),
    Case("chunk-last-bare-lf", coded(b"0\n\n"), BAD_CHUNK),
    Case("trailer", coded(b"0\r\nX-Sum: 1\r\n\r\n"), Forward((P,), lacks=("x-sum",))),
    Case(
        "trailer-length", coded(b"0\r\nContent-Length: 40\r\n\r\n"), Forward((P,), lacks=("content-length",))
    ),
    Case("trailer-coding", coded(b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), SEEN),
    Case("trailer-host", coded(b"0\r\nHost: evil\r\n\r\n"), Forward((P,), lacks=("evil",))),
    Case("trailer-folded", coded(b"0\r\nX: 1\r\n 2\r\n\r\n"), BAD_CHUNK),
    Case("trailer-space-before-colon", coded(b"0\r\nX : 1\r\n\r\n"), BAD_CHUNK),
    Case("trailer-no-colon", coded(b"0\r\nGET / HTTP/1.1\r\n\r\n"), BAD_CHUNK),
    Case("trailer-bare-lf", coded(b"0\r\nX: 1\n\r\n\r\n"), BAD_CHUNK),
    Case("trailer-bare-cr", coded(b"0\r\nX: 1\rY: 2\r\n\r\n"), BAD_CHUNK),
    Case("trailer-nul", coded(b"0\r\nX: \0\r\n\r\n"), BAD_CHUNK),
    Case("trailer-large", coded(b"0\r\nX: " + b"a" * 5000 + b"\r\n\r\n"), BAD_CHUNK),
)

_LINES: Final = (
    Case("line-two-spaces", req(line=b"GET  / HTTP/1.1"), BAD_LINE),
    Case("line-space-in-target", req(line=b"GET /a b HTTP/1.1"), BAD_LINE),
    Case("line-tab", req(line=b"GET\t/\tHTTP/1.1"), BAD_LINE),
    Case("line-space-before", req(line=b" GET / HTTP/1.1"), BAD_LINE),
    Case("line-space-after", req(line=b"GET / HTTP/1.1 "), BAD_LINE),
    Case("line-no-target", req(line=b"GET HTTP/1.1"), BAD_LINE),
    Case("line-no-version", req(line=b"GET /"), BAD_LINE),
    Case("line-bare-lf", b"GET / HTTP/1.1\nHost: h\r\n\r\n", BARE),
    Case("line-bare-cr", b"GET / HTTP/1.1\rHost: h\r\n\r\n", BARE),
    Case("line-two-cr", b"GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", BARE),
    Case("line-nul-in-target", req(line=b"GET /\0 HTTP/1.1"), bad("nul")),
    Case("line-high-byte-in-target", req(line=b"GET /\xe9 HTTP/1.1"), BAD_LINE),
    Case("line-del-in-target", req(line=b"GET /\x7f HTTP/1.1"), BAD_LINE),
    Case("line-escape-in-target", req(line=b"GET /\x1b[31m HTTP/1.1"), BAD_LINE),
    Case("line-method-small", req(line=b"get / HTTP/1.1"), Forward(("get / ",))),
    Case("line-method-unknown", req(line=b"BREW / HTTP/1.1"), Forward(("BREW / ",))),
    Case("line-method-no-token", req(line=b"G{T / HTTP/1.1"), BAD_LINE),
    Case("line-method-long", req(line=b"A" * 33 + b" / HTTP/1.1"), BAD_LINE),
    Case("line-method-empty", b"\r\n / HTTP/1.1\r\nHost: h\r\n\r\n", BAD_LINE),
    Case(
        "line-method-connect",
        req(line=b"CONNECT h:80 HTTP/1.1", host=b"Host: h:80\r\n"),
        Refuse(501, "connect_not_proxied"),
    ),
    Case("line-target-relative", req(line=b"GET p HTTP/1.1"), bad("bad_target")),
    Case("line-target-fragment", req(line=b"GET /p#x HTTP/1.1"), bad("bad_target")),
    Case("line-target-asterisk", req(line=b"GET * HTTP/1.1"), bad("bad_target")),
    Case("line-target-options", req(line=b"OPTIONS * HTTP/1.1"), Forward(("OPTIONS * ",))),
    Case(
        "line-target-escaped-line", req(line=b"GET /%0d%0aX:%201 HTTP/1.1"), Forward(("GET /%0d%0aX:%201 ",))
    ),
    Case("line-target-two-slashes", req(line=b"GET //evil/p HTTP/1.1"), Forward(("GET //evil/p ",))),
    Case("line-target-dots", req(line=b"GET /a/../b HTTP/1.1"), Forward(("GET /a/../b ",))),
    Case("empty-line-before", b"\r\n" + req(line=GET), GOT),
    Case("empty-lines-before", b"\r\n" * 3 + req(line=GET), BAD_LINE),
    Case("empty-line-lf-before", b"\n" + req(line=GET), BARE),
    Case("empty-line-cr-before", b"\r" + req(line=GET), BARE),
    Case("version-1.0", req(b"Connection: keep-alive\r\n", b"", b"GET / HTTP/1.0"), GOT),
    Case("version-1.0-ends", req(line=b"GET / HTTP/1.0"), Forward(("GET / ",), ends=True)),
    Case("version-1.2", req(line=b"GET / HTTP/1.2"), BAD_LINE),
    Case("version-0.9", b"GET /\r\n", CUT, is_cut=True),
    Case("version-0.9-with-version", req(line=b"GET / HTTP/0.9"), Refuse(505, "version_not_supported")),
    Case("version-2", req(line=b"GET / HTTP/2.0"), Refuse(505, "version_not_supported")),
    Case("version-2-short", req(line=b"GET / HTTP/2"), Refuse(505, "version_not_supported")),
    Case("version-3", req(line=b"GET / HTTP/3.0"), Refuse(505, "version_not_supported")),
    Case("version-long", req(line=b"GET / HTTP/1.10"), BAD_LINE),
    Case("version-zeros", req(line=b"GET / HTTP/01.1"), Refuse(505, "version_not_supported")),
    Case("version-comma", req(line=b"GET / HTTP/1,1"), BAD_LINE),
    Case("version-small", req(line=b"GET / http/1.1"), BAD_LINE),
    Case("version-other-protocol", req(line=b"GET / ICY/1.1"), BAD_LINE),
    Case("h2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refuse(505, "version_not_supported")),
    Case("tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", BAD_LINE),
    Case("proxy-protocol-1", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + req(line=GET), BAD_LINE),
    Case("an-answer-instead", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", BAD_LINE),
)

_HOSTS: Final = (
    Case("host-none", req(host=b"", line=GET), bad("no_host")),
    Case("host-none-1.0", req(b"Connection: keep-alive\r\n", host=b"", line=b"GET / HTTP/1.0"), GOT),
    Case("host-empty", req(host=b"Host:\r\n", line=GET), GOT),
    Case("host-twice-same", req(host=b"Host: h\r\n" * 2, line=GET), bad("several_host")),
    Case("host-twice-different", req(host=b"Host: h\r\nHost: evil\r\n", line=GET), bad("several_host")),
    Case("host-list", req(host=b"Host: h, evil\r\n", line=GET), bad("bad_host")),
    Case("host-space", req(host=b"Host: h evil\r\n", line=GET), bad("bad_host")),
    Case("host-slash", req(host=b"Host: h/evil\r\n", line=GET), bad("bad_host")),
    Case("host-userinfo", req(host=b"Host: u@h\r\n", line=GET), bad("bad_host")),
    Case("host-port-word", req(host=b"Host: h:http\r\n", line=GET), bad("bad_host")),
    Case("host-port-twice", req(host=b"Host: h:80:80\r\n", line=GET), bad("bad_host")),
    Case("host-high-byte", req(host=b"Host: h\xe9\r\n", line=GET), bad("bad_host")),
    Case("host-ipv6", req(host=b"Host: [::1]:80\r\n", line=GET), GOT),
    Case("host-ipv6-open", req(host=b"Host: [::1\r\n", line=GET), bad("bad_host")),
    Case("host-folded", req(host=b"Host: h\r\n evil\r\n", line=GET), bad("folded_header")),
    Case("host-space-before-colon", req(host=b"Host : h\r\n", line=GET), bad("space_before_colon")),
    Case("host-named-in-connection", req(b"Connection: host\r\n", line=GET), bad("bad_connection")),
    Case("absolute", req(line=b"GET http://h/p?q HTTP/1.1"), Forward(("GET /p?q ",))),
    Case("absolute-capitals", req(line=b"GET HTTP://H/p HTTP/1.1"), Forward(("GET /p ",))),
    Case("absolute-no-path", req(line=b"GET http://h HTTP/1.1"), Forward(("GET / ",))),
    Case("absolute-query-no-path", req(line=b"GET http://h?q HTTP/1.1"), Forward(("GET /?q ",))),
    Case("absolute-differs", req(line=b"GET http://evil/p HTTP/1.1"), bad("target_and_host_differ")),
    Case("absolute-port-differs", req(line=b"GET http://h:81/p HTTP/1.1"), bad("target_and_host_differ")),
    Case("absolute-userinfo", req(line=b"GET http://h@evil/p HTTP/1.1"), bad("bad_target")),
    Case("absolute-other-scheme", req(line=b"GET ftp://h/p HTTP/1.1"), bad("bad_target")),
    Case("absolute-no-host", req(line=b"GET http:///p HTTP/1.1"), bad("bad_target")),
    Case("absolute-backslash", req(line=b"GET http://h\\evil/p HTTP/1.1"), bad("target_and_host_differ")),
)

_FIELDS: Final = (
    Case("field-folded", req(b"X: 1\r\n 2\r\n", line=GET), bad("folded_header")),
    Case("field-folded-tab", req(b"X: 1\r\n\t2\r\n", line=GET), bad("folded_header")),
    Case("field-folded-empty", req(b"X: 1\r\n \r\n", line=GET), bad("folded_header")),
    Case("field-first-folded", req(host=b" Host: h\r\n", line=GET), bad("folded_header")),
    Case("field-bare-lf", req(b"X: 1\nY: 2\r\n", line=GET), BARE),
    Case("field-bare-cr", req(b"X: 1\rY: 2\r\n", line=GET), BARE),
    Case("field-two-cr", req(b"X: 1\r\r\n", line=GET), BARE),
    Case("field-all-lf", b"GET / HTTP/1.1\nHost: h\n\n", BARE),
    Case("field-lf-end", b"GET / HTTP/1.1\r\nHost: h\r\n\n", BARE),
    Case("field-nul-in-value", req(b"X: a\0b\r\n", line=GET), bad("nul")),
    Case("field-nul-in-name", req(b"X\0: a\r\n", line=GET), bad("nul")),
    Case("field-lf-then-nul", req(b"X: 1\nY: \0\r\n", line=GET), BARE),
    Case("field-nul-then-lf", req(b"X: \0\nY: 1\r\n", line=GET), bad("nul")),
    Case("field-control", req(b"X: \x01\r\n", line=GET), BAD_HEADER),
    Case("field-del", req(b"X: \x7f\r\n", line=GET), BAD_HEADER),
    Case(
        "field-high-bytes-in-value",
        req(b"X-A: \xdf\r\n", line=GET),
        Forward(("GET / ",), has=("x-a: \xdf",)),
    ),
    Case("field-high-bytes-in-name", req(b"X-\xc3\xa9: 1\r\n", line=GET), BAD_HEADER),
    Case("field-no-colon", req(b"X\r\n", line=GET), BAD_HEADER),
    Case("field-no-name", req(b": 1\r\n", line=GET), BAD_HEADER),
    Case("field-name-space", req(b"X Y: 1\r\n", line=GET), BAD_HEADER),
    Case("field-name-brackets", req(b"X[0]: 1\r\n", line=GET), BAD_HEADER),
    Case("field-space-before-colon", req(b"X : 1\r\n", line=GET), bad("space_before_colon")),
    Case("field-empty-value", req(b"X-A:\r\n", line=GET), Forward(("GET / ",), has=("x-a:",))),
    Case("field-a-request", req(b"GET /smuggled HTTP/1.1\r\n", line=GET), BAD_HEADER),
    Case("head-large", req(b"X: " + b"a" * LIMIT + b"\r\n", line=GET), Refuse(431, "header_too_large")),
    Case("head-many-fields", req(b"X: 1\r\n" * 2000, line=GET), Refuse(431, "header_too_large")),
    Case(
        "head-large-target", req(line=b"GET /" + b"a" * LIMIT + b" HTTP/1.1"), Refuse(431, "header_too_large")
    ),
    Case("head-large-and-malformed", req(b"X: \0" + b"a" * LIMIT + b"\r\n", line=GET), bad("nul")),
    Case(
        "head-large-malformed-late",
        req(b"X: " + b"a" * LIMIT + b"\0\r\n", line=GET),
        Refuse(431, "header_too_large"),
    ),
    Case("head-no-end", b"GET /" + b"a" * (LIMIT + 10), Refuse(431, "header_too_large")),
)

_HOPS: Final = (
    Case(
        "hop-named-field",
        req(b"Connection: x-once\r\nX-Once: 1\r\n", line=GET),
        Forward(("GET / ",), lacks=("x-once", "connection")),
    ),
    Case(
        "hop-named-field-twice",
        req(b"Connection: a\r\nConnection: x-once\r\nX-Once: 1\r\n", line=GET),
        Forward(("GET / ",), lacks=("x-once",)),
    ),
    Case(
        "hop-x-forwarded-for",
        req(b"Connection: close, x-forwarded-for\r\nX-Forwarded-For: 1.1.1.1\r\n", line=GET),
        bad("bad_connection"),
    ),
    Case(
        "hop-x-forwarded-proto",
        req(b"Connection: X-Forwarded-Proto\r\nX-Forwarded-Proto: https\r\n", line=GET),
        bad("bad_connection"),
    ),
    Case("hop-forwarded", req(b"Connection: forwarded\r\n", line=GET), bad("bad_connection")),
    Case("hop-via", req(b"Connection: via\r\nVia: 1.1 a\r\n", line=GET), bad("bad_connection")),
    Case(
        "hop-authorization",
        req(b"Connection: authorization\r\nAuthorization: x\r\n", line=GET),
        bad("bad_connection"),
    ),
    Case("hop-cookie", req(b"Connection: cookie\r\nCookie: a=1\r\n", line=GET), bad("bad_connection")),
    Case(
        "hop-te", req(b"Connection: te\r\nTE: trailers\r\n", line=GET), Forward(("GET / ",), lacks=("te:",))
    ),
    Case(
        "hop-all",
        req(
            b"Keep-Alive: 3\r\nProxy-Connection: close\r\nTE: trailers\r\nTrailer: X\r\nUpgrade: x\r\n",
            line=GET,
        ),
        Forward(("GET / ",), lacks=("keep-alive", "proxy-connection", "te:", "trailer", "upgrade")),
    ),
    Case("hop-empty-options", req(b"Connection: ,, ,\r\n", line=GET), GOT),
    Case("hop-close", req(b"Connection: close\r\n", line=GET), Forward(("GET / ",), ends=True)),
    Case(
        "hop-own-headers",
        req(b"X-Headgate-Shadow: true\r\n", line=GET),
        Forward(("GET / ",), lacks=("x-headgate",)),
    ),
    Case(
        "upgrade-h2c",
        req(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", line=GET),
        Forward(("GET / ",), lacks=("upgrade", "http2-settings")),
    ),
    Case(
        "upgrade-websocket-declined",
        req(b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n", line=GET),
        Forward(("GET / ",), has=("connection: upgrade", "upgrade: websocket")),
    ),
    Case(
        "upgrade-websocket-with-body",
        req(b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + length(b"5"), b"hello", GET),
        Forward(("GET / hello",), lacks=("upgrade",)),
    ),
    Case(
        "upgrade-websocket-1.0",
        req(b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", line=b"GET / HTTP/1.0"),
        Forward(("GET / ",), lacks=("upgrade",)),
    ),
    Case(
        "upgrade-several",
        req(b"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n", line=GET),
        Forward(("GET / ",), lacks=("upgrade",)),
    ),
    Case(
        "upgrade-not-in-connection",
        req(b"Upgrade: websocket\r\n", line=GET),
        Forward(("GET / ",), lacks=("upgrade",)),
    ),
    Case(
        "expect-other", req(length(b"5") + b"Expect: cake\r\n", b"hello"), Refuse(417, "expectation_failed")
    ),
    Case(
        "expect-list",
        req(length(b"5") + b"Expect: 100-continue, cake\r\n", b"hello"),
        Refuse(417, "expectation_failed"),
    ),
    Case("expect-empty", req(length(b"5") + b"Expect:\r\n", b"hello"), Refuse(417, "expectation_failed")),
    Case("expect-no-body", req(b"Expect: 100-continue\r\n", line=GET), GOT),
    Case("expect-with-body-sent", req(length(b"5") + b"Expect: 100-Continue\r\n", b"hello"), HELLO),
    Case(
        "expect-in-1.0",
        req(
            b"Connection: keep-alive\r\nExpect: 100-continue\r\n" + length(b"5"),
            b"hello",
            b"POST /p HTTP/1.0",
        ),
        HELLO,
    ),
)

_SEVERAL: Final = (
    Case(
        "pipelined",
        req(length(b"5"), b"hello") + req(line=GET) + coded(FIVE),
        Forward(("POST /p hello", "GET / ", "POST /p hello")),
    ),
    Case("pipelined-head", req(line=b"HEAD / HTTP/1.1") + req(line=GET), Forward(("HEAD / ", "GET / "))),
    Case("pipelined-empty-lines", req(line=GET) + b"\r\n" + req(line=GET), Forward(("GET / ", "GET / "))),
    Case(
        "pipelined-bad-second",
        req(line=GET) + req(length(b"5") + CHUNKED, FIVE),
        bad("length_and_encoding", 1),
    ),
    Case(
        "pipelined-bad-third", req(line=GET) * 2 + req(b"X : 1\r\n", line=GET), bad("space_before_colon", 2)
    ),
    Case("pipelined-body-too-long", req(length(b"3"), b"hel}"), bad("bad_request_line", 1)),
    Case("pipelined-body-on-get", req(b"", b"{}", GET), bad("bad_request_line", 1)),
    Case("pipelined-after-chunks", coded(FIVE + b"}"), bad("bad_request_line", 1)),
    Case(
        "pipelined-after-close",
        req(b"Connection: close\r\n", line=GET) + SMUGGLED,
        Forward(("GET / ",), ends=True),
    ),
    Case("cut-nothing", b"", Forward(()), is_cut=True),
    Case("cut-empty-line", b"\r\n", Forward(()), is_cut=True),
    Case("cut-in-method", b"GE", CUT, is_cut=True),
    Case("cut-in-target", b"GET /", CUT, is_cut=True),
    Case("cut-after-line", b"GET / HTTP/1.1\r\n", CUT, is_cut=True),
    Case("cut-in-field", b"GET / HTTP/1.1\r\nHo", CUT, is_cut=True),
    Case("cut-before-end", b"GET / HTTP/1.1\r\nHost: h\r\n\r", CUT, is_cut=True),
    Case("cut-before-body", req(length(b"5")), CUT, is_cut=True),
    Case("cut-in-body", req(length(b"5"), b"hell"), CUT, is_cut=True),
    Case("cut-in-chunk-size", coded(b"5"), CUT, is_cut=True),
    Case("cut-in-chunk", coded(b"5\r\nhel"), CUT, is_cut=True),
    Case("cut-after-chunk", coded(b"5\r\nhello\r\n"), CUT, is_cut=True),
    Case("cut-in-last-chunk", coded(b"5\r\nhello\r\n0\r\n"), CUT, is_cut=True),
    Case("cut-in-trailer", coded(b"0\r\nX: 1\r\n"), CUT, is_cut=True),
    Case("cut-after-request", req(length(b"5"), b"hello"), HELLO, is_cut=True),
    Case("cut-in-second", req(line=GET) + b"GET /", bad("incomplete_request", 1), is_cut=True),
)

REQUESTS: Final = _LENGTHS + _CODINGS + _CHUNKS + _LINES + _HOSTS + _FIELDS + _HOPS + _SEVERAL


def ans(fields: bytes = b"", body: bytes = b"", line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return line + b"\r\n" + fields + b"\r\n" + body


OK5: Final = length(b"5")
HEAD: Final = b"X-Method: HEAD\r\n"
"""By which the test that reads it back knows that no body follows."""
EVIL: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

ANSWERS: Final = (
    Answer("cl", ans(OK5, b"hello"), 200, b"hello"),
    Answer("cl-zero", ans(length(b"0")), 200),
    Answer("chunked", ans(CHUNKED, FIVE), 200, b"hello"),
    Answer("chunked-extension", ans(CHUNKED, b"5 ;a=1\r\nhello\r\n0\r\n\r\n"), 200, b"hello"),
    Answer(
        "chunked-trailer", ans(CHUNKED, b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"), 200, b"hello", lacks=("x-t",)
    ),
    Answer("until-close", ans(b"", b"hello"), 200, b"hello", ends=True),
    Answer("until-close-empty", ans(), 200, ends=True),
    Answer("1.0-until-close", ans(b"", b"hello", b"HTTP/1.0 200 OK"), 200, b"hello", ends=True),
    Answer("1.0-cl", ans(OK5, b"hello", b"HTTP/1.0 200 OK"), 200, b"hello", ends=True),
    Answer("no-reason", ans(OK5, b"hello", b"HTTP/1.1 200"), 200, b"hello"),
    Answer("empty-reason", ans(OK5, b"hello", b"HTTP/1.1 200 "), 200, b"hello"),
    Answer("reason-high-bytes", ans(OK5, b"hello", b"HTTP/1.1 200 \xc3\xa9"), 200, b"hello"),
    Answer("cl-te", ans(OK5 + CHUNKED, FIVE)),
    Answer("te-cl", ans(CHUNKED + OK5, FIVE)),
    Answer("cl-twice-same", ans(OK5 * 2, b"hello")),
    Answer("cl-twice-different", ans(OK5 + length(b"3"), b"hello")),
    Answer("cl-list", ans(length(b"5, 5"), b"hello")),
    Answer("cl-minus", ans(length(b"-5"), b"hello")),
    Answer("cl-empty", ans(length(b""), b"hello")),
    Answer("cl-above-64-bits", ans(length(b"18446744073709551621"), b"hello")),
    Answer("te-gzip", ans(coding(b"gzip"), b"hello")),
    Answer("te-identity", ans(coding(b"identity"), b"hello")),
    Answer("te-gzip-chunked", ans(coding(b"gzip, chunked"), FIVE)),
    Answer("te-twice", ans(CHUNKED * 2, FIVE)),
    Answer("te-xchunked", ans(coding(b"xchunked"), FIVE)),
    Answer("te-in-1.0", ans(CHUNKED, FIVE, b"HTTP/1.0 200 OK")),
    Answer("te-space-before-colon", ans(b"Transfer-Encoding : chunked\r\n", FIVE)),
    Answer("folded", ans(b"X: 1\r\n 2\r\n" + OK5, b"hello")),
    Answer("space-before-colon", ans(b"X : 1\r\n" + OK5, b"hello")),
    Answer("bare-lf", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    Answer("bare-lf-in-field", ans(b"X: 1\nY: 2\r\n" + OK5, b"hello")),
    Answer("bare-cr-in-field", ans(b"X: 1\rY: 2\r\n" + OK5, b"hello")),
    Answer("nul-in-field", ans(b"X: \0\r\n" + OK5, b"hello")),
    Answer("control-in-field", ans(b"X: \x01\r\n" + OK5, b"hello")),
    Answer("no-colon", ans(b"X\r\n" + OK5, b"hello")),
    Answer("no-name", ans(b": 1\r\n" + OK5, b"hello")),
    Answer("empty-line-before", b"\r\n" + ans(OK5, b"hello")),
    Answer("space-before", b" " + ans(OK5, b"hello")),
    Answer("version-2", ans(OK5, b"hello", b"HTTP/2 200 OK")),
    Answer("version-0.9", b"hello", ends=True),
    Answer("version-1.2", ans(OK5, b"hello", b"HTTP/1.2 200 OK")),
    Answer("version-small", ans(OK5, b"hello", b"http/1.1 200 OK")),
    Answer("icy", ans(OK5, b"hello", b"ICY 200 OK")),
    Answer("two-spaces", ans(OK5, b"hello", b"HTTP/1.1  200 OK")),
    Answer("status-two-digits", ans(OK5, b"hello", b"HTTP/1.1 20 OK")),
    Answer("status-four-digits", ans(OK5, b"hello", b"HTTP/1.1 2000 OK")),
    Answer("status-word", ans(OK5, b"hello", b"HTTP/1.1 OK 200")),
    Answer("status-099", ans(OK5, b"hello", b"HTTP/1.1 099 X")),
    Answer("status-600", ans(OK5, b"hello", b"HTTP/1.1 600 X"), 600, b"hello"),
    Answer("reason-control", ans(OK5, b"hello", b"HTTP/1.1 200 \x1b[31m")),
    Answer("head-large", ans(b"X: " + b"a" * LIMIT + b"\r\n" + OK5, b"hello")),
    Answer("switching-unasked", ans(b"Connection: upgrade\r\nUpgrade: x\r\n", b"hello", b"HTTP/1.1 101 Go")),
    Answer(
        "interim",
        ans(line=b"HTTP/1.1 103 Early") + ans(line=b"HTTP/1.1 102 P") + ans(OK5, b"hello"),
        200,
        b"hello",
        interim=2,
    ),
    Answer(
        "interim-with-length",
        ans(OK5, line=b"HTTP/1.1 103 Early") + ans(OK5, b"hello"),
        200,
        b"hello",
        interim=1,
    ),
    Answer(
        "interim-continue-unasked",
        ans(line=b"HTTP/1.1 100 Continue") + ans(OK5, b"hello"),
        200,
        b"hello",
        interim=1,
    ),
    Answer("interim-flood", ans(line=b"HTTP/1.1 102 P") * 300 + ans(OK5, b"hello"), interim=256),
    Answer("interim-only", ans(line=b"HTTP/1.1 102 P"), interim=1, ends=True),
    Answer("204", ans(line=b"HTTP/1.1 204 No"), 204),
    Answer("204-with-length", ans(OK5, line=b"HTTP/1.1 204 No"), 204, lacks=("content-length",)),
    Answer("204-with-body", ans(OK5, b"hello", b"HTTP/1.1 204 No"), 204, lacks=("content-length",)),
    Answer("204-chunked", ans(CHUNKED, FIVE, b"HTTP/1.1 204 No"), 204, lacks=("transfer-encoding",)),
    Answer("304", ans(OK5, line=b"HTTP/1.1 304 Same"), 304),
    Answer("304-with-body", ans(OK5, b"hello", b"HTTP/1.1 304 Same"), 304, has_surplus=True),
    Answer("head", ans(HEAD + OK5), 200, method="HEAD"),
    Answer("head-chunked", ans(HEAD + CHUNKED), 200, method="HEAD"),
    Answer("head-with-body", ans(HEAD + OK5, b"hello"), 200, method="HEAD", has_surplus=True),
    Answer("surplus", ans(OK5, b"hello!"), 200, b"hello", has_surplus=True),
    Answer("surplus-answer", ans(OK5, b"hello") + EVIL, 200, b"hello", has_surplus=True),
    Answer("surplus-after-chunks", ans(CHUNKED, FIVE + b"X"), 200, b"hello", has_surplus=True),
    Answer("chunk-size-word", ans(CHUNKED, b"five\r\nhello\r\n0\r\n\r\n"), is_cut=True),
    Answer("chunk-size-space-after", ans(CHUNKED, b"5 \r\nhello\r\n0\r\n\r\n"), is_cut=True),
    Answer("chunk-size-0x", ans(CHUNKED, b"0x5\r\nhello\r\n0\r\n\r\n"), is_cut=True),
    Answer("chunk-size-minus", ans(CHUNKED, b"-5\r\nhello\r\n0\r\n\r\n"), is_cut=True),
    Answer("chunk-size-above-64-bits", ans(CHUNKED, b"10000000000000005\r\nhello\r\n0\r\n\r\n"), is_cut=True),
    Answer("chunk-size-bare-lf", ans(CHUNKED, b"5\nhello\r\n0\r\n\r\n"), is_cut=True),
    Answer("chunk-data-longer", ans(CHUNKED, b"5\r\nhello!\r\n0\r\n\r\n"), is_cut=True),
    Answer("chunk-data-bare-lf-after", ans(CHUNKED, b"5\r\nhello\n0\r\n\r\n"), is_cut=True),
    Answer("chunk-trailer-bad", ans(CHUNKED, b"0\r\nX : 1\r\n\r\n"), is_cut=True),
    Answer("cut-nothing", b"", ends=True),
    Answer("cut-in-line", b"HTTP/1.1 2", ends=True),
    Answer("cut-in-head", b"HTTP/1.1 200 OK\r\nContent-Le", ends=True),
    Answer("cut-in-body", ans(OK5, b"hel"), is_cut=True, ends=True),
    Answer("cut-before-body", ans(OK5), is_cut=True, ends=True),
    Answer("cut-in-chunk", ans(CHUNKED, b"5\r\nhe"), is_cut=True, ends=True),
    Answer("cut-before-last-chunk", ans(CHUNKED, b"5\r\nhello\r\n"), is_cut=True, ends=True),
    Answer("cut-in-trailer", ans(CHUNKED, b"5\r\nhello\r\n0\r\nX"), is_cut=True, ends=True),
    Answer(
        "hop-by-hop",
        ans(OK5 + b"Connection: x-once\r\nX-Once: 1\r\nKeep-Alive: 5\r\nTrailer: X\r\n", b"hello"),
        200,
        b"hello",
        lacks=("x-once", "keep-alive:", "trailer"),
    ),
    Answer(
        "own-headers",
        ans(OK5 + b"X-Headgate-Version: evil\r\nX-Request-Id: evil\r\n", b"hello"),
        200,
        b"hello",
        lacks=("evil",),
    ),
)
