"""The agent's end of `agent.sock`: hands the plan to workers and observer, and hears what they say of it.

One connection per process. It gets the plan when it says who it is and at each change, and answers with what it
runs. A process that does not read is cut off, never waited for: it will connect again and get the plan then.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from headgate.log import Log
from headgate.wire.telemetry import ShadowCounters
from router.core.channel import RUN_FILES, Assignment, Frames, Hello, Report, frame
from router.files import socket_path

UNREAD_BYTES_MAX: Final = 16 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024


class Processes:
    """The connected workers and the observer. `on_report` is called whenever one of them said something new."""

    def __init__(self, log: Log, on_report: Callable[[], None]) -> None:
        self._log = log
        self._on_report = on_report
        self._assignment: Assignment | None = None
        self._connections: dict[str, _Connection] = {}

    async def listen(self, run: Path) -> asyncio.Server:
        """Open `agent.sock`; a socket that a dead agent left there is replaced (asyncio does that)."""
        return await asyncio.start_unix_server(self._serve, socket_path(run, RUN_FILES.agent_socket))

    def assign(self, assignment: Assignment) -> None:
        """Hand the plan to everybody, also to those who connect later."""
        self._assignment = assignment
        for connection in tuple(self._connections.values()):
            connection.send(assignment)

    def errors(self) -> list[tuple[str, str]]:
        """`(process, why)` for each connected process that refused the last plan it was handed."""
        return sorted((name, one.report.error) for name, one in self._connections.items() if one.report.error)

    def shadows(self) -> tuple[ShadowCounters, ...] | None:
        """What the observer counted; None while it is not connected or has not said anything yet."""
        observer = self._connections.get("observer")
        return observer.report.shadows if observer is not None and observer.has_reported else None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        try:
            await self._listen_to(connection, reader)
        except (OSError, ValueError) as error:
            self._log.warning("process cut off", name=connection.name, why=error)
        finally:
            if self._connections.get(connection.name) is connection:
                del self._connections[connection.name]
                self._log.info("process disconnected", name=connection.name)
            writer.close()
            self._on_report()

    async def _listen_to(self, connection: "_Connection", reader: asyncio.StreamReader) -> None:
        frames = Frames(Hello | Report)
        while data := await reader.read(_CHUNK_BYTES):
            for message in frames.feed(data):
                if isinstance(message, Hello):
                    self._welcome(connection, message)
                elif isinstance(message, Report):
                    connection.hear(message)
                    self._on_report()

    def _welcome(self, connection: "_Connection", hello: Hello) -> None:
        connection.name = hello.kind if hello.kind == "observer" else f"worker {hello.index}"
        self._connections[connection.name] = connection
        self._log.info("process connected", name=connection.name, pid=hello.pid)
        if self._assignment is not None:
            connection.send(self._assignment)


class _Connection:
    """One process's connection and the last thing it said."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.name = "unknown"
        self.report = Report(applied="0.0.0")
        self.has_reported = False

    def hear(self, report: Report) -> None:
        self.report = report
        self.has_reported = True

    def send(self, assignment: Assignment) -> None:
        if self._writer.transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            self._writer.transport.abort()
        elif not self._writer.is_closing():
            self.report = msgspec.structs.replace(self.report, error="")  # that was about the plan before
            self._writer.write(frame(assignment))
