"""Which plans a router takes, and where it counts their versions: pure, and kept over restarts in the plan file."""

from collections.abc import Iterable, Mapping, Sequence

from headgate.wire.plan import Applied, RoutePlan
from router.core.channel import Assignment
from router.core.counters import COLUMNS, STARTING, WorkerState


def refusal(plan: RoutePlan, rollout: str, in_force: RoutePlan | None) -> str | None:
    """Why this router does not take the plan, in one sentence; None if it does.

    An older epoch is an ex-leader's. Within an epoch an older generation or endpoints revision has been overtaken.
    """
    if plan.rollout != rollout:
        return f"rollout: the plan is for {plan.rollout}, this router serves {rollout}"
    if in_force is None or plan == in_force:
        return None
    if plan.epoch < in_force.epoch:
        return f"epoch: {plan.epoch} is older than {in_force.epoch}, which is in force"
    if plan.triple < in_force.triple:
        return f"generation: {plan.triple} is older than {in_force.triple}, which is in force"
    if plan.triple == in_force.triple:
        return f"generation: {plan.triple} is in force with other content; a change must raise it"
    return None


def assigned(plan: RoutePlan, before: Mapping[str, int]) -> Assignment:
    """The plan with a column for each identity of its versions.

    `before` is the last assignment's columns, least recently used first. An identity keeps its column, also while no
    plan names it, until all are taken and it is the one that was not used for longest.
    """
    wanted = {version.identity for version in plan.versions}
    idle = {identity: column for identity, column in before.items() if identity not in wanted}
    kept = {identity: column for identity, column in before.items() if identity in wanted}
    free = [column for column in range(COLUMNS) if column not in {*idle.values(), *kept.values()}]
    for identity in sorted(wanted - kept.keys()):
        kept[identity] = free.pop(0) if free else idle.pop(next(iter(idle)))
    return Assignment(plan, {**idle, **kept})


def acknowledged(before: Applied, workers: Sequence[WorkerState]) -> Applied:
    """The plan that every live worker runs; of several the oldest, because traffic still goes by it.

    `workers` are those whose process is there. While none serves, or one is starting and could still begin with the
    plan of before, nothing is newly acknowledged.
    """
    running = {worker.applied for worker in workers if worker.is_live}
    is_starting = any(worker.state == STARTING for worker in workers)
    if not running:
        return before
    return min(before, *running) if is_starting else min(running)


def said(own: str, processes: Iterable[tuple[str, str]]) -> str:
    """What to tell the controller is wrong: our own refusal, or who refused the plan that was handed on, and why."""
    return own or "; ".join(f"{name}: {error}" for name, error in processes if error)
