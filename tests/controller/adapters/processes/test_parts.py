"""The small parts: versions read from documents, logs that stay bounded, ports, start times."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from controller.adapters.processes.child import adopt, find, start_time
from controller.adapters.processes.logs import bound, log_path, say
from controller.adapters.processes.ports import Ports
from controller.adapters.processes.version import Probe, ProcessVersion, UrlVersion, read_version
from headgate.wire.plan import Endpoint

READINESS = {"httpGet": {"path": "/ready", "host": "m"}, "period": "2s", "timeout": "500ms", "failures": 5}


def test_a_process_version_is_read_with_its_folder(tmp_path: Path) -> None:
    document = {
        "name": "v1",
        "process": {"command": ["a", "{port}"], "env": {"A": "b"}, "readiness": READINESS},
    }
    probe = Probe("/ready", "m", 2.0, 0.5, 5)
    assert read_version(document, tmp_path) == ProcessVersion(
        "v1", ("a", "{port}"), {"A": "b"}, tmp_path, probe, 10.0
    )
    moved = read_version({**document, "baseDir": "/srv"}, tmp_path)
    assert isinstance(moved, ProcessVersion)
    assert moved.folder == Path("/srv")


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://127.0.0.1:9000/x", Endpoint("127.0.0.1", 9000)),
        ("http://models.example", Endpoint("models.example", 80)),
        ("https://models.example/x", Endpoint("models.example", 443, tls=True)),
        ("http://[::1]:9000", Endpoint("::1", 9000)),
    ],
)
def test_a_url_version_is_an_endpoint_that_is_asked_for_a_connection(url: str, endpoint: Endpoint) -> None:
    assert read_version({"name": "v1", "url": url}, Path()) == UrlVersion("v1", endpoint, Probe(None))


def test_a_version_that_cannot_run_here_is_a_sentence() -> None:
    assert "neither process nor url" in str(read_version({"name": "v1"}, Path()))
    assert "version 'v1' is not one" in str(read_version({"name": "v1", "service": {}}, Path()))


def test_a_log_that_grew_too_large_is_moved_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    path = log_path(tmp_path, "ml/fraud", "v1")
    assert path == tmp_path / "ml" / "fraud" / "v1.log"
    say(path, "starting")
    with path.open("ab", buffering=0) as writer:
        writer.write(b"x" * 1000)
        bound(path, 10_000)
        assert path.stat().st_size > 1000
        bound(path, 1000)
        writer.write(b"and on")
    assert path.read_bytes() == b"and on"
    assert path.with_suffix(".log.1").read_bytes().endswith(b"x" * 1000)
    bound(tmp_path / "not-there.log")


def test_no_port_is_handed_out_twice_and_a_free_one_is_kept() -> None:
    ports = Ports()
    taken = [ports.take() for _ in range(50)]
    assert len(set(taken)) == 50
    ports.give_back(taken[0])
    assert ports.take(taken[0]) == taken[0]
    assert ports.take(taken[0]) != taken[0]
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert ports.take(other.getsockname()[1]) != other.getsockname()[1]


def test_a_process_is_known_by_its_start_time_and_by_its_token() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env={**os.environ, "HEADGATE_PROCESS": "token-of-this-test"},
        start_new_session=True,
    )
    try:
        started = start_time(child.pid)
        assert started is not None
        assert find("token-of-this-test") == (child.pid, started)
        assert adopt(child.pid, started + 1) is None
        adopted = adopt(child.pid, started)
        assert adopted is not None
        adopted.release()
    finally:
        child.kill()
        # Dead but not yet waited for: no longer a process that could be adopted.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(child.pid) is None
        child.wait()
    assert start_time(child.pid) is None
    assert adopt(child.pid, started or 0) is None
    assert find("token-of-this-test") is None
