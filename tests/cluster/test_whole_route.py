"""A rollout whose traffic a gateway moves, on a real API server: the gateway is a real proxy, its users are counted."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from headgate.wire.plan import Endpoint
from tests.cluster.gateway import Gateway
from tests.cluster.testbed.cluster import Testbed
from tests.cluster.testbed.programs import Program
from tests.cluster.versions import service
from tests.cluster.whole import NAME, ROOT, Whole, install, rollout, until
from tests.local.load import Load

pytestmark = pytest.mark.timeout(600)

PORT = 8080
WITHIN_S = 150.0


@contextmanager
def model_at(whole: Whole, version: str, address: str) -> Iterator[Endpoint]:
    """A model server at a pod's address, and a Service that leads to it."""
    program = Program(
        f"model-{version}",
        ["env", f"PYTHONPATH={ROOT}", "PYTHONHASHSEED=0", sys.executable, "-m", "tests.local.model",
         "--version", version, "--port", str(PORT), "--host", address],
        whole.folder,
    )  # fmt: skip
    name = f"sum-{version}"
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "web", "port": PORT}],
        "endpoints": [{"addresses": [address]}],
    }
    for one in (service(name, selector=None), slice_):
        whole.kubectl("apply", "--server-side", "--filename", "-", stdin=one)
    program.start()
    try:
        yield Endpoint(address, PORT)
    finally:
        program.kill()


def document(**spec: Any) -> dict[str, Any]:
    versions = [{"name": name, "service": {"name": f"sum-{name}", "port": 80}} for name in ("v1", "v2")]
    traffic = {"httpRoute": {"name": NAME, "gateways": [{"name": "public"}]}}
    made = rollout(versions, checks=[], traffic=traffic, **spec)
    del made["spec"]["identity"]
    return made


@pytest.fixture
def routed(
    gateway_api: Testbed, namespace: str, tmp_path: Path, pod_address: Callable[[], str]
) -> Iterator[tuple[Whole, Gateway]]:
    install(gateway_api)
    with ExitStack() as stack:
        whole = stack.enter_context(Whole(gateway_api, namespace, tmp_path))
        where = {
            f"sum-{version}": stack.enter_context(model_at(whole, version, pod_address()))
            for version in ("v1", "v2")
        }
        gateway = stack.enter_context(Gateway(gateway_api, namespace, NAME, tmp_path, where))
        whole.controller.start()
        yield whole, gateway


def overridden(whole: Whole) -> str:
    found = whole.status().get("conditions", ())
    return next((one["status"] for one in found if one["type"] == "Overridden"), "")


def warnings(whole: Whole) -> list[tuple[str, str]]:
    path = f"/apis/events.k8s.io/v1/namespaces/{whole.namespace}/events"
    with whole.cluster.client() as client:
        found = client.get(path, params={"limit": "500"}).raise_for_status().json()["items"]
    return [(one["reason"], one["note"]) for one in found if one["type"] == "Warning"]


def test_a_ramp_by_a_gateway_loses_nothing_and_an_edit_by_hand_is_told_and_left(
    routed: tuple[Whole, Gateway],
) -> None:
    whole, gateway = routed
    whole.apply(document())
    whole.phase_is("Healthy", WITHIN_S)
    with Load(gateway.url, 25.0) as load:
        whole.target("v2")
        until("v2 has some share", lambda: load.answers["sum-v2"] > 5, WITHIN_S, whole.says)
        gateway.edit({"sum-v1": 4000, "sum-v2": 6000})
        until("that is told", lambda: overridden(whole) == "True", WITHIN_S, whole.says)
        until("it waits", lambda: "somebody else changed" in whole.status()["message"], WITHIN_S, whole.says)
        sent = load.sent
        until("some more traffic", lambda: load.sent >= sent + 100, WITHIN_S)
        assert gateway.weights() == {"sum-v1": 4000, "sum-v2": 6000}, "it was fought over"
        whole.kubectl("annotate", "httproute", NAME, "headgate.dev/plan-")
        until("it is not any more", lambda: overridden(whole) == "False", WITHIN_S, whole.says)
        until("v2 is promoted", lambda: whole.status().get("stableVersion") == "v2", WITHIN_S, whole.says)
        whole.phase_is("Healthy", WITHIN_S)
        assert gateway.weights()["sum-v2"] == 10_000
        assert [reason for reason, _ in warnings(whole)].count("Overridden") == 1
        before, sent = load.answers["sum-v1"], load.sent
        until("some more traffic", lambda: load.sent >= sent + 50, WITHIN_S)
        assert load.answers["sum-v1"] == before
        load.stop()
    load.without_loss()
    raised = [one["weightAfter"] for one in whole.status()["decisions"] if one["reason"] == "WeightRaised"]
    assert raised == ["100%", "50%", "20%"]
    whole.kubectl("delete", "mro", NAME, "--timeout=60s")
    until("the route goes with its rollout", lambda: not gateway.route(), WITHIN_S, whole.says)


def test_a_route_that_stays_when_its_rollout_goes_sends_everything_to_stable_and_loses_nothing(
    routed: tuple[Whole, Gateway],
) -> None:
    whole, gateway = routed
    whole.apply(document(deletionPolicy="Orphan"))
    whole.phase_is("Healthy", WITHIN_S)
    with Load(gateway.url, 25.0) as load:
        whole.target("v2")
        until("v2 has some share", lambda: load.answers["sum-v2"] > 5, WITHIN_S, whole.says)
        whole.kubectl("delete", "mro", NAME, "--timeout=120s")
        assert gateway.weights() == {"sum-v1": 10_000}
        assert "ownerReferences" not in gateway.route()["metadata"], "it would go as garbage"
        sent = load.sent
        until("some more traffic", lambda: load.sent >= sent + 50, WITHIN_S)
        whole.apply(document(deletionPolicy="Orphan"))
        whole.phase_is("Healthy", WITHIN_S)
        assert gateway.route()["metadata"]["ownerReferences"][0]["kind"] == "ModelRollout"
        load.stop()
    load.without_loss()
