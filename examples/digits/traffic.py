"""Users of the digits model: an open-loop load of real test images, and a record of every single request.

Open loop: requests leave at a constant rate whether or not earlier ones were answered, and latency counts from
the instant a request was *meant* to leave, so a server that stalls is charged for everyone who had to queue.
Nothing is retried: a request without an answer is *lost*, and says so in the record.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Literal
from urllib.parse import urlsplit

import msgspec
import numpy as np

PATH = "/v2/models/digits/infer"
IDLE_MAX_S = 1.0  # a connection idle for longer may be one the server is just closing
HEAD_BYTES_MAX = 64 * 1024

Outcome = Literal["ok", "failed", "lost"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request. Times are seconds since the epoch; latency counts from `intended`."""

    request_id: str
    user: str
    intended: float
    sent: float
    latency_ms: float
    status: int | None = None
    version: str | None = None
    label: int | None = None
    truth: int | None = None
    error: str | None = None

    @property
    def outcome(self) -> Outcome:
        if self.status is None:
            return "lost"
        return "ok" if 200 <= self.status < 300 else "failed"

    @property
    def ended(self) -> float:
        return self.intended + self.latency_ms / 1000


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: `rate` requests a second from `users` users for `duration_s` seconds."""

    url: str
    rate: float = 120.0
    duration_s: float = 60.0
    users: int = 500
    timeout_s: float = 5.0
    in_flight_max: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "rate": (0.1, 5_000),
            "duration_s": (0.1, 3_600),
            "users": (1, 1_000_000),
            "in_flight_max": (1, 10_000),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}, must be from {low} to {high}")
        if urlsplit(self.url).scheme != "http" or urlsplit(self.url).hostname is None:
            raise ValueError(f"url is {self.url!r}, must be http://HOST:PORT")


class Lost(Exception):
    """No whole answer came: the connection failed, broke, or the time was up."""


class _Output(msgspec.Struct):
    name: str
    data: list[float]


class _Body(msgspec.Struct):
    model_version: str | None = None
    outputs: list[_Output] = []


@dataclass(slots=True)
class Connection:
    """One keep-alive HTTP/1.1 connection, used by one request at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since: float = 0.0

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send one request; its status, headers (lower-case names) and body. Raises Lost."""
        try:
            self.writer.write(request)
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in head[1:] if line)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            return int(head[0].split()[1]), headers, await self._body(headers)
        except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as problem:
            raise Lost(f"{type(problem).__name__}: {problem}") from problem

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length", 0)))
        body = bytearray()
        while size := int((await self.reader.readline()).split(b";")[0], 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        while (await self.reader.readline()).strip():
            pass  # trailers
        return bytes(body)


@dataclass(slots=True)
class Pool:
    """Idle connections to one address; the longest idle one is used first, so that none grows stale."""

    host: str
    port: int
    idle: deque[Connection] = field(default_factory=deque)

    async def take(self) -> Connection:
        now = time.monotonic()
        while self.idle:
            connection = self.idle.popleft()
            if now - connection.idle_since < IDLE_MAX_S and not connection.reader.at_eof():
                return connection
            connection.writer.close()
        try:
            return Connection(*await asyncio.open_connection(self.host, self.port, limit=HEAD_BYTES_MAX))
        except OSError as problem:
            raise Lost(f"no connection to {self.host}:{self.port}: {problem}") from problem

    def give_back(self, connection: Connection, *, reusable: bool) -> None:
        if reusable:
            connection.idle_since = time.monotonic()
            self.idle.append(connection)
        else:
            connection.writer.close()

    def close(self) -> None:
        while self.idle:
            self.idle.popleft().writer.close()


class Generator:
    """Sends a Load and hands every Answer to `keep`, in the order in which they end."""

    def __init__(self, load: Load, images: Path, keep: Callable[[Answer], None]) -> None:
        with np.load(images, allow_pickle=False) as file:
            self.labels: list[int] = file["labels"].tolist()
            self.tensors = [json.dumps(row) for row in file["images"].astype(float).tolist()]
        self.load = load
        self.keep = keep
        self.dice = random.Random(load.seed)
        target = urlsplit(load.url)
        self.authority = target.netloc
        self.pool = Pool(target.hostname or "", target.port or 80)
        self.in_flight: set[asyncio.Task[None]] = set()
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Send until the duration is over or `stop` was called, then wait for the answers under way."""
        started_wall, started = time.time(), time.monotonic()
        for number in range(int(self.load.rate * self.load.duration_s)):
            due = number / self.load.rate
            if (wait := started + due - time.monotonic()) > 0 and await self._stopped_within(wait):
                break
            if self.stopping.is_set():
                break
            self._start(f"{self.load.seed:x}-{number:08d}", started_wall + due)
        if self.in_flight:
            await asyncio.wait(self.in_flight)
        self.pool.close()

    def stop(self) -> None:
        self.stopping.set()

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _start(self, request_id: str, intended: float) -> None:
        user, image = (
            f"user-{self.dice.randrange(self.load.users):05d}",
            self.dice.randrange(len(self.labels)),
        )
        if len(self.in_flight) >= self.load.in_flight_max:
            late = (time.time() - intended) * 1000
            error = f"not sent: {self.load.in_flight_max} requests are waiting for an answer"
            self.keep(
                Answer(request_id, user, intended, time.time(), late, truth=self.labels[image], error=error)
            )
            return
        task = asyncio.create_task(self._one(request_id, user, intended, image))
        self.in_flight.add(task)
        task.add_done_callback(self.in_flight.discard)

    async def _one(self, request_id: str, user: str, intended: float, image: int) -> None:
        sent = time.time()
        status, version, label, error = None, None, None, None
        try:
            async with asyncio.timeout(self.load.timeout_s):
                status, version, label = await self._ask(self._request(request_id, user, image))
        except TimeoutError:
            error = f"no answer within {self.load.timeout_s:g} s"
        except Lost as problem:
            error = str(problem)
        latency_ms = (time.time() - intended) * 1000
        self.keep(
            Answer(
                request_id,
                user,
                intended,
                sent,
                latency_ms,
                status,
                version,
                label,
                self.labels[image],
                error,
            )
        )

    async def _ask(self, request: bytes) -> tuple[int, str | None, int | None]:
        connection = await self.pool.take()
        reusable = False
        try:
            status, headers, body = await connection.ask(request)
            reusable = headers.get("connection", "").lower() != "close"
        finally:
            self.pool.give_back(connection, reusable=reusable)
        said_version, label = read(body)
        return status, headers.get("x-headgate-version", said_version), label

    def _request(self, request_id: str, user: str, image: int) -> bytes:
        tensor = f'{{"name":"image","shape":[1,64],"datatype":"FP32","data":{self.tensors[image]}}}'
        body = f'{{"id":"{request_id}","inputs":[{tensor}]}}'
        return (
            f"POST {PATH} HTTP/1.1\r\nHost: {self.authority}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nX-User-Id: {user}\r\nX-Request-Id: {request_id}\r\n\r\n{body}"
        ).encode()


