"""The testbed is a real Kubernetes: what the API server, its admission and the controllers do happens here too."""

from tests.cluster.testbed.cluster import Testbed


def test_the_version_is_the_pinned_one(cluster: Testbed, namespace: str) -> None:
    assert cluster.client().get("/version").json()["gitVersion"] == "v1.36.3"
    assert namespace in cluster.kubectl("get", "namespaces", "-o", "name").stdout
