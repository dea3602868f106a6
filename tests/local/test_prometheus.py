"""A canary with the real Prometheus as its only source of evidence."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.local.machine import Machine, process, rollout, until

pytestmark = [pytest.mark.needs("prometheus"), pytest.mark.timeout(300)]


class Prometheus:
    """A real Prometheus that scrapes the model servers named in a file, each second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.targets = folder / "targets.json"
        self.targets.write_text("[]")
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {
                    "job_name": "models",
                    "file_sd_configs": [{"files": [str(self.targets)], "refresh_interval": "1s"}],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self.folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self.folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )
        until("prometheus is ready", self._is_ready)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(30)

    def scrape(self, ports: list[int]) -> None:
        beside = self.targets.with_suffix(".new")
        beside.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}" for port in ports]}]))
        beside.replace(self.targets)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


def _document(*candidate: str) -> dict[str, Any]:
    query = {
        "provider": "main",
        "events": 'model_failures_total{version="{{version}}"}',
        "total": 'model_requests_total{version="{{version}}"}',
    }
    return rollout(
        [process("v1"), process("v2", *candidate)],
        checks=[
            {
                "name": "failures",
                "prometheus": query,
                "noWorseThan": {"ratio": 1.2, "plus": "10pp"},
                "minRequests": 20,
            }
        ],
        strategy={"canary": {"weights": ["30%", "50%"], "every": "4s", "checks": ["failures"]}},
        decision={"guard": "off"},
    )


@contextmanager
def _scene(folder: Path, *candidate: str) -> Iterator[tuple[Machine, Prometheus]]:
    prometheus = Prometheus(folder / "prometheus")
    prometheus.start()
    try:
        with Machine(folder, _document(*candidate), "--prometheus", f"main={prometheus.url}") as machine:
            yield machine, prometheus
    finally:
        prometheus.stop()


def _scrape_both(machine: Machine, prometheus: Prometheus) -> None:
    """Let Prometheus scrape every model server that runs now, v1 and v2."""

    def ports() -> list[int]:
        entries = json.loads((machine.state / "processes.json").read_text())
        found = [entry["port"] for entry in _entries(entries) if entry.get("port")]
        return found if len(found) == 2 else []

    prometheus.scrape(until("both model servers run", ports))


def _entries(noted: Any) -> list[dict[str, Any]]:
    if isinstance(noted, dict):
        return [noted] if "port" in noted else [e for value in noted.values() for e in _entries(value)]
    return [entry for value in noted for entry in _entries(value)] if isinstance(noted, list) else []


def test_a_healthy_version_is_promoted(tmp_path: Path) -> None:
    with _scene(tmp_path) as (machine, prometheus), machine.load(rate=60.0) as load:
        machine.run("set-target", "sum", "v2")
        _scrape_both(machine, prometheus)
        until("v2 is promoted", lambda: machine.status()["stableVersion"] == "v2", 120)
        load.stop()
    load.without_loss()


def test_a_bad_version_is_rolled_back(tmp_path: Path) -> None:
    with _scene(tmp_path, "--fail", "0.7") as (machine, prometheus), machine.load(rate=60.0) as load:
        machine.run("set-target", "sum", "v2")
        _scrape_both(machine, prometheus)
        shown = machine.phase_is("RolledBack", 120)
        load.stop()
    assert "failures" in shown["message"]
    load.without_loss()


def test_a_stopped_prometheus_holds_the_rollout_and_says_so_and_it_goes_on_when_it_is_back(
    tmp_path: Path,
) -> None:
    with _scene(tmp_path) as (machine, prometheus), machine.load(rate=60.0) as load:
        machine.run("set-target", "sum", "v2")
        _scrape_both(machine, prometheus)
        until("the first step runs", lambda: load.answers["v2"] > 20)
        prometheus.stop()
        until("the check says what is missing", lambda: _lacks_data(machine))
        weights = {_weight(machine) for _ in range(40)}
        held = machine.status()
        prometheus.start()
        until("v2 is promoted", lambda: machine.status()["stableVersion"] == "v2", 150)
        load.stop()
    assert len(weights) == 1, "nothing moved"
    assert held["phase"] == "Progressing"
    assert held["stableVersion"] == "v1"
    load.without_loss()


def _lacks_data(machine: Machine) -> bool:
    return any(check["lack"] == "NoData" for check in machine.status()["checks"])


def _weight(machine: Machine) -> int:
    versions = {version["name"]: version for version in machine.status()["versions"]}
    return int(versions["v2"]["weight"]["basisPoints"])