def read(body: bytes) -> tuple[str | None, int | None]:
    """The version that an Open Inference V2 answer names, and its label; None for what it does not say."""
    try:
        answer = msgspec.json.decode(body, type=_Body)
    except msgspec.DecodeError:
        return None, None
    labels = [int(output.data[0]) for output in answer.outputs if output.name == "label" and output.data]
    return answer.model_version, labels[0] if labels else None


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over a set of answers; latencies in milliseconds, over the answers that came."""

    sent: int
    ok: int
    failed: int
    lost: int
    latency_ms_p50: float | None
    latency_ms_p99: float | None
    by_version: dict[str, int]


def summarise(answers: Iterable[Answer]) -> Summary:
    answers = list(answers)
    outcomes = [answer.outcome for answer in answers]
    latencies = sorted(answer.latency_ms for answer in answers if answer.status is not None)
    versions = sorted({answer.version for answer in answers if answer.version is not None})
    return Summary(
        sent=len(answers),
        ok=outcomes.count("ok"),
        failed=outcomes.count("failed"),
        lost=outcomes.count("lost"),
        latency_ms_p50=latencies[len(latencies) // 2] if latencies else None,
        latency_ms_p99=latencies[len(latencies) * 99 // 100] if latencies else None,
        by_version={name: sum(answer.version == name for answer in answers) for name in versions},
    )


def answers_of(lines: Iterable[str]) -> Iterator[Answer]:
    """The records that `traffic.py --out` wrote, read back."""
    for line in lines:
        yield Answer(**json.loads(line))


async def send(load: Load, images: Path, out: IO[str]) -> Summary:
    """Send the whole load, or less on SIGINT or SIGTERM; one JSON line per request goes to `out` at once."""
    answers: list[Answer] = []

    def keep(answer: Answer) -> None:
        answers.append(answer)
        print(json.dumps(asdict(answer)), file=out, flush=True)

    generator = Generator(load, images, keep)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, generator.stop)
    await generator.run()
    return summarise(answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url", help="http://HOST:PORT of a router or of a model server")
    parser.add_argument("--rate", type=float, default=120.0, help="requests a second (default: %(default)g)")
    parser.add_argument("--duration", type=float, default=60.0, help="seconds (default: %(default)g)")
    parser.add_argument("--users", type=int, default=500, help="how many users (default: %(default)d)")
    parser.add_argument("--seed", type=int, default=0, help="who asks what, in which order")
    models = Path(__file__).parent / "models"
    parser.add_argument(
        "--images", type=Path, default=models / "traffic.npz", help="the images train.py held out"
    )
    parser.add_argument("--out", type=Path, default=None, help="JSON lines, one per request (default: none)")
    arguments = parser.parse_args()
    try:
        load = Load(arguments.url, arguments.rate, arguments.duration, arguments.users, seed=arguments.seed)
        with (arguments.out or Path("/dev/null")).open("w") as out:
            summary = asyncio.run(send(load, arguments.images, out))
    except (ValueError, OSError) as problem:
        sys.exit(f"traffic.py: {problem}")
    print(json.dumps(asdict(summary), indent=2))
    sys.exit(0 if summary.failed == summary.lost == 0 else 1)


if __name__ == "__main__":
    main()
