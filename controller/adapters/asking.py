"""The addresses behind a host's name, looked at before the controller connects to one of them.

What a rollout names is asked in the controller's place in the network. The address that was looked at is the one that
is connected to: a name that is resolved twice may lead elsewhere the second time.
"""

import asyncio
import socket
from ipaddress import ip_address

from headgate.reach import Reach


class NotAsked(OSError):
    """The host is, or leads to, an address that may not be asked."""


async def resolved(host: str, port: int) -> list[str]:
    """The host's addresses, in the order in which they are to be used; OSError where there is none."""
    try:
        return [str(ip_address(host))]
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host!r} is no name of a host: {error}") from error
    return [str(entry[4][0]) for entry in found]


async def reachable(host: str, port: int, reach: Reach) -> list[str]:
    """What to connect to, in order, for this host: the name itself where nothing is refused.

    NotAsked if any of its addresses is refused, any other OSError where it has none.
    """
    if reach.allowed is None:
        return [host]
    addresses = await resolved(host, port)
    for address in addresses:
        if why := reach.refusal(address):
            raise NotAsked(why if address == host else f"{host}: {why}")
    return addresses
