"""The listening sockets, which the supervisor opens before anything else and keeps over every restart.

Workers share one socket, so connections that wait in its queue outlive the worker that would have taken them.
"""

import errno
import os
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple

BACKLOG: Final = 1024
_LISTEN: Final = "0A"


class Address(NamedTuple):
    """A TCP address to listen on; port 0 asks the kernel for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Where a client on this machine reaches it."""
        return f"http://{Address(self._reachable(), self.port)}"

    def _reachable(self) -> str:
        try:
            address = ip_address(self.host)
        except ValueError:
            return self.host
        if not address.is_unspecified:
            return self.host
        return "::1" if address.version == 6 else "127.0.0.1"


class SocketPath(NamedTuple):
    """A Unix socket to listen on."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def url(self) -> str:
        """How people are told of it."""
        return str(self)


class CannotListen(Exception):
    """The address cannot be listened on; the text says why and who to look for."""


def listen_unix(address: SocketPath, mode: int) -> socket.socket:
    """A listening socket at that path, for those that `mode` lets write to it, in place of one that nobody serves.

    CannotListen says what is in the way.
    """
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(address.path)
        before = os.umask(0o777)  # nobody connects before the mode is right
        try:
            opened.bind(str(address.path))
        finally:
            os.umask(before)
        address.path.chmod(mode)
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise CannotListen(f"{address}: {error.strerror or error}") from error
    opened.setblocking(False)
    return opened


def _clear(path: Path) -> None:
    """Take away a socket that was left over. CannotListen if somebody serves it, or if it is something else."""
    if not path.is_socket():
        if path.exists():
            raise CannotListen(f"unix:{path}: there is a file of that name that is no socket")
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise CannotListen(
                f"unix:{path} is in use: another process serves it; stop it or listen elsewhere"
            )


def listen(address: Address) -> socket.socket:
    """A listening socket, not inherited unless its number is passed on. CannotListen says what is in the way."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # The protocol by name: asyncio turns Nagle's algorithm off only on sockets that say they are TCP.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(tuple(address))
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise CannotListen(_why(address, error)) from error
    opened.setblocking(False)
    return opened


def address_of(opened: socket.socket) -> Address:
    """Where a socket listens, with the port that the kernel gave."""
    host, port = opened.getsockname()[:2]
    return Address(host, port)


def _why(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holders = (
            ", ".join(_holders(address.port))
            or f"a process of another user: ss -ltnp 'sport = :{address.port}'"
        )
        return f"port {address.port} is in use: {address} is held by {holders}; stop it or listen elsewhere"
    if error.errno == errno.EACCES:
        return f"{address}: this user may not listen on port {address.port}; take one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address}: this machine has no address {address.host}"
    return f"{address}: {error.strerror or error}"


def _holders(port: int) -> Iterator[str]:
    """Processes that listen on the port, as far as this user may see: `pid 4711 (python)`. Arguments may hold secrets."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in sorted(Path("/proc").glob("[0-9]*")):
        if wanted & _open_files(process):
            yield f"pid {process.name} ({_read(process / 'comm').strip()})"


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        for line in _read(Path("/proc/net") / table).splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _open_files(process: Path) -> set[str]:
    found = set()
    try:
        for entry in os.scandir(process / "fd"):
            found.add(os.readlink(entry.path))
    except OSError:
        return found
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
