"""What the tests of a Service that is taken over share: the Service, router pods, and whether it always led to somebody."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from controller.adapters.kubernetes import takeover
from controller.adapters.kubernetes.pods import is_ready
from tests.cluster.testbed.cluster import Testbed
from tests.cluster.whole import NAME
from tests.faults.recorded import Recorded

FRONT = "front"
"""The Service that clients have always used."""

TAKING = {"router": {"takeOver": FRONT}}

Object = Mapping[str, Any]


def router_pod(name: str = "r1", rollout: str = NAME) -> dict[str, Any]:
    """A pod as manifests/router/deployment.yaml makes it, as far as a Service sees it."""
    ports = [{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9090}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(takeover.routers_of(rollout).selector)},
        "spec": {"containers": [{"name": "router", "image": "headgate:0.1.0", "ports": ports}]},
    }


class History:
    """Services and pods of a namespace, version by version."""

    def __init__(self, services: Recorded, pods: Recorded) -> None:
        self.services, self.pods = services, pods

    def leads(self, name: str = FRONT) -> list[str]:
        """Where the Service led, one after another, each once."""
        told = [str(takeover.destination_of(one)) for one in self.services.of(name)]
        return [where for index, where in enumerate(told) if index == 0 or told[index - 1] != where]

    def gaps(self, name: str = FRONT) -> list[str]:
        """As `gaps`, of what was recorded so far."""
        return gaps(self.services.of(name), tuple(self.pods.versions))


def gaps(services: Sequence[Object], pods: Sequence[Object]) -> list[str]:
    """Each write, since its first ready pod, after which the Service selected nothing ready; a sentence each.

    `services` are the versions of the one Service, `pods` those of all pods, each in any order.
    """
    there, to, found, began = dict[str, Object](), None, list[str](), False
    written = [
        (_version(one), one, is_pod) for is_pod, all_of in ((False, services), (True, pods)) for one in all_of
    ]
    for version, one, is_pod in sorted(written, key=lambda entry: entry[0]):
        if is_pod:
            there[one["metadata"]["name"]] = one
        else:
            to = takeover.destination_of(one)
        led = takeover.reached(there.values(), to) if to is not None else []
        began = began or bool(led)
        if began and not led:
            found.append(f"at {version}: {to} selects nothing ready; {_states(there)}")
    return found


def _version(one: Object) -> int:
    return int(one["metadata"]["resourceVersion"])


def _states(pods: Mapping[str, Object]) -> str:
    return ", ".join(f"{name} {'ready' if is_ready(pod) else 'not ready'}" for name, pod in pods.items())


@contextmanager
def recording(cluster: Testbed, namespace: str) -> Iterator[History]:
    """The history of the namespace's Services and pods, from now on."""
    base = f"/api/v1/namespaces/{namespace}"
    with ExitStack() as stack:
        recorded = [stack.enter_context(Recorded(cluster, f"{base}/{kind}")) for kind in ("services", "pods")]
        yield History(*recorded)
