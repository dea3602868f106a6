"""The simulation that compares rules: its arithmetic, and that each rule does what its documentation says."""

import numpy as np
import pytest

from bench.decisions.__main__ import at, upper_bound
from bench.decisions.rules import Outcome, argo, flagger, headgate, kayenta
from bench.decisions.worlds import BAD, CHECKS, SECONDS, USUAL, World, draw, tolerated


@pytest.mark.parametrize("of", [1, 40, 5000])
def test_the_bound_of_no_event_is_the_closed_form(of: int) -> None:
    assert upper_bound(0, of) == pytest.approx(1 - 0.05 ** (1 / of))


def test_the_bound_of_some_events_is_that_of_the_tables() -> None:
    assert upper_bound(1, 10) == pytest.approx(0.39416, abs=1e-4)
    assert upper_bound(50, 5000) == pytest.approx(0.012650, abs=1e-4)
    assert upper_bound(3, 3) == 1.0


def test_a_quantile_is_one_of_the_values() -> None:
    assert at([10, 20, 30, 40], 0.5) == 20
    assert at([10, 20, 30, 40], 0.95) == 40
    assert at([], 0.5) == float("inf")


def test_a_world_is_the_same_for_the_same_seed_and_fails_as_it_says() -> None:
    world = World("x", 0.01, 0.05, per_second=2000, weight=0.5)
    one, two = draw(world, 3), draw(world, 3)
    assert np.array_equal(one.failed, two.failed)
    shares = one.failed.sum(axis=1) / one.requests.sum()
    assert shares[0] == pytest.approx(0.05, rel=0.02)
    assert shares[1:] == pytest.approx([0.01] * (CHECKS - 1), rel=0.05)
    assert (one.half <= one.reference).all()
    assert one.failed.shape == (CHECKS, SECONDS)
    assert tolerated(0.01) == pytest.approx(0.0122)


def test_failures_in_groups_are_as_many_and_vary_more() -> None:
    even = draw(World("x", 0.02, 0.02, per_second=2000), 1).reference_failed
    grouped = draw(World("x", 0.02, 0.02, per_second=2000, burst=3.0), 1).reference_failed
    assert grouped.mean() == pytest.approx(even.mean(), rel=0.02)
    assert grouped.var() > 3 * even.var()


def test_others_do_what_they_document() -> None:
    world = World("half", USUAL, 0.5)
    traffic = draw(world, 0)
    assert argo(300, 300)(world, traffic) == Outcome(None, True), (
        "the fourth measurement comes after 15 minutes"
    )
    assert argo(20, 60)(world, traffic) == Outcome(80, False)
    assert flagger(world, traffic) == Outcome(600, False)
    assert kayenta(world, traffic) == Outcome(900, False), "one metric of eight: 87.5 is enough until the end"
    everywhere = World("half of all", USUAL, 0.5, bad=CHECKS)
    assert kayenta(everywhere, draw(everywhere, 0)).rolled_back_at == 300


def test_others_leave_a_good_version_alone_in_quiet_weather() -> None:
    world = World("good", 0.001, 0.001)
    traffic = draw(world, 0)
    for rule in (argo(300, 300), argo(20, 60), flagger):
        assert rule(world, traffic) == Outcome(None, True)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_look_each_five_seconds_is_as_good_as_one_each_second(seed: int) -> None:
    world = next(one for one in BAD if one.name == "5 x from 1 %")
    traffic = draw(world, seed)
    often, seldom = headgate(1)(world, traffic), headgate(5)(world, traffic)
    assert often.rolled_back_at is not None
    assert seldom.rolled_back_at is not None
    assert abs(often.rolled_back_at - seldom.rolled_back_at) <= 10
