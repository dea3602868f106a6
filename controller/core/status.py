"""What is, what was seen, and what was decided: the values `decide` takes and gives.

`Status` is stored after every decision and read back after every crash; nothing else is remembered.
Times are Unix seconds handed in by the caller; clocks are elapsed seconds that only `decide` advances.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from controller.core.checks import CheckResult
from controller.core.effects import NOTHING_ASKED, Effect, EffectOutcome, Effects
from headgate.wire.plan import NOTHING_APPLIED, Applied, Endpoint, RoutePlan, SlotRange


class Phase(StrEnum):
    """Where a rollout is, in one word."""

    HEALTHY = "Healthy"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    STALLED = "Stalled"


class Cause(StrEnum):
    """Why a version was rolled back; the closed list used in status, events and metrics."""

    CHECK_FAILED = "CheckFailed"
    GUARD = "Guard"
    OPERATOR = "Operator"
    CRASH_LOOP = "CrashLoop"
    PROGRESS_DEADLINE = "ProgressDeadline"
    NO_DATA = "NoData"
    INCONCLUSIVE = "Inconclusive"
    APPROVAL_EXPIRED = "ApprovalExpired"
    HOOK_FAILED = "HookFailed"


class Reason(StrEnum):
    """The closed list of event reasons."""

    STARTED = "Started"
    WEIGHT_RAISED = "WeightRaised"
    WEIGHT_LOWERED = "WeightLowered"
    STAGE_ENTERED = "StageEntered"
    PROMOTED = "Promoted"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    PAUSED = "Paused"
    RESUMED = "Resumed"
    SUPERSEDED = "Superseded"
    CANCELLED = "Cancelled"
    RETRIED = "Retried"
    APPROVED = "Approved"
    STAGE_SKIPPED = "StageSkipped"
    RETARGETED = "Retargeted"
    RESTARTED = "Restarted"
    TAKEN_OVER = "TakenOver"
    GIVEN_BACK = "GivenBack"
    OVERRIDDEN = "Overridden"
    WORLD_DRIFT = "WorldDrift"
    STALLED = "Stalled"
    WARMED = "Warmed"
    NOT_WARM = "NotWarm"
    NOT_READY = "NotReady"
    ACTION_REFUSED = "ActionRefused"
    HOOK_FAILED = "HookFailed"
    NOTIFICATION_FAILED = "NotificationFailed"
    BUG = "InvariantViolated"


class Way(StrEnum):
    """How users come to a rollout's routers, where that is ours to see to: they are led there, or past them, or somebody
    changed it by hand; or that is not known now."""

    LED = "led"
    PAST = "past"
    CHANGED = "changed"
    UNKNOWN = "unknown"


class Verb(StrEnum):
    """What an operator may ask for."""

    ROLLBACK = "rollback"
    PROMOTE = "promote"
    PROMOTE_FULL = "promote-full"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    APPROVE = "approve"
    SKIP_STAGE = "skip-stage"
    UNDO = "undo"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class VersionRef:
    """One version by name and by the hash of what serves."""

    name: str
    identity: str


class Track(StrEnum):
    """Which stages a candidate goes through: all of them, all but the shadows, or one flip back to a warm version."""

    STAGES = "stages"
    FAST = "fast"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Failed:
    """A version that was rolled back. Latched until `retry`, after which its next try has `attempt` + 1."""

    name: str
    identity: str
    attempt: int
    cause: Cause
    message: str
    at: float
    actor: str = ""
    is_latched: bool = True


@dataclass(frozen=True, slots=True)
class Candidate:
    """The version on trial and where it is.

    `step` indexes the compiled steps, `steps_digest` names them, so that an edited spec is seen.
    `issued_generation` is the plan generation that gave this step its traffic, 0 while it waits for it, and
    `acknowledged_at` when every router ran that plan. Clocks, none of which runs while paused: `step_s` while the
    step's plan is acknowledged and the candidate ready, `stage_s` and `total_s` always, `waiting_s` while no
    endpoint is ready, `warming_s` while one is ready but not warm (see `controller.core.warming`), `no_data_s` while a
    required check has no data. `pass_to` is the step to which `passed_by`, a person, passed it, 0 if nobody did.
    `approved_by` are the people who approved the present stage, `skipped` the stages (from 0) that a person left out,
    `admitted_by` who let it start outside the schedule. `in_drift`: at the last look stable was degraded, too.
    `in_trouble`: it was told what a person has to mend before this can be ready, which it is not yet.
    `failed`: its share goes as soon as there is somewhere to go.
    """

    name: str
    identity: str
    attempt: int = 1
    track: Track = Track.STAGES
    step: int = 0
    steps_digest: str = ""
    issued_generation: int = 0
    acknowledged_at: float | None = None
    started_at: float = 0.0
    step_s: float = 0.0
    stage_s: float = 0.0
    total_s: float = 0.0
    waiting_s: float = 0.0
    warming_s: float = 0.0
    no_data_s: float = 0.0
    pass_to: int = 0
    passed_by: str = ""
    approved_by: tuple[str, ...] = ()
    skipped: tuple[int, ...] = ()
    admitted_by: str = ""
    in_drift: bool = False
    in_trouble: bool = False
    failed: Failed | None = None


@dataclass(frozen=True, slots=True)
class Rival:
    """Another version that takes part in the candidate's stages. `step` is the one whose traffic it has, -1 if none.

    `was_issued`: some plan of this trial gave it traffic, so it drains when it leaves.
    """

    name: str
    identity: str
    attempt: int = 1
    step: int = -1
    was_issued: bool = False


@dataclass(frozen=True, slots=True)
class Retiring:
    """A version whose traffic was taken away: kept until every router acknowledged `since_generation`, then `drain_s`, then `warm_s` more.

    `elapsed_s` is how long it has drained. `warm_until`, once it has, is when it stops being kept warm (Unix seconds).
    `load`, of all requests in basis points, is the most that it may have to carry until then.
    """

    name: str
    identity: str
    since_generation: int
    drain_s: float
    warm_s: float
    elapsed_s: float = 0.0
    warm_until: float | None = None
    load: int = 10_000


@dataclass(frozen=True, slots=True)
class PastStable:
    """A version that was stable until `until`."""

    ref: VersionRef
    until: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused the rollout and why; `by` is a person's name, or `spec`."""

    by: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One ended trial, for the history: `outcome` is Promoted, RolledBack, Superseded or Cancelled."""

    version: str
    identity: str
    outcome: str
    message: str
    started_at: float
    ended_at: float
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """All that is remembered of a rollout. Bounded: see `controller.core.machine`."""

    observed_generation: int = 0
    phase: Phase = Phase.PROGRESSING
    message: str = ""
    waiting_for: str = ""
    """What has to happen before anything moves, as words that follow `waiting for`; "" when nothing has to."""
    unmet: tuple[str, ...] = ()
    """All that is missing for the candidate's next step, in the order in which it is asked, without the evidence."""
    stable: VersionRef | None = None
    is_stable_proven: bool = False
    """False until the first acknowledged readiness of the first version: until then a new target replaces it."""
    past: tuple[PastStable, ...] = ()
    """The versions that were stable before and did not fail, the latest first: the first is the one to go back to."""
    queue: tuple[str, ...] = ()
    """Targets that wait for the trial under way to end, in order."""
    candidate: Candidate | None = None
    rivals: tuple[Rival, ...] = ()
    """Who else is on trial beside the candidate; none without a candidate."""
    restarts: tuple[tuple[str, int], ...] = ()
    """(identity, how often people asked to replace its replicas) of versions that run."""
    failed: tuple[Failed, ...] = ()
    retiring: tuple[Retiring, ...] = ()
    slots: tuple[SlotRange, ...] = ()
    salt: str = ""
    epoch: int = 0
    generation: int = 0
    endpoints_revision: int = 0
    plan_digest: str = ""
    endpoints_digest: str = ""
    because: str = ""
    clock_at: float = 0.0
    paused: Pause | None = None
    handled: tuple[str, ...] = ()
    history: tuple[Outcome, ...] = ()
    effects: Effects = NOTHING_ASKED
    overridden: tuple[tuple[str, str], ...] = ()
    """(version's identity or router's id, what somebody else changed of what is ours there), a sentence each."""
    entrance: str = ""
    """What was told last of the way users come: `led Service ml/fraud`; "" when nothing was to tell."""
    recent_weights: tuple[tuple[int, int], ...] = ()
    """(plan generation, candidate's weight) of the last plans, to say what a lagging router still does."""
    recent_loads: tuple[tuple[int, int], ...] = ()
    """(plan generation, the most of all requests and copies that anybody on trial got) of the same plans."""

    @property
    def previous(self) -> VersionRef | None:
        """The version that was stable before, if it can be gone back to."""
        return self.past[0].ref if self.past else None


