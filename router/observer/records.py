"""The record log: JSON Lines in segments, bounded in total, where a full disk costs records and nothing else."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from headgate.log import Log
from router.core.sketch import Pairing

SEGMENTS: Final = 8
"""The bound is divided into so many segments: when it is reached, the oldest one goes."""

SEGMENT_BYTES_MAX: Final = 16 * 1024 * 1024
FILES_MAX: Final = 256
BUFFERED_BYTES_MAX: Final = 4 * 1024 * 1024

_NAME: Final = re.compile(r"records-(\d{8})\.jsonl")


class Line(NamedTuple):
    """One record as it will stand in the log, and whose it is."""

    pairing: Pairing
    content: bytes


class RecordLog:
    """Lines wait in memory (bounded) until `write`, which may run in another thread than `add`, one at a time."""

    def __init__(self, folder: Path, log: Log) -> None:
        self._folder = folder
        self._log = log
        self._waiting: list[Line] = []
        self._waiting_bytes = 0
        self._file: int | None = None
        self._file_bytes = 0
        self._number = 0
        self._is_full = False

    def add(self, line: Line) -> bool:
        """Take a line; False if too many wait already (the disk is slow or full)."""
        if self._waiting_bytes + len(line.content) > BUFFERED_BYTES_MAX:
            return False
        self._waiting.append(line)
        self._waiting_bytes += len(line.content)
        return True

    def take(self) -> tuple[Line, ...]:
        """The lines that wait; they are the caller's to `write`."""
        lines = tuple(self._waiting)
        self._waiting = []
        self._waiting_bytes = 0
        return lines

    def write(self, lines: Sequence[Line], bytes_max: int) -> tuple[Line, ...]:
        """Append the lines whole, keeping the log within `bytes_max`; those that could not be written come back."""
        segment_max = min(SEGMENT_BYTES_MAX, bytes_max // SEGMENTS)
        lost: list[Line] = []
        for group in _groups(lines, segment_max, lost):
            try:
                self._append(b"".join(line.content for line in group), segment_max, bytes_max)
            except OSError as error:
                lost += group
                self._failed(error)
            else:
                self._recovered()
        return tuple(lost)

    def close(self) -> None:
        """Close the segment; the next write begins another."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, content: bytes, segment_max: int, bytes_max: int) -> None:
        if self._file is not None and self._file_bytes + len(content) > segment_max:
            self.close()
        self._make_room(bytes_max - len(content))
        if self._file is None:
            self._open()
        if self._file is None:
            raise OSError("the segment could not be opened")
        written = 0
        try:
            while written < len(content):
                written += os.write(self._file, content[written:])
        except OSError:
            os.ftruncate(self._file, self._file_bytes)  # no reader shall see half a line
            raise
        self._file_bytes += len(content)

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._number = max([self._number, *(number for number, _ in segments(self._folder))]) + 1
        path = self._folder / f"records-{self._number:08d}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._file_bytes = 0

    def _make_room(self, bytes_max: int) -> None:
        """Remove the oldest segments until the log holds at most so many bytes.

        That never reaches the open one: it is the newest, and an eighth of the bound at most.
        """
        found = segments(self._folder)
        sizes = [path.stat().st_size for _, path in found]
        total, left = sum(sizes), len(found)
        for (_, path), size in zip(found, sizes, strict=True):
            if total <= bytes_max and left < FILES_MAX:
                return
            path.unlink(missing_ok=True)
            total -= size
            left -= 1

    def _failed(self, error: OSError) -> None:
        if not self._is_full:
            self._is_full = True
            why = error.strerror or type(error).__name__
            self._log.error("records are lost until there is room again", folder=self._folder, why=why)

    def _recovered(self) -> None:
        if self._is_full:
            self._is_full = False
            self._log.info("records are written again", folder=self._folder)


def segments(folder: Path) -> list[tuple[int, Path]]:
    """The log's files with their numbers, oldest first; none where there is no folder."""
    if not folder.is_dir():
        return []
    named = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in named if match is not None)


def _groups(lines: Sequence[Line], bytes_max: int, lost: list[Line]) -> list[list[Line]]:
    """The lines in runs of at most `bytes_max` bytes; a single line above it is lost."""
    found: list[list[Line]] = []
    held = 0
    for line in lines:
        if len(line.content) > bytes_max:
            lost.append(line)
            continue
        if not found or held + len(line.content) > bytes_max:
            found.append([])
            held = 0
        found[-1].append(line)
        held += len(line.content)
    return found
