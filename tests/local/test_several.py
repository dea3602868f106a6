"""A/B by request, several candidates and several shadows at once, with real processes and live traffic."""

from pathlib import Path

from tests.local.machine import Machine, process, rollout, until

BETA = {"headers": [{"name": "x-beta", "exact": "1"}]}
WIDE = {
    "name": "errors",
    "metric": "requests.errors",
    "noWorseThan": {"ratio": 1.2, "plus": "10pp"},
    "minRequests": 10,
}


def test_only_requests_that_match_reach_the_candidate_half_of_them_at_random_and_then_it_is_promoted(
    tmp_path: Path,
) -> None:
    stages = [
        {"match": BETA | {"share": "50%", "duration": "2s", "checks": ["errors"]}},
        {"approval": {}},
        {"full": {"bake": "0s", "checks": []}},
    ]
    document = rollout([process("v1"), process("v2")], checks=[WIDE], strategy={"stages": stages})
    with Machine(tmp_path, document) as machine, machine.load(rate=100.0, beta=2) as load:
        machine.run("set-target", "sum", "v2")
        until("people are asked", lambda: (machine.status()["stage"] or {}).get("kind") == "approval", 90.0)
        among, matched = load.answers["v2"], load.beta_answers["v2"]
        machine.run("approve", "sum")
        machine.run("status", "sum", "--wait-for", "promoted", "--timeout", "60s")
        load.stop()
    assert among == matched > 0, "somebody who did not match got the candidate"
    assert load.beta_answers["v1"] > 0, "the candidate got all that match, not half"
    load.without_loss()


def test_a_candidate_that_fails_those_that_match_is_rolled_back_and_nobody_else_saw_it(
    tmp_path: Path,
) -> None:
    stages = [
        {"match": BETA | {"share": "50%", "duration": "60s", "checks": ["errors"]}},
        {"full": {"checks": []}},
    ]
    document = rollout(
        [process("v1"), process("v2", "--fail", "0.7")], checks=[WIDE], strategy={"stages": stages}
    )
    with Machine(tmp_path, document) as machine, machine.load(rate=100.0, beta=2) as load:
        machine.run("set-target", "sum", "v2", "--wait", "--timeout", "90s", expect=1)
        shown = machine.phase_is("RolledBack")
        load.stop()
    assert load.failed["v2"] > 0
    assert load.answers["v2"] == load.beta_answers["v2"]
    assert shown["stableVersion"] == "v1"
    load.without_loss()


def test_a_rival_that_fails_leaves_alone_and_the_target_goes_on_to_be_promoted(tmp_path: Path) -> None:
    stages = [
        {"canary": {"weights": ["30%"], "every": "5s", "to": ["v2", "v3"], "checks": ["errors"]}},
        {"full": {"bake": "0s", "checks": []}},
    ]
    versions = [process("v1"), process("v2"), process("v3", "--fail", "0.7")]
    document = rollout(versions, checks=[WIDE], strategy={"stages": stages})
    with Machine(tmp_path, document) as machine, machine.load(rate=100.0) as load:
        machine.run("set-target", "sum", "v2", "--wait", "--timeout", "90s")
        shown = machine.phase_is("Healthy")
        load.stop()
    assert load.failed["v3"] > 0, "the rival had no traffic"
    assert [failed["version"] for failed in shown["failed"]] == ["v3"]
    assert shown["stableVersion"] == "v2"
    load.without_loss()


def test_two_shadows_are_compared_at_once_and_the_one_that_answers_otherwise_leaves(tmp_path: Path) -> None:
    stages = [
        {"shadow": {"sample": "100%", "to": ["v2", "v3"], "duration": "40s", "checks": ["agree"]}},
        {"full": {"bake": "0s", "checks": []}},
    ]
    agree = {"name": "agree", "metric": "shadow.disagreement", "max": "10%", "minRequests": 50}
    versions = [process("v1"), process("v2"), process("v3", "--wrong", "0.6")]
    document = rollout(versions, checks=[agree], strategy={"stages": stages})
    with Machine(tmp_path, document) as machine, machine.load(rate=80.0) as load:
        machine.run("set-target", "sum", "v2", "--wait", "--timeout", "90s")
        shown = machine.phase_is("Healthy")
        load.stop()
    assert [failed["version"] for failed in shown["failed"]] == ["v3"]
    assert "v3" not in load.answers, "a shadow answered a user"
    assert shown["stableVersion"] == "v2"
    load.without_loss()
