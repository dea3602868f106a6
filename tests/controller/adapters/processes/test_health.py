"""Readiness and back-off as rules on values: no process, no clock."""

from hypothesis import given
from hypothesis import strategies as st

from controller.adapters.processes.health import BACKOFF_MAX_S, LOOP_WINDOW_S, Exits, Health


def test_one_success_makes_ready_and_only_failures_in_a_row_make_unready() -> None:
    health = Health().after(None, 3)
    assert health == Health(is_ready=True, why_not="")
    for _ in range(5):
        health = health.after("503", 3).after("503", 3)
        assert health.is_ready
        health = health.after(None, 3)
    health = health.after("503", 3).after("503", 3).after("503", 3)
    assert health == Health(is_ready=False, failures=3, why_not="503")
    assert not health.after("refused", 3).is_ready
    assert health.after(None, 3).is_ready


def test_what_never_was_ready_is_not_made_ready_by_failing() -> None:
    assert not Health().after("refused", 1).is_ready


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5))
def test_readiness_depends_on_the_last_answers_only(answers: list[bool], failures_max: int) -> None:
    health = Health()
    for is_good in answers:
        health = health.after(None if is_good else "no", failures_max)
    since_success = next((i for i, is_good in enumerate(reversed(answers)) if is_good), None)
    assert health.is_ready == (since_success is not None and since_success < failures_max)
    assert health.failures <= failures_max


def test_the_back_off_doubles_up_to_its_bound() -> None:
    exits, waits = Exits(), []
    for number in range(9):
        exits = exits.after(number * 100.0)
        waits.append(exits.backoff_s)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_three_exits_within_a_minute_are_a_crash_loop_until_it_is_healthy() -> None:
    exits = Exits().after(0.0).after(30.0)
    assert not exits.is_looping
    exits = exits.after(59.0)
    assert exits.is_looping
    assert exits.after(10_000.0).is_looping  # a long back-off does not heal it
    assert exits.described() == " (3 times in 59 s)"


def test_exits_far_apart_are_no_crash_loop() -> None:
    exits = Exits()
    for number in range(20):
        exits = exits.after(number * (LOOP_WINDOW_S / 2))
        assert not exits.is_looping
    assert exits.backoff_s == BACKOFF_MAX_S


@given(st.lists(st.floats(0, 1e6), max_size=300))
def test_what_is_remembered_of_exits_is_bounded(gaps: list[float]) -> None:
    exits, now = Exits(), 0.0
    for gap in gaps:
        now += gap
        exits = exits.after(now)
        assert 0 < exits.backoff_s <= BACKOFF_MAX_S
    assert len(exits.recent) <= 100
