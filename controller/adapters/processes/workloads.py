"""The `Workloads` port on one machine: which versions run, from one reconcile to the next and across our own death."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from controller.adapters.processes.child import Child, adopt, find
from controller.adapters.processes.group import Group, ProcessGroup, UrlGroup
from controller.adapters.processes.ledger import Entry, Ledger
from controller.adapters.processes.ports import Ports
from controller.adapters.processes.supervised import Surroundings
from controller.adapters.processes.version import ProcessVersion, UrlVersion, read_version
from controller.core.status import VersionObserved, Workload
from headgate.log import Log

_Name = tuple[str, str]
"""Rollout key and version identity."""


class LocalWorkloads:
    """Starts `process:` versions and watches those and `url:` versions.

    State lives under `state`: `processes.json`, and `logs/NAMESPACE/NAME/VERSION.log`. Relative paths of a version
    start from its `baseDir` (the rollout's annotation `headgate.dev/base-dir`), else from `folder`. `on_change` is
    called with the rollout's key, on the event loop, whenever `observe` would answer differently than before.
    Call `start` before anything else and `close` at the end; all in one event loop.
    """

    def __init__(
        self, state: Path, *, folder: Path, on_change: Callable[[str], None], log: Log | None = None
    ) -> None:
        self._folder = folder
        self._log = log or Log("controller")
        self._ledger = Ledger(state / "processes.json", self._log)
        self._around = Surroundings(self._ledger, Ports(), state / "logs", on_change, self._log)
        self._running: dict[_Name, Group] = {}
        self._ending: dict[_Name, asyncio.Task[None]] = {}
        self._unreadable: dict[_Name, str] = {}

    async def start(self, known: Collection[str] | None = None) -> None:
        """Take over what an earlier controller left running; end what belongs to no rollout in `known` (None: keep all).

        A process is ours only if its start time is the noted one. What was ready counts as ready until its probes
        fail, so that a controller's restart takes no endpoint away from the traffic.
        """
        for entry in self._ledger.load():
            child = _survivor(entry)
            version = read_version(entry.document, self._folder)
            if isinstance(version, ProcessVersion) and child is not None:
                self._adopt(version, entry, child)
            elif isinstance(version, UrlVersion):
                self._watch(version, entry)
            else:
                self._ledger.remove(entry)
        for name in [name for name in self._running if known is not None and name[0] not in known]:
            self._end(name)

    async def close(self, *, stop_processes: bool) -> None:
        """End every process and return when all are gone; or let them go on, for the next controller to take over."""
        if stop_processes:
            for name in list(self._running):
                self._end(name)
            if self._ending:
                await asyncio.wait(set(self._ending.values()))
            return
        ending = list(self._ending.values())
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await asyncio.gather(*(group.release() for group in self._running.values()))
        self._running.clear()

    async def observe(
        self, key: str, documents: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, VersionObserved]:
        """Every version in `documents` and every other one of `key` that still runs; from memory."""
        seen = {identity: self._observed((key, identity)) for identity in documents}
        for name in (*self._running, *self._ending):
            if name[0] == key and name[1] not in seen:
                seen[name[1]] = self._observed(name)
        return seen

    async def apply(
        self, key: str, documents: Mapping[str, Mapping[str, Any]], running: Mapping[str, Workload]
    ) -> None:
        for name in [name for name in self._running if name[0] == key and name[1] not in running]:
            self._end(name)
        for identity in sorted(running):
            name = (key, identity)
            if name not in self._running and identity in documents:
                self._begin(name, documents[identity])
            if name in self._running:
                self._running[name].apply(running[identity])

    def _observed(self, name: _Name) -> VersionObserved:
        group = self._running.get(name)
        if group is not None:
            return group.observed()
        if name in self._ending:
            return VersionObserved(is_running=True, message="it is being stopped")
        return VersionObserved(message=self._unreadable.get(name, "it is not running"))

    def _begin(self, name: _Name, document: Mapping[str, Any]) -> None:
        key, identity = name
        version = read_version(document, self._folder)
        if isinstance(version, str):
            self._unreadable[name] = version
            return
        self._unreadable.pop(name, None)
        entry = Entry(key, identity, document)
        if isinstance(version, UrlVersion):
            self._watch(version, entry)
        else:
            self._running[name] = ProcessGroup(version, entry, self._around, self._ending.get(name))

    def _watch(self, version: UrlVersion, entry: Entry) -> None:
        name = (entry.key, entry.identity)
        self._running[name] = UrlGroup(version, entry, self._around, self._ending.get(name))

    def _adopt(self, version: ProcessVersion, entry: Entry, child: Child) -> None:
        group = self._running.setdefault(
            (entry.key, entry.identity), ProcessGroup(version, entry, self._around)
        )
        if isinstance(group, ProcessGroup):
            group.adopt(entry, child)

    def _end(self, name: _Name) -> None:
        group = self._running.pop(name)
        self._ending[name] = asyncio.create_task(self._finish(name, group, self._ending.get(name)))

    async def _finish(self, name: _Name, group: Group, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await asyncio.wait((before,))
            await group.end()
        except asyncio.CancelledError:
            await group.release()
            raise
        if self._ending.get(name) is asyncio.current_task():
            del self._ending[name]
        self._around.on_change(name[0])


def _survivor(entry: Entry) -> Child | None:
    """The process of an entry, if it still runs; found by its token where its id was not noted in time."""
    if entry.pid is not None and entry.started is not None:
        return adopt(entry.pid, entry.started)
    found = find(entry.token) if entry.is_alive and entry.token else None
    return None if found is None else adopt(*found)
