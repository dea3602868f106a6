"""What a scheduler and a kubelet would do to pods, done through the API, because the testbed has no node.

`Kubelet` binds the pods of one namespace to a made-up node, reports them running, ready or failing as the test says,
and lets go of those that are deleted; the controller-manager then publishes them in EndpointSlices as it would for
real ones. A test that wants to do one step itself calls `bind`, `report` and `release`.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import httpx

from tests.cluster.testbed import addresses
from tests.cluster.testbed.cluster import Testbed

NODE: Final = "testbed"
POLL_S: Final = 0.1
MERGE: Final = {"Content-Type": "application/merge-patch+json"}
RACES: Final = (404, 409)  # gone, or changed since we looked: the next look sees what is so
Pod = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Health:
    """How a pod's containers do: ready, or not, or not even started because of `waiting` (CrashLoopBackOff, …)."""

    ready: bool = True
    waiting: str = ""
    restarts: int = 0


READY: Final = Health()
UNREADY: Final = Health(ready=False)


class Kubelet:
    """Stands in for a node in one namespace, from `with` to its end.

    `health` is asked about every pod again and again, so a test may change its answer at any time; `address` is
    asked once a pod, when it is first reported (default: an address nobody listens on).
    """

    def __init__(
        self,
        cluster: Testbed,
        namespace: str,
        *,
        health: Callable[[Pod], Health] = lambda pod: READY,
        address: Callable[[Pod], str] = lambda pod: addresses.take(),
    ) -> None:
        self._namespace, self._health, self._address = namespace, health, address
        self._client = cluster.client()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"kubelet of {namespace}")
        self._failure: httpx.HTTPStatusError | None = None

    def __enter__(self) -> Self:
        ensure_node(self._client)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._client.close()
        if self._failure is not None and error is None:
            raise self._failure

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._look()
            except httpx.TransportError:
                self._ended.wait(1.0)  # the API server is away: a test of faults may mean that
            except httpx.HTTPStatusError as exc:
                self._failure = exc
                if exc.response.status_code < 500:
                    return
            self._ended.wait(POLL_S)

    def _look(self) -> None:
        answer = self._client.get(f"/api/v1/namespaces/{self._namespace}/pods").raise_for_status()
        for pod in answer.json()["items"]:
            self._attend(pod)
        self._failure = None

    def _attend(self, pod: Pod) -> None:
        if "deletionTimestamp" in pod["metadata"]:
            release(self._client, pod)
        elif "nodeName" not in pod["spec"]:
            bind(self._client, pod)
        else:
            health = self._health(pod)
            if not _reported(pod, health):
                report(self._client, pod, _address_of(pod) or self._address(pod), health)


def ensure_node(client: httpx.Client) -> None:
    """The node that pods are bound to: EndpointSlices leave out pods of a node that is no object."""
    node = {
        "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}},
        "status": {"capacity": {"cpu": "1000", "memory": "1000Gi", "pods": "100000"}},
    }
    _allow(client.post("/api/v1/nodes", json=node), *RACES)


def bind(client: httpx.Client, pod: Pod) -> None:
    """What a scheduler does."""
    binding = {"metadata": {"name": pod["metadata"]["name"]}, "target": {"kind": "Node", "name": NODE}}
    _allow(client.post(f"{_path(pod)}/binding", json=binding), *RACES)


def report(client: httpx.Client, pod: Pod, address: str, health: Health = READY) -> None:
    """What a kubelet says of a pod; the address must be none of loopback (see `addresses`)."""
    status = {"status": _status(pod, address, health)}
    _allow(client.patch(f"{_path(pod)}/status", json=status, headers=MERGE), *RACES)


def release(client: httpx.Client, pod: Pod) -> None:
    """What a kubelet does when the last process of a deleted pod has ended."""
    options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
    _allow(client.request("DELETE", _path(pod), json=options), *RACES)


def _allow(answer: httpx.Response, *statuses: int) -> None:
    if answer.status_code not in statuses:
        answer.raise_for_status()


def _path(pod: Pod) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _address_of(pod: Pod) -> str:
    address: str = pod["status"].get("podIP", "")
    return address


def _reported(pod: Pod, health: Health) -> bool:
    """Whether the pod's status says this already; if not, each report moves its transition times."""
    containers = pod["status"].get("containerStatuses", ())
    return bool(containers) and all(
        container["ready"] == (health.ready and not health.waiting)
        and container["state"].get("waiting", {}).get("reason", "") == health.waiting
        and container["restartCount"] == health.restarts
        for container in containers
    )


def _status(pod: Pod, address: str, health: Health) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = health.ready and not health.waiting
    conditions = {"PodScheduled": True, "Initialized": True, "ContainersReady": ready, "Ready": ready}
    state = {"waiting": {"reason": health.waiting}} if health.waiting else {"running": {"startedAt": now}}
    return {
        "phase": "Pending" if health.waiting and not health.restarts else "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": [
            {"type": kind, "status": str(holds), "lastTransitionTime": now}
            for kind, holds in conditions.items()
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": container["image"],
                "ready": ready,
                "started": not health.waiting,
                "restartCount": health.restarts,
                "state": state,
            }
            for container in pod["spec"]["containers"]
        ],
    }