@dataclass(frozen=True, slots=True)
class VersionObserved:
    """What is seen of one version's workload. `endpoints` are ready. `is_crash_looping`: it keeps dying.

    `is_warm`: those endpoints were measured fast, as `Spec.warmup` asks; `warmth` is that measurement in words.
    `replicas` are ready, of as many as shall run; None where they are not ours to start and count. `outdated` of those
    that run are still to be replaced by a restart. `trouble`: what a person has to mend before there can be endpoints.
    `override`: what somebody else changed of its objects, which is left so. Both are None while that is not known.
    """

    endpoints: tuple[Endpoint, ...] = ()
    is_running: bool = False
    is_crash_looping: bool = False
    restarts: int = 0
    message: str = ""
    is_warm: bool = False
    warmth: str = ""
    replicas: int | None = None
    outdated: int = 0
    trouble: str | None = ""
    override: str | None = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """How one version shall run: so many `replicas`, of which none is older than `restarts` (see `Status.restarts`).

    Older ones are replaced one after another, `surge` more than `replicas` at most at a time: a new one is ready
    before an old one goes. What is answered by one that goes has `drain_s` to end.
    """

    replicas: int = 1
    restarts: int = 0
    surge: int = 1
    drain_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Trip:
    """A router's guard took this try of a version off the traffic."""

    identity: str
    attempt: int
    text: str


