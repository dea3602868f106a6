"""Copies of sampled exchanges on their way to the observer: never waiting, bounded, and counted when they are dropped."""

import asyncio
from typing import Final, cast

from headgate.log import Log
from router.core.channel import Copy, frame
from router.core.counters import BODY_TOO_LARGE, QUEUE_FULL, drop_cell
from router.proxy.routing import Counted, ShadowRule

QUEUE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Copies that wait for the observer to read them; more are dropped."""

HELD_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bodies of exchanges that are not over yet, all together."""

_RETRY_S: Final = 0.2
_RETRY_S_MAX: Final = 2.0


class _Channel(asyncio.Protocol):
    """The connection to the observer, which only ever listens to us."""

    def __init__(self, sink: "CopySink") -> None:
        self._sink = sink

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._sink.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._sink.lost()


class CopySink:
    """Where finished copies go: the observer's socket while it is there and keeps up, nowhere otherwise."""

    def __init__(self, path: str, cells: memoryview, log: Log) -> None:
        self.transport: asyncio.Transport | None = None
        self.held_bytes = 0
        self._path = path
        self._cells = cells
        self._log = log
        self._is_wanted = False
        self._connecting: asyncio.Task[None] | None = None

    def want(self, is_wanted: bool) -> None:
        """Whether the plan has shadows: only then is the observer's socket sought."""
        self._is_wanted = is_wanted
        if is_wanted and self.transport is None and self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def lost(self) -> None:
        """The observer is gone; look for the next one."""
        self.transport = None
        self.want(self._is_wanted)

    def close(self) -> None:
        """The worker ends: what was written is delivered, nothing more is."""
        self._is_wanted = False
        if self._connecting is not None:
            self._connecting.cancel()
        if self.transport is not None:
            self.transport.close()

    def has_room(self, more: int = 0) -> bool:
        """Whether another copy would be taken now."""
        transport = self.transport
        return transport is not None and transport.get_write_buffer_size() + more <= QUEUE_BYTES_MAX

    def offer(self, copy: Copy) -> bool:
        """Hand a copy over; False if there is no room for it."""
        if self.transport is None or not self.has_room(len(copy.request_body) + len(copy.answer_body)):
            return False
        self.transport.write(frame(copy))
        return True

    def offer_lines(self, lines: bytes, bytes_max: int) -> bool:
        """Hand over lines of the access log; False if nobody is there, or more than `bytes_max` are unread already."""
        if self.transport is None or self.transport.get_write_buffer_size() > bytes_max:
            return False
        self.transport.write(frame(lines))
        return True

    def count(self, live: Counted, rules: list[ShadowRule], reason: int) -> None:
        """A copy that these shadows do not get."""
        for rule in rules:
            self._cells[live.start + drop_cell(rule.column, reason)] += 1

    async def _connect(self) -> None:
        loop, delay = asyncio.get_running_loop(), _RETRY_S
        try:
            while self._is_wanted and self.transport is None:
                try:
                    await loop.create_unix_connection(lambda: _Channel(self), self._path)
                    self._log.info("observer connected")
                except OSError:
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, _RETRY_S_MAX)
        finally:
            self._connecting = None


class Capture:
    """What is kept of one sampled exchange while it streams by; it gives up as soon as it grows too large."""

    __slots__ = ("_answer", "_bytes", "_bytes_max", "_live", "_request", "_rules", "_sink", "_sizes")

    def __init__(self, sink: CopySink, live: Counted, rules: list[ShadowRule], bytes_max: int) -> None:
        self._sink = sink
        self._live = live
        self._rules = rules
        self._bytes_max = bytes_max
        self._bytes = 0
        self._request: list[bytes] = []
        self._answer: list[bytes] = []
        self._sizes = [0, 0]

    def add_request(self, piece: bytes) -> None:
        """More of the request's body."""
        self._add(self._request, 0, piece)

    def add_answer(self, piece: bytes) -> None:
        """More of the answer's body, without its chunked coding."""
        self._add(self._answer, 1, piece)

    def drop(self, reason: int) -> None:
        """Nothing comes of it; count why, once."""
        self._sink.count(self._live, self._rules, reason)
        self._forget()

    def finish(
        self,
        *,
        generation: int,
        live: str,
        request_id: bytes,
        at: float,
        method: bytes,
        target: bytes,
        request_head: bytes,
        status: int,
        latency_s: float,
        answer_head: bytes,
    ) -> None:
        """The exchange went well: hand its copy over."""
        if not self._rules:
            return
        copy = Copy(
            generation=generation,
            live=live,
            live_identity=self._live.identity,
            shadows=tuple(rule.name for rule in self._rules),
            request_id=request_id.decode("ascii"),
            at=at,
            method=method,
            target=target,
            request_head=request_head,
            request_body=b"".join(self._request),
            status=status,
            latency_s=latency_s,
            answer_head=answer_head,
            answer_body=b"".join(self._answer),
        )
        if self._sink.offer(copy):
            self._forget()
        else:
            self.drop(QUEUE_FULL)

    def _add(self, pieces: list[bytes], side: int, piece: bytes) -> None:
        if not self._rules:
            return
        size = len(piece)
        self._sizes[side] += size
        if self._sizes[side] > self._bytes_max:
            self.drop(BODY_TOO_LARGE)
            return
        if self._sink.held_bytes + size > HELD_BYTES_MAX:
            self.drop(QUEUE_FULL)
            return
        self._sink.held_bytes += size
        self._bytes += size
        pieces.append(piece)

    def _forget(self) -> None:
        self._sink.held_bytes -= self._bytes
        self._bytes = 0
        self._rules = []
        self._request = []
        self._answer = []
