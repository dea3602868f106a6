"""The observer's line to the agent: plans come, reports go; without an agent the observer works on."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headgate.log import Log
from router.core.channel import Assignment, Frames, Hello, LocalMessage, Report, frame

BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
UNSENT_BYTES_MAX: Final = 4 * 1024 * 1024
_READ_BYTES: Final = 256 * 1024


class AgentLine:
    """A connection that is made again whenever it breaks. `follow` is called with each assignment."""

    def __init__(self, path: Path, follow: Callable[[Assignment], None], log: Log) -> None:
        self._path = path
        self._follow = follow
        self._log = log
        self._writer: asyncio.StreamWriter | None = None

    def say(self, report: Report) -> None:
        """Send it if there is an agent that reads; else it is passed over, since the next one says more."""
        writer = self._writer
        if writer is None or writer.transport.is_closing():
            return
        if writer.transport.get_write_buffer_size() <= UNSENT_BYTES_MAX:
            writer.write(frame(report))

    async def run(self) -> None:
        """Stay connected until cancelled."""
        failures = 0
        while True:
            try:
                await self._talk()
                failures = 0
            except OSError:
                failures += 1
            except ValueError as error:
                failures += 1
                self._log.warning("the agent's frames cannot be read", why=str(error)[:200])
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    async def _talk(self) -> None:
        """One connection, from its begin to its end."""
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        self._writer = writer
        try:
            writer.write(frame(Hello(kind="observer", index=0, pid=os.getpid())))
            frames = Frames(LocalMessage)
            while data := await reader.read(_READ_BYTES):
                for message in frames.feed(data):
                    if isinstance(message, Assignment):
                        self._follow(message)
        finally:
            self._writer = None
            writer.transport.abort()
