"""Leader election: one leader at a time, whatever wall clocks, the server, the loop and the operating system do.

Where time has to pass it is made up: sleeping moves a clock that the elector is given. Processes that are stopped and
that hang are real ones.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.kubernetes.api import Api, Settings, path_of
from controller.adapters.kubernetes.leases import ADDRESS, EXIT_STATUS, Elector, Timing, clock_s
from headgate.log import Log
from tests.controller.adapters.kubernetes.api_server import Cluster, drop, kubeconfig, serving, status

LEASES = path_of("coordination.k8s.io", "v1", "leases", "default")
LEASE = f"{LEASES}/headgate"
WRITTEN = path_of("", "v1", "configmaps", "default", "written")
PROGRAM = Path(__file__).with_name("an_elector.py")
PATIENT_S = 60.0
LONG = Timing(duration_s=15.0, renew_deadline_s=10.0, retry_s=2.0)
SLOW_TO_LOSE = Timing(duration_s=60.0, renew_deadline_s=50.0, retry_s=0.5)


@dataclass
class Time:
    """A clock that moves when somebody sleeps; `on_tick` is what happens in the world meanwhile."""

    now: float = 1000.0
    on_tick: Callable[[], None] = lambda: None

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        steps = 10
        for _ in range(steps):
            self.now += seconds / steps
            self.on_tick()
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)


class RealTime(Time):
    """Time as it is, for those who compete: a made-up one would go on while a call is under way, and leases with it."""

    def clock(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class Scene:
    cluster: Cluster
    api: Api
    time: Time = field(default_factory=Time)
    ended: list[int] = field(default_factory=list)
    electors: list[Elector] = field(default_factory=list)

    def elector(
        self, identity: str, at: Time | None = None, timing: Timing = LONG, address: str = ""
    ) -> Elector:
        when = at or self.time
        elector = Elector(
            self.api,
            "headgate",
            Log(identity),
            namespace="default",
            identity=identity,
            address=address,
            timing=timing,
            clock=when.clock,
            sleep=when.sleep,
            end=self.ended.append,
        )
        self.electors.append(elector)
        return elector

    def spec(self) -> dict[str, Any]:
        return dict(self.cluster.objects[LEASE]["spec"])

    def held_by(self, holder: object, renewed: datetime | None = None, **spec: Any) -> None:
        """Somebody else writes the lease."""
        when = (renewed or datetime.now(UTC)).isoformat().replace("+00:00", "Z")
        before = {"leaseTransitions": 7, "leaseDurationSeconds": 15, "renewTime": when}
        lease = {"metadata": {"name": "headgate", "namespace": "default"}}
        self.cluster.write(LEASE, {**lease, "spec": {**before, "holderIdentity": holder, **spec}})


def act(tmp_path: Path, story: Callable[[Scene], Awaitable[None]]) -> None:
    async def go(cluster: Cluster, port: int) -> None:
        api = Api.connect(Settings(kubeconfig=str(kubeconfig(tmp_path, port))))
        scene = Scene(cluster, api)
        try:
            async with asyncio.timeout(PATIENT_S):
                await story(scene)
        finally:
            for elector in scene.electors:
                await elector.close()
            await api.close()

    with serving() as (cluster, port):
        asyncio.run(go(cluster, port))


def test_the_first_to_come_leads_and_the_lease_says_so(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        elector = scene.elector("a")
        assert not elector.is_leader()
        assert await elector.acquire() == 1
        assert elector.is_leader()
        assert 0 < elector.left_s() <= LONG.renew_deadline_s
        spec = scene.spec()
        assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == (
            "a",
            15,
            1,
        )
        assert spec["renewTime"].endswith("Z")

    act(tmp_path, story)


def test_a_lease_that_is_given_up_is_taken_at_once(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        first, second = scene.elector("a"), scene.elector("b")
        await first.acquire()
        await first.release()
        assert not first.is_leader()
        assert scene.spec()["holderIdentity"] == ""
        before = scene.time.now
        assert await second.acquire() == 2
        assert scene.time.now - before <= 3.0

    act(tmp_path, story)


@pytest.mark.parametrize("hours", [-2, 0, 2])
def test_a_dead_holder_is_succeeded_whatever_its_wall_clock_said(tmp_path: Path, hours: int) -> None:
    async def story(scene: Scene) -> None:
        scene.held_by("dead", datetime.now(UTC) + timedelta(hours=hours))
        before = scene.time.now
        assert await scene.elector("b").acquire() == 8
        assert 15.0 <= scene.time.now - before <= 20.0

    act(tmp_path, story)


@pytest.mark.parametrize("hours", [-2, 0, 2])
def test_a_live_holder_is_left_in_peace_whatever_its_wall_clock_says(tmp_path: Path, hours: int) -> None:
    """It renews with a clock that is off, or that was set back in between; each renewal is a change, and that counts."""

    async def story(scene: Scene) -> None:
        renewals = [0]

        def renew() -> None:
            renewals[0] += 1
            if renewals[0] % 50 == 0:
                scene.held_by("alive", datetime.now(UTC) + timedelta(hours=hours - renewals[0]))

        scene.held_by("alive", datetime.now(UTC) + timedelta(hours=hours))
        scene.time.on_tick = renew
        campaign = asyncio.create_task(scene.elector("b").acquire())
        while scene.time.now < 1000.0 + 300:
            await asyncio.sleep(0.005)
            assert not campaign.done()
        campaign.cancel()
        assert scene.spec()["holderIdentity"] == "alive"

    act(tmp_path, story)


@pytest.mark.parametrize(
    ("said", "at_least", "at_most"), [(40, 40, 45), (10**9, 15, 20), ("x", 15, 20), (-5, 15, 20)]
)
def test_a_lease_is_respected_for_as_long_as_it_says_within_reason(
    tmp_path: Path, said: object, at_least: float, at_most: float
) -> None:
    async def story(scene: Scene) -> None:
        scene.held_by("dead", leaseDurationSeconds=said)
        before = scene.time.now
        await scene.elector("b").acquire()
        assert at_least <= scene.time.now - before <= at_most

    act(tmp_path, story)


@pytest.mark.parametrize(
    "spec", [None, {}, [], {"holderIdentity": None}, {"holderIdentity": 7, "leaseTransitions": "x"}]
)
def test_a_lease_of_an_unexpected_shape_is_free(tmp_path: Path, spec: object) -> None:
    async def story(scene: Scene) -> None:
        scene.cluster.write(
            LEASE, {"metadata": {"name": "headgate", "labels": {"kept": "yes"}}, "spec": spec}
        )
        assert await scene.elector("b").acquire() == 1
        assert scene.cluster.objects[LEASE]["metadata"]["labels"] == {"kept": "yes"}

    act(tmp_path, story)


def test_the_lease_says_where_the_api_of_its_holder_is(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        leads, waits = (scene.elector(name, address=f"https://10.0.0.{name}:7000") for name in "12")
        await leads.acquire()
        assert not leads.is_following()
        campaign = asyncio.create_task(waits.acquire())
        async with asyncio.timeout(PATIENT_S):
            while not waits.is_following():
                await asyncio.sleep(0.01)
        assert waits.leader_address == "https://10.0.0.1:7000"
        await leads.release()
        await campaign
        assert scene.cluster.objects[LEASE]["metadata"]["annotations"] == {ADDRESS: "https://10.0.0.2:7000"}
        assert not waits.is_following()

    act(tmp_path, story)


def test_a_holder_that_has_no_address_leaves_none_of_its_predecessor(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        metadata = {"name": "headgate", "annotations": {ADDRESS: "http://10.0.0.1:7000", "kept": "yes"}}
        scene.cluster.write(LEASE, {"metadata": metadata, "spec": {"holderIdentity": ""}})
        await scene.elector("b").acquire()
        assert scene.cluster.objects[LEASE]["metadata"]["annotations"] == {"kept": "yes"}

    act(tmp_path, story)


def test_of_two_that_see_a_free_lease_one_leads(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.held_by("")
        electors = [scene.elector(name) for name in "abcdef"]
        campaigns = [asyncio.create_task(elector.acquire()) for elector in electors]
        await asyncio.wait(campaigns, return_when=asyncio.FIRST_COMPLETED)
        assert sum(elector.is_leader() for elector in electors) == 1
        for campaign in campaigns:
            campaign.cancel()

    act(tmp_path, story)


def test_a_leader_renews_and_stays(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        elector, lost = scene.elector("a"), []
        await elector.acquire()
        leading = asyncio.create_task(elector.lead(lost.append))
        while scene.time.now < 1000.0 + 200:
            await asyncio.sleep(0.005)
        leading.cancel()
        assert not lost
        assert scene.spec()["leaseTransitions"] == 1
        assert len(scene.cluster.requests("PUT", "leases")) >= 60

    act(tmp_path, story)


def test_a_leader_that_cannot_renew_stops_before_another_may_take_over(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        elector, lost = scene.elector("a"), []
        await elector.acquire()
        since = scene.time.now
        scene.cluster.script("PUT", "leases", status(503, "ServiceUnavailable", "down"), times=1000)
        await elector.lead(lost.append)
        assert LONG.renew_deadline_s <= scene.time.now - since < LONG.duration_s
        assert not elector.is_leader()
        (why,) = lost
        assert "could not be renewed for 10 s" in why
        assert "503" in why
        assert len(scene.cluster.requests("PUT", "leases")) >= 3

    act(tmp_path, story)


def test_a_leader_hears_at_once_that_another_leads(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        elector, lost = scene.elector("a"), []
        await elector.acquire()
        scene.held_by("b")
        before = scene.time.now
        await elector.lead(lost.append)
        assert scene.time.now - before <= 3.0
        assert lost == ["b holds the lease"]
        assert scene.spec()["holderIdentity"] == "b"

    act(tmp_path, story)


def test_a_renewal_whose_answer_was_lost_and_an_edit_by_hand_cost_nothing(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        elector, lost = scene.elector("a"), []
        await elector.acquire()
        leading = asyncio.create_task(elector.lead(lost.append))
        for _ in range(5):
            with scene.cluster.news:
                lease = dict(scene.cluster.objects[LEASE])
                scene.cluster.write(
                    LEASE, {**lease, "metadata": {**lease["metadata"], "annotations": {"x": "y"}}}
                )
            renewed = scene.spec()["renewTime"]
            while scene.spec()["renewTime"] == renewed:
                await asyncio.sleep(0.005)
        leading.cancel()
        assert not lost
        assert scene.cluster.objects[LEASE]["metadata"]["annotations"] == {"x": "y"}

    act(tmp_path, story)


def test_a_lease_that_is_deleted_is_created_anew_by_its_holder(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        elector, rival = (scene.elector(name, RealTime(), SLOW_TO_LOSE) for name in ("a", "b"))
        lost: list[str] = []
        scene.held_by("")
        assert await elector.acquire() == 8
        leading = asyncio.create_task(elector.lead(lost.append))
        campaign = asyncio.create_task(rival.acquire())
        while rival.holder != "a":
            await asyncio.sleep(0.005)
        for _ in range(3):
            scene.cluster.remove(LEASE)
            while LEASE not in scene.cluster.objects:
                await asyncio.sleep(0.005)
            assert scene.spec()["holderIdentity"] == "a"
            assert scene.spec()["leaseTransitions"] == 8
        assert not lost
        assert not campaign.done()
        leading.cancel()
        campaign.cancel()

    act(tmp_path, story)


def test_one_that_comes_while_the_lease_is_missing_looks_twice(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        before = scene.time.now
        await scene.elector("b").acquire()
        assert scene.time.now - before >= LONG.retry_s * 0.8
        assert len(scene.cluster.requests("GET", "leases")) == 2

    act(tmp_path, story)


def test_a_refused_campaign_goes_on_and_says_why_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def story(scene: Scene) -> None:
        scene.cluster.script("GET", "leases", status(403, "Forbidden", "no get on leases"), times=5)
        scene.cluster.script("GET", "leases", drop, times=3)
        await scene.elector("a").acquire()

    act(tmp_path, story)
    assert capfd.readouterr().err.count("no get on leases") == 1


def test_after_a_loss_it_can_lead_again_with_a_later_term(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        elector, lost = scene.elector("a"), []
        assert await elector.acquire() == 1
        scene.cluster.script("PUT", "leases", status(500), times=6)
        await elector.lead(lost.append)
        assert len(lost) == 1
        scene.cluster.scripted.clear()
        assert await elector.acquire() == 2
        assert elector.is_leader()

    act(tmp_path, story)


def test_a_clock_that_jumped_ends_leadership_before_anything_else_and_the_process_too(tmp_path: Path) -> None:
    """As after SIGSTOP and CONT, or a machine that slept: nobody ran in between, so nobody could notice."""

    async def story(scene: Scene) -> None:
        elector, lost = scene.elector("a"), []
        await elector.acquire()
        leading = asyncio.create_task(elector.lead(lost.append))
        while len(scene.cluster.requests("PUT", "leases")) < 3:
            await asyncio.sleep(0.005)
        scene.time.now += 60
        assert not elector.is_leader()
        assert elector.is_overdue()
        puts = len(scene.cluster.requests("PUT", "leases"))
        await leading
        assert set(scene.ended) == {EXIT_STATUS}
        assert len(scene.cluster.requests("PUT", "leases")) <= puts + 1  # one may have been on its way

    act(tmp_path, story)


def test_releasing_what_another_holds_leaves_it_alone(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        elector = scene.elector("a")
        await elector.acquire()
        scene.held_by("b")
        await elector.release()
        assert scene.spec()["holderIdentity"] == "b"

    act(tmp_path, story)


def test_releasing_on_a_server_that_is_away_ends_in_time(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        elector = scene.elector("a")
        await elector.acquire()
        scene.cluster.silence()
        async with asyncio.timeout(20):
            await elector.release()
        assert not elector.is_leader()
        scene.cluster.speak()

    act(tmp_path, story)


@pytest.mark.parametrize("wrong", [(15, 10, 9), (10, 10, 2), (15, 15, 2), (15, 10, 0), (10_000, 10, 2)])
def test_times_that_would_let_two_lead_are_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        Timing(*wrong)


def test_each_call_ends_before_the_next_is_due() -> None:
    assert LONG.call_s < LONG.retry_s * 0.8


def test_the_clock_counts_the_time_that_a_machine_sleeps() -> None:
    assert clock_s() >= time.monotonic() - 1.0
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert abs(clock_s() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5.0


@dataclass
class Process:
    """One elector in a process of its own, and what it said."""

    child: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        self.said += iter(self.child.stdout.readline, "")

    def until(self, holds: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENT_S
        while not holds():
            assert time.monotonic() < end, f"{what}: {self.said}, {self.child.poll()}"
            time.sleep(0.01)

    def leads(self) -> None:
        self.until(lambda: any(line.startswith("leading") for line in self.said), "never led")


@contextmanager
def electing(config: Path, name: str, mishap: str = "") -> Iterator[Process]:
    command = [sys.executable, str(PROGRAM), str(config), name, *([mishap] if mishap else [])]
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[4])}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield Process(child)
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def writes_of(cluster: Cluster, name: str) -> int:
    return sum(1 for seen in cluster.requests("PATCH") if (seen.body or {}).get("data") == {"by": name})


def test_a_leader_that_was_stopped_writes_nothing_when_it_goes_on(tmp_path: Path) -> None:
    with serving() as (cluster, port):
        cluster.write(WRITTEN, {"metadata": {"name": "written", "namespace": "default"}})
        config = kubeconfig(tmp_path, port)
        with electing(config, "a") as first, electing(config, "b") as second:
            for process in (first, second):
                process.until(lambda p=process: p.said or cluster.requests("GET", "leases"), "never came")
            first.until(lambda: first.said or second.said, "nobody led")
            leader, other = (first, second) if first.said else (second, first)
            name = "a" if leader is first else "b"
            leader.until(lambda: writes_of(cluster, name) > 20, "never wrote")
            leader.child.send_signal(signal.SIGSTOP)
            other.leads()
            before = (writes_of(cluster, name), leases_by(cluster, name))
            leader.child.send_signal(signal.SIGCONT)
            leader.until(lambda: leader.child.poll() is not None, "the old leader lives on")
            assert (writes_of(cluster, name), leases_by(cluster, name)) == before
            assert leader.child.returncode in (EXIT_STATUS, 0)
            assert other.child.poll() is None


def leases_by(cluster: Cluster, name: str) -> int:
    return sum(
        1 for seen in cluster.requests("PUT", "leases") if seen.body["spec"].get("holderIdentity") == name
    )


def test_a_leader_whose_loop_hangs_is_ended_and_succeeded(tmp_path: Path) -> None:
    with serving() as (cluster, port):
        config = kubeconfig(tmp_path, port)
        with electing(config, "a", "hang") as leader:
            leader.leads()
            leader.until(lambda: leader.child.poll() is not None, "the process lives on")
            assert leader.child.returncode == EXIT_STATUS
            with electing(config, "b") as successor:
                successor.leads()
                assert successor.said[0] == "leading 2\n"
        assert cluster.objects[LEASE]["spec"]["holderIdentity"] == "b"


def test_sigterm_gives_the_lease_up(tmp_path: Path) -> None:
    with serving() as (cluster, port):
        with electing(kubeconfig(tmp_path, port), "a") as leader:
            leader.leads()
            leader.child.send_signal(signal.SIGTERM)
            leader.until(lambda: leader.child.poll() is not None, "the process lives on")
            assert leader.child.returncode == 0
        assert cluster.objects[LEASE]["spec"]["holderIdentity"] == ""