@dataclass(frozen=True, slots=True)
class RouterObserved:
    """What is known of one router that counts (see membership): what it runs, when it was last heard, what it refused.

    `override`: what somebody else changed of the shares that it serves by; None while that, or an error, is not known.
    """

    id: str
    applied: Applied = NOTHING_APPLIED
    seen_at: float = 0.0
    error: str = ""
    trips: tuple[Trip, ...] = ()
    pinned: str | None = None
    override: str | None = ""


@dataclass(frozen=True, slots=True)
class EntranceObserved:
    """What leads users to the routers, or shall (`is_wanted`) or shall no more: `name`, such as `Service ml/fraud`.

    `message` says why that is not as it shall be, "" when it is; `is_stuck`: a person has to do something about it.
    """

    name: str
    way: Way
    is_wanted: bool = True
    message: str = ""
    is_stuck: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """What a person asked for. It names the version it means; `id` is unique, and handled once.

    `stage` counts from 1, 0 where none is meant; `to` is the version that `undo` goes back to, "" for the one before;
    `roles` are those the door vouches for.
    """

    id: str
    verb: Verb
    version: str
    actor: str
    reason: str = ""
    at: float = 0.0
    stage: int = 0
    to: str = ""
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """All that was read before a decision. `epoch` is the leader's."""

    epoch: int
    versions: Mapping[str, VersionObserved] = field(default_factory=dict)
    """By version *identity*."""
    routers: tuple[RouterObserved, ...] = ()
    actions: tuple[Action, ...] = ()
    effects: tuple[EffectOutcome, ...] = ()
    entrance: EntranceObserved | None = None
    """None where nothing in front of the routers is ours to see to."""


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """Why a share changed or a step was entered: one for each, with what was known. Weights in basis points.

    `unmet` is what had to happen, from then on, for the next step.
    """

    at: float
    reason: Reason
    version: str
    weight_before: int
    weight_after: int
    stage: str
    sentence: str
    epoch: int
    generation: int
    actor: str = ""
    checks: tuple[CheckResult, ...] = ()
    unmet: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person may want to know, with a reason of the closed list."""

    at: float
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What became of an action: accepted or refused, with the sentence that says why."""

    id: str
    is_accepted: bool
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What shall be. The host records `status` first, then publishes `plan`, then brings workloads to `running`.

    `plan` is None while there is nothing to serve. `running` says by identity how each version that must run does; all others of this
    rollout are stopped. `target`: the spec's target is to become this version, as a person asked. `effects`: all hooks and notifications
    that are to run, once `status` is recorded; those that run already are among them. `requeue_at` is
    the next instant that matters if nothing happens before; None: none.
    """

    status: Status
    plan: RoutePlan | None
    running: Mapping[str, Workload]
    records: tuple[DecisionRecord, ...] = ()
    events: tuple[Event, ...] = ()
    actions: tuple[ActionResult, ...] = ()
    target: str | None = None
    effects: tuple[Effect, ...] = ()
    requeue_at: float | None = None
