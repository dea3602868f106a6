"""Which endpoint a request falls to: the less loaded of two, and to those that are new or came back only little by little."""

from collections import Counter

import pytest

from headgate.log import Log
from headgate.wire.plan import Endpoint
from router.core.balance import EJECT_AFTER
from router.proxy.pool import Address, Addresses, choose
from router.tls import Client, Followed

NOW = 1000.0
TIMES = 4000


def addresses(count: int) -> list[Address]:
    """Endpoints that have been usable for long."""
    found = Addresses(Followed(Client(), Log("test"))).of(
        [Endpoint("127.0.0.1", 1 + i) for i in range(count)]
    )
    for one in found:
        one.usable_since = 0.0
    return found


def shares(several: list[Address], slow_start_s: float = 10.0, now: float = NOW) -> list[float]:
    chosen = Counter(choose(several, (), now, 512, slow_start_s) for _ in range(TIMES))
    return [chosen[one] / TIMES for one in several]


def test_endpoints_that_have_been_there_share_alike():
    assert shares(addresses(4)) == pytest.approx([0.25] * 4, abs=0.06)  # 8 sigma


@pytest.mark.parametrize(("age_s", "part"), [(0.0, 0.1), (5.0, 0.5), (10.0, 1.0)])
def test_a_new_endpoint_takes_a_part_of_its_share_that_grows(age_s: float, part: float):
    several = addresses(4)
    several[0].usable_since = NOW - age_s
    found = shares(several)
    assert found[0] == pytest.approx(0.25 * part, abs=0.06)
    assert found[1:] == pytest.approx([(1 - 0.25 * part) / 3] * 3, abs=0.06)


def test_one_that_was_ejected_starts_slowly_when_it_is_back():
    several = addresses(2)
    for _ in range(EJECT_AFTER):
        several[0].failed(NOW)
    assert shares(several) == [0.0, 1.0]
    back = several[0].health.ejected_until
    assert shares(several, now=back) == pytest.approx([0.05, 0.95], abs=0.05)
    several[0].answered()
    assert shares(several, now=back + 5.0) == pytest.approx([0.25, 0.75], abs=0.07)
    assert shares(several, now=back + 10.0) == pytest.approx([0.5, 0.5], abs=0.07)


def test_where_all_are_new_or_only_one_is_left_nothing_is_held_back():
    several = addresses(2)
    for one in several:
        one.usable_since = NOW
    assert shares(several) == pytest.approx([0.5, 0.5], abs=0.07)
    several[1].usable_since = 0.0
    several[1].load = 512
    assert shares(several) == [1.0, 0.0]
    assert shares(several[:1]) == [1.0]


def test_a_slow_start_of_nothing_is_none():
    several = addresses(2)
    several[0].usable_since = NOW
    assert shares(several, slow_start_s=0.0) == pytest.approx([0.5, 0.5], abs=0.07)


def test_the_less_loaded_of_two_is_taken_unless_it_is_full_or_was_tried():
    a, b = addresses(2)
    a.load, b.load = 2, 1
    assert choose([a, b], (), NOW, 512, 10.0) is b
    assert choose([a, b], (b,), NOW, 512, 10.0) is a
    assert choose([a, b], (), NOW, 1, 10.0) is None
    assert choose([], (), NOW, 512, 10.0) is None
