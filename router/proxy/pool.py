"""The endpoints of versions: their health, their load and their idle connections.

An endpoint outlives plans: as long as any plan names its address, its connections and what is known of its health
stay. One that no plan names any more loses its idle connections at once and the others as they end.
"""

import asyncio
import errno
from collections.abc import Iterable
from random import getrandbits
from time import monotonic
from typing import TYPE_CHECKING, Final

from headgate.reach import ANYWHERE, Reach
from headgate.wire.plan import Endpoint
from router.core.balance import HEALTHY, pair, takes
from router.tls import Followed

if TYPE_CHECKING:
    from router.proxy.upstream import Upstream

IDLE_S: Final = 4.0
"""An idle connection is closed before the server would do it: uvicorn's keep-alive lasts 5 s."""

_IDLE_MAX: Final = 256


class Address:
    """One endpoint as this worker knows it. `load` counts its exchanges and connection attempts under way.

    `complaint` is why it gave no connection, as far as that was said in the log; empty if it gives one.
    `usable_since` is the instant from which it is usable: when it was first named, or the end of its last ejection.
    """

    __slots__ = (
        *(
            "authority",
            "complaint",
            "connections",
            "endpoint",
            "health",
            "idle",
            "is_retired",
            "load",
            "reach",
        ),
        *("tls", "usable_since"),
    )

    def __init__(self, endpoint: Endpoint, tls: Followed, reach: Reach) -> None:
        self.endpoint = endpoint
        self.reach = reach
        self.complaint = ""
        self.authority = _authority(endpoint)
        self.tls = tls if endpoint.tls else None
        self.health = HEALTHY
        self.idle: list[Upstream] = []
        self.connections = 0
        self.load = 0
        self.is_retired = False
        self.usable_since = monotonic()

    def take(self) -> "Upstream | None":
        """The connection that was idle for the shortest time, if there is any."""
        while self.idle:
            upstream = self.idle.pop()
            if upstream.is_open:
                return upstream
        return None

    def put(self, upstream: "Upstream", now: float) -> None:
        """Keep a connection for the next request, or close it if nobody will want it."""
        if self.is_retired or len(self.idle) >= _IDLE_MAX:
            upstream.close()
            return
        upstream.idle_since = now
        self.idle.append(upstream)

    def close_idle(self, before: float) -> None:
        """Close connections that have been idle since before that instant; the oldest are first."""
        while self.idle and self.idle[0].idle_since < before:
            self.idle.pop(0).close()

    def retire(self) -> None:
        """No plan names it any more."""
        self.is_retired = True
        self.close_idle(float("inf"))

    def answered(self) -> None:
        """An exchange with it went well, whatever the model said."""
        if self.health.failures or self.health.ejections:
            self.health = HEALTHY
            self.complaint = ""

    def failed(self, now: float) -> bool:
        """A connection to it failed, broke or was silent too long; whether that ejected it."""
        before = self.health.ejections
        self.health = self.health.after_failure(now)
        if self.health.ejections == before:
            return False
        self.usable_since = self.health.ejected_until
        return True


class Addresses:
    """All endpoints of the plan that runs, by address."""

    __slots__ = ("_known", "_reach", "_tls")

    def __init__(self, tls: Followed, reach: Reach = ANYWHERE) -> None:
        self._tls = tls
        self._reach = reach
        self._known: dict[Endpoint, Address] = {}

    def of(self, endpoints: Iterable[Endpoint]) -> list[Address]:
        """The endpoints of one version; new ones begin healthy."""
        found = []
        for endpoint in endpoints:
            if endpoint not in self._known:
                self._known[endpoint] = Address(endpoint, self._tls, self._reach)
            found.append(self._known[endpoint])
        return found

    def keep_only(self, named: set[Endpoint]) -> None:
        """Retire those that the plan which runs now does not name."""
        for endpoint in self._known.keys() - named:
            self._known.pop(endpoint).retire()

    def close_idle(self, before: float) -> None:
        """Close what has been idle since before that instant."""
        for address in self._known.values():
            address.close_idle(before)


def choose(
    addresses: list[Address],
    tried: tuple[Address, ...],
    now: float,
    connections_max: int,
    slow_start_s: float,
) -> Address | None:
    """The less loaded of two random usable endpoints that were not tried yet; None if there is no such one.

    One in its slow start leaves part of what would be its to the other, unless that is in its own.
    """
    count = len(addresses)
    if count == 1:
        only = addresses[0]
        return only if _is_usable(only, tried, now, connections_max) else None
    if count == 0:
        return None
    i, j = pair(count, getrandbits(48))
    first, second = addresses[i], addresses[j]
    if second.load < first.load:
        first, second = second, first
    if not _is_usable(first, tried, now, connections_max):
        first, second = second, first
    if _is_usable(first, tried, now, connections_max):
        age_s = now - first.usable_since
        if age_s >= slow_start_s or now - second.usable_since < slow_start_s:
            return first
        is_left = not takes(age_s, slow_start_s, getrandbits(24) / 2**24)
        return second if is_left and _is_usable(second, tried, now, connections_max) else first
    usable = [one for one in addresses if _is_usable(one, tried, now, connections_max)]
    return min(usable, key=lambda one: one.load, default=None)


def least_bad(addresses: list[Address], connections_max: int) -> Address | None:
    """Where nothing else is left: the endpoint with room, ejected or not, that is allowed again soonest."""
    with_room = [one for one in addresses if one.load < connections_max]
    return min(with_room, key=lambda one: one.health.ejected_until, default=None)


def _is_usable(one: Address, tried: tuple[Address, ...], now: float, connections_max: int) -> bool:
    return one.health.is_usable(now) and one.load < connections_max and one not in tried


def _authority(endpoint: Endpoint) -> bytes:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    is_default = endpoint.port == (443 if endpoint.tls else 80)
    return (host if is_default else f"{host}:{endpoint.port}").encode("ascii")


async def connect(address: Address, timeout_s: float, factory: "type[Upstream]") -> "Upstream":
    """A new connection. OSError if it is refused or the name unknown, TimeoutError if it takes too long.

    A name is looked at again once it is connected to: it may stand for an address that may not be asked.
    """
    loop = asyncio.get_running_loop()
    endpoint = address.endpoint
    _check_reach(address, endpoint.host)
    async with asyncio.timeout(timeout_s):
        _, upstream = await loop.create_connection(
            lambda: factory(address),
            endpoint.host,
            endpoint.port,
            ssl=address.tls.context if address.tls else None,
            server_hostname=endpoint.host if address.tls else None,
        )
    try:
        _check_reach(address, str(upstream.transport.get_extra_info("peername")[0]))
    except OSError:
        upstream.close()
        raise
    return upstream


def _check_reach(address: Address, host: str) -> None:
    why = address.reach.refusal(host)
    if why:
        raise OSError(errno.EACCES, why)
