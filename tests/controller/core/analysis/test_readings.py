"""Gauges against fixed bounds: which points count, when enough of them are beyond, and what is said."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.analysis.inputs import Arms, Counts, Missing, Values
from controller.core.analysis.readings import NO_READINGS, is_beyond, read
from controller.core.analysis.state import decode_state, encode_state
from controller.core.checks import Check, GaugeQuery, Lack, Metric, Verdict, Within
from tests.controller.core.analysis.worlds import (
    CANDIDATE,
    ERRORS,
    RUNNING,
    STABLE,
    START,
    Judge,
    Router,
    step,
)

QUERY = GaugeQuery("main", 'avg(gpu{version="{{version}}"})')
GPU = Check("gpu", Metric.GAUGE, Within(most=0.9, of=5, at=3), query=QUERY)
SOUND = (0.5, 0.6, 0.5, 0.6, 0.5)
NOBODY = Missing("stable is not asked")


def values(*told: float, since: float = START, every: float = 15.0) -> Values:
    """Points at `since` + `every`, and so on; NaN is a gap."""
    return Values(tuple((since + every * (i + 1), value) for i, value in enumerate(told)))


def look(judged: Judge, measured: object, now: float, at=RUNNING):
    return judged.look(now, counts={"gpu": Arms(measured, NOBODY)}, step=at)


def test_enough_points_within_the_bounds_pass():
    result = look(Judge((GPU,)), values(*SOUND), START + 80)
    assert (result.verdict, result.lack, result.is_fresh) == (Verdict.PASS, Lack.NONE, True)
    assert (
        result.text == "gpu 0.5, limit at most 0.9: 0 of the last 5 measurements beyond, 3 of 5 fail → Pass"
    )
    assert (result.estimate, result.bound, result.samples) == (0.5, 0.9, 5)


def test_three_of_five_beyond_fail_and_two_do_not():
    two = look(Judge((GPU,)), values(0.95, 0.5, 0.99, 0.5, 0.5), START + 80)
    assert two.verdict is Verdict.PASS
    three = look(Judge((GPU,)), values(0.95, 0.5, 0.99, 0.5, 0.93), START + 80)
    assert three.verdict is Verdict.FAIL
    assert "0.93, limit at most 0.9: 3 of the last 5 measurements beyond, 3 of 5 fail → Fail" in three.text


def test_a_fail_stays_though_the_value_recovers():
    judged = Judge((GPU,))
    assert look(judged, values(1, 1, 1), START + 50).verdict is Verdict.FAIL
    assert look(judged, values(1, 1, 1, *SOUND), START + 125).verdict is Verdict.FAIL
    assert look(judged, values(1, 1, 1, *SOUND), START + 125, at=step(2, ordinal=1)).verdict is Verdict.FAIL


def test_three_beyond_fail_at_once_without_waiting_for_five():
    assert look(Judge((GPU,)), values(1, 1, 1), START + 50).verdict is Verdict.FAIL


def test_too_few_points_of_this_step_say_how_many():
    judged = Judge((GPU,))
    result = look(judged, values(0.5, 0.5), START + 31)
    assert (result.verdict, result.lack) == (Verdict.INCONCLUSIVE, Lack.NO_DATA)
    assert result.text.endswith("→ Inconclusive: 2 of 5 measurements of this step")


def test_points_before_the_step_was_acknowledged_and_points_seen_before_do_not_count():
    judged = Judge((GPU,))
    early = values(1, 1, 1, 1, since=START - 70)
    assert look(judged, early, START).lack is Lack.NO_DATA
    for _ in range(3):
        result = look(judged, values(1.0, 1.0), START + 31)
    assert result.samples == 2
    assert result.verdict is Verdict.INCONCLUSIVE


def test_another_step_begins_with_no_points():
    judged = Judge((GPU,))
    look(judged, values(*SOUND), START + 80)
    result = look(judged, values(*SOUND), START + 81, at=step(2, START + 81, ordinal=1))
    assert (result.lack, result.samples) == (Lack.NO_DATA, 0)


def test_a_step_that_no_router_acknowledged_has_no_points():
    result = look(Judge((GPU,)), values(1, 1, 1, 1, 1), START + 80, at=step(acknowledged_at=None))
    assert result.text.endswith("the routers have not acknowledged this step yet")


@pytest.mark.parametrize(
    ("measured", "why"),
    [
        (Missing("prometheus 'main': connection refused"), "connection refused"),
        (Values(()), "`value` gave no number"),
        (values(math.nan, math.inf), "`value` gave no number"),
        (Counts({}, {}), "it gave counters, and no values"),
        (values(*SOUND, since=START - 300), "old, more than 45 s"),
    ],
)
def test_what_cannot_be_measured_is_no_data_and_says_why(measured, why):
    result = look(Judge((GPU,)), measured, START + 1)
    assert (result.verdict, result.lack) == (Verdict.INCONCLUSIVE, Lack.NO_DATA)
    assert why in result.text


def test_values_for_a_check_that_wants_counters_are_no_data():
    redo = Check("redo", Metric.PROMETHEUS, ERRORS.limit, query=QUERY)
    result = Judge((redo,)).look(START, counts={"redo": Arms(values(*SOUND), values(*SOUND))})
    assert "it gave values, and no counters" in result.text


def test_a_gauge_limit_on_counts_is_refused_in_words():
    assert "is no gauge" in Judge((replace(ERRORS, limit=Within(most=1)),)).look(START).text


def test_gaps_are_no_points():
    result = look(Judge((GPU,)), values(1, math.nan, 1, math.nan, 0.5), START + 80)
    assert result.samples == 3


def test_what_the_provider_warns_of_is_said():
    warned = replace(values(*SOUND), warnings=("partial response",))
    assert "(the provider warns: partial response)" in look(Judge((GPU,)), warned, START + 80).text


def seconds_to_fail(*checks: Check) -> int:
    judged, router = Judge(checks), Router()
    for second in range(600):
        router.count(CANDIDATE.identity, 50, 1)
        router.count(STABLE.identity, 475, 4)
        if judged.look(START + second, router).verdict is Verdict.FAIL:
            return second
    raise AssertionError("it never failed")


def test_gauges_take_nothing_from_the_alpha_of_what_is_tested():
    others = tuple(replace(GPU, name=f"gpu{i}") for i in range(50))
    assert seconds_to_fail(ERRORS, *others) == seconds_to_fail(ERRORS)


def test_the_points_survive_a_restart():
    judged = Judge((GPU,))
    look(judged, values(1, 1), START + 31)
    judged.state = decode_state(encode_state(judged.state))
    assert look(judged, values(1, 1, 1), START + 46).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("value", "within", "beyond"),
    [
        (0.9, Within(most=0.9), False),
        (0.91, Within(most=0.9), True),
        (0.2, Within(least=0.2), False),
        (0.19, Within(least=0.2), True),
        (0.5, Within(0.2, 0.9), False),
    ],
)
def test_a_bound_itself_is_inside(value, within, beyond):
    assert is_beyond(value, within) is beyond


@given(
    st.lists(st.tuples(st.floats(), st.floats()), max_size=30),
    st.integers(1, 9),
    st.integers(1, 9),
    st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_no_numbers_make_it_raise_and_never_more_points_than_are_looked_at(points, of, at, since):
    within = Within(-1.0, 1.0, of, min(at, of))
    known, _ = read(NO_READINGS, Values(tuple(points)), within, since, START)
    assert len(known.beyond) <= of
    assert known.has_failed == (sum(known.beyond) >= within.at)
