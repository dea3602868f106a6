"""The observer as the process that it is: its sockets, its files, its death and what comes after it."""

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from headgate.wire.codec import decode_record
from headgate.wire.plan import Capture
from headgate.wire.telemetry import ShadowCounters
from router.core.channel import RUN_FILES, Assignment, Frames, Hello, LocalMessage, Report, frame
from router.core.sketch import Snapshot
from tests.router.observer.shadow_servers import Sound, copy_of, hanging, plan_for, serving, until, v2_answer

DEADLINE_S = 60.0


class Agent:
    """Stands where the agent stands: says what the plan is, remembers what is reported."""

    def __init__(self, run: Path) -> None:
        self.path = run / RUN_FILES.agent_socket
        self.assignment: Assignment | None = None
        self.hellos: list[Hello] = []
        self.reports: list[Report] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.AbstractServer | None = None

    async def listen(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def die(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self.path.unlink(missing_ok=True)

    def assign(self, assignment: Assignment) -> None:
        self.assignment = assignment
        for writer in self._writers:
            writer.write(frame(assignment))

    def counted(self) -> ShadowCounters | None:
        return self.reports[-1].shadows[0] if self.reports and self.reports[-1].shadows else None

    def has_counted(self, **wanted: int) -> bool:
        found = self.counted()
        return found is not None and all(getattr(found, name) >= count for name, count in wanted.items())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        frames = Frames(LocalMessage)
        while data := await reader.read(65_536):
            for message in frames.feed(data):
                if isinstance(message, Hello):
                    self.hellos.append(message)
                    if self.assignment is not None:
                        writer.write(frame(self.assignment))
                elif isinstance(message, Report):
                    self.reports.append(message)


class World:
    """A run directory with an agent in it, and observers that are started there."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.agent = Agent(run)
        self.log = run / "observer.log"
        self._observers: list[asyncio.subprocess.Process] = []

    def boot(self, name: str) -> None:
        (self.run / RUN_FILES.boot).write_text(json.dumps({"boot": name, "startedAt": 1.0}))

    async def start(self, **limits: int) -> asyncio.subprocess.Process:
        def limit() -> None:
            for name, value in limits.items():
                resource.setrlimit(
                    getattr(resource, name), (value, resource.getrlimit(getattr(resource, name))[1])
                )

        before = len(self.agent.hellos)
        with self.log.open("ab") as log:
            observer = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "router.observer", "--run", str(self.run), stderr=log, preexec_fn=limit
            )
        self._observers.append(observer)
        await until(lambda: observer.returncode is not None or len(self.agent.hellos) > before, DEADLINE_S)
        assert observer.returncode is None, self.log.read_text()
        return observer

    async def worker(self) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_unix_connection(str(self.run / RUN_FILES.observer_socket))
        return writer

    def records(self) -> list[bytes]:
        folder = self.run / RUN_FILES.records
        return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]

    def snapshot(self) -> Snapshot:
        return msgspec.json.decode((self.run / RUN_FILES.shadows).read_bytes(), type=Snapshot)

    async def end(self) -> None:
        for observer in self._observers:
            if observer.returncode is None:
                observer.kill()
                await observer.wait()
        await self.agent.die()


def in_world(folder: Path, work: Callable[[World], Awaitable[None]]) -> None:
    async def live() -> None:
        world = World(folder)
        world.boot("boot-1")
        await world.agent.listen()
        try:
            await work(world)
        finally:
            await world.end()

    asyncio.run(live())


@asynccontextmanager
async def answering(label: int):
    async with serving(Sound(lambda body: v2_answer(label, [0.1, 0.9]))) as endpoint:
        yield endpoint


def test_copies_become_reports_counters_and_records(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        async with answering(7) as endpoint:
            world.agent.assign(plan_for(endpoint))
            observer = await world.start()
            worker = await world.worker()
            for number in range(100):
                worker.write(frame(copy_of(number)))
            await until(lambda: world.agent.has_counted(pairs=100), DEADLINE_S)
            assert world.agent.hellos[0].kind == "observer"
            assert world.agent.reports[-1].applied == "1.1.0"
            assert world.agent.counted() == world.snapshot().shadows[0]
            await until(lambda: len(world.records()) == 100, DEADLINE_S)
            assert {decode_record(line).direction for line in world.records()} == {"4->7"}
            assert (world.run / RUN_FILES.observer_socket).stat().st_mode & 0o777 == 0o600
            observer.terminate()
            assert await observer.wait() == 0

    in_world(tmp_path, work)


def test_what_was_compared_is_on_disk_when_the_observer_is_told_to_end(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        sound = Sound(lambda body: v2_answer(7))
        async with serving(sound) as endpoint:
            world.agent.assign(plan_for(endpoint, concurrency_max=8))
            observer = await world.start()
            worker = await world.worker()
            for number in range(500):
                worker.write(frame(copy_of(number)))
            await until(lambda: len(sound.seen) >= 100, DEADLINE_S)
            observer.terminate()
            await observer.wait()
        compared = world.snapshot().shadows[0].pairs
        assert 100 - 8 <= compared == len(world.records())

    in_world(tmp_path, work)


def test_counters_never_go_back_when_the_observer_is_killed_and_do_begin_anew_with_another_boot(
    tmp_path: Path,
) -> None:
    async def work(world: World) -> None:
        async with answering(7) as endpoint:
            world.agent.assign(plan_for(endpoint))
            observer = await world.start()
            worker = await world.worker()
            for number in range(50):
                worker.write(frame(copy_of(number)))
            await until(lambda: world.agent.has_counted(pairs=50), DEADLINE_S)
            observer.send_signal(signal.SIGKILL)
            await observer.wait()

            await world.start()
            (await world.worker()).write(frame(copy_of(51)))
            await until(lambda: world.agent.has_counted(pairs=51), DEADLINE_S)
            world.agent.assign(plan_for(endpoint, generation=2))
            await until(lambda: world.agent.reports[-1].applied == "1.2.0", DEADLINE_S)
            seen = [report.shadows[0].pairs if report.shadows else 0 for report in world.agent.reports]
            assert seen == sorted(seen)

            await world.end()
            world.boot("boot-2")
            await world.agent.listen()
            world.agent.reports.clear()
            await world.start()
            (await world.worker()).write(frame(copy_of(52)))
            await until(lambda: world.agent.has_counted(pairs=1), DEADLINE_S)
            assert world.agent.reports[-1].shadows[0].pairs == 1

    in_world(tmp_path, work)


def test_without_an_agent_it_starts_from_the_plan_file_and_reports_when_one_comes(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        async with answering(7) as endpoint:
            (world.run / RUN_FILES.plan).write_bytes(msgspec.msgpack.encode(plan_for(endpoint, generation=9)))
            observer = await world.start()
            await until(lambda: any(one.applied == "1.9.0" for one in world.agent.reports), DEADLINE_S)
            await world.agent.die()
            worker = await world.worker()
            worker.write(frame(copy_of(1, generation=9)))
            await until(
                lambda: (world.run / RUN_FILES.shadows).exists() and world.snapshot().shadows, DEADLINE_S
            )
            await world.agent.listen()
            await until(lambda: world.agent.has_counted(pairs=1), DEADLINE_S)
            assert observer.returncode is None

            before = (world.run / RUN_FILES.shadows).stat().st_mtime_ns
            said = len(world.agent.reports)
            await until(lambda: len(world.agent.reports) >= said + 3, DEADLINE_S)
            assert (
                world.run / RUN_FILES.shadows
            ).stat().st_mtime_ns == before  # nothing new, nothing written

    in_world(tmp_path, work)


def test_a_plan_that_is_older_is_refused_with_its_reason_and_a_newer_one_followed(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        async with answering(7) as endpoint:
            world.agent.assign(plan_for(endpoint, generation=5, epoch=2))
            await world.start()
            await until(lambda: any(one.applied == "2.5.0" for one in world.agent.reports), DEADLINE_S)
            world.agent.assign(plan_for(endpoint, generation=6, epoch=1))
            await until(lambda: "epoch 1 is older" in world.agent.reports[-1].error, DEADLINE_S)
            assert world.agent.reports[-1].applied == "2.5.0"
            world.agent.assign(plan_for(endpoint, generation=6, epoch=2))
            await until(lambda: world.agent.reports[-1].applied == "2.6.0", DEADLINE_S)
            assert world.agent.reports[-1].error == ""

    in_world(tmp_path, work)


@pytest.mark.parametrize("junk", [b"\xff\xff\xff\xff", frame(Report("1.1.0")), b"\0\0\0\x05hello"])
def test_a_worker_that_talks_nonsense_is_cut_off_and_the_others_are_not(tmp_path: Path, junk: bytes) -> None:
    async def work(world: World) -> None:
        async with answering(7) as endpoint:
            world.agent.assign(plan_for(endpoint))
            await world.start()
            good, bad = await world.worker(), await world.worker()
            bad.write(junk)
            good.write(frame(copy_of(1)))
            await until(lambda: world.agent.has_counted(pairs=1), DEADLINE_S)
            good.write(frame(copy_of(2)))
            await until(lambda: world.agent.has_counted(pairs=2), DEADLINE_S)
            assert "a worker's copies cannot be read" in world.log.read_text()

    in_world(tmp_path, work)


def test_a_full_disk_loses_records_and_nothing_else(tmp_path: Path) -> None:
    """No file may grow beyond 3,000 bytes, so neither the record log nor the counters' file can be written."""

    async def work(world: World) -> None:
        async with answering(7) as endpoint:
            world.agent.assign(plan_for(endpoint, capture=Capture(store="full")))
            observer = await world.start(RLIMIT_FSIZE=3_000)
            worker = await world.worker()
            for number in range(200):
                worker.write(frame(copy_of(number)))
            await until(lambda: world.agent.has_counted(pairs=200), DEADLINE_S)
            await until(lambda: "record_log_full" in world.agent.reports[-1].shadows[0].dropped, DEADLINE_S)
            lost = world.agent.reports[-1].shadows[0].dropped["record_log_full"]
            assert 0 < lost <= 200
            assert all(decode_record(line) for line in world.records())
            assert world.log.read_text().count("records are lost") == 1

            resource.prlimit(observer.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            before = len(world.records())
            worker.write(frame(copy_of(201)))
            await until(lambda: len(world.records()) > before, DEADLINE_S)
            assert "records are written again" in world.log.read_text()

    in_world(tmp_path, work)


def test_a_hanging_shadow_never_makes_a_worker_wait(tmp_path: Path) -> None:
    """Far more bytes than the observer holds: all are read, so that the worker's socket is never full for long."""

    async def work(world: World) -> None:
        async with serving(hanging) as endpoint:
            world.agent.assign(plan_for(endpoint, concurrency_max=1, timeout_ms=600_000))
            observer = await world.start()
            worker = await world.worker()
            body = bytes(1 << 20)
            for number in range(300):
                worker.write(frame(copy_of(number, body=body)))
                await asyncio.wait_for(worker.drain(), DEADLINE_S)
            await until(lambda: world.agent.has_counted(offered=200), DEADLINE_S)
            assert set(world.agent.reports[-1].shadows[0].dropped) == {"queue_full"}
            status = Path(f"/proc/{observer.pid}/status").read_text()
            peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
            assert peak_mb < 300  # 300 MB were sent; COPY_BYTES_MAX of them may be held

    in_world(tmp_path, work)


def test_a_folder_that_is_no_run_directory_is_refused_in_words(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        (world.run / RUN_FILES.boot).unlink()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "router.observer", "--run", str(world.run), stderr=asyncio.subprocess.PIPE
        )
        _, said = await asyncio.wait_for(process.communicate(), DEADLINE_S)
        assert process.returncode == 1
        assert b"the observer cannot start" in said
        assert b"Traceback" not in said

    in_world(tmp_path, work)


def test_a_socket_that_a_dead_observer_left_is_taken_over(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        async with answering(4) as endpoint:
            world.agent.assign(plan_for(endpoint))
            for count in (1, 2):
                observer = await world.start()
                (await world.worker()).write(frame(copy_of(count)))
                await until(lambda count=count: world.agent.has_counted(pairs=count), DEADLINE_S)
                os.kill(observer.pid, signal.SIGKILL)
                await observer.wait()
                assert (world.run / RUN_FILES.observer_socket).exists()

    in_world(tmp_path, work)
