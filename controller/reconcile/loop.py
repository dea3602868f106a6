"""The loop: takes keys off the queue, reconciles them, and puts them back when they want to be.

Four outcomes: done, again at a time, retry after a back-off, gone. A reconcile that raises what nobody expected is
logged with its traceback and retried: one rollout's bug stops no other rollout.
"""

import asyncio
import random
import traceback
from collections.abc import Callable
from typing import Final

from controller.reconcile.queue import WorkQueue
from controller.reconcile.reconciler import Again, Done, Gone, Reconciler, Retry
from controller.telemetry import Metrics
from headgate.log import Log

BACKOFF_FIRST_S: Final = 0.5
RESYNC_S: Final = 180.0
"""A rollout at rest is looked at about this often (a quarter more or less), whatever happens: for what nobody told."""

WORKERS: Final = 16
"""So many reconciles may wait for the API server at once, as many as it is asked by threads: more would wait for those,
and their deadlines with them."""


class Loop:
    """Runs reconciles until stopped. `now` gives Unix seconds."""

    def __init__(
        self, reconciler: Reconciler, queue: WorkQueue, metrics: Metrics, now: Callable[[], float], log: Log
    ) -> None:
        self._reconciler = reconciler
        self._queue = queue
        self._metrics = metrics
        self._now = now
        self._log = log
        self._failures: dict[str, int] = {}
        self._reconciled: set[str] = set()

    def has_seen(self, keys: tuple[str, ...]) -> bool:
        """Was each of these rollouts reconciled at least once in this life?"""
        return self._reconciled.issuperset(keys)

    async def run(self) -> None:
        """Reconcile until the queue is closed."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while (key := await self._queue.get()) is not None:
            try:
                await self._one(key)
            finally:
                self._queue.done(key)

    async def _one(self, key: str) -> None:
        started = asyncio.get_running_loop().time()
        try:
            outcome = await self._reconciler.reconcile(key)
        except Exception as error:  # noqa: BLE001  the outermost frame: one rollout's bug stops no other
            self._log.error(
                "reconcile failed", rollout=key, why=repr(error), traceback=traceback.format_exc(limit=-4)
            )
            outcome = Retry(repr(error))
        self._metrics.reconciled(_word(outcome), asyncio.get_running_loop().time() - started)
        if not (isinstance(outcome, Again) and outcome.is_early):
            self._reconciled.add(key)
        self._schedule(key, outcome)

    def _schedule(self, key: str, outcome: Done | Again | Retry | Gone) -> None:
        if not isinstance(outcome, Retry):
            self._failures.pop(key, None)
        match outcome:
            case Done():
                self._queue.add_after(key, RESYNC_S * random.uniform(0.75, 1.25))  # noqa: S311  no secret
            case Again(at, _):
                self._queue.add_after(key, max(at - self._now(), 0.01))
            case Retry(why, within_s):
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                if failures == 1:
                    self._log.warning("reconcile is retried", rollout=key, why=why)
                self._queue.add_after(key, min(BACKOFF_FIRST_S * 2 ** min(failures - 1, 10), within_s))
            case Gone():
                self._queue.forget(key)
                self._reconciled.discard(key)


def _word(outcome: Done | Again | Retry | Gone) -> str:
    match outcome:
        case Done():
            return "done"
        case Again():
            return "requeue"
        case Retry():
            return "retry"
        case Gone():
            return "terminal"
