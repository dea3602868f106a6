"""A decision in the making, and the few moves that everything else is made of: weigh, fail, retire, record.

The draft is private to one call of `decide`. Its inputs stay as they are; only `status`, an immutable value, is
replaced as the passes go on, and the consequences (records, events, answers) are gathered beside it.
"""

from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final

from controller.core import slots, steps
from controller.core.checks import CheckResult
from controller.core.plan import attempt_of
from controller.core.spec import Spec
from controller.core.status import (
    ActionResult,
    Candidate,
    Cause,
    DecisionRecord,
    Event,
    Failed,
    Observed,
    Outcome,
    Reason,
    Retiring,
    RouterObserved,
    Status,
    VersionObserved,
    VersionRef,
)
from controller.core.steps import Step, percent

SILENT_S: Final = 10.0
"""A router not heard for this long is silent: it blocks increases, never a decrease."""

HISTORY_MAX: Final = 20
FAILED_MAX: Final = 32

PENDING: Final = -1
"""Stands for the generation of the plan that this very decision makes; `decide` puts the number in at its end."""

_ABSENT: Final = VersionObserved()


@dataclass(slots=True)
class Draft:
    """Inputs of one decision, the status as far as it has come, and what follows from it. `elapsed_s` is since the last."""

    spec: Spec
    observed: Observed
    results: tuple[CheckResult, ...]
    now: float
    status: Status
    elapsed_s: float = 0.0
    records: list[DecisionRecord] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    answers: list[ActionResult] = field(default_factory=list)
    target: str | None = None

    def seen(self, identity: str) -> VersionObserved:
        """What is seen of the version with this identity."""
        return self.observed.versions.get(identity, _ABSENT)

    def is_ready(self, ref: Candidate | VersionRef | None) -> bool:
        """Has the version an endpoint that is ready?"""
        return ref is not None and bool(self.seen(ref.identity).endpoints)

    def tell(self, reason: Reason, message: str) -> None:
        """Add an event for people."""
        self.events.append(Event(self.now, reason, message))

    @property
    def is_paused(self) -> bool:
        """Did a person, or the spec, stop the ramp?"""
        return self.status.paused is not None or self.spec.paused


def weight_of(draft: Draft, version: str) -> int:
    """The version's live share now, in basis points."""
    return slots.weight_of(draft.status.slots, version)


def compiled_steps(draft: Draft, candidate: Candidate) -> tuple[Step, ...]:
    """The steps this candidate goes through."""
    return steps.steps_of(draft.spec, candidate.track)


def is_acknowledged(draft: Draft, generation: int) -> bool:
    """Does every router that counts run the plan of this generation, or a later one, of the present epoch?"""
    return generation != PENDING and not lagging(draft, generation)


def lagging(draft: Draft, generation: int) -> tuple[RouterObserved, ...]:
    """The routers that do not run the plan of this generation yet."""
    epoch = draft.status.epoch
    return tuple(
        router
        for router in draft.observed.routers
        if router.applied.epoch != epoch or router.applied.generation < generation
    )


def silent(draft: Draft) -> tuple[RouterObserved, ...]:
    """The routers that were not heard for SILENT_S."""
    return tuple(r for r in draft.observed.routers if draft.now - r.seen_at > SILENT_S)


def record(
    draft: Draft,
    reason: Reason,
    version: str,
    weights: tuple[int, int],
    sentence: str,
    *,
    stage: str = "",
    actor: str = "",
) -> None:
    """Say why a share changed from `weights[0]` to `weights[1]`, with the evidence at hand."""
    draft.records.append(
        DecisionRecord(
            at=draft.now,
            reason=reason,
            version=version,
            weight_before=weights[0],
            weight_after=weights[1],
            stage=stage,
            sentence=sentence,
            epoch=draft.status.epoch,
            generation=PENDING,
            actor=actor,
            checks=draft.results,
        )
    )


def set_weight(draft: Draft, candidate: Candidate, step: Step, why: str) -> None:
    """Give the candidate the step's share; a change of share is recorded."""
    stable = draft.status.stable
    before = weight_of(draft, candidate.name)
    if stable is None or before == step.weight:
        return
    moved = slots.with_weight(draft.status.slots, stable.name, candidate.name, step.weight)
    raised = step.weight > before
    sentence = f"{candidate.name} from {percent(before)} to {percent(step.weight)}: {why}"
    because = draft.status.because if raised else sentence
    draft.status = replace(draft.status, slots=moved, because=because)
    reason = Reason.WEIGHT_RAISED if raised else Reason.WEIGHT_LOWERED
    record(draft, reason, candidate.name, (before, step.weight), sentence, stage=step.title)
    draft.tell(reason, sentence)


