"""The run directory: one router's home on disk, held by one supervisor at a time.

What the last life learned stays (plan, guard trips, pin, records); what counts from a life's start is made anew
(boot, counters). Only its owner may look inside: records may hold what users sent.
"""

import fcntl
import json
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.files import replace_file
from router.core.channel import RUN_FILES
from router.core.counters import layout

LOCK: Final = "lock"


class CannotUse(Exception):
    """The run directory cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """A run directory of which this process holds the lock; it is let go when the process ends.

    `was_killed`: the last life did not end in order, so processes of it may still be about to end.
    """

    path: Path
    boot: str
    started_at: float
    lock: int
    was_killed: bool

    def release(self) -> None:
        """Let it go in order."""
        os.ftruncate(self.lock, 0)
        os.close(self.lock)


def claim(path: Path, workers: int, inherited: int | None = None) -> RunDirectory:
    """Take the directory (made if there is none, mode 700) and begin a life in it. CannotUse if another has it.

    `inherited` is its lock, if the life before handed it over.
    """
    path = path.absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        lock = _lock(path) if inherited is None else inherited
        was_killed = inherited is None and bool(os.pread(lock, 1, 0))
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        run = RunDirectory(path, uuid.uuid4().hex, time.time(), lock, was_killed)
        replace_file(path / RUN_FILES.boot, _boot(run))
        replace_file(path / RUN_FILES.counters, bytes(layout(workers)))
    except OSError as error:
        raise CannotUse(f"run directory {path}: {error.strerror or error}") from error
    return run


def holder_of(path: Path) -> int | None:
    """The pid of the supervisor that holds the directory now; None if nobody does."""
    try:
        lock = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(lock, 16, 0) or b"0")
    else:
        return None
    finally:
        os.close(lock)


def _boot(run: RunDirectory) -> bytes:
    return json.dumps({"boot": run.boot, "startedAt": run.started_at}).encode()


def _lock(path: Path) -> int:
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 16, 0).decode() or "unknown"
        os.close(lock)
        raise CannotUse(
            f"run directory {path} is in use by the router with pid {holder}; stop it or give another --run"
        ) from error
    return lock
