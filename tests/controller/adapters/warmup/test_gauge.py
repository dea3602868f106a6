"""What counts as warm, on a clock of the test's own."""

from controller.adapters.warmup.gauge import Gauge, p95
from controller.core.spec import Warmup

BOUND = Warmup(count=50, p95_s=0.020, stable_for_s=10.0)
NO_BOUND = Warmup(count=50, stable_for_s=10.0)


def answered(gauge: Gauge, since: float, seconds: float, *latencies: float | None) -> float:
    """Twenty answers a second with these latencies in turn; the time after the last one."""
    for number in range(round(seconds * 20)):
        gauge.add(since + (number + 1) / 20, latencies[number % len(latencies)], "HTTP 503")
    return since + seconds


def test_the_p95_is_the_value_that_95_of_100_do_not_exceed() -> None:
    assert p95([float(n) for n in range(100, 0, -1)]) == 95.0
    assert p95([3.0]) == 3.0


def test_fast_answers_for_long_enough_are_warm_and_not_a_moment_before() -> None:
    gauge = Gauge(BOUND, 0.0)
    now = answered(gauge, 0.0, 9.0, 0.015)
    assert not gauge.is_warm
    answered(gauge, now, 3.0, 0.015)
    assert gauge.is_warm
    assert gauge.text == "p95 15 ms of at most 20 ms for 12 s of 10 s, 240 requests so far"


def test_a_p95_on_the_bound_is_good_and_one_above_is_not() -> None:
    on, above = Gauge(BOUND, 0.0), Gauge(BOUND, 0.0)
    answered(on, 0.0, 20.0, 0.020)
    answered(above, 0.0, 20.0, 0.0201)
    assert on.is_warm
    assert not above.is_warm


def test_one_slow_window_begins_the_time_anew() -> None:
    gauge = Gauge(BOUND, 0.0)
    now = answered(gauge, 0.0, 8.0, 0.010)
    now = answered(gauge, now, 2.0, 0.200)
    now = answered(gauge, now, 8.0, 0.010)
    assert not gauge.is_warm
    answered(gauge, now, 2.0, 0.010)
    assert gauge.is_warm


def test_a_few_slow_answers_are_not_the_95th_percentile() -> None:
    gauge = Gauge(BOUND, 0.0)
    answered(gauge, 0.0, 20.0, *[0.010] * 39, 5.0)
    assert gauge.is_warm


def test_failed_answers_are_never_fast() -> None:
    gauge = Gauge(BOUND, 0.0)
    answered(gauge, 0.0, 60.0, *[0.001] * 9, None)
    assert not gauge.is_warm
    assert gauge.text == "more than 5 % of its answers fail (HTTP 503), 1200 requests so far"


def test_without_a_bound_a_p95_that_does_not_change_is_warm_however_slow() -> None:
    gauge = Gauge(NO_BOUND, 0.0)
    answered(gauge, 0.0, 20.0, 0.400, 0.410)
    assert gauge.is_warm


def test_without_a_bound_a_p95_that_still_falls_is_cold() -> None:
    gauge = Gauge(NO_BOUND, 0.0)
    now, latency = 0.0, 2.0
    while now < 30.0:
        now = answered(gauge, now, 2.0, latency)
        latency *= 0.75
    assert not gauge.is_warm


def test_too_few_answers_are_no_proof() -> None:
    gauge = Gauge(Warmup(count=500, p95_s=0.020, stable_for_s=1.0), 0.0)
    now = answered(gauge, 0.0, 24.0, 0.010)
    assert not gauge.is_warm
    answered(gauge, now, 2.0, 0.010)
    assert gauge.is_warm


def test_a_slow_trickle_makes_windows_of_enough_answers() -> None:
    gauge = Gauge(Warmup(count=1, p95_s=0.020, stable_for_s=1.0), 0.0)
    for number in range(19):
        gauge.add(10.0 * number, 0.010)
    assert not gauge.is_warm
    gauge.add(200.0, 0.010)
    assert gauge.is_warm


def test_before_the_first_window_only_the_answers_are_counted() -> None:
    gauge = Gauge(BOUND, 0.0)
    gauge.add(0.1, 3.0)
    assert gauge.text == "1 requests so far"
