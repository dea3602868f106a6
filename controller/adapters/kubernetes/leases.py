"""Who leads: one process at a time, by a Lease; and a leader that cannot know it leads does not write.

Why not the official client's elector: on a server that stays silent it hung for over 20 s with a lease of 15. Here

* only our own clock judges. Another's lease has expired when *we* have seen it unchanged for its duration; the times
  written in it are for people, so no wall clock that is wrong, here, there or on the server, makes two leaders.
* our own lease counts from before the renewal was sent, and we stop at `renew_deadline_s`, well before any other can
  take over. `is_leader()` looks at the clock each time: after a stop of the process it is false before anything ran.
* each call ends before the next is due, in a thread of its own that no other call can keep busy.
* a thread watches the loop: if leadership has run out and the loop has not noticed, the process ends.

The clock is CLOCK_BOOTTIME where there is one: CLOCK_MONOTONIC stands still while a machine sleeps, and a leader that
wakes from that would trust a lease that others took meanwhile. For judging others the difference is harmless: before a
take-over the lease is read again, and the write carries its resourceVersion. A virtual machine that is paused as a
whole has no clock that tells; for that there is the epoch on every plan and the resourceVersion on every write.
"""

import asyncio
import os
import secrets
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from controller.adapters.kubernetes.api import Api, ApiError, Conflict, NotFound, Unavailable, path_of
from controller.adapters.kubernetes.backoff import about
from headgate.log import Log

EXIT_STATUS: Final = 75
"""How the process ends when it may lead no more and did not notice (EX_TEMPFAIL: start it again)."""

DURATION_S_MAX: Final = 600
"""Another's lease is waited for no longer than this, whatever it says."""

ADDRESS: Final = "headgate.dev/api"
"""Annotation of the lease: where the API of its holder is, such as `https://10.1.2.3:7000`."""

JITTER: Final = 0.2
ADDRESS_CHARS_MAX: Final = 256
CALL_SHARE: Final = 0.75
"""A call may take this part of the time to the next one."""

_MARGIN_S: Final = 0.05
"""So much after another's lease has expired we look again."""


def clock_s() -> float:
    """Seconds that no one can set, sleep of the machine included."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


def end_process(status: int) -> NoReturn:
    """At once: no handler, no flush, no write."""
    os._exit(status)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A lease lasts `duration_s`; its holder renews it about every `retry_s` and stops leading when it could
    not for `renew_deadline_s`; others look about every `retry_s`. ValueError unless retry < deadline < duration."""

    duration_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry_s * (1 + JITTER) < self.renew_deadline_s < self.duration_s <= DURATION_S_MAX:
            raise ValueError(
                f"retry ({self.retry_s:g} s, and a fifth) < renew deadline ({self.renew_deadline_s:g} s) < lease "
                f"({self.duration_s:g} s) <= {DURATION_S_MAX} s does not hold"
            )

    @property
    def call_s(self) -> float:
        """The deadline of each call."""
        return self.retry_s * CALL_SHARE

    @property
    def overdue_s(self) -> float:
        """After this long without renewal the process ends, if it still believes that it leads."""
        return (self.renew_deadline_s + self.duration_s) / 2


TIMING: Final = Timing()


@dataclass(frozen=True, slots=True)
class _Hold:
    """Our lease as last written, and the clock right before that was sent."""

    lease: Mapping[str, Any]
    since: float


@dataclass(frozen=True, slots=True)
class _Sight:
    """A lease as last read: its version, and when by our clock it has expired if it stays that."""

    version: str
    expires_at: float


