"""When a process that gets no new requests has answered its last one: when nobody is connected to it any more.

Routers close a connection to an endpoint that their plan no longer names as soon as its last answer is through, so
the kernel's list of connections says what no process would have to be asked for.
"""

import asyncio
from pathlib import Path
from typing import Final

DRAIN_MIN_S: Final = 2.0
"""Until then a router may not have heard yet that the endpoint is gone; one that hears it later still tries another."""
LOOK_S: Final = 0.25

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED: Final = "01"


async def drained(port: int, longest_s: float, hurry: asyncio.Event) -> None:
    """Return once nobody is connected to this port of ours: not before the least time, and after `longest_s` anyway.

    `hurry` ends it at once. Where the kernel does not tell its connections, it takes the longest time.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not hurry.is_set() and loop.time() - began < longest_s:
        if loop.time() - began >= DRAIN_MIN_S and is_connected(port) is False:
            return
        try:
            async with asyncio.timeout(LOOK_S):
                await hurry.wait()
        except TimeoutError:
            continue


def is_connected(port: int) -> bool | None:
    """Has anybody an open connection to this port of this machine? None where that cannot be known (proc(5), net/tcp)."""
    try:
        tables = [path.read_text("ascii") for path in _TABLES if path.exists()]
    except OSError:
        return None
    rows = [line.split(maxsplit=4) for table in tables for line in table.splitlines()[1:]]
    ours = f":{port:04X}"
    return any(row[3] == _ESTABLISHED and row[1].endswith(ours) for row in rows) if tables else None
