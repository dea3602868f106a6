"""The worker process: its sockets, the plan it runs, the sweeper that keeps time for everyone, and its end."""

import asyncio
import gc
import mmap
import os
import re
import resource
import signal
from collections.abc import Coroutine, Sequence
from pathlib import Path
from time import monotonic, time
from typing import Any, Final

from headgate.log import Log
from headgate.wire.plan import NOTHING_APPLIED, Applied, Limits
from headgate.wire.telemetry import IN_FLIGHT_AGES_S
from router.core import counters as c
from router.core.channel import RUN_FILES, Assignment, Hello, Report
from router.core.serving import refusal
from router.files import on_hangup, read_pin, socket_path
from router.proxy.access import AccessLog
from router.proxy.agent_link import follow_agent, stored_assignment
from router.proxy.capture import CopySink
from router.proxy.client import Client
from router.proxy.exchange import Exchange
from router.proxy.guardian import Guardian, TripsFile
from router.proxy.listeners import Listeners
from router.proxy.options import PLAIN, Options
from router.proxy.pool import IDLE_S, Addresses
from router.proxy.routing import Ledger, Routing
from router.tls import Followed

TICK_S: Final = 0.05
"""How coarse time-outs are, and how soon a trip by another worker is seen."""

_QUARTER: Final = 5
_SECOND: Final = 20
"""Ticks until the guard judges and the pin is read; until connections that do nothing are looked at."""

DRAIN_IDLE_S: Final = 1.0
"""When the worker ends, idle connections stay this long: a request that is on its way on one is still answered."""

_REQUEST_ID: Final = re.compile(rb"[!-~]{1,128}")


