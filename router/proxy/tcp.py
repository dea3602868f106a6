"""What the kernel knows of a connection and no read or write tells: Linux's TCP_INFO (linux/tcp.h, since 4.1)."""

import asyncio
import socket
import struct
from typing import Final

_BYTES_ACKED: Final = struct.Struct("=Q")
_BYTES_ACKED_AT: Final = 120
_INFO_BYTES: Final = _BYTES_ACKED_AT + _BYTES_ACKED.size
_CLOSED: Final = 7
"""TCP_CLOSE of `tcpi_state`, the first byte."""

_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)


def bytes_acked(transport: asyncio.Transport) -> int | None:
    """Bytes that the other side's kernel has acknowledged so far; None where that cannot be told."""
    info = _info(transport)
    return int(_BYTES_ACKED.unpack_from(info, _BYTES_ACKED_AT)[0]) if info else None


def is_reset(transport: asyncio.Transport) -> bool:
    """Whether the other side has reset the connection; False where that cannot be told."""
    info = _info(transport)
    return bool(info) and info[0] == _CLOSED


def reset_at_close(transport: asyncio.Transport) -> None:
    """Make the coming close a reset, which nobody can take for the end of an answer."""
    opened = transport.get_extra_info("socket")
    if opened is not None and not transport.is_closing():
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)


def _info(transport: asyncio.Transport) -> bytes:
    opened = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_INFO", None)
    if opened is None or option is None or opened.family not in (socket.AF_INET, socket.AF_INET6):
        return b""
    try:
        info: bytes = opened.getsockopt(socket.IPPROTO_TCP, option, _INFO_BYTES)
    except OSError:
        return b""
    return info if len(info) == _INFO_BYTES else b""
