"""A decision in the making, and the few moves that everything else is made of: weigh, fail, retire, record.

The draft is private to one call of `decide`. Its inputs stay as they are; only `status`, an immutable value, is
replaced as the passes go on, and the consequences (records, events, answers) are gathered beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final

from controller.core import slots, steps
from controller.core.checks import CheckResult, Verdict
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
    Rival,
    RouterObserved,
    Status,
    Track,
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
    """Inputs of one decision, the status as far as it has come, and what follows from it. `elapsed_s` is since the last.

    `results` are the candidate's, `rival_results` by identity those of who is on trial beside it.
    """

    spec: Spec
    observed: Observed
    results: tuple[CheckResult, ...]
    now: float
    status: Status
    rival_results: Mapping[str, tuple[CheckResult, ...]] = field(default_factory=dict)
    elapsed_s: float = 0.0
    records: list[DecisionRecord] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    answers: list[ActionResult] = field(default_factory=list)
    target: str | None = None
    compiled: dict[Track, tuple[Step, ...]] = field(default_factory=dict)

    def seen(self, identity: str) -> VersionObserved:
        """What is seen of the version with this identity."""
        return self.observed.versions.get(identity, _ABSENT)

    def is_ready(self, ref: Candidate | Rival | VersionRef | None) -> bool:
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
    """The steps this candidate goes through; compiled once a decision, for even to look them up costs."""
    known = draft.compiled.get(candidate.track)
    if known is None:
        known = draft.compiled[candidate.track] = steps.steps_of(draft.spec, candidate.track)
    return known


def ref_of(version: Candidate | Rival) -> VersionRef:
    """A version on trial by its name and identity."""
    return VersionRef(version.name, version.identity)


def gains(draft: Draft, candidate: Candidate, step: Step) -> bool:
    """Would this step let more live requests, or others, reach the candidate than now?"""
    if step.weight > weight_of(draft, candidate.name):
        return True
    if step.match is None:
        return False
    present = (
        steps.at(compiled_steps(draft, candidate), candidate.step) if candidate.issued_generation else None
    )
    return present is None or present.match != step.match


def is_exposed(draft: Draft, candidate: Candidate) -> bool:
    """May live requests reach the candidate now?"""
    step = steps.at(compiled_steps(draft, candidate), candidate.step)
    is_matched = candidate.issued_generation != 0 and step.match is not None
    return is_matched or weight_of(draft, candidate.name) > 0


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
    is_rival = next((r for r in draft.status.rivals if r.name == version), None)
    evidence = draft.results if is_rival is None else draft.rival_results.get(is_rival.identity, ())
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
            checks=evidence,
        )
    )


def set_weight(draft: Draft, version: Candidate | Rival, step: Step, why: str, by: str = "") -> None:
    """Give a version on trial the step's share, as far as stable has it; a change is recorded, with who said so."""
    stable = draft.status.stable
    if stable is None:
        return
    before = weight_of(draft, version.name)
    after = min(step.weight, before + weight_of(draft, stable.name))
    if before == after:
        return
    moved = slots.with_weight(draft.status.slots, stable.name, version.name, after)
    raised = after > before
    sentence = f"{version.name} from {percent(before)} to {percent(after)}: {why}"
    because = draft.status.because if raised else sentence
    draft.status = replace(draft.status, slots=moved, because=because)
    reason = Reason.WEIGHT_RAISED if raised else Reason.WEIGHT_LOWERED
    record(draft, reason, version.name, (before, after), sentence, stage=step.title, actor=by)
    draft.tell(reason, sentence)


def record_exposure(draft: Draft, version: Candidate | Rival, step: Step, by: str = "") -> None:
    """Say that requests that match reach this version from now on: no share, but live traffic all the same."""
    if step.match is None:
        return
    weight = weight_of(draft, version.name)
    sentence = f"{version.name} answers {step.title.removeprefix('match ')} from now on"
    record(draft, Reason.STAGE_ENTERED, version.name, (weight, weight), sentence, stage=step.title, actor=by)


