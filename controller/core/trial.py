"""The trial of a candidate: begun, changed and called off by the spec, ended by what went wrong, moved on by evidence."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from controller.core import capacity, holds, hooks, mishaps, rivals, routers, slots, steps, warming
from controller.core import draft as drafts
from controller.core.checks import Check, CheckResult, Lack, Metric, Verdict
from controller.core.draft import PENDING, Draft
from controller.core.spec import FULL, OnExpire, OnInconclusive, Spec, Supersede, VersionSpec, WorldDrift
from controller.core.status import (
    Candidate,
    Cause,
    PastStable,
    Pause,
    Reason,
    Retiring,
    Status,
    Track,
    VersionRef,
)
from controller.core.steps import Gate, Step, percent

QUEUE_MAX: Final = 8
PAST_MAX: Final = 8

HOW: Final = {
    Track.STAGES: "at its first stage",
    Track.FAST: "without its shadow stages, for it was stable before",
    Track.RETURN: "with one flip, for it was stable not long ago",
}


# --- what the spec asks for ---------------------------------------------------------------------------------------


def follow_spec(draft: Draft) -> None:
    """Make the trial the one that the spec asks for: start it, change it, or call it off."""
    target = draft.spec.version(draft.spec.target)
    if target is None:
        return
    _found(draft, target)
    _prove(draft)
    _call_off(draft, target)
    _line_up(draft, target)
    if draft.status.candidate is None:
        _start(draft, _next(draft, target))
    else:
        _follow_stages(draft, draft.status.candidate)


def _found(draft: Draft, target: VersionSpec) -> None:
    """The first version serves without analysis; until it was seen ready, a new target simply replaces it."""
    status = draft.status
    first = draft.spec.version(draft.spec.initial_stable or target.name) or target
    ref = VersionRef(first.name, first.identity)
    if status.is_stable_proven or status.stable == ref:
        return
    why = f"{first.name} is the first version"
    life = status.generation if status.stable is None else status.effects.life
    draft.status = replace(
        status,
        effects=replace(status.effects, life=life),
        stable=ref,
        candidate=None,
        rivals=(),
        slots=slots.all_to(first.name),
        salt=drafts.salt(draft.spec.key, first.identity, 1),
        because=why,
    )
    draft.tell(Reason.STARTED, f"{why}: it serves as soon as it is ready")


def _prove(draft: Draft) -> None:
    """Stable exists from the first acknowledged readiness of the first version."""
    status = draft.status
    if status.is_stable_proven or not draft.is_ready(status.stable) or not draft.observed.routers:
        return
    if status.generation and drafts.is_acknowledged(draft, status.generation):
        draft.status = replace(status, is_stable_proven=True)


def _call_off(draft: Draft, target: VersionSpec) -> None:
    """End the trial of a candidate that is not the target any more."""
    status = draft.status
    candidate, stable = status.candidate, status.stable
    if candidate is None or stable is None or candidate.identity == target.identity or candidate.failed:
        return
    if candidate.track is Track.RETURN and is_failed(status, target.identity):
        return  # the way back that an operator asked for; the target is what it leads away from
    if is_failed(status, stable.identity) and drafts.weight_of(draft, candidate.name):
        return  # what it has would go to a version that was rolled back
    if stable.identity == target.identity:
        why = f"{candidate.name} called off: the target is {target.name} again, which is stable"
        drafts.end_trial(draft, "Cancelled", Reason.CANCELLED, why)
    elif draft.spec.supersede is Supersede.REPLACE or _is_redefined(draft, candidate):
        is_same = candidate.name == target.name
        news = "it was redefined" if is_same else f"{target.name} is the new target"
        drafts.end_trial(draft, "Superseded", Reason.SUPERSEDED, f"{candidate.name} called off: {news}")


def _is_redefined(draft: Draft, candidate: Candidate) -> bool:
    """Does the spec no longer say what is on trial? Then nobody could start it again, and no trial can be finished."""
    written = draft.spec.version(candidate.name)
    return written is None or written.identity != candidate.identity


def _line_up(draft: Draft, target: VersionSpec) -> None:
    """With `supersede: queue` remember every target in turn; with the others only the latest counts."""
    status = draft.status
    if draft.spec.supersede is not Supersede.QUEUE:
        draft.status = replace(status, queue=()) if status.queue else status
        return
    on_trial = status.candidate.name if status.candidate else None
    last = status.queue[-1] if status.queue else on_trial
    stable = status.stable.name if status.stable else None
    if target.name not in (last, stable) and not is_failed(status, target.identity):
        draft.status = replace(status, queue=(*status.queue, target.name)[-QUEUE_MAX:])


def _next(draft: Draft, target: VersionSpec) -> VersionSpec:
    """The version whose turn it is: the first in the queue that is still there and has not failed, else the target."""
    queued = (draft.spec.version(name) for name in draft.status.queue)
    waiting = (v for v in queued if v is not None and not is_failed(draft.status, v.identity))
    return next(waiting, target)


def _may_start(draft: Draft, target: VersionSpec) -> bool:
    """Is there anything to try, nothing on trial or draining, and has it not failed?"""
    status = draft.status
    if status.stable is None or not status.is_stable_proven or status.stable.identity == target.identity:
        return False
    if is_failed(status, target.identity) or status.stable.name == target.name:
        return False
    is_alone = not any(is_draining(r) for r in status.retiring if r.identity != target.identity)
    return is_alone and status.candidate is None


def held_start(draft: Draft) -> tuple[VersionSpec, str] | None:
    """The version whose trial could start but for the schedule, and what that says."""
    target = draft.spec.version(draft.spec.target)
    following = None if target is None else _next(draft, target)
    if following is None or not _may_start(draft, following):
        return None
    why = holds.on_start(draft, following, _track(draft, following.identity))
    return None if why is None else (following, why)


def start_held(draft: Draft, version: str, by: str) -> bool:
    """Start the trial that the schedule holds back, for a person said so; False if it holds none of that version."""
    held = held_start(draft)
    if held is None or held[0].name != version:
        return False
    _start(draft, held[0], by)
    return True


def _start(draft: Draft, target: VersionSpec, admitted_by: str = "") -> None:
    """Begin the target's trial, unless something speaks against it; a person may let it in outside the schedule."""
    status = draft.status
    if not _may_start(draft, target):
        return
    track = _track(draft, target.identity)
    held = holds.on_start(draft, target, track)
    if not admitted_by and (held is not None or hooks.ask_start(draft, target, track)):
        return
    named = steps.digest(steps.steps_of(draft.spec, track))
    candidate = Candidate(
        target.name, target.identity, track=track, steps_digest=named, admitted_by=admitted_by
    )
    if target.name in status.queue:
        behind = status.queue[status.queue.index(target.name) + 1 :]
        draft.status = replace(status, queue=behind)
    how = HOW[track] if held is None else f"{HOW[track]}: {admitted_by} lets it in, though {held}"
    drafts.begin(draft, candidate, how)


