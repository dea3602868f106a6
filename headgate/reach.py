"""Where a rollout's author may have router and controller ask in their place, who reach more than the author does.

Link-local addresses are where clouds keep the credentials of a machine, loopback is where its administration listens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

LOOPBACK: Final[tuple[Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

SPECIAL: Final[dict[str, tuple[Network, ...]]] = {
    "loopback": LOOPBACK,
    "link-local, where clouds keep credentials": (ip_network("169.254.0.0/16"), ip_network("fe80::/10")),
    "a cloud's metadata": (
        ip_network("100.100.100.200/32"),
        ip_network("168.63.129.16/32"),
        ip_network("fd00:ec2::/32"),
        ip_network("fd20:ce::/32"),
    ),
    "unspecified": (ip_network("0.0.0.0/8"), ip_network("::/128")),
    "multicast": (ip_network("224.0.0.0/4"), ip_network("ff00::/8")),
}
"""Networks by what they are."""

_NAT64: Final = ip_network("64:ff9b::/96")
"""IPv4 by IPv6 (RFC 6052): the last 32 bits are the address that is meant."""


def special(address: str) -> str:
    """What makes this address one that is not asked; empty if nothing does. A name is no address."""
    meant = _meant(address)
    if meant is None:
        return ""
    for what, networks in SPECIAL.items():
        if any(meant in network for network in networks):
            return what
    return "reserved" if meant.is_reserved else ""


@dataclass(frozen=True, slots=True)
class Reach:
    """`allowed` goes before what is special; None: nothing is refused. `option` is the setting that allows more."""

    allowed: tuple[Network, ...] | None = None
    option: str = "--upstream-allow"

    def refusal(self, address: str) -> str:
        """Why a model server at this address is not asked; empty if it is. A name is none: its address is looked at."""
        meant, what = _meant(address), special(address)
        if self.allowed is None or not what or any(meant in network for network in self.allowed):
            return ""
        return f"{address} is {what}: allow it with {self.option} {meant}, if it is meant"


ANYWHERE: Final = Reach()
"""Nothing is refused."""


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """From texts such as `10.0.0.0/8`; ValueError says which is none."""
    return tuple(ip_network(text) for text in texts)


def _meant(address: str) -> IPv4Address | IPv6Address | None:
    """The address without its zone, and as IPv4 where it leads there; None for a name."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if found in _NAT64:
        return IPv4Address(int(found) & 0xFFFF_FFFF)
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
