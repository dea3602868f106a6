"""Several processes of each version on this machine: one dies, all are replaced, the controller dies, and nobody notices."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.local.machine import Machine, process, rollout, until

pytestmark = pytest.mark.timeout(300)


def pids(machine: Machine) -> set[int]:
    return set(machine.pids_of_models())


def until_run(machine: Machine, count: int) -> set[int]:
    """Wait until so many model servers run; their pids."""
    found: set[int] = until(f"{count} run", lambda: len(now := pids(machine)) == count and now, 120)
    return found


def until_replaced(machine: Machine, before: set[int]) -> None:
    """Wait until as many run as before, none of which ran then."""
    until("all are replaced", lambda: len(now := pids(machine)) == len(before) and not now & before, 120)


def several(replicas: int, *options: str, **spec: Any) -> dict[str, Any]:
    """v1 and v2 with so many processes each, which end at once when told to: only a drain saves their requests."""
    versions = [process("v1", *options), process("v2", *options)]
    for version in versions:
        version["process"]["stopGrace"] = "0s"
    return rollout(versions, replicas=replicas, **spec)


def test_one_of_three_is_killed_the_others_serve_and_it_comes_back(tmp_path: Path) -> None:
    with Machine(tmp_path, several(3)) as machine, machine.load(rate=20.0) as load:
        before = until_run(machine, 3)
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        until("its place is taken", lambda: len(found := pids(machine)) == 3 and killed not in found)
        assert len(pids(machine) & before) == 2
        sent = load.sent
        until("more requests", lambda: load.sent > sent + 50)
        load.stop()
    # What the killed process was answering is lost with it: less than a third of one second's requests.
    assert len(load.lost) + sum(load.causes.values()) <= 6
    assert not load.mixed


def test_a_restart_under_load_replaces_every_process_and_no_request_fails(tmp_path: Path) -> None:
    with Machine(tmp_path, several(3, "--slow-s", "0.2")) as machine, machine.load(rate=30.0) as load:
        before = until_run(machine, 3)
        machine.run("restart", "sum", "--reason", "it leaks")
        until_replaced(machine, before)
        machine.phase_is("Healthy")
        load.stop()
        assert machine.status()["stableVersion"] == "v1"
    load.without_loss()


def test_the_controller_is_killed_amid_a_restart_and_the_next_one_ends_it(tmp_path: Path) -> None:
    with Machine(tmp_path, several(3)) as machine, machine.load() as load:
        before = until_run(machine, 3)
        machine.run("restart", "sum")
        until("some are replaced", lambda: 0 < len(pids(machine) & before) < 3)
        machine.kill()
        sent = load.sent
        until("the routers serve without it", lambda: load.sent > sent + 50)
        machine.start()
        until_replaced(machine, before)
        machine.phase_is("Healthy")
        load.stop()
    load.without_loss()


def test_replicas_follow_the_spec_while_requests_flow(tmp_path: Path) -> None:
    with Machine(tmp_path, several(1)) as machine, machine.load() as load:
        for replicas in (3, 1):
            machine.write(several(replicas))
            machine.run("apply", "-f", str(machine.file))
            until_run(machine, replicas)
            machine.phase_is("Healthy")
        load.stop()
    load.without_loss()


def test_the_canary_has_the_replicas_its_share_needs_and_stable_stays_whole(tmp_path: Path) -> None:
    stages = [{"canary": {"weights": ["25%"], "every": "10m"}}, {"approval": {}}, {"full": {}}]
    document = several(
        4,
        checks=[],
        strategy={"stages": stages},
        capacity={"drain": "1s", "progressDeadline": "2m", "scaleWithWeight": True},
    )
    with Machine(tmp_path, document) as machine, machine.load() as load:
        until_run(machine, 4)
        machine.run("set-target", "sum", "v2")
        until("the candidate has traffic", lambda: load.answers["v2"] > 0)
        assert len(pids(machine)) == 5
        machine.run("promote", "sum")
        until_run(machine, 8)
        machine.run("approve", "sum")
        until("v2 is stable", lambda: machine.status()["stableVersion"] == "v2", 120)
        load.stop()
    load.without_loss()


def test_a_replacement_that_does_not_come_up_leaves_the_old_ones_serving_and_is_named(tmp_path: Path) -> None:
    delay = tmp_path / "delay"
    delay.write_text("0")
    document = several(2)
    for version in document["spec"]["versions"]:
        words = " ".join(version["process"]["command"])
        command = ["sh", "-c", f"exec {words} --ready-after $(cat {delay})"]
        version["process"]["command"] = command
    with Machine(tmp_path, document) as machine, machine.load() as load:
        before = until_run(machine, 2)
        delay.write_text("9999")
        machine.run("restart", "sum")
        until("it is said", lambda: "answers 503" in machine.status()["message"])
        status = machine.status()
        assert status["phase"] == "Healthy"
        assert "v1 serves everything; 2 of 2 ready; 2 still to be replaced; replica 2: " in status["message"]
        (new,) = pids(machine) - before
        assert before < pids(machine)
        delay.write_text("0")
        os.kill(new, signal.SIGKILL)
        until_replaced(machine, before)
        until("nothing is missing", lambda: machine.status()["message"] == "v1 serves everything")
        load.stop()
    load.without_loss()
