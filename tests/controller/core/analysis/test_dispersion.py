"""phi: 1 for independent requests, as large as the clumps where they fail together, 2 where nothing is known."""

import random

import pytest

from controller.core.analysis.dispersion import ASSUMED, UNKNOWN, Dispersion, Halves, add_tick
from tests.controller.core.analysis.worlds import chance


def history(
    ticks: int, clump: int = 1, seed: int = 1, base: float = 0.01, shared: bool = False
) -> Dispersion:
    """Stable at 400 requests a tick; failures come `clump` at a time, all in one half."""
    rng = random.Random(seed)
    dispersion = UNKNOWN
    for tick in range(ticks):
        rate = 0.3 if shared and tick % 50 < 10 else base
        halves = [clump * chance(rng, 200 // clump, rate) for _ in range(2)]
        dispersion = add_tick(dispersion, Halves(400, sum(halves), 200, halves[0], 1.0))
    return dispersion


def test_without_history_two_is_assumed():
    assert UNKNOWN.phi == ASSUMED == 2.0
    assert not UNKNOWN.is_known


def test_a_stable_that_never_fails_says_nothing_about_clumps():
    assert history(500, base=0.0).phi == ASSUMED


@pytest.mark.parametrize("seed", range(5))
def test_independent_failures_give_about_one(seed):
    assert 1.0 <= history(3600, seed=seed).phi < 1.35


@pytest.mark.parametrize("clump", [2, 4, 10])
def test_failures_in_clumps_give_the_size_of_the_clump(clump):
    assert history(3600, clump).phi == pytest.approx(clump, rel=0.4)


def test_an_outage_of_both_halves_is_no_dispersion():
    assert history(3600, shared=True).phi < 1.35


def test_the_first_minutes_move_from_two_towards_what_is_seen():
    young, old = history(40), history(3000)
    assert young.is_known
    assert old.phi < young.phi


def test_what_is_long_past_is_forgotten():
    dispersion = history(1000, clump=10)
    rng = random.Random(2)
    for _ in range(4 * 3600):
        first, second = chance(rng, 200, 0.01), chance(rng, 200, 0.01)
        dispersion = add_tick(dispersion, Halves(400, first + second, 200, first, 1.0))
    assert dispersion.phi < 1.6


def test_looks_that_come_faster_than_once_a_second_are_gathered_to_seconds():
    rng = random.Random(3)
    fast = slow = UNKNOWN
    for _ in range(200):
        seconds = [chance(rng, 50, 0.05) for _ in range(8)]
        for first, second in zip(seconds[::2], seconds[1::2], strict=True):
            fast = add_tick(fast, Halves(100, first + second, 50, first, 0.25))
        slow = add_tick(slow, Halves(400, sum(seconds), 200, sum(seconds[::2]), 1.0))
    assert fast.phi == pytest.approx(slow.phi)
    assert fast.levels[0].blocks == pytest.approx(slow.levels[0].blocks)
