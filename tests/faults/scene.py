"""One rollout of a real product behind the faulty proxy: started again whenever it dies, watched, under live traffic."""

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.cluster.testbed.cluster import ADMIN, Testbed
from tests.cluster.testbed.programs import Program
from tests.cluster.whole import NAME, Whole, install, model_server, until
from tests.faults.proxy.proxy import FaultProxy
from tests.faults.recorded import Object, Recorded, broken
from tests.local.load import Load

API = "/apis/headgate.dev/v1alpha1/namespaces"
LOOK_S = 0.02
WAIT_S = 150.0
"""Generous: other work may keep both cores of the machine busy."""

ALONE = ("--no-leader-election",)
Versions = Mapping[str, dict[str, Any]]


@contextmanager
def model_servers(folder: Path) -> Iterator[Versions]:
    """v1 and v2 are good, `bad` fails most live requests; the versions as a rollout names them."""
    with ExitStack() as stack:
        named = {}
        for version, options in {"v1": (), "v2": (), "bad": ("--fail", "0.7")}.items():
            program, named[version] = model_server(folder, version, *options)
            stack.callback(program.kill)
        yield named


class Reborn(threading.Thread):
    """Starts the program, and again whenever it is dead, until told to stop; `lives` counts."""

    def __init__(self, program: Program) -> None:
        super().__init__(name=f"keeps {program.name} alive", daemon=True)
        self.lives = 0
        self._program = program
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            if not self._program.alive:
                self.lives += 1
                self._program.start()
            self._over.wait(LOOK_S)
        self._program.stop()

    def stop(self) -> None:
        """Let it live no more, in order."""
        self._over.set()
        self.join(60)


class Scene:
    """A namespace with a controller that reaches the API server through `proxy`, and a router; from `with` to its end.

    What the controller writes is `writes()`; what the API server stored is in `rollouts` and `actions`.
    """

    def __init__(
        self,
        cluster: Testbed,
        namespace: str,
        folder: Path,
        versions: Versions,
        *,
        user: str = ADMIN,
        options: Sequence[str] = ALONE,
    ) -> None:
        install(cluster)
        self.cluster = cluster
        self.versions = versions
        self.patience_s = WAIT_S
        self.base = f"{API}/{namespace}"
        pair = cluster.authority.issue(f"fault-proxy-{namespace}")
        self.proxy = FaultProxy(cluster.url, cluster.authority.certificate, pair)
        self.client = cluster.client()
        self.rollouts = Recorded(cluster, f"{self.base}/modelrollouts")
        self.actions = Recorded(cluster, f"{self.base}/rolloutactions")
        self._whole = partial(Whole, cluster, namespace, folder, user=user, options=options)
        self._stack = ExitStack()

    def __enter__(self) -> "Scene":
        with ExitStack() as stack:
            stack.enter_context(self.proxy)
            self.whole = stack.enter_context(self._whole(server=self.proxy.url))
            stack.enter_context(self.rollouts)
            stack.enter_context(self.actions)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self) -> Reborn:
        """Router and controller; what keeps the latter alive."""
        self.whole.router.start()
        self.reborn = Reborn(self.whole.controller)
        self.reborn.start()
        self._stack.callback(self.reborn.stop)
        return self.reborn

    def kill(self) -> None:
        """SIGKILL of the controller; back when it is dead. Whoever keeps it alive starts another."""
        self.whole.controller.kill()

    # What a person does, without the proxy.

    def apply(self, document: Mapping[str, Any]) -> None:
        """As kubectl apply --server-side."""
        params = {"fieldManager": "person", "force": "true"}
        headers = {"Content-Type": "application/apply-patch+yaml"}
        path = f"{self.base}/modelrollouts/{document['metadata']['name']}"
        self.client.patch(path, json=document, params=params, headers=headers).raise_for_status()

    def patch(self, body: Mapping[str, Any], subresource: str = "", name: str = NAME) -> None:
        """As kubectl patch --type=merge."""
        headers = {"Content-Type": "application/merge-patch+json"}
        path = f"{self.base}/modelrollouts/{name}{subresource}"
        self.client.patch(path, json=body, headers=headers).raise_for_status()

    def target(self, version: str) -> None:
        self.patch({"spec": {"target": version}})

    def act(self, verb: str, version: str) -> str:
        """Create a RolloutAction; its name."""
        name = f"{verb}-{secrets.token_hex(4)}"
        spec = {
            "rollout": NAME,
            "action": verb,
            "version": version,
            "reason": "because",
            "requestedBy": "admin",
        }
        document = {
            "apiVersion": "headgate.dev/v1alpha1",
            "kind": "RolloutAction",
            "metadata": {"name": name},
        }
        self.client.post(f"{self.base}/rolloutactions", json={**document, "spec": spec}).raise_for_status()
        return name

    def delete(self) -> None:
        self.client.delete(f"{self.base}/modelrollouts/{NAME}").raise_for_status()

    # What a person sees.

    def stored(self, name: str = NAME) -> str:
        """Which version of the rollout the API server has now."""
        found = self.client.get(f"{self.base}/modelrollouts/{name}").raise_for_status().json()
        return str(found["metadata"]["resourceVersion"])

    def rollout(self, name: str = NAME) -> Object:
        """As the API server last told; empty if there is none."""
        return self.rollouts.present.get(name, {})

    def status(self, name: str = NAME) -> Mapping[str, Any]:
        status: Mapping[str, Any] = self.rollout(name).get("status", {})
        return status

    def answer(self, action: str) -> str:
        """The phase of the action; "" while it has none."""
        return str(self.actions.present.get(action, {}).get("status", {}).get("phase", ""))

    def until(self, what: str, holds: Callable[[], Any]) -> Any:
        return until(what, holds, self.patience_s, self.says)

    def phase_is(self, phase: str, stable: str, name: str = NAME) -> Mapping[str, Any]:
        """The status once the present spec is in this phase, with this stable version."""

        def holds() -> bool:
            status = self.status(name)
            is_current = status.get("observedGeneration") == self.rollout(name)["metadata"]["generation"]
            return is_current and (status.get("phase"), status.get("stableVersion")) == (phase, stable)

        self.until(f"{name} is {phase} on {stable}", lambda: self.rollout(name) and holds())
        return self.status(name)

    def says(self) -> str:
        shown = {name: value for name, value in self.status().items() if name not in ("state", "evidence")}
        return f"{json.dumps(shown)[:2500]}; {self.whole.says()}"

    def load(self, rate: float = 25.0) -> Load:
        """Live traffic through the router, not begun."""
        ready = self.whole.ready
        self.until("the router is ready", ready.exists)
        return Load(f"http://{json.loads(ready.read_text())['listen']}", rate)

    def broken(self) -> list[str]:
        """Invariants that the recorded history of the rollout breaks."""
        return broken(self.rollouts.of(NAME))
