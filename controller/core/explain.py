"""Sentences for people: where a rollout is, what it waits for, and what would move it on."""

from controller.core import draft as drafts
from controller.core import steps, trial
from controller.core.draft import Draft
from controller.core.spec import Spec
from controller.core.status import Candidate, Phase, Status, Track
from controller.core.steps import Gate, Step, percent


def phase_and_message(draft: Draft) -> tuple[Phase, str]:
    """The phase, and one sentence that says what is and what it waits for."""
    status, spec = draft.status, draft.spec
    if spec.version(spec.target) is None:
        names = ", ".join(version.name for version in spec.versions)
        return Phase.STALLED, f"target {spec.target} is not among the versions ({names}): set one of them"
    if status.stable is None:
        return Phase.STALLED, "no version serves yet"
    if status.candidate is not None:
        return _on_trial(draft, status.candidate)
    target = spec.version(spec.target)
    if target is not None and target.name == status.stable.name and target.identity != status.stable.identity:
        return (
            Phase.STALLED,
            f"{target.name} is stable and was redefined: give what shall replace it another name",
        )
    if not status.is_stable_proven:
        return _first(draft)
    return _at_rest(spec, status, draft)


def _first(draft: Draft) -> tuple[Phase, str]:
    stable = draft.status.stable
    if stable is None:
        return Phase.STALLED, "no version serves yet"
    seen = draft.seen(stable.identity)
    if seen.is_crash_looping:
        return Phase.STALLED, f"{stable.name}, the first version, keeps crashing: {seen.message}"
    if not seen.endpoints:
        return (
            Phase.PROGRESSING,
            f"waiting for {stable.name}, the first version: {seen.message or 'it is starting'}",
        )
    return (
        Phase.PROGRESSING,
        f"waiting for a router to serve {stable.name}: {trial.router_obstacle(draft) or 'soon'}",
    )


def _at_rest(spec: Spec, status: Status, draft: Draft) -> tuple[Phase, str]:
    stable = status.stable.name if status.stable else ""
    target = spec.version(spec.target)
    failed = next(
        (f for f in status.failed if f.is_latched and target and f.identity == target.identity), None
    )
    leaving = next((r for r in status.retiring if trial.is_draining(r)), None)
    if failed is not None:
        told = f"{drafts.failure_text(failed)}. {stable} serves everything"
        if leaving is not None and leaving.identity == failed.identity:
            return Phase.ROLLING_BACK, f"{told}; {_draining(draft, leaving.name, leaving.since_generation)}"
        return Phase.ROLLED_BACK, f"{told}. Set another target, or `headgate retry {spec.target}`"
    if (
        leaving is not None
        and target is not None
        and status.stable
        and status.stable.identity != target.identity
    ):
        following = status.queue[0] if status.queue else target.name
        how = _draining(draft, leaving.name, leaving.since_generation)
        return Phase.PROGRESSING, f"{following} starts when {leaving.name} has drained: {how}"
    if status.stable and not draft.is_ready(status.stable):
        return (
            Phase.STALLED,
            f"{stable} is stable and has no ready endpoint: {draft.seen(status.stable.identity).message}",
        )
    return Phase.HEALTHY, f"{stable} serves everything"


def _draining(draft: Draft, name: str, generation: int) -> str:
    lagging = drafts.lagging(draft, generation)
    if lagging:
        silent = {router.id for router in drafts.silent(draft)}
        cure = f" (silent: bring it back, or `headgate router forget {lagging[0].id}`)"
        told = cure if lagging[0].id in silent else ""
        return f"waiting for router {lagging[0].id} to acknowledge that {name} has no traffic{told}"
    return f"{name} drains"


def _on_trial(draft: Draft, candidate: Candidate) -> tuple[Phase, str]:
    compiled = drafts.compiled_steps(draft, candidate)
    step = steps.at(compiled, candidate.step)
    if candidate.failed is not None:
        stable = draft.status.stable.name if draft.status.stable else "stable"
        return (
            Phase.ROLLING_BACK,
            f"{drafts.failure_text(candidate.failed)}; its share stays until {stable} has a ready endpoint to take it",
        )
    if _is_way_back(draft, candidate):
        return (
            Phase.ROLLING_BACK,
            f"{candidate.name} comes back: {_way_back(draft, candidate, step)}",
        )
    if candidate.issued_generation == 0:
        why = trial.obstacle(draft, candidate, step) or "it is about to begin"
        where = f"{candidate.name} waits for stage 1 of {steps.stage_count(compiled)}, {step.title}: {why}"
        return (Phase.PAUSED if draft.is_paused else Phase.PROGRESSING), where
    where = f"{candidate.name} at {percent(drafts.weight_of(draft, candidate.name))}, stage {step.stage + 1} of {steps.stage_count(compiled)}"
    if draft.is_paused:
        by = draft.status.paused.by if draft.status.paused else "its spec"
        return Phase.PAUSED, f"{where}, paused by {by}; checks go on"
    phase = Phase.PAUSED if step.gate is Gate.PERSON else Phase.PROGRESSING
    return phase, f"{where}, waiting for {waiting_for(draft, candidate)}"


def _is_way_back(draft: Draft, candidate: Candidate) -> bool:
    """Does the candidate replace a stable version that an operator rolled back?"""
    stable = draft.status.stable
    return (
        candidate.track is Track.RETURN
        and stable is not None
        and trial.is_failed(draft.status, stable.identity)
    )


def _way_back(draft: Draft, candidate: Candidate, step: Step) -> str:
    if candidate.issued_generation:
        return f"waiting for {waiting_for(draft, candidate)}"
    return trial.obstacle(draft, candidate, step) or "its turn"


def waiting_for(draft: Draft, candidate: Candidate) -> str:
    """What has to happen before the candidate moves on, in words that follow `waiting for`."""
    compiled = drafts.compiled_steps(draft, candidate)
    step = steps.at(compiled, candidate.step)
    if not draft.is_ready(candidate):
        return f"{candidate.name} to become ready: {draft.seen(candidate.identity).message or 'no ready endpoint'}"
    if candidate.acknowledged_at is None:
        lagging = drafts.lagging(draft, candidate.issued_generation)
        return f"router {lagging[0].id} to acknowledge {step.title}" if lagging else f"{step.title} to begin"
    missing = trial.unmet(draft, candidate, step)
    if missing is not None:
        return missing
    index = candidate.step + 1
    if index < len(compiled):
        why = trial.obstacle(draft, candidate, compiled[index])
        return f"the way to {compiled[index].title}: {why}" if why else compiled[index].title
    return "its promotion"