def _track(draft: Draft, identity: str) -> Track:
    """All stages for a new version; for one that was stable, a flip if it is warm or in the rollback window, else no shadow."""
    past, window = draft.status.past, draft.spec.rollback_window
    index = next((i for i, before in enumerate(past) if before.ref.identity == identity), None)
    if index is None:
        return Track.STAGES
    is_warm = any(r.identity == identity for r in draft.status.retiring)
    is_inside = index < window.versions and draft.now - past[index].until <= window.within_s
    return Track.RETURN if is_warm or is_inside else Track.FAST


def _follow_stages(draft: Draft, candidate: Candidate) -> None:
    """After an edit of the stages go on where the candidate is; its weight only ever falls by that."""
    compiled = drafts.compiled_steps(draft, candidate)
    named = steps.digest(compiled)
    if named == candidate.steps_digest:
        return
    weight = drafts.weight_of(draft, candidate.name)
    present = replace(steps.at(compiled, candidate.step), weight=weight)
    index = steps.resume_at(compiled, present)
    is_matched = weight == 0 and steps.at(compiled, candidate.step).match is not None
    begins_anew = not candidate.issued_generation or compiled[index].weight > weight == 0 or is_matched
    edited = Candidate(
        name=candidate.name,
        identity=candidate.identity,
        attempt=candidate.attempt,
        track=candidate.track,
        step=0 if begins_anew else index,
        steps_digest=named,
        issued_generation=0 if begins_anew else PENDING,
        started_at=candidate.started_at,
        admitted_by=candidate.admitted_by,
        total_s=candidate.total_s,
        waiting_s=candidate.waiting_s,
        warming_s=candidate.warming_s,
        failed=candidate.failed,
    )
    draft.status = replace(draft.status, candidate=edited)
    rivals.reset(draft, None if begins_anew else compiled[index])
    if not begins_anew and compiled[index].weight < weight:
        drafts.set_weight(draft, edited, compiled[index], "the stages were edited and allow no more")


