"""The plans that copies refer to: the one in force and a few before it."""

from collections import OrderedDict
from typing import Final, NamedTuple

from headgate.wire.plan import Endpoint, PlanVersion, RoutePlan, Shadow
from router.core.channel import Assignment, Copy
from router.core.serving import refusal

KEPT: Final = 4


class Replay(NamedTuple):
    """How one copy is replayed to one shadow: by the plan it was sampled under, to where the version is now."""

    plan: RoutePlan
    shadow: Shadow
    version: PlanVersion
    endpoints: tuple[Endpoint, ...]


class Plans:
    """What the agent assigned, newest last."""

    def __init__(self) -> None:
        self._by_generation: OrderedDict[int, RoutePlan] = OrderedDict()

    @property
    def in_force(self) -> RoutePlan | None:
        """The newest plan; None before the first."""
        return next(reversed(self._by_generation.values()), None)

    @property
    def applied(self) -> str:
        """What to say that the observer runs."""
        plan = self.in_force
        return str(plan.triple) if plan is not None else "0.0.0"

    def follow(self, assignment: Assignment) -> str:
        """Take the assignment; the reason if it is refused, else empty."""
        plan = self.in_force
        if plan is not None and (why := refusal(assignment, plan.triple)):
            return why
        self._by_generation.pop(assignment.plan.generation, None)
        self._by_generation[assignment.plan.generation] = assignment.plan
        while len(self._by_generation) > KEPT:
            self._by_generation.popitem(last=False)
        return ""

    def is_ahead(self, copy: Copy) -> bool:
        """Whether the copy was sampled under a plan that has not come here yet."""
        plan = self.in_force
        return plan is None or copy.generation > plan.generation

    def replay(self, copy: Copy, name: str) -> Replay | None:
        """How to replay `copy` to the shadow `name`; None where no plan kept knows such a shadow."""
        for plan in (self._by_generation.get(copy.generation), self.in_force):
            version = plan.version(name) if plan is not None else None
            shadow = next((one for one in plan.shadows if one.version == name), None) if plan else None
            if plan is not None and version is not None and shadow is not None:
                return Replay(plan, shadow, version, self._endpoints(version))
        return None

    def endpoints(self) -> frozenset[Endpoint]:
        """Every endpoint of a shadow that some plan kept names."""
        return frozenset(
            endpoint
            for plan in self._by_generation.values()
            for shadow in plan.shadows
            if (version := plan.version(shadow.version)) is not None
            for endpoint in self._endpoints(version)
        )

    def _endpoints(self, version: PlanVersion) -> tuple[Endpoint, ...]:
        """Where the version is now, if the plan in force still has it."""
        for now in self.in_force.versions if self.in_force is not None else ():
            if now.identity == version.identity:
                return now.endpoints
        return version.endpoints
