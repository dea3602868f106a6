"""Two controllers with a short lease, each through a proxy of its own: who writes, and how long nobody does.

The times are printed (pytest -s), and not asserted: others may use the machine.
"""

import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.testbed.cluster import Testbed
from tests.cluster.testbed.programs import free_port
from tests.cluster.whole import rollout
from tests.faults.proxy.proxy import FaultProxy
from tests.faults.recorded import remembered
from tests.faults.scene import Scene, Versions

IS_LONG: Final = os.environ.get("FAULTS") == "long"
LEASE_S: Final = 6
STOPS: Final = 100 if IS_LONG else 2
STOPPED_S: Final = 60.0 if IS_LONG else 0.0
"""How long the first stop lasts at least; others only until another leads."""

LEASE: Final = ("--lease", f"{LEASE_S}s")

pytestmark = pytest.mark.timeout(7200 if IS_LONG else 600)


class Two:
    """The controllers `first`, behind the scene's proxy, and `second`, behind another; a rollout to write about."""

    def __init__(self, scene: Scene, proxy: FaultProxy) -> None:
        whole = scene.whole
        port = free_port()
        second = whole.program_of_controller("second", port, *LEASE, server=proxy.url)
        whole.router = whole.program_of_router(port, whole.api_port)
        self.scene = scene
        self.programs = {"first": whole.controller, "second": second}
        self.proxies = {"first": scene.proxy, "second": proxy}
        self._drains = itertools.cycle(("1s", "2s"))

    def begin(self) -> None:
        """The first leads, and the second waits."""
        self.scene.apply(rollout([self.scene.versions["v1"], self.scene.versions["v2"]]))
        self.programs["first"].start()
        self.lead_by("first")
        self.programs["second"].start()
        self.says("second", "another leads")

    def share_of_v2(self) -> bool:
        """Is the candidate on trial, with some live traffic as the router acknowledged?"""
        return str(self.scene.status().get("weights", {}).get("acknowledged", "0%")) != "0%"

    def says(self, name: str, words: str, times: int = 1) -> None:
        log = self.programs[name].log
        self.scene.until(f"{name} says {words}", lambda: log.read_text().count(words) >= times)

    def ended(self, name: str) -> None:
        self.scene.until(f"{name} has ended", lambda: not self.programs[name].alive)

    def lead_by(self, name: str) -> float:
        """Edit the rollout until this one writes; back then, with the seconds that it took."""
        began, proxy = time.monotonic(), self.proxies[name]
        before = len(proxy.writes())
        self.edit()
        self.scene.until(f"{name} writes", lambda: len(proxy.writes()) > before)
        self.scene.until("the edit is seen", self.is_seen)
        return time.monotonic() - began

    def edit(self) -> None:
        self.scene.patch({"spec": {"capacity": {"drain": next(self._drains)}}})

    def is_seen(self) -> bool:
        seen, wanted = self.scene.status().get("observedGeneration"), self.scene.rollout()["metadata"]
        return bool(seen == wanted["generation"])

    def epoch(self) -> int:
        state = remembered(self.scene.rollout())
        assert state is not None
        return state.epoch

    def close(self) -> None:
        self.programs["second"].stop()


@pytest.fixture
def two(
    cluster: Testbed, namespace: str, tmp_path: Path, model_versions: Versions, fault_proxy: FaultProxy
) -> Iterator[Two]:
    with Scene(cluster, namespace, tmp_path, model_versions, options=LEASE) as scene:
        made = Two(scene, fault_proxy)
        try:
            made.begin()
            yield made
        finally:
            made.close()
        assert not scene.broken(), scene.broken()


def test_a_leader_that_is_killed_is_followed_when_its_lease_is_over(two: Two) -> None:
    epoch = two.epoch()
    two.programs["first"].kill()
    took_s = two.lead_by("second")
    print(f"take-over after SIGKILL: {took_s:.1f} s with a lease of {LEASE_S} s")
    assert two.epoch() > epoch


def test_a_leader_that_is_told_to_stop_is_followed_at_once(two: Two) -> None:
    epoch = two.epoch()
    began = time.monotonic()
    two.programs["first"].stop()
    two.lead_by("second")
    print(f"take-over after SIGTERM: {time.monotonic() - began:.1f} s with a lease of {LEASE_S} s")
    assert two.epoch() > epoch


def test_a_leader_that_was_stopped_for_longer_than_its_lease_writes_nothing_afterwards(two: Two) -> None:
    """With work in its hands when it is stopped, and news when it goes on."""
    leads, waits = "first", "second"
    for number in range(STOPS):
        program, proxy = two.programs[leads], two.proxies[leads]
        epoch = two.epoch()
        two.edit()
        program.suspend()
        two.lead_by(waits)
        if number == 0:
            threading.Event().wait(STOPPED_S)
        before = len(proxy.record())
        two.edit()
        program.resume()
        two.ended(leads)
        written = [one for one in proxy.record()[before:] if one.write and one.forwarded]
        assert not written, (number, [(one.verb, one.resource, one.status) for one in written])
        assert two.epoch() > epoch
        two.scene.until("the edit is seen", two.is_seen)
        program.start()
        two.says(leads, "another leads", number // 2 + 1)
        leads, waits = waits, leads


def test_a_router_finds_the_leader_that_follows_one_that_was_killed_and_one_that_was_stopped(
    two: Two,
) -> None:
    """It asks the one that waits first, and is sent on. Under live traffic, the first in the middle of a ramp; the one that was stopped holds the router's poll open."""
    scene = two.scene
    scene.whole.router.start()
    scene.phase_is("Healthy", "v1")
    with scene.load() as load:
        scene.target("v2")
        scene.until("v2 has some share", two.share_of_v2)
        two.programs["first"].kill()
        scene.phase_is("Healthy", "v2")
        two.programs["first"].start()
        two.says("first", "another leads")
        two.programs["second"].suspend()
        scene.target("v1")
        scene.phase_is("Healthy", "v1")
        two.programs["second"].resume()
        two.ended("second")
        load.stop()
    load.without_loss()
    assert load.answers["v2"] > 0
    assert not scene.broken(), scene.broken()
