"""What operators may ask for. Each verb does it, or answers why not in one sentence.

An action names the version it means: one for another version is refused, never guessed. The same action twice is one.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from controller.core import draft as drafts
from controller.core import holds, rivals, slots, steps, trial
from controller.core.checks import Verdict
from controller.core.draft import Draft
from controller.core.plan import attempt_of
from controller.core.spec import FULL
from controller.core.status import (
    Action,
    ActionResult,
    Candidate,
    Cause,
    Failed,
    Pause,
    Reason,
    Retiring,
    Rival,
    Status,
    Track,
    Verb,
    VersionRef,
)
from controller.core.steps import Gate

HANDLED_MAX: Final = 64
"""So many handled actions are remembered by id; the store forgets an action once it was answered."""


def act(draft: Draft, action: Action) -> None:
    """Do what a person asked for, or refuse it; one that was handled before is not handled again."""
    if action.id in draft.status.handled:
        return
    refusal = _VERBS[action.verb](draft, action)
    draft.status = replace(draft.status, handled=(*draft.status.handled, action.id)[-HANDLED_MAX:])
    text = refusal or f"{action.verb} of {action.version} accepted"
    draft.answers.append(ActionResult(action.id, refusal is None, text))
    if refusal is not None:
        draft.tell(Reason.ACTION_REFUSED, f"{action.verb} by {action.actor} refused: {refusal}")


def _rollback(draft: Draft, action: Action) -> str | None:
    status = draft.status
    candidate, stable = status.candidate, status.stable
    if candidate is not None and candidate.name == action.version:
        drafts.fail(draft, candidate, Cause.OPERATOR, action.reason, action.actor)
        return None
    if stable is not None and stable.name == action.version:
        return _rollback_stable(draft, action, stable)
    rival = _rival(status, action.version)
    if rival is not None:
        rivals.fail(draft, rival, Cause.OPERATOR, action.reason, action.actor)
        return None
    if any(failed.name == action.version and failed.is_latched for failed in status.failed):
        return None  # it has no share, and that is what was asked for
    return _not_on_trial(status, action.version)


def _rollback_stable(draft: Draft, action: Action, stable: VersionRef) -> str | None:
    """After the promotion: back to the version that was stable before, in one write if it is still warm."""
    previous = draft.status.previous
    if draft.status.candidate is not None:
        return f"{draft.status.candidate.name} is on trial: roll that back first"
    written = draft.spec.version(previous.name) if previous is not None else None
    if previous is None or written is None or written.identity != previous.identity:
        return f"{stable.name} is stable and there is no earlier version to go back to"
    attempt = attempt_of(draft.status.failed, stable.identity)
    failed = Failed(
        stable.name, stable.identity, attempt, Cause.OPERATOR, action.reason, draft.now, action.actor
    )
    drafts.latch(draft, failed)
    if draft.is_ready(previous):
        _swap_back(draft, stable, previous, failed)
    else:
        candidate = Candidate(
            name=previous.name,
            identity=previous.identity,
            track=Track.RETURN,
            steps_digest=steps.digest(steps.steps_of(draft.spec, Track.RETURN)),
        )
        drafts.begin(draft, candidate, f"again, to replace {stable.name}, which serves until it is ready")
    return None


def _swap_back(draft: Draft, stable: VersionRef, previous: VersionRef, failed: Failed) -> None:
    why = drafts.failure_text(failed)
    others = tuple(r for r in draft.status.retiring if r.identity != previous.identity)
    leaving = Retiring(stable.name, stable.identity, drafts.PENDING, draft.spec.capacity.drain_s, 0.0)
    draft.status = replace(
        draft.status,
        stable=previous,
        past=draft.status.past[1:],
        slots=slots.all_to(previous.name),
        because=why,
        retiring=drafts.with_leaving(others, leaving),
    )
    drafts.record(draft, Reason.ROLLING_BACK, stable.name, (FULL, 0), why, actor=failed.actor)
    drafts.remember(draft, stable, "RolledBack", why, draft.now, failed.actor)
    draft.tell(Reason.ROLLING_BACK, why)


def _promote(draft: Draft, action: Action) -> str | None:
    """End the present stage now; at the last one, promote. A stage that is yet to move everything does so first."""

    def next_stage(candidate: Candidate) -> int:
        compiled = drafts.compiled_steps(draft, candidate)
        present = steps.at(compiled, candidate.step)
        after = steps.first_of_stage(compiled, present.stage + 1)
        is_full = present.weight == FULL and candidate.issued_generation
        return len(compiled) - 1 if after == len(compiled) and not is_full else after

    return _pass_to(draft, action, next_stage)


def _promote_full(draft: Draft, action: Action) -> str | None:
    """Go to 100 % now; its own bake and checks count."""

    def full(candidate: Candidate) -> int:
        compiled = drafts.compiled_steps(draft, candidate)
        first = next(index for index, step in enumerate(compiled) if step.weight == FULL)
        is_full = candidate.step >= first and candidate.issued_generation
        return len(compiled) if is_full else first

    return _pass_to(draft, action, full)


def _pass_to(draft: Draft, action: Action, where: Callable[[Candidate], int]) -> str | None:
    """A person's Pass; a Fail still refuses it."""
    candidate = draft.status.candidate
    if candidate is None and trial.start_held(draft, action.version, action.actor):
        return None
    if candidate is None or candidate.name != action.version:
        return _not_on_trial(draft.status, action.version)
    failing = [r for r in draft.results if r.verdict is Verdict.FAIL and not r.dry_run]
    if candidate.failed is not None:
        return f"{candidate.name} has failed and is being rolled back: {candidate.failed.message}"
    if failing:
        return f"{candidate.name} has failed its check {failing[0].check}: {failing[0].text}"
    to = where(candidate)
    unapproved = _unapproved(draft, candidate, to)
    if unapproved is not None:
        return f"stage {unapproved + 1} is an approval: `headgate approve` it"
    passed = replace(candidate, pass_to=max(to, candidate.pass_to), passed_by=action.actor)
    draft.status = replace(draft.status, candidate=passed)
    return None


