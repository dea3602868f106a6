"""One supervisor hands over to the next, of a new release or with new settings, and no connection notices.

The successor connects to `supervisor.sock` in the run directory. It gets the listening sockets and the directory's
lock as descriptors, so that they are never let go; the old one has stopped its agent and its observer by then, for
two would contradict each other, and its workers serve on. When the successor's workers serve too, it says so, and the
old ones drain. A successor that ends before that changes nothing: the old agent and observer start again.
"""

import json
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.files import replace_file
from router.core.channel import RUN_FILES
from router.files import socket_path

NAME: Final = "supervisor.sock"
WITHIN_S: Final = 30.0
"""How long the old supervisor may take to answer: it lets its agent send a last report."""

_ASK: Final = b"take over\n"
_READY: Final = b"ready\n"
_FDS_MAX: Final = 64
_MESSAGE_BYTES_MAX: Final = 65_536
_BEFORE: Final = "counters.before"


class CannotTakeOver(Exception):
    """The router that runs did not hand over; the text says why. It serves on."""


@dataclass(slots=True)
class Inherited:
    """What a successor got: where the old router listens, with a descriptor each, and the run directory's lock."""

    listen: dict[str, int]
    admin: tuple[str, int]
    lock: int
    line: socket.socket

    def confirm(self) -> None:
        """We serve: the old workers may drain."""
        with suppress(OSError):
            self.line.sendall(_READY)
        self.line.close()

    def take(self, wanted: str) -> tuple[str, int] | None:
        """Where, and the descriptor of, the socket that listens there; with port 0, of any on that host."""
        for where, descriptor in self.listen.items():
            if _is_meant(wanted, where):
                del self.listen[where]
                return where, descriptor
        return None

    def take_admin(self, wanted: str) -> tuple[str, int] | None:
        """The same for the admin API."""
        if _is_meant(wanted, self.admin[0]):
            return self.admin
        os.close(self.admin[1])
        return None

    def close_rest(self) -> None:
        """The sockets that the new settings do not name any more."""
        for descriptor in self.listen.values():
            os.close(descriptor)
        self.listen.clear()


def _is_meant(wanted: str, where: str) -> bool:
    host, _, port = wanted.rpartition(":")
    return where == wanted or (port == "0" and where.rpartition(":")[0] == host)


def take_over(run: Path) -> Inherited | None:
    """Ask the router that runs in this directory for its sockets; None if none runs. CannotTakeOver says why not."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.settimeout(WITHIN_S)
    try:
        line.connect(str(socket_path(run, NAME)))
    except (FileNotFoundError, ConnectionRefusedError):
        line.close()
        return None
    try:
        line.sendall(_ASK)
        said, descriptors, _, _ = socket.recv_fds(line, _MESSAGE_BYTES_MAX, _FDS_MAX)
    except OSError as error:
        line.close()
        raise CannotTakeOver(f"the router in {run} did not hand over: {error.strerror or error}") from error
    if not descriptors:
        line.close()
        raise CannotTakeOver(f"the router in {run} did not hand over: it ends, or hands over already")
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    names = json.loads(said)
    lock, admin, *listening = descriptors
    return Inherited(dict(zip(names["listen"], listening, strict=True)), (names["admin"], admin), lock, line)


class Estate:
    """What a supervisor has to hand over; at most one successor at a time."""

    def __init__(
        self, run: Path, lock: int, listen: Sequence[tuple[str, int]], admin: tuple[str, int]
    ) -> None:
        self._run = run
        self._lock = lock
        self._listen = listen
        self._admin = admin
        self._boot = (run / RUN_FILES.boot).read_bytes()
        self._door: socket.socket | None = None
        self._line: socket.socket | None = None

    def open(self) -> None:
        """Be there for a successor. Whoever has the right to the run directory may be one."""
        path = socket_path(self._run, NAME)
        path.unlink(missing_ok=True)
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(str(path))
        self._door.listen(1)
        self._door.setblocking(False)

    def watched(self) -> list[socket.socket]:
        """What to wait for."""
        return [one for one in (self._door, self._line) if one is not None]

    def is_asked(self) -> bool:
        """Whether a successor has just come."""
        if self._door is None:
            return False
        try:
            line, _ = self._door.accept()
        except BlockingIOError:
            return False
        if self._line is not None:
            line.close()
            return False
        line.setblocking(False)
        self._line = line
        return True

    def hand_over(self) -> None:
        """Give everything to the successor; keep what would be needed if it failed."""
        before = self._run / _BEFORE
        before.unlink(missing_ok=True)
        os.link(self._run / RUN_FILES.counters, before)
        names = {"listen": [name for name, _ in self._listen], "admin": self._admin[0]}
        descriptors = [self._lock, self._admin[1], *(one for _, one in self._listen)]
        if self._line is not None:
            with suppress(OSError):
                socket.send_fds(self._line, [json.dumps(names).encode()], descriptors)

    def outcome(self) -> bool | None:
        """True once the successor serves, False if it is gone, None while it has not said anything."""
        if self._line is None:
            return None
        try:
            said = self._line.recv(64)
        except BlockingIOError:
            return None
        except OSError:
            said = b""
        if said in (_ASK, _READY):
            return True if said == _READY else None
        self._line.close()
        self._line = None
        return False

    def take_back(self) -> None:
        """The successor failed: the run directory is of this life again."""
        os.replace(self._run / _BEFORE, self._run / RUN_FILES.counters)
        replace_file(self._run / RUN_FILES.boot, self._boot)
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        """Nobody can take over any more."""
        for one in self.watched():
            one.close()
        self._door = self._line = None
        (self._run / _BEFORE).unlink(missing_ok=True)
