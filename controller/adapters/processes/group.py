"""All that runs of one version: its replicas as processes of ours, or the one place that its URL names.

A replica that shall go is first taken off the endpoints; its process is stopped when nobody is connected to it any
more. Nothing here acts on its own: `apply` says what shall be, again whenever something changed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from controller.adapters.processes.child import Child
from controller.adapters.processes.draining import drained
from controller.adapters.processes.health import Health
from controller.adapters.processes.ledger import Entry
from controller.adapters.processes.remote import Remote
from controller.adapters.processes.replicas import (
    Replica,
    is_crash_looping,
    is_old,
    moves,
    wanted_of,
)
from controller.adapters.processes.supervised import Local, Surroundings
from controller.adapters.processes.version import ProcessVersion, UrlVersion
from controller.core.status import VersionObserved, Workload

_AFTER_FAULT_S: Final = 1.0


@dataclass(slots=True)
class _Running:
    local: Local
    task: asyncio.Task[None]


class ProcessGroup:
    """The replicas of one `process:` version. They start when `before`, the end of an earlier group of it, is done."""

    def __init__(
        self,
        version: ProcessVersion,
        entry: Entry,
        around: Surroundings,
        before: asyncio.Task[None] | None = None,
    ) -> None:
        self._version = version
        self._entry = entry
        self._around = around
        self._before = before
        self._workload: Workload | None = None
        self._running: dict[int, _Running] = {}
        self._leaving: dict[int, asyncio.Task[None]] = {}
        self._hurry = asyncio.Event()
        self._restarts_of_gone = 0

    def adopt(self, entry: Entry, child: Child) -> None:
        """Go on with a process that an earlier controller started."""
        self._around.ports.hold(entry.port)
        self._supervise(Local(self._version, entry, self._around, child, Health(is_ready=entry.is_ready)))

    def apply(self, workload: Workload) -> None:
        """Start and take away replicas, as far as can be done now; idempotent."""
        self._workload = workload
        for running in self._running.values():
            running.local.restarts_asked = workload.restarts
        to_do = moves(workload, self._replicas(), self._leaving)
        for number in to_do.stop:
            self._leave(number)
        for number in to_do.start:
            self._begin(number, workload)
        if to_do.stop:
            self._around.on_change(self._entry.key)

    async def end(self) -> None:
        """Stop all of them now, also those that still answer a last request; returns when they are gone."""
        self._hurry.set()
        for number in list(self._running):
            self._leave(number)
        if self._leaving:
            await asyncio.wait(set(self._leaving.values()))

    async def release(self) -> None:
        """Let all of them go on without us."""
        tasks = [running.task for running in self._running.values()] + list(self._leaving.values())
        await _cancel(tasks)
        for running in self._running.values():
            running.local.release()
        self._running.clear()

    def observed(self) -> VersionObserved:
        """What is seen of all replicas together; those that leave are running, but no endpoints."""
        locals_ = self._locals()
        replicas = self._replicas()
        return VersionObserved(
            endpoints=tuple(local.endpoint() for local in locals_ if local.is_ready),
            is_running=bool(self._leaving) or any(local.child is not None for local in locals_),
            is_crash_looping=is_crash_looping(replicas),
            restarts=self._restarts_of_gone + sum(local.restarts for local in locals_),
            message=self._message(locals_, replicas),
            replicas=sum(replica.is_ready for replica in replicas),
            outdated=self._outdated(replicas),
        )

    def _message(self, locals_: list[Local], replicas: list[Replica]) -> str:
        """The words of the only replica; of several, how many are ready, and the words of the one that is worst off."""
        workload = self._workload or Workload(len(replicas))
        wanted = wanted_of(workload)
        old = self._outdated(replicas)
        if wanted == len(replicas) == 1 and not old:
            return locals_[0].message()
        ready = sum(replica.is_ready for replica in replicas)
        words = [f"{min(ready, wanted)} of {wanted} ready"]
        if workload.replicas > wanted:
            words.append(f"{workload.replicas} are asked for and no more than {wanted} run on one machine")
        if old:
            words.append(f"{old} still to be replaced")
        unready = [local for local in locals_ if not local.is_ready]
        if unready:
            worst = min(unready, key=lambda local: (not local.exits.is_looping, not local.exits.streak))
            words.append(f"replica {worst.entry.number}: {worst.message()}")
        return "; ".join(words)

    def _outdated(self, replicas: list[Replica]) -> int:
        workload = self._workload
        return 0 if workload is None else sum(is_old(replica, workload) for replica in replicas)

    def _begin(self, number: int, workload: Workload) -> None:
        entry = Entry(self._entry.key, self._entry.identity, self._entry.document, number=number)
        self._supervise(Local(self._version, entry, self._around, restarts_asked=workload.restarts))

    def _supervise(self, local: Local) -> None:
        key = local.entry.key
        task = asyncio.create_task(_supervise(local.run, key, self._around, self._before))
        self._running[local.entry.number] = _Running(local, task)

    def _leave(self, number: int) -> None:
        running = self._running.pop(number)
        local = running.local
        self._restarts_of_gone += local.restarts
        drain_s = self._workload.drain_s if self._workload and local.may_have_requests else 0.0
        local.withdraw()
        running.task.cancel()
        self._leaving[number] = asyncio.create_task(self._finish(running, drain_s))

    async def _finish(self, running: _Running, drain_s: float) -> None:
        local = running.local
        try:
            await asyncio.wait((running.task,))
            await drained(local.entry.port, drain_s, self._hurry)
            await local.end()
        except asyncio.CancelledError:
            local.release()
            raise
        self._around.ledger.remove(local.entry)
        del self._leaving[local.entry.number]
        self._around.on_change(self._entry.key)

    def _locals(self) -> list[Local]:
        return [running.local for _, running in sorted(self._running.items())]

    def _replicas(self) -> list[Replica]:
        return [_replica(local) for local in self._locals()]


class UrlGroup:
    """A version behind a URL: somebody else runs it, however many there are."""

    def __init__(
        self,
        version: UrlVersion,
        entry: Entry,
        around: Surroundings,
        before: asyncio.Task[None] | None = None,
    ) -> None:
        self._entry = entry
        self._around = around
        self._remote = Remote(version, self._changed, Health(is_ready=entry.is_ready))
        self._task = asyncio.create_task(_supervise(self._run, entry.key, around, before))

    def apply(self, workload: Workload) -> None:
        """There is nothing to start or stop here."""

    async def end(self) -> None:
        """Watch it no more, and forget it."""
        await _cancel([self._task])
        self._around.ledger.remove(self._entry)

    async def release(self) -> None:
        """Watch it no more; the next controller does."""
        await _cancel([self._task])

    def observed(self) -> VersionObserved:
        """What the last question found."""
        return self._remote.observed()

    async def _run(self) -> None:
        self._around.ledger.note(self._entry)
        await self._remote.run()

    def _changed(self) -> None:
        if self._remote.health.is_ready != self._entry.is_ready:
            self._entry = replace(self._entry, is_ready=self._remote.health.is_ready)
            self._around.ledger.note(self._entry)
        self._around.on_change(self._entry.key)


Group = ProcessGroup | UrlGroup


def _replica(local: Local) -> Replica:
    # Without a process, it is as old as the process that it starts next.
    restarts = local.restarts_asked if local.child is None else local.entry.restarts
    return Replica(local.entry.number, restarts, local.is_ready, local.exits.is_looping)


async def _supervise(
    run: Callable[[], Awaitable[None]], key: str, around: Surroundings, before: asyncio.Task[None] | None
) -> None:
    """Run it once the one before it, of the same version, has come to its end."""
    if before is not None:
        await asyncio.wait((before,))
    while True:
        try:
            await run()
        except Exception:  # noqa: BLE001  (outermost frame: a fault of ours must not leave a version unwatched)
            around.tell_of_fault(key)
            await asyncio.sleep(_AFTER_FAULT_S)


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel them and return when they have ended."""
    waited = list(tasks)
    for task in waited:
        task.cancel()
    await asyncio.gather(*waited, return_exceptions=True)