class Worker:
    """All that one worker process has. `now` is the monotonic instant of the last tick, good enough for deadlines."""

    def __init__(self, run: Path, index: int, options: Options = PLAIN) -> None:
        """Unusable if the options name files that TLS cannot be spoken with."""
        self.log = Log(f"worker-{index}")
        self.options = options
        self._run = run
        self._index = index
        self._counters = _map(run / RUN_FILES.counters)
        self.block = c.Block(self._counters, index)
        self.cells = self.block.cells
        self.ledger = Ledger(self.block)
        self.upstream_tls = Followed(self.options.upstream_tls, self.log)
        self.addresses = Addresses(self.upstream_tls, self.options.reach)
        self.trips = TripsFile(run / RUN_FILES.trips)
        self.guardian = Guardian(self._counters)
        self.sink = CopySink(str(socket_path(run, RUN_FILES.observer_socket)), self.cells, self.log)
        self.access = (
            AccessLog(self.sink, self.cells, self.options.access_log) if self.options.access_log else None
        )
        self.routing: Routing | None = None
        self.limits = Limits()
        self.active: set[Exchange] = set()
        self.clients: set[Client] = set()
        self.held_bytes = 0
        """Of requests that may have to be sent again."""
        self.is_draining = False
        self.now = monotonic()
        self._assignment: Assignment | None = None
        self._pin: str | None = None
        self._trips_seen = -1
        self._tripped: frozenset[str] = frozenset()
        self._listeners = Listeners(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_following = False
        self._ticks = 0
        self._ids = 0
        self._id_prefix = os.urandom(8).hex().encode()

    # -- life --------------------------------------------------------------------------------------------------

    async def serve(self, descriptors: Sequence[int]) -> None:
        """Serve on listening sockets that this process inherited, until SIGTERM and the drain after it."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self.block.begin(os.getpid(), int(time() * 1000))
        stored = stored_assignment(self._run, self.log)
        if stored is not None:
            self.apply(stored)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        on_hangup(loop, lambda: self.spawn(self._follow_files()))
        await self._listeners.open(descriptors)
        self.cells[c.STATE] = c.SERVING
        hello = Hello("worker", self._index, os.getpid())
        self.spawn(
            follow_agent(str(socket_path(self._run, RUN_FILES.agent_socket)), hello, self.apply, self.log)
        )
        self._tick()
        gc.collect()
        gc.freeze()
        self.log.info("serving", applied=self._running())
        await ended.wait()
        await self._drain()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the requests; nobody waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._spawned_ended)

    def _spawned_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.log.warning("background work failed", why=repr(error))

    async def _drain(self) -> None:
        """Stop accepting, let requests end, close what is idle; whatever is left after the plan's time is cut."""
        self.is_draining = True
        self.cells[c.STATE] = c.DRAINING
        self._listeners.close()
        begun = monotonic()
        self.log.info("draining", connections=len(self.clients), requests=len(self.active))
        while (self.clients or self._listeners.is_busy) and monotonic() - begun < self.limits.drain_ms / 1000:
            if monotonic() - begun >= min(DRAIN_IDLE_S, self.limits.drain_ms / 2000):
                for client in [one for one in self.clients if one.is_idle and not one.is_closing]:
                    client.close()
            await asyncio.sleep(TICK_S)
        for exchange in list(self.active):
            exchange.cut()
        for client in list(self.clients):
            client.abort()
        if self.access is not None:
            self.access.flush()
        self.sink.close()
        self.cells[c.STATE] = c.STOPPED
        self.log.info("drained", after_s=f"{monotonic() - begun:.2f}")

    # -- the plan ----------------------------------------------------------------------------------------------

    def apply(self, assignment: Assignment) -> Report:
        """Serve by this plan from the next request on, or say why not."""
        refused = refusal(assignment, self._running())
        if refused:
            self.log.warning("plan refused", why=refused)
            return Report(str(self._running()), refused)
        plan = assignment.plan
        self._assignment = assignment
        self.ledger.claim(assignment.columns, (one.identity for one in plan.versions))
        self._trips_seen = self.trips.changes()
        self._tripped = self.trips.in_force(plan)
        self._reroute()
        self.addresses.keep_only({endpoint for one in plan.versions for endpoint in one.endpoints})
        self.block.write_applied(plan.triple)
        self.limits = plan.limits
        self.sink.want(bool(plan.shadows) or self.access is not None)
        self.log.info("plan applied", applied=plan.triple)
        return Report(str(plan.triple))

    def _running(self) -> Applied:
        return self._assignment.plan.triple if self._assignment else NOTHING_APPLIED

    def _reroute(self) -> None:
        assignment = self._assignment
        if assignment is not None:
            self.routing = Routing(
                assignment.plan,
                assignment.columns,
                self.ledger,
                self.addresses,
                tripped=self._tripped,
                pin=self._pin,
                names_version=self.options.names_version,
            )

    # -- for exchanges -----------------------------------------------------------------------------------------

    def request_id(self, given: bytes | None) -> bytes:
        """The client's id of the request if it is fit to be passed on, or a new one."""
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        self._ids += 1
        return b"%b%016x" % (self._id_prefix, self._ids)

    def wall(self, instant: float) -> float:
        """A monotonic instant as Unix seconds."""
        return time() - (monotonic() - instant)

    # -- the sweeper -------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self.now = now = monotonic()
        self._ticks += 1
        asyncio.get_running_loop().call_later(TICK_S, self._tick)
        for exchange in list(self.active):
            exchange.sweep(now)
        self._watch_trips()
        if self.access is not None:
            self.access.flush()
        if self._ticks % _QUARTER == 0:
            self._publish(now)
            self._judge(now)
            self._follow_pin()
        if self._ticks % _SECOND == 0:
            for client in list(self.clients):
                client.sweep(now, self.limits)
            self.addresses.close_idle(now - IDLE_S)
            self.spawn(self._follow_files())

    async def _follow_files(self) -> None:
        """Certificates that changed are for connections from now on; those at rest were checked by the old ones."""
        if self._is_following:
            return
        self._is_following = True
        try:
            await self._listeners.refresh()
            if bool(self.options.upstream_tls.files()) and await asyncio.to_thread(self.upstream_tls.refresh):
                self.addresses.close_idle(float("inf"))
        finally:
            self._is_following = False

    def _publish(self, now: float) -> None:
        """What is in flight and for how long, for all to see."""
        cells = self.cells
        cells[c.HEARTBEAT_MS] = int(time() * 1000)
        cells[c.CONNECTIONS] = len(self.clients)
        ages = {one.start: [0] * len(IN_FLIGHT_AGES_S) for one in self.ledger.current()}
        for exchange in self.active:
            age, column = exchange.age(now), ages.get(exchange.picked.counted.start)
            for index, bound in enumerate(IN_FLIGHT_AGES_S if column is not None else ()):
                if column is not None and age >= bound:
                    column[index] += 1
        for counted in self.ledger.current():
            cells[counted.start + c.IN_FLIGHT] = counted.in_flight
            for index, count in enumerate(ages[counted.start]):
                cells[counted.start + c.IN_FLIGHT_AGES + index] = count

    def _follow_pin(self) -> None:
        pin = read_pin(self._run, self._pin)
        if pin != self._pin:
            self._pin = pin
            self._reroute()
            self.log.warning("pinned" if pin else "unpinned", version=pin)

    def _watch_trips(self) -> None:
        """Obey trips that any worker wrote."""
        assignment, seen = self._assignment, self.trips.changes()
        if seen == self._trips_seen or assignment is None:
            return
        self._trips_seen = seen
        tripped = self.trips.in_force(assignment.plan)
        if tripped != self._tripped:
            self._tripped = tripped
            self._reroute()
            self.log.error("guard: share taken away", versions=",".join(sorted(tripped)))

    def _judge(self, now: float) -> None:
        assignment, routing = self._assignment, self.routing
        if assignment is None or routing is None:
            return
        can_serve = any(one.health.is_usable(now) for one in routing.stable.addresses)
        due = self.guardian.judge(
            assignment.plan,
            assignment.columns,
            self._tripped,
            now=now,
            at=time(),
            stable_can_serve=can_serve,
        )
        for trip in due:
            if self.trips.write(trip):
                self.log.error(
                    "guard tripped", version=trip.version, failed=trip.failed, requests=trip.requests
                )
        self._watch_trips()


def _map(path: Path) -> memoryview:
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0))


def raise_descriptor_limit() -> None:
    """As many connections as the machine allows, not as the shell happened to say."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
