"""An existing Service taken over by the routers, and given back: what it says, and what is to be written. Pure, no I/O.

Each way is one write: selector, target port and our note change together, so that whoever dies before or after it
leaves a Service that leads to somebody. The note, an annotation, keeps what the Service selected before: with it
another controller, or a person, can give it back.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.adapters.kubernetes.objects import MANAGED_BY, ROLLOUT_LABEL
from controller.adapters.kubernetes.pods import is_ready
from controller.adapters.kubernetes.raw import items, key_of, mapping, number, text
from controller.core.status import RouterObserved, Way
from controller.crd.revisions import VERSION_LABEL
from headgate.wire.plan import RoutePlan

NOTE: Final = "headgate.dev/taken-over"
"""Annotation of a Service that leads to routers: whose they are, and what it selected before, as JSON."""

ROUTER: Final = {"app.kubernetes.io/name": "headgate-router"}
"""What router pods carry besides the label of their rollout; as manifests/router/deployment.yaml has it."""

PORT: Final = "http"
"""What router pods call the port that serves."""

Object = Mapping[str, Any]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a Service leads: the pods with these labels, at this port of theirs (number or name)."""

    selector: Mapping[str, str]
    port: int | str

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in sorted(self.selector.items()))


@dataclass(frozen=True, slots=True)
class Note:
    """Who took a Service over (`namespace/name` of the rollout), and where it led before."""

    by: str
    before: Destination


def routers_of(rollout: str) -> Destination:
    """The router pods of the rollout of this name."""
    return Destination({**ROUTER, ROLLOUT_LABEL: rollout}, PORT)


def destination_of(service: Object, port: object = None) -> Destination:
    """Where the Service leads at its port of this number or name; None: the first one."""
    found = items(service, "spec", "ports")
    meant = [one for one in found if port in (None, number(one, "port"), text(one, "name"))]
    target = mapping(meant[0] if meant else None).get("targetPort")
    return Destination(dict(mapping(service, "spec", "selector")), target if target is not None else 0)


def note_of(service: Object) -> Note | None:
    """The note that the Service carries; None if it has none that can be read."""
    try:
        written = json.loads(text(service, "metadata", "annotations", NOTE) or "null")
    except ValueError:
        return None
    by, selector = text(written, "by"), mapping(written, "selector")
    port = mapping(written).get("targetPort")
    if not by or not selector or not isinstance(port, (int, str)):
        return None
    return Note(by, Destination({str(name): str(value) for name, value in selector.items()}, port))


def by_taker(service: Object) -> Iterator[str]:
    """For an index: `namespace/name` of the rollout that took the Service over; a rollout of another namespace did not,
    whatever the note says."""
    note = note_of(service)
    if note is not None and note.by.partition("/")[0] == text(service, "metadata", "namespace"):
        yield note.by


def way_of(service: Object, key: str) -> Way:
    """Does the Service lead to the routers of the rollout `key`, past them, or elsewhere because somebody changed it?"""
    if destination_of(service) == routers_of(key.partition("/")[2]):
        return Way.LED
    note = note_of(service)
    return Way.CHANGED if note is not None and note.by == key else Way.PAST


def unfit(service: Object | None, key: str, name: str) -> str:
    """Why the rollout `key` may not take this Service over, and what to do; "" if it may."""
    what = f"Service {key.partition('/')[0]}/{name}"
    if service is None:
        return f"there is no {what}: create it, or correct traffic.router.takeOver"
    note, ports = note_of(service), items(service, "spec", "ports")
    cluster_ip = text(service, "spec", "clusterIP")
    if note is not None and note.by != key:
        return f"{what} is taken over by rollout {note.by}: one Service leads to the routers of one rollout"
    if text(service, "metadata", "labels", MANAGED_BY) == "headgate":
        return f"{what} is Headgate's own, in front of one version: name the one that clients use"
    if text(service, "spec", "type") == "ExternalName" or not mapping(service, "spec", "selector"):
        return f"{what} selects no pods, so there is nothing to take over: send its clients to the routers' Service"
    if cluster_ip == "None":
        return f"{what} is headless, so its clients choose pods and ports themselves: give them one with an address"
    if len(ports) != 1 or text(ports[0], "protocol") not in ("", "TCP"):
        named = ", ".join(text(one, "name") or str(number(one, "port")) for one in ports)
        return f"{what} has the ports {named}, and routers serve one, over TCP: move the others to a Service of their own"
    for policy in ("externalTrafficPolicy", "internalTrafficPolicy"):
        if text(service, "spec", policy) == "Local":
            return f"{what} has {policy}: Local, so nodes without a router pod would drop its requests: set it to Cluster"
    return ""


