"""What the reconciler needs from the world, as protocols of a few methods; adapters implement them.

Failures are values: an adapter returns what it could not get as `Missing`, it does not raise. Times are Unix
seconds. All calls are made from the one event loop of the controller; slow ones are coroutines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from controller.core.analysis.dispersion import Dispersion
from controller.core.analysis.inputs import Measurement
from controller.core.checks import CheckResult, Query
from controller.core.effects import Effect, EffectOutcome
from controller.core.spec import Spec, VersionSpec, Warmup
from controller.core.status import (
    Action,
    Decision,
    DecisionRecord,
    EntranceObserved,
    Event,
    RouterObserved,
    Status,
    VersionObserved,
    Workload,
)
from headgate.wire.plan import Applied, RoutePlan
from headgate.wire.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Stored:
    """One rollout as the store has it. `document` is what the user wrote; `analysis` the judge's own state, bytes that only it reads.

    `version` names this state to `record`. `fault` says why what is stored cannot be used, "" if it can: then `status`
    says no more than that.
    """

    key: str
    document: Mapping[str, Any]
    generation: int
    status: Status
    analysis: bytes
    results: tuple[CheckResult, ...]
    deleting: bool = False
    version: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one reconcile writes, in one transaction; with a `document`, what the user wrote becomes that (see `undo`).

    `version` is that of the `Stored` it was decided on; "" where that does not matter.
    """

    decision: Decision
    analysis: bytes
    results: tuple[CheckResult, ...]
    document: Mapping[str, Any] | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the user wrote, ready for use: the core's spec, and each version as written by its identity."""

    spec: Spec
    versions: Mapping[str, Mapping[str, Any]]


class Store(Protocol):
    """Rollouts, actions, decisions. One writer; every method that writes is one durable transaction, and a coroutine.

    What is read is what this writer last wrote or heard: reading waits for nobody.
    """

    async def acquire_epoch(self, at_least: int) -> int:
        """Become the writer: the new epoch, 1 + the largest of the stored one and `at_least`."""
        ...

    def keys(self) -> tuple[str, ...]: ...

    def load(self, key: str) -> Stored | None: ...

    async def put_document(self, key: str, document: Mapping[str, Any]) -> Stored:
        """Create or change what the user wrote; the same document again changes nothing, another raises generation."""
        ...

    async def mark_deleting(self, key: str) -> bool:
        """Ask for deletion; False if there is no such rollout."""
        ...

    async def delete(self, key: str) -> None:
        """Forget the rollout and all that belongs to it."""
        ...

    async def record(self, key: str, recorded: Recorded) -> None:
        """Write it all or nothing; KeyError if there is no such rollout.

        StoreConflict if what is there is not what `recorded.version` names any more, NotLeader if another controller
        may write now.
        """
        ...

    async def add_action(self, key: str, action: Action) -> None:
        """Keep the action until a decision handled it; the same id twice is one. ValueError: another rollout's id."""
        ...

    def pending_actions(self, key: str) -> tuple[Action, ...]: ...

    def action_result(self, action_id: str) -> tuple[bool, str] | None:
        """(accepted?, message) once decided; None while pending or unknown."""
        ...

    def records(self, key: str, limit: int) -> tuple[DecisionRecord, ...]:
        """The latest decision records, newest first."""
        ...

    def events(self, key: str, limit: int) -> tuple[Event, ...]: ...

    def members(self, key: str) -> tuple[str, ...]:
        """Ids of the routers that count."""
        ...

    async def add_member(self, key: str, router: str) -> None: ...

    async def forget_member(self, key: str, router: str) -> bool: ...


class Workloads(Protocol):
    """Brings versions to life and lets them go; keyed by version identity."""

    async def observe(
        self, key: str, documents: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, VersionObserved]:
        """What is seen of each version; `documents` maps identity to the version as the user wrote it."""
        ...

    async def apply(
        self, key: str, documents: Mapping[str, Mapping[str, Any]], running: Mapping[str, Workload]
    ) -> None:
        """Start what shall run and does not, stop what runs and shall not, as `running` says by identity; idempotent, returns without waiting for readiness."""
        ...


