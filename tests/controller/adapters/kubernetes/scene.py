"""The controller over an API server in memory: real core, reconciler, registry and store, on a clock of our own.

One rollout, one router that obeys, versions that are ready as soon as they shall run. `crash` forgets all that a
controller has in memory; what survives is in the cluster, and at the router.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from controller.adapters.kubernetes.actions import INDEX
from controller.adapters.kubernetes.store import KubernetesStore
from controller.adapters.routers import RouterRegistry
from controller.api import view
from controller.api.shown import Seen
from controller.core.analysis.inputs import Missing
from controller.core.checks import Query
from controller.core.effects import Effect, EffectOutcome
from controller.core.spec import Spec, VersionSpec, Warmup
from controller.core.status import Decision, VersionObserved, Workload
from controller.crd import Refused
from controller.crd.actions import ACTION_KIND
from controller.crd.compiler import Compiler
from controller.crd.models import KIND
from controller.errors import ControllerError
from controller.ports import Compiled, Stored
from controller.reconcile.gather import Gatherer
from controller.reconcile.reconciler import Outcome, Reconciler
from controller.telemetry import Metrics
from headgate.log import Log
from headgate.wire.plan import NOTHING_APPLIED, Applied, Endpoint, RoutePlan
from headgate.wire.telemetry import Outcomes, Telemetry, VersionCounters
from tests.contract.store.kubernetes import store_over
from tests.controller.adapters.kubernetes.memory_cluster import Cluster, Copy, Json

KEY = "default/fraud"
GROUP = "/apis/headgate.dev/v1alpha1/namespaces/default"
PATH = f"{GROUP}/modelrollouts/fraud"


class Ready:
    """Workloads whose versions are ready as soon as they shall run."""

    def __init__(self) -> None:
        self.running: Mapping[str, Workload] = {}

    async def observe(
        self, key: str, documents: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, VersionObserved]:
        return {
            identity: VersionObserved((Endpoint("127.0.0.1", 9000 + index),), is_running=True)
            for index, identity in enumerate(sorted(documents))
            if identity in self.running
        }

    async def apply(
        self, key: str, documents: Mapping[str, Mapping[str, Any]], running: Mapping[str, Workload]
    ) -> None:
        self.running = running


class Cold:
    """Nobody asks for warmth here."""

    def measure(
        self, key: str, warmup: Warmup, version: VersionSpec, seen: VersionObserved
    ) -> VersionObserved:
        return seen

    def stop(self, key: str) -> None:
        return


class Silent:
    """Neither hooks nor counters."""

    def run(self, key: str, effects: Sequence[Effect]) -> None:
        return

    def outcomes(self, key: str) -> tuple[EffectOutcome, ...]:
        return ()

    async def counts(self, query: Query, version: str) -> Missing:
        return Missing("nobody counts")


class Scene:
    """See the module; `turn` is one second of everybody's life."""

    def __init__(self, **more: Any) -> None:
        self.cluster = Cluster()
        self.now = 1_000_000.0
        self.workloads = Ready()
        self.applied: Applied = NOTHING_APPLIED
        self.plans: list[RoutePlan] = []
        self.is_leader = True
        self.transitions = 0
        self.more = more
        self.outcomes: list[Outcome | str] = []
        self.actions_made = 0
        self.requests_per_turn: dict[str, int] = {}
        self._counted: Counter[str] = Counter()

    def copies(self) -> tuple[Copy, Copy]:
        """What is in the cluster, as reflectors that begin now have it."""
        made = Copy(self.cluster, KIND), Copy(self.cluster, ACTION_KIND, INDEX)
        for kept in self.cluster.objects.values():
            for copied in made:
                copied.hear(kept, is_gone=False)
        return made

    async def start(self, copies: tuple[Copy, Copy] | None = None) -> None:
        """A controller, from nothing but what is in the cluster, or in these copies of it."""
        self.rollouts, self.actions = copies or self.copies()
        self.cluster.copies[:] = [self.rollouts, self.actions]
        self.compiler = Compiler()
        self.store: KubernetesStore = store_over(
            self.cluster,
            self.rollouts,
            self.actions,
            compiled=self._spec,
            shown=self._shown,
            now=lambda: self.now,
            is_leader=lambda: self.is_leader,
            transitions=lambda: self.transitions,
            **self.more,
        )
        self.registry = RouterRegistry(self.store, lambda: self.now)
        silent = Silent()
        self.reconciler = Reconciler(
            store=self.store,
            workloads=self.workloads,
            warmth=Cold(),
            routers=self.registry,
            gatherer=Gatherer(silent, lambda key: None),
            effects=silent,
            compile_document=self._compiled,
            epoch=await self.store.acquire_epoch(self.registry.epoch_seen()),
            metrics=Metrics(),
            now=lambda: self.now,
            on_recorded=self._recorded,
            log=Log("test"),
            leads=lambda: self.is_leader,
        )

    async def crash(self) -> None:
        """The controller is gone, another one leads."""
        self.transitions += 1
        await self.start()

    async def apply(self, **spec: Any) -> None:
        """kubectl apply."""
        document = rollout(**spec)
        if PATH in self.cluster.objects:
            self.cluster.edit(PATH, lambda found: found.update(spec=document["spec"]))
        else:
            await self.cluster.create(f"{GROUP}/modelrollouts", document)

    async def act(self, verb: str, version: str, **more: Any) -> str:
        """kubectl create of a RolloutAction; its path."""
        self.actions_made += 1
        name = f"action-{self.actions_made}"
        spec = {
            "rollout": "fraud",
            "action": verb,
            "version": version,
            "requestedBy": "ann",
            "reason": "so",
            **more,
        }
        action = {"kind": ACTION_KIND, "metadata": {"name": name, "namespace": "default"}, "spec": spec}
        await self.cluster.create(f"{GROUP}/rolloutactions", action)
        return f"{GROUP}/rolloutactions/{name}"

    async def turn(self, times: int = 1, *, seconds: float = 1.0) -> None:
        """The controller looks, the router does what it is told, what may wait is written, and time passes."""
        for _ in range(times):
            await self._try(self._look)
            await self._try(self._route)
            await self.store._catch_up()
            self.now += seconds

    async def _look(self) -> None:
        self.outcomes.append(await self.reconciler.reconcile(KEY))

    async def _route(self) -> None:
        for _ in range(2):
            offered = await self.registry.poll(KEY, "r1", self.applied, "", 0.0)
            if isinstance(offered, RoutePlan):
                self.plans.append(offered)
                self.applied = offered.triple
        if self.requests_per_turn:
            self._counted.update(self.requests_per_turn)
            self.registry.report(self._report())

    def _report(self) -> Telemetry:
        identities = {version.name: version.identity for version in self.plans[-1].versions}
        return Telemetry(
            rollout=KEY,
            router="r1",
            boot="b1",
            started_at=1.0,
            at=self.now,
            applied=str(self.applied),
            versions=tuple(
                VersionCounters(version=name, identity=identities[name], picked=Outcomes(requests=requests))
                for name, requests in self._counted.items()
                if name in identities
            ),
        )

    async def _try(self, part: Callable[[], Awaitable[None]]) -> None:
        """What a server of ours would answer 503, or retry."""
        try:
            await part()
        except ControllerError as error:
            self.outcomes.append(str(error))

    def status(self) -> Json:
        """What people read."""
        found: Json = self.cluster.objects[PATH].get("status", {})
        return found

    def stored(self) -> Stored:
        stored = self.store.load(KEY)
        assert stored is not None
        return stored

    def weight(self, version: str) -> int:
        """The share in the plan that the router has."""
        return self.plans[-1].weights().get(version, 0)

    def writes(self, since: int = 0) -> list[tuple[str, str]]:
        """What the controller wrote: method, and resource with subresource."""
        return [(method, path.removeprefix(f"{GROUP}/")) for method, path in self.cluster.writes[since:]]

    def _recorded(self, key: str, decision: Decision | None) -> None:
        if decision is None:
            self.registry.drop(key)
        else:
            self.store.look_again(key, decision.requeue_at)

    def _compiled(self, stored: Stored) -> Compiled | str:
        found = self.compiler.compile(stored)
        return str(found) if isinstance(found, Refused) else found

    def _spec(self, stored: Stored) -> Spec | str:
        found = self.compiler.compile(stored)
        return str(found) if isinstance(found, Refused) else found.spec

    def _shown(self, stored: Stored, next_at: float | None) -> Json:
        spec = self._spec(stored)
        known = None if isinstance(spec, str) else spec
        return view.full(Seen(stored, known, self.registry.observed(stored.key), self.now, next_at), ())


def rollout(**spec: Any) -> Json:
    """v1 is the target; a canary of two steps of 3 s without checks leads to any other."""
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": KIND,
        "metadata": {"name": "fraud", "namespace": "default"},
        "spec": {
            "target": "v1",
            "initialStable": "v1",
            "checks": [],
            "versions": [{"name": f"v{n}", "url": f"http://127.0.0.1:900{n}"} for n in (1, 2, 3)],
            "strategy": {"canary": {"weights": ["10%", "50%"], "every": "3s"}},
            "capacity": {"drain": "2s", "keepStableWarm": "5s"},
            **spec,
        },
    }


def play(story: Callable[[Scene], Awaitable[None]], **more: Any) -> Scene:
    """Run the story with a controller that has just started."""
    scene = Scene(**more)

    async def whole() -> None:
        await scene.start()
        await story(scene)

    asyncio.run(whole())
    return scene
