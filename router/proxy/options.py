"""What a worker is told besides plans: how its clients connect, whom it trusts, what it says of itself.

The supervisor's side writes it as a command line (`words`), the worker reads that again (`read`): what `ps` shows is
all there is.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

from headgate.reach import ANYWHERE, Network, Reach, networks
from router import tls
from router.core import reach

CONNECTIONS_MAX: Final = 16_384
"""Clients' connections to one worker, unless told otherwise: about 250 MB of them, all idle."""

UNIX: Final = "unix"
"""Stands for every sender on a Unix socket, in a list of networks."""

SYSTEM: Final = tls.Client()
"""Model servers are verified by the system's authorities."""


@dataclass(frozen=True, slots=True)
class Senders:
    """Who may say, by the PROXY protocol, whom they speak for. Nobody: then that protocol is not spoken."""

    networks: tuple[Network, ...] = ()
    is_unix: bool = False

    def __bool__(self) -> bool:
        return bool(self.networks) or self.is_unix

    def has(self, peer: str | None) -> bool:
        """Whether this address is one of them; None is a client on a Unix socket."""
        if peer is None:
            return self.is_unix
        address = ip_address(peer)
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any((mapped or address) in network for network in self.networks)


def senders(texts: Sequence[str]) -> Senders:
    """From networks such as `10.0.0.0/8`, single addresses, and `unix`. ValueError says which is none."""
    return Senders(networks([text for text in texts if text != UNIX]), UNIX in texts)


@dataclass(frozen=True, slots=True)
class Options:
    """The same for all workers of a router. `access_log` is the share of requests that get a line, 0 to 1."""

    server_tls: tls.Server | None = None
    upstream_tls: tls.Client = SYSTEM
    senders: Senders = Senders()
    connections_max: int = CONNECTIONS_MAX
    access_log: float = 0.0
    names_version: bool = True
    tells_timing: bool = False
    reach: Reach = ANYWHERE


PLAIN: Final = Options()
"""Nothing but HTTP over TCP, and no log."""


def words(options: Options) -> list[str]:
    """The options as a worker's command line; nothing for those that are as they are by default."""
    return [
        *_server_words(options.server_tls),
        *tls.client_words(options.upstream_tls),
        *reach.words(options.reach),
        *_other_words(options),
    ]


def add_to(parser: ArgumentParser) -> None:
    """Teach a parser what `words` writes."""
    tls.add_client_to(parser)
    reach.add_to(parser)
    for name in ("--tls-cert", "--tls-key", "--proxy-protocol-from"):
        parser.add_argument(name, action="append", default=[])
    parser.add_argument("--tls-client-ca", type=Path)
    parser.add_argument("--tls-min", default=tls.TLS_1_2)
    parser.add_argument("--connections-max", type=int, default=CONNECTIONS_MAX)
    parser.add_argument("--access-log-sample", type=float, default=0.0)
    parser.add_argument("--no-version-header", action="store_true")
    parser.add_argument("--server-timing", action="store_true")


def read(given: Namespace) -> Options:
    """What was told on the command line."""
    pairs = tuple(
        tls.Pair(Path(certificate), Path(key))
        for certificate, key in zip(given.tls_cert, given.tls_key, strict=True)
    )
    return Options(
        server_tls=tls.Server(pairs, given.tls_client_ca, given.tls_min) if pairs else None,
        upstream_tls=tls.client_of(given),
        senders=senders(given.proxy_protocol_from),
        connections_max=given.connections_max,
        access_log=given.access_log_sample,
        names_version=not given.no_version_header,
        tells_timing=given.server_timing,
        reach=reach.told(given),
    )


def _server_words(server: tls.Server | None) -> Iterator[str]:
    if server is None:
        return
    for pair in server.pairs:
        yield from ("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key))
    if server.client_ca is not None:
        yield from ("--tls-client-ca", str(server.client_ca))
    if server.oldest != tls.TLS_1_2:
        yield from ("--tls-min", server.oldest)


def _other_words(options: Options) -> Iterator[str]:
    for network in options.senders.networks:
        yield from ("--proxy-protocol-from", str(network))
    if options.senders.is_unix:
        yield from ("--proxy-protocol-from", UNIX)
    if options.connections_max != CONNECTIONS_MAX:
        yield from ("--connections-max", str(options.connections_max))
    if options.access_log:
        yield from ("--access-log-sample", str(options.access_log))
    if not options.names_version:
        yield "--no-version-header"
    if options.tells_timing:
        yield "--server-timing"
