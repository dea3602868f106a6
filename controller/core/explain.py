"""Sentences for people: where a rollout is, what it waits for, and what would move it on."""

from collections.abc import Iterator
from typing import NamedTuple

from controller.core import draft as drafts
from controller.core import entrance, holds, mishaps, rivals, routers, steps, trial
from controller.core.checks import AtMost, Check, NoSlower, NoWorse, Within
from controller.core.draft import Draft
from controller.core.effects import OnFail
from controller.core.spec import OnExpire, OnInconclusive, Spec
from controller.core.status import Candidate, Phase, Status, Track
from controller.core.steps import Gate, Step, percent


class Place(NamedTuple):
    """Where a rollout is: the phase, one sentence for people, and what it waits for ("": nothing)."""

    phase: Phase
    message: str
    waiting_for: str = ""


def place(draft: Draft) -> Place:
    """The phase, one sentence that says what is, and what it waits for."""
    status, spec = draft.status, draft.spec
    if spec.version(spec.target) is None:
        names = ", ".join(version.name for version in spec.versions)
        return Place(
            Phase.STALLED, f"target {spec.target} is not among the versions ({names}): set one of them"
        )
    if status.stable is None:
        return Place(Phase.STALLED, "no version serves yet")
    if status.candidate is not None:
        return _on_trial(draft, status.candidate)
    target = spec.version(spec.target)
    if target is not None and target.name == status.stable.name and target.identity != status.stable.identity:
        return Place(
            Phase.STALLED,
            f"{target.name} is stable and was redefined: give what shall replace it another name",
        )
    if not status.is_stable_proven:
        first = _first(draft)
        stuck = entrance.unmet(draft) if entrance.is_stuck(draft) else ""
        return Place(Phase.STALLED, f"{first.message}; {stuck}", stuck) if stuck else first
    return _at_rest(spec, status, draft)


def _first(draft: Draft) -> Place:
    stable = draft.status.stable
    if stable is None:
        return Place(Phase.STALLED, "no version serves yet")
    seen = draft.seen(stable.identity)
    if seen.is_crash_looping:
        return Place(Phase.STALLED, f"{stable.name}, the first version, keeps crashing: {seen.message}")
    if draft.status.phase is Phase.STALLED and mishaps.is_unknown(draft, seen):
        return Place(Phase.STALLED, draft.status.message)
    if not seen.endpoints and seen.trouble:
        return Place(Phase.STALLED, f"{stable.name}, the first version, cannot become ready: {seen.trouble}")
    if not seen.endpoints:
        return _waiting(f"{stable.name}, the first version: {seen.message or 'it is starting'}")
    refused = next((router for router in draft.observed.routers if router.error), None)
    if refused is not None:
        return Place(Phase.STALLED, f"{stable.name} is not served by router {refused.id}: {refused.error}")
    return _waiting(f"a router to serve {stable.name}: {routers.obstacle(draft) or 'soon'}")


def _waiting(what: str) -> Place:
    return Place(Phase.PROGRESSING, f"waiting for {what}", what)


def _at_rest(spec: Spec, status: Status, draft: Draft) -> Place:
    stable = status.stable.name if status.stable else ""
    target = spec.version(spec.target)
    failed = next(
        (f for f in status.failed if f.is_latched and target and f.identity == target.identity), None
    )
    leaving = next((r for r in status.retiring if trial.is_draining(r)), None)
    if failed is not None:
        told = f"{drafts.failure_text(failed)}. {_serves(draft)}"
        if leaving is not None and leaving.identity == failed.identity:
            how, waiting = _draining(draft, leaving.name, leaving.since_generation)
            return Place(Phase.ROLLING_BACK, f"{told}; {how}", waiting)
        return Place(Phase.ROLLED_BACK, f"{told}. Set another target, or `headgate retry {spec.target}`")
    if (
        leaving is not None
        and target is not None
        and status.stable
        and status.stable.identity != target.identity
    ):
        following = status.queue[0] if status.queue else target.name
        how, waiting = _draining(draft, leaving.name, leaving.since_generation)
        return Place(Phase.PROGRESSING, f"{following} starts when {leaving.name} has drained: {how}", waiting)
    if status.stable and not draft.is_ready(status.stable):
        return Place(
            Phase.STALLED,
            f"{stable} is stable and has no ready endpoint: {draft.seen(status.stable.identity).message}",
        )
    held = trial.held_start(draft)
    if held is not None:
        told = f"{_serves(draft)}; {held[0].name} waits: {held[1]}"
        return Place(Phase.PROGRESSING, told, held[1])
    told = f"{stable} serves everything{_not_whole(draft)}"
    awaited = entrance.unmet(draft)
    if awaited:
        phase = Phase.STALLED if entrance.is_stuck(draft) else Phase.PROGRESSING
        return Place(phase, f"{told}; {awaited}", awaited)
    overridden = entrance.obstacle(draft)
    return Place(Phase.HEALTHY, f"{told}; {overridden}" if overridden else told)


