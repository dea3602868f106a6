"""A real worker process between raw clients and real model servers, and an agent's end of its socket. All on loopback."""

import asyncio
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from headgate.wire.plan import Endpoint, PlanVersion, RoutePlan, SlotRange
from headgate.wire.telemetry import VersionCounters
from router.core import counters as c
from router.core.channel import RUN_FILES, Assignment, Frames, Hello, Report, frame

PATIENCE_S = 60.0
"""Long enough for any machine; a test that waits this long has failed."""


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run an asynchronous test, never for ever."""
    asyncio.run(asyncio.wait_for(test, 110))


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until the condition holds."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"never happened: {what}")
        await asyncio.sleep(0.01)


# -- messages ------------------------------------------------------------------------------------------------------


@dataclass
class Message:
    """A request or an answer as one side saw it, read by other code than the router's."""

    first: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    interim: list[str] = field(default_factory=list)
    reader: asyncio.StreamReader | None = None

    def __getitem__(self, name: str) -> str:
        (value,) = [value for key, value in self.fields if key.lower() == name]
        return value

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key.lower() == name), None)

    @property
    def status(self) -> int:
        return int(self.first.split(" ")[1])

    @property
    def path(self) -> str:
        return self.first.split(" ")[1]

    @property
    def error(self) -> str:
        return str(msgspec.json.decode(self.body)["error"]["cause"])


async def read_head(reader: asyncio.StreamReader) -> Message:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    return Message(lines[0], [(n, v.strip()) for n, _, v in (line.partition(":") for line in lines[1:])])


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
    piece = await reader.readexactly(size)
    assert await reader.readexactly(2) == b"\r\n"
    return piece


async def read_body(reader: asyncio.StreamReader, message: Message, *, to_end: bool) -> None:
    if message.get("transfer-encoding") == "chunked":
        while piece := await read_chunk(reader):
            message.chunks.append(piece)
        message.body = b"".join(message.chunks)
    elif message.get("content-length") is not None:
        message.body = await reader.readexactly(int(message["content-length"]))
    elif to_end:
        message.body = await reader.read()


# -- model servers -------------------------------------------------------------------------------------------------

Behaviour = Callable[[Message, asyncio.StreamWriter], Awaitable[bool | None]]
"""Answers one request; False closes the connection after it."""


async def echo(request: Message, writer: asyncio.StreamWriter) -> None:
    """The body comes back, with the method and path as headers."""
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Path: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (request.path.encode(), len(request.body), request.body)
    )


async def hang(request: Message, writer: asyncio.StreamWriter) -> bool:
    """Never answers."""
    while request.reader is not None and not request.reader.at_eof():
        await asyncio.sleep(0.01)
    return False