# --- what went wrong ----------------------------------------------------------------------------------------------


def watch(draft: Draft) -> None:
    """Fail the candidate for the first thing that went wrong; one that has failed loses its share when it can."""
    candidate = draft.status.candidate
    if candidate is None:
        return
    if candidate.failed is not None:
        drafts.take_away(draft)
        return
    found = drafts.fault(draft, candidate, draft.results) or _deadline(draft, candidate)
    if found is not None:
        drafts.fail(draft, candidate, *found)
    else:
        _watch_the_world(draft, candidate)


def _watch_the_world(draft: Draft, candidate: Candidate) -> None:
    """Both versions degrade together: not the candidate's fault, but no time to go on; said once each time it begins."""
    shared = [r for r in draft.results if r.is_shared and r.required and not r.dry_run]
    if bool(shared) == candidate.in_drift:
        return
    draft.status = replace(draft.status, candidate=replace(candidate, in_drift=bool(shared)))
    if not shared:
        return
    why = f"stable is degraded, too, so it is not {candidate.name}'s fault alone: {shared[0].check}: {shared[0].text}"
    draft.tell(Reason.WORLD_DRIFT, why)
    if draft.spec.policy.world_drift is WorldDrift.PAUSE and draft.status.paused is None:
        draft.status = replace(draft.status, paused=Pause("headgate", why, draft.now))
        draft.tell(Reason.PAUSED, f"paused by headgate until somebody resumes it: {why}")


def _deadline(draft: Draft, candidate: Candidate) -> tuple[Cause, str] | None:
    """What lets a candidate fail although it did no wrong: it is not ready, a hook says no, nobody approved."""
    seen = draft.seen(candidate.identity)
    if candidate.waiting_s >= draft.spec.capacity.progress_deadline_s:
        return Cause.PROGRESS_DEADLINE, f"not ready for {candidate.waiting_s:.0f} s" + (
            f"; {seen.message}" if seen.message else ""
        )
    refused = hooks.fatal(draft, candidate)
    if refused is not None:
        return Cause.HOOK_FAILED, refused
    step = steps.at(drafts.compiled_steps(draft, candidate), candidate.step)
    if (
        step.expires_s is not None
        and step.on_expire is OnExpire.ABORT
        and candidate.stage_s >= step.expires_s
    ):
        return (
            Cause.APPROVAL_EXPIRED,
            f"{len(candidate.approved_by)} of {step.quorum} in {step.expires_s:.0f} s",
        )
    return _patience_ends(draft.spec, candidate, step)


def _patience_ends(spec: Spec, candidate: Candidate, step: Step) -> tuple[Cause, str] | None:
    policy = spec.policy
    if policy.on_no_data is OnInconclusive.ROLLBACK and candidate.no_data_s >= policy.no_data_timeout_s:
        return Cause.NO_DATA, f"no data for {candidate.no_data_s:.0f} s"
    if policy.on_inconclusive is OnInconclusive.ROLLBACK and is_overdue(spec, candidate, step):
        return (
            Cause.INCONCLUSIVE,
            f"after {candidate.total_s:.0f} s in all, {candidate.stage_s:.0f} s in this stage",
        )
    return None


def is_overdue(spec: Spec, candidate: Candidate, step: Step) -> bool:
    """Has the stage lasted longer than its maxStay, or the rollout longer than maxDuration?"""
    too_long = step.max_stay_s is not None and candidate.stage_s >= step.max_stay_s
    return too_long or candidate.total_s >= spec.policy.max_duration_s


# --- what may go on -----------------------------------------------------------------------------------------------


