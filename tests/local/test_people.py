"""What people do to a rollout besides watching it: approve, leave a stage out, go back."""

from pathlib import Path

from tests.local.machine import Machine, process, rollout, until


def test_a_version_waits_for_two_people_a_stage_is_left_out_and_undo_goes_back(tmp_path: Path) -> None:
    document = rollout(
        [process("v1"), process("v2")],
        checks=[],
        strategy={
            "stages": [
                {"approval": {"roles": ["owner"], "quorum": 2}},
                {"canary": {"weights": ["20%"], "every": "10m"}},
                {"full": {}},
            ]
        },
    )
    with Machine(tmp_path, document) as machine, machine.load() as load:
        machine.run("set-target", "sum", "v2")
        until("it waits for approval", lambda: "approve" in machine.status()["message"])
        refused = machine.run("approve", "sum", "--role", "intern", expect=1)
        assert "owner" in refused.stderr
        machine.run("approve", "sum", "--role", "owner", actor="ann")
        assert "1 approval" in machine.status()["message"]
        assert load.answers["v2"] == 0
        machine.run("approve", "sum", "--role", "owner", actor="bob")
        until("the canary has traffic", lambda: load.answers["v2"] > 5)
        machine.run("skip-stage", "sum", "--stage", "2")
        until("v2 is promoted", lambda: machine.status()["stableVersion"] == "v2")
        machine.run("undo", "sum")
        until("v1 is back", lambda: machine.status()["stableVersion"] == "v1")
        assert machine.get("/v1/rollouts/default/sum").json()["document"]["spec"]["target"] == "v1"
        load.stop()
    load.without_loss()
