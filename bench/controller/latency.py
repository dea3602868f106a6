"""From a person's word, or a pod's readiness, to the plan that a router gets; and what that costs the API server."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from bench.controller import objects
from bench.controller.fleet import Fleet, Router
from bench.controller.scene import Scene
from bench.report import Target
from tests.cluster.testbed.cluster import ADMIN, Testbed

WAIT_S: Final = 120.0
WRITES: Final = ("create", "update", "patch", "delete")
SETTLED_S: Final = 90.0
"""After a rollback the version is drained, and what may wait is written; then there is rest."""

QUIET_S: Final = 3.0

Runs = dict[str, Any]


async def measured(alone: int, at_once: int, ready: int, rest_s: float) -> tuple[list[Target], Runs]:
    """All figures of latency and writes, on one API server with an audit log."""
    with Testbed() as cluster:
        scene = Scene(cluster, "few")
        try:
            await scene.begin()
            return await _Story(scene).told(alone, at_once, ready, rest_s)
        finally:
            await scene.close()


class _Story:
    """Rollouts with a candidate that has its first share, and one router each."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._changed: dict[str, asyncio.Event] = {}

    async def told(self, alone: int, at_once: int, ready: int, rest_s: float) -> tuple[list[Target], Runs]:
        scene = self._scene
        singles = [f"alone-{number:03}" for number in range(alone)]
        crowd = [f"crowd-{number:03}" for number in range(at_once)]
        late = [f"late-{number:03}" for number in range(ready)]
        controller = scene.controller()
        controller.start()
        await controller.ready()
        self._fleet = Fleet(controller.port, controller.token, map(scene.key, (*singles, *crowd, *late)))
        await self._create((*singles, *crowd), is_ready=True)
        await self._create(late, is_ready=False)
        await scene.patch_all((*singles, *crowd, *late), {"spec": {"target": "v2"}})
        await self._until((*singles, *crowd), lambda router: share(router) > 0)
        await self._quiet()
        by_itself = [await self._rolled_back(name) for name in singles]
        crowded = await asyncio.gather(*(self._rolled_back(name) for name in crowd))
        readiness = [await self._became_ready(name, number) for number, name in enumerate(late)]
        await scene.patch_all(late, {"spec": {"target": "v1"}})
        await asyncio.sleep(SETTLED_S)
        writes = self._writes()
        await asyncio.sleep(rest_s)
        at_rest = self._writes() - writes
        await self._fleet.stop()
        controller.program.stop()
        audited, written = list(scene.cluster.audited()), self._written()
        each = [_writes_of(name, audited, written) for name in singles]
        targets = [
            Target("action created: plan sent, alone, p99, ms", worst(by_itself), "<=", 100),
            Target(f"the same, each of {at_once} at once, ms", round(max(crowded), 1), "<=", 1000),
            Target("new version ready: first weight, p99, s", round(worst(readiness) / 1000, 3), "<=", 0.3),
            Target("API writes for one rollback", max(count.total() for count in each), "<=", 6),
            Target(f"API writes at rest in {rest_s:.0f} s", at_rest.total(), "<=", 0),
        ]
        runs = {
            "alone, ms": described(by_itself),
            "at once, ms": described(crowded),
            "ready to first weight, ms": described(readiness),
            "writes of the rollbacks": dict(sum(each, Counter())),
            "rollbacks": len(singles),
            "writes at rest": dict(at_rest),
        }
        return targets, runs

    async def _create(self, names: Sequence[str], *, is_ready: bool) -> None:
        """Rollouts with v1 stable; the Service of v2 has a ready endpoint, or one that is not."""
        scene, numbered = self._scene, list(enumerate(names))
        services = [objects.service(f"{name}-{version}") for name in names for version in ("v1", "v2")]
        await scene.create(objects.services(scene.namespace), services)
        slices = [objects.endpoint_slice(f"{name}-v1", number) for number, name in numbered]
        slices += [
            objects.endpoint_slice(f"{name}-v2", number, is_ready=is_ready) for number, name in numbered
        ]
        await scene.create(objects.slices(scene.namespace), slices)
        versions = {name: [objects.by_service(v, f"{name}-{v}") for v in ("v1", "v2")] for name in names}
        documents = (objects.rollout(name, versions[name]) for name in names)
        await scene.create(
            objects.rollouts(scene.namespace), documents, lambda name: self._fleet.start([scene.key(name)])
        )
        await self._until(names, lambda router: router.plan is not None)
        self._fleet.report(map(scene.key, names))

    async def _rolled_back(self, name: str) -> float:
        """Milliseconds from the action's creation being sent until the router has the plan without v2."""
        scene = self._scene
        action = objects.rollback(f"back-{name}", name, "v2", ADMIN)
        began = time.monotonic()
        await scene.create(objects.actions(scene.namespace), [action])
        router = await self._until([name], lambda router: share(router) == 0)
        return (router.planned_at - began) * 1000

    async def _became_ready(self, name: str, number: int) -> float:
        """Milliseconds from the EndpointSlice's write being sent until the router has a plan with a share for v2."""
        scene = self._scene
        path = objects.slices(scene.namespace, f"{name}-v2")
        began = time.monotonic()
        await scene.put([(path, objects.endpoint_slice(f"{name}-v2", number))])
        router = await self._until([name], lambda router: share(router) > 0)
        return (router.planned_at - began) * 1000

    async def _until(self, names: Sequence[str], holds: Any) -> Router:
        """Wait until it holds for the routers of all these rollouts; the last one's."""
        routers = [self._fleet.routers[self._scene.key(name)] for name in names]
        ends_at = time.monotonic() + WAIT_S
        while not all(map(holds, routers)):
            if time.monotonic() > ends_at:
                lacking = [router.rollout for router in routers if not holds(router)]
                raise TimeoutError(f"{len(lacking)} routers do not have the plan, such as {lacking[0]}")
            await asyncio.sleep(0.001)
        return routers[-1]

    async def _quiet(self) -> None:
        """Until the Events of what went before are written: they would be counted among the rollback's writes."""
        before, now = -1, self._writes()["create events"]
        while now != before:
            await asyncio.sleep(QUIET_S)
            before, now = now, self._writes()["create events"]

    def _writes(self) -> Counter[str]:
        """What the controller wrote so far, by verb and resource."""
        return Counter(f"{event['verb']} {resource(event)}" for event in self._written())

    def _written(self) -> list[dict[str, Any]]:
        return [
            event
            for event in self._scene.cluster.audited()
            if event["verb"] in WRITES
            and event["userAgent"].startswith("headgate/")
            and event["objectRef"].get("namespace") == self._scene.namespace
            and event["responseStatus"]["code"] < 300
        ]


