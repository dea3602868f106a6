"""A port that still has somebody connected is not drained, and one without is, by what the kernel says."""

import asyncio
import socket

from controller.adapters.processes.draining import DRAIN_MIN_S, drained, is_connected


def test_a_listener_alone_is_not_connected_and_a_client_of_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_connected(port) is False
        with socket.create_connection(("127.0.0.1", port)):
            assert is_connected(port) is True
            accepted, _ = server.accept()
        # The client is gone, whatever the server still has to say.
        with accepted:
            assert is_connected(port) is False


def test_a_client_of_a_listener_on_all_addresses_of_both_families_counts() -> None:
    if not socket.has_dualstack_ipv6():
        return
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            assert is_connected(port) is True


def test_our_own_connection_to_elsewhere_from_a_port_of_that_number_is_all_that_is_asked_for() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        assert is_connected(other.getsockname()[1]) is False


def test_draining_waits_for_the_last_client_and_not_less_than_its_least_time() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            client = socket.create_connection(("127.0.0.1", port))
            began = loop.time()
            task = asyncio.create_task(drained(port, 600.0, asyncio.Event()))
            done, _ = await asyncio.wait({task}, timeout=DRAIN_MIN_S + 2)
            assert not done
            client.close()
            await asyncio.wait_for(task, 30)
            assert loop.time() - began >= DRAIN_MIN_S

    asyncio.run(run())


def test_who_stays_connected_is_waited_for_no_longer_than_is_allowed() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):
                await asyncio.wait_for(drained(port, 0.5, asyncio.Event()), 30)

    asyncio.run(run())


def test_in_a_hurry_nobody_is_waited_for() -> None:
    async def run() -> None:
        hurry = asyncio.Event()
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):
                task = asyncio.create_task(drained(port, 600.0, hurry))
                await asyncio.sleep(0)
                hurry.set()
                await asyncio.wait_for(task, 30)

    asyncio.run(run())
