"""The interval is where the engine's own product, taken for every difference at once, reaches 2/alpha."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.analysis.interval import DOWN, NO_SUMS, UP, Block, Sums, add, bounds
from tests.controller.core.analysis.worlds import chance


def product(blocks: list[Block], difference: float, ratios: tuple[float, ...]) -> float:
    """The mixture for "the difference is this", written out block by block as the engine's docstring has it."""
    total = 0.0
    for r in ratios:
        log = 0.0
        for block in blocks:
            x = (r - 1) / (1 + r * block.kappa)
            log += (
                block.events * math.log(1 + x)
                + block.reference_events * math.log(1 - block.kappa * x)
                - block.requests * difference * x
            )
        total += math.exp(log)
    return total / len(ratios)


def summed(blocks: list[Block], dispersion: float = 1.0) -> Sums:
    sums = NO_SUMS
    for block in blocks:
        sums = add(sums, block, dispersion)
    return sums


def block(n_c: int, e_c: int, n_s: int, e_s: int) -> Block:
    return Block(n_c, e_c, e_s, n_c / n_s)


blocks = st.lists(
    st.tuples(st.integers(10, 200), st.integers(0, 10), st.integers(10, 2000), st.integers(0, 10)).map(
        lambda n: block(*n)
    ),
    min_size=1,
    max_size=10,
)


@given(blocks)
@settings(max_examples=200, deadline=None)
def test_both_bounds_solve_the_equation_they_stand_for(many):
    low, high = bounds(summed(many), 0.01)
    assert low is not None
    assert high is not None
    assert low <= high
    if product(many, (low + high) / 2, UP) > 200:  # a difference that changed: the bounds have crossed
        low, high = high, low
    if -1 < low < 1:
        assert product(many, low, UP) == pytest.approx(200, rel=1e-3)
        assert product(many, low + 1e-3, UP) < 200
    if -1 < high < 1:
        assert product(many, high, DOWN) == pytest.approx(200, rel=1e-3)
        assert product(many, high - 1e-3, DOWN) < 200


def test_no_data_gives_no_interval():
    assert bounds(NO_SUMS, 0.01) == (None, None)


def test_more_dispersion_gives_a_wider_interval():
    many = [block(100, 5, 1900, 20)] * 10
    (low, high), (lower, higher) = bounds(summed(many), 0.01), bounds(summed(many, 2.0), 0.01)
    assert lower < low < high < higher


def test_the_interval_shrinks_with_data_and_keeps_the_measured_difference_inside():
    widths = []
    for count in (1, 10, 100, 1000):
        low, high = bounds(summed([block(100, 5, 1900, 19)] * count), 0.01)
        assert low < 0.04 < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.01


@pytest.mark.parametrize(("p_c", "p_s"), [(0.02, 0.01), (0.01, 0.01), (0.5, 0.02), (0.0, 0.1)])
def test_looked_at_after_every_block_it_misses_the_truth_no_more_often_than_it_says(p_c, p_s):
    """200 seeded runs of 40 looks at 80 %: at most one in five ever excludes the true difference."""
    missed = 0
    for seed in range(200):
        rng = random.Random(seed)
        sums = NO_SUMS
        for _ in range(40):
            sums = add(sums, block(50, chance(rng, 50, p_c), 200, chance(rng, 200, p_s)), 1.0)
            low, high = bounds(sums, 0.2)
            if not low <= p_c - p_s <= high:
                missed += 1
                break
    assert missed <= 40
