"""When the robot may raise a share: windows in which it may, and freezes in which it may not.

Pure: time zones come in as `tzinfo` values that the edge has read. Cron expressions have five fields and Debian
cron's meaning (names of days and months; a day of the month *or* of the week where both are given), in local time.

Where clocks change, a local time that is skipped begins at the first instant after the gap, and one that comes twice
begins once, the first time. Lengths are elapsed time: a window of six hours lasts six hours on every day.

All is counted in whole minutes: spans begin and end on one, so the state never changes within a minute.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final

from cronsim import CronSim, CronSimError

HORIZON_S: Final = 366 * 86_400.0
"""An opening later than this is not looked for."""

STEPS_MAX: Final = 400
"""So many freezes and windows in a row are gone through in search of the next opening."""

_MINUTE: Final = timedelta(minutes=1)
_UTC_NAME: Final = "UTC"


@dataclass(frozen=True, slots=True)
class Recurring:
    """Begins at every minute of `tz` that `cron` names and lasts `for_s`; times that overlap are one. `zone` names `tz`."""

    cron: str
    for_s: float
    tz: tzinfo = UTC
    zone: str = _UTC_NAME

    def end(self, now: float) -> float | None:
        """When what covers `now` ends (if nothing begins before); None when nothing covers it."""
        began = _last_begin(self.cron, self.tz, now)
        return began + self.for_s if began is not None and began + self.for_s > now else None

    def next_begin(self, now: float) -> float | None:
        """The next beginning after `now`; None when there is none."""
        return _next_begin(self.cron, self.tz, now)

    def __str__(self) -> str:
        return f"{self.cron} for {_duration(self.for_s)}"


@dataclass(frozen=True, slots=True)
class Fixed:
    """From one instant to another, both Unix seconds; `tz` is only for showing them."""

    from_s: float
    until_s: float
    tz: tzinfo = UTC
    zone: str = _UTC_NAME

    def end(self, now: float) -> float | None:
        """When it ends, if it covers `now`."""
        return self.until_s if self.from_s <= now < self.until_s else None


@dataclass(frozen=True, slots=True)
class Freeze:
    """A time in which the robot raises nothing, and why."""

    span: Recurring | Fixed
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Open inside any of the `windows` (always, without one) unless a freeze covers the time."""

    windows: tuple[Recurring, ...] = ()
    freezes: tuple[Freeze, ...] = ()


ALWAYS: Final = Schedule()


@dataclass(frozen=True, slots=True)
class Open:
    """The robot may raise shares, at least until `until`; None: no end is known."""

    until: float | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """It may not before `opens_at` (None: not within a year); `why` is a clause without full stop."""

    opens_at: float | None
    why: str


