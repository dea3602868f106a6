"""Several candidates at once (A/B/n) and several shadows: rivals take part in the candidate's stages beside it.

A rival has a step's traffic once the candidate has it, and as much. Its own evidence, the guard, a crash loop or a
person takes it off; that ends nothing for the candidate, and nothing a rival proves moves anything on: the stages are
the target's. Which version wins is a person's word, `headgate set-target`. Where a step does not name it, a rival has
no traffic; what no step to come names leaves.
"""

from collections.abc import Iterator
from dataclasses import replace

from controller.core import capacity, holds, hooks, routers, warming
from controller.core import draft as drafts
from controller.core.draft import Draft
from controller.core.plan import attempt_of
from controller.core.spec import Spec
from controller.core.status import Candidate, Cause, Failed, Reason, Rival, Track, VersionRef
from controller.core.steps import Gate, Step, at, percent, steps_of


def named(spec: Spec, track: Track, target: str) -> tuple[str, ...]:
    """Who takes part beside this target in any of its stages, each once, in the order of the stages."""
    every = (name for step in steps_of(spec, track) for name in step.rivals)
    return tuple(dict.fromkeys(name for name in every if name != target))


def sound(
    stable: VersionRef | None, candidate: Candidate | None, rivals: tuple[Rival, ...]
) -> tuple[Rival, ...]:
    """The rivals that may be there: none without a candidate, and each another version than all others."""
    if candidate is None or stable is None or not rivals:
        return ()
    taken = {stable.name, stable.identity, candidate.name, candidate.identity}
    kept = []
    for rival in rivals:
        if rival.name not in taken and rival.identity not in taken:
            kept.append(rival)
            taken |= {rival.name, rival.identity}
    return tuple(kept)


def watch(draft: Draft) -> None:
    """Take off each rival that went wrong, once there is a stable to take its share, or it is as dead."""
    for rival in draft.status.rivals:
        found = drafts.fault(draft, rival, draft.rival_results.get(rival.identity, ()))
        if found is not None and (draft.is_ready(draft.status.stable) or not draft.is_ready(rival)):
            fail(draft, rival, *found)


def fail(draft: Draft, rival: Rival, cause: Cause, why: str, actor: str = "") -> None:
    """Latch that this try of the rival failed, and take its share away; the candidate goes on."""
    failed = Failed(rival.name, rival.identity, rival.attempt, cause, why, draft.now, actor)
    drafts.latch(draft, failed)
    told = drafts.failure_text(failed)
    started_at = draft.status.candidate.started_at if draft.status.candidate else draft.now
    drafts.remember(draft, drafts.ref_of(rival), "RolledBack", told, started_at, actor)
    drafts.drop_rival(draft, rival, Reason.ROLLING_BACK, told, actor)
    draft.tell(Reason.ROLLING_BACK, told)


def follow(draft: Draft) -> None:
    """Make the rivals those that the stages name, and give them the present step's traffic as far as that is allowed."""
    candidate = draft.status.candidate
    if candidate is None:
        return
    compiled = drafts.compiled_steps(draft, candidate)
    if not draft.status.rivals and not any(step.rivals for step in compiled):
        return
    wanted = {rival.identity: rival for rival in _wanted(draft, candidate, compiled[candidate.step :])}
    for rival in draft.status.rivals:
        if rival.identity not in wanted:
            drafts.drop_rival(draft, rival, Reason.WEIGHT_LOWERED, "no stage to come names it")
    known = {rival.identity for rival in draft.status.rivals}
    new = tuple(rival for rival in wanted.values() if rival.identity not in known)
    if new:
        draft.status = replace(draft.status, rivals=(*draft.status.rivals, *new))
    if candidate.issued_generation and candidate.failed is None:
        _issue(draft, candidate, at(compiled, candidate.step))


def reset(draft: Draft, step: Step | None) -> None:
    """After an edit of the stages: nobody has its step's traffic any more, nor more share than `step` (None: none) allows."""
    draft.status = replace(draft.status, rivals=tuple(replace(r, step=-1) for r in draft.status.rivals))
    make_room(draft, step or Step(0, "", "the edit", 0, Gate.TIME))


