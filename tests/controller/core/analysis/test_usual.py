"""What is learned of stable before a trial: from every report, in ticks, per life of a router, and of one version only."""

import random

import pytest

from controller.core.analysis.dispersion import ASSUMED, Dispersion
from controller.core.analysis.inputs import Inputs
from controller.core.analysis.judge import judge
from controller.core.analysis.state import FRESH
from controller.core.analysis.usual import NOTHING_USUAL, ROUTERS_MAX, Usual, learned
from controller.core.checks import Check, Metric, NoWorse
from tests.controller.core.analysis.worlds import CANDIDATE, ROLES, RUNNING, STABLE, START, Router, chance


def after(seconds: int, routers: list[Router], group: int = 1, seed: int = 1, usual: Usual = NOTHING_USUAL):
    """What is known after so many seconds of stable alone; failures come in groups of this size."""
    rng = random.Random(seed)
    for second in range(seconds):
        for router in routers:
            first, second_half = (group * chance(rng, 250 // group, 0.02) for _ in range(2))
            router.count(STABLE.identity, 500, first + second_half, 250, first)
            usual = learned(usual, STABLE.identity, router.report(START + second), START + second)
    return usual


def test_independent_failures_are_known_to_be_so_after_some_minutes():
    assert after(600, [Router()]).dispersion.phi == pytest.approx(1.0, abs=0.35)


def test_failures_in_groups_of_five_count_a_fifth():
    assert after(600, [Router()], group=5).dispersion.phi == pytest.approx(5.0, rel=0.3)


def test_a_few_seconds_are_no_history():
    known = after(5, [Router()])
    assert not known.dispersion.is_known
    assert known.dispersion.phi == ASSUMED


def test_several_routers_are_one_stream_a_tick_a_second():
    routers = [Router(name=f"router-{n}", boot=f"b{n}") for n in range(3)]
    known = after(100, routers)
    assert 40 < known.dispersion.levels[0].blocks < 102
    assert known.dispersion.phi == pytest.approx(1.0, abs=0.8)


def test_a_router_that_restarts_begins_anew_and_adds_nothing_that_was_counted():
    router = Router()
    known = after(60, [router])
    router.restart("boot-2", START + 60)
    again = learned(known, STABLE.identity, router.report(START + 60), START + 60)
    assert again.dispersion == known.dispersion
    router.count(STABLE.identity, 100, 1, 50, 1)
    assert (
        learned(again, STABLE.identity, router.report(START + 61), START + 61).heard["router-1"].requests
        == 100
    )


def test_what_a_router_counted_in_a_new_life_before_its_first_report_is_no_tick_even_if_it_is_more():
    router = Router()
    known = after(60, [router])
    router.restart("boot-2", START + 60)
    router.count(STABLE.identity, 1_000_000, 900_000, 500_000, 10_000)
    again = learned(known, STABLE.identity, router.report(START + 61), START + 61)
    assert again.dispersion == known.dispersion


def test_counters_that_make_no_sense_are_left_out():
    router = Router()
    known = after(60, [router])
    router.counted[STABLE.identity][1] -= 5
    assert (
        learned(known, STABLE.identity, router.report(START + 60), START + 60).dispersion == known.dispersion
    )


def test_what_came_in_a_long_silence_is_no_tick():
    router = Router()
    known = after(60, [router])
    router.count(STABLE.identity, 10_000, 9_000, 5_000, 0)
    assert (
        learned(known, STABLE.identity, router.report(START + 200), START + 200).dispersion
        == known.dispersion
    )


def test_another_stable_starts_with_no_history():
    router = Router()
    known = after(60, [router])
    router.count(CANDIDATE.identity, 10, 0)
    other = learned(known, CANDIDATE.identity, router.report(START + 60), START + 60)
    assert other.dispersion == Dispersion()
    assert other.identity == CANDIDATE.identity


def test_a_report_without_stable_teaches_nothing():
    assert learned(NOTHING_USUAL, STABLE.identity, Router().report(START), START).heard == {}


def test_no_more_routers_are_remembered_than_a_rollout_may_have():
    usual = NOTHING_USUAL
    for number in range(ROUTERS_MAX + 5):
        router = Router(name=f"r{number}")
        router.count(STABLE.identity, 1, 0)
        usual = learned(usual, STABLE.identity, router.report(START), START)
    assert len(usual.heard) == ROUTERS_MAX


@pytest.mark.parametrize(
    ("metric", "is_used"), [(Metric.ERRORS, True), (Metric.LATENCY, False), (Metric.DISAGREEMENT, False)]
)
def test_a_trial_begins_with_what_is_usual_of_errors(metric: Metric, is_used: bool):
    known = after(600, [Router()], group=5).dispersion
    check = Check("c", metric, NoWorse())
    router = Router()
    router.count(STABLE.identity, 1, 0)
    inputs = Inputs((router.report(START),), usual=known)
    state, _ = judge((check,), ("c",), ROLES, FRESH, inputs, RUNNING, 0.01, START)
    assert (state.checks["c"].dispersion == known) is is_used
