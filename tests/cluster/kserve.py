"""KServe's InferenceService, as far as anybody but KServe needs it: its kind, and a status written as KServe writes it.

The definition has the names, the subresource and the status fields of KServe's public schema (v1beta1); what people write
in `spec` is taken as it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster.testbed.cluster import Testbed, wait_for

Json = dict[str, Any]

NAME = "inferenceservices.serving.kserve.io"
PATH = "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices"
_ANY: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_CONDITION: Json = {
    "type": "object",
    "required": ["status", "type"],
    "properties": {
        name: {"type": "string"}
        for name in ("lastTransitionTime", "message", "reason", "severity", "status", "type")
    },
}
DEFINITION: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": NAME},
    "spec": {
        "group": "serving.kserve.io",
        "scope": "Namespaced",
        "names": {
            "kind": "InferenceService",
            "listKind": "InferenceServiceList",
            "plural": "inferenceservices",
            "singular": "inferenceservice",
            "shortNames": ["isvc"],
        },
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": _ANY,
                            "status": {
                                "type": "object",
                                "properties": {
                                    "address": {"type": "object", "properties": {"url": {"type": "string"}}},
                                    "conditions": {"type": "array", "items": _CONDITION},
                                    "components": _ANY,
                                    "deploymentMode": {"type": "string"},
                                    "modelStatus": _ANY,
                                    "observedGeneration": {"type": "integer", "format": "int64"},
                                    "url": {"type": "string"},
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}


@contextmanager
def installed(cluster: Testbed) -> Iterator[None]:
    """The API server knows the kind while the block lasts, and nothing of it afterwards."""
    cluster.kubectl("apply", "--server-side", "--filename", "-", stdin=DEFINITION)
    client = cluster.client()
    wait_for(lambda: client.get(PATH.format("default")).status_code == 200, "the kind is served")
    try:
        yield
    finally:
        cluster.kubectl("delete", "crd", NAME, "--timeout=90s")
        wait_for(lambda: client.get(PATH.format("default")).status_code == 404, "the kind is served no more")


def written(name: str, model: str = "s3://models/8") -> Json:
    """What a person applies."""
    predictor = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": model}}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": predictor},
    }


def says(
    cluster: Testbed, namespace: str, name: str, ready: str, *, at: str = "", seen: int = 1, **causes: str
) -> None:
    """Write the status as KServe would: the condition Ready, an address, the generation that was seen, and false conditions
    with their messages."""
    conditions = [{"type": "Ready", "status": ready}]
    conditions += [{"type": kind, "status": "False", "message": why} for kind, why in causes.items()]
    status: Json = {"conditions": conditions, "observedGeneration": seen}
    if at:
        status |= {"address": {"url": at}, "url": f"http://{name}-{namespace}.example.com"}
    answer = cluster.client().patch(
        f"{PATH.format(namespace)}/{name}/status",
        json={"status": status},
        headers={"content-type": "application/merge-patch+json"},
    )
    answer.raise_for_status()
