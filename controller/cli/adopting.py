"""What adopting a Deployment writes, object by object: found by the functions that write it, before anything is written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from controller.adapters.kubernetes import adopted, objects, takeover
from controller.adapters.kubernetes.raw import mapping, text
from controller.cli.failures import Failure
from controller.core.status import Workload
from controller.crd.models import API_VERSION, KIND
from controller.crd.revisions import TRACKED_SECRETS, Revision, config_maps_of, revision_of

Json = dict[str, Any]
Object = Mapping[str, Any]

YOU: Final = "you"
CONTROLLER: Final = "the controller"
STRATEGY: Final = {"canary": {"weights": ["5%", "25%", "50%"], "every": "5m"}}
"""How later versions come, where no file says otherwise."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is there: the Deployment, the Services of its namespace, and the router pods of the rollout to be."""

    key: str
    deployment: Object
    services: Sequence[Object]
    routers: Sequence[Object] = ()

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object: what is there, and what shall be; None for nothing."""

    path: str
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class Write:
    """One write: by whom, when, which object (`Service ml/fraud`), and what becomes of which fields."""

    by: str
    when: str
    what: str
    verb: str
    fields: tuple[Field, ...]


def in_front(found: Found, named: str | None) -> Object | None:
    """The Service to take over: the one that is named, else the only one that selects the pods; None for none.

    Failure if it cannot be told, or may not be.
    """
    labels = mapping(found.deployment, "spec", "template", "metadata", "labels")
    selecting = [one for one in found.services if _selects(one, labels)]
    if named is not None:
        wanted = [one for one in found.services if text(one, "metadata", "name") == named]
        why = takeover.unfit(wanted[0] if wanted else None, found.key, named)
        if why:
            raise Failure(why, "nothing was changed")
        return wanted[0]
    fit = [one for one in selecting if not takeover.unfit(one, found.key, text(one, "metadata", "name"))]
    if len(fit) > 1:
        names = ", ".join(text(one, "metadata", "name") for one in fit)
        raise Failure(
            f"{len(fit)} Services select its pods: {names}", "name the one that clients use: --service NAME"
        )
    return fit[0] if fit else None


def _selects(service: Object, labels: Object) -> bool:
    selector = mapping(service, "spec", "selector")
    return bool(selector) and selector.items() <= labels.items()


def rollout_of(found: Found, service: Object | None, scale_down: str, port: int | None) -> Json:
    """The rollout that adopts the Deployment, and takes the Service over if there is one."""
    name = text(found.deployment, "metadata", "name")
    spec: Json = {
        "replicas": adopted.replicas_of(found.deployment) or 1,
        "workloadRef": {"kind": "Deployment", "name": name, "scaleDown": scale_down},
        "strategy": STRATEGY,
    }
    if port is not None:
        spec["port"] = port
    if service is not None:
        spec["traffic"] = {"router": {"takeOver": text(service, "metadata", "name")}}
    metadata = {"name": found.key.partition("/")[2], "namespace": found.namespace}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


def version_of(found: Found, document: Object) -> Revision:
    """The first version: what the pods are made of now. Failure if the Deployment cannot be adopted."""
    name = text(found.deployment, "metadata", "name")
    made = adopted.pods_of(found.deployment, found.key, name, document["spec"].get("port", 0))
    if isinstance(made, str):
        raise Failure(made, "nothing was changed")
    return revision_of(found.key.partition("/")[2], made.template, made.port, {})


def writes(found: Found, document: Json) -> tuple[Write, ...]:
    """Every write, in the order in which they are done."""
    version, spec = version_of(found, document), document["spec"]
    owner = objects.Owner(found.namespace, found.key.partition("/")[2], "")
    workload = Workload(spec.get("replicas", 1))
    made = (
        objects.controller_revision(owner, version.identity, version.document(), 1),
        objects.service(owner, version.identity, version.document()),
        objects.deployment(owner, version.identity, version.document(), workload),
    )
    begun = [Write(YOU, "now", f"{KIND} {found.key}", "create", _written(document))]
    begun += [Write(CONTROLLER, "at once", _name(one), "create", _written(one)) for one in made]
    return (*begun, *_of_service(found, spec, version), *_of_deployment(found, spec, version))


def _of_service(found: Found, spec: Json, version: Revision) -> Iterator[Write]:
    name = spec.get("traffic", {}).get("router", {}).get("takeOver")
    for service in found.services:
        if name is not None and text(service, "metadata", "name") == name:
            when = f"once {version.name} serves through the routers, and all router pods are ready"
            patch = takeover.taking(service, found.key)
            yield Write(
                CONTROLLER, when, f"Service {found.namespace}/{name}", "patch", _changed(service, patch)
            )


def _of_deployment(found: Found, spec: Json, version: Revision) -> Iterator[Write]:
    had, how = adopted.replicas_of(found.deployment), spec["workloadRef"].get("scaleDown", "never")
    if how == "never" or not had:
        return
    when = {
        "onSuccess": f"once users reach {version.name}, and {had} of its pods are ready",
        "progressively": f"once users reach {version.name}, in steps, as its pods become ready",
    }[how]
    patch = adopted.scaling(found.deployment, found.key, had, 0)
    name = text(found.deployment, "metadata", "name")
    yield Write(
        CONTROLLER,
        when,
        f"Deployment {found.namespace}/{name}",
        "patch",
        _changed(found.deployment, patch),
    )


def hints(found: Found, document: Json) -> tuple[str, ...]:
    """What a person should know before."""
    said = [
        f"Service {name} leads to the pods of every version" + _ASIDE for name in _beside(found, document)
    ]
    if not found.routers:
        to = takeover.routers_of(found.key.partition("/")[2])
        said.append(
            f"there is no router pod yet ({to}): apply manifests/router, with the rollout's name in it; until then "
            "nothing changes for users"
        )
    if document["spec"].get("traffic", {}).get("router", {}).get("takeOver") is None:
        said.append("no Service is taken over: send clients to the routers' Service yourself")
    tracked = sorted(set(config_maps_of(mapping(found.deployment, "spec", "template"))))
    if tracked:
        label = f"{objects.TRACK_LABEL}=true"
        said.append(
            f"ConfigMaps {', '.join(tracked)}: label one {label}, and its content is part of the version; where one is "
            "labelled already, the version's name ends otherwise than told here, and a copy of it is made"
        )
    if TRACKED_SECRETS in mapping(found.deployment, "spec", "template", "metadata", "annotations"):
        said.append("its Secrets are part of the version, whose name ends otherwise than told here")
    return tuple(said)


_ASIDE: Final = (
    ", one on trial too, whatever its share: its clients are in no canary. Take a label of it out of the template, "
    "or send its clients to the Service that is taken over"
)


def _beside(found: Found, document: Object) -> tuple[str, ...]:
    """The Services that select the pods, which the rollout's pods are labelled alike, and are not taken over."""
    labels = mapping(found.deployment, "spec", "template", "metadata", "labels")
    taken = document["spec"].get("traffic", {}).get("router", {}).get("takeOver")
    names = (text(one, "metadata", "name") for one in found.services if _selects(one, labels))
    return tuple(sorted(name for name in names if name != taken))


