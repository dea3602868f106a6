"""The long poll: gets plans from the controller, and is itself the acknowledgement of those that are in force.

What a poll says is fixed when it is sent. So when the router has something else to say, the poll that hangs is
given up and another is made at once; and after a new plan the next poll waits a moment for the workers.
"""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, Final

from headgate.log import Log
from router.agent.controller import Answer, Controller, Failed, NoSuchRollout, NothingNew, Offered
from router.agent.inforce import InForce, Said

SETTLE_S: Final = 1.0
"""How long the poll after a new plan waits for the workers to run it."""

FIRST_S: Final = 0.1
LONGEST_S: Final = 5.0
UNKNOWN_S: Final = 1.0
"""The longest pause while the controller has no plan for the rollout: it may have one any moment."""

QUICK_S: Final = 1.0
"""An answer `nothing new` that comes sooner than this did not wait."""

_random = SystemRandom()


@dataclass(slots=True)
class Pause:
    """Jittered pauses between tries, doubling up to a bound."""

    next_s: float = FIRST_S

    def reset(self) -> None:
        self.next_s = FIRST_S

    def take(self, longest_s: float = LONGEST_S) -> float:
        """Seconds to wait now: half to all of the present step, so that routers do not come back together."""
        step_s = min(self.next_s, longest_s)
        self.next_s = min(LONGEST_S, self.next_s * 2)
        return step_s * _random.uniform(0.5, 1.0)


class Follower:
    """Polls for as long as it runs; `Controller` and `InForce` do the work."""

    def __init__(self, controller: Controller, in_force: InForce, log: Log) -> None:
        self._controller = controller
        self._in_force = in_force
        self._log = log
        self._pause = Pause()
        self._offered = b""
        self._noted = ("", "")

    async def run(self) -> None:
        """Never returns; ends by being cancelled."""
        while True:
            said, begun = self._in_force.said, time.monotonic()
            answer = await self._poll_while(said)
            if answer is not None:
                await self._use(answer, said, time.monotonic() - begun)

    async def _poll_while(self, said: Said) -> Answer | None:
        """The answer to a poll that says this; None when there was something else to say before it came."""
        poll = asyncio.ensure_future(self._controller.poll(said))
        other = asyncio.ensure_future(self._in_force.until(lambda: self._in_force.said != said))
        try:
            await asyncio.wait((poll, other), return_when=asyncio.FIRST_COMPLETED)
            return poll.result() if poll.done() else None
        finally:
            for task in (poll, other):
                task.cancel()
            await asyncio.gather(poll, other, return_exceptions=True)

    async def _use(self, answer: Answer, said: Said, took_s: float) -> None:
        match answer:
            case Offered(body):
                self._note("connected")
                await self._take(body, said)
            case NothingNew():
                self._note("connected")
                await self._rest_if_quick(said, took_s)
            case NoSuchRollout():
                self._note("no plan for this rollout, the last one stays in force")
                await self._rest(said, UNKNOWN_S)
            case Failed(why):
                self._note("controller unreachable, serving on", why)
                await self._rest(said, LONGEST_S)

    async def _take(self, body: bytes, said: Said) -> None:
        if body == self._offered:  # offered again because we do not run it: nothing to do but to wait
            await self._rest(said, LONGEST_S)
            return
        self._pause.reset()
        self._offered = body
        if self._in_force.offer(body):
            await _at_most(SETTLE_S, self._in_force.until_settled())

    async def _rest_if_quick(self, said: Said, took_s: float) -> None:
        """A controller that is going down lets nobody wait: do not ask it in a tight loop."""
        if took_s < QUICK_S:
            await self._rest(said, UNKNOWN_S)
        else:
            self._pause.reset()

    async def _rest(self, said: Said, longest_s: float) -> None:
        """Pause; shorter when there is something else to say."""
        other = self._in_force.until(lambda: self._in_force.said != said)
        await _at_most(self._pause.take(longest_s), other)

    def _note(self, state: str, why: str = "") -> None:
        """One line when the state of the connection changes, none while it stays."""
        if (state, why) != self._noted:
            self._noted = (state, why)
            self._log.info("controller", state=state, why=why or None)


async def _at_most(seconds: float, waiting: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return
