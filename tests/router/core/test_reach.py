"""Which addresses a rollout's author may have asked by the router."""

from argparse import ArgumentParser

import pytest

from router.core.reach import ANYWHERE, LOOPBACK, Reach, add_to, networks, told, words

NOWHERE_SPECIAL = Reach(())


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.169.254"),  # noqa: S104 - not bound
        *("::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0", "100.100.100.200", "fd00:ec2::254"),
        *("224.0.0.1", "ff02::1"),
    ],
)
def test_special_addresses_are_refused_with_what_they_are_and_how_to_allow_them(address: str):
    why = NOWHERE_SPECIAL.refusal(address)
    assert why.startswith(f"{address} is ")
    allowed = why.partition("--upstream-allow ")[2].partition(",")[0]
    assert Reach(networks([allowed])).refusal(address) == ""
    assert ANYWHERE.refusal(address) == ""


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "192.168.1.1", "198.18.0.7", "203.0.113.9", "2001:db8::1", "fd00::1", "model.ml.svc"],
)
def test_others_and_names_are_not(address: str):
    assert NOWHERE_SPECIAL.refusal(address) == ""


@pytest.mark.parametrize(
    "reach", [ANYWHERE, NOWHERE_SPECIAL, Reach(LOOPBACK), Reach(networks(["169.254.7.0/24"]))]
)
def test_a_process_is_told_on_its_command_line(reach: Reach):
    parser = ArgumentParser()
    add_to(parser)
    assert told(parser.parse_args(words(reach))) == reach
