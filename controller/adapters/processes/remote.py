"""A version behind a URL: somebody else runs it, so there is nothing to start, only to ask whether it is ready."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from controller.adapters.processes.health import Health
from controller.adapters.processes.probe import ask
from controller.adapters.processes.version import UrlVersion
from controller.core.status import VersionObserved
from headgate.reach import ANYWHERE, Reach

UNKNOWN_PERIOD_S: Final = 0.2
"""How often it is asked at least until it is known to be ready or not."""


@dataclass(slots=True)
class Remote:
    """Asks one URL for ever; `on_change` is called when `observed` would answer differently.

    `known` is set once it is known to be ready or not: with the first success, or when as many questions failed as
    make a ready one unready. `reach` says which addresses may be asked.
    """

    version: UrlVersion
    on_change: Callable[[], None]
    health: Health = field(default_factory=Health)
    known: asyncio.Event = field(default_factory=asyncio.Event)
    reach: Reach = ANYWHERE

    async def run(self) -> None:
        """Ask until cancelled."""
        probe = self.version.probe
        while True:
            before = self.health
            self.health = before.after(await ask(probe, self.version.endpoint, self.reach), probe.failures)
            if self.health.is_ready or self.health.failures >= probe.failures:
                self.known.set()
            if (self.health.is_ready, self.health.why_not) != (before.is_ready, before.why_not):
                self.on_change()
            await asyncio.sleep(
                probe.period_s if self.known.is_set() else min(probe.period_s, UNKNOWN_PERIOD_S)
            )

    def observed(self) -> VersionObserved:
        """What the last question found."""
        endpoint = self.version.endpoint
        where = f"{endpoint.host}:{endpoint.port}"
        if self.health.is_ready:
            return VersionObserved((endpoint,), is_running=True, message=f"ready at {where}")
        return VersionObserved(is_running=True, message=f"{where} is not ready: {self.health.why_not}")
