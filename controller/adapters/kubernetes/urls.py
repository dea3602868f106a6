"""Versions behind URLs: each is asked whether it is ready, as in local mode, while its rollout needs it.

Which of them shall be asked only `apply` says. A controller that has just started is asked what it sees before that: it
begins with all of them, and says that it has not seen them yet until the first answers are there, so that its start
takes nobody's endpoints away. Nobody waits in here, and so many first questions are under way at once that their
answers find the loop free: a late look at the clock would take a ready server for a silent one.
"""

import asyncio
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from controller.adapters.processes.remote import Remote
from controller.adapters.processes.version import UrlVersion
from controller.core.status import VersionObserved
from controller.errors import NotSeenYet
from headgate.log import Log
from headgate.reach import Reach

FIRST_ANSWER_S: Final = 1.5
"""After this long without an answer, counted from the first question, none is what is seen."""

FIRSTS_MAX: Final = 64
"""So many are asked for the first time at once."""

AFTER_FAULT_S: Final = 1.0

_Name = tuple[str, str]
"""Rollout key and version identity."""


@dataclass(slots=True)
class _Asked:
    """One URL that is asked; `is_overdue` once its first answer was waited for long enough."""

    remote: Remote
    is_overdue: bool = False
    task: asyncio.Task[None] | None = field(default=None)

    @property
    def is_seen(self) -> bool:
        """Is there an answer, or is that none came the answer?"""
        return self.is_overdue or self.remote.known.is_set()

    def end(self) -> asyncio.Task[None] | None:
        """Ask no more; what is to be waited for."""
        if self.task is not None:
            self.task.cancel()
        return self.task


class Urls:
    """The URLs that are asked, as far as `reach` goes. `on_change(key)` is called when what is seen of one changes."""

    def __init__(self, reach: Reach, on_change: Callable[[str], None], log: Log) -> None:
        self._reach = reach
        self._on_change = on_change
        self._log = log
        self._asked: dict[_Name, _Asked] = {}
        self._decided: set[str] = set()
        self._firsts = asyncio.Semaphore(FIRSTS_MAX)

    def observed(self, name: _Name, version: UrlVersion) -> VersionObserved:
        """What is seen of it; NotSeenYet, in a life in which nothing was decided yet, before there is a first answer."""
        if name[0] not in self._decided and not self._begin(name, version).is_seen:
            raise NotSeenYet(f"{name[0]}: {version.name} was asked and has not answered yet")
        asked = self._asked.get(name)
        return (
            asked.remote.observed() if asked is not None else VersionObserved(message="it is not asked now")
        )

    def apply(self, key: str, wanted: Iterable[tuple[str, UrlVersion]]) -> None:
        """From now on ask these versions (by identity) of the rollout, and no others."""
        self._decided.add(key)
        versions = dict(wanted)
        for identity, version in versions.items():
            self._begin((key, identity), version)
        for name in [name for name in self._asked if name[0] == key and name[1] not in versions]:
            self._asked.pop(name).end()

    def forget(self, key: str) -> None:
        """There is no such rollout any more."""
        self.apply(key, ())
        self._decided.discard(key)

    async def close(self) -> None:
        """Ask nobody any more."""
        ended = [task for asked in self._asked.values() if (task := asked.end()) is not None]
        self._asked.clear()
        await asyncio.gather(*ended, return_exceptions=True)

    def _begin(self, name: _Name, version: UrlVersion) -> _Asked:
        asked = self._asked.get(name)
        if asked is None:
            asked = self._asked[name] = _Asked(
                Remote(version, lambda: self._on_change(name[0]), reach=self._reach)
            )
            asked.task = asyncio.create_task(self._follow(name, asked))
        return asked

    async def _follow(self, name: _Name, asked: _Asked) -> None:
        """Ask for ever; the first answer is waited for in a place among the `FIRSTS_MAX`."""
        async with asyncio.TaskGroup() as group:
            async with self._firsts:
                group.create_task(self._ask(name, asked.remote))
                asked.is_overdue = not await _within(FIRST_ANSWER_S, asked.remote.known)
            if asked.is_overdue:
                self._on_change(name[0])

    async def _ask(self, name: _Name, remote: Remote) -> None:
        while True:
            try:
                await remote.run()
            except Exception as error:  # noqa: BLE001  the outermost frame: a bug here must not leave a version unwatched
                trace = traceback.format_exc(limit=-4)
                self._log.error("asking a URL failed", rollout=name[0], why=repr(error), traceback=trace)
                await asyncio.sleep(AFTER_FAULT_S)


async def _within(seconds: float, known: asyncio.Event) -> bool:
    """Was it set within that time?"""
    try:
        async with asyncio.timeout(seconds):
            return await known.wait()
    except TimeoutError:
        return False
