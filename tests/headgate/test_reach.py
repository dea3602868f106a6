"""Which addresses a rollout's author may have asked by router and controller."""

import pytest

from headgate.reach import ANYWHERE, Reach, networks, special

NOWHERE_SPECIAL = Reach((), "--allow-them")


@pytest.mark.parametrize(
    ("address", "what"),
    [
        *((one, "loopback") for one in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")),
        *((one, "unspecified") for one in ("0.0.0.0", "::")),  # noqa: S104 - not bound
        *((one, "link-local, where clouds keep credentials") for one in ("169.254.169.254", "fe80::1%eth0")),
        ("::ffff:169.254.169.254", "link-local, where clouds keep credentials"),
        ("64:ff9b::a9fe:a9fe", "link-local, where clouds keep credentials"),
        *((one, "a cloud's metadata") for one in ("100.100.100.200", "168.63.129.16", "fd00:ec2::254")),
        *((one, "multicast") for one in ("224.0.0.1", "ff02::1")),
        *((one, "reserved") for one in ("255.255.255.255", "::127.0.0.1")),
    ],
)
def test_special_addresses_are_refused_with_what_they_are_and_how_to_allow_them(address: str, what: str):
    assert special(address) == what
    why = NOWHERE_SPECIAL.refusal(address)
    assert why.startswith(f"{address} is {what}: ")
    allowed = why.partition("--allow-them ")[2].partition(",")[0]
    assert Reach(networks([allowed])).refusal(address) == ""
    assert ANYWHERE.refusal(address) == ""


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "192.168.1.1", "198.18.0.7", "203.0.113.9", "2001:db8::1", "fd00::1", "fd12::1"),
        *("64:ff9b::cb00:7109", "model.ml.svc"),
    ],
)
def test_others_and_names_are_not(address: str):
    assert special(address) == NOWHERE_SPECIAL.refusal(address) == ""
