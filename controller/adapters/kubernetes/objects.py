"""The objects that a version of a managed rollout is made of, as they shall be: pure functions from what is asked to JSON.

Names follow from the rollout's and the version's, so that whoever applies them twice makes nothing twice. Each object
is owned by the rollout, says which version it is of, and carries the hash of what was asked when it was written: by it
a later look tells what we want anew from what somebody else changed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from controller.adapters.kubernetes.raw import items, mapping, text
from controller.core.status import Workload
from controller.crd.models import API_VERSION, KIND
from controller.crd.revisions import VERSION_LABEL, Revision, bounded

ROLLOUT_LABEL: Final = "headgate.dev/rollout"
TRACK_LABEL: Final = "headgate.dev/track"
"""On a ConfigMap: `true` if its content is part of the versions that use it; `copy` on our copies."""

IDENTITY: Final = "headgate.dev/identity"
WRITTEN: Final = "headgate.dev/written"
RESTARTS: Final = "headgate.dev/restarts"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Owner:
    """The rollout that objects belong to."""

    namespace: str
    name: str
    uid: str
    is_deleting: bool = False
    keeps: bool = False
    """Do they stay when it is deleted (`deletionPolicy: Orphan`)?"""
    scale: Mapping[str, Any] = field(default_factory=dict)
    """What its status tells autoscalers."""

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    def may_have(self, found: Mapping[str, Any]) -> bool:
        """Is it ours, or nobody's any more but made for a rollout of this name?"""
        controllers = [one for one in items(found, "metadata", "ownerReferences") if one.get("controller")]
        if controllers:
            return all(text(one, "uid") == self.uid for one in controllers)
        return text(found, "metadata", "labels", ROLLOUT_LABEL) == self.name

    def releasing(self, found: Mapping[str, Any]) -> Json | None:
        """The merge patch that takes our reference off it, conditional on the state that was read; None if it has none."""
        references = items(found, "metadata", "ownerReferences")
        others = [one for one in references if text(one, "uid") != self.uid]
        if len(others) == len(references):
            return None
        as_read = {name: found["metadata"].get(name) for name in ("uid", "resourceVersion")}
        return {"metadata": {**as_read, "ownerReferences": others}}


def owner_of(rollout: Mapping[str, Any]) -> Owner:
    """The owner that a ModelRollout, as the API server has it, is."""
    metadata = rollout["metadata"]
    return Owner(
        metadata["namespace"],
        metadata["name"],
        metadata["uid"],
        is_deleting="deletionTimestamp" in metadata,
        keeps=text(rollout, "spec", "deletionPolicy") == "Orphan",
        scale={
            name: value
            for name, value in mapping(rollout, "status").items()
            if name in ("replicas", "selector")
        },
    )


def name_of(rollout: str, version: str) -> str:
    """What the Deployment and the Service of a version are called; a Service's name begins with a letter."""
    return bounded(rollout if rollout[:1].isalpha() else f"r-{rollout}", version)


def deployment(owner: Owner, identity: str, document: Mapping[str, Any], workload: Workload) -> Json:
    """The version's Deployment. A replacement of its pods takes none away before another is ready."""
    version = document["name"]
    labels = _labels(owner, version)
    template = json.loads(json.dumps(document["template"]))
    metadata = template.setdefault("metadata", {})
    metadata["labels"] = {**metadata.get("labels", {}), **labels}
    if workload.restarts:
        metadata["annotations"] = {**metadata.get("annotations", {}), RESTARTS: str(workload.restarts)}
    spec = {
        "replicas": workload.replicas,
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": labels},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": workload.surge, "maxUnavailable": 0},
        },
        "template": template,
    }
    return _made("apps/v1", "Deployment", owner, version, identity, {"spec": spec})


def service(owner: Owner, identity: str, document: Mapping[str, Any]) -> Json:
    """The Service in front of the version's pods."""
    port = document["port"]
    spec = {
        "selector": _labels(owner, document["name"]),
        "ports": [{"name": "http", "port": port, "targetPort": port, "protocol": "TCP"}],
    }
    return _made("v1", "Service", owner, document["name"], identity, {"spec": spec})


def config_map(owner: Owner, name: str, version: str, identity: str, content: Mapping[str, Any]) -> Json:
    """The copy of a tracked ConfigMap that the version's pods use; it never changes."""
    made = _made("v1", "ConfigMap", owner, version, identity, {**content, "immutable": True})
    made["metadata"]["name"] = name
    made["metadata"]["labels"][TRACK_LABEL] = "copy"
    return made


def controller_revision(owner: Owner, identity: str, document: Mapping[str, Any], number: int) -> Json:
    """What the version is made of, kept for a rollback and for whoever deletes its Deployment by hand."""
    data = {"template": document["template"], "port": document["port"]}
    body = {"data": data, "revision": number}
    return _made("apps/v1", "ControllerRevision", owner, document["name"], identity, body)


def revision(found: Mapping[str, Any]) -> Revision | None:
    """The version that a ControllerRevision keeps; None for one that is not ours to read."""
    name = text(found, "metadata", "labels", VERSION_LABEL)
    identity = text(found, "metadata", "annotations", IDENTITY)
    data, number = found.get("data"), found.get("revision")
    if not isinstance(data, Mapping) or not isinstance(data.get("template"), Mapping):
        return None
    port = data.get("port")
    if not (name and identity and isinstance(port, int) and isinstance(number, int)):
        return None
    return Revision(name, identity, data["template"], port, number)


def identity_of(found: Mapping[str, Any]) -> str:
    """Which version an object of ours is of; "" for any other object."""
    return text(found, "metadata", "annotations", IDENTITY)


def essence(wanted: Json) -> Json:
    """What of it must be found: not its kind, which lists leave out, nor our own notes in it."""
    metadata = {name: wanted["metadata"][name] for name in ("labels", "ownerReferences")}
    rest = {name: value for name, value in wanted.items() if name not in ("apiVersion", "kind", "metadata")}
    return {"metadata": metadata, **rest}


def without_replicas(wanted: Json) -> Json:
    """The same with its number of replicas left to somebody else."""
    spec = {name: value for name, value in wanted["spec"].items() if name != "replicas"}
    return {**wanted, "spec": spec}


def _labels(owner: Owner, version: str) -> Json:
    return {ROLLOUT_LABEL: owner.name, VERSION_LABEL: version}


def _made(
    api_version: str, kind: str, owner: Owner, version: str, identity: str, body: Mapping[str, Any]
) -> Json:
    reference = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
    }
    made: Json = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name_of(owner.name, version),
            "namespace": owner.namespace,
            "labels": {**_labels(owner, version), MANAGED_BY: "headgate"},
            "annotations": {IDENTITY: identity},
            "ownerReferences": [reference],
        },
        **body,
    }
    asked = json.dumps(made, sort_keys=True, separators=(",", ":"))
    made["metadata"]["annotations"][WRITTEN] = hashlib.sha256(asked.encode()).hexdigest()[:16]
    return made