def _serves(draft: Draft) -> str:
    """That stable serves, or that nobody does."""
    stable = draft.status.stable
    name = stable.name if stable else "stable"
    if draft.is_ready(stable):
        return f"{name} serves everything"
    return f"{name} has no ready endpoint: requests are answered 503 until it has one"


def _not_whole(draft: Draft) -> str:
    """What is to be said of stable's replicas while some are not ready or still to be replaced."""
    stable = draft.status.stable
    seen = draft.seen(stable.identity) if stable is not None else None
    if seen is None or seen.replicas is None:
        return ""
    is_whole = seen.replicas >= draft.spec.capacity.replicas and not seen.outdated
    return "" if is_whole else f"; {seen.message}"


def _draining(draft: Draft, name: str, generation: int) -> tuple[str, str]:
    """What is going on with a version that leaves, and what it waits for."""
    lagging = drafts.lagging(draft, generation)
    if lagging:
        silent = {router.id for router in drafts.silent(draft)}
        cure = f" (silent: bring it back, or `headgate router forget {lagging[0].id}`)"
        told = cure if lagging[0].id in silent else ""
        waiting = f"router {lagging[0].id} to acknowledge that {name} has no traffic{told}"
        return f"waiting for {waiting}", waiting
    return f"{name} drains", f"{name} to drain"


def _on_trial(draft: Draft, candidate: Candidate) -> Place:
    compiled = drafts.compiled_steps(draft, candidate)
    step = steps.at(compiled, candidate.step)
    if candidate.failed is not None:
        stable = draft.status.stable.name if draft.status.stable else "stable"
        missing = f"{stable} has a ready endpoint to take it"
        why = drafts.failure_text(candidate.failed)
        return Place(Phase.ROLLING_BACK, f"{why}; its share stays until {missing}", f"{stable} to be ready")
    if _is_way_back(draft, candidate):
        how, waiting = _way_back(draft, candidate, step)
        return Place(Phase.ROLLING_BACK, f"{candidate.name} comes back: {how}", waiting)
    if candidate.issued_generation == 0:
        why = trial.obstacle(draft, candidate, step) or "it is about to begin"
        where = f"{candidate.name} waits for stage 1 of {steps.stage_count(compiled)}, {step.title}: {why}"
        return Place(Phase.PAUSED if draft.is_paused else Phase.PROGRESSING, where, why)
    share = f"{percent(drafts.weight_of(draft, candidate.name))}{rivals.beside(draft)}"
    where = f"{candidate.name} at {share}, stage {step.stage + 1} of {steps.stage_count(compiled)}"
    if draft.is_paused:
        by = draft.status.paused.by if draft.status.paused else "its spec"
        return Place(Phase.PAUSED, f"{where}, paused by {by}; checks go on", _resumed(draft))
    phase = Phase.PAUSED if step.gate is Gate.PERSON else Phase.PROGRESSING
    waiting = waiting_for(draft, candidate)
    return Place(phase, f"{where}, waiting for {waiting}", waiting)


def _resumed(draft: Draft) -> str:
    if draft.status.paused is None:
        return "`paused: false` in its spec"
    return "somebody to `headgate resume` it"


def _is_way_back(draft: Draft, candidate: Candidate) -> bool:
    """Does the candidate replace a stable version that an operator rolled back?"""
    stable = draft.status.stable
    return (
        candidate.track is Track.RETURN
        and stable is not None
        and trial.is_failed(draft.status, stable.identity)
    )


def _way_back(draft: Draft, candidate: Candidate, step: Step) -> tuple[str, str]:
    """What is going on with a version that comes back, and what it waits for."""
    if candidate.issued_generation:
        waiting = waiting_for(draft, candidate)
        return f"waiting for {waiting}", waiting
    why = trial.obstacle(draft, candidate, step) or "its turn"
    return why, why


def waiting_for(draft: Draft, candidate: Candidate) -> str:
    """What has to happen before the candidate moves on, in words that follow `waiting for`."""
    compiled = drafts.compiled_steps(draft, candidate)
    step = steps.at(compiled, candidate.step)
    if not draft.is_ready(candidate):
        return f"{candidate.name} to become ready: {draft.seen(candidate.identity).message or 'no ready endpoint'}"
    if candidate.acknowledged_at is None:
        lagging = drafts.lagging(draft, candidate.issued_generation)
        if not lagging:
            return f"{step.title} to begin"
        cause = f": {lagging[0].error}" if lagging[0].error else ""
        return f"router {lagging[0].id} to acknowledge {step.title}{cause}"
    missing = trial.unmet(draft, candidate, step)
    if missing is not None:
        return missing
    index = candidate.step + 1
    if index < len(compiled):
        why = trial.obstacle(draft, candidate, compiled[index])
        return f"the way to {compiled[index].title}: {why}" if why else compiled[index].title
    why = holds.on_promotion(draft, candidate)
    return f"its promotion: {why}" if why else "its promotion"


