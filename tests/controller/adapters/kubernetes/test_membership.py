"""Which routers are known to be gone: by their pods, and never on a copy that may be old."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.adapters.kubernetes.membership import FRESH_S, SILENT_S, Membership
from controller.adapters.routers import RouterRegistry
from headgate.log import Log
from headgate.wire.plan import NOTHING_APPLIED
from tests.controller.at_once import at_once
from tests.controller.memory_store import MemoryStore

KEY = "ml/fraud"


@dataclass
class Pods:
    """A copy of the pods, as a test sets it."""

    phases: dict[str, str] = field(default_factory=dict)
    is_synced: bool = True
    last_heard_s: float = 0.0

    def get(self, key: str) -> dict[str, Any] | None:
        return {"status": {"phase": self.phases[key]}} if key in self.phases else None


class World:
    def __init__(self, *, are_pods: bool = True) -> None:
        self.now = 1_000.0
        self.store = MemoryStore()
        at_once(self.store.put_document(KEY, {"spec": {}}))
        self.registry = RouterRegistry(self.store, lambda: self.now)
        self.pods = Pods({"ml/router-a": "Running", "ml/router-b": "Running"})
        self.membership = Membership(
            self.registry, self.pods, lambda: [KEY], lambda: self.now, Log("test"), are_pods=are_pods
        )
        self.heard("router-a", "router-b")
        self.look()

    def heard(self, *names: str) -> None:
        for name in names:
            asyncio.run(self.registry.poll(KEY, name, NOTHING_APPLIED, "", 0.0))

    def look(self) -> list[str]:
        """Who counts after a look."""
        asyncio.run(self.membership.look())
        assert [one.id for one in self.registry.observed(KEY)] == sorted(self.store.members(KEY))
        return [one.id for one in self.registry.observed(KEY)]


def test_a_router_whose_pod_was_replaced_counts_no_more_once_it_is_silent() -> None:
    world = World()
    del world.pods.phases["ml/router-a"]
    world.pods.phases["ml/router-c"] = "Running"
    world.heard("router-c")
    assert world.look() == ["router-a", "router-b", "router-c"], "it may be the copy that is late"
    world.now += SILENT_S + 1
    assert world.look() == ["router-b", "router-c"], "their pods are there, silent or not"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_whose_containers_ended_is_gone(phase: str) -> None:
    world = World()
    world.pods.phases["ml/router-a"] = phase
    world.now += SILENT_S + 1
    assert world.look() == ["router-b"]


def test_a_silent_router_whose_pod_is_there_counts() -> None:
    world = World()
    world.now += 1_000 * SILENT_S
    assert world.look() == ["router-a", "router-b"]


def test_a_router_that_is_heard_counts_whatever_it_calls_itself() -> None:
    world = World()
    world.heard("my-laptop")
    world.now += SILENT_S - 1
    assert world.look() == ["my-laptop", "router-a", "router-b"]


def test_a_copy_that_may_be_old_says_nothing() -> None:
    for change in ({"is_synced": False}, {"last_heard_s": FRESH_S + 1}):
        world = World()
        world.pods.phases.clear()
        for name, value in change.items():
            setattr(world.pods, name, value)
        world.now += SILENT_S + 1
        assert world.look() == ["router-a", "router-b"]


def test_after_a_restart_of_the_controller_a_router_has_time_to_be_heard() -> None:
    world = World()
    del world.pods.phases["ml/router-a"]
    world.now += 10 * SILENT_S
    registry = RouterRegistry(world.store, lambda: world.now)
    reborn = Membership(registry, world.pods, lambda: [KEY], lambda: world.now, Log("test"), are_pods=True)
    asyncio.run(reborn.look())
    assert world.store.members(KEY) == ("router-a", "router-b")
    world.now += SILENT_S + 1
    asyncio.run(reborn.look())
    assert world.store.members(KEY) == ("router-b",)


def test_where_others_than_pods_may_sign_in_only_one_that_was_a_pod_is_ever_gone() -> None:
    world = World(are_pods=False)
    world.heard("my-laptop")
    del world.pods.phases["ml/router-a"]
    world.look()
    world.now += SILENT_S + 1
    assert world.look() == ["my-laptop", "router-b"]