class Entrance(Protocol):
    """What leads users to the routers, where the rollout says which that is: on a cluster an existing Service."""

    def observed(self, key: str) -> EntranceObserved | None:
        """How users come in now; None where that is not ours to see to."""
        ...

    async def bring(
        self,
        key: str,
        status: Status,
        plan: RoutePlan | None,
        routers: Sequence[RouterObserved],
        leaving: bool,
    ) -> bool:
        """Lead users to the routers, or no more, as the rollout asks for; past them where it is `leaving`.

        Is it so, and does everybody know? What keeps it from being so is told by `observed`.
        """
        ...


class Direct:
    """Implements `Entrance` where users reach the routers by themselves: nothing is to be done."""

    def observed(self, key: str) -> EntranceObserved | None:
        return None

    async def bring(
        self,
        key: str,
        status: Status,
        plan: RoutePlan | None,
        routers: Sequence[RouterObserved],
        leaving: bool,
    ) -> bool:
        return True


class Warmth(Protocol):
    """Whether a new version is warm, measured with requests of its own; one version of a rollout at a time."""

    def measure(
        self, key: str, warmup: Warmup, version: VersionSpec, seen: VersionObserved
    ) -> VersionObserved:
        """What was seen of the version, with what is known of its warmth; begins measuring, or goes on."""
        ...

    def stop(self, key: str) -> None:
        """Send nothing more for this rollout, and forget what was measured."""
        ...


class Routers(Protocol):
    """What the routers of a rollout run and counted, and the plan they shall run."""

    def publish(self, plan: RoutePlan) -> None:
        """Offer this plan to every router of its rollout from now on; idempotent."""
        ...

    def observed(self, key: str) -> tuple[RouterObserved, ...]:
        """Every router that counts, also one that has never been heard in this life of the controller."""
        ...

    def reports(self, key: str) -> Sequence[Telemetry]:
        """The newest report of each router that has sent one."""
        ...

    def usual(self, key: str) -> Dispersion:
        """How much more than by chance stable's failures varied lately, as far as that is known."""
        ...

    def requests_per_s(self, key: str) -> float | None:
        """How many requests/s all routers together split at present; None while that is not known."""
        ...

    def epoch_seen(self) -> int:
        """The highest epoch any router said it runs; 0 if none."""
        ...


class Unwelcome(StrEnum):
    """Why a router's poll or report was not taken."""

    UNKNOWN_ROLLOUT = "there is no such rollout"
    UNKNOWN_ROUTER = "this router has not polled for the plan yet"
    TOO_MANY_ROUTERS = "this rollout has as many routers as are kept"
    OLDER = "a newer report of this router, or of a later life of it, was already taken"


class Discovery(Protocol):
    """The other side of `Routers`: what routers themselves say and ask, through the API."""

    async def poll(
        self, key: str, router: str, applied: Applied, error: str, wait_s: float
    ) -> RoutePlan | Unwelcome | None:
        """The plan to run, as soon as it differs from `applied`; None when `wait_s` went by. Acknowledges `applied`."""
        ...

    def report(self, telemetry: Telemetry) -> Unwelcome | None:
        """Keep the router's newest report; why not, if it is not kept."""
        ...

    async def forget(self, key: str, router: str) -> bool:
        """The router is gone and counts no more (until it polls again); False if it did not count."""
        ...


class Effects(Protocol):
    """Runs hooks and notifications in the background."""

    def run(self, key: str, effects: Sequence[Effect]) -> None:
        """Run these of this rollout and no others. Idempotent by id: what runs or has ended is not run again in this
        life; one whose outcome was lost with an earlier life is, with the same id."""
        ...

    def outcomes(self, key: str) -> tuple[EffectOutcome, ...]:
        """What became of those that ended, until they are no longer among those to run."""
        ...


class Counters(Protocol):
    """Providers of what others measured, such as Prometheus."""

    async def counts(self, query: Query, version: str) -> Measurement:
        """What was measured lately of the version of that name, within a bounded time."""
        ...


ROUTE: Final = "route"
"""The verb of a router: read the plan of its rollout, and report."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks of the API: a verb on the rollout `key`, without a key on the API at `path`.

    Without a verb only who it is matters.
    """

    verb: str
    key: str
    path: str


@dataclass(frozen=True, slots=True)
class Denied:
    """Why not: 401 when it is not known who asks, 403 when they may not, 503 when nobody can tell now."""

    status: int
    what: str
    do: str


class Access(Protocol):
    """Answers whether the bearer of a token may have a wish."""

    async def refusal(self, token: str, wish: Wish) -> Denied | None:
        """Why not; None if it is allowed."""
        ...
