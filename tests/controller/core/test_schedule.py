"""Windows and freezes, around real changes of clocks."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from controller.core.schedule import (
    ALWAYS,
    Closed,
    Fixed,
    Freeze,
    Open,
    Recurring,
    Schedule,
    instant,
    never_begins,
    never_opens,
    state,
)

HOUR = 3600.0
BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def window(cron: str, hours: float, zone: str = "UTC") -> Recurring:
    return Recurring(cron, hours * HOUR, ZoneInfo(zone), zone)


def begins(span: Recurring, after: str, count: int) -> list[str]:
    """The next beginnings, in UTC."""
    found, now = [], at(after)
    for _ in range(count):
        begin = span.next_begin(now)
        assert begin is not None
        found.append(f"{datetime.fromtimestamp(begin, UTC):%Y-%m-%d %H:%M}")
        now = begin
    return found


def test_without_a_schedule_it_is_always_open() -> None:
    assert state(ALWAYS, 0.0) == Open()


def test_a_window_is_open_from_its_beginning_and_closed_at_its_end() -> None:
    schedule = Schedule((window("0 9 * * MON-THU", 6, BERLIN),))
    nine, three = at("2026-11-23T09:00+01:00"), at("2026-11-23T15:00+01:00")
    assert isinstance(state(schedule, nine - 1), Closed)
    assert state(schedule, nine) == Open(three)
    assert state(schedule, three - 1) == Open(three)
    closed = state(schedule, three)
    assert isinstance(closed, Closed)
    assert closed.opens_at == at("2026-11-24T09:00+01:00")


def test_a_closed_window_says_when_it_opens_in_its_own_time() -> None:
    schedule = Schedule((window("0 9 * * MON-THU", 6, BERLIN),))
    closed = state(schedule, at("2026-11-20T12:00+01:00"))  # a Friday
    assert closed == Closed(
        at("2026-11-23T09:00+01:00"),
        "the window opens at 2026-11-23 09:00 Europe/Berlin (0 9 * * MON-THU for 6h)",
    )


def test_a_window_may_go_past_midnight() -> None:
    schedule = Schedule((window("0 22 * * *", 8),))
    assert isinstance(state(schedule, at("2026-11-24T05:59+00:00")), Open)
    assert isinstance(state(schedule, at("2026-11-24T06:00+00:00")), Closed)


def test_a_freeze_closes_an_open_window_and_says_both() -> None:
    christmas = Fixed(at("2026-12-23T10:00+00:00"), at("2026-12-26T20:00+00:00"))
    schedule = Schedule((window("0 9 * * *", 6),), (Freeze(christmas, "christmas"),))
    assert state(schedule, at("2026-12-23T09:30+00:00")) == Open(at("2026-12-23T10:00+00:00"))
    assert isinstance(state(schedule, at("2026-12-23T10:00+00:00")), Closed)
    assert isinstance(state(Schedule(freezes=schedule.freezes), at("2026-12-26T20:00+00:00")), Open)
    closed = state(schedule, at("2026-12-23T11:00+00:00"))
    assert closed == Closed(
        at("2026-12-27T09:00+00:00"),
        "frozen until 2026-12-26 20:00 UTC: christmas, and the window opens at 2026-12-27 09:00 UTC (0 9 * * * for 6h)",
    )


def test_freezes_alone_leave_everything_else_open() -> None:
    fridays = Freeze(window("0 12 * * FRI", 12, BERLIN), "the weekend is near")
    schedule = Schedule(freezes=(fridays,))
    assert state(schedule, at("2026-11-20T11:00+01:00")) == Open(at("2026-11-20T12:00+01:00"))
    closed = state(schedule, at("2026-11-20T13:00+01:00"))
    assert closed == Closed(
        at("2026-11-21T00:00+01:00"), "frozen until 2026-11-21 00:00 Europe/Berlin: the weekend is near"
    )


def test_freezes_that_follow_each_other_are_one_wait() -> None:
    first = Freeze(Fixed(at("2026-12-01T00:00+00:00"), at("2026-12-02T00:00+00:00")), "one")
    second = Freeze(Fixed(at("2026-12-01T12:00+00:00"), at("2026-12-03T00:00+00:00")), "two")
    closed = state(Schedule(freezes=(first, second)), at("2026-12-01T01:00+00:00"))
    assert isinstance(closed, Closed)
    assert closed.opens_at == at("2026-12-03T00:00+00:00")


def test_an_opening_more_than_a_year_away_is_not_promised() -> None:
    schedule = Schedule((window("0 9 29 2 *", 6),))
    assert state(schedule, at("2024-03-01T00:00+00:00")) == Closed(None, "no window opens within a year")


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        # 2026-03-29 02:00 → 03:00 in Berlin: 02:30 is skipped, and the day begins at the first instant after the gap
        ("30 2 * * *", BERLIN, "2026-03-28T12:00+00:00", ["2026-03-29 01:00", "2026-03-30 00:30"]),
        # 2026-10-25 03:00 → 02:00: 02:30 comes twice, and the window begins once, the first time
        ("30 2 * * *", BERLIN, "2026-10-24T12:00+00:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
        ("0 9 * * *", BERLIN, "2026-10-24T12:00+00:00", ["2026-10-25 08:00", "2026-10-26 08:00"]),
        # New York: 2026-03-08 and 2026-11-01
        ("15 2 * * *", NEW_YORK, "2026-03-07T12:00+00:00", ["2026-03-08 07:00", "2026-03-09 06:15"]),
        ("30 1 * * *", NEW_YORK, "2026-10-31T12:00+00:00", ["2026-11-01 05:30", "2026-11-02 06:30"]),
        # Lord Howe moves half an hour: 2026-10-04 02:00 → 02:30, 2026-04-05 02:00 → 01:30
        ("10 2 * * *", LORD_HOWE, "2026-10-03T00:00+00:00", ["2026-10-03 15:30", "2026-10-04 15:10"]),
        ("45 1 * * *", LORD_HOWE, "2026-04-04T00:00+00:00", ["2026-04-04 14:45", "2026-04-05 15:15"]),
        ("30 2 * * *", "UTC", "2026-03-28T12:00+00:00", ["2026-03-29 02:30", "2026-03-30 02:30"]),
        # every hour: the doubled one begins once, the skipped one with the next
        ("0 * * * *", BERLIN, "2026-10-24T23:30+00:00", ["2026-10-25 00:00", "2026-10-25 02:00"]),
        ("0 * * * *", BERLIN, "2026-03-28T23:30+00:00", ["2026-03-29 00:00", "2026-03-29 01:00"]),
    ],
)
def test_a_change_of_clocks_skips_no_window_and_opens_none_twice(
    cron: str, zone: str, after: str, expected: list[str]
) -> None:
    assert begins(window(cron, 1, zone), after, 2) == expected


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, LORD_HOWE, "UTC", "Asia/Kathmandu", "America/St_Johns"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "*/20 * * * *", "0 1-3 * * SUN", "45 1 * * *", "0 0 1 * *"])
def test_looking_back_and_looking_ahead_agree_on_every_day_of_a_change(zone: str, cron: str) -> None:
    span = window(cron, 0.25, zone)
    for day in ("2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01"):
        now = at(f"{day}T00:00+00:00") - 16 * HOUR
        begin = span.next_begin(now)
        while begin is not None and now < at(f"{day}T00:00+00:00") + 16 * HOUR:
            is_inside = begin <= now
            assert not is_inside
            before = span.end(now)
            assert before is None or before - now <= 900
            assert span.end(begin) == begin + 900
            assert span.end(begin - 60) is None or begin - 60 - (span.end(begin - 60) or 0) < 0
            now, begin = begin, span.next_begin(begin)


def test_a_six_hour_window_lasts_six_hours_on_the_day_clocks_change() -> None:
    span = window("0 0 * * *", 6, BERLIN)
    midnight = at("2026-03-29T00:00+01:00")
    assert span.end(midnight) == midnight + 6 * HOUR
    assert span.end(midnight + 6 * HOUR - 1) == midnight + 6 * HOUR
    assert span.end(midnight + 6 * HOUR) is None


def test_in_the_second_pass_of_a_doubled_hour_the_first_passs_windows_have_been() -> None:
    span = window("50 2 * * *", 0.5, BERLIN)
    first = at("2026-10-25T02:50+02:00")
    assert span.end(first) == first + 1800
    assert span.end(at("2026-10-25T02:10+01:00")) == first + 1800  # 02:10 again, 20 minutes later
    assert span.end(at("2026-10-25T02:50+01:00")) is None
    assert span.next_begin(at("2026-10-25T02:10+01:00")) == at("2026-10-26T02:50+01:00")


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, LORD_HOWE])
def test_local_times_map_to_instants_that_never_go_back(zone: str) -> None:
    tz = ZoneInfo(zone)
    for start in (datetime(2026, 3, 8), datetime(2026, 3, 29), datetime(2026, 10, 4), datetime(2026, 10, 25)):
        found = [instant(start + timedelta(minutes=minute), tz) for minute in range(-720, 1440, 5)]
        assert found == sorted(found)


@pytest.mark.parametrize("cron", ["0 0 31 2 *", "0 0 30 FEB *", "0 0 31 4,6,9,11 *"])
def test_a_day_that_no_month_has_never_comes(cron: str) -> None:
    assert never_begins(cron)


@pytest.mark.parametrize("cron", ["0 0 29 2 *", "0 9 * * MON-THU", "*/5 8-18 * JAN,FEB 1-5", "0 0 31 2 MON"])
def test_a_rare_day_comes(cron: str) -> None:
    assert not never_begins(cron)


@pytest.mark.parametrize(
    "cron", ["", "0 9 * *", "0 0 9 * * *", "60 * * * *", "0 9 * * FUN", "@daily", "a b c d e"]
)
def test_what_is_no_expression_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match=r"fields|bad"):
        never_begins(cron)


def test_a_freeze_of_the_same_hours_never_lets_the_window_open() -> None:
    office = window("0 9 * * *", 6, BERLIN)
    all_day = Freeze(window("0 0 * * *", 24, BERLIN))
    workdays = Freeze(window("0 0 * * MON-FRI", 24, BERLIN))
    assert never_opens(Schedule((office,), (all_day,)))
    assert not never_opens(Schedule((office,), (workdays,)))
    assert never_opens(Schedule(freezes=(Freeze(window("0 * * * *", 1)),)))
    assert not never_opens(Schedule((office,), (Freeze(Fixed(0.0, 4e9)),)))
