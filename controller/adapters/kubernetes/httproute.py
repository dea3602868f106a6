"""A plan as a Gateway API `HTTPRoute`, and what such a route says: pure, no I/O.

Weights are the plan's own basis points. Which plan a route carries, with which weights, and all that was written into
a route of our own is noted in annotations of ours: with them a new controller knows what is in force, and a route that
says anything else than its notes was changed by somebody else.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.adapters.kubernetes.drift import PATHS_MAX, differences
from controller.adapters.kubernetes.objects import owner_of
from controller.adapters.kubernetes.raw import mapping, text
from headgate.wire.plan import SLOTS, Applied, Condition, RoutePlan, SlotRange

API: Final = "gateway.networking.k8s.io/v1"
GROUP: Final = "gateway.networking.k8s.io"
PLURAL: Final = "httproutes"
PLAN: Final = "headgate.dev/plan"
WEIGHTS: Final = "headgate.dev/weights"
SPEC: Final = "headgate.dev/spec"
OWNER: Final = "headgate.dev/rollout"
"""Annotations: `EPOCH.GENERATION`, the weights as `weights_of` reads them, and, of a route of ours, all of the spec that we
wrote. Label of our routes and annotation of others': the rollout that moves the traffic."""

NOT_TAKEN: Final = "no gateway has taken"
"""How it begins to be told that nobody reads a route: at first that is so of every route."""

RULE: Final = "headgate"
MATCHED: Final = "headgate-match"
PPM: Final = 1_000_000

_SERVICE: Final = {"group": "", "kind": "Service"}
_DEFAULTS: Final[Mapping[str, Any]] = {
    "parentRefs": [{"group": GROUP, "kind": "Gateway"}],
    "rules": [
        {
            "matches": [
                {
                    "path": {"type": "PathPrefix", "value": "/"},
                    "headers": [{"type": "Exact"}],
                    "queryParams": [{"type": "Exact"}],
                }
            ],
            "filters": [{"requestMirror": {"backendRef": _SERVICE, "fraction": {"denominator": 100}}}],
            "backendRefs": [{**_SERVICE, "weight": 1}],
        }
    ],
}
"""What the API server adds to a route, by the schema of its kind."""

Object = Mapping[str, Any]
Weights = dict[str, dict[str, int]]
"""By rule: by backend `SERVICE:PORT` its weight; mirrors by `SERVICE:PORT (mirror)` their share per million."""


@dataclass(frozen=True, slots=True)
class Backend:
    """The Service in front of one version; `port` is a number."""

    service: str
    port: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """The route that a rollout asks for. With `rules` (names) it is somebody else's, and only those rules are ours. One
    that `stays` outlives its rollout, which is going."""

    key: str
    uid: str
    name: str
    parents: tuple[Object, ...]
    hostnames: tuple[str, ...]
    rules: tuple[str, ...]
    backends: Mapping[str, Backend]
    stays: bool = False


def wanted(rollout: Object) -> Wanted | None:
    """The route that this ModelRollout asks for; None where routers carry its traffic."""
    route = mapping(rollout, "spec", "traffic", "httpRoute")
    if not route:
        return None
    owner = owner_of(rollout)
    backends = {
        str(version.get("name")): Backend(text(version, "service", "name"), _port(version["service"]))
        for version in rollout["spec"].get("versions", ())
        if mapping(version, "service")
    }
    return Wanted(
        key=owner.key,
        uid=owner.uid,
        name=str(route.get("name") or owner.name),
        parents=tuple(route.get("gateways", ())),
        hostnames=tuple(route.get("hostnames", ())),
        rules=tuple(route.get("rules", ())),
        backends=backends,
        stays=owner.is_deleting and owner.keeps,
    )


def _port(service: Object) -> int:
    """The number of the port; a route cannot name one, which a rule refuses beforehand."""
    port = service.get("port")
    return port if isinstance(port, int) else 0


def noted(plan: RoutePlan) -> str:
    """What the annotation says of a plan; where its endpoints are is the gateway's business."""
    return f"{plan.epoch}.{plan.generation}"


def carried(route: Object) -> Applied | None:
    """The epoch and generation of the plan that the route was written for; None if it was not written for one."""
    epoch, dot, generation = str(mapping(route, "metadata", "annotations").get(PLAN, "")).partition(".")
    if not dot or not epoch.isdecimal() or not generation.isdecimal():
        return None
    return Applied(int(epoch), int(generation), 0)


# --- what is written ----------------------------------------------------------------------------------------------


