"""A model that is slow at first, on this machine: no user meets it before it is warm."""

from pathlib import Path

import pytest

from tests.local.machine import Machine, process, rollout, until

pytestmark = pytest.mark.timeout(300)

REQUEST = {
    "path": "/v2/models/sum/infer",
    "body": {"inputs": [{"name": "x", "datatype": "INT64", "shape": [3], "data": [1, 2, 3]}]},
}
FLIP = {"blueGreen": {"bake": "2s"}}


def test_a_cold_model_is_warmed_up_by_inline_requests_before_anybody_is_sent_there(tmp_path: Path) -> None:
    warmup = {
        "requests": {"from": "inline", "inline": [REQUEST], "count": 60},
        "until": {"p95": "400ms", "stableFor": "2s"},
        "maxWait": "4m",
    }
    document = rollout(
        [process("v1"), process("v2", "--cold", "60")], checks=[], strategy=FLIP, warmup=warmup
    )
    with Machine(tmp_path, document) as machine, machine.load() as load:
        machine.run("set-target", "sum", "v2")
        until("v2 warms up", lambda: "v2 warms up: p95 " in machine.status()["message"])
        before = load.answers["v2"]
        until("v2 is stable", lambda: machine.status()["stableVersion"] == "v2", 120)
        history = machine.run("history", "sum").stdout
        load.stop()
    assert before == 0
    assert load.answers["v2"] > 0
    assert "it is ready and warm (p95 " in history
    load.without_loss()


def test_the_requests_that_an_earlier_comparison_recorded_warm_the_next_version_up(tmp_path: Path) -> None:
    document = rollout(
        [process("v1"), process("v2"), process("v3", "--cold", "30")],
        checks=[{"name": "agree", "metric": "shadow.disagreement", "max": "10%", "minRequests": 30}],
        strategy={"stages": [{"shadow": {"sample": "100%", "minPairs": 30}}, {"full": {}}]},
        capture={"store": "full", "keep": {"agreements": "100%"}},
    )
    warmup = {
        "requests": {"from": "recorded", "path": REQUEST["path"], "count": 40},
        "until": {"p95": "400ms", "stableFor": "2s"},
        "maxWait": "4m",
    }
    with Machine(tmp_path, document) as machine, machine.load():
        machine.run("set-target", "sum", "v2", "--wait", "--timeout", "90s")
        document["spec"] |= {"target": "v3", "warmup": warmup}
        machine.write(document)
        machine.run("apply", "-f", str(machine.file))
        told = until("v3 is warm", lambda: _told(machine, "Warmed"), 120)
    assert "v3 is warm after" in told


def _told(machine: Machine, reason: str) -> str:
    """The message of the newest event with this reason, "" if there is none."""
    events = machine.get("/v1/rollouts/default/sum/events").json()["items"]
    return next((event["message"] for event in events if event["reason"] == reason), "")
