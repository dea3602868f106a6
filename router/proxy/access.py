"""The access log's beginning: lines about sampled requests, handed to the observer, who writes them.

A worker writes no file and waits for nobody: lines gather until the next tick and go out in one piece; where the
observer is away or behind they are dropped and counted. A line has nothing of a header (but the request's id), a body
or a query in it.
"""

from random import getrandbits
from typing import Final

import msgspec

from router.core import counters as c
from router.proxy.capture import CopySink

LINES_BYTES_MAX: Final = 1024 * 1024
"""What gathers between two ticks, and what the observer may be behind with."""

_PATH_CHARS_MAX: Final = 1024
_CERTAIN: Final = 1 << 24


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request. `status` is 0 if the client left before its answer; `seconds` is from its first byte to its end."""

    at: float
    id: str
    client: str
    method: str
    path: str
    version: str
    status: int
    seconds: float
    received_bytes: int
    sent_bytes: int
    cause: str = ""


_ENCODER: Final = msgspec.json.Encoder()


class AccessLog:
    """One worker's lines; `sample` is the share of requests that get one, above 0 to 1."""

    def __init__(self, sink: CopySink, cells: memoryview, sample: float) -> None:
        self._sink = sink
        self._cells = cells
        self._below = round(sample * _CERTAIN)
        self._lines = bytearray()
        self._count = 0

    def wants(self) -> bool:
        """Whether the request that just ended gets a line."""
        return getrandbits(24) < self._below

    def add(self, line: Line) -> None:
        """Keep a line until the next tick."""
        if len(self._lines) > LINES_BYTES_MAX:
            self._cells[c.LOG_DROPPED] += 1
            return
        self._lines += _ENCODER.encode(line)
        self._lines += b"\n"
        self._count += 1

    def flush(self) -> None:
        """Hand over what there is."""
        if not self._count:
            return
        if not self._sink.offer_lines(bytes(self._lines), LINES_BYTES_MAX):
            self._cells[c.LOG_DROPPED] += self._count
        self._lines.clear()
        self._count = 0


def path_of(target: bytes) -> str:
    """The path that was asked for, without its query."""
    return target.partition(b"?")[0][:_PATH_CHARS_MAX].decode("latin-1")
