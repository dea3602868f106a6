"""`headgate router` as a user meets it: whole routers, real processes, real requests, and what is said when it cannot be."""

import http.client
import json
import os
import signal
import socket
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from headgate.cli import root
from tests.router.agent.bench import DEADLINE_S, SmallController, until
from tests.router.cli.served import Router, Stage, call, make_plan


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _is_refused(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=DEADLINE_S).close()
    except ConnectionRefusedError:
        return True
    return False


class Client:
    """One keep-alive connection that asks all the time; `failed` holds what went wrong."""

    def __init__(self, address: str) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._address = address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=DEADLINE_S)
        while not self._stop.wait(0.001):
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                self.answered += 1
                if answer.status != 200:
                    self.failed.append(f"status {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()
        connection.close()

    def more(self, requests: int = 50) -> None:
        wanted = self.answered + requests
        until(lambda: self.answered >= wanted, "the router answers")

    def close(self) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_S)


def test_a_plan_file_is_enough_to_serve(stage: Stage) -> None:
    router = stage.serving()
    assert router.get() == (200, "v1")
    assert router.ready["pid"] == router.process.pid
    assert router.said == (
        f"router: serving ml/fraud on http://{router.ready['listen']}, admin http://{router.ready['admin']}\n"
    )
    until(lambda: router.get("admin", "/readyz")[0] == 200)


def test_it_ends_cleanly_at_sigterm_and_leaves_nobody_behind(stage: Stage) -> None:
    router = stage.serving("--workers", "2")
    children = router.children()
    assert sorted(children) == ["agent", "observer", "worker 0", "worker 1"]
    assert router.stop() == 0
    assert not any(is_alive(pid) for pid in children.values())
    assert not router.ready_file.exists()


def test_at_sigterm_a_request_in_flight_is_answered_and_no_new_connection_is_taken(stage: Stage) -> None:
    router, model = stage.serving(), stage.servers["v1"]
    answers: list[tuple[int, str]] = []
    asking = threading.Thread(target=lambda: answers.append(router.get(path="/slow")))
    asking.start()
    host, _, port = router.ready["listen"].rpartition(":")
    assert model.is_asked_slowly.wait(DEADLINE_S)
    router.process.send_signal(signal.SIGTERM)
    until(lambda: "draining" in router.log())
    until(lambda: _is_refused(host, int(port)))
    model.finish.set()
    asking.join(DEADLINE_S)
    assert answers == [(200, "v1")]
    assert router.process.wait(DEADLINE_S) == 0


@pytest.mark.parametrize("victim", ["agent", "observer"])
def test_no_request_is_lost_when_a_process_beside_the_live_path_is_killed(stage: Stage, victim: str) -> None:
    router = stage.serving()
    client = Client(router.ready["listen"])
    client.more()
    router.kill_child(victim)
    client.more()
    client.close()
    assert client.failed == []
    until(lambda: router.get("admin", "/readyz")[0] == 200)


def test_a_killed_worker_takes_only_what_it_held_and_its_successor_serves(stage: Stage) -> None:
    router = stage.serving()
    client = Client(router.ready["listen"])
    client.more()
    router.kill_child("worker 0")
    client.more()
    client.close()
    assert len(client.failed) <= 1


def test_connections_that_wait_survive_the_death_of_the_only_worker(stage: Stage) -> None:
    router = stage.serving()
    host, _, port = router.ready["listen"].rpartition(":")
    os.kill(router.children()["worker 0"], signal.SIGSTOP)
    waiting = [socket.create_connection((host, int(port)), timeout=DEADLINE_S) for _ in range(20)]
    for one in waiting:
        one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    router.kill_child("worker 0")
    for one in waiting:
        with one, one.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"


def test_a_new_router_takes_over_the_port_of_a_killed_one(stage: Stage) -> None:
    router = stage.serving()
    listen, children = router.ready["listen"], router.children()
    router.process.kill()
    router.process.communicate()
    again = router.start("--plan", str(stage.plan_file), listen=listen)
    assert again.get() == (200, "v1")
    until(lambda: not any(is_alive(pid) for pid in children.values()), "the old processes ended")


