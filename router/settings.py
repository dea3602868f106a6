"""What a router is started with, checked once; the command line and the environment are the only sources."""

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from headgate.reach import LOOPBACK, Reach
from router.core.counters import WORKERS_MAX
from router.files import SOCKET_PATH_BYTES_MAX
from router.proxy.options import PLAIN, Options
from router.supervisor.sockets import Address, SocketPath
from router.tls import Unusable

SOCKET_MODE: Final = 0o600
"""Who may connect to Unix sockets: the router's own user alone."""

DRAIN_S: Final = 35.0
"""How long workers may take to finish what they hold; above the plan's default of 30 s, which they keep to themselves."""

_ROLLOUT: Final = re.compile(r"[a-z0-9.-]{1,63}/[a-z0-9.-]{1,63}")
_ROUTER: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")

Where = Address | SocketPath
"""Where clients come."""


class Invalid(ValueError):
    """A setting that cannot be meant; the text begins with its name."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One router. The plan comes from one of `controllers`, whichever leads, or from `plan`.

    `controller_ca` may come later than the router. `allows_plain_controller`: the token may go out in clear.
    """

    rollout: str
    listen: tuple[Where, ...]
    admin: Address
    run: Path
    workers: int = 1
    router: str | None = None
    controllers: tuple[str, ...] = ()
    token_file: Path | None = None
    controller_hosts: tuple[str, ...] = ()
    controller_ca: Path | None = None
    allows_plain_controller: bool = False
    plan: Path | None = None
    ready_file: Path | None = None
    drain_s: float = DRAIN_S
    socket_mode: int = SOCKET_MODE
    serving: Options = PLAIN
    access_log: str | None = None
    takes_over: bool = False

    def check(self) -> None:
        """Invalid for the first setting that is wrong."""
        if not _ROLLOUT.fullmatch(self.rollout):
            raise Invalid(f"--rollout {self.rollout!r}: NAMESPACE/NAME in small letters, such as ml/fraud")
        if not 1 <= self.workers <= WORKERS_MAX:
            raise Invalid(f"--workers {self.workers}: 1 to {WORKERS_MAX}")
        if self.router is not None and not _ROUTER.fullmatch(self.router):
            raise Invalid(f"--id {self.router!r}: at most 128 letters, digits and . _ : -")
        if bool(self.controllers) == (self.plan is not None):
            raise Invalid("--controller or --plan: one of them says where the plan comes from, and not both")
        self._check_controllers()
        self._check_listening()
        if self.ready_file is not None and not self.ready_file.absolute().parent.is_dir():
            raise Invalid(f"--ready-file {self.ready_file}: its folder does not exist")
        if not is_loopback(self.admin.host) and self.token_file is None:
            raise Invalid(
                f"--admin {self.admin}: not on loopback, so it needs --token-file to know who may ask"
            )

    @property
    def reach(self) -> Reach:
        """Where model servers may be: also on this machine, if plan or controllers are on it."""
        allowed = self.serving.reach.allowed
        is_here = all(is_loopback(urlsplit(url).hostname or "") for url in self.controllers)
        return Reach((*allowed, *LOOPBACK)) if allowed is not None and is_here else self.serving.reach

    def _check_listening(self) -> None:
        if not self.listen:
            raise Invalid(
                "--listen: where shall clients come? 127.0.0.1:8080 or unix:/run/headgate/router.sock"
            )
        for one in self.listen:
            if isinstance(one, SocketPath) and not one.path.absolute().parent.is_dir():
                raise Invalid(f"--listen {one}: its folder does not exist")
        log = Path(self.access_log) if self.access_log not in (None, "-") else None
        if log is not None and not log.absolute().parent.is_dir():
            raise Invalid(f"--access-log {log}: its folder does not exist")
        try:
            for made_of_files in (self.serving.server_tls, self.serving.upstream_tls):
                if made_of_files is not None:
                    made_of_files.context()
        except Unusable as error:
            raise Invalid(f"TLS: {error}") from error

    def _check_controllers(self) -> None:
        if self.token_file is not None and not self.token_file.is_file():
            raise Invalid(f"--token-file {self.token_file}: there is no such file")
        for url in self.controllers:
            found = urlsplit(url)
            if found.scheme not in ("http", "https") or not found.hostname or found.query or found.fragment:
                raise Invalid(f"--controller {url!r}: a URL such as http://127.0.0.1:7000")
            self._check_secrecy(url, found)

    def _check_secrecy(self, url: str, parts: SplitResult) -> None:
        if parts.scheme == "https":
            return
        if self.controller_ca is not None:
            raise Invalid(f"--controller-ca {self.controller_ca}: of no use with {url}; write https://")
        reaches_out = any(not is_loopback(host) for host in (parts.hostname or "", *self.controller_hosts))
        if self.token_file is not None and reaches_out and not self.allows_plain_controller:
            raise Invalid(
                f"--controller {url}: the token of --token-file would go there in clear: write https:// (and "
                "--controller-ca FILE), or say --allow-plain-controller"
            )


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `[IPv6]:PORT` or `:PORT` (loopback). Invalid for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise Invalid(f"{text!r} is not HOST:PORT with a port of 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise Invalid(f"{text!r}: an IPv6 address goes into brackets, [::1]:8080")
    return Address(host or "127.0.0.1", int(port))


def parse_where(text: str) -> Where:
    """An address, or `unix:PATH`. Invalid for anything else."""
    if not text.startswith("unix:"):
        return parse_address(text)
    path = Path(text.removeprefix("unix:"))
    if not path.name or len(os.fsencode(path.absolute())) > SOCKET_PATH_BYTES_MAX:
        raise Invalid(f"{text!r}: a path of at most {SOCKET_PATH_BYTES_MAX} bytes comes after unix:")
    return SocketPath(path.absolute())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def default_router(listen: Where) -> str:
    """This router's id when nobody ever gave one: the machine, and the port or the socket's name."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:100] or "router"
    if isinstance(listen, SocketPath):
        return f"{name}:{re.sub(r'[^A-Za-z0-9._-]', '-', listen.path.name)[:20]}"
    return f"{name}:{listen.port}"
