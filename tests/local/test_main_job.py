"""The main job on one machine, with real processes, a real router and live traffic, through the command."""

from pathlib import Path

import httpx

from tests.local.machine import Machine, process, rollout, until


def test_a_good_version_is_ramped_and_promoted_and_no_request_is_lost(tmp_path: Path) -> None:
    document = rollout([process("v1"), process("v2")])
    with Machine(tmp_path, document) as machine, machine.load() as load:
        machine.run("set-target", "sum", "v2", "--wait", "--timeout", "90s")
        shown = machine.phase_is("Healthy")
        load.stop()
    assert shown["stableVersion"] == "v2"
    assert load.answers["v1"] > 0
    assert load.answers["v2"] > 0
    load.without_loss()


def test_a_version_that_fails_live_is_rolled_back_and_gets_no_request_afterwards(tmp_path: Path) -> None:
    document = rollout([process("v1"), process("v2", "--fail", "0.7")])
    with Machine(tmp_path, document) as machine, machine.load(rate=80.0) as load:
        machine.run("set-target", "sum", "v2", "--wait", "--timeout", "90s", expect=1)
        shown = machine.phase_is("RolledBack")
        before = load.answers["v2"]
        sent = load.sent
        machine.run("status", "sum")
        while load.sent < sent + 200:
            machine.status()
        load.stop()
    assert load.failed["v2"] > 0
    assert load.answers["v2"] == before
    assert shown["stableVersion"] == "v1"
    load.without_loss()


def test_a_version_that_answers_otherwise_in_shadow_never_answers_a_user(tmp_path: Path) -> None:
    document = rollout(
        [process("v1"), process("v3", "--wrong", "0.5")],
        checks=[{"name": "agree", "metric": "shadow.disagreement", "max": "10%", "minRequests": 50}],
        strategy={
            "stages": [
                {"shadow": {"sample": "100%", "duration": "2s", "checks": ["agree"]}},
                {"full": {"bake": "1s"}},
            ]
        },
    )
    with Machine(tmp_path, document) as machine, machine.load() as load:
        machine.run("set-target", "sum", "v3", "--wait", "--timeout", "90s", expect=1)
        machine.phase_is("RolledBack")
        load.stop()
        report = machine.run("report", "sum", "--state", str(machine.state))
    assert "v3" not in load.answers
    assert "disagree" in report.stdout.lower()
    load.without_loss()


def test_a_flip_moves_everyone_and_an_operators_rollback_brings_the_old_version_back_at_once(
    tmp_path: Path,
) -> None:
    document = rollout([process("v1"), process("v2")], checks=[], strategy={"blueGreen": {"bake": "1s"}})
    with Machine(tmp_path, document) as machine, machine.load(rate=100.0) as load:
        machine.run("set-target", "sum", "v2", "--wait", "--timeout", "60s")
        flipped = machine.status()
        told = machine.run("rollback", "sum", "--reason", "wrong prices")
        after = load.answers["v2"]
        sent = load.sent
        while load.sent < sent + 100:
            machine.status()
        load.stop()
        machine.run("rollback", "sum", "--version", "v2")
        refused = machine.run("rollback", "sum", "--version", "v9", expect=1)
    assert flipped["stableVersion"] == "v2"
    assert "v2" in told.stdout
    assert "v9" in refused.stderr
    assert load.answers["v2"] - after <= 2, "what was in flight when the routers acknowledged"
    load.without_loss()


def test_the_router_says_its_numbers_in_prometheus_format(tmp_path: Path) -> None:
    document = rollout([process("v1")])
    with Machine(tmp_path, document) as machine, machine.load() as load:
        while load.sent < 50:
            machine.status()
        load.stop()
        admin = machine.endpoint["routers"]["default/sum"]["admin"]
        text = httpx.get(f"http://{admin}/metrics", trust_env=False).text
    assert "headgate_router_requests_total{" in text
    assert 'version="v1"' in text


def test_a_rollout_applied_to_a_running_controller_gets_a_router_and_a_deleted_one_loses_it(
    tmp_path: Path,
) -> None:
    with Machine(tmp_path, rollout([process("v1")])) as machine:
        machine.phase_is("Healthy")
        second = rollout([process("w1")], target="w1", initialStable="w1")
        second["metadata"]["name"] = "second"
        machine.write(second)
        machine.run("apply", "-f", str(machine.file))
        until("it has a router", lambda: machine.endpoint["routers"].get("default/second", {}).get("listen"))
        until("it serves", lambda: '"Healthy"' in machine.get("/v1/rollouts/default/second/status").text)
        machine.run("delete", "second", "--wait", "--timeout", "60s")
        until("its router is gone", lambda: "default/second" not in machine.endpoint["routers"])
        assert machine.status()["phase"] == "Healthy"


def test_a_state_folder_deep_in_the_tree_works_as_any_other(tmp_path: Path) -> None:
    deep = tmp_path / ("project-" * 8) / ("with-long-names-" * 4)
    deep.mkdir(parents=True)
    with Machine(deep, rollout([process("v1"), process("v2")], checks=[])) as machine, machine.load() as load:
        machine.run("set-target", "sum", "v2", "--wait", "--timeout", "60s")
        load.stop()
    load.without_loss()