def owned(plan: RoutePlan, asked: Wanted) -> dict[str, Any]:
    """The whole route that is ours, to be applied: it goes with its rollout, unless it stays."""
    namespace, _, rollout = asked.key.partition("/")
    rules = _rules(plan, asked)
    spec = {
        "parentRefs": [dict(parent) for parent in asked.parents],
        **({"hostnames": list(asked.hostnames)} if asked.hostnames else {}),
        "rules": rules,
    }
    return {
        "apiVersion": API,
        "kind": "HTTPRoute",
        "metadata": {
            "name": asked.name,
            "namespace": namespace,
            "labels": {OWNER: rollout},
            "annotations": {**_notes(plan, rules), SPEC: json.dumps(_bare(spec, _DEFAULTS), sort_keys=True)},
            "ownerReferences": [] if asked.stays else [_owner(asked)],
        },
        "spec": spec,
    }


def changed(plan: RoutePlan, asked: Wanted, route: Object) -> dict[str, Any] | str:
    """The route of somebody else with the backends and mirrors of our rules; in words why that cannot be.

    Matches, other filters and other rules stay. It carries the `resourceVersion` that was read.
    """
    found = {str(rule.get("name")) for rule in route["spec"].get("rules", ())}
    missing = [name for name in asked.rules if name not in found]
    if missing:
        return f"HTTPRoute {asked.name} has no rule named {missing[0]} ({', '.join(sorted(found))}): name one of them"
    ours = _rule(RULE, plan.slots, plan, asked)
    rules = [
        _with_ours(rule, ours) if rule.get("name") in asked.rules else rule for rule in route["spec"]["rules"]
    ]
    mine = [{**ours, "name": name} for name in asked.rules]
    metadata = {
        **route["metadata"],
        "annotations": {**mapping(route, "metadata", "annotations"), **_notes(plan, mine)},
    }
    return {**route, "metadata": metadata, "spec": {**route["spec"], "rules": rules}}


def _with_ours(rule: Object, ours: Object) -> dict[str, Any]:
    others = [one for one in rule.get("filters", ()) if one.get("type") != "RequestMirror"]
    filters = [*others, *ours.get("filters", ())]
    bare = {name: value for name, value in rule.items() if name != "filters"}
    return {**bare, "backendRefs": ours["backendRefs"], **({"filters": filters} if filters else {})}


def _owner(asked: Wanted) -> dict[str, Any]:
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "ModelRollout",
        "name": asked.key.partition("/")[2],
        "uid": asked.uid,
        "controller": True,
    }


def _notes(plan: RoutePlan, rules: Sequence[Object]) -> dict[str, str]:
    return {
        PLAN: noted(plan),
        WEIGHTS: json.dumps(weights_in(rules), sort_keys=True),
        OWNER: plan.rollout.partition("/")[2],
    }


def moved_by(route: Object) -> str:
    """The name of the rollout that moves traffic by this route; "" if none does."""
    said = mapping(route, "metadata", "annotations").get(OWNER)
    return said if isinstance(said, str) and carried(route) is not None else ""


def _rules(plan: RoutePlan, asked: Wanted) -> list[dict[str, Any]]:
    """Requests that match first: a gateway takes the more specific rule, and of equal ones the first."""
    rules = []
    if plan.match is not None:
        headers = [_header(condition) for condition in plan.match.conditions]
        rules.append({**_rule(MATCHED, plan.match.slots, plan, asked), "matches": [{"headers": headers}]})
    return [*rules, _rule(RULE, plan.slots, plan, asked)]


def _header(condition: Condition) -> dict[str, str]:
    name = condition.source.partition(":")[2]
    return {"type": "Exact", "name": name, "value": condition.exact or ""}


def _rule(name: str, slots: Sequence[SlotRange], plan: RoutePlan, asked: Wanted) -> dict[str, Any]:
    shares = {version.name: 0 for version in plan.versions if version.role != "retired"}
    for owned_range in slots:
        shares[owned_range.version] = shares.get(owned_range.version, 0) + owned_range.end - owned_range.start
    backends = [
        {**_reference(asked.backends[version]), "weight": share}
        for version, share in shares.items()
        if version in asked.backends
    ]
    mirrors = [
        {
            "type": "RequestMirror",
            "requestMirror": {
                "backendRef": _reference(asked.backends[shadow.version]),
                "fraction": {"numerator": shadow.sample, "denominator": PPM},
            },
        }
        for shadow in plan.shadows
        if shadow.version in asked.backends and shadow.sample
    ]
    return {"name": name, "backendRefs": backends, **({"filters": mirrors} if mirrors else {})}


def _reference(backend: Backend) -> dict[str, Any]:
    return {"name": backend.service, "port": backend.port}


# --- what is there ------------------------------------------------------------------------------------------------


def weights_of(route: Object, names: Sequence[str] = ()) -> Weights:
    """The weights and mirrors that a route says, by rule; of all rules, or of those named."""
    rules = mapping(route, "spec").get("rules", ())
    return weights_in([rule for rule in rules if not names or rule.get("name") in names])


