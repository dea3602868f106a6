"""Several replicas of a version as real processes: grown, shrunk, replaced and taken over, and never without capacity."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import urllib.error
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from controller.core.status import VersionObserved, Workload
from tests.controller.adapters.processes.world import (
    CONTROLLER,
    DEADLINE_S,
    KEY,
    ONE,
    World,
    a_world,
    get,
    is_alive,
    pid_of,
    process_document,
    servers_in,
    story,
    until_dead,
)


async def pids(world: World, seen: VersionObserved | None = None) -> list[int]:
    """The process ids behind the endpoints."""
    found = seen or await world.seen()
    return [await pid_of(endpoint.port) for endpoint in found.endpoints]


async def run(world: World, workload: Workload, *arguments: str) -> list[int]:
    """Run so many and wait until all are ready; their process ids."""
    world.documents[ONE] = process_document(*arguments)
    await world.apply(workload=workload)
    return await pids(world, await world.until(lambda seen: seen.replicas == workload.replicas))


async def until_only(world: World, count: int) -> list[int]:
    """Wait until so many processes are left, all of them endpoints and none to be replaced; their ids."""
    await world.until(
        lambda seen: (
            "replaced" not in seen.message
            and len(servers_in(world.folder)) == count == len(seen.endpoints) == seen.replicas
        )
    )
    return await pids(world)


@dataclass
class Stream:
    """What a router does: one request after the other, each to an endpoint of the moment."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)
    ready_least: int = 1000


@asynccontextmanager
async def requests(world: World) -> AsyncIterator[Stream]:
    """Requests from beginning to end, none of which may fail, to every endpoint in turn."""
    stream = Stream()

    async def send() -> None:
        while True:
            endpoints = (await world.seen()).endpoints
            stream.ready_least = min(stream.ready_least, len(endpoints))
            for endpoint in endpoints:
                try:
                    await get(endpoint.port, "/pid")
                    stream.answered += 1
                except (OSError, urllib.error.URLError) as error:
                    stream.failed.append(f"{endpoint.port}: {error}")
            await asyncio.sleep(0.01)

    task = asyncio.create_task(send())
    try:
        yield stream
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert stream.answered > 0
    assert not stream.failed, stream.failed[:5]


async def ask_slowly(world: World, port: int) -> asyncio.Task[str]:
    """A request that is under way, and answered when there is a file called `go`."""
    slow = asyncio.create_task(get(port, "/slow"))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    while not (world.folder / "asked").exists():
        assert loop.time() < deadline
        await asyncio.sleep(0.02)
    return slow


@story
async def test_each_replica_has_a_process_a_port_and_a_log_of_its_own(world: World) -> None:
    found = await run(world, Workload(3))
    assert len(set(found)) == 3
    seen = await world.seen()
    assert len({endpoint.port for endpoint in seen.endpoints}) == 3
    assert seen.message == "3 of 3 ready"
    logs = world.folder / "state" / "logs" / "default" / "fraud"
    assert sorted(log.name for log in logs.iterdir()) == ["v1.1.log", "v1.2.log", "v1.log"]


@story
async def test_growing_keeps_what_runs_and_shrinking_ends_the_newest_with_no_request_lost(
    world: World,
) -> None:
    (first,) = await run(world, Workload(1))
    async with requests(world) as stream:
        await world.apply(workload=Workload(4))
        found = await pids(world, await world.until(lambda seen: seen.replicas == 4))
        assert found[0] == first
        world.changes.clear()
        await world.apply(workload=Workload(2))
        seen = await world.seen()
        assert len(seen.endpoints) == 2, "the surplus gets no traffic from this moment"
        assert KEY in world.changes
        assert all(is_alive(pid) for pid in found), "and runs on until it has drained"
        assert await until_only(world, 2) == found[:2]
        await asyncio.sleep(0.2)
    assert stream.ready_least >= 1
    assert len(json.loads((world.folder / "state" / "processes.json").read_text())) == 2


@story
async def test_a_replica_that_leaves_answers_its_last_request_first(world: World) -> None:
    found = await run(world, Workload(2))
    port = (await world.seen()).endpoints[1].port
    slow = await ask_slowly(world, port)
    await world.apply(workload=Workload(1))
    await asyncio.sleep(4)  # longer than it drains when nobody is connected
    assert is_alive(found[1])
    (world.folder / "go").touch()
    assert int(await slow) == found[1]
    await until_dead(found[1])
    assert await until_only(world, 1) == found[:1]


@story
async def test_one_replica_that_dies_is_named_restarted_and_the_others_serve(world: World) -> None:
    found = await run(world, Workload(3))
    os.kill(found[1], signal.SIGKILL)
    seen = await world.until(lambda seen: seen.replicas == 2)
    assert not seen.is_crash_looping
    assert seen.message.startswith("2 of 3 ready; replica 1: was killed by SIGKILL")
    assert "v1.1.log" in seen.message
    assert await pids(world, seen) == [found[0], found[2]]
    again = await pids(world, await world.until(lambda seen: seen.replicas == 3))
    assert again[0] == found[0]
    assert again[2] == found[2]
    assert again[1] not in found
    assert (await world.seen()).restarts == 1


@story
async def test_a_version_whose_replicas_all_keep_exiting_is_crash_looping(world: World) -> None:
    world.documents[ONE] = process_document("--exit-with", "3")
    await world.apply(workload=Workload(2))
    seen = await world.until(lambda seen: seen.is_crash_looping and "exited with status 3" in seen.message)
    assert seen.message.startswith("0 of 2 ready; replica ")
    assert seen.replicas == 0