def _unapproved(draft: Draft, candidate: Candidate, to: int) -> int | None:
    """The first stage between here and step `to` that people have yet to approve."""
    between = drafts.compiled_steps(draft, candidate)[candidate.step : to]
    return next((step.stage for step in between if step.gate is Gate.APPROVAL), None)


def _pause(draft: Draft, action: Action) -> str | None:
    candidate = draft.status.candidate
    if candidate is None or candidate.name != action.version:
        return _not_on_trial(draft.status, action.version)
    if draft.status.paused is None:
        draft.status = replace(draft.status, paused=Pause(action.actor, action.reason, draft.now))
        draft.tell(
            Reason.PAUSED, f"paused by {action.actor}" + (f": {action.reason}" if action.reason else "")
        )
    return None


def _resume(draft: Draft, action: Action) -> str | None:
    """End a pause and nothing else: one that a person made, or a pause stage that waits for a person."""
    candidate = draft.status.candidate
    if candidate is None or candidate.name != action.version:
        return _not_on_trial(draft.status, action.version)
    present = steps.at(drafts.compiled_steps(draft, candidate), candidate.step)
    if draft.status.paused is not None:
        draft.status = replace(draft.status, paused=None)
    elif draft.spec.paused:
        return "it is paused by its spec: set spec.paused to false"
    elif present.gate is Gate.PERSON and (held := holds.on_move(draft, candidate)) is not None:
        return f"{held}; `headgate promote` goes past it"
    elif present.gate is Gate.PERSON:
        return _promote(draft, action)
    else:
        return f"{candidate.name} is not paused"
    draft.tell(Reason.RESUMED, f"resumed by {action.actor}")
    return None


def _retry(draft: Draft, action: Action) -> str | None:
    status = draft.status
    if not any(failed.name == action.version and failed.is_latched for failed in status.failed):
        return f"{action.version} has not failed"
    candidate = status.candidate
    beside = () if candidate is None else rivals.named(draft.spec, candidate.track, candidate.name)
    if draft.spec.target != action.version and action.version not in beside:
        return f"the target is {draft.spec.target}: set it to {action.version} first"
    if status.stable is not None and status.stable.name == action.version:
        return f"{action.version} is stable until {status.candidate.name if status.candidate else 'another'} is ready"
    freed = tuple(replace(f, is_latched=False) if f.name == action.version else f for f in status.failed)
    draft.status = replace(status, failed=freed)
    draft.tell(Reason.RETRIED, f"{action.version} gets another try, asked for by {action.actor}")
    return None


def _approve(draft: Draft, action: Action) -> str | None:
    """One person's approval of the present stage; with the quorum it is over."""
    candidate = draft.status.candidate
    if candidate is None or candidate.name != action.version:
        return _not_on_trial(draft.status, action.version)
    step = steps.at(drafts.compiled_steps(draft, candidate), candidate.step)
    if step.gate is not Gate.APPROVAL or candidate.issued_generation == 0:
        return f"{candidate.name} waits for no approval now: it is in stage {step.stage + 1}, {step.title}"
    if action.stage and action.stage != step.stage + 1:
        return f"{candidate.name} is in stage {step.stage + 1}, not {action.stage}"
    if step.roles and not set(step.roles) & set(action.roles):
        return f"{action.actor} has none of the roles that may approve: {', '.join(step.roles)}"
    if action.actor not in candidate.approved_by:
        approved = (*candidate.approved_by, action.actor)
        draft.status = replace(draft.status, candidate=replace(candidate, approved_by=approved))
        why = f": {action.reason}" if action.reason else ""
        draft.tell(
            Reason.APPROVED,
            f"{action.actor} approves {candidate.name}{why} ({len(approved)} of {step.quorum})",
        )
    return None


