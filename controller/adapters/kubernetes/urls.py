"""Versions behind URLs: each is asked whether it is ready, as in local mode, while its rollout needs it.

Which of them shall be asked only `apply` says. A controller that has just started is asked what it sees before that: it
begins with all of them, and waits a little for the first answers, so that its start takes nobody's endpoints away.
"""

import asyncio
import traceback
from collections.abc import Callable, Iterable
from typing import Final

from controller.adapters.processes.remote import Remote
from controller.adapters.processes.version import UrlVersion
from controller.core.status import VersionObserved
from headgate.log import Log

FIRST_ANSWER_S: Final = 1.5
AFTER_FAULT_S: Final = 1.0

_Name = tuple[str, str]
"""Rollout key and version identity."""


class Urls:
    """The URLs that are asked. `on_change(key)` is called when what is seen of one changes."""

    def __init__(self, on_change: Callable[[str], None], log: Log) -> None:
        self._on_change = on_change
        self._log = log
        self._asked: dict[_Name, tuple[Remote, asyncio.Task[None]]] = {}
        self._decided: set[str] = set()

    async def observed(self, name: _Name, version: UrlVersion) -> VersionObserved:
        """What is seen of it."""
        if name[0] not in self._decided:
            await self._first_answer(name, version)
        asked = self._asked.get(name)
        return asked[0].observed() if asked is not None else VersionObserved(message="it is not asked now")

    def apply(self, key: str, wanted: Iterable[tuple[str, UrlVersion]]) -> None:
        """From now on ask these versions (by identity) of the rollout, and no others."""
        self._decided.add(key)
        versions = dict(wanted)
        for identity, version in versions.items():
            self._begin((key, identity), version)
        for name in [name for name in self._asked if name[0] == key and name[1] not in versions]:
            self._asked.pop(name)[1].cancel()

    def forget(self, key: str) -> None:
        """There is no such rollout any more."""
        self.apply(key, ())
        self._decided.discard(key)

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = [task for _, task in self._asked.values()]
        self._asked.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _first_answer(self, name: _Name, version: UrlVersion) -> None:
        remote = self._begin(name, version)
        try:
            async with asyncio.timeout(FIRST_ANSWER_S):
                await remote.known.wait()
        except TimeoutError:
            return

    def _begin(self, name: _Name, version: UrlVersion) -> Remote:
        found = self._asked.get(name)
        if found is None:
            remote = Remote(version, lambda: self._on_change(name[0]))
            self._asked[name] = found = (remote, asyncio.create_task(self._ask(name, remote)))
        return found[0]

    async def _ask(self, name: _Name, remote: Remote) -> None:
        while True:
            try:
                await remote.run()
            except Exception as error:  # noqa: BLE001  the outermost frame: a bug here must not leave a version unwatched
                trace = traceback.format_exc(limit=-4)
                self._log.error("asking a URL failed", rollout=name[0], why=repr(error), traceback=trace)
                await asyncio.sleep(AFTER_FAULT_S)