@story
async def test_a_restart_replaces_every_process_and_no_moment_has_fewer_endpoints(world: World) -> None:
    found = await run(world, Workload(3))
    async with requests(world) as stream:
        await world.apply(workload=Workload(3, restarts=1))
        await world.until(lambda seen: "3 still to be replaced" in seen.message)
        most = 0
        while set(await pids(world)) & set(found):
            most = max(most, len(servers_in(world.folder)))
            await world.apply(workload=Workload(3, restarts=1))
            await asyncio.sleep(0.05)
        new = await until_only(world, 3)
    assert not set(new) & set(found)
    assert (await world.seen()).outdated == 0
    assert stream.ready_least >= 3
    assert most == 4, "one more at a time"
    assert (await world.seen()).restarts == 0


@story
async def test_a_replacement_that_does_not_become_ready_leaves_the_old_ones_serving(world: World) -> None:
    found = await run(world, Workload(1))
    (world.folder / "broken").touch()
    await world.apply(workload=Workload(1, restarts=1))
    seen = await world.until(lambda seen: "503" in seen.message)
    assert seen.message.startswith("1 of 1 ready; 1 still to be replaced; replica 1: process ")
    assert not seen.is_crash_looping
    assert (seen.replicas, seen.outdated) == (1, 1)
    async with requests(world) as stream:
        await asyncio.sleep(3)
        assert await pids(world) == found
        assert len(servers_in(world.folder)) == 2
        (world.folder / "broken").unlink()
        assert not set(await until_only(world, 1)) & set(found)
    assert stream.ready_least >= 1


@story
async def test_stopping_a_version_ends_all_its_replicas_also_one_that_drains(world: World) -> None:
    found = await run(world, Workload(3))
    port = (await world.seen()).endpoints[2].port
    slow = await ask_slowly(world, port)
    await world.apply(workload=Workload(2))
    await world.stop_all()
    for pid in found:
        await until_dead(pid)
    await world.until(lambda seen: not seen.is_running)
    with suppress(OSError, urllib.error.URLError):
        await slow
    assert json.loads((world.folder / "state" / "processes.json").read_text()) == []


def start_controller(world: World, replicas: int, restarts: int) -> subprocess.Popen[str]:
    """A controller of its own process, that says when it begins."""
    document = world.folder / "version.json"
    document.write_text(json.dumps(process_document()))
    command = [sys.executable, str(CONTROLLER), str(world.folder / "state"), str(world.folder), str(document)]
    options = ["--tell", "--replicas", str(replicas), "--restarts", str(restarts)]
    controller = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert controller.stdout is not None
    controller.stdout.readline()
    return controller


def kill(controller: subprocess.Popen[str]) -> None:
    controller.kill()
    controller.communicate(timeout=60)


@story
async def test_a_controller_killed_amid_a_restart_is_followed_by_one_that_ends_it(world: World) -> None:
    controller = start_controller(world, 2, 0)
    assert controller.stdout is not None
    found = [
        await pid_of(int(port)) for port in (await asyncio.to_thread(controller.stdout.readline)).split()
    ]
    kill(controller)
    (world.folder / "broken").touch()
    controller = start_controller(world, 2, 1)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    while len(servers_in(world.folder)) < 3:
        assert loop.time() < deadline
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    kill(controller)
    before = set(servers_in(world.folder))
    assert set(found) < before
    async with a_world(world.folder) as successor:
        successor.documents[ONE] = process_document()
        await successor.apply(workload=Workload(2, restarts=1))
        async with requests(successor) as stream:
            seen = await successor.until(lambda seen: "2 still to be replaced" in seen.message)
            assert set(await pids(successor, seen)) == set(found)
            assert set(servers_in(world.folder)) == before, "none is started twice"
            (world.folder / "broken").unlink()
            new = await until_only(successor, 2)
        assert not set(new) & set(found)
        assert set(new) & before, "the one that was being started took a place"
        assert stream.ready_least >= 2


@story
async def test_controllers_killed_at_any_instant_of_restarts_leave_nothing_behind(world: World) -> None:
    chance = random.Random(7)
    controller = start_controller(world, 2, 0)
    assert controller.stdout is not None
    await asyncio.to_thread(controller.stdout.readline)
    kill(controller)
    for restarts in range(1, 7):
        controller = start_controller(world, 2, restarts)
        await asyncio.sleep(chance.choice([0, 0.01, 0.1, 0.5, 1, 3]))
        kill(controller)
        assert 2 <= len(servers_in(world.folder)) <= 3
    async with a_world(world.folder) as successor:
        successor.documents[ONE] = process_document()
        await successor.apply(workload=Workload(2, restarts=6))
        await until_only(successor, 2)


@story
async def test_the_process_list_of_the_last_release_is_taken_over(world: World) -> None:
    controller = start_controller(world, 1, 0)
    assert controller.stdout is not None
    port = int(await asyncio.to_thread(controller.stdout.readline))
    kill(controller)
    file = world.folder / "state" / "processes.json"
    (entry,) = json.loads(file.read_text())
    file.write_text(
        json.dumps([{name: value for name, value in entry.items() if name not in ("number", "restarts")}])
    )
    pid = await pid_of(port)
    async with a_world(world.folder) as successor:
        successor.documents[ONE] = process_document()
        await successor.apply(workload=Workload(2))
        found = await pids(successor, await successor.until(lambda seen: seen.replicas == 2))
        assert found[0] == pid


@story
async def test_a_url_has_no_replicas_of_ours_whatever_is_asked(world: World) -> None:
    world.documents[ONE] = {"name": "v1", "url": "http://127.0.0.1:9"}
    await world.apply(workload=Workload(3, restarts=2))
    seen = await world.until(lambda seen: seen.is_running and "not asked" not in seen.message)
    assert seen.replicas is None
    assert servers_in(world.folder) == []