def unmet(draft: Draft) -> tuple[str, ...]:
    """All that is missing for the candidate's next step, in the order in which it is asked, each without its evidence."""
    candidate = draft.status.candidate
    if candidate is None or candidate.failed is not None:
        return ()
    return tuple(dict.fromkeys(said.partition(";")[0] for said in _missing(draft, candidate)))


def _missing(draft: Draft, candidate: Candidate) -> Iterator[str]:
    if draft.is_paused:
        yield _resumed(draft)
    compiled = drafts.compiled_steps(draft, candidate)
    step = steps.at(compiled, candidate.step)
    if candidate.issued_generation == 0:
        why = trial.obstacle(draft, candidate, step)
        if why is not None:
            yield why
        return
    if not draft.is_ready(candidate):
        yield f"{candidate.name} to become ready"
    if candidate.acknowledged_at is None:
        yield from (
            f"router {router.id} to acknowledge {step.title}"
            for router in drafts.lagging(draft, candidate.issued_generation)
        )
    yield from rivals.waiting(draft, candidate)
    yield from trial.each_unmet(draft, candidate, step)
    if candidate.step + 1 < len(compiled):
        why = trial.obstacle(draft, candidate, compiled[candidate.step + 1])
        if why is not None:
            yield f"the way to {compiled[candidate.step + 1].title}: {why}"
    elif (why := holds.on_promotion(draft, candidate)) is not None:
        yield f"its promotion: {why}"


def would_roll_back(spec: Spec, candidate: Candidate) -> tuple[str, ...]:
    """Everything that would take the candidate off the traffic in its present step, a sentence each."""
    step = steps.at(steps.steps_of(spec, candidate.track), candidate.step)
    return (
        *_evidence_against(spec, step),
        *_patience(spec, candidate, step),
        *_refusals(spec),
        *_always(spec, candidate),
    )


def _evidence_against(spec: Spec, step: Step) -> Iterator[str]:
    for check in spec.checks:
        if check.name in step.checks and not check.dry_run:
            yield f"check {check.name} says Fail: {limit_text(check)}"
    guard = spec.policy.guard
    if guard is not None:
        yield (
            f"a router's guard, without the controller: within {guard.window_ms / 1000:g} s at least {guard.at_least} "
            f"failures, more than {guard.error_ratio:.0%} of its requests and {guard.times:g} times stable's share"
        )


def _patience(spec: Spec, candidate: Candidate, step: Step) -> Iterator[str]:
    policy = spec.policy
    if policy.on_no_data is OnInconclusive.ROLLBACK:
        left = max(policy.no_data_timeout_s - candidate.no_data_s, 0.0)
        yield f"{left:.0f} s more without data (onNoData: rollback)"
    if policy.on_inconclusive is OnInconclusive.ROLLBACK:
        left = policy.max_duration_s - candidate.total_s
        if step.max_stay_s is not None:
            left = min(left, step.max_stay_s - candidate.stage_s)
        yield f"nothing proven for {max(left, 0.0):.0f} s more (onInconclusive: rollback)"
    if step.expires_s is not None and step.on_expire is OnExpire.ABORT:
        yield f"no approval for {max(step.expires_s - candidate.stage_s, 0.0):.0f} s more"


def _refusals(spec: Spec) -> Iterator[str]:
    for hook in spec.hooks:
        if hook.on_fail is OnFail.ROLLBACK:
            yield f"hook {hook.name} ({hook.at}) says no, or fails {1 + hook.retries} times"


def _always(spec: Spec, candidate: Candidate) -> Iterator[str]:
    left = max(spec.capacity.progress_deadline_s - candidate.waiting_s, 0.0)
    yield f"{candidate.name} keeps crashing, or has no ready endpoint for {left:.0f} s"
    yield f"`headgate rollback`, or another target than {candidate.name}"


def limit_text(check: Check) -> str:
    """What a check does not tolerate, in words."""
    match check.limit:
        case AtMost(limit):
            return f"proven above {100 * limit:g} %, whatever stable does"
        case NoWorse(ratio, plus):
            return f"proven worse than {ratio:g} times stable's share plus {100 * plus:g} pp"
        case NoSlower(quantile, slower):
            return f"its p{100 * quantile:g} proven more than {slower:.0%} slower than stable's"
        case Within(of=of, at=at):
            return f"{at} of {of} measurements that are not {check.limit.in_words()}"
