"""Warm-up requests in a ConfigMap, on a real API server: what is there is sent, and what is not is said with the remedy."""

import asyncio
import json
from pathlib import Path

import pytest

from controller.adapters.kubernetes.api import Api, Settings
from controller.adapters.kubernetes.warmrequests import WarmRequests
from controller.core.spec import WarmRequest, Warmup
from tests.cluster.testbed.cluster import Testbed
from tests.cluster.whole import Whole, install, rollout, until

WARMUP = Warmup(config_map=("fraud-warmup", "requests.json"))
REQUESTS = [{"path": "/v2/models/sum/infer", "body": {"x": 1}}]


def found(
    cluster: Testbed, namespace: str, user: str = "admin", warmup: Warmup = WARMUP
) -> tuple[WarmRequest, ...] | str:
    async def ask() -> tuple[WarmRequest, ...] | str:
        api = Api.connect(Settings(kubeconfig=str(cluster.kubeconfig(user))))
        try:
            return await WarmRequests(api).found(f"{namespace}/fraud", warmup)
        finally:
            await api.close()

    return asyncio.run(ask())


def config_map(entry: str, text: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "fraud-warmup"},
        "data": {entry: text},
    }


def test_what_a_config_map_has_is_found_and_what_it_lacks_is_said(cluster: Testbed, namespace: str) -> None:
    assert "is not there: create it" in found(cluster, namespace)
    for document, said in (
        (config_map("other.json", "[]"), "has no requests.json"),
        (config_map("requests.json", "[{}]"), "cannot be sent: [0].path"),
    ):
        cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=document)
        assert said in found(cluster, namespace)
    cluster.kubectl(
        "-n", namespace, "apply", "-f", "-", stdin=config_map("requests.json", json.dumps(REQUESTS))
    )
    assert found(cluster, namespace) == (WarmRequest("/v2/models/sum/infer", b'{"x":1}'),)
    assert "cannot be read" in found(cluster, namespace, user="bob")


def test_recorded_requests_are_said_to_be_out_of_reach_there(cluster: Testbed, namespace: str) -> None:
    assert "kept by the routers" in found(cluster, namespace, warmup=Warmup(recorded_path="/infer"))


@pytest.mark.timeout(400)
def test_a_version_waits_for_the_config_map_and_is_promoted_once_it_was_warmed_up_by_it(
    cluster: Testbed, namespace: str, tmp_path: Path
) -> None:
    install(cluster)
    tensor = {"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}
    request = {"path": "/v2/models/sum/infer", "body": {"inputs": [tensor]}}
    warmup = {
        "requests": {"from": "configMap", "configMap": {"name": "fraud-warmup"}, "count": 20},
        "until": {"p95": "5s", "stableFor": "1s"},
    }
    with Whole(cluster, namespace, tmp_path) as whole:
        whole.start()
        whole.apply(rollout([whole.model("v1"), whole.model("v2")], warmup=warmup))
        with whole.load() as load:
            whole.target("v2")
            until(
                "it is said", lambda: "is not there: create it" in json.dumps(whole.status()), 90, whole.says
            )
            assert not load.answers["v2"]
            whole.kubectl("apply", "-f", "-", stdin=config_map("requests.json", json.dumps([request])))
            until("v2 is promoted", lambda: whole.status().get("stableVersion") == "v2", 120, whole.says)
            load.stop()
        load.without_loss()
