"""Real HTTP servers that stand where shadows stand: sound ones and bad ones, each on a port the kernel chose."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

from headgate.wire.plan import (
    Capture,
    Comparison,
    Endpoint,
    PlanVersion,
    RoutePlan,
    Shadow,
    SlotRange,
)
from router.core.channel import Assignment, Copy

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def v2_answer(label: int, scores: list[float] | None = None) -> bytes:
    outputs = [{"name": "label", "datatype": "INT64", "shape": [1], "data": [label]}]
    if scores is not None:
        outputs.append({"name": "scores", "datatype": "FP64", "shape": [1, len(scores)], "data": scores})
    return json.dumps({"model_name": "digits", "id": "x", "outputs": outputs}).encode()


async def read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes] | None:
    """Start line, headers (lower case) and body of one request; None at the end of the connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return lines[0], headers, body


def response(body: bytes, status: int = 200, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


class Sound:
    """Answers every request with `answer(body)`, keeps connections, and remembers what it was sent."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.answer = answer
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.at_once = 0
        self.at_once_max = 0
        self.delay_s = 0.0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            request = await read_request(reader)
            self.seen.append(request)
            self.at_once += 1
            self.at_once_max = max(self.at_once_max, self.at_once)
            await asyncio.sleep(self.delay_s)
            self.at_once -= 1
            writer.write(response(self.answer(request[2])))


async def hanging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await asyncio.sleep(3600)


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.transport.abort()


async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"\x00\x01 I am no HTTP server \r\n\r\n" * 10)
    await asyncio.sleep(3600)


async def cut_short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
    writer.close()


async def endless_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not writer.is_closing():
        writer.write(b"x-more: " + b"a" * 8000 + b"\r\n")
        await asyncio.sleep(0)
        await writer.drain()


def huge(total: int, announced: bool) -> Handler:
    """Answers `total` bytes of JSON, with a Content-Length or in chunks."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        piece = b"1," * 32768
        if announced:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(total // len(piece)):
            writer.write(piece if announced else b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()

    return serve


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None):
    """The endpoint at which `handler` serves."""
    tasks: set[asyncio.Task[None]] = set()

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the end of the connection, or of the test
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(quiet, "127.0.0.1", 0, ssl=tls)
    try:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1], tls=tls is not None)
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def plan_for(
    *endpoints: Endpoint,
    generation: int = 1,
    epoch: int = 1,
    comparison: Comparison | None = None,
    capture: Capture | None = None,
    **shadow: int,
) -> Assignment:
    """v1 is live, v2 its shadow at these endpoints."""
    plan = RoutePlan(
        rollout="ml/digits",
        epoch=epoch,
        generation=generation,
        salt="s",
        stable="v1",
        versions=(
            PlanVersion("v1", "id-v1", "stable", (Endpoint("127.0.0.1", 9),)),
            PlanVersion("v2", "id-v2", "candidate", endpoints),
        ),
        slots=(SlotRange(0, 10_000, "v1"),),
        shadows=(Shadow("v2", 1_000_000, **shadow),),
        comparison=comparison or Comparison(task="classification", label="label", scores="scores"),
        capture=capture or Capture(keep_agreements=1_000_000),
    )
    return Assignment(plan, {"id-v1": 0, "id-v2": 1})


def copy_of(
    number: int = 1,
    answer: bytes | None = None,
    body: bytes = b'{"inputs": []}',
    generation: int = 1,
    status: int = 200,
    target: bytes = b"/v2/models/digits/infer",
    method: bytes = b"POST",
    head: bytes = b"Content-Type: application/json\r\nHost: live:1\r\nAuthorization: Bearer secret\r\nCookie: sid=1",
    cut: str = "",
) -> Copy:
    return Copy(
        generation=generation,
        live="v1",
        live_identity="id-v1",
        shadows=("v2",),
        request_id=f"request-{number}",
        at=1_700_000_000.0 + number,
        method=method,
        target=target,
        request_head=head,
        request_body=body,
        status=status,
        latency_s=0.004,
        answer_head=b"content-type: application/json",
        answer_body=v2_answer(4, [0.1, 0.9]) if answer is None else answer,
        cut=cut,
    )


async def until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Wait until the condition holds; TimeoutError otherwise."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)
