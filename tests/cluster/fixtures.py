"""Fixtures for tests on a real Kubernetes API; tests/conftest.py loads them, so every test may ask for them.

One API server serves the whole run: keep to your own `namespace`, and where an object has none (a CRD, a
ClusterRole), give it a name that no other test uses or leave it as you found it.

Nothing is built here. Where a program is missing, the tests that need it are skipped as for any other missing
program (tests/conftest.py), and told that `make cluster` builds it.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import pytest

from tests.cluster.testbed import addresses, binaries
from tests.cluster.testbed.cluster import Testbed, wait_for

ALSO_NEEDED = ("openssl", "setpriv")


def pytest_configure() -> None:
    """What `make cluster` built is on the PATH of the tests."""
    found = {
        str(path.parent): None
        for program in (*binaries.PACKAGES, *binaries.TOOLS)
        if (path := binaries.find(program))
    }
    os.environ["PATH"] = os.pathsep.join([*found, os.environ.get("PATH", "")])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that uses `cluster`, itself or through another fixture, needs the programs it is made of."""
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.needs(*binaries.PACKAGES, *ALSO_NEEDED))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Testbed]:
    """The run's Kubernetes API: etcd, kube-apiserver, kube-controller-manager; no node."""
    with Testbed() as running:
        yield running


@pytest.fixture(scope="session")
def gateway_api(cluster: Testbed) -> Testbed:
    """The cluster with the Gateway API's CRDs (standard channel) installed."""
    cluster.kubectl("apply", "--server-side", "--filename", str(binaries.gateway_api_crds()))
    cluster.kubectl(
        "wait", "--for=condition=Established", "--timeout=90s", "crd/httproutes.gateway.networking.k8s.io"
    )
    return cluster


@pytest.fixture(scope="session")
def pod_address() -> Callable[[], str]:
    """Gives a new address at each call, that this machine may bind and the API server lets a pod have."""
    if not addresses.local():
        pytest.skip(f"{addresses.RANGE} is not local to this machine: {addresses.HOW}")
    return addresses.take


def _exists(client: httpx.Client, path: str) -> bool:
    return client.get(path).status_code == 200


_numbers = itertools.count(1)


@pytest.fixture
def namespace(cluster: Testbed) -> Iterator[str]:
    """A namespace of the test's own, ready for pods and quiet; its deletion is asked for and not waited for."""
    name = f"test-{next(_numbers)}"
    client = cluster.client()
    client.post("/api/v1/namespaces", json={"metadata": {"name": name}}).raise_for_status()
    for given in ("serviceaccounts/default", "configmaps/kube-root-ca.crt"):
        path = f"/api/v1/namespaces/{name}/{given}"
        wait_for(partial(_exists, client, path), f"the controller-manager makes {path}")
    yield name
    client.delete(f"/api/v1/namespaces/{name}")
    client.close()
