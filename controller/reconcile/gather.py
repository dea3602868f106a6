"""Measurements that must be fetched, fetched in the background: a slow provider delays nobody's decision.

The reconciler says which queries a rollout wants now; each wanted one is asked for again and again, and a decision
takes what the last answer was. How old that may be is for the judge to say, by the samples' own times.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from controller.core.analysis.inputs import Measurement, Missing
from controller.core.checks import Query
from controller.ports import Counters

INTERVAL_S: Final = 5.0
"""How often a wanted query is asked."""

Wanted = tuple[Query, str]
"""A query and the version's name it is asked for."""


class Gatherer:
    """Keeps the newest answer of every query that some rollout wants. `on_news(key)` tells that one came."""

    def __init__(
        self,
        counters: Counters,
        on_news: Callable[[str], None],
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._counters = counters
        self._on_news = on_news
        self._interval_s = interval_s
        self._tasks: dict[tuple[str, Wanted], asyncio.Task[None]] = {}
        self._answers: dict[tuple[str, Wanted], Measurement] = {}

    def want(self, key: str, wanted: frozenset[Wanted]) -> None:
        """From now on this rollout wants these answers and no others."""
        for known in [known for known in self._tasks if known[0] == key and known[1] not in wanted]:
            self._tasks.pop(known).cancel()
            self._answers.pop(known, None)
        for query in wanted:
            if (key, query) not in self._tasks:
                self._tasks[(key, query)] = asyncio.create_task(self._ask_on(key, query))

    def latest(self, key: str, wanted: Wanted) -> Measurement:
        """The newest answer."""
        return self._answers.get((key, wanted), Missing("it was not answered yet"))

    async def close(self) -> None:
        """Ask nothing more."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_on(self, key: str, wanted: Wanted) -> None:
        query, version = wanted
        while True:
            self._answers[(key, wanted)] = await self._counters.counts(query, version)
            self._on_news(key)
            await asyncio.sleep(self._interval_s)