def proceed(draft: Draft) -> None:
    """Move the candidate on as far as the stage, the evidence and the routers allow; at most one change of traffic."""
    candidate = draft.status.candidate
    if candidate is None or candidate.failed is not None or draft.is_paused:
        return
    if candidate.issued_generation == 0:
        compiled = drafts.compiled_steps(draft, candidate)
        first = steps.at(compiled, candidate.pass_to)
        why = f"{warming.told(draft, candidate)}{holds.aside(draft, candidate, first)}"
        by = candidate.passed_by if candidate.pass_to else candidate.admitted_by
        _enter(draft, candidate, max(candidate.pass_to, 0), why, by)
        return
    candidate = _acknowledge(draft, candidate)
    step = steps.at(drafts.compiled_steps(draft, candidate), candidate.step)
    if candidate.pass_to > candidate.step:
        compiled = drafts.compiled_steps(draft, candidate)
        following = compiled[candidate.pass_to] if candidate.pass_to < len(compiled) else None
        why = f"{candidate.passed_by} passed it{holds.aside(draft, candidate, following)}"
        _enter(draft, candidate, candidate.pass_to, why, candidate.passed_by)
    elif step.stage in candidate.skipped:
        why = f"{candidate.passed_by} left {step.title} out"
        _enter(draft, candidate, candidate.step + 1, why, candidate.passed_by)
    elif candidate.acknowledged_at is not None and draft.is_ready(candidate):
        why_not = unmet(draft, candidate, step)
        if why_not is None:
            is_below = drafts.weight_of(draft, candidate.name) < step.weight  # after an edit of the stages
            index = candidate.step if is_below else candidate.step + 1
            _enter(draft, candidate, index, _why_over(draft, candidate, step))


def _acknowledge(draft: Draft, candidate: Candidate) -> Candidate:
    """Note when every router runs this step's plan: from then on its clock and its evidence count."""
    if candidate.acknowledged_at is not None or not draft.observed.routers:
        return candidate
    if not drafts.is_acknowledged(draft, candidate.issued_generation):
        return candidate
    candidate = replace(candidate, acknowledged_at=draft.now)
    draft.status = replace(draft.status, candidate=candidate)
    return candidate


def _enter(draft: Draft, candidate: Candidate, index: int, why: str, by: str = "") -> None:
    """Go to the step of that index and issue its traffic, if that is allowed now; past the last one, promote.

    `by`: the person whose word it is, if it is one's.
    """
    compiled = drafts.compiled_steps(draft, candidate)
    while index < len(compiled) and compiled[index].stage in candidate.skipped:
        index += 1
    if index >= len(compiled):
        if holds.on_promotion(draft, candidate) is None and not holds.must_ask(draft, candidate, None):
            _promote(draft, candidate, why)
        return
    step = compiled[index]
    if obstacle(draft, candidate, step) is not None or holds.must_ask(draft, candidate, step):
        return
    gains = drafts.gains(draft, candidate, step)
    is_new_stage = candidate.issued_generation == 0 or compiled[candidate.step].stage != step.stage
    entered = replace(
        candidate,
        step=index,
        issued_generation=PENDING,
        acknowledged_at=None,
        step_s=0.0,
        no_data_s=0.0,
        stage_s=0.0 if is_new_stage else candidate.stage_s,
        approved_by=() if is_new_stage else candidate.approved_by,
        pass_to=candidate.pass_to if candidate.pass_to > index else 0,
    )
    draft.status = replace(draft.status, candidate=entered)
    if is_new_stage:
        total = steps.stage_count(compiled)
        draft.tell(
            Reason.STAGE_ENTERED, f"{candidate.name} enters stage {step.stage + 1} of {total}: {step.title}"
        )
    rivals.make_room(draft, step)
    before = drafts.weight_of(draft, candidate.name)
    drafts.set_weight(draft, entered, step, why, by)
    if gains and step.match is not None:
        drafts.record_exposure(draft, entered, step, by)
    elif drafts.weight_of(draft, candidate.name) == before:
        told = f"{candidate.name} enters {step.title} at {percent(before)}: {why}"
        drafts.record(
            draft, Reason.STAGE_ENTERED, candidate.name, (before, before), told, stage=step.title, actor=by
        )