class Elector:
    """Campaigns for the lease `name` as `identity` (default: host name and a random part; it must be unique). The lease
    tells others the `address` of our API, and us theirs (`leader_address`).

    The order: `await acquire()`, then a task with `lead(on_lost)`; `is_leader()` before every write (see `Api.fenced`);
    at the end cancel the task and `await release()`. After a loss `acquire` may be called again.
    """

    def __init__(
        self,
        api: Api,
        name: str,
        log: Log,
        *,
        namespace: str | None = None,
        identity: str | None = None,
        address: str = "",
        timing: Timing = TIMING,
        clock: Callable[[], float] = clock_s,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        end: Callable[[int], object] = end_process,
    ) -> None:
        self.identity = identity or f"{socket.gethostname()}_{secrets.token_hex(6)}"
        self.holder = ""
        self.leader_address = ""
        self._address = address
        self._api = api.apart(2)
        self._renewals = self._api.fenced(self.is_leader)
        self._namespace = namespace or api.namespace
        self._name = name
        self._timing = timing
        self._clock = clock
        self._sleep = sleep
        self._end = end
        self._log = log
        self._hold: _Hold | None = None
        self._sight: _Sight | None = None
        self._is_absent = False
        self._watchdog: _Watchdog | None = None
        self._trouble = ""

    @property
    def transitions(self) -> int:
        """How often the lease has changed hands, ours included; 0 while we do not hold it."""
        hold = self._hold
        return 0 if hold is None else _transitions(hold.lease)

    def is_leader(self) -> bool:
        """Do we lead at this very moment? By our clock alone; from any thread."""
        return self.left_s() > 0

    def is_following(self) -> bool:
        """Did another hold the lease when we last looked?"""
        return self.holder not in ("", self.identity)

    def left_s(self) -> float:
        """Seconds for which we surely lead; a write that may take longer may arrive when another leads."""
        hold = self._hold
        return 0.0 if hold is None else max(hold.since + self._timing.renew_deadline_s - self._clock(), 0.0)

    def is_overdue(self) -> bool:
        """Do we believe that we lead, long after we should have stopped? Then the process was stopped, or hangs."""
        hold = self._hold
        return hold is not None and self._clock() >= hold.since + self._timing.overdue_s

    async def acquire(self) -> int:
        """Wait until the lease is ours; how often it has changed hands, ours included. Until cancelled."""
        self._hold = self._sight = None
        self._is_absent = False
        while True:
            try:
                hold = await self._attempt()
            except ApiError as error:
                self._tell("the lease cannot be had", error)
            else:
                self._trouble = ""
                if hold is not None:
                    return self._begin(hold)
            await self._sleep(self._pause_s())

    async def lead(self, on_lost: Callable[[str], None]) -> None:
        """Renew the lease until it is lost: then `on_lost(why)` is called, once, when `is_leader()` is already false."""
        next_at = self._clock()
        while (hold := self._hold) is not None:
            next_at = max(next_at, self._clock() - self._timing.retry_s) + about(self._timing.retry_s, JITTER)
            await self._sleep(min(max(next_at - self._clock(), 0.0), self.left_s()))
            why = await self._renewed(hold)
            if why:
                self._hold = None
                self._log.error("no longer the leader", lease=self._place, why=why)
                on_lost(why)

    async def release(self) -> None:
        """Give the lease up, so that another can lead at once; from here on `is_leader()` is false. Ends the threads."""
        hold, self._hold = self._hold, None
        try:
            if hold is not None:
                await self._give_up(hold)
        except ApiError as error:
            self._log.warning(
                "the lease was not given up: others have to wait until it expires",
                lease=self._place,
                why=error.message,
            )
        finally:
            await self.close()

    async def close(self) -> None:
        """End the threads, without giving the lease up."""
        self._hold = None
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None
        await self._api.close()

    @property
    def _place(self) -> str:
        return f"{self._namespace}/{self._name}"

    def _path(self, name: str | None) -> str:
        return path_of("coordination.k8s.io", "v1", "leases", self._namespace, name)

    def _begin(self, hold: _Hold) -> int:
        self._hold = hold
        self.holder = self.identity
        if self._watchdog is None:
            self._watchdog = _Watchdog(self, self._end, min(self._timing.retry_s / 4, 0.25))
        self._log.info("leading", lease=self._place, identity=self.identity, transitions=self.transitions)
        return self.transitions

    def _pause_s(self) -> float:
        """Until the next look: the retry period, or less if another's lease may expire before."""
        pause_s = about(self._timing.retry_s, JITTER)
        left_s = self._sight.expires_at - self._clock() if self._sight is not None else 0.0
        return min(pause_s, left_s + _MARGIN_S) if left_s > 0 else pause_s

    async def _attempt(self) -> _Hold | None:
        """Look at the lease, and take it if it is free; None if it is not, or not yet surely."""
        try:
            lease = await self._read()
        except NotFound:
            return await self._create()
        self._is_absent = False
        sight = self._look(lease)
        if _holder(lease) not in ("", self.identity) and self._clock() < sight.expires_at:
            return None
        return await self._write(self._api, lease, _transitions(lease) + 1, is_new_term=True)

    async def _create(self) -> _Hold | None:
        """There is no lease. Its holder may live, and creates it anew within a retry period: look twice."""
        is_held = self._sight is not None and self._clock() < self._sight.expires_at
        if is_held or not self._is_absent:
            self._is_absent = True
            return None
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        try:
            return await self._insert(self._api, lease, 1, is_new_term=True)
        except Conflict:
            return None  # somebody else was first

    async def _insert(
        self, api: Api, lease: Mapping[str, Any], transitions: int, *, is_new_term: bool
    ) -> _Hold:
        """Create the lease in our name; Conflict if there is one."""
        since = self._clock()
        metadata = {"name": self._name, "namespace": self._namespace}
        spec = self._spec(_mapping(lease, "spec"), transitions, is_new_term=is_new_term)
        body = self._telling({**lease, "metadata": metadata, "spec": spec})
        return _Hold(_checked(await api.create(self._path(None), body, timeout_s=self._timing.call_s)), since)

    async def _read(self) -> dict[str, Any]:
        return _checked(await self._api.get(self._path(self._name), timeout_s=self._timing.call_s))

    def _look(self, lease: Mapping[str, Any]) -> _Sight:
        """What is to be thought of the lease; its time begins anew whenever it changed."""
        version, now = lease["metadata"]["resourceVersion"], self._clock()
        sight = self._sight
        if sight is None or sight.version != version:
            self._sight = sight = _Sight(version, now + self._lasts_s(lease))
        holder = _holder(lease)
        self.leader_address = _address(lease) if holder else ""
        if holder != self.holder:
            self.holder = holder
            self._log.info("another leads" if holder else "nobody leads", lease=self._place, holder=holder)
        return sight

    def _lasts_s(self, lease: Mapping[str, Any]) -> float:
        """How long the lease is respected: as long as its holder said, but not for ever."""
        said = _mapping(lease, "spec").get("leaseDurationSeconds")
        is_said = isinstance(said, int) and not isinstance(said, bool) and 0 < said <= DURATION_S_MAX
        return float(said) if is_said and isinstance(said, int) else self._timing.duration_s

    async def _write(
        self, api: Api, lease: Mapping[str, Any], transitions: int, *, is_new_term: bool
    ) -> _Hold:
        """Write our name into the lease that we read; Conflict if it has changed since."""
        since = self._clock()
        spec = self._spec(_mapping(lease, "spec"), transitions, is_new_term=is_new_term)
        body = self._telling({**lease, "spec": spec})
        written = await api.replace(self._path(self._name), body, timeout_s=self._timing.call_s)
        return _Hold(_checked(written), since)

    def _telling(self, lease: Mapping[str, Any]) -> dict[str, Any]:
        """The lease with our address in place of its last holder's."""
        metadata = _mapping(lease, "metadata")
        others = {name: said for name, said in _mapping(metadata, "annotations").items() if name != ADDRESS}
        ours = {ADDRESS: self._address} if self._address else {}
        return {**lease, "metadata": {**metadata, "annotations": {**others, **ours}}}

    def _spec(self, before: Mapping[str, Any], transitions: int, *, is_new_term: bool) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {
            **before,
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(round(self._timing.duration_s), 1),
            "acquireTime": now if is_new_term else before.get("acquireTime", now),
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    async def _renewed(self, hold: _Hold) -> str:
        """Renew the lease once; why it is lost, "" if it is not, or not yet."""
        if self.is_overdue():
            self._end(EXIT_STATUS)  # stopped for long: what is in memory is old, and others lead
        if not self.is_leader():
            return f"the lease could not be renewed for {self._timing.renew_deadline_s:g} s: {self._trouble or 'no time'}"
        try:
            self._hold = await self._renew(hold)
        except _Taken as taken:
            return str(taken)
        except ApiError as error:
            self._tell("the lease cannot be renewed", error)
        else:
            self._trouble = ""
        return ""

    async def _renew(self, hold: _Hold) -> _Hold:
        transitions = _transitions(hold.lease)
        try:
            return await self._write(self._renewals, hold.lease, transitions, is_new_term=False)
        except (Conflict, NotFound):
            # Our own renewal whose answer was lost, a person's edit, another leader; and Conflict is also what a server
            # says where the lease was deleted (for leases a PUT may create, and the resourceVersion forbids it).
            pass
        try:
            lease = await self._read()
        except NotFound:
            return await self._restore(hold)
        if _holder(lease) != self.identity:
            raise _Taken(f"{_holder(lease) or 'nobody'} holds the lease")
        return await self._write(self._renewals, lease, transitions, is_new_term=False)

    async def _restore(self, hold: _Hold) -> _Hold:
        """Somebody deleted the lease: create it anew as it was, unless another has."""
        try:
            return await self._insert(self._renewals, hold.lease, _transitions(hold.lease), is_new_term=False)
        except Conflict:
            raise _Taken("the lease was deleted, and another has taken it") from None

    async def _give_up(self, hold: _Hold) -> None:
        try:
            await self._clear(hold.lease)
        except Conflict:  # with our own renewal, whose answer was not awaited
            lease = await self._read()
            if _holder(lease) == self.identity:
                await self._clear(lease)
        self._log.info("the lease was given up", lease=self._place)

    async def _clear(self, lease: Mapping[str, Any]) -> None:
        spec = {**_mapping(lease, "spec"), "holderIdentity": "", "leaseDurationSeconds": 1}
        body = {**lease, "spec": spec}
        await self._api.replace(self._path(self._name), body, timeout_s=self._timing.call_s)

    def _tell(self, message: str, error: ApiError) -> None:
        if error.message != self._trouble:
            self._trouble = error.message
            self._log.warning(message, lease=self._place, why=error.message)


class _Taken(Exception):
    """Another holds the lease."""


class _Watchdog:
    """A thread that ends the process when it should have stopped leading and has not."""

    def __init__(self, elector: Elector, end: Callable[[int], object], every_s: float) -> None:
        self._elector = elector
        self._end = end
        self._every_s = every_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(self._every_s):
            if self._elector.is_overdue():
                _last_words(
                    f"leadership ran out and the process did not stop leading: it ends ({EXIT_STATUS})\n"
                )
                self._end(EXIT_STATUS)
                return


def _last_words(text: str) -> None:
    """Straight to stderr: the loop, and whatever lock it holds, may hang."""
    try:
        os.write(2, f"error: {text}".encode())
    except OSError:
        return


def _mapping(obj: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = obj.get(field)
    return value if isinstance(value, Mapping) else {}


def _holder(lease: Mapping[str, Any]) -> str:
    holder = _mapping(lease, "spec").get("holderIdentity")
    return holder if isinstance(holder, str) else ""


def _address(lease: Mapping[str, Any]) -> str:
    said = _mapping(_mapping(lease, "metadata"), "annotations").get(ADDRESS)
    return said if isinstance(said, str) and len(said) <= ADDRESS_CHARS_MAX else ""


def _transitions(lease: Mapping[str, Any]) -> int:
    said = _mapping(lease, "spec").get("leaseTransitions")
    return said if isinstance(said, int) and not isinstance(said, bool) and said > 0 else 0


def _checked(lease: dict[str, Any]) -> dict[str, Any]:
    """The lease, if it has the resourceVersion without which a write would be unconditional."""
    if not _mapping(lease, "metadata").get("resourceVersion"):
        raise Unavailable("the answer is no lease: it has no resourceVersion")
    return lease
