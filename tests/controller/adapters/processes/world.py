"""A controller's local workloads in a test, with real child processes, and ways to look at them from outside."""

import asyncio
import os
import signal
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from controller.adapters.processes import LocalWorkloads
from controller.adapters.processes.child import start_time
from controller.core.status import VersionObserved, Workload

SERVER = Path(__file__).with_name("model_server.py")
CONTROLLER = Path(__file__).with_name("a_controller.py")
KEY = "default/fraud"
ONE = "v1-identity"
ONE_REPLICA = Workload()
DEADLINE_S = 60.0


class World:
    """One controller's workloads, and what it was told of changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.changes: list[str] = []
        self.workloads = LocalWorkloads(folder / "state", folder=folder, on_change=self.changes.append)
        self.documents: dict[str, dict[str, Any]] = {}
        self.wanted: Mapping[str, Workload] = {}

    async def run(self, *arguments: str, identity: str = ONE, **process: Any) -> None:
        self.documents[identity] = process_document(*arguments, name=identity[:2], **process)
        await self.apply()

    async def apply(self, *identities: str, workload: Workload = ONE_REPLICA) -> None:
        await self.want(dict.fromkeys(identities or self.documents, workload))

    async def stop_all(self) -> None:
        await self.want({})

    async def want(self, wanted: Mapping[str, Workload]) -> None:
        self.wanted = wanted
        await self.workloads.apply(KEY, self.documents, wanted)

    async def seen(self, identity: str = ONE) -> VersionObserved:
        return (await self.workloads.observe(KEY, self.documents))[identity]

    async def until(self, holds: Callable[[VersionObserved], bool], identity: str = ONE) -> VersionObserved:
        """Wait for a state; the failure says which state it was in instead. What is wanted is applied again and again."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + DEADLINE_S
        while not holds(seen := await self.seen(identity)):
            assert loop.time() < deadline, f"still {seen}"
            await self.workloads.apply(KEY, self.documents, self.wanted)
            await asyncio.sleep(0.02)
        return seen

    async def until_ready(self, identity: str = ONE) -> int:
        """Wait for an endpoint; its port."""
        return (await self.until(is_ready, identity)).endpoints[0].port


def process_document(*arguments: str, name: str = "v1", **process: Any) -> dict[str, Any]:
    return {
        "name": name,
        "process": {
            "command": ["{python}", str(SERVER), "--port", "{port}", *arguments],
            "readiness": {"httpGet": {"path": "/ready"}, "period": "100ms", "timeout": "5s"},
            "stopGrace": "30s",
            **process,
        },
    }


def is_ready(seen: VersionObserved) -> bool:
    return bool(seen.endpoints)


def is_gone(seen: VersionObserved) -> bool:
    return not seen.is_running


@asynccontextmanager
async def a_world(folder: Path) -> AsyncIterator[World]:
    world = World(folder)
    await world.workloads.start()
    try:
        yield world
    finally:
        await world.workloads.close(stop_processes=True)


def story(body: Callable[[World], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """A test in a world of its own, whose processes are ended whatever happens."""

    def test(tmp_path: Path) -> None:
        async def run() -> None:
            async with a_world(tmp_path) as world:
                await body(world)

        try:
            asyncio.run(run())
        finally:  # what a failed test lost sight of
            for pid in servers_in(tmp_path):
                os.kill(pid, signal.SIGKILL)

    test.__doc__ = body.__doc__
    return test


async def get(port: int, path: str) -> str:
    def fetch() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(fetch)


async def pid_of(port: int) -> int:
    return int(await get(port, "/pid"))


def is_alive(pid: int) -> bool:
    return start_time(pid) is not None


async def until_dead(pid: int) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    while is_alive(pid):
        assert loop.time() < deadline, f"process {pid} still runs"
        await asyncio.sleep(0.02)


def servers_in(folder: Path) -> list[int]:
    """Ids of the model servers that run in this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            is_server = str(SERVER).encode() in (entry / "cmdline").read_bytes().split(b"\0")
            if is_server and (entry / "cwd").resolve() == folder.resolve():
                found.append(int(entry.name))
    return found
