"""A thousand rollouts: what they cost at rest and under way, how long they take to become Healthy, and a restart."""

import asyncio
import json
import math
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from bench.controller import objects
from bench.controller.fleet import Fleet
from bench.controller.scene import Controller, Scene
from bench.report import Target
from tests.cluster.testbed.cluster import Testbed

SETTLE_S: Final = 15.0
"""What a start leaves to do is done after this."""

Runs = dict[str, Any]


def name_of(number: int) -> str:
    return f"r{number:05}"


async def measured(
    rollouts: int, active: int, listed: int, window_s: float, restarts: int
) -> tuple[list[Target], Runs]:
    """All figures of scale, on one API server without an audit log."""
    with Testbed(audit=False) as cluster:
        scene = Scene(cluster, "many")
        try:
            await scene.begin()
            return await _measured(scene, rollouts, active, listed, window_s, restarts)
        finally:
            await scene.close()


async def _measured(
    scene: Scene, rollouts: int, active: int, listed: int, window_s: float, restarts: int
) -> tuple[list[Target], Runs]:
    names = [name_of(number) for number in range(rollouts)]
    await _workloads(scene, names)
    controller = scene.controller()
    controller.start()
    await controller.ready()
    fleet = Fleet(controller.port, controller.token, map(scene.key, names))
    created_s = await _create(scene, names, fleet)
    await asyncio.sleep(SETTLE_S)
    idle = await usage(controller, window_s)
    again = await _restarts(controller, restarts)
    await fleet.until(lambda router: router.plan is not None, 120.0)
    await _activate(scene, names[:active], fleet)
    before = await controller.reconciles()
    busy = await usage(controller, window_s)
    reconciles = since(before, await controller.reconciles())
    await fleet.stop()
    fleet.report(map(scene.key, names))
    await asyncio.sleep(SETTLE_S)
    reporting = await usage(controller, window_s)
    await fleet.stop()
    controller.program.stop()
    urls = await _urls(scene.cluster, rollouts, restarts)
    listing = await _listing(scene, listed - rollouts)
    best = min(again, key=lambda run: run["s"])
    targets = [
        Target(f"{rollouts:,} rollouts at rest, memory, MiB", idle["mib"], "<=", 200),
        Target(f"{rollouts:,} rollouts at rest, % of a core", idle["core_percent"], "<=", 3),
        Target(f"{active} of them under way, memory, MiB", busy["mib"], "<=", 400),
        Target(f"{active} of them under way, % of a core", busy["core_percent"], "<=", 100),
        Target(f"restart with {rollouts:,}: all reconciled once, s", best["s"], "<=", 5),
        Target("the same with versions behind URLs, s", min(run["s"] for run in urls), "<=", 5),
        Target(f"{rollouts:,} created: all Healthy, s", created_s, "<=", 60),
        Target(f"{listed:,} listed and indexed, s", listing["s"], "<=", 30),
        Target("reconcile, p99, ms", round(percentile(reconciles, 0.99) * 1000, 1), "<=", 100),
    ]  # fmt: skip
    runs = {
        "idle": idle,
        "active": busy,
        "every router reports each second": reporting,
        "restarts": again,
        "restarts, versions behind URLs": urls,
        "listing": listing,
        "reconciles of the active, at most so many seconds": reconciles,
    }
    return targets, runs


async def _workloads(scene: Scene, names: list[str]) -> None:
    """A ready Service for each rollout's v1 and v2; both versions of a rollout are behind addresses of their own."""
    for suffix in ("v1", "v2"):
        services = [f"{name}-{suffix}" for name in names]
        await scene.create(objects.services(scene.namespace), map(objects.service, services))
        slices = (objects.endpoint_slice(service, number) for number, service in enumerate(services))
        await scene.create(objects.slices(scene.namespace), slices)