def fail(draft: Draft, candidate: Candidate, cause: Cause, why: str, actor: str = "") -> None:
    """Latch that this try of the candidate failed, and take its share away if there is anywhere to go."""
    failed = Failed(candidate.name, candidate.identity, candidate.attempt, cause, why, draft.now, actor)
    latch(draft, failed)
    draft.status = replace(draft.status, candidate=replace(candidate, failed=failed))
    take_away(draft)


def latch(draft: Draft, failed: Failed) -> None:
    """Remember the failure in place of earlier ones of the same version; retried ones go first when there are too many."""
    others = [f for f in draft.status.failed if f.identity != failed.identity]
    while len(others) >= FAILED_MAX:
        others.remove(next((f for f in others if not f.is_latched), others[0]))
    past = tuple(p for p in draft.status.past if p.ref.identity != failed.identity)  # no way back to that one
    draft.status = replace(draft.status, failed=(*others, failed), past=past)


def take_away(draft: Draft) -> None:
    """End the trial of a failed candidate: all its share to stable.

    A robot's word waits while stable has no ready endpoint and the candidate has one; a person's word never waits.
    """
    candidate = draft.status.candidate
    if candidate is None or candidate.failed is None:
        return
    is_robot = candidate.failed.cause is not Cause.OPERATOR
    if is_robot and draft.is_ready(candidate) and not draft.is_ready(draft.status.stable):
        return
    end_trial(
        draft, "RolledBack", Reason.ROLLING_BACK, failure_text(candidate.failed), candidate.failed.actor
    )


def end_trial(draft: Draft, outcome: str, reason: Reason, why: str, actor: str = "") -> None:
    """Take the candidate off the traffic at once; it stops after every router acknowledged and it drained."""
    candidate, stable = draft.status.candidate, draft.status.stable
    if candidate is None or stable is None:
        return
    before = weight_of(draft, candidate.name)
    drain_s = draft.spec.capacity.drain_s if before else 0.0
    since = PENDING if candidate.issued_generation else 0  # no plan ever named it: nobody has to acknowledge
    retiring = Retiring(candidate.name, candidate.identity, since, drain_s, 0.0)
    draft.status = replace(
        draft.status,
        candidate=None,
        paused=None,
        slots=slots.all_to(stable.name),
        because=why,
        retiring=(*draft.status.retiring, retiring),
    )
    if before:
        record(draft, reason, candidate.name, (before, 0), why, actor=actor)
    remember(draft, VersionRef(candidate.name, candidate.identity), outcome, why, candidate.started_at, actor)
    draft.tell(reason, why)


def remember(
    draft: Draft, ref: VersionRef, outcome: str, why: str, started_at: float, actor: str = ""
) -> None:
    """Add an ended trial to the history, which is bounded."""
    entry = Outcome(ref.name, ref.identity, outcome, why, started_at, draft.now, actor)
    draft.status = replace(draft.status, history=(*draft.status.history, entry)[-HISTORY_MAX:])


def failure_text(failed: Failed) -> str:
    """The failure in a sentence."""
    told = {
        Cause.CHECK_FAILED: "failed its check",
        Cause.GUARD: "was taken off by a router's guard",
        Cause.OPERATOR: f"was rolled back by {failed.actor or 'an operator'}",
        Cause.CRASH_LOOP: "keeps crashing",
        Cause.PROGRESS_DEADLINE: "did not become ready in time",
        Cause.NO_DATA: "gave no data for too long, and onNoData says rollback",
        Cause.APPROVAL_EXPIRED: "was not approved in time",
        Cause.HOOK_FAILED: "was refused by a hook",
        Cause.INCONCLUSIVE: "proved nothing for too long, and onInconclusive says rollback",
    }[failed.cause]
    return f"{failed.name} {told}" + (f": {failed.message}" if failed.message else "")


def begin(draft: Draft, candidate: Candidate, how: str) -> None:
    """Put a candidate on trial; it has no traffic yet. The salt may change: nobody but stable has weight."""
    attempt = attempt_of(draft.status.failed, candidate.identity)
    draft.status = replace(
        draft.status,
        candidate=replace(candidate, attempt=attempt, started_at=draft.now),
        salt=salt(draft.spec.key, candidate.identity, attempt),
        effects=replace(draft.status.effects, trials=draft.status.effects.trials + 1),
        retiring=tuple(r for r in draft.status.retiring if r.identity != candidate.identity),
    )
    draft.tell(Reason.STARTED, f"{candidate.name} starts {how}" + (f", try {attempt}" if attempt > 1 else ""))


def salt(key: str, identity: str, attempt: int) -> str:
    """What keys the identity hash in this trial, so that it is not always the same users who test."""
    return blake2b(f"{key}|{identity}|{attempt}".encode(), digest_size=8).hexdigest()
