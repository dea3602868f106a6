"""As much of HTTP/1.1 as the Kubernetes API speaks, over asyncio's streams.

Not the router's own framing: a proxy that tests the product must not share its mistakes. It is as lenient as its two
ends are honest; bodies are bounded.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

BODY_BYTES_MAX: Final = 256 * 1024 * 1024
HEAD_BYTES_MAX: Final = 256 * 1024
PIECE: Final = 64 * 1024
NOT_FORWARDED: Final = frozenset(
    ("connection", "keep-alive", "transfer-encoding", "content-length", "accept-encoding", "expect")
)
"""Of one connection, or ours to write; without accept-encoding no body is compressed, and events can be read."""


class Broken(Exception):
    """The other end closed in the middle of a message, or sent what is no HTTP."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the fields of a message; field names in lower case."""

    first: str
    fields: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        return next((value for field, value in self.fields if field == name), "")

    def forwarded(self, *more: tuple[str, str]) -> bytes:
        """As bytes for the next hop, with these fields in place of the connection's own."""
        kept = [field for field in self.fields if field[0] not in NOT_FORWARDED]
        return head_bytes(self.first, *kept, *more)


def head_bytes(first: str, *fields: tuple[str, str]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def read_head(stream: asyncio.StreamReader) -> Head | None:
    """The next message's head, or None when the other end has closed between messages."""
    try:
        block = await stream.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as exc:
        if exc.partial:
            raise Broken("closed within a head") from exc
        return None
    except asyncio.LimitOverrunError as exc:
        raise Broken(f"a head over {HEAD_BYTES_MAX} bytes") from exc
    first, *lines = block.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Head(first, tuple((name.lower(), value.strip()) for name, _, value in pairs))


async def pieces(stream: asyncio.StreamReader, head: Head, *, to_close: bool) -> AsyncIterator[bytes]:
    """The body piece by piece, as it comes; `to_close`: without a length it ends with the connection."""
    try:
        if head.get("transfer-encoding").lower() == "chunked":
            while size := int((await stream.readuntil(b"\r\n")).split(b";")[0], 16):
                yield await stream.readexactly(size)
                await stream.readexactly(2)
            await stream.readuntil(b"\r\n")
        elif head.get("content-length"):
            left = int(head.get("content-length"))
            while left:
                piece = await stream.read(min(left, PIECE))
                if not piece:
                    raise Broken("closed within a body")
                left -= len(piece)
                yield piece
        elif to_close:
            while piece := await stream.read(PIECE):
                yield piece
    except (asyncio.IncompleteReadError, ValueError) as exc:
        raise Broken("closed within a body, or no chunk") from exc


async def whole(stream: asyncio.StreamReader, head: Head, *, to_close: bool) -> bytes:
    """The body in one piece, of at most 256 MiB."""
    body = bytearray()
    async for piece in pieces(stream, head, to_close=to_close):
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise Broken(f"a body over {BODY_BYTES_MAX} bytes")
    return bytes(body)


async def lines(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, cut after each newline; the last line may have none."""
    rest = b""
    async for part in parts:
        *full, rest = (rest + part).split(b"\n")
        for line in full:
            yield line + b"\n"
    if rest:
        yield rest


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)
