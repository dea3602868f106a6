"""Processes killed while traffic flows: nobody notices, and the rollout ends where it would have ended."""

import os
import signal
from pathlib import Path

import pytest

from tests.local.load import Load
from tests.local.machine import Machine, process, rollout, until


def _flows(load: Load, requests: int) -> None:
    """Let so many more requests be sent."""
    wanted = load.sent + requests
    until(f"{requests} more requests", lambda: load.sent >= wanted)


@pytest.mark.parametrize("part", ["agent", "observer"])
def test_the_agent_or_the_observer_is_killed_and_no_request_is_lost(tmp_path: Path, part: str) -> None:
    with Machine(tmp_path, rollout([process("v1"), process("v2")])) as machine, machine.load() as load:
        machine.run("set-target", "sum", "v2")
        until("the candidate has traffic", lambda: load.answers["v2"] > 5)
        killed = machine.pids_of(part)
        assert len(killed) == 1
        os.kill(killed[0], signal.SIGKILL)
        until(f"a new {part}", lambda: [pid for pid in machine.pids_of(part) if pid != killed[0]])
        until("v2 is promoted", lambda: machine.status()["stableVersion"] == "v2", 90)
        load.stop()
    load.without_loss()


def test_the_controller_is_killed_traffic_flows_and_the_next_one_finishes_the_rollout(tmp_path: Path) -> None:
    with Machine(tmp_path, rollout([process("v1"), process("v2")])) as machine, machine.load() as load:
        machine.run("set-target", "sum", "v2")
        until("the candidate has traffic", lambda: load.answers["v2"] > 5)
        serving = machine.pids_of("proxy")
        machine.kill()
        _flows(load, 150)
        assert load.answers["v2"] > 10, "the routers keep the last plan"
        machine.start()
        until("v2 is promoted", lambda: machine.status()["stableVersion"] == "v2", 90)
        _flows(load, 50)
        load.stop()
        assert machine.pids_of("proxy") == serving, "the router was taken over, not replaced"
    load.without_loss()


def test_without_a_controller_the_routers_guard_takes_a_breaking_candidate_off(tmp_path: Path) -> None:
    document = rollout(
        [process("v1"), process("v2", "--fail", "0.9")],
        checks=[],
        strategy={"stages": [{"canary": {"weights": ["40%"], "every": "10m"}}, {"full": {}}]},
        decision={"guard": {"errors": "20%", "times": 10, "atLeast": 80}},
    )
    with Machine(tmp_path, document) as machine, machine.load(rate=100.0) as load:
        machine.run("set-target", "sum", "v2")
        until("the candidate has traffic", lambda: load.failed["v2"] > 2)
        machine.kill()
        until("the guard can have tripped", lambda: load.failed["v2"] >= 80)
        _flows(load, 200)
        before = load.answers["v2"]
        _flows(load, 200)
        assert load.answers["v2"] == before, "the guard needs no controller"
        machine.start()
        shown = machine.phase_is("RolledBack")
        load.stop()
    assert "guard" in shown["message"]
    load.without_loss()


def test_a_worker_is_killed_and_only_what_it_held_is_lost(tmp_path: Path) -> None:
    with Machine(tmp_path, rollout([process("v1")])) as machine, machine.load() as load:
        _flows(load, 50)
        os.kill(machine.pids_of("proxy")[0], signal.SIGKILL)
        _flows(load, 150)
        load.stop()
    assert len(load.lost) <= 10, "what was in flight in that instant"
    assert load.answers["v1"] >= load.sent - 10


def test_a_candidate_that_crashes_again_and_again_is_rolled_back_and_stable_serves(tmp_path: Path) -> None:
    document = rollout([process("v1"), process("v2", "--exit-after", "1", "--ready-after", "60")])
    with Machine(tmp_path, document) as machine, machine.load() as load:
        machine.run("set-target", "sum", "v2")
        shown = machine.phase_is("RolledBack")
        load.stop()
    assert "status 3" in shown["message"]
    assert load.failed["v1"] == 0
    assert not load.lost


def test_a_candidate_that_never_becomes_ready_is_rolled_back_at_its_deadline(tmp_path: Path) -> None:
    document = rollout(
        [process("v1"), process("v2", "--ready-after", "999")],
        capacity={"drain": "1s", "progressDeadline": "4s"},
    )
    with Machine(tmp_path, document) as machine, machine.load() as load:
        machine.run("set-target", "sum", "v2")
        shown = machine.phase_is("RolledBack")
        load.stop()
    assert "not become ready in time" in shown["message"]
    assert load.answers["v2"] == 0
    load.without_loss()


def test_a_model_server_that_dies_is_started_again(tmp_path: Path) -> None:
    with Machine(tmp_path, rollout([process("v1")])) as machine:
        machine.phase_is("Healthy")
        os.kill(next(machine.pids_of_models()), signal.SIGKILL)
        until("it was noticed", lambda: machine.status()["phase"] != "Healthy")
        machine.phase_is("Healthy")


def test_a_rollback_that_nobody_decides_gives_up_at_its_timeout_and_says_it_stands(tmp_path: Path) -> None:
    with Machine(tmp_path, rollout([process("v1"), process("v2")])) as machine:
        machine.phase_is("Healthy")
        assert machine.up is not None
        machine.up.send_signal(signal.SIGSTOP)
        try:
            told = machine.run("rollback", "default/sum", "--version", "v1", "--timeout", "2s", expect=2)
        finally:
            machine.up.send_signal(signal.SIGCONT)
        assert "headgate router pin" in told.stderr