def make_room(draft: Draft, step: Step) -> None:
    """Give back to stable what rivals have and `step` does not allow, before the candidate takes it."""
    for rival in draft.status.rivals:
        allowed = step.share_of(rival.name)
        if drafts.weight_of(draft, rival.name) > allowed:
            drafts.set_weight(draft, rival, replace(step, weight=allowed), f"{step.title} allows no more")


def waiting(draft: Draft, candidate: Candidate) -> Iterator[str]:
    """Which rivals do not have the traffic of the candidate's present step yet, and why."""
    step = at(drafts.compiled_steps(draft, candidate), candidate.step)
    for rival in draft.status.rivals:
        if rival.name in step.rivals and rival.step != candidate.step:
            yield f"{rival.name} does not take part yet: {obstacle(draft, candidate, rival, step) or 'its turn'}"


def obstacle(draft: Draft, candidate: Candidate, rival: Rival, step: Step) -> str | None:
    """Why the rival does not get this step's traffic now; None when it does."""
    seen = draft.seen(rival.identity)
    if draft.is_paused:
        return "the rollout is paused"
    if not seen.endpoints:
        return f"{rival.name} has no ready endpoint: {seen.message or 'it is starting'}"
    if warming.awaits(draft.spec, candidate, rival) and not seen.is_warm:
        return f"{rival.name} warms up: {seen.warmth or 'nothing is measured yet'}"
    short = capacity.obstacle(draft, rival, step)
    if short is not None:
        return short
    if not draft.is_ready(draft.status.stable):
        return "stable has no ready endpoint to go back to"
    held = routers.obstacle(draft) or holds.on_move(draft, candidate)
    if held is None and _gains(draft, candidate, rival, step):
        return hooks.beside(draft, candidate, step)
    return held


def _share(draft: Draft, candidate: Candidate, rival: Rival, step: Step) -> int:
    """What the rival is to have of the live requests in this step: never more than the candidate has."""
    return min(step.share_of(rival.name), drafts.weight_of(draft, candidate.name))


def _gains(draft: Draft, candidate: Candidate, rival: Rival, step: Step) -> bool:
    """Would more live requests, or others, reach the rival than now?"""
    is_raised = _share(draft, candidate, rival, step) > drafts.weight_of(draft, rival.name)
    return is_raised or (step.match is not None and rival.step != candidate.step)


def _wanted(draft: Draft, candidate: Candidate, ahead: tuple[Step, ...]) -> Iterator[Rival]:
    status = draft.status
    taken = {candidate.name, candidate.identity}
    if status.stable is not None:
        taken |= {status.stable.name, status.stable.identity}
    gone = {failed.identity for failed in status.failed if failed.is_latched}
    for name in dict.fromkeys(name for step in ahead for name in step.rivals):
        version = draft.spec.version(name)
        if version is None or version.identity in gone or {name, version.identity} & taken:
            continue
        taken |= {name, version.identity}
        yield Rival(name, version.identity, attempt_of(status.failed, version.identity))


def _issue(draft: Draft, candidate: Candidate, step: Step) -> None:
    for rival in (rival for rival in draft.status.rivals if rival.name in step.rivals):
        share = _share(draft, candidate, rival, step)
        has_all = rival.step == candidate.step and drafts.weight_of(draft, rival.name) >= share
        if has_all or obstacle(draft, candidate, rival, step) is not None:
            continue
        issued = replace(rival, step=candidate.step, was_issued=True)
        rivals = tuple(issued if r.identity == rival.identity else r for r in draft.status.rivals)
        draft.status = replace(draft.status, rivals=rivals)
        drafts.set_weight(draft, issued, replace(step, weight=share), f"it takes part in {step.title}")
        if rival.step != candidate.step:
            drafts.record_exposure(draft, issued, step)


def beside(draft: Draft) -> str:
    """Who takes part and with what, to follow the candidate's share in a sentence; "" when nobody does."""
    told = [
        f"{rival.name} at {percent(drafts.weight_of(draft, rival.name))}" for rival in draft.status.rivals
    ]
    return f", beside {' and '.join(told)}" if told else ""
