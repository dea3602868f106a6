"""Hooks and notifications with real processes: asked before traffic, across a controller's death, told afterwards."""

from pathlib import Path

from tests.controller.adapters.effects.receiver import Receiver, says
from tests.local.machine import Machine, process, rollout, until


def test_a_hook_gates_the_candidate_across_a_killed_controller_and_the_sink_is_told(tmp_path: Path) -> None:
    with Receiver() as gate, Receiver() as chat:
        gate.answers = [gate.hangs, says(204)]
        document = rollout(
            [process("v1"), process("v2")],
            checks=[],
            strategy={"canary": {"weights": ["50%"], "every": "1s"}},
            hooks=[{"name": "gate", "at": "before-traffic", "url": f"{gate.url}/gate", "timeout": "5m"}],
            notifications=[{"on": ["started", "promoted"], "to": "chat"}],
        )
        options = ("--allow-hook", f"{gate.url}/gate", "--sink", f"chat={chat.url}")
        with Machine(tmp_path, document, *options) as machine, machine.load() as load:
            machine.run("set-target", "sum", "v2")
            until("the hook is asked", lambda: gate.received)
            until("status says so", lambda: "hook gate has not answered yet" in machine.status()["message"])
            assert load.answers["v2"] == 0
            machine.kill()
            machine.start()
            until("v2 is promoted", lambda: machine.status()["stableVersion"] == "v2")
            until("the sink is told of it", lambda: len(chat.received) >= 3)
            until(
                "status has what became of each",
                lambda: (
                    [(one["name"], one["state"]) for one in machine.status()["effects"]]
                    == [("chat", "succeeded")] * 2 + [("gate", "succeeded"), ("chat", "succeeded")]
                ),
            )
            page = machine.run("status", "sum").stdout
            load.stop()
    assert "Hooks and notifications" in page
    asked = {received.headers["idempotency-key"] for received in gate.received}
    assert len(gate.received) == 2
    assert len(asked) == 1, "the same occurrence has the same key, also from the next controller"
    told = {received.body["id"]: received.body for received in chat.received}
    assert [(body["type"], body["subject"]) for body in told.values()] == [
        ("dev.headgate.rollout.started", "v1"),
        ("dev.headgate.rollout.started", "v2"),
        ("dev.headgate.rollout.promoted", "v2"),
    ]
    load.without_loss()


def test_an_address_of_this_machine_is_refused_unless_the_administrator_allowed_it(tmp_path: Path) -> None:
    with Receiver() as inside:
        document = rollout(
            [process("v1"), process("v2")],
            hooks=[{"name": "gate", "at": "before-start", "url": f"{inside.url}/secrets"}],
        )
        with Machine(tmp_path, document) as machine:
            machine.phase_is("Healthy")
            machine.run("set-target", "sum", "v2")
            until("it is refused", lambda: "hooks may not reach" in machine.status()["message"])
            assert "--allow-hook" in machine.status()["message"]
    assert inside.received == []
