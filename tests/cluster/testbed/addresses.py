"""Addresses for pods that no node runs: local to this machine, and not loopback to the API server.

The API server refuses an EndpointSlice with a loopback (127.0.0.0/8) or link-local address. So one route makes
198.18.0.0/15, which RFC 2544 sets aside for benchmarks, local to the machine:

    ip route add local 198.18.0.0/15 dev lo

Every process may then bind any address in it, and nothing sent to it leaves the machine. Adding the route takes
root, so `make cluster` does it, once for all runs until the machine restarts; nobody removes it, because another run
may be using it (`ip route del local 198.18.0.0/15 dev lo` does).
"""

import ipaddress
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable
from typing import Final

RANGE: Final = ipaddress.ip_network("198.18.0.0/15")
ROUTE: Final = ("ip", "route", "add", "local", str(RANGE), "dev", "lo")
HOW: Final = f"`make cluster` as root, or: sudo {' '.join(ROUTE)}"


def local() -> bool:
    """Whether this machine takes the addresses for its own."""
    try:
        with socket.create_server((str(RANGE[1]), 0)):
            return True
    except OSError:
        return False


def provide(say: Callable[[str], None]) -> None:
    """Make them local if we may; otherwise say what will be skipped."""
    if not local() and shutil.which("ip") is not None:
        command = ROUTE if os.geteuid() == 0 else ("sudo", "-n", *ROUTE)
        if command[0] == "ip" or shutil.which("sudo") is not None:
            say(f"pod addresses: {' '.join(command)}")
            subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
    if local():
        say(f"pod addresses: {RANGE} is local to this machine")
    else:
        say(f"pod addresses: {RANGE} is not local to this machine, so some tests will be skipped; {HOW}")


def take() -> str:
    """An address of the range, by chance, so that runs side by side do not meet."""
    return str(RANGE[random.randrange(2, RANGE.num_addresses - 1)])
