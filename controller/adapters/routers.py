"""The registry of routers: which plan they shall run, which they do run, and what they counted.

One per controller, used from its one event loop. What must survive a restart, membership, is in the store; plans
are published anew by the reconciler, and acknowledgements and reports come back within a poll and a second.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from controller.core.analysis.dispersion import Dispersion
from controller.core.analysis.usual import NOTHING_USUAL, Usual, learned
from controller.core.status import RouterObserved, Trip
from controller.ports import Store, Unwelcome
from headgate.wire.plan import NOTHING_APPLIED, Applied, RoutePlan
from headgate.wire.telemetry import GuardTrip, Telemetry

ROUTERS_MAX: Final = 256
"""Routers that one rollout may have; further ones are refused."""

POLLS_MAX: Final = 4
"""Polls of one router that may wait at once; one more ends the oldest, whose client has surely gone."""

REFUSED_S: Final = 2.0
"""A plan that a router has just refused is offered to it again after this long, not in a tight loop."""

RATE_S: Final = 15.0
"""The present rate is that of the last one to two times so many seconds."""

LOST_S: Final = 10.0
"""After this long without a word from one life of a router, another is believed whatever its clock says."""


@dataclass(slots=True)
class _Poll:
    """One poll that waits: what it said, the plan it refused, and whether it shall be answered now."""

    applied: Applied
    error: str
    refused: Applied | None
    is_over: bool = False


class _Mark(NamedTuple):
    """How many requests a router had split by then, on its own clock."""

    at: float
    requests: int


@dataclass(slots=True)
class _Router:
    """One router that counts, as last heard. `offered` is the last plan it was given in this life of the controller."""

    applied: Applied = NOTHING_APPLIED
    seen_at: float = 0.0
    error: str = ""
    offered: Applied | None = None
    report: Telemetry | None = None
    reported_at: float = 0.0
    marks: tuple[_Mark, ...] = ()
    waiting: list[_Poll] = field(default_factory=list)


@dataclass(slots=True)
class _Rollout:
    """One rollout's routers and plan. `changed` is set, and replaced, when waiting polls shall look again."""

    routers: dict[str, _Router]
    plan: RoutePlan | None = None
    usual: Usual = NOTHING_USUAL
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class RouterRegistry:
    """Implements `ports.Routers` towards the reconciler and `ports.Discovery` towards the API.

    `on_change(key)` is called at once whenever something changed that a decision may depend on: a router's
    acknowledgement, refusal, guard trip or pin, or a new or forgotten router. `now` gives Unix seconds.
    """

    def __init__(
        self, store: Store, now: Callable[[], float], on_change: Callable[[str], None] = lambda key: None
    ) -> None:
        self._store = store
        self._now = now
        self._on_change = on_change
        self._rollouts: dict[str, _Rollout] = {}
        self._epoch_seen = 0
        self._is_closed = False

    # Towards the reconciler.

    def publish(self, plan: RoutePlan) -> None:
        """Offer this plan to every router of its rollout from now on, waiting ones at once; idempotent."""
        rollout = self._rollout(plan.rollout)
        is_news = rollout.plan is None or rollout.plan.triple != plan.triple
        rollout.plan = plan
        if is_news:
            rollout.wake()

    def observed(self, key: str) -> tuple[RouterObserved, ...]:
        """Every router that counts, by id; `seen_at` is 0 for one not heard in this life of the controller."""
        routers = self._rollout(key).routers
        return tuple(_observed(name, routers[name]) for name in sorted(routers))

    def reports(self, key: str) -> Sequence[Telemetry]:
        """The newest report of each router that has sent one, by router id."""
        routers = self._rollout(key).routers
        return tuple(report for name in sorted(routers) if (report := routers[name].report) is not None)

    def usual(self, key: str) -> Dispersion:
        """How much more than by chance stable's failures varied in this life of the controller."""
        return self._rollout(key).usual.dispersion

    def requests_per_s(self, key: str) -> float | None:
        """How many requests/s all routers together split at present; None while no router tells."""
        now = self._now()
        rates = [
            rate
            for router in self._rollout(key).routers.values()
            if now - router.reported_at <= LOST_S and (rate := _rate(router)) is not None
        ]
        return sum(rates) if rates else None

    def epoch_seen(self) -> int:
        """The highest epoch any router said it runs; 0 if none."""
        return self._epoch_seen

    def drop(self, key: str) -> None:
        """Forget a rollout that was deleted; its waiting polls learn that there is none."""
        rollout = self._rollouts.pop(key, None)
        if rollout is not None:
            rollout.wake()

    def close(self) -> None:
        """End every waiting poll as if its time were up, and let no new one wait: the controller is going down."""
        self._is_closed = True
        for rollout in self._rollouts.values():
            rollout.wake()

    # Towards the routers.

    async def poll(
        self, key: str, router_id: str, applied: Applied, error: str, wait_s: float
    ) -> RoutePlan | Unwelcome | None:
        """The plan this router shall run as soon as its triple differs from `applied`; None after `wait_s` seconds.

        Naming `applied` acknowledges it (whether its epoch is the present one is for the reader of `observed` to
        judge). A plan that the router has just refused, with `error`, is offered to it again only after REFUSED_S.
        Earlier polls of the same router that said something else are given up, here as there.
        """
        router = await self._heard(key, router_id, applied, error)
        if not isinstance(router, _Router):
            return router
        poll = _Poll(applied, error, router.offered if error else None)
        self._supersede(key, router, poll)
        try:
            return await self._next_plan(key, router, poll, wait_s)
        finally:
            router.waiting = [other for other in router.waiting if other is not poll]

    def report(self, telemetry: Telemetry) -> Unwelcome | None:
        """Keep this report if it is the router's newest; what it says of trips and pins counts from now on."""
        if telemetry.rollout not in self._rollouts and not self._exists(telemetry.rollout):
            return Unwelcome.UNKNOWN_ROLLOUT
        router = self._rollout(telemetry.rollout).routers.get(telemetry.router)
        if router is None:
            return Unwelcome.UNKNOWN_ROUTER
        if not _is_newer(telemetry, router, self._now()):
            return Unwelcome.OLDER
        self._epoch_seen = max(self._epoch_seen, Applied.parse(telemetry.applied).epoch)
        before = _said(router)
        self._learn(self._rollout(telemetry.rollout), telemetry)
        router.marks = _marked(router, telemetry)
        router.report, router.reported_at, router.seen_at = telemetry, self._now(), self._now()
        if _said(router) != before:
            self._on_change(telemetry.rollout)
        return None

    def _learn(self, rollout: _Rollout, report: Telemetry) -> None:
        """What is usual with the version that the plan calls stable."""
        stable = rollout.plan.version(rollout.plan.stable) if rollout.plan is not None else None
        if stable is not None:
            rollout.usual = learned(rollout.usual, stable.identity, report, self._now())

    async def forget(self, key: str, router: str) -> bool:
        """This router is said to be gone: it counts no more. One that is alive after all polls, and counts, again."""
        if not self._exists(key):
            return False
        was_member = await self._store.forget_member(key, router)
        known = self._rollout(key).routers.pop(router, None)
        if known is not None:
            self._end(key, known.waiting)
        if was_member:
            self._on_change(key)
        return was_member

    def struck(self, key: str, routers: Collection[str]) -> None:
        """People struck these from the members in the store: they count no more, as if they were forgotten here."""
        rollout = self._rollouts.get(key)
        known = [name for name in routers if rollout is not None and name in rollout.routers]
        for name in known:
            self._end(key, self._rollouts[key].routers.pop(name).waiting)
        if known:
            self._on_change(key)

    async def _heard(self, key: str, name: str, applied: Applied, error: str) -> _Router | Unwelcome:
        """Note what the poll says; a first poll makes the router a member."""
        if not self._exists(key):
            return Unwelcome.UNKNOWN_ROLLOUT
        routers = self._rollout(key).routers
        router = routers.get(name)
        is_new = router is None
        if router is None:
            if len(routers) >= ROUTERS_MAX:
                return Unwelcome.TOO_MANY_ROUTERS
            await self._store.add_member(key, name)
            router = self._rollout(key).routers.setdefault(
                name, _Router()
            )  # another poll may have been quicker
        is_change = is_new or (router.applied, router.error) != (applied, error)
        router.applied, router.error, router.seen_at = applied, error, self._now()
        self._epoch_seen = max(self._epoch_seen, applied.epoch)
        if is_change:
            self._on_change(key)
        return router

    def _supersede(self, key: str, router: _Router, poll: _Poll) -> None:
        """Let this poll wait, and end those it replaces: they said something else, or are too many."""
        said = (poll.applied, poll.error)
        alike = [other for other in router.waiting if (other.applied, other.error) == said]
        kept = [*alike, poll][-POLLS_MAX:]
        self._end(key, [other for other in router.waiting if not any(other is one for one in kept)])
        router.waiting = kept

    def _end(self, key: str, polls: Sequence[_Poll]) -> None:
        for poll in polls:
            poll.is_over = True
        if polls:
            self._rollout(key).wake()

    async def _next_plan(
        self, key: str, router: _Router, poll: _Poll, wait_s: float
    ) -> RoutePlan | Unwelcome | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        retry_at = min(deadline, loop.time() + REFUSED_S)
        while True:
            rollout = self._rollouts.get(key)
            if rollout is None:
                return Unwelcome.UNKNOWN_ROLLOUT
            if poll.is_over:
                return None
            now = loop.time()
            plan = rollout.plan
            is_held = plan is not None and plan.triple == poll.refused and now < retry_at
            if plan is not None and plan.triple != poll.applied and not is_held:
                router.offered = plan.triple
                return plan
            if now >= deadline or self._is_closed:
                return None
            await _set_within(rollout.changed, (retry_at if is_held else deadline) - now)

    def _exists(self, key: str) -> bool:
        """Whether there is such a rollout; one that is gone from the store is dropped here too."""
        if self._store.load(key) is not None:
            return True
        self.drop(key)
        return False

    def _rollout(self, key: str) -> _Rollout:
        """The rollout with the members the store knows of."""
        rollout = self._rollouts.get(key)
        if rollout is None:
            members = {name: _Router() for name in self._store.members(key)}
            rollout = self._rollouts[key] = _Rollout(members)
        return rollout


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _is_newer(report: Telemetry, router: _Router, now: float) -> bool:
    """Whether this report supersedes the kept one: later in the same life, or of a later life of the router."""
    kept = router.report
    if kept is None:
        return True
    if kept.boot == report.boot:
        return report.at >= kept.at
    return report.started_at >= kept.started_at or now - router.reported_at > LOST_S


