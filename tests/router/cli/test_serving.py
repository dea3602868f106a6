"""How a router is told to serve, by flag, environment and file; with curl as the client."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from router.tls import Pair
from tests.router.agent.bench import DEADLINE_S, until
from tests.router.authority import Authority
from tests.router.cli.served import Router, Stage, call


def curl(*words: str) -> tuple[int, str]:
    """Exit code and output of curl, which nobody here wrote."""
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", str(int(DEADLINE_S)), *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S + 10,
        check=False,
    )
    return done.returncode, done.stdout or done.stderr


def at(router: Router, name: str, *words: str) -> tuple[int, str]:
    """curl to the router by a name that no resolver knows."""
    host, _, port = router.ready["listen"].rpartition(":")
    return curl("--resolve", f"{name}:{port}:{host}", f"https://{name}:{port}/", *words)


def by_flag(folder: Path, pair: Pair) -> tuple[list[str], dict[str, str]]:
    return ["--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)], {}


def by_environment(folder: Path, pair: Pair) -> tuple[list[str], dict[str, str]]:
    return [], {
        "HEADGATE_ROUTER_TLS_CERT": str(pair.certificate),
        "HEADGATE_ROUTER_TLS_KEY": str(pair.key),
    }


def by_file(folder: Path, pair: Pair) -> tuple[list[str], dict[str, str]]:
    file = folder / "router.toml"
    file.write_text(f'tls-cert = ["{pair.certificate}"]\ntls-key = ["{pair.key}"]\n')
    return ["--config", str(file)], {}


@pytest.mark.needs("curl")
@pytest.mark.parametrize("how", [by_flag, by_environment, by_file])
def test_a_certificate_given_in_any_way_is_served_and_checked(
    stage: Stage, tmp_path: Path, how: Callable[[Path, Pair], tuple[list[str], dict[str, str]]]
) -> None:
    authority = Authority(tmp_path)
    words, environment = how(tmp_path, authority.make("a", "a.test"))
    plan = ("--plan", str(stage.plan_file))
    code, said, error = call(*plan, *words, "--check", **environment)
    assert (code, error) == (0, "")
    assert "certificate for a.test, until " in said
    router = stage.router().start(*plan, *words, scheme="https", **environment)
    assert at(router, "a.test", "--cacert", str(authority.ca)) == (0, "v1")
    assert at(router, "other.test", "--cacert", str(authority.ca))[0] == 60  # curl: it is for somebody else


@pytest.mark.needs("curl")
def test_a_renewed_certificate_is_served_after_sighup(stage: Stage, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    words, _ = by_flag(tmp_path, authority.make("a", "a.test"))
    router = stage.router().start("--plan", str(stage.plan_file), "--workers", "2", *words, scheme="https")
    authority.make("a", "b.test")
    assert router.process is not None
    router.process.send_signal(signal.SIGHUP)
    until(lambda: at(router, "b.test", "--cacert", str(authority.ca)) == (0, "v1"), "the new one is shown")


@pytest.mark.needs("curl")
def test_several_addresses_are_served_a_unix_socket_too(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "clients.sock"
    more = ("--listen", f"unix:{path}", "--socket-mode", "660")
    router = stage.router().start("--plan", str(stage.plan_file), *more)
    assert router.get() == (200, "v1")
    assert router.ready["also"] == [f"unix:{path}"]
    assert f" and unix:{path}, admin" in router.said
    assert curl("--unix-socket", str(path), "http://model.test/") == (0, "v1")
    assert path.stat().st_mode & 0o777 == 0o660
    assert router.stop() == 0
    assert not path.exists()


def test_a_unix_socket_that_was_left_over_is_replaced_and_one_in_use_is_not(
    stage: Stage, tmp_path: Path
) -> None:
    path = tmp_path / "clients.sock"
    words = ("--plan", str(stage.plan_file), "--listen", f"unix:{path}")
    router = stage.router().start(*words)
    code, _, error = call(*words, "--admin", "127.0.0.1:0", "--run", str(tmp_path / "second"))
    assert code == 1
    assert f"unix:{path} is in use" in error
    assert router.process is not None
    children = router.children()
    router.process.kill()
    router.process.communicate()
    for pid in children.values():
        until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "what the old one started has ended")
    assert path.is_socket()
    assert router.start(*words).get() == (200, "v1")


def test_a_file_in_the_way_of_a_unix_socket_stays(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    code, _, error = call(
        *("--plan", str(stage.plan_file), "--listen", f"unix:{path}"),
        *("--admin", "127.0.0.1:0", "--run", str(tmp_path / "run")),
    )
    assert code == 1
    assert "no socket" in error
    assert path.read_text() == "data"


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    stage: Stage, tmp_path: Path
) -> None:
    file = tmp_path / "router.toml"
    file.write_text(f'plan = "{stage.plan_file}"\nrun = "{tmp_path}/from-file"\nworkers = 3\n')
    words = ("--config", str(file), "--check")
    assert f"run directory {tmp_path}/from-file" in call(*words)[1]
    assert "run directory env" in call(*words, HEADGATE_ROUTER_RUN="env")[1]
    assert "run directory flag" in call(*words, "--run", "flag", HEADGATE_ROUTER_RUN="env")[1]
    assert f"run directory {tmp_path}/from-file" in call("--check", HEADGATE_ROUTER_CONFIG=str(file))[1]


WRONG = {
    "a name that is none": ("listne = ['127.0.0.1:1']", "there is no listne; it may have access-log, "),
    "no TOML": ("listen: x", "router.toml"),
    "a text for a list": ("listen = '127.0.0.1:1'", "write it as a list"),
    "a text for a switch": ("server-timing = 'yes'", "server-timing is true or false"),
    "a table": ("[listen]\nx = 1", "write it as a list"),
    "an address that is none": ("listen = ['here']", "'here' is not HOST:PORT"),
    "a number out of bounds": ("access-log-sample = 2", "2"),
}


@pytest.mark.parametrize(("content", "says"), WRONG.values(), ids=WRONG)
def test_a_file_that_cannot_be_meant_is_refused_with_what_is_wrong(
    stage: Stage, tmp_path: Path, content: str, says: str
) -> None:
    file = tmp_path / "router.toml"
    file.write_text(f'plan = "{stage.plan_file}"\n{content}\n')
    code, _, error = call("--config", str(file), "--check")
    assert code != 0
    assert says in error
    assert "Traceback" not in error


REFUSED = {
    "a key missing": (["--tls-cert", "{a.certificate}"], "1 and 0, they go in pairs"),
    "another's key": (
        ["--tls-cert", "{a.certificate}", "--tls-key", "{b.key}"],
        "the key is not the certificate's",
    ),
    "a client authority without TLS": (["--tls-client-ca", "{a.certificate}"], "means nothing without"),
    "half a pair for upstream": (["--upstream-cert", "{a.certificate}"], "one is given without the other"),
    "an authority that is none": (["--upstream-ca", "{a.key}"], "has no certificate of an authority"),
    "no network": (["--proxy-protocol-from", "10.0.0.1/8"], "has host bits set"),
    "no folder for the socket": (["--listen", "unix:/no/such/folder/x"], "its folder does not exist"),
    "a mode that is none": (["--socket-mode", "rw"], "three octal digits"),
    "no folder for the log": (["--access-log", "/no/such/folder/x"], "its folder does not exist"),
}


@pytest.mark.parametrize(("words", "says"), REFUSED.values(), ids=REFUSED)
def test_settings_that_cannot_be_meant_are_refused_with_what_is_wrong(
    stage: Stage, tmp_path: Path, words: list[str], says: str
) -> None:
    authority = Authority(tmp_path)
    pairs = {name: authority.make(name, f"{name}.test") for name in ("a", "b")}
    code, _, error = call("--plan", str(stage.plan_file), "--check", *(one.format(**pairs) for one in words))
    assert code != 0
    assert says in error
    assert "Traceback" not in error


@pytest.mark.needs("curl")
def test_the_access_log_has_a_line_for_each_request_and_nothing_that_users_sent(
    stage: Stage, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    router = stage.router().start("--plan", str(stage.plan_file), "--access-log", str(log))
    url = f"http://{router.ready['listen']}/predict?user=s3cret"
    words = ("--header", "Authorization: Bearer s3cret", "--header", "x-request-id: r-1")
    until(lambda: _grows(log, lambda: curl(*words, url)), "the observer is there and writes")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    wanted = lines[-1]
    assert (wanted["id"], wanted["method"], wanted["path"], wanted["version"], wanted["status"]) == (
        *("r-1", "GET", "/predict", "v1", 200),
    )
    assert wanted["client"] == "127.0.0.1"
    assert wanted["sent_bytes"] == 2
    assert 0 < wanted["seconds"] < 60
    assert "s3cret" not in log.read_text()
    os.rename(log, tmp_path / "access.log.1")
    until(lambda: _grows(log, lambda: curl(*words, url)), "a log that was moved away is begun again")


def _grows(log: Path, act: Callable[[], object]) -> bool:
    before = log.stat().st_size if log.exists() else 0
    act()
    return log.exists() and log.stat().st_size > before


@pytest.mark.needs("curl")
def test_what_an_answer_says_of_the_router_is_a_matter_of_policy(stage: Stage) -> None:
    for words, has, has_not in (
        ((), "x-headgate-version: v1", "server-timing"),
        (("--server-timing", "--no-version-header"), "server-timing: model;dur=", "x-headgate-version"),
    ):
        router = stage.router().start("--plan", str(stage.plan_file), *words)
        _, head = curl("--include", f"http://{router.ready['listen']}/")
        assert has in head.lower()
        assert has_not not in head.lower()
        router.stop()


@pytest.mark.needs("curl")
def test_metrics_tell_why_the_router_answered_itself_and_how_long_answers_took(stage: Stage) -> None:
    router = stage.serving()
    url = f"http://{router.ready['listen']}/"
    assert curl(url) == (0, "v1")
    curl("--header", "Host: a b", url)
    curl("--header", "Expect: cake", url)
    until(
        lambda: (
            'refused_total{cause="expectation_failed",rollout="ml/fraud"} 1.0'
            in router.get("admin", "/metrics")[1]
        )
    )
    said = router.get("admin", "/metrics")[1].splitlines()
    values = dict(line.rpartition(" ")[::2] for line in said if not line.startswith("#"))
    assert values['headgate_router_refused_total{cause="bad_host",rollout="ml/fraud"}'] == "1.0"
    assert values['headgate_router_refused_total{cause="nul",rollout="ml/fraud"}'] == "0.0"
    assert values['headgate_router_accepted_connections_total{rollout="ml/fraud"}'] == "3.0"
    labels = '{rollout="ml/fraud",version="v1"}'
    assert values[f"headgate_router_request_seconds_count{labels}"] == "1.0"
    assert 0 < float(values[f"headgate_router_request_seconds_sum{labels}"]) < DEADLINE_S


@pytest.mark.needs("curl")
def test_what_was_counted_stays_when_the_worker_dies(stage: Stage) -> None:
    router = stage.serving()
    curl("--header", "Expect: cake", f"http://{router.ready['listen']}/")
    router.kill_child("worker 0")
    counted = 'refused_total{cause="expectation_failed",rollout="ml/fraud"} 1.0'
    until(lambda: counted in router.get("admin", "/metrics")[1])
