"""Each rollout's router has files of its own."""

from pathlib import Path

from controller.adapters.processes.router import RouterCommand


def files(rollout: str) -> set[Path]:
    run = Path("/state/routers") / rollout.replace("/", ".")
    command = RouterCommand(
        rollout, run, "http://127.0.0.1:1", Path("/token"), "127.0.0.1:0", "127.0.0.1:0", 1
    )
    return {command.run, command.ready_file, command.note_file, command.log_file}


def test_two_rollouts_of_one_namespace_share_no_file() -> None:
    assert len(files("default/fraud") | files("default/toxicity") | files("other/fraud")) == 12
