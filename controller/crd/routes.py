"""Rules for traffic that a gateway moves: what only Headgate's own routers can do or see is refused there.

A gateway splits, mirrors and matches headers. It keeps no user on one version, compares no answers and reports nothing
to Headgate, so all evidence comes from Prometheus.
"""

from collections.abc import Iterator

from controller.crd.models import HttpRoute, Match, ModelRollout, Shadow
from controller.crd.stages import placed
from controller.crd.table import Finding

ROUTERS_ONLY = "only Headgate's routers can do that, a gateway cannot: leave it out, or traffic.httpRoute"


def _route(rollout: ModelRollout) -> HttpRoute | None:
    return rollout.spec.traffic.http_route if rollout.spec.traffic is not None else None


def form(rollout: ModelRollout) -> Iterator[Finding]:
    """One data plane, and a route that is either Headgate's (gateways) or somebody else's (rules)."""
    traffic, route = rollout.spec.traffic, _route(rollout)
    if traffic is not None and traffic.router is not None and route is not None:
        yield "spec.traffic", "router and httpRoute are both there: write one of them"
    if route is None:
        return
    path = "spec.traffic.httpRoute"
    if route.rules is None and route.gateways is None:
        yield (
            path,
            "say which gateways carry it: gateways: [{name: public}]; or, of a route that is there already, "
            "which rules are Headgate's: rules: [model]",
        )
    elif route.rules is not None and (route.gateways is not None or route.hostnames is not None):
        yield (
            f"{path}.rules",
            "the route with these rules has its own gateways and hostnames: leave them out here",
        )


def versions(rollout: ModelRollout) -> Iterator[Finding]:
    """A route names Services, by the number of a port."""
    if _route(rollout) is None:
        return
    if rollout.spec.template is not None:
        yield "spec.template", "an HTTPRoute names Services: write versions, each with its service"
    if rollout.spec.workload_ref is not None:
        yield "spec.workloadRef", "an HTTPRoute names Services: write versions, each with its service"
    for index, version in enumerate(rollout.spec.versions):
        path = f"spec.versions[{index}]"
        if version.service is None:
            yield path, f"an HTTPRoute names Services: write service for version {version.name}"
        elif not isinstance(version.service.port, int):
            yield f"{path}.service.port", "an HTTPRoute names ports by their number: write it"


def evidence(rollout: ModelRollout) -> Iterator[Finding]:
    """Only Prometheus sees what happens behind a gateway."""
    if _route(rollout) is None:
        return
    if rollout.spec.checks is None:
        yield (
            "spec.checks",
            "left out, they are what routers measure, and a gateway tells nothing: write prometheus checks, or []",
        )
    for index, check in enumerate(rollout.spec.checks or ()):
        if check.metric is not None:
            yield (
                f"spec.checks[{index}].metric",
                "routers measure it, and a gateway tells nothing: use prometheus",
            )


def abilities(rollout: ModelRollout) -> Iterator[Finding]:
    """What a route cannot say."""
    if _route(rollout) is None:
        return
    if rollout.spec.identity is not None:
        yield "spec.identity", ROUTERS_ONLY
    if rollout.spec.overrides is not None:
        yield "spec.overrides", ROUTERS_ONLY
    for index, version in enumerate(rollout.spec.versions):
        if version.rewrite is not None:
            yield f"spec.versions[{index}].rewrite", ROUTERS_ONLY
    for at in placed(rollout.spec.strategy):
        if isinstance(at.stage, Shadow) and at.stage.min_pairs > 0:
            yield f"{at.path}.minPairs", ROUTERS_ONLY
        if isinstance(at.stage, Match):
            yield from _conditions(at.path, at.stage)


def _conditions(path: str, stage: Match) -> Iterator[Finding]:
    if stage.cookies is not None:
        yield f"{path}.cookies", ROUTERS_ONLY
    for index, condition in enumerate(stage.headers or ()):
        if condition.exact is None:
            yield f"{path}.headers[{index}]", "a gateway matches whole values only: write exact"