def _mark(report: Telemetry) -> _Mark:
    return _Mark(
        report.at, sum(version.picked.requests + version.matched.requests for version in report.versions)
    )


def _marked(router: _Router, report: Telemetry) -> tuple[_Mark, ...]:
    """The two marks to measure the rate from, with this report: a new life, or a version less, starts anew."""
    mark, marks = _mark(report), router.marks
    if router.report is None or router.report.boot != report.boot or mark.requests < marks[-1].requests:
        return (mark,)
    return (*marks, mark)[-2:] if mark.at - marks[-1].at >= RATE_S else marks


def _rate(router: _Router) -> float | None:
    if router.report is None:
        return None
    newest, since = _mark(router.report), router.marks[0]
    elapsed = newest.at - since.at
    return max(newest.requests - since.requests, 0) / elapsed if elapsed >= 1 else None


def _said(router: _Router) -> tuple[tuple[GuardTrip, ...], str | None]:
    """What of a report a decision depends on at once."""
    return (router.report.trips, router.report.pinned) if router.report is not None else ((), None)


def _observed(name: str, router: _Router) -> RouterObserved:
    trips, pinned = _said(router)
    return RouterObserved(
        id=name,
        applied=router.applied,
        seen_at=router.seen_at,
        error=router.error,
        trips=tuple(Trip(trip.identity, trip.attempt, _sentence(trip)) for trip in trips),
        pinned=pinned,
    )


def _sentence(trip: GuardTrip) -> str:
    return (
        f"{trip.version} failed {trip.failed} of {trip.requests} requests"
        f" where stable failed {trip.stable_failed} of {trip.stable_requests}"
    )
