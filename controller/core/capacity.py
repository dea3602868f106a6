"""How many replicas of each version run: capacity comes before traffic and goes after it.

A candidate has what its present and its next step need, so that no step waits for replicas; it shrinks only when no
router sends it the traffic that needed them, and grows no more once it leaves. Stable is whole until it is stable no
more, and stays so while it is kept warm: a rollback never overloads it.
"""

from collections.abc import Iterator

from controller.core import slots
from controller.core.draft import Draft
from controller.core.spec import FULL, Spec
from controller.core.status import Candidate, Observed, Rival, Status, Workload
from controller.core.steps import Step, at, steps_of
from headgate.wire.plan import NOTHING_APPLIED


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
    replicas: dict[str, int] = {}
    for identity, load in _each_load(spec, status, observed):
        replicas[identity] = max(needed(spec, load), replicas.get(identity, 0))
    asked = dict(status.restarts)
    surge, drain_s = spec.capacity.max_surge, spec.capacity.drain_s
    return {
        identity: Workload(count, asked.get(identity, 0), surge, drain_s)
        for identity, count in replicas.items()
    }


def left_with(spec: Spec, status: Status, observed: Observed, identity: str) -> int:
    """What a version that leaves now may still have to carry, by the `status` before it left: it grows no more."""
    return max(
        (load for known, load in _each_load(spec, status, observed) if known == identity), default=FULL
    )


def _each_load(spec: Spec, status: Status, observed: Observed) -> Iterator[tuple[str, int]]:
    """By identity what each version that must run may have to carry; one may come more than once."""
    for retiring in status.retiring:
        yield retiring.identity, retiring.load
    if status.stable is not None:
        yield status.stable.identity, FULL
    if status.candidate is not None:
        on_trial = max(_loads(spec, status, status.candidate, observed))
        every: tuple[Candidate | Rival, ...] = (status.candidate, *status.rivals)
        for version in every:
            yield version.identity, max(on_trial, slots.weight_of(status.slots, version.name))


def _loads(spec: Spec, status: Status, candidate: Candidate, observed: Observed) -> Iterator[int]:
    """What who is on trial may have to carry: in this step and the one it goes to, and at a router that is behind."""
    compiled = steps_of(spec, candidate.track)
    if candidate.issued_generation:
        yield at(compiled, candidate.step).load
    yield at(compiled, following(compiled, candidate)).load
    known = status.recent_loads
    oldest = min(_running_now(status, observed), default=status.generation)
    if known and oldest < known[0][0]:
        yield FULL  # some router runs a plan that is not remembered
    since = max((generation for generation, _ in known if generation <= oldest), default=0)
    yield from (load for generation, load in known if generation >= since)


def following(compiled: tuple[Step, ...], candidate: Candidate) -> int:
    """The index of the step that the candidate enters next, `len(compiled)` or more after the last one."""
    index = max(candidate.pass_to, candidate.step + 1 if candidate.issued_generation else 0)
    while index < len(compiled) and compiled[index].stage in candidate.skipped:
        index += 1
    return index


def _running_now(status: Status, observed: Observed) -> Iterator[int]:
    """The generation of the plan that each router runs, or of the one before if an earlier leader gave it.

    The last plan of a leader that died may be a decrease that was never recorded: its number then names another plan.
    """
    for router in observed.routers:
        if router.applied != NOTHING_APPLIED:
            yield router.applied.generation - (router.applied.epoch != status.epoch)
