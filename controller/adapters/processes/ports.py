"""Free ports on loopback, and keeping one for a version's restarts."""

import socket


class Ports:
    """Ports handed out and not yet given back; no two versions get the same."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, preferred: int = 0) -> int:
        """`preferred` if it is free, else a port the kernel says is free. OSError if there is none."""
        for wanted in (preferred, *([0] * 100)):
            port = _free(wanted)
            if port and port not in self._taken:
                self._taken.add(port)
                return port
        raise OSError("no free port on 127.0.0.1")

    def hold(self, port: int) -> None:
        """Keep a port that an adopted process has."""
        self._taken.add(port)

    def give_back(self, port: int) -> None:
        self._taken.discard(port)


def _free(port: int) -> int:
    """A port that nobody listens on, 0 if `port` is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])
