"""The access log's end: appends the workers' lines to a file, or to stderr.

The file is opened for each batch, so that whoever rotates it only has to move it away. What cannot be written is
dropped: the log is no reason to keep memory.
"""

import os
import sys
from pathlib import Path
from typing import Final

from headgate.log import Log

WAITING_BYTES_MAX: Final = 8 * 1024 * 1024
STDERR: Final = "-"


class AccessFile:
    """Where lines go; `name` is a path, or `-`."""

    def __init__(self, name: str, log: Log) -> None:
        self._path = Path(name) if name != STDERR else None
        self._log = log
        self._waiting = bytearray()
        self._why = ""

    def take(self, lines: bytes) -> None:
        """Keep lines until they are written; more than `WAITING_BYTES_MAX` are dropped."""
        if len(self._waiting) + len(lines) <= WAITING_BYTES_MAX:
            self._waiting += lines

    def waiting(self) -> bytes:
        """What there is to write; it is the caller's from now on."""
        lines = bytes(self._waiting)
        self._waiting.clear()
        return lines

    def write(self, lines: bytes) -> None:
        """Write them, in a thread: it may take its time."""
        try:
            self._append(lines)
        except OSError as error:
            self._note(error.strerror or str(error))
        else:
            self._note("")

    def _append(self, lines: bytes) -> None:
        if self._path is None:
            sys.stderr.buffer.write(lines)
            sys.stderr.buffer.flush()
            return
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        with os.fdopen(descriptor, "wb") as file:
            file.write(lines)

    def _note(self, why: str) -> None:
        """One line when it begins to fail, and one when that is over."""
        if why == self._why:
            return
        self._why = why
        if why:
            self._log.error("access log cannot be written, lines are dropped", why=why, path=self._path)
        else:
            self._log.info("access log is written again", path=self._path)
