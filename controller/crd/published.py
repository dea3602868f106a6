"""What the controller writes into `status`, and other programs read: its shape, with a bound on every field.

Written by the store, never by users; here so that it has the same one description as what users write. Text that is
longer than its field allows is cut by the writer: a status that the API server refused would stop the rollout.
"""

from typing import Annotated, Final, Literal

from pydantic import Field, WithJsonSchema

from controller.crd.models import Model

TEXT_MAX: Final = 4096
"""Characters of a sentence in the status."""
OPAQUE_MAX: Final = 65_536
CHECKS_MAX: Final = 32
HISTORY_MAX: Final = 20
DECISIONS_MAX: Final = 20
ROUTERS_MAX: Final = 256

Whole = Annotated[int, Field(ge=0, le=2**53)]
Figure = Annotated[float, Field(ge=-1e18, le=1e18)]
Word = Annotated[str, Field(max_length=253)]
Sentence = Annotated[str, Field(max_length=TEXT_MAX)]
Opaque = Annotated[str, Field(max_length=OPAQUE_MAX)]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 64})]


class Weights(Model):
    """Which share of the live traffic the candidate has."""

    desired: Word | None = None
    """What the controller wants, such as 5%."""
    acknowledged: Word | None = None
    """What the routers do, such as 5%, or 0%-5% while they differ."""


class CheckStatus(Model):
    """What one check says now."""

    name: Word
    """Name of the check."""
    verdict: Word | None = None
    """Pass, Fail or Inconclusive."""
    estimate: Figure | None = None
    """The candidate's figure."""
    reference: Figure | None = None
    """Stable's figure, where the check compares."""
    low: Figure | None = None
    """Lower end of the interval that holds at any time it is looked at."""
    high: Figure | None = None
    """Upper end of that interval."""
    bound: Figure | None = None
    """The limit that the interval is held against."""
    samples: Whole | None = None
    """Requests, or pairs, behind the figure."""
    text: Sentence | None = None
    """The same in one sentence."""


class PastTrial(Model):
    """One trial that ended."""

    version: Word
    """The version that was on trial."""
    identity: Word | None = None
    """Hash of what it served."""
    outcome: Word | None = None
    """Promoted, RolledBack, Superseded or Cancelled."""
    message: Sentence | None = None
    """Why it ended, in one sentence."""
    started_at: Time | None = None
    """When it began."""
    ended_at: Time | None = None
    """When it ended."""
    actor: Word | None = None
    """Who ended it, if a person did."""


class DecisionStatus(Model):
    """One change of the candidate's share."""

    at: Time | None = None
    """When it was decided."""
    reason: Word | None = None
    """One of the closed list of event reasons."""
    version: Word | None = None
    """Whose share it was."""
    weight_before: Word | None = None
    """The share before, such as 5%."""
    weight_after: Word | None = None
    """The share after, such as 25%."""
    stage: Word | None = None
    """The stage it was in."""
    message: Sentence | None = None
    """Why, in one sentence."""
    epoch: Whole | None = None
    """Of the leader that decided."""
    generation: Whole | None = None
    """Of the plan that routers were given."""
    actor: Word | None = None
    """Who asked for it, if a person did."""


class Condition(Model):
    """One aspect of the state, as kubectl wait and other tools read it."""

    type: Annotated[str, Field(max_length=316)]
    """Ready, Reconciling, Stalled, TrafficSynced, AnalysisHealthy, Paused, Overridden; TakenOver with takeOver."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observed_generation: Whole | None = None
    """metadata.generation that this was said of."""
    last_transition_time: Time
    """When status changed last."""
    reason: Annotated[str, Field(max_length=1024)]
    """One word for programs."""
    message: Annotated[str, Field(max_length=32_768)]
    """One sentence for people."""


class RolloutStatus(Model):
    """What the controller saw and decided. Nobody else writes here."""

    observed_generation: Whole | None = None
    """metadata.generation that this status is about; older than that: the controller has not looked yet."""
    phase: Word | None = None
    """Healthy, Progressing, Paused, RollingBack, RolledBack, or Stalled for what is invalid or blocked."""
    message: Sentence | None = None
    """What is going on, in one sentence."""
    waiting_for: Sentence | None = None
    """What has to happen before anything moves."""
    strategy: Word | None = None
    """canary, blueGreen, shadow or stages."""
    stage: Word | None = None
    """The stage the candidate is in, such as 2/4 canary."""
    verdict: Word | None = None
    """What the checks say together: Pass, Fail or Inconclusive."""
    weights: Weights | None = None
    """Which share of the live traffic the candidate has."""
    target_version: Word | None = None
    """The version that shall end up serving everything, also where a template makes its name."""
    stable_version: Word | None = None
    """The version that serves, proven."""
    candidate_version: Word | None = None
    """The version on trial."""
    samples: Word | None = None
    """Evidence so far, such as 1200/5000."""
    replicas: Whole | None = None
    """Pods of all versions together, for autoscalers."""
    selector: Sentence | None = None
    """Label selector of those pods, for autoscalers."""
    checks: Annotated[list[CheckStatus], Field(max_length=CHECKS_MAX)] | None = None
    """What each check says now."""
    next_action_at: Time | None = None
    """When something happens next if nothing else does before."""
    conditions: (
        Annotated[
            list[Condition],
            Field(
                max_length=16,
                json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
            ),
        ]
        | None
    ) = None
    """The state, aspect by aspect: kubectl wait --for=condition=Ready reads these."""
    history: Annotated[list[PastTrial], Field(max_length=HISTORY_MAX)] | None = None
    """The last trials, the newest first."""
    decisions: Annotated[list[DecisionStatus], Field(max_length=DECISIONS_MAX)] | None = None
    """The last changes of the candidate's share, the newest first."""
    routers: Annotated[list[Word], Field(max_length=ROUTERS_MAX)] | None = None
    """Routers that must acknowledge before a share rises."""
    state: Opaque | None = None
    """The controller's own memory. Not for reading, and not to be changed."""
    evidence: Opaque | None = None
    """The checks' own memory. Not for reading, and not to be changed."""


class ActionStatus(Model):
    """What became of an action."""

    phase: Literal["Accepted", "Refused", "Done"] | None = None
    """Accepted: it counts. Refused: it does not, and message says why. Done: what it asked for has happened."""
    message: Sentence | None = None
    """Why, in one sentence."""
    at: Time | None = None
    """When that was said."""
