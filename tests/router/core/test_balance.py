"""Two random choices are fair, and an endpoint that keeps failing is left alone for longer and longer, never for ever."""

from collections import Counter
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from router.core.balance import EJECT_AFTER, EJECTION_S, EJECTION_S_MAX, HEALTHY, Health, pair, takes


@given(st.integers(2, 1024), st.integers(0, 2**48 - 1))
def test_a_pair_is_two_different_indices(count: int, randomness: int):
    first, second = pair(count, randomness)
    assert first != second
    assert {first, second} <= set(range(count))


def test_all_pairs_are_equally_likely():
    seen = Counter(pair(5, randomness) for randomness in range(20 * 50))
    assert set(seen) == {(a, b) for a, b in product(range(5), repeat=2) if a != b}
    assert set(seen.values()) == {50}


def failing(times: int, health: Health = HEALTHY, now: float = 0.0) -> Health:
    for _ in range(times):
        health = health.after_failure(now)
    return health


def test_a_few_failures_eject_nobody_and_one_more_does():
    assert failing(EJECT_AFTER - 1).is_usable(0.0)
    ejected = failing(EJECT_AFTER)
    assert not ejected.is_usable(EJECTION_S * 0.99)
    assert ejected.is_usable(EJECTION_S)


def test_failures_of_requests_that_were_under_way_do_not_lengthen_an_ejection():
    ejected = failing(EJECT_AFTER)
    assert failing(50, ejected, now=0.5).ejected_until == ejected.ejected_until


@given(st.integers(1, 200))
def test_each_ejection_in_a_row_lasts_twice_as_long_up_to_a_bound(times: int):
    health = failing(EJECT_AFTER)
    for i in range(1, times):
        before = health.ejected_until
        health = health.after_failure(before)
        assert abs(health.ejected_until - before - min(EJECTION_S * 2**i, EJECTION_S_MAX)) < 1e-6
    assert health.ejections == times


def test_a_slow_start_takes_a_tenth_at_first_more_and_more_and_all_in_the_end():
    shares = [
        sum(takes(age, 10.0, i / 1000) for i in range(1000)) / 1000 for age in (0, 0.5, 2.5, 5, 9, 10, 99)
    ]
    assert shares == [0.1, 0.1, 0.25, 0.5, 0.9, 1.0, 1.0]


def test_without_a_slow_start_all_is_taken_at_once():
    assert takes(0.0, 0.0, 0.999)
