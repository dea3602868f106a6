"""Listening sockets, and what is said when there can be none."""

import os
import socket

import pytest

from router.supervisor.sockets import Address, CannotListen, address_of, listen


def test_port_zero_gives_a_free_port_that_accepts() -> None:
    with listen(Address("127.0.0.1", 0)) as opened:
        address = address_of(opened)
        assert address.port > 0
        with socket.create_connection(tuple(address), timeout=30) as client:
            assert client.getpeername() == tuple(address)


def test_a_port_in_use_is_named_with_who_holds_it() -> None:
    with listen(Address("127.0.0.1", 0)) as opened:
        with pytest.raises(CannotListen) as caught:
            listen(address_of(opened))
        assert str(caught.value).startswith(f"port {address_of(opened).port} is in use")
    assert f"pid {os.getpid()} (" in str(caught.value)


def test_an_address_of_another_machine_is_refused_by_name() -> None:
    with pytest.raises(CannotListen, match=r"this machine has no address 192\.0\.2\.7"):
        listen(Address("192.0.2.7", 0))


def test_a_port_is_free_again_when_its_socket_is_closed_with_connections_open() -> None:
    first = listen(Address("127.0.0.1", 0))
    address = address_of(first)
    with socket.create_connection(tuple(address), timeout=30):
        first.close()
    listen(address).close()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (Address("127.0.0.1", 80), "http://127.0.0.1:80"),
        (Address("0.0.0.0", 80), "http://127.0.0.1:80"),  # noqa: S104 - only turned into a text
        (Address("::", 80), "http://[::1]:80"),
        (Address("::1", 80), "http://[::1]:80"),
        (Address("router.example", 80), "http://router.example:80"),
    ],
)
def test_the_url_is_one_that_a_client_on_this_machine_can_call(address: Address, url: str) -> None:
    assert address.url == url