class Model:
    """A model server that remembers what it saw; `behave` is what it does."""

    def __init__(self, name: str = "model", behave: Behaviour = echo) -> None:
        self.name = name
        self.behave = behave
        self.seen: list[Message] = []
        self.connections = 0
        self.open = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> "Model":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=4 * 1024 * 1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        try:
            await self._converse(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_head(reader)
            if request.get("expect"):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await read_body(reader, request, to_end=False)
            self.seen.append(request)
            request.reader = reader
            if await self.behave(request, writer) is False:
                return
            await writer.drain()


# -- the worker ----------------------------------------------------------------------------------------------------


def slots(**weights: int) -> tuple[SlotRange, ...]:
    """Slots for these weights, which sum to 10,000."""
    found, start = [], 0
    for name, weight in weights.items():
        if weight:
            found.append(SlotRange(start, start + weight, name))
            start += weight
    return tuple(found)


def version(name: str, *models: Model, **more: Any) -> PlanVersion:
    """A version with these servers as endpoints; v1 is stable."""
    role = "stable" if name == "v1" else "candidate"
    settings = {"identity": f"id-{name}", "role": role, "endpoints": tuple(one.endpoint for one in models)}
    return PlanVersion(name=name, **(settings | more))


def plan_of(*versions: PlanVersion, weights: dict[str, int] | None = None, **more: Any) -> RoutePlan:
    """A plan in which the first version is stable and has everything, unless weights say otherwise."""
    settings: dict[str, Any] = {
        "rollout": "ml/fraud",
        "epoch": 1,
        "generation": 1,
        "salt": "pepper",
        "stable": versions[0].name,
        "versions": versions,
        "slots": slots(**(weights or {versions[0].name: 10_000})),
    }
    return RoutePlan(**(settings | more))


class Agent:
    """The agent's end of its socket: hands out assignments, collects reports."""

    def __init__(self) -> None:
        self.hellos: list[Hello] = []
        self.reports: list[Report] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._current: Assignment | None = None
        self._server: asyncio.Server | None = None

    async def start(self, path: Path) -> "Agent":
        self._server = await asyncio.start_unix_server(self._serve, path)
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()

    def assign(self, assignment: Assignment) -> None:
        self._current = assignment
        for writer in self._writers:
            writer.write(frame(assignment))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames(Hello | Report)
        self._writers.add(writer)
        try:
            while data := await reader.read(65536):
                for message in frames.feed(data):
                    self._take(message, writer)
        except (ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.close()

    def _take(self, message: object, writer: asyncio.StreamWriter) -> None:
        if isinstance(message, Hello):
            self.hellos.append(message)
            if self._current is not None:
                writer.write(frame(self._current))
        elif isinstance(message, Report):
            self.reports.append(message)


class Router:
    """Workers of one run directory on one listening socket, as the supervisor would start them.

    `words` are more of a worker's command line; a `socket_path` makes it a Unix socket.
    """

    def __init__(
        self, run: Path, workers: int = 1, words: Sequence[str] = (), socket_path: Path | None = None
    ) -> None:
        self.run = run
        self.words = words
        self.columns: dict[str, int] = {}
        (run / RUN_FILES.counters).write_bytes(bytes(c.layout(workers)))
        with (run / RUN_FILES.counters).open("r+b") as file:
            self.counters = memoryview(mmap.mmap(file.fileno(), 0))
        self.listening = socket.socket(socket.AF_UNIX if socket_path else socket.AF_INET)
        self.listening.bind(str(socket_path) if socket_path else ("127.0.0.1", 0))
        self.listening.listen(1024)
        self.port = 0 if socket_path else self.listening.getsockname()[1]
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.log = (run / "log").open("ab")

    def assignment(self, plan: RoutePlan) -> Assignment:
        for one in plan.versions:
            self.columns.setdefault(one.identity, len(self.columns))
        return Assignment(plan, dict(self.columns))

    def store(self, plan: RoutePlan) -> None:
        """Leave a plan on disk, as the agent does."""
        (self.run / RUN_FILES.plan).write_bytes(msgspec.msgpack.encode(self.assignment(plan)))

    def start(self, index: int = 0) -> subprocess.Popen[bytes]:
        descriptor = self.listening.fileno()
        command = [sys.executable, "-m", "router.proxy", "--run", str(self.run)]
        self.processes[index] = subprocess.Popen(
            [*command, "--index", str(index), "--fd", str(descriptor), *self.words],
            pass_fds=[descriptor],
            stderr=self.log,
        )
        return self.processes[index]

    async def ready(self, index: int = 0) -> None:
        process = self.processes[index]
        await until(
            lambda: self.worker(index).pid == process.pid and self.worker(index).state == c.SERVING,
            "the worker serves",
        )

    def worker(self, index: int = 0) -> c.WorkerState:
        return c.read_workers(self.counters)[index]

    async def settled(self) -> None:
        """Wait until every worker has counted what it has answered."""
        before = {index: self.worker(index).heartbeat_ms for index in self.processes}
        await until(
            lambda: all(self.worker(index).heartbeat_ms > at for index, at in before.items()), "a heartbeat"
        )

    def counted(self, name: str, identity: str | None = None) -> VersionCounters:
        identity = identity or f"id-{name}"
        return c.read_version(self.counters, self.columns[identity], version=name, identity=identity)

    def causes(self) -> dict[str, int]:
        """What workers answered or closed by themselves, by why; no zeroes."""
        return {cause: count for cause, count in c.read_causes(self.counters).items() if count}

    def dropped(self, live: str, shadow: str) -> dict[str, int]:
        pairs = [(self.columns[f"id-{name}"], f"id-{name}") for name in (live, shadow)]
        return c.read_dropped(self.counters, live=pairs[0], shadow=pairs[1])

    def memory_bytes(self, index: int = 0) -> int:
        statm = Path(f"/proc/{self.processes[index].pid}/statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def wait(self, index: int = 0) -> int:
        process = self.processes[index]
        await until(lambda: process.poll() is not None, "the worker ends")
        return int(process.returncode)

    def stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        self.listening.close()
        self.log.close()

    def log_text(self) -> str:
        return (self.run / "log").read_text()


@asynccontextmanager
async def serving(
    run: Path,
    plan: RoutePlan | None,
    workers: int = 1,
    words: Sequence[str] = (),
    socket_path: Path | None = None,
) -> AsyncIterator[Router]:
    """Workers that serve this plan from disk, or none."""
    router = Router(run, workers, words, socket_path)
    try:
        if plan is not None:
            router.store(plan)
        for index in range(workers):
            router.start(index)
        for index in range(workers):
            await router.ready(index)
        yield router
        for index in range(workers):
            assert router.processes[index].poll() in (None, 0), router.log_text()
        assert "Traceback" not in router.log_text(), router.log_text()
    finally:
        router.stop()


@asynccontextmanager
async def models(*several: Model) -> AsyncIterator[tuple[Model, ...]]:
    """Started model servers."""
    try:
        yield tuple([await one.start() for one in several])
    finally:
        for one in several:
            await one.stop()


# -- clients -------------------------------------------------------------------------------------------------------


class Caller:
    """A client's connection, with nothing clever about it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, to_head: bool = False) -> Message:
        """The next final answer, with the interim ones before it noted in it."""
        interim: list[str] = []
        while (message := await asyncio.wait_for(read_head(self.reader), PATIENCE_S)).status < 200:
            interim.append(message.first)
        message.interim = interim
        if not to_head and message.status not in (204, 304):
            await asyncio.wait_for(read_body(self.reader, message, to_end=True), PATIENCE_S)
        return message

    async def ask(self, data: bytes, *, to_head: bool = False) -> Message:
        self.send(data)
        return await self.answer(to_head=to_head)

    async def is_closed(self) -> bool:
        """Whether the router closes the connection, with nothing more said."""
        try:
            return await asyncio.wait_for(self.reader.read(), PATIENCE_S) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def calling(router: Router) -> AsyncIterator[Caller]:
    """A connection to the router."""
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=4 * 1024 * 1024)
    caller = Caller(reader, writer)
    try:
        yield caller
    finally:
        caller.close()


async def ask(router: Router, data: bytes) -> Message:
    """One answer on a connection of its own."""
    async with calling(router) as caller:
        return await caller.ask(data)


def get(path: str = "/", *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: model.test", *fields, "", ""]).encode()


def post(body: bytes = b"{}", path: str = "/infer", *fields: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: model.test", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body
