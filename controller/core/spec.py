"""What the user asked for, as the core thinks of it: parsed once at the edge (`controller.crd`), then trusted.

Durations are seconds, shares of live traffic basis points (0 … 10,000), shares of copies parts per million.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controller.core.checks import Check
from controller.core.effects import Hook, Notification
from controller.core.schedule import ALWAYS, Schedule
from headgate.wire.plan import Capture, Comparison, Condition, Guard, IdentityKey, Limits, Overrides, Rewrite

FULL: Final = 10_000
"""All live traffic, in basis points."""


class OnInconclusive(StrEnum):
    """What is done when nothing was proven for too long."""

    HOLD = "hold"
    ROLLBACK = "rollback"
    PROMOTE = "promote"


class Supersede(StrEnum):
    """What a new target does to a trial under way: end it, wait for its end, or wait in line behind other targets."""

    REPLACE = "replace"
    FINISH = "finish"
    QUEUE = "queue"


class OnExpire(StrEnum):
    """What happens when nobody approved in time."""

    ABORT = "abort"
    HOLD = "hold"


class WorldDrift(StrEnum):
    """What happens when both versions degrade together: pause for a person and say so, or only hold while it lasts."""

    PAUSE = "pause"
    HOLD = "hold"


class Advance(StrEnum):
    """When a step may end: its time is up and no check says Fail or holds, or only when every check says Pass."""

    UNLESS_FAIL = "unlessFail"
    ON_PASS = "onPass"


@dataclass(frozen=True, slots=True)
class VersionSpec:
    """One version that may serve. `identity` is the hash of what serves; the same name with another is another version."""

    name: str
    identity: str
    base_path: str = ""
    rewrite: Rewrite | None = None


@dataclass(frozen=True, slots=True)
class ShadowStage:
    """The candidate answers `sample_ppm` copies per million for `duration_s` and until `min_pairs` were compared.

    Here and in the next two stages `to` names who takes part: the target always does, the others beside it, each
    with as much as the target (see `controller.core.rivals`).
    """

    sample_ppm: int
    duration_s: float = 0.0
    min_pairs: int = 0
    checks: tuple[str, ...] = ()
    advance: Advance = Advance.ON_PASS
    max_stay_s: float | None = None
    to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CanaryStage:
    """The candidate gets each of the rising `weights` (basis points) for `every_s`.

    With a `risk_budget` (a fraction of all requests) a weight is raised as soon as the next one, times the proven
    upper bound of the candidate's excess of bad answers, is within it; `every_s` is then the least time at each.
    """

    weights: tuple[int, ...]
    every_s: float = 60.0
    checks: tuple[str, ...] = ()
    advance: Advance = Advance.UNLESS_FAIL
    max_stay_s: float | None = None
    risk_budget: float | None = None
    to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """The requests for which all `conditions` hold, and the `share` of them (basis points) that each version gets.

    Below all of them the split is random among the matching, so stable can be compared with in the same requests.
    """

    conditions: tuple[Condition, ...]
    share: int = FULL


@dataclass(frozen=True, slots=True)
class MatchStage:
    """A/B: only requests that match reach the candidate, for `duration_s`; nobody else does."""

    match: Match
    duration_s: float = 0.0
    checks: tuple[str, ...] = ()
    advance: Advance = Advance.ON_PASS
    max_stay_s: float | None = None
    to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApprovalStage:
    """`quorum` different people must approve, each with one of `roles` (none: anybody), within `expires_s`."""

    roles: tuple[str, ...] = ()
    quorum: int = 1
    expires_s: float | None = None
    on_expire: OnExpire = OnExpire.HOLD


@dataclass(frozen=True, slots=True)
class PauseStage:
    """Wait `duration_s`, or for a person when it is None."""

    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class FlipStage:
    """Blue-green: full capacity, `before` checks on the preview (copies of `preview_ppm`), one write moves everything, `after` checks while it bakes."""

    preview_ppm: int = 0
    before: tuple[str, ...] = ()
    bake_s: float = 0.0
    after: tuple[str, ...] = ()
    max_stay_s: float | None = None


@dataclass(frozen=True, slots=True)
class FullStage:
    """100 % and watch for `bake_s`; only then is the candidate the new stable."""

    bake_s: float = 0.0
    checks: tuple[str, ...] = ()
    max_stay_s: float | None = None


Stage = ShadowStage | CanaryStage | MatchStage | ApprovalStage | PauseStage | FlipStage | FullStage

AUTO_WEIGHTS: Final = (100, 200, 500, 1000, 2000, 3500, 5000)
"""The weights of `ramp: auto`, in basis points."""

AUTO_EVERY_S: Final = 15.0
"""The least time at each weight of `ramp: auto`."""


@dataclass(frozen=True, slots=True)
class DecisionPolicy:
    """Permissions the user wrote down. `alpha` is the chance, over a whole rollout, that a good version is failed."""

    alpha: float = 0.01
    on_inconclusive: OnInconclusive = OnInconclusive.HOLD
    on_no_data: OnInconclusive = OnInconclusive.HOLD
    no_data_timeout_s: float = 3600.0
    max_duration_s: float = 86_400.0
    world_drift: WorldDrift = WorldDrift.PAUSE
    guard: Guard | None = Guard()


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many of a version run, and how versions come and go.

    `replicas` of each; with `scale_with_weight` a candidate has as many as its share needs, at least `min_replicas`,
    and stable stays whole. `max_surge` more may run while replicas are replaced. `drain_s` runs after the routers
    acknowledged that traffic left, `keep_stable_warm_s` for the one before, `progress_deadline_s` to become ready.
    """

    replicas: int = 1
    max_surge: int = 1
    scale_with_weight: bool = False
    min_replicas: int = 1
    drain_s: float = 60.0
    keep_stable_warm_s: float = 86_400.0
    progress_deadline_s: float = 600.0


