"""What several of the router's processes do alike: read the pin, reach the run directory's sockets, hear of SIGHUP."""

import asyncio
import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from router.core.channel import RUN_FILES

SOCKET_PATH_BYTES_MAX: Final = 107
"""The longest path of a Unix socket on Linux (sun_path without its last NUL)."""


def on_hangup(loop: asyncio.AbstractEventLoop, act: Callable[[], object]) -> None:
    """Call `act` at each SIGHUP; also for one that came since the supervisor started this process."""
    loop.add_signal_handler(signal.SIGHUP, act)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def read_pin(run: Path, before: str | None) -> str | None:
    """The version that a person pinned on the router of this run directory; None if there is none.

    A pin file that cannot be read (no descriptor left, a damaged disk, not text) leaves the pin as it was `before`.
    """
    try:
        return (run / RUN_FILES.pin).read_text().strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return before


def socket_path(run: Path, name: str) -> Path:
    """Where to bind or connect the socket of that name in the run directory, however long the directory's path is.

    A socket's address has at most 107 bytes (sun_path of unix(7)); a longer path is reached through a descriptor of
    the directory, which stays open as long as the process.
    """
    path = run / name
    is_short = len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX
    return path if is_short else Path(f"/proc/self/fd/{_folder(run)}/{name}")


@cache
def _folder(run: Path) -> int:
    return os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
