"""The same story on a Kubernetes API: the rollout is an object that kubectl writes, the models are brought by URL.

It goes to the cluster of the present kubeconfig, into a namespace of its own. Controller, router and model servers
are processes of this machine, so they need no image and no node. It uses kubectl as a person does; `kubectl headgate`
is the same command as `headgate`.
"""

import json
import re
import secrets
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import yaml
from command import HEADGATE, Headgate, run, start, stopped, until

HERE = Path(__file__).parent
MANIFESTS = HERE.parents[1] / "manifests"
KINDS = ("modelrollouts.headgate.dev", "rolloutactions.headgate.dev")
NAMESPACE = "digits"


@dataclass
class Cluster(Headgate):
    """`headgate controller` and a router against the cluster, and a model server for each version."""

    CALLED = ("kubectl", "headgate")
    FIRST = ("kubectl", "apply", "-f", "rollout.yaml")

    _controller: subprocess.Popen[bytes] | None = None
    _router: subprocess.Popen[bytes] | None = None
    _models: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _urls: dict[str, str] = field(default_factory=dict)
    _is_applied: bool = False

    def begin(self, file: Path) -> None:
        (self.state / "logs").mkdir(parents=True)
        install()
        self._start_models(versions_of(file))
        token, api = self._token(), f"127.0.0.1:{free_port()}"
        self._start_controller(api, token)
        self.apply(file)
        self._start_router(api, token)
        self._follow()

    def apply(self, file: Path) -> None:
        kubectl("apply", "-f", str(self.brought(file)))
        self._is_applied = True

    def typed(self, *arguments: str) -> tuple[str, ...]:
        return (*self.CALLED, "-n", NAMESPACE, *arguments)

    def reports(self, state: Path) -> tuple[str, ...]:
        return ("headgate", "report", "--records", str(state / "router"))

    def stop(self) -> dict[str, int | None]:
        """The rollout goes first, while its controller is there to let it go."""
        self._follow_no_more()
        try:
            if self._is_applied and self._controller is not None and self._controller.poll() is None:
                self._is_applied = False
                kubectl("delete", "modelrollout", self.rollout, "--timeout=50s")
        finally:
            codes = {
                "headgate router": stopped(self._router),
                "headgate controller": stopped(self._controller),
            }
            for model in self._models:
                stopped(model)
        return codes

    @property
    def logs(self) -> tuple[Path, ...]:
        return (self.state / "logs",)

    def _log(self, name: str) -> Path:
        return self.state / "logs" / f"{name}.log"

    def _token(self) -> Path:
        """A token that the router shows to the controller, in a file that nobody else may read."""
        path = self.state / "token"
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
        return path

    def _start_models(self, names: list[str]) -> None:
        for name in names:
            command = [sys.executable, "serve.py", "--model", name, "--port", "0"]
            self._models.append(start(self._log(name), *command, folder=HERE))
        for name, model in zip(names, self._models, strict=True):
            log = self._log(name)
            self._urls[name] = until(f"{name} serves", partial(address_in, log), model, log)

    def _start_controller(self, api: str, token: Path) -> None:
        log = self._log("controller")
        self._controller = start(
            log, HEADGATE, "controller", "-n", NAMESPACE, "--api", api, "--token-file", token,
            "--allow-address", "127.0.0.0/8",
        )  # fmt: skip
        until("the controller leads", lambda: "leading with epoch" in log.read_text(), self._controller, log)

    def _start_router(self, api: str, token: Path) -> None:
        log, ready = self._log("router"), self.state / "router-ready.json"
        self._router = start(
            log, HEADGATE, "router", "--rollout", f"{NAMESPACE}/{self.rollout}", "--controller", f"http://{api}",
            "--token-file", token, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
            "--run", self.state / "router", "--ready-file", ready,
        )  # fmt: skip
        until("the router listens", ready.exists, self._router, log)
        self.router = f"http://{json.loads(ready.read_text())['listen']}"

    def brought(self, file: Path) -> Path:
        """The same rollout, as a file of its own, with a URL where a version is a process."""
        document = yaml.safe_load(file.read_text())
        document["metadata"]["namespace"] = NAMESPACE
        for version in document["spec"]["versions"]:
            process = version.pop("process")
            version |= {"url": self._urls[version["name"]], "readiness": process["readiness"]}
        written = self.state / file.name
        written.write_text(yaml.safe_dump(document, sort_keys=False))
        return written


def install() -> None:
    """What `kubectl apply -k manifests` installs, but for the controller, which runs here."""
    kubectl("apply", "--server-side", "-k", str(MANIFESTS / "crds"))
    kubectl("wait", "--for=condition=Established", "--timeout=50s", *(f"crd/{kind}" for kind in KINDS))
    kubectl("apply", "--server-side", "-k", str(MANIFESTS / "admission"))
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    run("kubectl", "apply", "-f", "-", given=json.dumps(namespace))


def kubectl(*arguments: str) -> str:
    """kubectl in the story's namespace, with the present kubeconfig."""
    return run("kubectl", "-n", NAMESPACE, *arguments)


def versions_of(file: Path) -> list[str]:
    return [version["name"] for version in yaml.safe_load(file.read_text())["spec"]["versions"]]


def address_in(log: Path) -> str:
    """Where a model server says that it listens; it asked the kernel for a port. "" while it has not said so."""
    found = re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text(errors="replace"))
    return found[1] if found else ""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
