"""The load: as much as a proxy can take (wrk), and at a constant rate, each request timed from when it was due.

A slow answer keeps no later request from being sent in time, and one that is sent late because the sender was busy is
timed from when it should have been: otherwise the worst moments would be those with the fewest samples.
"""

import asyncio
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final, cast

from bench.router.machine import cpu_s

CONNECTIONS: Final = 8
BODY: Final = (
    b'{"id":"%s","inputs":[{"name":"x","datatype":"FP64","shape":[1,8],'
    b'"data":[0.12,1.5,-3.25,0.001,42.0,7.75,-0.5,9.125]}]}'
)
PATH: Final = "/v2/models/m/infer"


@dataclass(frozen=True, slots=True)
class Saturation:
    """What wrk reached. `busy` is how much of its core the proxy had: well below 1, something else was the limit."""

    requests_s: float
    failed: int
    cpu_us: float
    busy: float


def saturate(
    port: int,
    pid: int,
    folder: Path,
    cores: Sequence[int],
    seconds: int,
    *,
    path: str = PATH,
    body_bytes: int = 200,
    closes: bool = False,
) -> Saturation:
    """Ask as fast as answers come, on eight connections."""
    script = folder / f"{body_bytes}-{closes}.lua"
    script.write_text(_script(body_bytes, closes))
    argv = ["taskset", "--cpu-list", ",".join(map(str, cores)), "wrk", "-t1", f"-c{CONNECTIONS}"]
    argv += [f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}{path}"]
    before, begun = cpu_s(pid), monotonic()
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    used, took = cpu_s(pid) - before, monotonic() - begun
    requests = int(_found(r"(\d+) requests in", said))
    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", said)))
    failed = errors + int(_found(r"Non-2xx or 3xx responses: (\d+)", said, "0"))
    rate = float(_found(r"Requests/sec:\s+([\d.]+)", said))
    return Saturation(rate, failed, used / max(requests, 1) * 1e6, used / took)


def _script(body_bytes: int, closes: bool) -> str:
    lines = [
        'wrk.method = "POST"',
        'wrk.headers["Content-Type"] = "application/json"',
        f"local head = [[{(BODY % b'r').decode()[:-1]}]]",
        f'wrk.body = head .. \',"pad":"\' .. string.rep("a", math.max(0, {body_bytes} - #head - 10)) .. \'"}}\'',
    ]
    return "\n".join([*lines, *(['wrk.headers["Connection"] = "close"'] if closes else [])])


def _found(pattern: str, text: str, otherwise: str | None = None) -> str:
    found = re.search(pattern, text)
    if found is None and otherwise is None:
        raise RuntimeError(f"wrk said: {text}")
    return found[1] if found is not None else str(otherwise)


# -- at a constant rate --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Heard:
    """Every request that was due: seconds from then to its answer, who answered, and those that got none or 5xx."""

    seconds: list[float] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    def quantile_ms(self, q: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * q))] * 1000


class _Connection(asyncio.Protocol):
    """One request at a time; answers have a Content-Length."""

    def __init__(
        self, heard: Heard, free: list["_Connection"], answered: "Callable[[float, str], None] | None"
    ):
        self._heard = heard
        self._free = free
        self._answered = answered
        self._due: float | None = None
        self._sent = 0.0
        self._data = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes, due: float) -> None:
        self._due, self._sent, self._data = due, monotonic(), b""
        assert self.transport is not None
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, mark, body = self._data.partition(b"\r\n\r\n")
        if not mark or self._due is None:
            return
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if length is None or len(body) < int(length[1]):
            return
        version = re.search(rb"(?i)x-headgate-version: (\S+)", head)
        name = version[1].decode() if version else ""
        self._heard.seconds.append(monotonic() - self._due)
        self._heard.versions[name] += 1
        if not head.startswith(b"HTTP/1.1 2"):
            self._heard.lost.append(head[:60].decode("latin-1"))
        if self._answered is not None:
            self._answered(self._sent, name)
        self._due = None
        self._free.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self._due is not None:
            self._heard.lost.append(f"connection lost: {error!r}")
        if self in self._free:
            self._free.remove(self)


async def at_rate(
    port: int,
    rate: float,
    seconds: float,
    *,
    answered: Callable[[float, str], None] | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> Heard:
    """So many requests a second, on as many connections as are needed, for so long or until it is over."""
    loop = asyncio.get_running_loop()
    heard, free = Heard(), list[_Connection]()
    everybody: list[_Connection] = []
    for _ in range(CONNECTIONS):
        _, one = await loop.create_connection(lambda: _Connection(heard, free, answered), "127.0.0.1", port)
        everybody.append(one)
        free.append(one)
    begun, number = monotonic(), 0
    while number < rate * seconds and not is_over():
        due = begun + number / rate
        await _pause_until(due)
        if not free:
            _, one = await loop.create_connection(
                lambda: _Connection(heard, free, answered), "127.0.0.1", port
            )
            everybody.append(one)
            free.append(one)
        free.pop().ask(_request(number), due)
        number += 1
    deadline = monotonic() + 30
    while len(heard.seconds) + len(heard.lost) < number and monotonic() < deadline:
        await asyncio.sleep(0.01)
    heard.lost += ["no answer"] * (number - len(heard.seconds) - len(heard.lost))
    for one in everybody:
        if one.transport is not None:
            one.transport.abort()
    return heard


async def _pause_until(due: float) -> None:
    """To the moment: the loop's timers are a millisecond coarse, so the last of it is spent looking at the clock."""
    wait = due - monotonic()
    if wait > 0.0015:
        await asyncio.sleep(wait - 0.0012)
    while monotonic() < due:
        await asyncio.sleep(0)


def _request(number: int) -> bytes:
    name = b"r-%d" % number
    body = BODY % name
    return (
        b"POST %b HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nx-request-id: %b\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (PATH.encode(), name, len(body), body)
    )


# -- chunk by chunk ------------------------------------------------------------------------------------------------


async def chunk_delays(port: int, chunks: int) -> list[float]:
    """Milliseconds from each chunk's sending, whose instant is in it, to its arrival here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /stream?chunks=%d HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n" % chunks)
    delays = []
    async for line in reader:
        if line.startswith(b"data: "):
            delays.append((monotonic() - float(line[6:])) * 1000)
    writer.close()
    if len(delays) != chunks:
        raise RuntimeError(f"{len(delays)} of {chunks} chunks came")
    return delays
