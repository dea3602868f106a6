"""Fixtures for tests of faults; tests/conftest.py loads them, so every test may ask for them."""

from collections.abc import Iterator

import pytest

from tests.cluster.testbed.cluster import Testbed
from tests.faults.proxy.proxy import FaultProxy
from tests.faults.scene import Versions, model_servers


@pytest.fixture
def fault_proxy(cluster: Testbed) -> Iterator[FaultProxy]:
    """A proxy of the test's own before the run's API server; without rules it changes nothing."""
    pair = cluster.authority.issue("fault-proxy")
    with FaultProxy(cluster.url, cluster.authority.certificate, pair) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def model_versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versions]:
    """Model servers that the stories of a whole run share."""
    with model_servers(tmp_path_factory.mktemp("models")) as versions:
        yield versions