def taking(service: Object, key: str) -> Json:
    """The merge patch by which the Service leads to the routers; conditional on the state that was read."""
    before, to = destination_of(service), routers_of(key.partition("/")[2])
    note = json.dumps({"by": key, "selector": dict(before.selector), "targetPort": before.port})
    return _leading(service, to, note)


def giving(service: Object, to: Destination) -> Json:
    """The merge patch by which it leads there, and is nobody's any more."""
    return _leading(service, to, None)


def letting(service: Object) -> Json:
    """The merge patch that takes our note off a Service that somebody leads elsewhere by now."""
    return {"metadata": {**_as_read(service), "annotations": {NOTE: None}}}


def _leading(service: Object, to: Destination, note: str | None) -> Json:
    gone = dict.fromkeys(mapping(service, "spec", "selector"))
    ports = [{**port, "targetPort": to.port} for port in items(service, "spec", "ports")]
    return {
        "metadata": {**_as_read(service), "annotations": {NOTE: note}},
        "spec": {"selector": {**gone, **to.selector}, "ports": ports},
    }


def _as_read(service: Object) -> Json:
    metadata = mapping(service, "metadata")
    return {"uid": metadata.get("uid"), "resourceVersion": metadata.get("resourceVersion")}


# Pods


def reached(pods: Iterable[Object], to: Destination) -> list[Object]:
    """Those of the pods that a Service leading there would send requests to: selected, ready, and with that port."""
    return [pod for pod in selected(pods, to) if is_ready(pod) and _has(pod, to.port)]


def selected(pods: Iterable[Object], to: Destination) -> list[Object]:
    """Those with its labels that have not ended and are not about to."""
    return [
        pod
        for pod in pods
        if to.selector.items() <= mapping(pod, "metadata", "labels").items()
        and not text(pod, "metadata", "deletionTimestamp")
        and text(pod, "status", "phase") not in ("Succeeded", "Failed")
    ]


def _has(pod: Object, port: int | str) -> bool:
    """A number is taken as it is; a name must be that of a port of the pod."""
    if isinstance(port, int):
        return True
    containers = [*items(pod, "spec", "containers"), *items(pod, "spec", "initContainers")]
    return any(text(one, "name") == port for container in containers for one in items(container, "ports"))


def not_ready(
    pods: Sequence[Object], to: Destination, routers: Sequence[RouterObserved], plan: RoutePlan
) -> str:
    """Why the routers cannot have the traffic yet: all their pods must be ready and run the plan; "" if they can.

    A router is known by the name of its pod.
    """
    there = selected(pods, to)
    if not there:
        return f"there is no router pod ({to})"
    known = {router.id: router for router in routers}
    for pod in sorted(there, key=lambda pod: text(pod, "metadata", "name")):
        name = f"router pod {text(pod, 'metadata', 'name')}"
        router = known.get(text(pod, "metadata", "name"))
        if not is_ready(pod):
            return f"{name} is not ready"
        if not _has(pod, to.port):
            return f"{name} has no port that is called {to.port}"
        if router is None:
            return f"{name} has not asked for its plan: its --id must be the name of the pod"
        if router.error:
            return f"{name} refused the plan: {router.error}"
        if (router.applied.epoch, router.applied.generation) != (plan.epoch, plan.generation):
            return f"{name} has not acknowledged plan {plan.generation}"
    return ""


@dataclass(frozen=True, slots=True)
class Stay:
    """Which pods the users of a rollout may get when it has no routers: of its own those of `stable`, or none of them
    where all of them go with it (`is_leaving`); of others any."""

    rollout: str
    stable: str
    is_leaving: bool

    def trouble(self, pods: Iterable[Object]) -> str:
        """Why a Service may not lead to these ready pods, of which those that go with the rollout do not count."""
        versions = [self._version_of(pod) for pod in pods]
        if not versions:
            return "none of them is ready"
        if self.is_leaving:
            return "" if "" in versions else "none of them is ready, but for those that go with the rollout"
        unproven = sorted({version for version in versions if version not in ("", self.stable)})
        return f"some of them are of {unproven[0]}, which is not stable" if unproven else ""

    def _version_of(self, pod: Object) -> str:
        """Which version of the rollout's own a pod is of; "" for any other pod."""
        labels = mapping(pod, "metadata", "labels")
        return text(labels, VERSION_LABEL) if labels.get(ROLLOUT_LABEL) == self.rollout else ""


def addresses(pods: Iterable[Object]) -> frozenset[str]:
    """Where they are."""
    return frozenset(address for pod in pods if (address := text(pod, "status", "podIP")))


def names(services: Iterable[Object]) -> tuple[str, ...]:
    """`namespace/name` of each, in order."""
    return tuple(sorted(key_of(service) for service in services))
