"""What only one rollout can have: found across the rollouts of one command, which no rule of a single one sees."""

from collections.abc import Iterable, Iterator
from typing import Final

from controller.crd.faults import Fault
from controller.crd.models import ModelRollout

RULE: Final = "one-each"


def contested(rollouts: Iterable[ModelRollout]) -> Iterator[tuple[str, Fault]]:
    """For each rollout that asks for what one before it has: its key, and the fault."""
    owners: dict[str, str] = {}
    for rollout in rollouts:
        for path, what in _claims(rollout):
            owner = owners.setdefault(what, rollout.key)
            if owner != rollout.key:
                told = f"rollout {owner} moves the traffic of {what} already: give one of the two its own"
                yield rollout.key, Fault(path, RULE, told)


def _claims(rollout: ModelRollout) -> Iterator[tuple[str, str]]:
    """The field and the object whose traffic it moves."""
    traffic = rollout.spec.traffic
    if traffic is None:
        return
    namespace = rollout.metadata.namespace
    if traffic.http_route is not None:
        yield "spec.traffic.httpRoute.name", f"HTTPRoute {namespace}/{traffic.http_route.name}"
    if traffic.router is not None and traffic.router.take_over is not None:
        yield "spec.traffic.router.takeOver", f"Service {namespace}/{traffic.router.take_over}"
