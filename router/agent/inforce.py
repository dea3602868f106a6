"""The plan in force: takes or refuses what is offered, keeps it on disk, hands it on, and knows who runs it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from headgate.log import Log
from headgate.wire.codec import Malformed, decode_plan
from headgate.wire.plan import NOTHING_APPLIED, Applied, RoutePlan
from router.agent import planfile, plans
from router.agent.processes import Processes
from router.agent.shared import Shared
from router.core.channel import Assignment

KEEP_AGAIN_S: Final = 5.0
"""How long after a failed write the plan is written to disk again."""

WATCH_CLOSELY_S: Final = 0.01
WATCH_S: Final = 0.2
ERROR_CHARS_MAX: Final = 500


class Said(NamedTuple):
    """What the router tells the controller of itself: what every live worker runs, and what was refused and why."""

    applied: Applied
    error: str


class InForce:
    """The router's plan and its acknowledgement. Everything happens on the agent's one event loop."""

    def __init__(self, shared: Shared, rollout: str, log: Log) -> None:
        self.rollout = rollout
        self.processes = Processes(log, self.refresh)
        self.assignment: Assignment | None = None
        self._shared = shared
        self._log = log
        self._refused = ""
        self._said = Said(NOTHING_APPLIED, "")
        self._changed = asyncio.Event()
        self._is_to_keep = asyncio.Event()
        self._kept = NOTHING_APPLIED

    @property
    def said(self) -> Said:
        return self._said

    @property
    def plan(self) -> RoutePlan | None:
        return self.assignment.plan if self.assignment is not None else None

    def start_from(self, run: Path) -> None:
        """Take up the plan that was in force before, if any, asking nobody."""
        try:
            kept = planfile.load(run)
        except planfile.Unreadable as error:
            self._log.error("plan file unreadable, starting without", why=error)
            return
        if kept is not None and kept.plan.rollout == self.rollout:
            self._log.info("plan taken from disk", plan=kept.plan.triple)
            self._kept = kept.plan.triple
            self._adopt(kept)

    def offer(self, body: bytes) -> bool:
        """Whether the plan in `body` is in force now; if not, the reason is in `said.error` from now on."""
        try:
            plan = decode_plan(body)
        except Malformed as error:
            return self._refuse(str(error))
        why = plans.refusal(plan, self.rollout, self.plan)
        if why is not None:
            return self._refuse(why)
        self._refused = ""
        if plan != self.plan:
            self._take(plan)
        self.refresh()
        return True

    def refresh(self) -> None:
        """Look again at what the workers run, and wake whoever waits for a change of it."""
        running = plans.acknowledged(self._said.applied, self._shared.workers())
        applied = min(running, self._kept)
        error = plans.said(self._refused, self.processes.errors())[:ERROR_CHARS_MAX]
        if (applied, error) != self._said:
            self._tell(Said(applied, error))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; it is asked whenever what is said changes."""
        while not condition():
            await self._changed.wait()

    async def until_settled(self) -> None:
        """Wait until every live worker runs the plan, or one of the processes refused it."""
        await self.until(self._is_settled)

    async def watch(self) -> None:
        """Keep `said` true: workers come, go and apply without telling."""
        while True:
            await asyncio.sleep(WATCH_S if self._is_settled() else WATCH_CLOSELY_S)
            self.refresh()

    async def keep(self) -> None:
        """Keep each plan on disk. It is acknowledged only then, so that no restart goes back behind it.

        The workers have it before: a plan may take a bad version's share away, and must not wait for a disk. For the
        same reason one that cannot be written is in force all the same, and acknowledged; it is tried again.
        """
        while True:
            await self._is_to_keep.wait()
            self._is_to_keep.clear()
            assignment = self.assignment
            if assignment is not None:
                await self._keep(assignment)

    async def _keep(self, assignment: Assignment) -> None:
        try:
            await asyncio.to_thread(planfile.save, self._shared.path, assignment)
        except OSError as error:
            self._log.error("plan not kept on disk, a restart would begin with the one before", why=error)
            asyncio.get_running_loop().call_later(KEEP_AGAIN_S, self._is_to_keep.set)
        self._kept = assignment.plan.triple
        self.refresh()

    def _is_settled(self) -> bool:
        wanted = self.plan.triple if self.plan is not None else NOTHING_APPLIED
        return self._said.applied == wanted or bool(self._said.error)

    def _refuse(self, why: str) -> bool:
        self._log.warning("plan refused", why=why)
        self._refused = why
        self.refresh()
        return False

    def _take(self, plan: RoutePlan) -> None:
        before = self.assignment.columns if self.assignment is not None else {}
        assignment = plans.assigned(plan, before)
        self._log.info("plan taken", plan=plan.triple, weights=_text(plan.weights()), because=plan.because)
        self._adopt(assignment)
        self._is_to_keep.set()

    def _adopt(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.processes.assign(assignment)

    def _tell(self, said: Said) -> None:
        if said.applied != self._said.applied:
            self._log.info("applied by every live worker", applied=said.applied)
        if said.error and said.error != self._said.error:
            self._log.warning("plan not run as it is", why=said.error)
        self._said = said
        self._changed.set()
        self._changed = asyncio.Event()


def _text(weights: dict[str, int]) -> str:
    return ",".join(f"{name}:{weight}" for name, weight in weights.items())