def test_the_plan_file_is_read_again_at_sighup_without_losing_a_request(stage: Stage) -> None:
    router = stage.serving("--workers", "2")
    until(lambda: router.get("admin", "/healthz")[0] == 200)
    client = Client(router.ready["listen"])
    client.more()
    stage.write_plan(generation=2, all_to="v2")
    router.process.send_signal(signal.SIGHUP)
    until(lambda: router.get() == (200, "v2"))
    client.more()
    client.close()
    assert client.failed == []


def test_an_edited_plan_file_is_served_after_a_restart_although_it_is_no_newer(stage: Stage) -> None:
    router = stage.serving()
    router.stop()
    stage.write_plan(all_to="v2")
    router.start("--plan", str(stage.plan_file))
    assert router.get() == (200, "v2")


def test_a_controller_gives_the_plan_and_may_then_go_away_even_over_a_restart(
    stage: Stage, tmp_path: Path
) -> None:
    controller = SmallController()
    try:
        controller.plan = make_plan(stage.ports)
        words = ("--rollout", "ml/fraud", "--controller", controller.url, "--id", "r7")
        router = stage.router().start(*words)
        until(lambda: controller.acknowledged(controller.plan))
        assert router.get() == (200, "v1")
        controller.plan = make_plan(stage.ports, generation=2, all_to="v2")
        until(lambda: controller.acknowledged(controller.plan))
        assert router.get() == (200, "v2")
        report = until(
            lambda: next((one for one in controller.telemetry if one.versions[1].picked.requests), None)
        )
        assert (report.router, report.versions[1].picked.status_2xx) == ("r7", 1)
    finally:
        controller.close()
    router.stop()
    router.start(*words)
    assert router.get() == (200, "v2")


def test_a_restart_on_another_port_is_no_new_router_to_the_controller(stage: Stage) -> None:
    controller = SmallController()
    try:
        router, names = stage.router(), set()
        for _ in range(2):
            controller.polls.clear()
            router.start("--rollout", "ml/fraud", "--controller", controller.url)
            names.add(until(lambda: controller.polls)[0]["router"])
            router.stop()
        assert len(names) == 1
    finally:
        controller.close()


def test_without_a_plan_it_accepts_and_says_503(stage: Stage) -> None:
    controller = SmallController()
    try:
        router = stage.router().start("--rollout", "ml/fraud", "--controller", controller.url)
        assert router.get()[0] == 503
    finally:
        controller.close()


def test_a_pin_sends_everything_to_one_version_until_it_is_taken_away(stage: Stage) -> None:
    router = stage.serving()
    run = str(router.run)
    code, out, _ = call("pin", "v2", "--run", run)
    assert (code, out) == (0, f"router: pinned v2; until `headgate router unpin --run {run}`\n")
    until(lambda: router.get() == (200, "v2"))
    assert "PINNED to v2" in call("status", "--run", run)[1]
    assert call("unpin", "--run", run)[0] == 0
    until(lambda: router.get() == (200, "v1"))
    assert call("unpin", "--run", run)[1] == "router: nothing was pinned\n"


def test_a_pin_to_a_version_that_the_plan_does_not_have_is_refused_with_those_it_has(stage: Stage) -> None:
    router = stage.serving()
    code, _, err = call("pin", "v9", "--run", str(router.run))
    assert code == 1
    assert "v9: the plan in force has no such version, it has v1, v2" in err
    assert not (router.run / "pin").exists()


def test_status_tells_what_runs_and_exits_1_when_nothing_does(stage: Stage) -> None:
    router = stage.serving()
    router.get()
    run = str(router.run)
    found = until(
        lambda: (
            (one := json.loads(call("status", "--run", run, "-o", "json")[1]))["versions"][0]["requests"]
            and one
        )
    )
    assert (found["pid"], found["plan"], found["workers"][0]["applied"]) == (
        router.process.pid,
        "1.1.0",
        "1.1.0",
    )
    router.stop()
    code, out, _ = call("status", "--run", run)
    assert code == 1
    assert "ml/fraud: not running" in out


