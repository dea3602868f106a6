"""Who counts as reconciled, which is what readiness says."""

import asyncio

from controller.reconcile.loop import Loop
from controller.reconcile.queue import WorkQueue
from controller.reconcile.reconciler import Again, Done, Outcome
from controller.telemetry import Metrics
from headgate.log import Log


class Scripted:
    """Gives these outcomes, one a reconcile, and the last for ever."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.times = 0

    async def reconcile(self, key: str) -> Outcome:
        self.times += 1
        return self.outcomes[min(self.times, len(self.outcomes)) - 1]


async def looped(scripted: Scripted, times: int) -> bool:
    """Is the rollout reconciled after so many times?"""
    queue = WorkQueue()
    loop = Loop(scripted, queue, Metrics(), lambda: 0.0, Log("test"))
    running = asyncio.create_task(loop.run())
    queue.add("a/fraud")
    async with asyncio.timeout(60):
        while scripted.times < times:
            await asyncio.sleep(0.005)
    found = loop.has_seen(("a/fraud",))
    queue.close()
    await running
    return found


def test_a_rollout_of_which_not_everything_was_seen_yet_is_not_reconciled() -> None:
    assert not asyncio.run(looped(Scripted(Again(0.0, is_early=True)), 3))


def test_it_is_once_something_was_decided() -> None:
    assert asyncio.run(looped(Scripted(Again(0.0, is_early=True), Done()), 2))