def obstacle(draft: Draft, candidate: Candidate, step: Step) -> str | None:
    """Why this step's traffic cannot be issued now; None when it can. A decrease knows no obstacle but an unready candidate."""
    if not draft.is_ready(candidate):
        return f"{candidate.name} has no ready endpoint: {draft.seen(candidate.identity).message or 'it is starting'}"
    cold = warming.obstacle(draft, candidate, step)
    if cold is not None:
        return cold
    unanswered = holds.on_hooks(draft, candidate, step)
    if unanswered is not None:
        return unanswered
    is_rise = drafts.gains(draft, candidate, step)
    present = steps.at(drafts.compiled_steps(draft, candidate), candidate.step)
    is_load = is_rise or not candidate.issued_generation or step.load > present.load
    short = capacity.obstacle(draft, candidate, step) if is_load else None
    if short is not None or not is_rise:
        return short
    if (
        candidate.track is Track.RETURN
        and draft.status.stable
        and is_failed(draft.status, draft.status.stable.identity)
    ):
        return None  # away from a version that a person rolled back: for that one it is a decrease
    if not draft.is_ready(draft.status.stable) and not _rolls_forward(candidate, step):
        return f"{draft.status.stable.name if draft.status.stable else 'stable'} has no ready endpoint to go back to"
    return mishaps.obstacle(draft, candidate) or routers.obstacle(draft) or holds.on_move(draft, candidate)


def _rolls_forward(candidate: Candidate, step: Step) -> bool:
    """Did a person say that everything moves to the candidate? Then also away from a stable that serves nobody."""
    return candidate.pass_to > candidate.step and step.weight == FULL


def unmet(draft: Draft, candidate: Candidate, step: Step) -> str | None:
    """The first thing that is missing for the step to end, in words; None when nothing is."""
    return next(each_unmet(draft, candidate, step), None)


def each_unmet(draft: Draft, candidate: Candidate, step: Step) -> Iterator[str]:
    """All that is missing for the step to end, in words and in order; evidence comes after a semicolon."""
    left = step.min_s - candidate.step_s
    if step.gate is Gate.PERSON:
        yield "somebody to `headgate resume` or `headgate promote` it"
        return
    if step.gate is Gate.APPROVAL:
        unapproved = _unapproved(candidate, step)
        if unapproved is not None:
            yield unapproved
        return
    if left > 0:
        yield f"{left:.0f} s more of {step.title}"
    missing_pairs = step.min_pairs - _pairs(draft) if step.min_pairs else 0
    if missing_pairs > 0:
        yield f"{missing_pairs} more compared pairs of {step.min_pairs}"
    if step.gate is Gate.TIME:
        return
    by_name = {result.check: result for result in draft.results}
    for check in required_checks(draft.spec, step):
        why_not = _unmet_check(by_name.get(check.name), step.gate, _is_permitted(draft, candidate, step))
        if why_not is not None:
            yield f"check {check.name}: {why_not}"
    risk = _too_risky(draft, candidate, step) if step.gate is Gate.RISK else None
    if risk is not None:
        yield risk


def _unapproved(candidate: Candidate, step: Step) -> str | None:
    missing = step.quorum - len(candidate.approved_by)
    if missing <= 0:
        return None
    who = f" of {' or '.join(step.roles)}" if step.roles else ""
    return f"{missing} approval{'s' * (missing > 1)}{who}: `headgate approve {candidate.name}`"


def _too_risky(draft: Draft, candidate: Candidate, step: Step) -> str | None:
    """`ramp: auto`: the next weight times the proven upper bound of the excess must be within the risk budget."""
    compiled = drafts.compiled_steps(draft, candidate)
    share = steps.at(compiled, candidate.step + 1).weight / FULL
    budget = step.risk_budget or 0.0
    bounded = (c for c in required_checks(draft.spec, step) if c.metric is not Metric.GAUGE)
    names = {check.name for check in bounded}
    for result in (r for r in draft.results if r.check in names):
        if result.high is None:
            return f"check {result.check}: nothing bounds the risk yet; {result.text}"
        risk = share * max(result.high, 0.0)
        if risk > budget:
            return (
                f"check {result.check}: at {percent(round(share * FULL))} up to {risk:.2%} of all requests could be worse, "
                f"the risk budget is {budget:.2%}; {result.text}"
            )
    return None


def _pairs(draft: Draft) -> int:
    """Pairs compared in this step, as far as any check counted them."""
    no_pair = {check.name for check in draft.spec.checks if not counts_pairs(check)}
    return max((r.samples for r in draft.results if r.check not in no_pair), default=0)


def counts_pairs(check: Check) -> bool:
    """Are this check's samples compared pairs?"""
    return check.metric is Metric.DISAGREEMENT


