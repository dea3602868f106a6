"""The guard trips on catastrophe alone, and what it did is on record once, whoever writes it."""

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from headgate.wire.plan import Guard
from headgate.wire.telemetry import GuardTrip
from router.core.guard import (
    TRIPS_BYTES,
    TRIPS_MAX,
    Tally,
    Window,
    changes,
    is_tripped,
    read_trips,
    write_trip,
)

GUARD = Guard()
counts = st.integers(0, 400)


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    requests = draw(counts)
    return Tally(requests, draw(st.integers(0, requests)))


@pytest.mark.parametrize(
    ("version", "stable", "can_serve", "trips"),
    [
        (Tally(100, 20), Tally(100, 1), True, False),  # exactly 20 %: not more
        (Tally(100, 21), Tally(100, 2), True, True),
        (Tally(100, 21), Tally(1000, 21), True, False),  # exactly ten times: not more
        (Tally(19, 19), Tally(100, 0), True, False),  # too few
        (Tally(20, 20), Tally(100, 0), True, True),
        (Tally(20, 20), Tally(100, 0), False, False),  # nowhere to go
        (Tally(100, 100), Tally(100, 10), True, False),  # both are bad
        (Tally(100, 50), Tally(0, 0), True, False),  # alone, exactly half
        (Tally(100, 51), Tally(0, 0), True, True),
        (Tally(100, 51), Tally(0, 0), False, False),
        (Tally(0, 0), Tally(0, 0), True, False),
    ],
)
def test_the_rule_at_its_bounds(version: Tally, stable: Tally, can_serve: bool, trips: bool):
    assert is_tripped(GUARD, version, stable, stable_can_serve=can_serve) is trips


@given(tallies(), tallies(), st.booleans())
def test_a_trip_always_has_its_reasons(version: Tally, stable: Tally, can_serve: bool):
    tripped = is_tripped(GUARD, version, stable, stable_can_serve=can_serve)
    event(f"tripped: {tripped}")
    if tripped:
        assert can_serve
        assert version.failed >= GUARD.at_least
        assert version.ratio > (GUARD.error_ratio if stable.requests else GUARD.alone_error_ratio)
        assert version.ratio > 10 * stable.ratio


@given(tallies(), tallies(), st.integers(0, 50))
def test_more_failures_never_undo_a_trip(version: Tally, stable: Tally, more: int):
    if is_tripped(GUARD, version, stable, stable_can_serve=True):
        worse = Tally(version.requests + more, version.failed + more)
        assert is_tripped(GUARD, worse, stable, stable_can_serve=True)


@given(
    st.lists(st.tuples(st.floats(0.01, 2.0), tallies()), min_size=1, max_size=60),
    st.sampled_from([0.5, 2.0, 10.0, 600.0]),
)
def test_a_window_holds_what_came_within_its_length_and_little_more(
    steps: list[tuple[float, Tally]], length_s: float
):
    window, now, total = Window(), 0.0, Tally()
    history: list[tuple[float, Tally]] = []
    for wait, more in steps:
        now += wait
        total = Tally(total.requests + more.requests, total.failed + more.failed)
        window = window.add(now, total, length_s)
        history.append((now, total))
        within = window.within(total)
        # From the first sample on, at least the window and at most one sampling step more.
        exact = _since(history, now - length_s)
        longer = _since(history, now - length_s - length_s / 64 - 2.0)
        assert exact.requests <= within.requests <= longer.requests
        assert len(window.samples) <= 66


def _since(history: list[tuple[float, Tally]], start: float) -> Tally:
    before = [total for at, total in history if at <= start]
    return history[-1][1].since(before[-1] if before else history[0][1])


def test_counters_that_begin_anew_are_no_negative_window():
    window = Window().add(0.0, Tally(100, 50), 10.0)
    assert window.within(Tally(3, 1)) == Tally()


def trip(identity: str = "id", attempt: int = 1, at: float = 1.0) -> GuardTrip:
    return GuardTrip(
        version="v8",
        identity=identity,
        attempt=attempt,
        at=at,
        failed=21,
        requests=40,
        stable_failed=1,
        stable_requests=90,
    )


def test_a_trip_is_read_back_as_it_was_written_and_only_once():
    buffer = memoryview(bytearray(TRIPS_BYTES))
    assert read_trips(buffer) == ()
    assert write_trip(buffer, trip())
    assert not write_trip(buffer, trip(at=2.0)), "another worker was first"
    assert read_trips(buffer) == (trip(),)
    assert changes(buffer) == 1
    assert write_trip(buffer, trip(attempt=2))
    assert {one.attempt for one in read_trips(bytes(buffer))} == {1, 2}


def test_the_oldest_trip_makes_room_for_a_new_one():
    buffer = memoryview(bytearray(TRIPS_BYTES))
    for i in range(TRIPS_MAX + 3):
        assert write_trip(buffer, trip(identity=f"id-{i}", at=float(i)))
    assert sorted(one.at for one in read_trips(buffer)) == [float(i) for i in range(3, TRIPS_MAX + 3)]
    assert changes(buffer) == TRIPS_MAX + 3


def test_names_as_long_as_the_wire_allows_fit():
    buffer = memoryview(bytearray(TRIPS_BYTES))
    long = GuardTrip(
        version="v" * 63,
        identity="i" * 64,
        attempt=1_000_000,
        at=1e12,
        failed=2**63 - 1,
        requests=2**63 - 1,
        stable_failed=0,
        stable_requests=0,
    )
    write_trip(buffer, long)
    assert read_trips(buffer) == (long,)


def test_a_file_that_nobody_made_yet_holds_no_trips():
    assert read_trips(b"") == ()
