"""The main job on a real API server: kubectl apply, a real router, real model servers, live traffic."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.testbed.cluster import Testbed
from tests.cluster.whole import Whole, install, rollout, until


@pytest.fixture
def whole(cluster: Testbed, namespace: str, tmp_path: Path) -> Iterator[Whole]:
    install(cluster)
    with Whole(cluster, namespace, tmp_path) as made:
        made.start()
        yield made


def test_a_good_version_is_ramped_and_promoted_and_no_request_is_lost(whole: Whole) -> None:
    whole.apply(rollout([whole.model("v1"), whole.model("v2")]))
    with whole.load() as load:
        whole.target("v2")
        until("v2 is promoted", lambda: whole.status().get("stableVersion") == "v2", 90, whole.says)
        shown = whole.phase_is("Healthy")
        load.stop()
    assert load.answers["v1"] > 0
    assert load.answers["v2"] > 0
    load.without_loss()
    assert shown["decisions"][0]["reason"] == "Promoted"
    assert shown["routers"] == ["r1"]
    whole.kubectl("wait", "--for=condition=Ready", "--timeout=30s", "mro/sum")


def test_a_version_that_fails_live_is_rolled_back_and_gets_no_request_afterwards(whole: Whole) -> None:
    whole.apply(rollout([whole.model("v1"), whole.model("v2", "--fail", "0.7")]))
    with whole.load(rate=60.0) as load:
        whole.target("v2")
        shown = whole.phase_is("RolledBack")
        before, sent = load.answers["v2"], load.sent
        until("some more traffic", lambda: load.sent >= sent + 150)
        load.stop()
    assert load.failed["v2"] > 0
    assert load.answers["v2"] == before
    assert shown["stableVersion"] == "v1"
    assert not load.lost
    assert "v2" in shown["message"]


def test_an_action_by_kubectl_rolls_back_and_says_done(whole: Whole) -> None:
    slow = {"canary": {"weights": ["20%", "50%"], "every": "10m"}}
    whole.apply(rollout([whole.model("v1"), whole.model("v2")], strategy=slow))
    with whole.load() as load:
        whole.target("v2")
        until("v2 has some share", lambda: load.answers["v2"] > 5, 60, whole.says)
        name = whole.act("rollback", "v2", "p99 doubled")
        whole.kubectl("wait", "--for=jsonpath={.status.phase}=Done", "--timeout=60s", f"mra/{name}")
        shown = whole.phase_is("RolledBack")
        load.stop()
    assert "p99 doubled" in shown["message"]
    assert shown["decisions"][0]["actor"] == "admin"
    load.without_loss()
    refused = whole.act("rollback", "v9")
    whole.kubectl("wait", "--for=jsonpath={.status.phase}=Refused", "--timeout=60s", f"mra/{refused}")
    assert "v9" in whole.get("rolloutactions", refused)["status"]["message"]