async def _create(scene: Scene, names: list[str], fleet: Fleet) -> float:
    """Seconds from the first rollout's creation until all are Healthy; each one's router begins to poll once it is there."""
    began = time.monotonic()
    watching = asyncio.create_task(scene.until_healthy(len(names)))
    documents = (objects.rollout(name, _versions(name)) for name in names)
    await scene.create(
        objects.rollouts(scene.namespace), documents, lambda name: fleet.start([scene.key(name)])
    )
    return round(await watching - began, 2)


def _versions(name: str) -> list[objects.Json]:
    return [objects.by_service("v1", f"{name}-v1"), objects.by_service("v2", f"{name}-v2")]


async def _restarts(controller: Controller, times: int) -> list[Runs]:
    """The controller is told to stop, and started again: seconds from its start until all were reconciled once."""
    runs = []
    for _ in range(times):
        controller.program.stop()
        began = controller.start()
        took_s = await controller.ready() - began
        runs.append({"s": round(took_s, 2), "processor_s": controller.cpu_s})
    return runs


async def _activate(scene: Scene, names: list[str], fleet: Fleet) -> None:
    """Start the canary of these, whose routers report each second, and wait until each has its first share."""
    keys = {scene.key(name) for name in names}
    fleet.report(keys)
    await scene.patch_all(names, {"spec": {"target": "v2"}})
    await fleet.until(
        lambda router: router.rollout not in keys or (router.plan is not None and router.plan.weights().get("v2", 0) > 0),
        300.0,
    )  # fmt: skip


async def _urls(cluster: Testbed, rollouts: int, restarts: int) -> list[Runs]:
    """The same restarts with a thousand URLs that are asked whether they are ready, all answered by one server."""
    server = await asyncio.start_server(_ready, "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    scene = Scene(cluster, "urls")
    names = [name_of(number) for number in range(rollouts)]
    controller = scene.controller("urls")
    try:
        await scene.begin()
        controller.start()
        await controller.ready()
        fleet = Fleet(controller.port, controller.token, map(scene.key, names))
        watching = asyncio.create_task(scene.until_healthy(rollouts))
        documents = (objects.rollout(name, [objects.by_url("v1", port)]) for name in names)
        path = objects.rollouts(scene.namespace)
        await scene.create(path, documents, lambda name: fleet.start([scene.key(name)]))
        await watching
        runs = await _restarts(controller, restarts)
        await fleet.stop()
        return runs
    finally:
        controller.program.stop()
        await scene.close()
        server.close()


async def _ready(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A model server as far as readiness goes."""
    if await reader.readline():
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    writer.close()


async def _listing(scene: Scene, more: int) -> Runs:
    """So many more rollouts, that nobody looks after; then a process that only lists and indexes them all."""
    documents = (objects.rollout(f"more-{number:05}", _versions("none")) for number in range(more))
    await scene.create(objects.rollouts(scene.namespace), documents)
    config = scene.cluster.kubeconfig(namespace=scene.namespace)
    command = [sys.executable, "-m", "bench.controller.listing", str(config), scene.namespace]
    done = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await done.communicate()
    found: Runs = json.loads(said)
    return found


async def usage(controller: Controller, window_s: float) -> Runs:
    """What the process uses in so many seconds from now."""
    began, used = time.monotonic(), controller.cpu_s
    await asyncio.sleep(window_s)
    percent = 100 * (controller.cpu_s - used) / (time.monotonic() - began)
    return {"mib": round(controller.memory_mib, 1), "core_percent": round(percent, 2), "window_s": window_s}


def since(before: Mapping[float, float], after: Mapping[float, float]) -> dict[float, float]:
    return {bound: count - before.get(bound, 0.0) for bound, count in after.items()}


def percentile(counts: Mapping[float, float], share: float) -> float:
    """The bound of the histogram's bucket that this share of all lies below, interpolated within the bucket."""
    wanted, low, reached = share * counts[math.inf], 0.0, 0.0
    for bound in sorted(counts):
        if counts[bound] >= wanted:
            inside = counts[bound] - reached
            return (
                low
                if math.isinf(bound)
                else low + (bound - low) * ((wanted - reached) / inside if inside else 1)
            )
        low, reached = bound, counts[bound]
    return low
