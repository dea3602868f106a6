"""When a router says that it is ready, and what it starts."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.wire.plan import Applied
from router.core.counters import DRAINING, SERVING, STARTING
from router.settings import Settings
from router.supervisor.rundir import RunDirectory, claim
from router.supervisor.sockets import Address
from router.wiring import Opened, Ready, commands
from tests.router.agent.bench import SmallWorker, make_plan

OPENED = Opened((Address("127.0.0.1", 8080),), (7,), Address("127.0.0.1", 8081), 8)


def settings(run: Path, **more: Any) -> Settings:
    return Settings(rollout="ml/fraud", listen=OPENED.listen, admin=OPENED.admin, run=run, workers=2, **more)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[RunDirectory]:
    found = claim(tmp_path / "run", workers=2)
    yield found
    found.release()


@contextlib.contextmanager
def two_workers(run: Path) -> Iterator[list[SmallWorker]]:
    workers = [SmallWorker(run, index, is_deaf=True) for index in range(2)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.close()


def test_it_is_ready_when_every_worker_serves_and_not_before(directory: RunDirectory) -> None:
    ready = Ready(settings(directory.path), directory, OPENED, None)
    assert not ready.is_ready()
    with two_workers(directory.path) as workers:
        for state in (STARTING, DRAINING):
            workers[1].become(state)
            assert not ready.is_ready()
        workers[1].become(SERVING)
        assert ready.is_ready()


def test_with_a_plan_of_its_own_it_is_ready_when_the_workers_run_that(directory: RunDirectory) -> None:
    plan = make_plan(3, 4)
    ready = Ready(settings(directory.path), directory, OPENED, plan)
    with two_workers(directory.path) as workers:
        assert not ready.is_ready()
        workers[0].block.write_applied(plan.triple)
        workers[1].block.write_applied(Applied(3, 3, 0))
        assert not ready.is_ready()
        workers[1].block.write_applied(plan.triple)
        assert ready.is_ready()


def test_the_command_lines_show_everything_but_the_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret")
    controllers = ("http://127.0.0.1:1", "http://127.0.0.1:2")
    told = settings(tmp_path, controllers=controllers, token_file=token, controller_hosts=("other",))
    lines = {one.name: " ".join(one.argv[2:]) for one in commands(told, tmp_path, OPENED, "r1")}
    assert lines == {
        "worker 0": f"router.proxy --run {tmp_path} --index 0 --fd 7",
        "worker 1": f"router.proxy --run {tmp_path} --index 1 --fd 7",
        "observer": f"router.observer --run {tmp_path}",
        "agent": (
            f"router.agent --run {tmp_path} --rollout ml/fraud --id r1 --admin-fd 8"
            f" --controller http://127.0.0.1:1 --controller http://127.0.0.1:2 --token-file {token} --controller-host other"
        ),
    }


def test_only_those_that_serve_get_the_socket_and_only_the_observer_is_nice(tmp_path: Path) -> None:
    found = {one.name: one for one in commands(settings(tmp_path), tmp_path, OPENED, "r1")}
    assert {name: one.fds for name, one in found.items()} == {
        "worker 0": (7,),
        "worker 1": (7,),
        "agent": (8,),
        "observer": (),
    }
    assert {name for name, one in found.items() if one.nice} == {"observer"}
    assert {name for name, one in found.items() if one.serves} == {"worker 0", "worker 1"}