def weights_in(rules: Sequence[Object]) -> Weights:
    """The same of bare rules."""
    return {str(rule.get("name", index)): dict(_weights(rule)) for index, rule in enumerate(rules)}


def _weights(rule: Object) -> Iterator[tuple[str, int]]:
    for backend in rule.get("backendRefs", ()):
        yield f"{backend.get('name')}:{backend.get('port')}", int(backend.get("weight", 1))
    for one in rule.get("filters", ()):
        if one.get("type") == "RequestMirror":
            reference = mapping(one, "requestMirror", "backendRef")
            yield f"{reference.get('name')}:{reference.get('port')} (mirror)", _fraction(one["requestMirror"])


def _fraction(mirror: Object) -> int:
    fraction = mapping(mirror, "fraction")
    if fraction:
        return int(fraction.get("numerator", 0)) * PPM // max(int(fraction.get("denominator", 100)), 1)
    return int(mirror.get("percent", 100)) * PPM // 100


def override(route: Object, names: Sequence[str] = ()) -> str | None:
    """What somebody else made of what we wrote, in words; None if it is as we noted it, or nothing is noted."""
    note = mapping(route, "metadata", "annotations").get(WEIGHTS)
    if carried(route) is None or not isinstance(note, str):
        return None
    present = weights_of(route, names)
    if json.dumps(present, sort_keys=True) == note:
        said = "" if names else ", ".join(_edited(route))
        if not said:
            return None
    else:
        said = (
            "; ".join(f"rule {rule}: {_listed(weights)}" for rule, weights in present.items())
            or "it has no rule of ours"
        )
    return f"somebody else changed HTTPRoute {text(route, 'metadata', 'name')}: {said[:400]}"


def _edited(route: Object) -> tuple[str, ...]:
    """The fields of a route of ours that are not as we noted them, such as `spec.rules[headgate].filters`."""
    try:
        note = json.loads(text(route, "metadata", "annotations", SPEC) or "null")
    except ValueError:
        note = None
    if not isinstance(note, dict):
        return ()
    spec = mapping(route, "spec")
    found = _bare({name: spec.get(name) for name in ("parentRefs", "hostnames", "rules")}, _DEFAULTS)
    if found == note:
        return ()
    one, other = {"spec": note}, {"spec": found}
    paths = dict.fromkeys((*differences(one, other), *differences(other, one)))
    return tuple(paths)[:PATHS_MAX] or ("spec",)


def _bare(found: Any, defaults: Any) -> Any:
    """Without what is empty or a default: what was asked for and what became of it compare by this."""
    if isinstance(found, Mapping):
        usual = defaults if isinstance(defaults, Mapping) else {}
        bare = {name: _bare(value, usual.get(name)) for name, value in found.items()}
        return {
            name: value
            for name, value in bare.items()
            if value not in (None, {}, []) and value != usual.get(name)
        }
    if isinstance(found, list):
        inner = defaults[0] if isinstance(defaults, list) else None
        each = [_bare(one, inner) for one in found]
        return each if any(each) else []
    return found


def _listed(weights: Mapping[str, int]) -> str:
    return ", ".join(f"{backend} {weight}" for backend, weight in weights.items()) or "no backend"


def taken_from_stable(weights: Weights, stable: str) -> int:
    """How many of 10,000 requests go to others than the backend `stable`, at the most in any rule."""
    most = 0
    for rule in weights.values():
        live = {backend: weight for backend, weight in rule.items() if not backend.endswith("(mirror)")}
        total = sum(live.values())
        others = total - live.get(stable, 0)
        most = max(most, others * SLOTS // total if total else 0)
    return most


def not_accepted(route: Object) -> str | None:
    """Why the gateways do not carry out what the route says, in words; None if every one accepted this generation."""
    name, generation = text(route, "metadata", "name"), route["metadata"].get("generation", 0)
    parents = mapping(route, "status").get("parents", ())
    if not parents:
        return f"{NOT_TAKEN} HTTPRoute {name} yet: is there one of that name, and does it allow the route?"
    for parent in parents:
        gateway = text(parent, "parentRef", "name")
        conditions = {one.get("type"): one for one in parent.get("conditions", ())}
        for kind in ("Accepted", "ResolvedRefs"):
            one = conditions.get(kind, {})
            if one.get("observedGeneration", 0) < generation:
                return f"gateway {gateway} has not looked at generation {generation} of HTTPRoute {name} yet"
            if one.get("status") != "True":
                return f"gateway {gateway}: {kind} is {one.get('status')}: {one.get('reason')}: {one.get('message', '')}"[
                    :500
                ]
    return None