def test_a_port_in_use_is_one_clear_error(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = (
            "--plan",
            str(stage.plan_file),
            "--run",
            str(stage.plan_file.parent / "run"),
            "--admin",
            ":0",
        )
        code, out, err = call(*words, "--listen", f"127.0.0.1:{port}")
    assert (code, out) == (1, "")
    assert err.startswith(f"Error: port {port} is in use")
    assert f"pid {os.getpid()}" in err
    assert err.count("\n") == 1


def test_a_run_directory_is_one_routers_at_a_time(stage: Stage) -> None:
    router = stage.serving()
    words = ("--plan", str(stage.plan_file), "--run", str(router.run), "--listen", ":0", "--admin", ":0")
    code, _, err = call(*words)
    assert code == 1
    assert f"in use by the router with pid {router.process.pid}" in err
    assert router.get() == (200, "v1")


def test_a_run_directory_of_another_rollout_is_refused(stage: Stage) -> None:
    router = stage.serving()
    router.stop()
    words = ("--rollout", "ml/other", "--controller", "http://127.0.0.1:9", "--run", str(router.run))
    code, _, err = call(*words, "--listen", ":0", "--admin", ":0")
    assert code == 1
    assert "belongs to ml/fraud, not to ml/other" in err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slots": [{"start": 0, "end": 9000, "version": "v1"}]}, "slots: they end at 9000 instead of 10000"),
        ({"stable": "v9"}, "stable: v9 is not among versions"),
        ({"epoch": "one"}, "at `$.epoch`"),
        ({"colour": "red"}, "unknown field `colour`"),
    ],
)
def test_a_malformed_plan_is_refused_by_field_with_and_without_check(
    stage: Stage, change: dict[str, object], said: str
) -> None:
    plan = json.loads(stage.plan_file.read_text())
    stage.plan_file.write_text(json.dumps({**plan, **change}))
    for more in ((), ("--check",)):
        code, _, err = call(
            "--plan", str(stage.plan_file), "--run", str(stage.plan_file.parent / "run"), *more
        )
        assert code == 1
        assert f"--plan {stage.plan_file}" in err
        assert said in err


def test_check_says_who_matches_and_a_bad_condition_is_refused_by_field(stage: Stage, tmp_path: Path) -> None:
    words = ("--plan", str(stage.plan_file), "--check", "--run", str(tmp_path / "never"))
    slots = [{"start": 0, "end": 9_000, "version": "v1"}, {"start": 9_000, "end": 10_000, "version": "v2"}]
    conditions = [
        {"source": "header:x-country", "exact": "DE"},
        {"source": "cookie:sid", "prefix": "beta-"},
        {"source": "header:x-tester"},
    ]
    plan = json.loads(stage.plan_file.read_text()) | {"match": {"conditions": conditions, "slots": slots}}
    stage.plan_file.write_text(json.dumps(plan))
    code, out, _ = call(*words)
    assert code == 0
    assert (
        "requests with header:x-country = 'DE' and cookie:sid = 'beta-*' and header:x-tester: v1 90 %, v2 10 %"
        in out
    )
    conditions[0]["prefix"] = "D"
    stage.plan_file.write_text(json.dumps(plan))
    code, _, err = call(*words)
    assert code == 1
    assert "match.conditions[0]: exact and prefix are both given" in err


def test_status_shows_matched_requests_beside_the_others(stage: Stage) -> None:
    plan = json.loads(stage.plan_file.read_text())
    match = {
        "conditions": [{"source": "header:host"}],
        "slots": [{"start": 0, "end": 10_000, "version": "v2"}],
    }
    stage.plan_file.write_text(json.dumps(plan | {"match": match}))
    router = stage.serving()
    assert router.get() == (200, "v2")
    text = until(lambda: "1 requests" in (said := call("status", "--run", str(router.run))[1]) and said)
    assert "v1: 100 %, 0 requests, 0 failed; of those that match 0 %\n" in text
    assert "v2: 0 %, 0 requests, 0 failed; of those that match 100 %; matched: 1 requests, 0 failed" in text