def _is_permitted(draft: Draft, candidate: Candidate, step: Step) -> bool:
    """Did the user write that an undecided rollout is promoted, and is it time?"""
    allowed = draft.spec.policy.on_inconclusive is OnInconclusive.PROMOTE
    return allowed and is_overdue(draft.spec, candidate, step)


def _unmet_check(result: CheckResult | None, gate: Gate, is_permitted: bool) -> str | None:
    if result is None:
        return "no measurement yet"
    if result.lack is Lack.NO_DATA:
        return result.text or "no data"
    if is_permitted:
        return None
    if result.is_shared:
        return f"stable is degraded, too: nothing is raised until that is over; {result.text}"
    if result.is_holding:
        return f"shown to be worse than stable, though not worse than tolerated; {result.text}"
    if gate is Gate.PASS and result.verdict is not Verdict.PASS:
        return f"not proven yet; {result.text}"
    return None if result.is_fresh else f"too few requests in this step; {result.text}"


def _why_over(draft: Draft, candidate: Candidate, step: Step) -> str:
    """Why the step ended, for the record; a permission that was used is named."""
    overdue = _is_permitted(draft, candidate, step)
    if overdue and any(r.verdict is not Verdict.PASS for r in draft.results):
        return f"{step.title} proved nothing for too long, and onInconclusive says promote"
    if step.gate is Gate.APPROVAL:
        return f"{' and '.join(candidate.approved_by)} approved it"
    if not required_checks(draft.spec, step):
        return f"{step.title} is over, and it has no checks"
    return (
        f"{step.title} is over and every check {'passed' if step.gate is Gate.PASS else 'is clear of Fail'}"
    )


def required_checks(spec: Spec, step: Step) -> tuple[Check, ...]:
    """The checks of this step without which it does not end."""
    return tuple(c for c in spec.checks if c.name in step.checks and c.required and not c.dry_run)


def _promote(draft: Draft, candidate: Candidate, why: str) -> None:
    """The candidate, which has all traffic everywhere, is the new stable; the old one drains and stays warm."""
    status = draft.status
    old = status.stable
    if old is None or candidate.acknowledged_at is None or drafts.weight_of(draft, candidate.name) != FULL:
        return
    was_failed = is_failed(status, old.identity)
    capacity = draft.spec.capacity
    leaving = Retiring(
        old.name, old.identity, PENDING, capacity.drain_s, 0.0 if was_failed else capacity.keep_stable_warm_s
    )
    others = tuple(_cooling(draft, r) for r in status.retiring if r.identity != candidate.identity)
    draft.status = replace(
        status,
        stable=VersionRef(candidate.name, candidate.identity),
        past=_past(draft, old, candidate),
        candidate=None,
        paused=None,
        slots=slots.all_to(candidate.name),
        retiring=drafts.with_leaving(others, leaving),
    )
    for rival in draft.status.rivals:
        drafts.drop_rival(draft, rival, Reason.WEIGHT_LOWERED, f"{candidate.name} is promoted")
    sentence = f"{candidate.name} is promoted to stable at {percent(FULL)}: {why}"
    drafts.record(draft, Reason.PROMOTED, candidate.name, (FULL, FULL), sentence, actor=candidate.passed_by)
    ref = VersionRef(candidate.name, candidate.identity)
    drafts.remember(draft, ref, "Promoted", sentence, candidate.started_at, candidate.passed_by)
    draft.tell(Reason.PROMOTED, sentence)


def _past(draft: Draft, old: VersionRef, promoted: Candidate) -> tuple[PastStable, ...]:
    """The versions to go back to from now on: the old stable first, unless it failed."""
    before = tuple(p for p in draft.status.past if p.ref.identity not in (old.identity, promoted.identity))
    latest = () if is_failed(draft.status, old.identity) else (PastStable(old, draft.now),)
    return (*latest, *before)[:PAST_MAX]


def is_failed(status: Status, identity: str) -> bool:
    """Was this version rolled back, and not given another try since?"""
    return any(failed.identity == identity and failed.is_latched for failed in status.failed)


def is_draining(retiring: Retiring) -> bool:
    """May requests still be in flight at this version?"""
    return retiring.warm_until is None


def _cooling(draft: Draft, retiring: Retiring) -> Retiring:
    """Kept warm no longer: only the version before the present one is."""
    return replace(retiring, warm_s=0.0, warm_until=None if retiring.warm_until is None else draft.now)
