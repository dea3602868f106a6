"""Work on the network that is bounded as a whole, whatever the libraries in between wait for.

Left alone they count a time-out anew with every byte. At the deadline, or once nobody wants the answer, another thread
shuts the socket down under the one that waits, and what it waits for fails at once.
"""

import socket
import threading
import time
from typing import Protocol


class Connection(Protocol):
    """What is needed of an HTTP connection of urllib3: the socket, None while it is not connected."""

    sock: socket.socket | None


class Bounded:
    """One piece of work with a deadline in total; `abort` may come from any thread."""

    def __init__(self, deadline_s: float) -> None:
        self._ends_at = time.monotonic() + deadline_s
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._sock: socket.socket | None = None
        self._is_aborted = False

    @property
    def remaining_s(self) -> float:
        """Seconds left; none or less once the time is up or it was aborted."""
        return 0.0 if self._is_aborted else self._ends_at - time.monotonic()

    def extend(self, seconds: float) -> None:
        """It has this long from now: what follows is the next wait of a long answer."""
        self._ends_at = time.monotonic() + seconds

    def uses(self, connection: Connection) -> None:
        """What follows goes over this connection, which stands or is about to be made."""
        with self._lock:
            self._connection = connection
            # Not the connection alone: after an answer with `Connection: close` it forgets its socket.
            self._sock = connection.sock

    def releases(self) -> None:
        """The connection is somebody else's from now on."""
        with self._lock:
            self._connection = self._sock = None

    def abort(self) -> None:
        """End the work: what it waits for on the network fails at once."""
        with self._lock:
            self._is_aborted = True
            sock = self._sock or (self._connection.sock if self._connection is not None else None)
            if sock is not None:
                _shut(sock)


def _shut(sock: socket.socket) -> None:
    """Wake whoever reads. Not through SSLSocket.shutdown, which drops the TLS state under the reader's hands."""
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # it was closed in the meantime, which is what we want
