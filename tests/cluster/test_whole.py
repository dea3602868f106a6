"""The main job on a real API server: kubectl apply, a real router, real model servers, live traffic."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.testbed.cluster import Testbed
from tests.cluster.testbed.programs import Program, free_port
from tests.cluster.whole import Whole, install, rollout, until

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def whole(cluster: Testbed, namespace: str, tmp_path: Path) -> Iterator[Whole]:
    install(cluster)
    with Whole(cluster, namespace, tmp_path) as made:
        made.start()
        yield made


@contextmanager
def ending(program: Program) -> Iterator[Program]:
    """The program, started, until the block ends."""
    program.start()
    try:
        yield program
    finally:
        program.stop()


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


def test_a_controller_killed_in_the_middle_is_followed_by_another_that_goes_on(whole: Whole) -> None:
    whole.apply(rollout([whole.model("v1"), whole.model("v2")]))
    with whole.load() as load:
        whole.target("v2")
        until("v2 has some share", lambda: load.answers["v2"] > 5, 60, whole.says)
        whole.controller.kill()
        whole.controller.start()
        until("v2 is promoted", lambda: whole.status().get("stableVersion") == "v2", 120, whole.says)
        shown = whole.phase_is("Healthy")
        load.stop()
    load.without_loss()
    raised = [one for one in reversed(shown["decisions"]) if one["reason"] == "WeightRaised"]
    assert [one["weightAfter"] for one in raised] == ["20%", "50%", "100%"]
    assert raised[0]["epoch"] < shown["decisions"][0]["epoch"]


def test_a_controller_told_to_stop_lets_the_next_one_lead_at_once(whole: Whole) -> None:
    whole.apply(rollout([whole.model("v1")]))
    whole.phase_is("Healthy")
    with ending(whole.program_of_controller("second", free_port())) as second:
        until("it waits", lambda: "another leads" in second.log.read_text(), 60, whole.says)
        whole.controller.stop()
        until("it leads", lambda: "leading with epoch" in second.log.read_text(), 60, second.log.read_text)


def test_a_poisonous_rollout_says_so_and_leaves_the_others_alone(whole: Whole) -> None:
    good = rollout([whole.model("v1")])
    bad = {**good, "metadata": {"name": "bad"}}
    whole.apply(good)
    whole.apply(bad)
    for name in ("sum", "bad"):
        until(f"{name} is seen", lambda name=name: whole.status(name).get("state"), 60, whole.says)
    whole.controller.stop()
    damage = json.dumps({"status": {"state": "no such thing", "stableVersion": "v0"}})
    whole.kubectl("patch", "mro", "bad", "--subresource=status", "--type=merge", "--patch", damage)
    whole.controller.start()
    shown = whole.phase_is("Stalled", name="bad")
    assert "cannot be read" in shown["message"]
    assert "v0" in shown["message"]
    assert shown["state"] == "no such thing"
    assert whole.phase_is("Healthy")["stableVersion"] == "v1"


def test_a_deleted_rollout_brings_all_traffic_back_first_and_then_goes_with_its_actions(whole: Whole) -> None:
    slow = {"canary": {"weights": ["20%", "50%"], "every": "10m"}}
    whole.apply(rollout([whole.model("v1"), whole.model("v2")], strategy=slow))
    with whole.load() as load:
        whole.target("v2")
        until("v2 has some share", lambda: load.answers["v2"] > 5, 60, whole.says)
        paused = whole.act("pause", "v2")
        whole.kubectl("wait", "--for=jsonpath={.status.phase}=Done", "--timeout=60s", f"mra/{paused}")
        whole.kubectl("delete", "mro", "sum", "--timeout=60s")
        before, sent = load.answers["v2"], load.sent
        until("some more traffic", lambda: load.sent >= sent + 100)
        load.stop()
    assert load.answers["v2"] == before
    load.without_loss()
    assert whole.kubectl("get", "mra", "--output", "name").stdout == ""


def test_without_the_api_server_nothing_is_raised_and_traffic_goes_on(whole: Whole) -> None:
    whole.apply(rollout([whole.model("v1"), whole.model("v2")]))
    with whole.load() as load:
        whole.target("v2")
        until("v2 has some share", lambda: load.answers["v2"] > 5, 60, whole.says)
        whole.cluster.stop_apiserver(kill=True)
        try:
            sent = load.sent
            until("traffic goes on", lambda: load.sent >= sent + 200)
        finally:
            whole.cluster.start_apiserver()
        if not whole.controller.alive:  # it was away for longer than a leader may go on without its lease
            whole.controller.start()
        until("v2 is promoted", lambda: whole.status().get("stableVersion") == "v2", 120, whole.says)
        shown = whole.phase_is("Healthy")
        load.stop()
    load.without_loss()
    raised = [one["weightAfter"] for one in reversed(shown["decisions"]) if one["reason"] == "WeightRaised"]
    assert raised == ["20%", "50%", "100%"]


def test_a_rollback_takes_six_writes_and_rest_takes_none(whole: Whole) -> None:
    slow = {"canary": {"weights": ["20%", "50%"], "every": "10m"}}
    whole.apply(rollout([whole.model("v1"), whole.model("v2")], strategy=slow))
    with whole.load() as load:
        whole.target("v2")
        until("v2 has some share", lambda: load.answers["v2"] > 5, 60, whole.says)
        before = len(whole.writes())
        name = whole.act("rollback", "v2")
        whole.phase_is("RolledBack")
        whole.kubectl("wait", "--for=jsonpath={.status.phase}=Done", "--timeout=60s", f"mra/{name}")
        sent = load.sent
        until("what may wait was written", lambda: load.sent >= sent + 400)
        written = whole.writes()
        sent = load.sent
        until("a while of rest", lambda: load.sent >= sent + 600)
        load.stop()
    # A write of clocks alone may have been due just then.
    assert len(written) - before <= 7, written[before:]
    assert sorted(written[before:])[-2:] == ["patch rolloutactions/status"] * 2
    assert whole.writes() == written
