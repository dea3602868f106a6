"""A served API whose rollouts are decided by the real core, and routers that do, or do not, what their plan says."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from controller.core.checks import CheckResult
from controller.core.machine import decide
from controller.core.status import Observed, VersionObserved
from controller.ports import Recorded
from headgate.cli import root
from headgate.wire.plan import NOTHING_APPLIED, Applied, Endpoint, RoutePlan
from tests.controller.api.served import TOKEN, Api, rollout, served
from tests.controller.at_once import at_once
from tests.controller.memory_store import MemoryStore

KEY = "ml/fraud"


@dataclass
class World:
    """What a test acts on: the API, the state folder, and a command line that finds them."""

    state: Path
    api: Api = field(init=False)
    results: tuple[CheckResult, ...] = ()
    is_deciding: bool = True
    routers: list[asyncio.Task[None]] = field(default_factory=list)

    def reconcile(self, key: str) -> None:
        """One reconcile of the real core over versions that are always ready; soon, on the server's loop."""
        if self.is_deciding:
            asyncio.get_running_loop().call_soon(self._reconcile, key)

    def _reconcile(self, key: str) -> None:
        store, registry = self.api.store, self.api.registry
        stored = store.load(key)
        if stored is None:
            return
        if stored.deleting:
            at_once(store.delete(key))
            registry.drop(key)
            return
        spec = self.api.deps.spec_of(stored)
        assert spec is not None
        ready = VersionObserved(endpoints=(Endpoint("127.0.0.1", 9001),), is_running=True)
        seen = Observed(
            epoch=1,
            versions={version.identity: ready for version in spec.versions},
            routers=registry.observed(key),
            actions=store.pending_actions(key),
        )
        decision = decide(spec, stored.status, seen, self.results, time.time())
        at_once(store.record(key, Recorded(decision, b"", self.results)))
        if decision.plan is not None:
            registry.publish(decision.plan)
        self.api.deps.changes.notify(key)

    def decide_again(self) -> None:
        """A reconcile now, done when this returns."""
        self.api.on_loop(lambda: self._reconcile(KEY))

    def router(self, name: str = "r1", *, obeys: bool = True) -> None:
        """A router that counts from now on; one that does not obey says so once and is silent."""

        async def serve() -> None:
            applied: Applied = NOTHING_APPLIED
            while True:
                plan = await self.api.registry.poll(KEY, name, applied, "", 60.0 if obeys else 0.0)
                if not isinstance(plan, RoutePlan) or not obeys:
                    return
                applied = plan.triple

        self.routers.append(self.api.on_loop(lambda: asyncio.get_running_loop().create_task(serve())))

    def ready(self, *names: str, **spec: Any) -> None:
        """A rollout with v1 stable, and routers of these names that obey."""
        assert self.api.apply(rollout(**spec)).status_code == 201
        for name in names or ("r1",):
            self.router(name)
        self.until(lambda shown: shown["status"]["phase"] == "Healthy")

    def until(self, holds: Any) -> dict[str, Any]:
        """The first status for which it holds."""
        end = time.monotonic() + 60
        while True:
            shown: dict[str, Any] = self.api.client.get(f"/v1/rollouts/{KEY}/status").json()
            if holds(shown):
                return shown
            assert time.monotonic() < end, shown
            self.decide_again()
            time.sleep(0.01)

    def on_trial(self) -> None:
        """v2 gets its first share."""
        self.api.client.post(f"/v1/rollouts/{KEY}/target", json={"version": "v2"})
        self.until(lambda shown: (shown["status"]["weights"] or {}).get("acknowledged", {}).get("high"))

    def run(self, *arguments: str, **more: Any) -> Result:
        """The command as typed, pointed at this API."""
        environment = {"HEADGATE_STATE": str(self.state), **more.pop("env", {})}
        return CliRunner().invoke(root(), arguments, env=environment, catch_exceptions=False, **more)


@contextmanager
def world(state: Path) -> Iterator[World]:
    """The API with its state folder, until the block ends."""
    made = World(state)
    with served(MemoryStore(), on_wake=made.reconcile) as api:
        made.api = api
        (state / "token").write_text(TOKEN + "\n")
        (state / "endpoint.json").write_text(
            f'{{"api": "http://127.0.0.1:{api.port}", "tokenFile": "{state / "token"}"}}'
        )
        yield made
        for router in made.routers:
            api.loop.call_soon_threadsafe(router.cancel)
