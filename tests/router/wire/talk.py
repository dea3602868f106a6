"""Raw bytes to a proxy and back, and a model server that records what it was sent; read by code of their own.

Each conversation comes from a loopback address of its own: it reaches the model server in `X-Forwarded-For`, so that
also what a malformed message became can be told from what hundreds of others beside it became.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, cast

from tests.router.wire.corpus import ANSWERS

PATIENCE_S: Final = 30.0
BETWEEN_S: Final = 0.002
"""Between two pieces, so that they come as two; if the machine joins them, another chunking is tried twice."""

_sources = itertools.count()
_raw_answers = {answer.name: answer for answer in ANSWERS}


def source() -> str:
    """A loopback address that nobody used before."""
    index = next(_sources)
    return f"127.{10 + index // 62_500}.{index // 250 % 250}.{1 + index % 250}"


def pieces(data: bytes, size: int) -> list[bytes]:
    """`data` in pieces of `size` bytes."""
    return [data[at : at + size] for at in range(0, len(data), size)] or [b""]


@dataclass(slots=True)
class Seen:
    """A request as the model server read it."""

    head: str
    body: bytes

    def __str__(self) -> str:
        method, target, _ = self.head.split(" ", 2)
        return f"{method} {target} {self.body.decode('latin-1')}"


class Recorder:
    """A model server: answers 200, or `/answer/NAME?size=N` with that raw answer in pieces of N bytes."""

    def __init__(self) -> None:
        self.seen: defaultdict[str, list[Seen]] = defaultdict(list)
        self.unreadable: list[bytes] = []
        self.spoiled: set[asyncio.StreamWriter] = set()
        """Connections on which something followed an answer's end, and which nobody has closed yet."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> "Recorder":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast(asyncio.Task[None], asyncio.current_task())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while await self._one(reader, writer):
                pass
            writer.write_eof()
            await reader.read()
        except (
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            ConnectionError,
            asyncio.CancelledError,
        ):
            pass
        finally:
            self.spoiled.discard(writer)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        text = head.decode("latin-1")
        fields = _fields(text)
        try:
            body = await _body(reader, fields)
        except ValueError:
            self.unreadable.append(head)
            return False
        seen = Seen(text.lower() if text.startswith("\r") else _lower_fields(text), body)
        self.seen[fields.get("x-forwarded-for", "?").split(", ")[-1]].append(seen)
        name, _, size = text.split(" ", 2)[1].removeprefix("/answer/").partition("?size=")
        if name in _raw_answers and size:
            return await self._raw(writer, name, int(size))
        content = b"" if text.startswith("HEAD ") else b"seen"
        writer.write(
            b"HTTP/1.1 200 OK\r\nX-Method: %b\r\nContent-Length: 4\r\n\r\n%b"
            % (text.split(" ")[0].encode(), content)
        )
        return True

    async def _raw(self, writer: asyncio.StreamWriter, name: str, size: int) -> bool:
        answer = _raw_answers[name]
        if answer.has_surplus:
            self.spoiled.add(writer)
        first, rest = (answer.raw[:size], answer.raw[size:]) if size < 10_000 else (answer.raw, b"")
        each = [first, *(pieces(rest, 1) if size == 1 else pieces(rest, 1000))] if rest else [first]
        for index, piece in enumerate(each):
            if index:
                await asyncio.sleep(BETWEEN_S if size > 1 else 0)
            writer.write(piece)
        await writer.drain()
        return not answer.ends


def _fields(head: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in head.split("\r\n")[1:-2]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _lower_fields(head: str) -> str:
    first, _, rest = head.partition("\r\n")
    return f"{first}\r\n{rest.lower()}"


async def _body(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    if "transfer-encoding" not in fields:
        return await reader.readexactly(int(fields.get("content-length", "0")))
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size + 2)
        body = body[:-2]
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return body


class Talk(asyncio.Protocol):
    """All that comes on one connection; `is_reset` if it broke instead of ending."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.is_reset = False
        self.ended = asyncio.get_running_loop().create_future()
        self.has_more = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.has_more.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_reset = error is not None
        if not self.ended.done():
            self.ended.set_result(None)
        self.has_more.set()


@dataclass(slots=True)
class Heard:
    """What came back. `is_open`: the other side had not closed when patience ended."""

    answers: list["Said"] = field(default_factory=list)
    is_reset: bool = False
    is_open: bool = False
    rest: bytes = b""


@dataclass(slots=True)
class Said:
    """One answer."""

    status: int
    head: str
    body: bytes
    is_whole: bool = True


async def converse(
    port: int, parts: Iterable[bytes], address: str, *, is_cut: bool, patience_s: float = PATIENCE_S
) -> Heard:
    """Send the parts, one after another, then (`is_cut`) the end of our side; hear until the other side closes."""
    loop = asyncio.get_running_loop()
    transport, talk = await loop.create_connection(Talk, "127.0.0.1", port, local_addr=(address, 0))
    heard = Heard()
    try:
        parts = list(parts)
        for index, part in enumerate(parts):
            if index:
                await asyncio.sleep(BETWEEN_S if len(parts) <= 20 else 0)
            if transport.is_closing():
                break
            transport.write(part)
        if is_cut and not transport.is_closing():
            transport.write_eof()
        await asyncio.wait({talk.ended}, timeout=patience_s)
        heard.is_open = not talk.ended.done()
    finally:
        transport.abort()
    heard.is_reset = talk.is_reset
    heard.answers, heard.rest = read_answers(bytes(talk.received))
    return heard


def read_answers(data: bytes) -> tuple[list[Said], bytes]:
    """The answers in `data`, interim ones too, and what is left that is none."""
    found: list[Said] = []
    while (end := data.find(b"\r\n\r\n")) >= 0 and data.startswith(b"HTTP/1."):
        head, data = data[: end + 4].decode("latin-1"), data[end + 4 :]
        status, fields = int(head[9:12]), _fields(head)
        body, is_whole = b"", True
        if status < 200 or status in (204, 304) or fields.get("x-method") == "HEAD":
            pass
        elif "transfer-encoding" in fields:
            body, data, is_whole = _chunks(data)
        elif "content-length" in fields:
            size = int(fields["content-length"])
            body, data, is_whole = data[:size], data[size:], len(data) >= size
        else:
            body, data = data, b""
        found.append(Said(status, head, body, is_whole))
    return found, data


def _chunks(data: bytes) -> tuple[bytes, bytes, bool]:
    body = b""
    while (end := data.find(b"\r\n")) >= 0:
        size = int(data[:end], 16)
        piece, data = data[end + 2 : end + 2 + size], data[end + 2 + size :]
        body += piece
        if not data.startswith(b"\r\n"):
            return body, data, False
        data = data[2:]
        if not size:
            return body, data, True
    return body, data, False
