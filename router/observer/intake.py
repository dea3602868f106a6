"""Where workers leave their copies: a Unix socket that is always read, so that only a busy observer fills it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from headgate.log import Log
from router.core.channel import Copy, Frames


class _Worker(asyncio.Protocol):
    """One worker's connection."""

    def __init__(
        self,
        take: Callable[[Copy], None],
        take_lines: Callable[[bytes], None],
        log: Log,
        open_ones: set["_Worker"],
    ) -> None:
        self._take = take
        self._take_lines = take_lines
        self._log = log
        self._open_ones = open_ones
        self._frames = Frames(Copy | bytes)
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._open_ones.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_ones.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            found = self._frames.feed(data)
        except ValueError as error:
            self._log.error(
                "a worker's copies cannot be read; its connection is closed", why=str(error)[:200]
            )
            self.close()
            return
        for one in found:
            if isinstance(one, Copy):
                self._take(one)
            elif isinstance(one, bytes):
                self._take_lines(one)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Intake:
    """The listening socket; `take` is called with each copy, in the order each worker wrote them.

    `take_lines` gets the lines of the access log.
    """

    def __init__(
        self, path: Path, take: Callable[[Copy], None], log: Log, take_lines: Callable[[bytes], None]
    ) -> None:
        self._path = path
        self._take = take
        self._take_lines = take_lines
        self._log = log
        self._open_ones: set[_Worker] = set()
        self._server: asyncio.AbstractServer | None = None

    async def open(self) -> None:
        """Listen, in place of a socket that a dead observer left; only this user may connect. OSError if that fails."""
        self._path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: _Worker(self._take, self._take_lines, self._log, self._open_ones), str(self._path)
        )
        self._path.chmod(0o600)

    def close(self) -> None:
        """Listen no more and close what is connected."""
        if self._server is not None:
            self._server.close()
        for one in tuple(self._open_ones):
            one.close()
