"""The PROXY protocol, versions 1 and 2, as a receiver reads it: who the client of a proxy in front of us is.

HAProxy's specification of 2020-03-05, read strictly: who may send it is known by address, so a header that is not
exactly right comes from a sender that is set up wrongly, and nothing that follows is worth reading.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

BEGIN_BYTES: Final = 12
"""So many bytes tell the version; no header is shorter."""

V1_BYTES_MAX: Final = 107
"""The longest header of version 1, with its CRLF."""

V2_HEAD_BYTES: Final = 16
V2_BYTES_MAX: Final = 4096
"""The longest body of version 2 that is taken: addresses, and what proxies add to them."""

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"

_V1: Final = re.compile(rb"PROXY (TCP4|TCP6) ([0-9a-fA-F:.]+) ([0-9a-fA-F:.]+) ([0-9]{1,5}) ([0-9]{1,5})\r\n")
_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [ -~]*)?\r\n")
_PORT_MAX: Final = 65_535

_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_UNSPECIFIED: Final = 0x00
_ADDRESS_BYTES: Final = {0x11: 4, 0x21: 16}
"""TCP over IPv4 and IPv6: how long one address is; after both come two ports."""

_UNIX: Final = 0x31
_UNIX_BYTES: Final = 216
_CRC: Final = 0x03


class Malformed(ValueError):
    """It is no such header; the text says why, and nothing of what was sent."""


def begins_v1(begin: bytes) -> bool:
    """Whether the first `BEGIN_BYTES` bytes are of version 1; Malformed if they are of neither."""
    if begin == SIGNATURE:
        return False
    if begin.startswith(b"PROXY "):
        return True
    raise Malformed("the connection does not begin with a PROXY protocol header")


def read_v1(line: bytes) -> str | None:
    """The client's address in a whole line; None where the proxy does not say (UNKNOWN)."""
    if len(line) > V1_BYTES_MAX:
        raise Malformed(f"a header of version 1 has at most {V1_BYTES_MAX} bytes")
    if _UNKNOWN.fullmatch(line):
        return None
    found = _V1.fullmatch(line)
    if found is None:
        raise Malformed("the line is not PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT")
    family, source, destination, *ports = found.groups()
    for port in ports:
        if int(port) > _PORT_MAX or (port.startswith(b"0") and port != b"0"):
            raise Malformed("a port is not a number of 0 to 65535 without leading zeros")
    kind = IPv4Address if family == b"TCP4" else IPv6Address
    try:
        kind(destination.decode())
        return str(kind(source.decode()))
    except AddressValueError as error:
        raise Malformed(f"an address is not one of {family.decode()}") from error


def v2_length(head: bytes) -> int:
    """How many bytes follow the first `V2_HEAD_BYTES` of version 2; Malformed if they are more than are taken."""
    length = int.from_bytes(head[14:16], "big")
    if head[12] not in (_LOCAL, _PROXY):
        raise Malformed("neither version 2 nor one of its commands LOCAL and PROXY")
    if length > V2_BYTES_MAX:
        raise Malformed(f"a header of version 2 has at most {V2_BYTES_MAX} bytes here")
    return length


def read_v2(head: bytes, body: bytes) -> str | None:
    """The client's address; None for a connection of the proxy's own (LOCAL) or a client without an IP address."""
    command, family = head[12], head[13]
    if command == _LOCAL or family == _UNSPECIFIED:
        return None
    size = _addresses_bytes(family)
    if len(body) < size:
        raise Malformed("its length is too small for its addresses")
    _check_rest(head, body, size)
    if family not in _ADDRESS_BYTES:
        return None
    address = body[: _ADDRESS_BYTES[family]]
    return str(IPv4Address(address) if len(address) == 4 else IPv6Address(address))


def _addresses_bytes(family: int) -> int:
    if family == _UNIX:
        return _UNIX_BYTES
    if family not in _ADDRESS_BYTES:
        raise Malformed("the client's connection is not TCP over IPv4 or IPv6, and no Unix stream")
    return 2 * _ADDRESS_BYTES[family] + 4


def _check_rest(head: bytes, body: bytes, at: int) -> None:
    """After the addresses come fields of a type, a length and a value; one may be a checksum of the whole header."""
    while at < len(body):
        if len(body) - at < 3:
            raise Malformed("a field after the addresses is cut off")
        kind, length = body[at], int.from_bytes(body[at + 1 : at + 3], "big")
        at += 3
        if at + length > len(body):
            raise Malformed("a field after the addresses is longer than the header")
        if kind == _CRC:
            whole = head + body[:at] + bytes(length) + body[at + length :]
            if length != 4 or int.from_bytes(body[at : at + 4], "big") != crc32c(whole):
                raise Malformed("its checksum is wrong")
        at += length


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum (RFC 3720, appendix B.4), which version 2 may have."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def _table_entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE: Final = tuple(map(_table_entry, range(256)))
