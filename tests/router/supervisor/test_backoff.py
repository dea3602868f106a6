"""How long a dead process has to wait."""

from itertools import accumulate

from router.supervisor.backoff import LONG_LIFE_S, LONGEST_S, BackOff


def delays(back_off: BackOff, lives: list[float]) -> list[float]:
    found = []
    for lived_s in lives:
        back_off, delay_s = back_off.died(lived_s)
        found.append(delay_s)
    return found


def test_delays_double_from_a_tenth_of_a_second_to_ten() -> None:
    assert delays(BackOff(), [1.0] * 9) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, LONGEST_S, LONGEST_S]


def test_a_worker_is_started_at_once_the_first_time() -> None:
    assert delays(BackOff(is_urgent=True), [1.0] * 4) == [0.0, 0.1, 0.2, 0.4]


def test_a_long_life_makes_the_next_death_the_first() -> None:
    assert delays(BackOff(), [1.0, 1.0, LONG_LIFE_S, 1.0]) == [0.1, 0.2, 0.1, 0.2]
    assert delays(BackOff(is_urgent=True), [1.0, 1.0, LONG_LIFE_S, 1.0]) == [0.0, 0.1, 0.0, 0.1]


def test_no_number_of_deaths_overflows_the_delay() -> None:
    *_, last = accumulate(range(100_000), lambda state, _: state.died(0.0)[0], initial=BackOff())
    assert last.died(0.0)[1] == LONGEST_S
