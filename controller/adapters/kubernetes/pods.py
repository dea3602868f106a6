"""Why pods do not become ready, in one sentence that names the object and the remedy, read from what the cluster says of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controller.adapters.kubernetes.raw import items, key_of, mapping, number, text, words

RESTARTS_LOOP: Final = 3
"""A container that was started again so often, and is not ready, keeps crashing, also between two back-offs."""

GRAVE: Final = 3
"""From here on a trouble does not end by itself."""

_PULL: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
_CRASH: Final = "CrashLoopBackOff"
_HASH: Final = "pod-template-hash"


@dataclass(frozen=True, slots=True)
class Pods:
    """What is known of a version's pods together; `trouble` is "" when nothing is wrong, or nothing is known of it.

    `is_grave`: a person has to mend it.
    """

    trouble: str = ""
    is_grave: bool = False
    is_crash_looping: bool = False
    restarts: int = 0
    ready: int = 0


def by_deployment(pod: Mapping[str, Any]) -> Iterator[str]:
    """For an index: `namespace/name` of the Deployment that a pod belongs to.

    Its ReplicaSet is named after the Deployment and the hash that the pod carries as a label, so ReplicaSets need not
    be watched.
    """
    suffix = f"-{text(pod, 'metadata', 'labels', _HASH)}"
    for owner in items(pod, "metadata", "ownerReferences"):
        name = text(owner, "name")
        if text(owner, "kind") == "ReplicaSet" and suffix != "-" and name.endswith(suffix):
            yield f"{text(pod, 'metadata', 'namespace')}/{name.removesuffix(suffix)}"


def by_namespace(pod: Mapping[str, Any]) -> Iterator[str]:
    """For an index: the namespace."""
    yield text(pod, "metadata", "namespace")


def selected(pods: Iterable[Mapping[str, Any]], selector: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those that a Service with this selector means; none for an empty one."""
    wanted = selector.items()
    return [pod for pod in pods if wanted and wanted <= mapping(pod, "metadata", "labels").items()]


def examined(pods: Iterable[Mapping[str, Any]]) -> Pods:
    """What the pods that are not being deleted say."""
    found = sorted(
        (pod for pod in pods if not text(pod, "metadata", "deletionTimestamp")),
        key=lambda pod: text(pod, "metadata", "name"),
    )
    unready = [pod for pod in found if not is_ready(pod)]
    ready = len(found) - len(unready)
    troubles = [trouble for pod in unready if (trouble := _trouble(pod)) is not None]
    worst = max(troubles, key=lambda trouble: trouble[0], default=(0, ""))
    return Pods(
        trouble=worst[1],
        is_grave=worst[0] >= GRAVE,
        is_crash_looping=not ready and any(_is_crashing(pod) for pod in unready),
        restarts=sum(number(status, "restartCount") for pod in found for status in _containers(pod)),
        ready=ready,
    )


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Does the kubelet say so?"""
    return text(_condition(pod, "Ready"), "status") == "True"


def refused(deployment: Mapping[str, Any]) -> str:
    """Why pods of the Deployment are not even created (a quota, a policy, an admission), or ""."""
    failure = _condition(deployment, "ReplicaFailure")
    if text(failure, "status") != "True":
        return ""
    why = words(failure, "message")
    remedy = (
        "raise the ResourceQuota, or ask for less"
        if "exceeded quota" in why
        else "change what its pod template asks for, or what refuses it"
    )
    return f"pods of Deployment {key_of(deployment)} are refused: {why}: {remedy}"


def _condition(obj: Mapping[str, Any], kind: str) -> object:
    return next((one for one in items(obj, "status", "conditions") if text(one, "type") == kind), None)


def _containers(pod: Mapping[str, Any]) -> list[Any]:
    return [*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")]


def _is_crashing(pod: Mapping[str, Any]) -> bool:
    return any(
        text(status, "state", "waiting", "reason") == _CRASH
        or (number(status, "restartCount") >= RESTARTS_LOOP and not mapping(status).get("ready"))
        for status in _containers(pod)
    )


def _trouble(pod: Mapping[str, Any]) -> tuple[int, str] | None:
    """What keeps one pod from being ready, and how much a person should care; None: it has only just begun."""
    name = f"pod {text(pod, 'metadata', 'name')}"
    for status in _containers(pod):
        found = _waiting(pod, status, name)
        if found is not None:
            return found
    phase = text(pod, "status", "phase")
    if phase == "Failed":
        why = words(pod, "status", "message") or text(pod, "status", "reason") or "it ended"
        return 3, f"{name} failed: {why}"
    scheduled = _condition(pod, "PodScheduled")
    if text(scheduled, "status") == "False":
        why = words(scheduled, "message") or "no node takes it"
        return 4, f"{name} cannot be scheduled: {why}: add nodes, or let its pod template ask for less"
    if phase == "Running":
        return 1, f"{name} runs and is not ready: {_readiness(pod)}"
    if phase == "Pending" and not text(pod, "spec", "nodeName"):
        return 1, f"{name} waits for a node"
    return None


def _readiness(pod: Mapping[str, Any]) -> str:
    unready = [text(status, "name") for status in _containers(pod) if not mapping(status).get("ready")]
    if unready:
        return f"the readiness probe of container {unready[0]} does not succeed"
    return words(_condition(pod, "Ready"), "message") or "a readiness gate is not met"


def _waiting(pod: Mapping[str, Any], status: object, name: str) -> tuple[int, str] | None:
    """What keeps one container from running."""
    container = text(status, "name")
    reason = text(status, "state", "waiting", "reason")
    said = words(status, "state", "waiting", "message")
    if reason in _PULL:
        image = text(status, "image")
        told = f"the image {image} of container {container} of {name} cannot be pulled ({said or reason})"
        return 5, f"{told}: correct the image, or its imagePullSecrets"
    is_looping = number(status, "restartCount") >= RESTARTS_LOOP and not mapping(status).get("ready")
    if reason == _CRASH or is_looping:
        return 6, _crash(pod, status, f"container {container} of {name}")
    if reason and reason not in ("ContainerCreating", "PodInitializing"):
        return 5, f"container {container} of {name} cannot start: {reason}{f': {said}' if said else ''}"
    return None


def _crash(pod: Mapping[str, Any], status: object, who: str) -> str:
    last = mapping(status, "lastState", "terminated") or mapping(status, "state", "terminated")
    if text(last, "reason") == "OOMKilled":
        how = "it was killed for its memory: raise resources.limits.memory"
    else:
        told = words(last, "message", at_most=200)
        how = f"exit code {number(last, 'exitCode')}{f', {told}' if told else ''}" if last else "it ends"
    namespace, name = text(pod, "metadata", "namespace"), text(pod, "metadata", "name")
    logs = f"kubectl -n {namespace} logs {name} -c {text(status, 'name')} --previous"
    return f"{who} keeps crashing ({how}); see {logs}"
