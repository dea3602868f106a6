"""How many replicas of each version run: capacity comes before traffic and goes after it.

A candidate has what its present and its next step need, so that no step waits for replicas; it shrinks only when no
router sends it the traffic that needed them. Stable is whole until it is stable no more, and stays so while it is
kept warm: a rollback never overloads it.
"""

from collections.abc import Iterator

from controller.core import slots
from controller.core.draft import Draft
from controller.core.spec import FULL, Spec
from controller.core.status import Candidate, Observed, Rival, Status, Workload
from controller.core.steps import Step, at, steps_of


def needed(spec: Spec, load: int) -> int:
    """How many replicas carry `load`, basis points of all requests: all of them, or in proportion, rounded up."""
    capacity = spec.capacity
    if not capacity.scale_with_weight:
        return capacity.replicas
    in_proportion = -(-min(max(load, 0), FULL) * capacity.replicas // FULL)
    return min(max(in_proportion, capacity.min_replicas, 1), capacity.replicas)


def obstacle(draft: Draft, version: Candidate | Rival, step: Step) -> str | None:
    """Why the version cannot carry this step yet; None when it can, or its replicas are not ours to count."""
    ready, wanted = draft.seen(version.identity).replicas, needed(draft.spec, step.load)
    if ready is None or ready >= wanted:
        return None
    return f"{version.name} has {ready} of the {wanted} replicas that {step.title} needs"


def running(spec: Spec, status: Status, observed: Observed) -> dict[str, Workload]:
    """How each version that must run does, by identity: stable, who is on trial, and whatever still retires."""
    whole = spec.capacity.replicas
    replicas = {retiring.identity: whole for retiring in status.retiring}
    on_trial = 0
    if status.candidate is not None:
        on_trial = max(_loads(spec, status, status.candidate, observed))
        replicas[status.candidate.identity] = needed(spec, on_trial)
    for rival in status.rivals:
        own = slots.weight_of(status.slots, rival.name)
        replicas[rival.identity] = needed(spec, max(on_trial, own))
    if status.stable is not None:
        replicas[status.stable.identity] = whole
    asked = dict(status.restarts)
    surge = spec.capacity.max_surge
    return {identity: Workload(count, asked.get(identity, 0), surge) for identity, count in replicas.items()}


def _loads(spec: Spec, status: Status, candidate: Candidate, observed: Observed) -> Iterator[int]:
    """What the candidate may have to carry: now, in this and the next step, and at a router that is behind."""
    compiled = steps_of(spec, candidate.track)
    yield slots.weight_of(status.slots, candidate.name)
    yield at(compiled, candidate.step).load
    if candidate.issued_generation:
        yield at(compiled, candidate.step + 1).load
    behind = [r.applied.generation for r in observed.routers if r.applied.epoch == status.epoch]
    oldest = min(behind, default=status.generation)
    before = [generation for generation, _ in status.recent_weights if generation <= oldest]
    since = max(before, default=0)
    yield from (weight for generation, weight in status.recent_weights if generation >= since)
