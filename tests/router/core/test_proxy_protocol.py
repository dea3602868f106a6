"""PROXY protocol headers: each either says exactly who the client is, or is refused."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.proxy_protocol import (
    SIGNATURE,
    V1_BYTES_MAX,
    V2_BYTES_MAX,
    Malformed,
    begins_v1,
    crc32c,
    read_v1,
    read_v2,
    v2_length,
)


def v2(command: int, family: int, body: bytes, length: int | None = None) -> tuple[bytes, bytes]:
    size = len(body) if length is None else length
    return SIGNATURE + bytes([command, family]) + size.to_bytes(2, "big"), body


def whole(head: bytes, body: bytes) -> str | None:
    assert not begins_v1(head[:12])
    assert v2_length(head) == len(body)
    return read_v2(head, body)


def field(kind: int, value: bytes, length: int | None = None) -> bytes:
    return bytes([kind]) + (len(value) if length is None else length).to_bytes(2, "big") + value


V4 = bytes([192, 0, 2, 7]) + bytes([192, 0, 2, 1]) + (4711).to_bytes(2, "big") + (443).to_bytes(2, "big")
V6 = (
    IPv6Address("2001:db8::7").packed
    + IPv6Address("2001:db8::1").packed
    + (4711).to_bytes(2, "big")
    + (443).to_bytes(2, "big")
)

GOOD_V1 = [
    (b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n", "192.0.2.7"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP4 192.0.2.7 192.0.2.1 0 0\r\n", "192.0.2.7"),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", "2001:db8::7"),
    (b"PROXY TCP6 2001:DB8:0:0::7 ::1 4711 443\r\n", "2001:db8::7"),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 443\r\n", "::ffff:c000:207"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
]


@pytest.mark.parametrize(("line", "client"), GOOD_V1)
def test_a_line_of_version_1_names_the_client(line: bytes, client: str | None):
    assert begins_v1(line[:12])
    assert read_v1(line) == client


BAD_V1 = {
    "no CRLF": b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\n",
    "no CR": b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443",
    "small letters": b"PROXY tcp4 192.0.2.7 192.0.2.1 4711 443\r\n",
    "another family": b"PROXY UDP4 192.0.2.7 192.0.2.1 4711 443\r\n",
    "two spaces": b"PROXY TCP4  192.0.2.7 192.0.2.1 4711 443\r\n",
    "a tab": b"PROXY\tTCP4 192.0.2.7 192.0.2.1 4711 443\r\n",
    "a trailing space": b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443 \r\n",
    "a word too many": b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443 x\r\n",
    "a port missing": b"PROXY TCP4 192.0.2.7 192.0.2.1 4711\r\n",
    "a port too large": b"PROXY TCP4 192.0.2.7 192.0.2.1 65536 443\r\n",
    "a port with a leading zero": b"PROXY TCP4 192.0.2.7 192.0.2.1 04711 443\r\n",
    "a port with a sign": b"PROXY TCP4 192.0.2.7 192.0.2.1 +1 443\r\n",
    "a port of other digits": "PROXY TCP4 192.0.2.7 192.0.2.1 ٣ 443\r\n".encode(),
    "an address with a leading zero": b"PROXY TCP4 192.0.02.7 192.0.2.1 4711 443\r\n",
    "an address of three parts": b"PROXY TCP4 192.0.2 192.0.2.1 4711 443\r\n",
    "an address as a number": b"PROXY TCP4 3221225991 192.0.2.1 4711 443\r\n",
    "IPv6 as TCP4": b"PROXY TCP4 2001:db8::7 192.0.2.1 4711 443\r\n",
    "IPv4 as TCP6": b"PROXY TCP6 192.0.2.7 2001:db8::1 4711 443\r\n",
    "a bad destination": b"PROXY TCP4 192.0.2.7 192.0.2.256 4711 443\r\n",
    "a name": b"PROXY TCP4 client.test 192.0.2.1 4711 443\r\n",
    "a zone": b"PROXY TCP6 fe80::1%eth0 2001:db8::1 4711 443\r\n",
    "brackets": b"PROXY TCP6 [2001:db8::7] 2001:db8::1 4711 443\r\n",
    "a NUL": b"PROXY UNKNOWN \0\r\n",
    "a CR within": b"PROXY UNKNOWN \r \r\n",
    "UNKNOWN without its space": b"PROXY UNKNOWNx\r\n",
    "too long": b"PROXY UNKNOWN " + b"x" * V1_BYTES_MAX + b"\r\n",
    "nothing": b"PROXY \r\n",
}


@pytest.mark.parametrize("line", BAD_V1.values(), ids=BAD_V1)
def test_any_other_line_is_refused(line: bytes):
    with pytest.raises(Malformed):
        read_v1(line)


@pytest.mark.parametrize(
    "begin",
    [
        b"GET / HTTP/1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00",
        b"proxy TCP4 1",
        b"PROXYTCP4 1.",
        SIGNATURE[:-1] + b"\r",
        b" PROXY TCP4 ",
    ],
)
def test_what_begins_in_another_way_is_refused(begin: bytes):
    with pytest.raises(Malformed):
        begins_v1(begin)


def with_checksum(command: int, family: int, body: bytes) -> tuple[bytes, bytes]:
    head, blank = v2(command, family, body + field(3, bytes(4)))
    return head, body + field(3, crc32c(head + blank).to_bytes(4, "big"))


GOOD_V2 = {
    "TCP4": (v2(0x21, 0x11, V4), "192.0.2.7"),
    "TCP6": (v2(0x21, 0x21, V6), "2001:db8::7"),
    "with fields": (v2(0x21, 0x11, V4 + field(0xEA, b"vpce-1") + field(4, b"")), "192.0.2.7"),
    "with its checksum": (with_checksum(0x21, 0x11, V4), "192.0.2.7"),
    "local": (v2(0x20, 0x00, b""), None),
    "local, with an address that does not count": (v2(0x20, 0x11, V4), None),
    "unspecified": (v2(0x21, 0x00, b"anything"), None),
    "from a Unix socket": (v2(0x21, 0x31, bytes(216)), None),
    "as long as may be": (v2(0x21, 0x11, V4 + field(4, bytes(V2_BYTES_MAX - 15))), "192.0.2.7"),
}


@pytest.mark.parametrize(("header", "client"), GOOD_V2.values(), ids=GOOD_V2)
def test_a_header_of_version_2_names_the_client(header: tuple[bytes, bytes], client: str | None):
    assert whole(*header) == client


BAD_V2 = {
    "version 1 inside": v2(0x11, 0x11, V4),
    "version 3": v2(0x31, 0x11, V4),
    "another command": v2(0x22, 0x11, V4),
    "UDP": v2(0x21, 0x12, V4),
    "UDP over IPv6": v2(0x21, 0x22, V6),
    "Unix datagrams": v2(0x21, 0x32, bytes(216)),
    "another family": v2(0x21, 0x41, V4),
    "addresses cut off": v2(0x21, 0x11, V4[:-1]),
    "IPv4 as IPv6": v2(0x21, 0x21, V4),
    "a Unix path cut off": v2(0x21, 0x31, bytes(215)),
    "a field cut off": v2(0x21, 0x11, V4 + b"\x04\x00"),
    "a field longer than the header": v2(0x21, 0x11, V4 + field(4, b"ab", 3)),
    "a wrong checksum": v2(0x21, 0x11, V4 + field(3, b"\0\0\0\1")),
    "a short checksum": v2(0x21, 0x11, V4 + field(3, b"\0\0")),
    "longer than may be": v2(0x21, 0x11, V4 + field(4, bytes(V2_BYTES_MAX - 14))),
}


@pytest.mark.parametrize(("head", "body"), BAD_V2.values(), ids=BAD_V2)
def test_any_other_header_of_version_2_is_refused(head: bytes, body: bytes):
    with pytest.raises(Malformed):
        whole(head, body)


def test_the_checksum_is_castagnolis():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 65_535), st.integers(0, 65_535))
def test_both_versions_say_the_same_of_any_client(source, destination, port: int, other: int):
    destination = type(source)(int(destination) % 2**source.max_prefixlen)
    family = b"TCP4" if isinstance(source, IPv4Address) else b"TCP6"
    line = b"PROXY %b %b %b %d %d\r\n" % (
        family,
        str(source).encode(),
        str(destination).encode(),
        port,
        other,
    )
    body = source.packed + destination.packed + port.to_bytes(2, "big") + other.to_bytes(2, "big")
    assert read_v1(line) == str(source)
    assert whole(*v2(0x21, 0x11 if source.version == 4 else 0x21, body)) == str(source)


@given(st.binary(max_size=300), st.integers(0, 255), st.integers(0, 255))
def test_no_bytes_make_it_fail_in_another_way(body: bytes, command: int, family: int):
    for attempt in (
        lambda: whole(*v2(command, family, body)),
        lambda: read_v1(body),
        lambda: begins_v1(body),
    ):
        try:
            attempt()
        except Malformed:
            continue
