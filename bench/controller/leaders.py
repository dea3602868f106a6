"""Two controllers: how long nobody leads after one was killed or told to stop, and what one that was stopped writes."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Any, Final

from bench.controller import objects
from bench.controller.fleet import Fleet
from bench.controller.scene import WAIT_S, Controller, Scene
from bench.report import Target
from tests.cluster.testbed.cluster import Testbed

NAME: Final = "one"
SHORT: Final = ("--lease", "4s")
"""A lease so short makes a hundred stops a matter of minutes."""

WHO: Final = ("alice", "bob")
WRITES: Final = ("create", "update", "patch", "delete")


Runs = dict[str, Any]


async def measured(takeovers: int, stops: int) -> tuple[list[Target], Runs]:
    """All figures of leadership. The controllers are two users, so that the audit log tells them apart."""
    with Testbed() as cluster:
        for who in WHO:
            cluster.kubectl(
                "create", "clusterrolebinding", who, "--clusterrole=cluster-admin", f"--user={who}"
            )
        killed = [await _taken_over(cluster, f"killed-{n}", is_killed=True) for n in range(takeovers)]
        stopped = [await _taken_over(cluster, f"stopped-{n}", is_killed=False) for n in range(takeovers)]
        written = await _stopped_and_continued(cluster, stops)
    targets = [
        Target("take-over after SIGKILL, s", max(killed), "<=", 20),
        Target("take-over after SIGTERM, s", max(stopped), "<=", 3),
        Target(f"writes by an ex-leader over {stops} STOP/CONT", len(written), "<=", 0),
    ]
    return targets, {
        "SIGKILL, s": killed,
        "SIGTERM, s": stopped,
        "stops": stops,
        "ex-leader's writes": written,
    }


class _Two:
    """Two controllers of one namespace with one rollout and its router; the first leads, the second waits."""

    def __init__(self, cluster: Testbed, namespace: str, options: tuple[str, ...]) -> None:
        self.scene = Scene(cluster, namespace)
        self.both = [self.scene.controller(f"{namespace}-{who}", options, user=who) for who in WHO]
        self._drains = itertools.cycle(("1s", "2s"))

    async def begin(self) -> None:
        scene = self.scene
        await scene.begin()
        await scene.create(objects.services(scene.namespace), [objects.service("v1")])
        await scene.create(objects.slices(scene.namespace), [objects.endpoint_slice("v1", 1)])
        await scene.create(
            objects.rollouts(scene.namespace), [objects.rollout(NAME, [objects.by_service("v1", "v1")])]
        )
        for controller in self.both:
            controller.start()
            await controller.says("leading with epoch", "another leads")
        fleet = Fleet(self.both[0].port, self.both[0].token, [scene.key(NAME)])
        fleet.start()
        await scene.until_healthy(1)
        await fleet.stop()

    async def edit(self) -> int:
        """Something to write about; the rollout's generation after it."""
        await self.scene.patch(NAME, {"spec": {"capacity": {"drain": next(self._drains)}}})
        found = await self.scene.rollouts()
        return int(found[NAME]["metadata"]["generation"])

    async def written(self, generation: int) -> float:
        """Wait until a controller has written that it saw this edit; the monotonic second."""
        ends_at = time.monotonic() + WAIT_S
        while time.monotonic() < ends_at:
            status = (await self.scene.rollouts())[NAME].get("status", {})
            if status.get("observedGeneration", 0) >= generation:
                return time.monotonic()
            await asyncio.sleep(0.02)
        raise TimeoutError(
            f"nobody saw generation {generation}: {self.both[0].said[-500:]} {self.both[1].said[-500:]}"
        )

    def last_event(self) -> int:
        """How many requests the API server has had."""
        return sum(1 for _ in self.scene.cluster.audited())

    def writes(self, controller: Controller, since: int) -> Iterator[tuple[str, str]]:
        """What the controller has written since so many requests, its lease apart, which another one holds."""
        for event in itertools.islice(self.scene.cluster.audited(), since, None):
            is_its_own = event["user"].get("username") == controller.user
            if is_its_own and event["verb"] in WRITES and event["responseStatus"]["code"] < 300:
                yield event["verb"], event["objectRef"]["resource"]

    async def close(self) -> None:
        for controller in self.both:
            controller.program.stop()
        await self.scene.close()


async def _taken_over(cluster: Testbed, namespace: str, *, is_killed: bool) -> float:
    """Seconds without a leader, with the default lease, until the other one has written about an edit."""
    two = _Two(cluster, namespace, ())
    try:
        await two.begin()
        leader = two.both[0].program
        await two.written(await two.edit())
        began = time.monotonic()
        await asyncio.to_thread(leader.kill if is_killed else leader.stop)
        return round(await two.written(await two.edit()) - began, 2)
    finally:
        await two.close()


async def _stopped_and_continued(cluster: Testbed, stops: int) -> list[str]:
    """The leader is stopped with work in its hands for longer than its lease, and goes on: what it wrote then."""
    two = _Two(cluster, "stops", SHORT)
    written: list[str] = []
    try:
        await two.begin()
        leader, other = two.both
        for _ in range(stops):
            await two.edit()
            leader.program.suspend()
            await other.says("leading with epoch", again=True)
            await two.written(await two.edit())
            since = two.last_event()
            await two.edit()
            leader.program.resume()
            await leader.ended()
            written += [f"{verb} {resource}" for verb, resource in two.writes(leader, since)]
            leader.start()
            await leader.says("another leads", again=True)
            leader, other = other, leader
        return written
    finally:
        await two.close()