def state(schedule: Schedule, now: float) -> Open | Closed:
    """What the schedule says at `now`, Unix seconds."""
    return Open() if schedule == ALWAYS else _state(schedule, now // 60 * 60)


@lru_cache(maxsize=512)
def _state(schedule: Schedule, minute: float) -> Open | Closed:
    frozen = _frozen(schedule, minute)
    if frozen is None:
        open_until = [end for window in schedule.windows if (end := window.end(minute)) is not None]
        if open_until or not schedule.windows:
            return Open(_until(schedule, minute, max(open_until, default=None)))
    opens_at = _opens_at(schedule, minute)
    told = []
    if frozen is not None:
        freeze, end = frozen
        told.append(
            f"frozen until {_shown(end, freeze.span)}" + (f": {freeze.reason}" if freeze.reason else "")
        )
    if frozen is None or opens_at != frozen[1]:
        told.append(_opening(schedule, opens_at))
    return Closed(opens_at, ", and ".join(told))


def _frozen(schedule: Schedule, now: float) -> tuple[Freeze, float] | None:
    """The freeze that covers `now` longest, and its end."""
    covering = [(end, freeze) for freeze in schedule.freezes if (end := freeze.span.end(now)) is not None]
    return None if not covering else max(((f, end) for end, f in covering), key=lambda found: found[1])


def _until(schedule: Schedule, now: float, end: float | None) -> float | None:
    """The first of the end of the windows that are open and the beginning of the next freeze."""
    begins = [_next_freeze(freeze.span, now) for freeze in schedule.freezes]
    return min((at for at in (*begins, end) if at is not None), default=None)


def _next_freeze(span: Recurring | Fixed, now: float) -> float | None:
    if isinstance(span, Recurring):
        return span.next_begin(now)
    return span.from_s if span.from_s > now else None


def _opens_at(schedule: Schedule, now: float) -> float | None:
    """The first instant from `now` on that is in a window and in no freeze; None when none is found within bounds."""
    at = now
    for _ in range(STEPS_MAX):
        frozen = _frozen(schedule, at)
        if frozen is not None:
            at = frozen[1]
        elif not schedule.windows or any(window.end(at) is not None for window in schedule.windows):
            return at
        else:
            begins = [begin for window in schedule.windows if (begin := window.next_begin(at)) is not None]
            at = min(begins, default=now + 2 * HORIZON_S)
        if at > now + HORIZON_S:
            return None
    return None


def _opening(schedule: Schedule, opens_at: float | None) -> str:
    if opens_at is None:
        return "no window opens within a year"
    window = next((window for window in schedule.windows if window.end(opens_at) is not None), None)
    if window is None:
        return f"the next freeze ends at {_at(opens_at, UTC, _UTC_NAME)}"
    return f"the window opens at {_shown(opens_at, window)} ({window})"


def never_begins(cron: str) -> bool:
    """Does the expression name no minute of any year? ValueError with the reason when it is no expression."""
    fields = cron.split()
    if len(fields) != 5:
        raise ValueError(
            f"it has {len(fields)} fields, not 5: minute, hour, day of month, month, day of week"
        )
    try:
        return next(CronSim(cron, datetime(2000, 1, 1)), None) is None
    except CronSimError as error:
        try:
            CronSim(" ".join((*fields[:3], "*", fields[4])), datetime(2000, 1, 1))
        except CronSimError:
            raise ValueError(f"{str(error).lower()}") from None
        return str(error) == "Bad day-of-month"


def never_opens(schedule: Schedule) -> bool:
    """Do recurring freezes cover every window throughout a leap year? Fixed ones end, and do not count."""
    lasting = Schedule(schedule.windows, tuple(f for f in schedule.freezes if isinstance(f.span, Recurring)))
    return _opens_at(lasting, datetime(2024, 1, 1, tzinfo=UTC).timestamp()) is None


def instant(local: datetime, tz: tzinfo) -> float:
    """The Unix time at which the naive `local` comes first in `tz`; of one that is skipped, the end of the gap."""
    at = local.replace(tzinfo=tz, fold=0).timestamp()
    if _local(at, tz) == local:
        return at
    before, after = int(local.replace(tzinfo=tz, fold=1).timestamp()), int(at)
    while after - before > 1:
        middle = (before + after) // 2
        if _local(middle, tz) > local:
            after = middle
        else:
            before = middle
    return float(after)


def _last_begin(cron: str, tz: tzinfo, now: float) -> float | None:
    for local in CronSim(cron, _latest_local(now, tz) + _MINUTE, reverse=True):
        at = instant(local, tz)
        if at <= now:
            return at
    return None


def _next_begin(cron: str, tz: tzinfo, now: float) -> float | None:
    for local in CronSim(cron, _local(now, tz)):
        at = instant(local, tz)
        if at > now:
            return at
    return None


def _local(now: float, tz: tzinfo) -> datetime:
    """The naive local time."""
    return datetime.fromtimestamp(now, tz).replace(tzinfo=None, fold=0)


def _latest_local(now: float, tz: tzinfo) -> datetime:
    """The latest local time that has come by `now`: later than the clock says while an hour comes the second time."""
    aware = datetime.fromtimestamp(now, tz)
    local = aware.replace(tzinfo=None, fold=0)
    if not aware.fold:
        return local
    first, second = aware.replace(fold=0).utcoffset(), aware.utcoffset()
    return local + (first - second) if first is not None and second is not None else local


def _shown(at: float, span: Recurring | Fixed) -> str:
    return _at(at, span.tz, span.zone)


def _at(at: float, tz: tzinfo, zone: str) -> str:
    return f"{datetime.fromtimestamp(at, tz):%Y-%m-%d %H:%M} {zone}"


def _duration(seconds: float) -> str:
    """Whole minutes as people write them: 5400 → `1h30m`."""
    return "".join(_parts(int(seconds)))


def _parts(seconds: int) -> Iterator[str]:
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        count, seconds = divmod(seconds, size)
        if count and (unit != "d" or not seconds):
            yield f"{count}{unit}"
        else:
            seconds += count * size