def test_check_says_what_would_be_served_and_starts_nothing(stage: Stage, tmp_path: Path) -> None:
    code, out, _ = call("--plan", str(stage.plan_file), "--check", "--run", str(tmp_path / "never"))
    assert code == 0
    assert "plan 1.1.0: v1 100 % (1 endpoints), v2 0 % (1 endpoints)" in out
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--controller URL or --plan FILE"),
        (("--controller", "http://127.0.0.1:9"), "--rollout"),
        (("--rollout", "fraud", "--controller", "http://127.0.0.1:9"), "--rollout 'fraud': NAMESPACE/NAME"),
        (("--rollout", "ml/fraud", "--controller", "127.0.0.1:9"), "--controller '127.0.0.1:9': a URL"),
        (("--rollout", "ml/fraud", "--controller", "http://x", "--workers", "0"), "--workers 0: 1 to 64"),
        (("--rollout", "ml/fraud", "--controller", "http://x", "--listen", "8080"), "is not HOST:PORT"),
        (
            ("--rollout", "ml/fraud", "--controller", "http://x", "--token-file", "/no/such"),
            "there is no such file",
        ),
        (
            ("--rollout", "ml/fraud", "--controller", "http://x", "--admin", "192.0.2.1:1"),
            "needs --token-file",
        ),
        (("--rollout", "ml/fraud", "--controller", "http://x", "--id", "a b"), "--id 'a b'"),
        (("--plan", "/no/such.json"), "--plan /no/such.json: No such file"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_by_name(words: tuple[str, ...], said: str) -> None:
    code, _, err = call(*words, "--check")
    assert code == 1
    assert said in err


def test_both_sources_of_a_plan_are_one_too_many(stage: Stage) -> None:
    code, _, err = call("--plan", str(stage.plan_file), "--controller", "http://x", "--check")
    assert code == 1
    assert "one of them says where the plan comes from, and not both" in err


def test_every_option_can_come_from_the_environment(stage: Stage, tmp_path: Path) -> None:
    environment = {
        "HEADGATE_ROUTER_PLAN": str(stage.plan_file),
        "HEADGATE_ROUTER_CHECK": "1",
        "HEADGATE_ROUTER_RUN": str(tmp_path / "elsewhere"),
        "HEADGATE_ROUTER_ID": "not an id",
    }
    code, _, err = call(**environment)
    assert code == 1
    assert "--id 'not an id'" in err
    code, out, _ = call(**{**environment, "HEADGATE_ROUTER_ID": "fine"})
    assert code == 0
    assert str(tmp_path / "elsewhere") in out


def test_the_front_door_finds_the_verb() -> None:
    result = CliRunner().invoke(root(), ["router", "--help"])
    assert result.exit_code == 0
    assert "headgate router --plan plan.json" in result.output


def test_help_teaches_with_examples() -> None:
    code, out, _ = call("--help")
    assert code == 0
    assert "headgate router --rollout ml/fraud --controller http://127.0.0.1:7000" in out
    assert "headgate router --plan plan.json --listen 127.0.0.1:8080" in out


def test_an_unreadable_plan_of_the_last_life_is_set_aside(stage: Stage) -> None:
    controller = SmallController()
    try:
        router: Router = stage.router()
        router.run.mkdir()
        (router.run / "plan.msgpack").write_bytes(b"\x81\xa1")
        controller.plan = make_plan(stage.ports)
        router.start("--rollout", "ml/fraud", "--controller", controller.url)
        until(lambda: router.get() == (200, "v1"))
        assert "plan file set aside" in router.log()
        assert (router.run / "plan.msgpack.unreadable").exists()
    finally:
        controller.close()
