"""What only one rollout can have: found across the rollouts of one command, which no rule of a single one sees."""

from collections.abc import Iterable, Iterator
from typing import Final

from controller.crd.faults import Fault
from controller.crd.models import ModelRollout

RULE: Final = "one-each"
MOVES: Final = "moves the traffic of"


def contested(rollouts: Iterable[ModelRollout]) -> Iterator[tuple[str, Fault]]:
    """For each rollout that asks for what one before it has: its key, and the fault."""
    owners: dict[str, str] = {}
    for rollout in rollouts:
        for path, verb, what in _claims(rollout):
            owner = owners.setdefault(what, rollout.key)
            if owner != rollout.key:
                told = f"rollout {owner} {verb} {what} already: give one of the two its own"
                yield rollout.key, Fault(path, RULE, told)


def _claims(rollout: ModelRollout) -> Iterator[tuple[str, str, str]]:
    """The field, what it does, and the object it does that to."""
    traffic, reference, namespace = (
        rollout.spec.traffic,
        rollout.spec.workload_ref,
        rollout.metadata.namespace,
    )
    if reference is not None:
        yield "spec.workloadRef.name", "adopts", f"Deployment {namespace}/{reference.name}"
    if traffic is not None and traffic.http_route is not None:
        yield "spec.traffic.httpRoute.name", MOVES, f"HTTPRoute {namespace}/{traffic.http_route.name}"
    if traffic is not None and traffic.router is not None and traffic.router.take_over is not None:
        yield "spec.traffic.router.takeOver", MOVES, f"Service {namespace}/{traffic.router.take_over}"
