"""Where requests to an endpoint go: an address that was looked at, kept until a request to it fails.

Kept, because a name that is resolved for every request would be measured with it.
"""

from controller.adapters.asking import reachable
from headgate.reach import Reach
from headgate.wire.plan import Endpoint


class Targets:
    """Addresses by endpoint, as far as `reach` goes."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._left: dict[Endpoint, list[str]] = {}

    async def address(self, endpoint: Endpoint) -> str:
        """What to connect to; NotAsked where it may not be, OSError where there is nothing."""
        if not self._left.get(endpoint):
            self._left[endpoint] = await reachable(endpoint.host, endpoint.port, self._reach)
        return self._left[endpoint][0]

    def forget(self, endpoint: Endpoint) -> None:
        """It did not go well there: the next address is tried, after the last one they are looked up again."""
        del self._left.get(endpoint, [])[:1]
