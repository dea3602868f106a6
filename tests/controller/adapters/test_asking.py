"""The addresses of a host, looked at before one of them is connected to."""

import asyncio

import pytest

from controller.adapters.asking import NotAsked, reachable, resolved
from headgate.reach import ANYWHERE, LOOPBACK, Reach

GUARDED = Reach((), "--allow-address")


def found(host: str, reach: Reach) -> list[str]:
    return asyncio.run(reachable(host, 80, reach))


def test_where_nothing_is_refused_a_name_stays_one() -> None:
    assert found("no-such-host.invalid", ANYWHERE) == ["no-such-host.invalid"]


def test_a_name_is_the_addresses_that_were_looked_at() -> None:
    assert set(found("localhost", Reach(LOOPBACK))) <= {"127.0.0.1", "::1"}
    assert found("10.0.0.1", GUARDED) == ["10.0.0.1"]
    assert found("2001:db8::1", GUARDED) == ["2001:db8::1"]


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "::1", "0", "2130706433", "169.254.169.254", "fe80::1"]
)
def test_what_leads_to_a_special_address_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(NotAsked, match="allow it with --allow-address"):
        found(host, GUARDED)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example", ""])
def test_a_name_without_an_address_is_an_error_of_the_network(host: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011  whatever the resolver says
        asyncio.run(resolved(host, 80))
