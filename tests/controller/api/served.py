"""A real server on a port of the kernel's choice, over a real registry and a store in memory."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from controller.adapters.routers import RouterRegistry
from controller.api.access import SharedToken
from controller.api.app import create_app
from controller.api.deps import Changes, Deps
from controller.api.server import api_server, listen
from controller.core.checks import CheckResult
from controller.core.status import Decision, Status
from controller.ports import Recorded, Store
from controller.telemetry import Metrics
from headgate.wire.plan import PlanVersion, RoutePlan, SlotRange
from tests.controller.at_once import at_once

TOKEN = "t0ken-of-this-test"
DEADLINE_S = 60.0
KEY = "ml/fraud"


@dataclass
class Api:
    """The served API, what it is made of, and a client that brings the token."""

    deps: Deps
    store: Store
    registry: RouterRegistry
    port: int
    loop: asyncio.AbstractEventLoop
    client: httpx.Client
    woken: list[str] = field(default_factory=list)

    def on_loop(self, call: Callable[[], Any]) -> Any:
        """Run on the server's loop, as the controller's own code does."""

        async def run() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(DEADLINE_S)

    def apply(self, document: dict[str, Any]) -> httpx.Response:
        """PUT the document at its own address."""
        metadata = document["metadata"]
        return self.client.put(f"/v1/rollouts/{metadata['namespace']}/{metadata['name']}", json=document)

    def decide(self, status: Status, results: tuple[CheckResult, ...] = (), **more: Any) -> None:
        """Record this as a reconcile would, and tell those who wait."""

        def record() -> None:
            at_once(
                self.store.record(KEY, Recorded(Decision(status, None, frozenset(), **more), b"", results))
            )
            self.deps.changes.notify(KEY)

        self.on_loop(record)

    def publish(self, plan: RoutePlan) -> None:
        """Offer the plan to the routers."""
        self.on_loop(lambda: self.registry.publish(plan))


def rollout(name: str = "fraud", **spec: Any) -> dict[str, Any]:
    """A sound document: v1 is stable, v2 is there."""
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "ModelRollout",
        "metadata": {"name": name, "namespace": "ml"},
        "spec": {
            "target": "v1",
            "initialStable": "v1",
            "versions": [
                {"name": "v1", "url": "http://127.0.0.1:9001"},
                {"name": "v2", "url": "http://127.0.0.1:9002"},
            ],
            "strategy": {"canary": {"weights": ["5%", "50%"], "every": "10s"}},
            **spec,
        },
    }


def plan(generation: int = 1, epoch: int = 1) -> RoutePlan:
    """A plan with everything on v1."""
    return RoutePlan(
        rollout=KEY,
        epoch=epoch,
        generation=generation,
        salt="s",
        stable="v1",
        versions=(PlanVersion(name="v1", identity="i1", role="stable"),),
        slots=(SlotRange(0, 10_000, "v1"),),
    )


def until(is_true: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition; fails when it does not come true within the deadline."""
    end = time.monotonic() + deadline_s
    while not is_true():
        assert time.monotonic() < end, "it did not happen within the deadline"
        time.sleep(0.005)


def statuses(store: Store) -> list[tuple[str, Status]]:
    """The present status of every rollout."""
    found = [store.load(key) for key in store.keys()]  # noqa: SIM118  # a port, not a mapping
    return [(stored.key, stored.status) for stored in found if stored is not None]


@contextmanager
def served(kept: Store, on_wake: Callable[[str], None] = lambda key: None, **more: Any) -> Iterator[Api]:
    """The API over this store, on loopback, until the block ends; `on_wake` is called, on its loop, to reconcile."""
    changes, woken = Changes(), list[str]()

    def wake(key: str) -> None:
        woken.append(key)
        on_wake(key)

    def on_change(key: str) -> None:
        wake(key)
        changes.notify(key)

    registry = RouterRegistry(kept, time.time, on_change)
    deps = Deps(
        store=kept,
        routers=registry,
        changes=changes,
        wake=wake,
        now=time.time,
        metrics=Metrics(lambda: statuses(kept)),
        providers=frozenset({"main"}),
        **{"access": SharedToken(TOKEN), **more},
    )
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = api_server(create_app(deps))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve(sockets=[listener]),))
    thread.start()
    until(lambda: server.started)
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"authorization": f"Bearer {TOKEN}"},
        timeout=DEADLINE_S,
        trust_env=False,
    )
    try:
        with client:
            yield Api(deps, kept, registry, port, loop, client, woken)
    finally:
        loop.call_soon_threadsafe(changes.close)
        loop.call_soon_threadsafe(registry.close)
        server.should_exit = True
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        loop.close()