def _writes_of(
    name: str, audited: Sequence[dict[str, Any]], written: Sequence[dict[str, Any]]
) -> Counter[str]:
    """What the controller wrote about the rollback of this rollout, from the action's creation on."""
    asked_at = next(
        event["requestReceivedTimestamp"]
        for event in audited
        if event["verb"] == "create"
        and event["objectRef"].get("resource") == "rolloutactions"
        and event["objectRef"].get("name") == f"back-{name}"
    )
    return Counter(
        f"{event['verb']} {resource(event)}"
        for event in written
        if event["requestReceivedTimestamp"] >= asked_at
        and (event["objectRef"].get("name") or "").removeprefix("back-").split(".")[0] == name
    )


def resource(event: dict[str, Any]) -> str:
    return "/".join(filter(None, (event["objectRef"]["resource"], event["objectRef"].get("subresource"))))


def share(router: Router) -> int:
    return router.plan.weights().get("v2", 0) if router.plan is not None else 0


def worst(values: Sequence[float]) -> float:
    """The 99th percentile; of fewer than a hundred values the largest."""
    return round(sorted(values)[max(len(values) * 99 // 100 - 1, 0) if len(values) >= 100 else -1], 1)


def described(values: Sequence[float]) -> Runs:
    ordered = sorted(values)
    return {
        "count": len(ordered),
        "least": round(ordered[0], 1),
        "median": round(statistics.median(ordered), 1),
        "p99": worst(ordered),
        "most": round(ordered[-1], 1),
    }