def drop_rival(draft: Draft, rival: Rival, reason: Reason, why: str, actor: str = "") -> None:
    """Take a rival off: its share to stable at once; it stops after every router acknowledged and it drained."""
    status = draft.status
    before = weight_of(draft, rival.name)
    if before:
        sentence = f"{rival.name} from {percent(before)} to {percent(0)}: {why}"
        record(draft, reason, rival.name, (before, 0), sentence, actor=actor)
        status = replace(status, because=sentence)
    drain_s = draft.spec.capacity.drain_s if rival.was_issued else 0.0
    retiring = Retiring(rival.name, rival.identity, PENDING if rival.was_issued else 0, drain_s, 0.0)
    back = status.stable.name if status.stable else rival.name
    draft.status = replace(
        status,
        rivals=tuple(r for r in status.rivals if r.identity != rival.identity),
        slots=slots.renamed(status.slots, rival.name, back),
        retiring=with_leaving(status.retiring, retiring),
    )


def with_leaving(retiring: tuple[Retiring, ...], leaving: Retiring) -> tuple[Retiring, ...]:
    """All that retire, with one more: in place of an earlier try of its own, unless no plan named the later one."""
    others = tuple(known for known in retiring if known.identity != leaving.identity)
    if leaving.since_generation != PENDING and len(others) < len(retiring):
        return retiring
    return (*others, leaving)


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
    before, was_exposed = weight_of(draft, candidate.name), is_exposed(draft, candidate)
    drain_s = draft.spec.capacity.drain_s if was_exposed else 0.0
    since = PENDING if candidate.issued_generation else 0  # no plan ever named it: nobody has to acknowledge
    retiring = Retiring(candidate.name, candidate.identity, since, drain_s, 0.0)
    draft.status = replace(
        draft.status,
        candidate=None,
        paused=None,
        slots=slots.renamed(draft.status.slots, candidate.name, stable.name),
        because=why,
        retiring=with_leaving(draft.status.retiring, retiring),
    )
    if was_exposed:
        record(draft, reason, candidate.name, (before, 0), why, actor=actor)
    remember(draft, VersionRef(candidate.name, candidate.identity), outcome, why, candidate.started_at, actor)
    draft.tell(reason, why)
    for rival in draft.status.rivals:
        drop_rival(draft, rival, Reason.WEIGHT_LOWERED, f"the trial of {candidate.name} is over")


def remember(
    draft: Draft, ref: VersionRef, outcome: str, why: str, started_at: float, actor: str = ""
) -> None:
    """Add an ended trial to the history, which is bounded."""
    entry = Outcome(ref.name, ref.identity, outcome, why, started_at, draft.now, actor)
    draft.status = replace(draft.status, history=(*draft.status.history, entry)[-HISTORY_MAX:])


def fault(
    draft: Draft, tried: Candidate | Rival, results: tuple[CheckResult, ...]
) -> tuple[Cause, str] | None:
    """What is wrong with a version on trial by its own doing, and nothing else said of it: a check, the guard, a crash."""
    for result in results:
        if result.verdict is Verdict.FAIL and not result.dry_run:
            return Cause.CHECK_FAILED, f"{result.check}: {result.text}"
    for router in draft.observed.routers:
        for trip in router.trips:
            if (trip.identity, trip.attempt) == (tried.identity, tried.attempt):
                return Cause.GUARD, f"router {router.id}: {trip.text}"
    seen = draft.seen(tried.identity)
    return (Cause.CRASH_LOOP, seen.message) if seen.is_crash_looping else None


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
    """Put a candidate on trial; it has no traffic yet. The salt may change: nobody but stable has weight.

    What retires of an earlier try is forgotten, unless a router may still send it traffic.
    """
    attempt = attempt_of(draft.status.failed, candidate.identity)
    retiring = (
        known
        for known in draft.status.retiring
        if known.identity != candidate.identity or not is_acknowledged(draft, known.since_generation)
    )
    draft.status = replace(
        draft.status,
        candidate=replace(candidate, attempt=attempt, started_at=draft.now),
        salt=salt(draft.spec.key, candidate.identity, attempt),
        effects=replace(draft.status.effects, trials=draft.status.effects.trials + 1),
        retiring=tuple(retiring),
    )
    draft.tell(Reason.STARTED, f"{candidate.name} starts {how}" + (f", try {attempt}" if attempt > 1 else ""))


def salt(key: str, identity: str, attempt: int) -> str:
    """What keys the identity hash in this trial, so that it is not always the same users who test."""
    return blake2b(f"{key}|{identity}|{attempt}".encode(), digest_size=8).hexdigest()
