"""What the router's own processes say to each other on one machine: frames, their messages, and the files they share.

All of it lives under one run directory (`RunFiles`). A frame is a 4-byte big-endian length and a msgpack message.
On `agent.sock` the agent listens, workers and the observer connect: they say `Hello`, get an `Assignment` now and at
each change, and answer each with `Report`. On `observer.sock` the observer listens and workers write one `Copy` per
sampled exchange, and lines of the access log as plain bytes, never waiting. None of this crosses a machine, so it is not part of `headgate/wire`.
"""

import struct
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from headgate.wire.plan import RoutePlan
from headgate.wire.telemetry import ShadowCounters

FRAME_BYTES_MAX: Final = 72 * 1024 * 1024
"""No frame is longer: two bodies at their bound, heads and names."""

_LENGTH: Final = struct.Struct("!I")


class RunFiles(NamedTuple):
    """Names inside the run directory; who writes each, and who reads it."""

    boot: str = "boot.json"
    """supervisor writes {"boot", "startedAt"} once per life; everyone reads"""
    counters: str = "counters"
    """supervisor creates, workers write their own block, everyone reads (mmap)"""
    trips: str = "trips"
    """workers write, survives restarts (mmap): guard trips in force"""
    plan: str = "plan.msgpack"
    """agent writes the last good `Assignment` by rename; workers and observer start from it"""
    shadows: str = "shadows.json"
    """observer writes its cumulative counters by rename before it reports them"""
    pin: str = "pin"
    """the name of the version a person pinned; absent when none is"""
    records: str = "records"
    """folder of comparison records, JSON Lines, written by the observer"""
    agent_socket: str = "agent.sock"
    observer_socket: str = "observer.sock"


RUN_FILES: Final = RunFiles()


class Hello(Struct, frozen=True, tag="hello"):
    """First frame of a worker or the observer."""

    kind: Literal["worker", "observer"]
    index: int
    pid: int


class Assignment(Struct, frozen=True, tag="assignment"):
    """A plan with the counter column of each version identity; also the content of the plan file."""

    plan: RoutePlan
    columns: dict[str, int]


class Report(Struct, frozen=True, tag="report"):
    """What a process runs now (`EPOCH.GENERATION.ENDPOINTS`), why it refused the last plan, what the observer counted."""

    applied: str
    error: str = ""
    shadows: tuple[ShadowCounters, ...] = ()


LocalMessage = Hello | Assignment | Report


class Copy(Struct, frozen=True, array_like=True, gc=False):
    """One sampled exchange: the request as the client sent it and the live version's answer, bodies whole.

    Heads are raw header lines separated by CRLF without the first line and without hop-by-hop headers.
    `shadows` are the names of the shadows this request was sampled for. `cut` says why bodies are missing
    (a reason of `headgate.wire.telemetry.DROP_REASONS`), or is empty.
    """

    generation: int
    live: str
    live_identity: str
    shadows: tuple[str, ...]
    request_id: str
    at: float
    method: bytes
    target: bytes
    request_head: bytes
    request_body: bytes
    status: int
    latency_s: float
    answer_head: bytes
    answer_body: bytes
    cut: Annotated[str, Meta(max_length=32)] = ""


def frame(message: Struct | bytes) -> bytes:
    """The message with its length before it."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts a byte stream into messages of one kind; feed it as bytes come, in any chunking."""

    __slots__ = ("_buffer", "_decoder")

    def __init__(self, kind: object) -> None:
        self._buffer = bytearray()
        self._decoder: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder(kind)

    def feed(self, data: bytes) -> list[object]:
        """The messages that `data` completes. ValueError: the stream is no sequence of such messages, close it."""
        self._buffer += data
        found: list[object] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > FRAME_BYTES_MAX:
                raise ValueError(f"frame of {length} bytes: at most {FRAME_BYTES_MAX}")
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            found.append(self._decode(memoryview(self._buffer)[start + _LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return found

    def _decode(self, body: memoryview) -> object:
        try:
            with body:
                return self._decoder.decode(body)
        except msgspec.DecodeError as error:
            raise ValueError(f"frame is no such message: {error}") from error
