"""A gateway for tests: it carries out an HTTPRoute of the API server by a proxy of its own, and says so in its status."""

import json
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from headgate.wire.codec import encode
from headgate.wire.plan import Endpoint, IdentityKey, PlanVersion, RoutePlan, SlotRange
from tests.cluster.testbed.cluster import Testbed
from tests.cluster.testbed.programs import Program
from tests.cluster.whole import HEADGATE, until

POLL_S: Final = 0.1
MERGE: Final = {"content-type": "application/merge-patch+json"}
Json = dict[str, Any]


class Gateway:
    """Follows one HTTPRoute while in `with`. `where` has the address of each backend Service.

    Weights are carried out by `headgate router --plan`, which is only a proxy here: it knows no rollout.
    """

    def __init__(
        self, cluster: Testbed, namespace: str, route: str, folder: Path, where: Mapping[str, Endpoint]
    ) -> None:
        self.accepts = True
        self._client = cluster.client()
        self._path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes/{route}"
        self._where = where
        self._folder = folder
        self._plan = folder / "gateway-plan.json"
        self._ready = folder / "gateway-ready.json"
        self._done = 0
        self._program = Program(
            "gateway",
            [HEADGATE, "router", "--plan", self._plan, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
             "--id", "gateway", "--run", folder / "gateway", "--ready-file", self._ready],
            folder,
        )  # fmt: skip
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"gateway of {route}", daemon=True)

    def __enter__(self) -> "Gateway":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)
        self._program.stop()
        self._client.close()

    @property
    def url(self) -> str:
        """Where clients come, once it serves."""
        until("the gateway serves", self._ready.exists)
        return f"http://{json.loads(self._ready.read_text())['listen']}"

    def route(self) -> Json:
        """The route as it is now; empty if there is none."""
        answer = self._client.get(self._path)
        found: Json = answer.json() if answer.is_success else {}
        return found

    def weights(self) -> dict[str, int]:
        """By backend, as the last rule says."""
        return _weights(self.route())

    def edit(self, weights: Mapping[str, int]) -> None:
        """Somebody changes the weights by hand."""
        rules = self.route()["spec"]["rules"]
        for backend in rules[-1]["backendRefs"]:
            backend["weight"] = weights.get(backend["name"], 0)
        self._patch({"spec": {"rules": rules}})

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=5.0) as client:
            while not self._over.wait(POLL_S):
                route = self.route()
                if route and route["metadata"]["generation"] != self._done:
                    self._carry_out(client, route)

    def _carry_out(self, client: httpx.Client, route: Json) -> None:
        generation = route["metadata"]["generation"]
        plan = self._planned(_weights(route), generation)
        self._plan.write_bytes(encode(plan))
        if not self._program.alive:
            self._program.start()
            until("the gateway serves", self._ready.exists)
        admin = json.loads(self._ready.read_text())["admin"]
        while client.get(f"http://{admin}/v1/plan").json()["applied"] != str(plan.triple):
            os.kill(self._program.pid, signal.SIGHUP)
            self._over.wait(POLL_S)
        self._report(generation)
        self._done = generation

    def _planned(self, weights: Mapping[str, int], generation: int) -> RoutePlan:
        slots, start = [], 0
        for name, weight in weights.items():
            if weight:
                slots.append(SlotRange(start, start + weight, name))
                start += weight
        versions = [
            PlanVersion(name, f"id-{name}", "candidate" if index else "stable", (self._where[name],))
            for index, name in enumerate(weights)
        ]
        return RoutePlan(
            rollout="gateway/gateway",
            epoch=1,
            generation=generation,
            salt="gateway",
            stable=versions[0].name,
            versions=tuple(versions),
            slots=tuple(slots),
            identity=IdentityKey(("header:x-user-id",)),
        )

    def _report(self, generation: int) -> None:
        """What a gateway writes once it does what this generation says."""
        conditions = [
            {
                "type": kind,
                "status": "True" if self.accepts else "False",
                "reason": "Accepted" if self.accepts else "Refused",
                "message": "",
                "observedGeneration": generation,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            for kind in ("Accepted", "ResolvedRefs")
        ]
        parent = {
            "controllerName": "example.com/gateway",
            "parentRef": {"name": "public"},
            "conditions": conditions,
        }
        self._patch({"status": {"parents": [parent]}}, "/status")

    def _patch(self, change: Json, subresource: str = "") -> None:
        answer = self._client.patch(self._path + subresource, json=change, headers=MERGE)
        if answer.status_code != httpx.codes.NOT_FOUND:  # the route may go at any time
            answer.raise_for_status()


def _weights(route: Json) -> dict[str, int]:
    rules = route.get("spec", {}).get("rules", [{}])
    return {one["name"]: one["weight"] for one in rules[-1].get("backendRefs", ())}
