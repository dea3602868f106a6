"""Pods that no node runs appear as those of a real one would: in the Deployment, in EndpointSlices, and answering."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.cluster.testbed.cluster import Testbed, wait_for
from tests.cluster.testbed.kubelet import READY, UNREADY, Health, Kubelet, Pod

LABELS = {"app": "model"}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "model"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": LABELS},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {
                "containers": [{"name": "model", "image": "model:1", "ports": [{"containerPort": 8080}]}]
            },
        },
    },
}


def service(port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "model"},
        "spec": {"selector": LABELS, "ports": [{"port": 80, "targetPort": port}]},
    }


def deploy(cluster: Testbed, namespace: str, *, port: int = 8080) -> None:
    cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=DEPLOYMENT)
    cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=service(port))


def pods(client: httpx.Client, namespace: str) -> list[Pod]:
    found: list[Pod] = client.get(f"/api/v1/namespaces/{namespace}/pods").json()["items"]
    return found


def endpoints(client: httpx.Client, namespace: str) -> dict[str, bool]:
    """Address to readiness, of all EndpointSlices of the namespace."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    answer: dict[str, Any] = client.get(path).json()
    published = [endpoint for one in answer["items"] for endpoint in one["endpoints"] or ()]
    return {endpoint["addresses"][0]: endpoint["conditions"]["ready"] for endpoint in published}


def test_without_a_node_a_deployment_has_a_replica_set_and_pods_that_wait(
    cluster: Testbed, namespace: str
) -> None:
    client = cluster.client()
    deploy(cluster, namespace)
    found = wait_for(lambda: len(p := pods(client, namespace)) == 2 and p, "two pods")
    assert {pod["metadata"]["ownerReferences"][0]["kind"] for pod in found} == {"ReplicaSet"}
    assert {pod["status"]["phase"] for pod in found} == {"Pending"}
    assert not any("nodeName" in pod["spec"] for pod in found)
    assert endpoints(client, namespace) == {}


def test_pods_of_the_kubelet_make_the_deployment_available_and_the_slices_full(
    cluster: Testbed, namespace: str, pod_address: Callable[[], str]
) -> None:
    client = cluster.client()
    deploy(cluster, namespace)
    with Kubelet(cluster, namespace, address=lambda pod: pod_address()):
        cluster.kubectl("-n", namespace, "rollout", "status", "deployment/model", "--timeout=90s")
        wait_for(lambda: list(endpoints(client, namespace).values()) == [True, True], "two ready endpoints")
        assert set(endpoints(client, namespace)) == {
            pod["status"]["podIP"] for pod in pods(client, namespace)
        }
        cluster.kubectl("-n", namespace, "scale", "deployment/model", "--replicas=1")
        wait_for(lambda: len(pods(client, namespace)) == 1, "the deleted pod is let go of")
        wait_for(lambda: len(endpoints(client, namespace)) == 1, "one endpoint")


def test_the_health_of_pods_is_the_tests_to_say_at_any_time(cluster: Testbed, namespace: str) -> None:
    client = cluster.client()
    health = [UNREADY]
    deploy(cluster, namespace)

    def readiness() -> set[bool]:
        return set(endpoints(client, namespace).values())

    with Kubelet(cluster, namespace, health=lambda pod: health[0]):
        wait_for(lambda: readiness() == {False}, "endpoints that are not ready")
        health[0] = READY
        wait_for(lambda: readiness() == {True}, "ready endpoints")
        health[0] = Health(waiting="CrashLoopBackOff", restarts=3)
        wait_for(lambda: readiness() == {False}, "endpoints of a crash loop")
        listed = cluster.kubectl("-n", namespace, "get", "pods").stdout
        wait_for(
            lambda: "CrashLoopBackOff   3" in cluster.kubectl("-n", namespace, "get", "pods").stdout, listed
        )


@contextmanager
def answering(address: str, text: str) -> Iterator[int]:
    """The port of a server on that address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer((address, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_server_of_the_test_answers_at_the_address_that_the_slice_publishes(
    cluster: Testbed, namespace: str, pod_address: Callable[[], str]
) -> None:
    address = pod_address()
    with answering(address, "42") as port, Kubelet(cluster, namespace, address=lambda pod: address):
        deploy(cluster, namespace, port=port)
        client = cluster.client()
        wait_for(lambda: endpoints(client, namespace) == {address: True}, "the address in a slice")
        assert httpx.get(f"http://{address}:{port}/", trust_env=False).text == "42"