def as_data(write: Write) -> Json:
    """The write for a program."""
    fields = [{"field": one.path, "before": one.before, "after": one.after} for one in write.fields]
    return {"by": write.by, "when": write.when, "object": write.what, "verb": write.verb, "fields": fields}


def _name(made: Object) -> str:
    return f"{made['kind']} {text(made, 'metadata', 'namespace')}/{text(made, 'metadata', 'name')}"


def _written(made: Object) -> tuple[Field, ...]:
    """What a person wants to know of an object that is made."""
    spec = mapping(made, "spec") or mapping(made, "data")
    told = {name: value for name, value in spec.items() if name in _TOLD}
    return tuple(
        Field(path, None, after) for path, after in _leaves(told, "spec" if "spec" in made else "data")
    )


_TOLD: Final = ("replicas", "workloadRef", "traffic", "strategy", "selector", "ports", "port")


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}")
    else:
        yield path, value


def _changed(found: Object, patch: Object) -> tuple[Field, ...]:
    """What a merge patch (RFC 7386) changes, apart from what only makes it conditional."""
    fields = [one for one in _differences(found, patch, "") if one.path not in _CONDITIONS]
    return tuple(replace(one, path=one.path.removeprefix(".")) for one in fields)


_CONDITIONS: Final = (".metadata.uid", ".metadata.resourceVersion")


def _differences(found: object, patch: object, path: str) -> Iterator[Field]:
    before = found if isinstance(found, Mapping) else {}
    for name, after in patch.items() if isinstance(patch, Mapping) else ():
        here, there = f"{path}.{name}", before.get(name)
        if isinstance(after, Mapping):
            yield from _differences(there, after, here)
        elif isinstance(after, list) and isinstance(there, list) and len(after) == len(there):
            for index, (one, other) in enumerate(zip(there, after, strict=True)):
                yield from _differences(one, other, f"{here}[{index}]")
        elif after != there:
            yield Field(here, there, after)
