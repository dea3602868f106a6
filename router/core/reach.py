"""Where model servers may be: what a rollout's author could otherwise make the router ask in their place.

Link-local addresses are where clouds keep the credentials of a machine, loopback is where its administration listens.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

LOOPBACK: Final[tuple[Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

REFUSED: Final[dict[str, tuple[Network, ...]]] = {
    "loopback": LOOPBACK,
    "link-local, where clouds keep credentials": (ip_network("169.254.0.0/16"), ip_network("fe80::/10")),
    "a cloud's metadata": (ip_network("100.100.100.200/32"), ip_network("fd00:ec2::254/128")),
    "unspecified": (ip_network("0.0.0.0/8"), ip_network("::/128")),
    "multicast": (ip_network("224.0.0.0/4"), ip_network("ff00::/8")),
}
"""Networks by what they are; an address of one is asked only if a setting says so."""


@dataclass(frozen=True, slots=True)
class Reach:
    """`allowed` goes before what is refused; None: nothing is refused."""

    allowed: tuple[Network, ...] | None = None

    def refusal(self, address: str) -> str:
        """Why a model server at this address is not asked; empty if it is. A name is none: its address is looked at."""
        if self.allowed is None:
            return ""
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:
            return ""
        mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        meant = mapped or found
        if any(meant in network for network in self.allowed):
            return ""
        for what, networks in REFUSED.items():
            if any(meant in network for network in networks):
                return f"{address} is {what}: allow it with --upstream-allow {meant}, if it is meant"
        return ""


ANYWHERE: Final = Reach()
"""Nothing is refused."""


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """From texts such as `10.0.0.0/8`; ValueError says which is none."""
    return tuple(ip_network(text) for text in texts)


def words(reach: Reach) -> list[str]:
    """How a process is told on its command line."""
    if reach.allowed is None:
        return []
    return ["--guard-upstreams", *(word for one in reach.allowed for word in ("--upstream-allow", str(one)))]


def add_to(parser: ArgumentParser) -> None:
    """Teach a parser what `words` writes."""
    parser.add_argument("--guard-upstreams", action="store_true")
    parser.add_argument("--upstream-allow", action="append", default=[])


def told(given: Namespace) -> Reach:
    """What was told on the command line."""
    return Reach(networks(given.upstream_allow)) if given.guard_upstreams else ANYWHERE
