"""`headgate up` on this machine, as a user runs it: through the command, with real processes and a state folder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.local.load import Load

ROOT = Path(__file__).parents[2]
HEADGATE = str(Path(sys.executable).with_name("headgate"))


def until(what: str, holds: Callable[[], object], seconds: float = 60.0) -> Any:
    """Wait until `holds()` is truthy and return it; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


def process(version: str, *options: str) -> dict[str, Any]:
    """A version that is a process of the test's model server."""
    return {
        "name": version,
        "process": {
            "command": [
                "{python}",
                "-m",
                "tests.local.model",
                "--version",
                version,
                "--port",
                "{port}",
                *options,
            ],
            "env": {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"},
            "readiness": {"httpGet": {"path": "/v2/health/ready"}},
        },
    }


def rollout(versions: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    """A rollout document with tolerances fit for a few dozen requests a second."""
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "ModelRollout",
        "metadata": {"name": "sum"},
        "spec": {
            "target": "v1",
            "initialStable": "v1",
            "versions": versions,
            "protocol": "v2",
            "task": {"type": "classification", "label": "label", "scores": "probabilities"},
            "identity": {"key": "header:x-user-id"},
            "checks": [
                {
                    "name": "errors",
                    "metric": "requests.errors",
                    "noWorseThan": {"ratio": 1.2, "plus": "10pp"},
                    "minRequests": 10,
                }
            ],
            "strategy": {"canary": {"weights": ["20%", "50%"], "every": "3s"}},
            "capacity": {"drain": "1s", "keepStableWarm": "10m", "progressDeadline": "30s"},
        }
        | spec,
    }


class Machine:
    """One state folder, and the `headgate up` that runs on it."""

    def __init__(self, folder: Path, document: dict[str, Any], *options: str) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.file = folder / "rollout.yaml"
        self.options = options
        self.up: subprocess.Popen[bytes] | None = None
        self.write(document)

    def __enter__(self) -> "Machine":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def write(self, document: dict[str, Any]) -> None:
        self.file.write_text(yaml.safe_dump(document))

    def start(self) -> None:
        """Start it and wait until its API answers and a router serves."""
        self._begin()
        until("headgate up is ready", self._is_ready)

    def _begin(self) -> None:
        command = [
            HEADGATE,
            "up",
            "-f",
            str(self.file),
            "--state",
            str(self.state),
            "--listen",
            "127.0.0.1:0",
        ]
        with (self.folder / "up.log").open("ab") as log:
            self.up = subprocess.Popen(
                [*command, *self.options], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def _is_ready(self) -> bool:
        assert self.up is not None
        assert self.up.poll() is None, (self.folder / "up.log").read_text()[-2000:]
        if not (self.state / "endpoint.json").exists() or self.endpoint["pid"] != self.up.pid:
            return False
        try:
            return self.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        """Stop everything in order; what is left of a controller that was killed is stopped by a new one first."""
        if self.up is None:
            return
        if self.up.poll() is not None:
            self._begin()
            until("headgate up is ready", self._is_ready)
        self.up.send_signal(signal.SIGTERM)
        try:
            assert self.up.wait(60) == 0, (self.folder / "up.log").read_text()[-2000:]
        finally:
            self.up.kill()

    def kill(self) -> None:
        """SIGKILL to the controller, and to nothing else."""
        assert self.up is not None
        self.up.kill()
        self.up.wait(10)

    @property
    def endpoint(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads((self.state / "endpoint.json").read_text())
        return found

    @property
    def url(self) -> str:
        return str(self.endpoint["router"])

    def get(self, path: str) -> httpx.Response:
        token = (self.state / "token").read_text().strip()
        return httpx.get(
            self.endpoint["api"] + path,
            headers={"authorization": f"Bearer {token}"},
            timeout=10.0,
            trust_env=False,
        )

    def put(self, path: str, document: object) -> httpx.Response:
        """What a client of the API sends, past what the command would refuse before."""
        token = (self.state / "token").read_text().strip()
        return httpx.put(
            self.endpoint["api"] + path,
            json=document,
            headers={"authorization": f"Bearer {token}"},
            timeout=60.0,
            trust_env=False,
        )

    def status(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.get("/v1/rollouts/default/sum/status").json()["status"]
        return shown

    def run(self, *words: str, expect: int = 0, actor: str = "ann") -> subprocess.CompletedProcess[str]:
        """A verb of the command against this controller, run by `actor`."""
        done = subprocess.run(
            [HEADGATE, *words],
            env={
                **os.environ,
                "HEADGATE_STATE": str(self.state),
                "LOGNAME": actor,
                "NO_COLOR": "1",
                "COLUMNS": "200",
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def phase_is(self, phase: str, seconds: float = 60.0) -> dict[str, Any]:
        """The status once the rollout is in this phase."""
        seen: dict[str, Any] = {}

        def holds() -> bool:
            seen.clear()
            seen.update(self.status())
            return bool(seen["phase"] == phase)

        try:
            until(f"phase {phase}", holds, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {seen.get('phase')}: {seen.get('message')}") from None
        return seen

    def load(self, rate: float = 50.0, *, beta: int = 0) -> Load:
        """Live traffic, begun once the first version serves; every `beta`-th user is one of the beta's."""
        self.phase_is("Healthy")
        return Load(self.url, rate, beta=beta)

    def pids_of_models(self) -> Iterator[int]:
        """Pids of the model servers it started."""
        noted = self.state / "processes.json"
        entries = json.loads(noted.read_text()) if noted.exists() else []
        return (entry["pid"] for entry in entries if entry.get("pid"))

    def pids_of(self, part: str) -> list[int]:
        """Pids of this machine's router processes: supervisor, agent, observer, proxy (the workers)."""
        module = {"supervisor": "router"}.get(part, f"router.{part}")
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                except OSError:
                    continue
                if module in words and any(word.startswith(str(self.state)) for word in words):
                    found.append(int(entry.name))
        return found
