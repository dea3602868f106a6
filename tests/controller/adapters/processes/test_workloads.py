"""Local workloads with real child processes: started, watched, restarted, stopped, and taken over after a death."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.controller.adapters.processes.world import (
    CONTROLLER,
    KEY,
    ONE,
    ONE_REPLICA,
    World,
    a_world,
    get,
    is_alive,
    is_gone,
    pid_of,
    process_document,
    servers_in,
    story,
    until_dead,
)


@story
async def test_a_process_is_started_and_has_an_endpoint_once_it_is_ready(world: World) -> None:
    await world.run()
    assert not (await world.seen()).endpoints
    port = await world.until_ready()
    seen = await world.seen()
    assert (seen.is_running, seen.is_crash_looping, seen.restarts) == (True, False, 0)
    assert seen.endpoints[0].host == "127.0.0.1"
    assert str(await pid_of(port)) in seen.message
    assert KEY in world.changes


@story
async def test_applying_the_same_again_starts_nothing_and_observing_needs_no_documents(world: World) -> None:
    await world.run()
    port = await world.until_ready()
    pid = await pid_of(port)
    for _ in range(5):
        await world.apply()
    assert await pid_of(port) == pid
    assert list(await world.workloads.observe(KEY, {})) == [ONE]
    assert await world.workloads.observe("default/other", {}) == {}
    # Removed from the spec while it still drains: it runs on for as long as it is in `running`.
    await world.workloads.apply(KEY, {}, {ONE: ONE_REPLICA})
    assert await world.until_ready() == port


@story
async def test_two_versions_run_side_by_side_on_ports_of_their_own(world: World) -> None:
    await world.run(identity="v1-identity")
    await world.run(identity="v2-identity")
    ports = {await world.until_ready("v1-identity"), await world.until_ready("v2-identity")}
    assert len(ports) == 2
    await world.apply("v2-identity")
    await world.until(is_gone, "v1-identity")
    assert (await world.seen("v2-identity")).endpoints


@story
async def test_a_server_that_never_becomes_ready_gets_no_endpoint_and_says_why(world: World) -> None:
    await world.run("--never-ready")
    seen = await world.until(lambda seen: "503" in seen.message)
    assert seen.is_running
    assert not seen.endpoints
    assert "not ready yet: GET /ready answers 503" in seen.message


@story
async def test_readiness_is_lost_after_several_failures_and_comes_back(world: World) -> None:
    await world.run()
    port = await world.until_ready()
    (world.folder / "unready").touch()
    seen = await world.until(lambda seen: not seen.endpoints)
    assert seen.is_running
    assert "is unready: GET /ready answers 503" in seen.message
    world.changes.clear()
    (world.folder / "unready").unlink()
    assert await world.until_ready() == port
    assert KEY in world.changes


@story
async def test_a_server_that_dies_loses_its_endpoint_and_is_restarted_on_the_same_port(world: World) -> None:
    await world.run()
    port = await world.until_ready()
    pid = await pid_of(port)
    world.changes.clear()
    os.kill(pid, signal.SIGKILL)
    seen = await world.until(is_gone)
    assert not seen.endpoints
    assert "was killed by SIGKILL" in seen.message
    assert KEY in world.changes
    assert await world.until_ready() == port
    assert await pid_of(port) != pid
    assert (await world.seen()).restarts == 1


@story
async def test_a_server_that_keeps_exiting_is_crash_looping_and_its_log_is_named(world: World) -> None:
    await world.run("--exit-with", "3")
    seen = await world.until(lambda seen: seen.is_crash_looping and not seen.is_running)
    assert not seen.endpoints
    assert seen.restarts >= 2
    log = world.folder / "state" / "logs" / "default" / "fraud" / "v1.log"
    assert f"exited with status 3 ({seen.restarts + 1} times in " in seen.message
    assert str(log) in seen.message
    text = log.read_text()
    assert "a lot is wrong" in text
    assert "--- headgate " in text


@story
async def test_a_command_that_is_not_there_is_named_and_tried_again(world: World) -> None:
    await world.run(command=["./no-such-server", "{port}"])
    seen = await world.until(lambda seen: seen.is_crash_looping)
    assert "./no-such-server cannot be started" in seen.message
    assert "No such file" in seen.message


@story
async def test_a_port_that_somebody_else_took_is_replaced_by_another(world: World) -> None:
    await world.run()
    port = await world.until_ready()
    pid = await pid_of(port)
    # A stranger waits on the port and gets it the moment the server dies.
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        os.kill(pid, signal.SIGKILL)
        await world.until(is_gone)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        assert await world.until_ready() != port


@story
async def test_stopping_ends_the_process_and_everything_it_started(world: World) -> None:
    await world.run("--children")
    pid = await pid_of(await world.until_ready())
    worker = int((world.folder / "worker.pid").read_text())
    assert is_alive(worker)
    await world.stop_all()
    assert not (await world.seen()).endpoints
    await world.until(is_gone)
    await until_dead(pid)
    await until_dead(worker)


@story
async def test_a_server_deaf_to_sigterm_is_killed_after_its_grace(world: World) -> None:
    await world.run("--deaf", stopGrace="200ms")
    pid = await pid_of(await world.until_ready())
    await world.stop_all()
    await world.until(is_gone)
    await until_dead(pid)


@story
async def test_what_a_dead_server_left_behind_is_ended_before_the_restart(world: World) -> None:
    await world.run("--children")
    pid = await pid_of(await world.until_ready())
    worker = int((world.folder / "worker.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    await until_dead(worker)
    await world.until_ready()


@story
async def test_a_version_wanted_again_while_it_stops_is_started_after_it_stopped(world: World) -> None:
    await world.run("--deaf", stopGrace="500ms")
    first = await pid_of(await world.until_ready())
    await world.stop_all()
    await world.apply()
    second = await pid_of(await world.until_ready())
    assert second != first
    assert not is_alive(first)


@story
async def test_a_server_sees_the_variables_it_was_given_and_none_of_our_secrets(world: World) -> None:
    os.environ["HEADGATE_TEST_SECRET"] = "hunter2"
    try:
        await world.run(env={"MODEL": "m-{port}"})
        port = await world.until_ready()
    finally:
        del os.environ["HEADGATE_TEST_SECRET"]
    text = await get(port, "/env")
    assert f"MODEL=m-{port}" in text
    assert "PATH=" in text
    assert "hunter2" not in text


@story
async def test_the_folder_of_the_spec_is_where_it_runs(world: World) -> None:
    there = world.folder / "specs"
    there.mkdir()
    (there / "unready").touch()
    world.documents[ONE] = {**process_document(), "baseDir": str(there)}
    await world.apply()
    await world.until(lambda seen: "503" in seen.message)
    (there / "unready").unlink()
    await world.until_ready()


@story
async def test_a_url_is_ready_while_something_listens(world: World) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        world.documents[ONE] = {"name": "v1", "url": f"http://127.0.0.1:{port}/fraud"}
        await world.apply()
        seen = await world.until(lambda seen: "refused" in seen.message)
        assert not seen.endpoints
        server.listen()
        assert await world.until_ready() == port
    await world.until(lambda seen: not seen.endpoints)
    await world.stop_all()
    await world.until(is_gone)


@story
async def test_a_url_with_readiness_is_asked_below_its_path_with_its_host_header(world: World) -> None:
    hosts: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hosts.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        world.documents[ONE] = {
            "name": "v1",
            "url": f"http://127.0.0.1:{port}/fraud/",
            "readiness": {"httpGet": {"path": "/ready", "host": "models.example"}},
        }
        await world.apply()
        assert await world.until_ready() == port
    assert hosts[0].startswith("GET /fraud/ready HTTP/1.1\r\nHost: models.example\r\n")


@story
async def test_an_answer_that_is_not_http_is_not_readiness(world: World) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 100_000)
        with suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        readiness = {"httpGet": {"path": "/ready"}}
        world.documents[ONE] = {"name": "v1", "url": f"http://127.0.0.1:{port}", "readiness": readiness}
        await world.apply()
        await world.until(lambda seen: "the answer is not HTTP" in seen.message)


def start_controller(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A controller of its own process that runs one model server; the server's port."""
    document = folder / "version.json"
    document.write_text(json.dumps(process_document()))
    controller = subprocess.Popen(
        [sys.executable, str(CONTROLLER), str(folder / "state"), str(folder), str(document)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert controller.stdout is not None
    return controller, int(controller.stdout.readline())


def kill(controller: subprocess.Popen[str]) -> None:
    controller.kill()
    controller.communicate(timeout=60)


@story
async def test_a_model_server_outlives_a_killed_controller_and_the_next_one_adopts_it(world: World) -> None:
    controller, port = start_controller(world.folder)
    kill(controller)
    pid = await pid_of(port)  # it answers while there is no controller
    await world.workloads.start()
    assert [endpoint.port for endpoint in (await world.workloads.observe(KEY, {}))[ONE].endpoints] == [port]
    world.documents[ONE] = process_document()
    await world.apply()
    await asyncio.sleep(0.5)
    assert await pid_of(await world.until_ready()) == pid
    assert (await world.seen()).restarts == 0
    os.kill(pid, signal.SIGKILL)
    seen = await world.until(is_gone)
    assert "its status is not known" in seen.message
    assert await pid_of(await world.until_ready()) != pid


@story
async def test_a_process_whose_id_was_never_noted_is_found_and_not_started_twice(world: World) -> None:
    controller, port = start_controller(world.folder)
    kill(controller)
    file = world.folder / "state" / "processes.json"
    (entry,) = json.loads(file.read_text())
    file.write_text(json.dumps([{**entry, "pid": None, "started": None, "is_ready": False}]))
    pid = await pid_of(port)
    await world.workloads.start()
    world.documents[ONE] = process_document()
    await world.apply()
    assert await world.until_ready() == port
    assert await pid_of(port) == pid


@story
async def test_a_reused_process_id_is_not_taken_for_ours_and_left_alone(world: World) -> None:
    controller, port = start_controller(world.folder)
    os.kill(await pid_of(port), signal.SIGKILL)
    kill(controller)
    stranger = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    try:
        file = world.folder / "state" / "processes.json"
        (entry,) = json.loads(file.read_text())
        file.write_text(json.dumps([{**entry, "pid": stranger.pid, "started": 1, "is_ready": True}]))
        await world.workloads.start()
        assert await world.workloads.observe(KEY, {}) == {}
        world.documents[ONE] = process_document()
        await world.apply()
        assert await pid_of(await world.until_ready()) != stranger.pid
        await world.stop_all()
        await world.until(is_gone)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@story
async def test_processes_of_rollouts_that_are_gone_are_ended_at_the_start(world: World) -> None:
    controller, port = start_controller(world.folder)
    kill(controller)
    pid = await pid_of(port)
    await world.workloads.start(known={"default/other"})
    await until_dead(pid)


@story
async def test_closing_without_stopping_leaves_the_servers_to_the_next_controller(world: World) -> None:
    await world.run()
    port = await world.until_ready()
    pid = await pid_of(port)
    await world.workloads.close(stop_processes=False)
    assert await pid_of(port) == pid
    async with a_world(world.folder) as successor:
        successor.documents = world.documents
        assert (await successor.seen()).endpoints[0].port == port
        await successor.apply()
        assert await pid_of(port) == pid
    await until_dead(pid)


@story
async def test_a_damaged_process_list_is_kept_aside_and_does_not_stop_the_start(world: World) -> None:
    state = world.folder / "state"
    state.mkdir(exist_ok=True)
    (state / "processes.json").write_text('[{"key": ')
    await world.workloads.start()
    assert (state / "processes.bad").read_text() == '[{"key": '
    await world.run()
    await world.until_ready()


@story
async def test_a_process_list_that_cannot_be_written_stops_no_model_server(world: World) -> None:
    (world.folder / "state" / "processes.new").mkdir(parents=True)
    await world.run()
    await world.until_ready()


@story
async def test_a_controller_killed_at_any_instant_of_a_start_leaves_one_server_or_none(world: World) -> None:
    chance = random.Random(11)
    document = world.folder / "version.json"
    document.write_text(json.dumps(process_document()))
    command = [sys.executable, str(CONTROLLER), str(world.folder / "state"), str(world.folder), str(document)]
    counts = []
    for _ in range(12):
        # Begins when the controller begins to act: its import takes longest and differs from machine to machine.
        controller = subprocess.Popen([*command, "--tell"], stdout=subprocess.PIPE, text=True)
        assert controller.stdout is not None
        await asyncio.to_thread(controller.stdout.readline)
        await asyncio.sleep(chance.choice([0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05]))
        kill(controller)
        counts.append(len(servers_in(world.folder)))
        assert counts[-1] <= 1, counts
        for pid in servers_in(world.folder) if chance.random() < 0.7 else ():
            os.killpg(pid, signal.SIGKILL)
            await until_dead(pid)
    assert 1 in counts  # else every kill came before the start
    await world.workloads.start()
    world.documents[ONE] = process_document()
    await world.apply()
    assert await pid_of(await world.until_ready()) == servers_in(world.folder)[0]
    assert len(servers_in(world.folder)) == 1
