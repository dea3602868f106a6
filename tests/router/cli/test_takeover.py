"""One router takes over from another that runs: the sockets, the plan and the name, and no request is lost."""

import os
import signal
import socket
import threading
from pathlib import Path

from tests.router.agent.bench import DEADLINE_S, SmallController, until
from tests.router.cli.served import Router, Stage, call, make_plan
from tests.router.cli.test_router import Client, is_alive


def counted(router: Router) -> float:
    """Requests of v1 since the router's life began."""
    said = router.get("admin", "/metrics")[1].splitlines()
    wanted = 'headgate_router_requests_total{class="2xx",rollout="ml/fraud",version="v1"}'
    return float(next(line.rpartition(" ")[2] for line in said if line.startswith(wanted)))


def test_no_request_is_lost_when_a_router_is_replaced_again_and_again(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "clients.sock"
    words = ("--plan", str(stage.plan_file), "--workers", "2", "--listen", f"unix:{path}")
    old = stage.router().start(*words)
    listen, admin, lives = old.ready["listen"], old.ready["admin"], [old]
    clients = [Client(listen) for _ in range(3)]
    for _ in range(3):
        clients[0].more()
        lives.append(stage.router().start(*words, "--take-over"))
        assert lives[-2].process is not None
        assert lives[-2].process.wait(DEADLINE_S) == 0
        assert (lives[-1].ready["listen"], lives[-1].ready["admin"]) == (listen, admin)
        assert lives[-1].ready["pid"] == lives[-1].process.pid
    for client in clients:
        client.more()
        client.close()
        assert client.failed == []
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(path))
    assert lives[-1].stop() == 0
    assert not path.exists()


def test_a_request_under_way_is_answered_by_the_old_one_while_the_new_one_serves(stage: Stage) -> None:
    old, model = stage.serving(), stage.servers["v1"]
    answers: list[tuple[int, str]] = []
    asking = threading.Thread(target=lambda: answers.append(old.get(path="/slow")))
    asking.start()
    assert model.is_asked_slowly.wait(DEADLINE_S)
    stage.write_plan(generation=2, all_to="v2")
    new = stage.serving("--take-over")
    until(lambda: new.get() == (200, "v2"), "new connections go to the new one")
    assert old.process is not None
    assert old.process.poll() is None
    model.finish.set()
    asking.join(DEADLINE_S)
    assert answers == [(200, "v1")]
    assert old.process.wait(DEADLINE_S) == 0


def test_to_the_controller_it_is_the_same_router_in_another_life(stage: Stage) -> None:
    controller = SmallController()
    try:
        controller.plan = make_plan(stage.ports)
        words = ("--rollout", "ml/fraud", "--controller", controller.url)
        old = stage.router().start(*words, "--id", "r7")
        until(lambda: controller.telemetry, "it reports")
        boot = controller.telemetry[-1].boot
        new = stage.router().start(*words, "--take-over")
        until(lambda: controller.telemetry[-1].boot != boot, "the new life reports")
        assert {one.router for one in controller.telemetry} == {"r7"}
        seen = [one.boot for one in controller.telemetry]
        assert seen == sorted(seen, key=lambda one: one != boot), "the two never report in turns"
        assert new.get() == (200, "v1")
        assert old.process is not None
        assert old.process.wait(DEADLINE_S) == 0
    finally:
        controller.close()


def test_a_successor_that_cannot_begin_changes_nothing(stage: Stage) -> None:
    old = stage.serving()
    client = Client(old.ready["listen"])
    client.more()
    before = counted(old)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = ("--listen", f"127.0.0.1:{taken.getsockname()[1]}", "--admin", "127.0.0.1:0")
        words = ("--plan", str(stage.plan_file), "--run", str(old.run), "--take-over")
        code, _, error = call(*words, *listen)
    assert code == 1
    assert "is in use" in error
    until(lambda: "the successor did not come up" in old.log(), "the old one notices")
    until(lambda: old.get("admin", "/readyz")[0] == 200, "its agent is back")
    client.more()
    client.close()
    assert client.failed == []
    assert counted(old) >= before + 50, "it counts on where it was"
    assert stage.serving("--take-over").get() == (200, "v1")


def test_a_successor_that_is_killed_before_it_serves_changes_nothing(stage: Stage) -> None:
    old = stage.serving()
    client = Client(old.ready["listen"])
    client.more()
    new = stage.router()
    asking = threading.Thread(target=lambda: _start(new, stage))
    asking.start()
    until(lambda: "handing over" in old.log(), "it asked, and cannot serve before it is answered")
    assert new.process is not None
    new.process.kill()
    asking.join(DEADLINE_S)
    until(lambda: "the successor did not come up" in old.log(), "the old one notices")
    until(lambda: old.get("admin", "/readyz")[0] == 200, "its agent is back")
    client.more()
    client.close()
    assert client.failed == []


def _start(router: Router, stage: Stage) -> None:
    try:
        router.start("--plan", str(stage.plan_file), "--take-over")
    except AssertionError:
        return


def test_with_nobody_to_take_over_from_it_just_begins(stage: Stage) -> None:
    router = stage.serving("--take-over")
    assert router.get() == (200, "v1")


def test_a_killed_routers_directory_is_taken_as_it_was_left(stage: Stage) -> None:
    old = stage.serving()
    listen, children = old.ready["listen"], old.children()
    assert old.process is not None
    os.kill(old.process.pid, signal.SIGKILL)
    old.process.communicate()
    new = old.start("--plan", str(stage.plan_file), "--take-over", listen=listen)
    assert new.get() == (200, "v1")
    until(lambda: not any(is_alive(pid) for pid in children.values()), "the old processes ended")
