"""A Deployment that a rollout adopts: what its pods are made of, how many of them are still needed, what is written. Pure.

The Deployment stays whose it is; of it only `spec.replicas` is changed, and a note, an annotation, keeps how many it
had and how many it was left. With it another controller, or a person, can give them back.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from controller.adapters.kubernetes.objects import MANAGED_BY
from controller.adapters.kubernetes.raw import items, key_of, mapping, number, text
from controller.crd.models import VERSION_NAME
from controller.crd.revisions import VERSION_LABEL

NOTE: Final = "headgate.dev/adopted"
"""Annotation of an adopted Deployment whose replicas were changed: by whom, how many it had, how many it was left."""

PORT: Final = "http"
"""Of several ports of a pod, the one of this name serves."""

Object = Mapping[str, Any]
Json = dict[str, Any]


class ScaleDown(StrEnum):
    """When the pods of an adopted Deployment go; as `workloadRef.scaleDown` says."""

    PROGRESSIVELY = "progressively"
    ON_SUCCESS = "onSuccess"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Made:
    """What the pods of a rollout are made of: a template, and the port they serve at."""

    template: Object
    port: int


@dataclass(frozen=True, slots=True)
class Note:
    """Who changed the replicas (`namespace/name` of the rollout), how many there were, and how many were left."""

    by: str
    had: int
    left: int


def pods_of(deployment: Object | None, key: str, name: str, port: int) -> Made | str:
    """What the Deployment's pods are made of, with this port (0: the only one, or the one called http); or why the
    rollout `key` cannot have it, and what to do."""
    what = f"Deployment {key.partition('/')[0]}/{name}"
    if deployment is None:
        return f"there is no {what}: create it, or correct workloadRef.name"
    note, template = note_of(deployment), mapping(deployment, "spec", "template")
    if text(deployment, "metadata", "labels", MANAGED_BY) == "headgate":
        return f"{what} is Headgate's own, of one version: name the one that was there before"
    if note is not None and note.by != key:
        return held(what, note.by)
    called = text(template, "metadata", "labels", VERSION_LABEL)
    if called and re.fullmatch(VERSION_NAME, called) is None:
        return f"the template of {what} calls its version {called!r}: lower-case letters, digits and -, such as v8"
    found = port or _port_of(template)
    return Made(template, found) if found else f"{_ports(template, what)}: write the one that serves as port"


def held(what: str, by: str) -> str:
    """That another rollout has the Deployment."""
    return f"{what} is adopted by rollout {by}: one Deployment belongs to one rollout"


def _port_of(template: Object) -> int:
    ports = _each_port(template)
    meant = [one for one in ports if text(one, "name") == PORT] or (ports if len(ports) == 1 else [])
    return number(meant[0], "containerPort") if meant else 0


def _ports(template: Object, what: str) -> str:
    told = ", ".join(str(number(one, "containerPort")) for one in _each_port(template))
    return f"the pods of {what} say {'the ports ' + told if told else 'no port'}"


def _each_port(template: Object) -> list[Any]:
    return [port for container in items(template, "spec", "containers") for port in items(container, "ports")]


def note_of(deployment: Object) -> Note | None:
    """The note that the Deployment carries; None if it has none that can be read."""
    try:
        written = json.loads(text(deployment, "metadata", "annotations", NOTE) or "null")
    except ValueError:
        return None
    by, had, left = text(written, "by"), mapping(written).get("replicas"), mapping(written).get("left")
    return Note(by, had, left) if by and isinstance(had, int) and isinstance(left, int) else None


def by_adopter(deployment: Object) -> Iterator[str]:
    """For an index: `namespace/name` of the rollout that changed the Deployment's replicas; a rollout of another
    namespace did not, whatever the note says."""
    note = note_of(deployment)
    if note is not None and note.by.partition("/")[0] == text(deployment, "metadata", "namespace"):
        yield note.by


def holder_of(deployment: Object, asking: Iterable[Object], last: str) -> str:
    """Which of the ModelRollouts that ask for the Deployment has it, `namespace/name`; "" if none asks.

    The one that noted itself, else the one that had it `last`; of others one that went on with it before one that was
    refused, and then the oldest.
    """
    note = note_of(deployment)

    def rank(rollout: Object) -> tuple[object, ...]:
        key, status = key_of(rollout), mapping(rollout, "status")
        is_refused = text(status, "phase") == "Stalled" or not text(status, "targetVersion")
        is_noted = note is not None and note.by == key
        return not is_noted, key != last, is_refused, text(rollout, "metadata", "creationTimestamp"), key

    return key_of(first) if (first := min(asking, key=rank, default=None)) is not None else ""


def replicas_of(deployment: Object) -> int:
    """How many pods it shall have; 1 where it does not say."""
    found = mapping(deployment, "spec").get("replicas")
    return found if isinstance(found, int) else 1


def is_whole(deployment: Object) -> bool:
    """Are all its pods ready, and of its present template?"""
    status, wanted = mapping(deployment, "status"), replicas_of(deployment)
    is_seen = number(status, "observedGeneration") >= number(deployment, "metadata", "generation")
    return is_seen and min(number(status, "readyReplicas"), number(status, "updatedReplicas")) >= wanted


def needed(how: ScaleDown, had: int, left: int, ready: int) -> int:
    """How many pods of it are still needed, of the `had` it had and the `left` it has, with `ready` of the rollout's.

    Never more than it has: what came back up by itself is not ours to ask for.
    """
    match how:
        case ScaleDown.NEVER:
            return left
        case ScaleDown.ON_SUCCESS:
            return 0 if ready >= had else left
        case ScaleDown.PROGRESSIVELY:
            return min(left, max(had - ready, 0))


def scaling(deployment: Object, key: str, had: int, left: int) -> Json:
    """The merge patch that leaves it so many pods, and notes how many it had; conditional on the state that was read."""
    note = json.dumps({"by": key, "replicas": had, "left": left})
    return {
        "metadata": {**_as_read(deployment), "annotations": {NOTE: note}},
        "spec": {"replicas": left},
    }


def releasing(deployment: Object) -> Json:
    """The merge patch that takes our note off it."""
    return {"metadata": {**_as_read(deployment), "annotations": {NOTE: None}}}


def _as_read(deployment: Object) -> Json:
    metadata = mapping(deployment, "metadata")
    return {"uid": metadata.get("uid"), "resourceVersion": metadata.get("resourceVersion")}