def _skip_stage(draft: Draft, action: Action) -> str | None:
    """Leave one named stage out: the present one or one to come; not an approval, and not the one that moves everything."""
    candidate = draft.status.candidate
    if candidate is None or candidate.name != action.version:
        return _not_on_trial(draft.status, action.version)
    compiled = drafts.compiled_steps(draft, candidate)
    stage = action.stage - 1
    wanted = [step for step in compiled if step.stage == stage]
    present = steps.at(compiled, candidate.step).stage
    if not wanted:
        return f"there is no stage {action.stage}: there are 1 to {steps.stage_count(compiled)}"
    if stage < present:
        return f"stage {action.stage} is over: {candidate.name} is in stage {present + 1}"
    if any(step.gate is Gate.APPROVAL for step in wanted):
        return f"stage {action.stage} is an approval, which only those it names can give"
    if wanted[-1].weight == FULL:
        return f"stage {action.stage} moves all traffic: `promote` ends it, nothing leaves it out"
    skipped = tuple(sorted({*candidate.skipped, stage}))
    draft.status = replace(
        draft.status, candidate=replace(candidate, skipped=skipped, passed_by=action.actor)
    )
    draft.tell(
        Reason.STAGE_SKIPPED, f"stage {action.stage}, {wanted[0].title}, is left out by {action.actor}"
    )
    return None


def _restart(draft: Draft, action: Action) -> str | None:
    """Replace a version's replicas without a rollout, one after another, each once its successor is ready."""
    ref = _that_runs(draft.status, action.version)
    if ref is None:
        return f"{action.version} does not run: nothing of it is there to restart"
    seen = draft.seen(ref.identity)
    if seen.replicas is None and seen.endpoints:
        return f"{action.version} is not run by Headgate: restart it where it runs"
    count = dict(draft.status.restarts).get(ref.identity, 0) + 1
    others = tuple(asked for asked in draft.status.restarts if asked[0] != ref.identity)
    draft.status = replace(draft.status, restarts=(*others, (ref.identity, count)))
    why = f": {action.reason}" if action.reason else ""
    draft.tell(Reason.RESTARTED, f"{action.actor} restarts the replicas of {action.version}{why}")
    return None


def _that_runs(status: Status, name: str) -> VersionRef | None:
    """The version of that name that is stable, on trial, or still kept."""
    on_trial = (status.candidate,) if status.candidate is not None else ()
    every = (*((status.stable,) if status.stable else ()), *on_trial, *status.rivals, *status.retiring)
    return next((VersionRef(one.name, one.identity) for one in every if one.name == name), None)


def _undo(draft: Draft, action: Action) -> str | None:
    """Make an earlier version the target: the one before, or the one named."""
    if draft.spec.target != action.version:
        return f"the target is {draft.spec.target}, not {action.version}"
    stable, previous = draft.status.stable, draft.status.previous
    fallback = stable if stable is not None and stable.name != action.version else previous
    to = action.to or (fallback.name if fallback is not None else "")
    if not to:
        return "there is no earlier version to go back to"
    if draft.spec.version(to) is None:
        return f"{to} is not among the versions ({', '.join(v.name for v in draft.spec.versions)})"
    draft.target = to
    draft.tell(Reason.RETARGETED, f"{action.actor} makes {to} the target instead of {action.version}")
    return None


def _rival(status: Status, name: str) -> Rival | None:
    return next((rival for rival in status.rivals if rival.name == name), None)


def _not_on_trial(status: Status, version: str) -> str:
    if status.candidate is not None and _rival(status, version) is not None:
        return (
            f"{version} takes part beside {status.candidate.name}, whose stages these are: "
            f"to make it the one, `headgate set-target {version}`"
        )
    if status.candidate is not None:
        return f"{version} is not on trial, {status.candidate.name} is"
    return f"{version} is not on trial; nothing is" + (
        f", and {status.stable.name} is stable" if status.stable else ""
    )


_VERBS: Final[dict[Verb, Callable[[Draft, Action], str | None]]] = {
    Verb.ROLLBACK: _rollback,
    Verb.PROMOTE: _promote,
    Verb.PROMOTE_FULL: _promote_full,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.RETRY: _retry,
    Verb.APPROVE: _approve,
    Verb.SKIP_STAGE: _skip_stage,
    Verb.UNDO: _undo,
    Verb.RESTART: _restart,
}
