"""A whole product on a real API server, its versions, router and controller as processes of this machine.

Rollouts are applied with kubectl, versions are URLs of model servers that the test runs, and what happened is read
from the objects, as a person on a cluster would.
"""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from controller.crd import crds
from tests.cluster.testbed.cluster import ADMIN, Testbed
from tests.cluster.testbed.programs import Program, free_port
from tests.local.load import Load

ROOT = Path(__file__).parents[2]
HEADGATE = Path(sys.executable).with_name("headgate")
NAME = "sum"


def until(
    what: str, holds: Callable[[], Any], seconds: float = 60.0, says: Callable[[], object] = str
) -> Any:
    """Wait until `holds()` is truthy and return it; AssertionError, with what `says()` has, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}; {says()}"
        time.sleep(0.05)
    return found


_installed: set[str] = set()


def install(cluster: Testbed) -> None:
    """The CRDs, generated now and taken by the API server; once for each cluster."""
    if cluster.url in _installed:
        return
    _installed.add(cluster.url)
    definitions = [crds.model_rollouts(), crds.rollout_actions()]
    for definition in definitions:
        cluster.kubectl("apply", "--server-side", "--filename", "-", stdin=definition)
    names = [f"crd/{definition['metadata']['name']}" for definition in definitions]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)


def model_server(folder: Path, version: str, *options: str) -> tuple[Program, dict[str, Any]]:
    """A model server, started; and the version as a rollout names it."""
    port = free_port()
    program = Program(
        f"model-{version}",
        ["env", f"PYTHONPATH={ROOT}", "PYTHONHASHSEED=0", sys.executable, "-m", "tests.local.model",
         "--version", version, "--port", str(port), *options],
        folder,
    )  # fmt: skip
    program.start()
    named = {
        "name": version,
        "url": f"http://127.0.0.1:{port}",
        "readiness": {"httpGet": {"path": "/v2/health/ready"}},
    }
    return program, named


class Whole:
    """One namespace of the cluster with a controller, a router for the rollout `sum`, and model servers v1, v2 …

    `server` is where the controller reaches the API server, if something stands between, `user` who it is there, and
    `options` it gets besides.
    """

    def __init__(
        self,
        cluster: Testbed,
        namespace: str,
        folder: Path,
        *,
        server: str = "",
        user: str = ADMIN,
        options: Sequence[str] = (),
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.folder = folder
        self.server = server
        self.user = user
        self.token = folder / "token"
        self.token.write_text(secrets.token_urlsafe(16) + "\n")
        self.api_port = free_port()
        self.models: list[Program] = []
        self.controller = self.program_of_controller("controller", self.api_port, *options)
        self.ready = folder / "router-ready.json"
        self.router = self.program_of_router(self.api_port)

    def program_of_controller(self, name: str, port: int, *more: str, server: str = "") -> Program:
        """A controller of this namespace, not started yet; `server` if it reaches the API server another way."""
        config = self.cluster.kubeconfig(self.user, namespace=self.namespace, server=server or self.server)
        return Program(
            name,
            [HEADGATE, "controller", "--kubeconfig", config, "--api", f"127.0.0.1:{port}", "--token-file", self.token,
             "--allow-address", "127.0.0.0/8", *more],
            self.folder,
        )  # fmt: skip

    def program_of_router(self, *ports: int) -> Program:
        """The router of the rollout `sum`, not started yet, of controllers at these ports."""
        controllers = [word for port in ports for word in ("--controller", f"http://127.0.0.1:{port}")]
        return Program(
            "router",
            [HEADGATE, "router", "--rollout", f"{self.namespace}/{NAME}", *controllers,
             "--token-file", self.token, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--id", "r1",
             "--run", self.folder / "run", "--ready-file", self.ready],
            self.folder,
        )  # fmt: skip

    def __enter__(self) -> "Whole":
        return self

    def __exit__(self, *_: object) -> None:
        self.router.stop()
        self.controller.stop()
        for model in self.models:
            model.kill()

    def start(self) -> None:
        """Controller and router."""
        self.controller.start()
        self.router.start()

    def model(self, version: str, *options: str) -> dict[str, Any]:
        """Start a model server; the version as a rollout names it."""
        program, named = model_server(self.folder, version, *options)
        self.models.append(program)
        return named

    def kubectl(
        self, *words: str, stdin: Mapping[str, Any] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """kubectl in this namespace."""
        return self.cluster.kubectl("--namespace", self.namespace, *words, stdin=stdin)

    def apply(self, document: Mapping[str, Any]) -> None:
        """kubectl apply."""
        self.kubectl("apply", "--server-side", "--filename", "-", stdin=document)

    def target(self, version: str) -> None:
        """Make this version the target, as `kubectl edit` would."""
        patch = json.dumps({"spec": {"target": version}})
        self.kubectl("patch", "mro", NAME, "--type=merge", "--patch", patch)

    def act(self, verb: str, version: str, reason: str = "because", **more: Any) -> str:
        """Create a RolloutAction; its name."""
        spec = {
            "rollout": NAME,
            "action": verb,
            "version": version,
            "reason": reason,
            "requestedBy": "admin",
            **more,
        }
        name = f"{verb}-{secrets.token_hex(4)}"
        action = {
            "apiVersion": "headgate.dev/v1alpha1",
            "kind": "RolloutAction",
            "metadata": {"name": name},
            "spec": spec,
        }
        self.kubectl("create", "--filename", "-", stdin=action)
        return name

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """The object as it is now."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "--output", "json").stdout)
        return found

    def status(self, name: str = NAME) -> dict[str, Any]:
        """The rollout's status; empty as long as it has none."""
        status: dict[str, Any] = self.get("modelrollouts", name).get("status", {})
        return status

    def phase_is(self, phase: str, seconds: float = 90.0, name: str = NAME) -> dict[str, Any]:
        """The status once the rollout's present spec is in this phase."""

        def holds() -> dict[str, Any]:
            found = self.get("modelrollouts", name)
            status: dict[str, Any] = found.get("status", {})
            is_current = status.get("observedGeneration") == found["metadata"]["generation"]
            return status if is_current and status.get("phase") == phase else {}

        found: dict[str, Any] = until(f"{name} is {phase}", holds, seconds, self.says)
        return found

    def writes(self) -> list[str]:
        """What the controller wrote in this namespace so far, apart from its lease: verb and resource."""
        return [
            f"{event['verb']} {event['objectRef']['resource']}/{event['objectRef'].get('subresource', '')}".rstrip(
                "/"
            )
            for event in self.cluster.audited()
            if event["verb"] in ("create", "update", "patch", "delete")
            and event["objectRef"].get("namespace") == self.namespace
            and event["objectRef"]["resource"] != "leases"
            and event["userAgent"].startswith("headgate/")
            and event["responseStatus"]["code"] < 300
        ]

    def says(self) -> str:
        """What the controller said last, for a test that fails."""
        log = self.controller.log
        return f"controller: {log.read_text()[-3000:] if log.exists() else 'never started'}"

    def load(self, rate: float = 40.0) -> Load:
        """Live traffic through the router, begun once the first version serves."""
        self.phase_is("Healthy")
        until("the router is ready", self.ready.exists, 60.0, self.says)
        return Load(f"http://{json.loads(self.ready.read_text())['listen']}", rate)


def rollout(versions: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    """A rollout with tolerances fit for a few dozen requests a second; v1 is the target."""
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "ModelRollout",
        "metadata": {"name": NAME},
        "spec": {
            "target": "v1",
            "initialStable": "v1",
            "versions": versions,
            "protocol": "v2",
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
            "capacity": {"drain": "1s", "keepStableWarm": "10m", "progressDeadline": "60s"},
            **spec,
        },
    }
