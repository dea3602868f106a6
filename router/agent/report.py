"""Telemetry: one cumulative report a second, built from shared memory and from what the observer says."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from headgate.log import Log
from headgate.wire.telemetry import ShadowCounters, Telemetry, Worker
from router.agent.controller import Controller
from router.agent.inforce import InForce
from router.agent.shared import Shared
from router.core.counters import WorkerState

EVERY_S: Final = 1.0
SHADOWS_MAX: Final = 16


class Reporter:
    """Builds the router's report; `build` may be called at any time and by anybody."""

    def __init__(self, shared: Shared, in_force: InForce, router: str) -> None:
        self._shared = shared
        self._in_force = in_force
        self._router = router

    def build(self) -> Telemetry:
        """What this router runs and has counted in this life."""
        assignment, said = self._in_force.assignment, self._in_force.said
        return Telemetry(
            rollout=self._in_force.rollout,
            router=self._router,
            boot=self._shared.boot.boot,
            started_at=self._shared.boot.started_at,
            at=time.time(),
            applied=str(said.applied),
            error=said.error,
            pinned=self._shared.pinned(),
            versions=self._shared.versions(assignment) if assignment is not None else (),
            shadows=self._shadows(),
            trips=self._shared.trips(),
            workers=tuple(_worker(one) for one in self._shared.workers()),
        )

    def _shadows(self) -> tuple[ShadowCounters, ...]:
        """Pairs of the plan's own versions, also those of which nothing is counted yet."""
        assignment = self._in_force.assignment
        if assignment is None:
            return ()
        observed = self._in_force.processes.shadows()
        known = {version.identity for version in assignment.plan.versions}
        counted = self._shared.observed() if observed is None else observed
        relevant = [one for one in counted if {one.live_identity, one.shadow_identity} <= known]
        return self._shared.shadows(assignment, relevant)[:SHADOWS_MAX]


class Sender:
    """Sends a report each second. One that fails is dropped: the next says all of it again."""

    def __init__(self, reporter: Reporter, controller: Controller, log: Log) -> None:
        self._reporter = reporter
        self._controller = controller
        self._log = log
        self._failing = ""

    async def run(self) -> None:
        """Never returns; ends by being cancelled. The first poll comes before the first report: it introduces us."""
        await asyncio.sleep(EVERY_S)
        await every(EVERY_S, self.send)

    async def send(self) -> None:
        """Send one now."""
        failed = await self._controller.report(self._reporter.build())
        why = failed.why if failed is not None else ""
        if bool(why) != bool(self._failing):
            self._log.info("telemetry", state="dropped" if why else "sent", why=why or None)
        self._failing = why


async def every(seconds: float, act: Callable[[], object]) -> None:
    """Call `act` (a coroutine function or a plain one) at even intervals; a late call does not shift the next ones."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        done = act()
        if asyncio.iscoroutine(done):
            await done
        due = max(due + seconds, loop.time())
        await asyncio.sleep(due - loop.time())


def _worker(one: WorkerState) -> Worker:
    return Worker(index=one.index, pid=one.pid, started_at=one.started_at_ms / 1000, applied=str(one.applied))
