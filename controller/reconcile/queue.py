"""A queue of rollout keys, not of events: a key waits at most once, runs at most once at a time, and comes back.

Whatever happened while a key was being reconciled makes it run once more afterwards; nothing is lost and nothing
piles up. One event loop owns it.
"""

import asyncio
from collections import OrderedDict

Key = str


class WorkQueue:
    """Keys that want a reconcile, in the order in which they first wanted it; urgent ones go first."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Key, None] = OrderedDict()
        self._active: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._news = asyncio.Event()
        self._is_closed = False

    def add(self, key: Key, *, urgent: bool = False) -> None:
        """This key wants a reconcile now; while one is running, another follows it."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._active:
            self._again.add(key)
            return
        self._waiting.setdefault(key)
        if urgent:
            self._waiting.move_to_end(key, last=False)
        self._news.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """This key wants a reconcile in so many seconds, or earlier if something happens before."""
        if key in self._waiting or key in self._again:
            return
        before = self._timers.pop(key, None)
        if before is not None:
            before.cancel()
        self._timers[key] = asyncio.get_running_loop().call_later(max(seconds, 0.0), self._due, key)

    def forget(self, key: Key) -> None:
        """This key needs nothing any more."""
        self._waiting.pop(key, None)
        self._again.discard(key)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def get(self) -> Key | None:
        """The next key, which counts as running until `done`; None once the queue is closed."""
        while not self._is_closed:
            if self._waiting:
                key, _ = self._waiting.popitem(last=False)
                self._active.add(key)
                return key
            self._news.clear()
            await self._news.wait()
        return None

    def done(self, key: Key) -> None:
        """The reconcile of this key has ended."""
        self._active.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Nobody gets another key."""
        self._is_closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._news.set()

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)