@dataclass(frozen=True, slots=True)
class WarmRequest:
    """One request that warms a version up: a POST of `body` to `path`, as a client would send it."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Warmup:
    """What is sent to a new version before its traffic rises, and when it counts as warm.

    `requests` are sent in turn; empty, they are those in the `config_map` (name and key), without one the newest `count`
    recorded ones, to `recorded_path`. Warm is: at
    least `count` were answered, and for `stable_for_s` the p95 was at most `p95_s` (without one: it did not change).
    """

    requests: tuple[WarmRequest, ...] = ()
    recorded_path: str = ""
    count: int = 200
    concurrency: int = 4
    p95_s: float | None = None
    stable_for_s: float = 30.0
    max_wait_s: float = 1200.0
    config_map: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class RollbackWindow:
    """Versions that were stable before, the last `versions` of them and within `within_s`: going back skips all stages."""

    versions: int = 3
    within_s: float = 604_800.0


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """What the plan says besides who owns which slots; `counted_paths` are globs of the inference paths."""

    identity: IdentityKey = IdentityKey()
    overrides: Overrides | None = None
    limits: Limits = Limits()
    capture: Capture = Capture()
    comparison: Comparison = Comparison()
    counted_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """One rollout as the user wants it. `key` is `namespace/name`; `generation` counts edits of the spec from 1."""

    key: str
    generation: int
    target: str
    versions: tuple[VersionSpec, ...]
    stages: tuple[Stage, ...] = (FullStage(),)
    initial_stable: str | None = None
    checks: tuple[Check, ...] = ()
    policy: DecisionPolicy = DecisionPolicy()
    capacity: Capacity = Capacity()
    warmup: Warmup | None = None
    traffic: TrafficPolicy = TrafficPolicy()
    rollback_window: RollbackWindow = RollbackWindow()
    supersede: Supersede = Supersede.REPLACE
    schedule: Schedule = ALWAYS
    hooks: tuple[Hook, ...] = ()
    notifications: tuple[Notification, ...] = ()
    paused: bool = False

    def version(self, name: str) -> VersionSpec | None:
        """The version of that name, or None."""
        return next((version for version in self.versions if version.name == name), None)
