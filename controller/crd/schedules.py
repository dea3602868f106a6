"""Schedules: from what users write to the core's, and what is wrong with one that each field alone allows."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from controller.core import schedule as core
from controller.crd import models

FREEZE_S_MAX: Final = 366 * 86_400.0


def schedule_of(written: models.Schedule) -> core.Schedule:
    """The schedule as the core computes with it; its time zones' data are read here."""
    return core.Schedule(
        tuple(_recurring(window.cron, window.for_, window.tz) for window in written.windows),
        tuple(core.Freeze(_span(freeze), freeze.reason) for freeze in written.freeze),
    )


def findings(schedule: models.Schedule) -> Iterator[tuple[str, str, str]]:
    """(rule, path, sentence) for each thing wrong."""
    for index, window in enumerate(schedule.windows):
        yield from _fires(f"spec.schedule.windows[{index}].cron", window.cron)
    for index, freeze in enumerate(schedule.freeze):
        path = f"spec.schedule.freeze[{index}]"
        yield from _freeze(path, freeze)
        if freeze.cron is not None:
            yield from _fires(f"{path}.cron", freeze.cron)


def shuts_for_good(schedule: models.Schedule) -> bool:
    """Do the recurring freezes leave no minute of any window open?"""
    return not any(findings(schedule)) and core.never_opens(schedule_of(schedule))


def _fires(path: str, cron: str) -> Iterator[tuple[str, str, str]]:
    if core.never_begins(cron):
        yield "cron-fires", path, f"{cron} names a day that no month has: it would never begin"


def _freeze(path: str, freeze: models.Freeze) -> Iterator[tuple[str, str, str]]:
    is_fixed = freeze.from_ is not None and freeze.until is not None
    is_recurring = freeze.cron is not None and freeze.for_ is not None
    given = sum(part is not None for part in (freeze.from_, freeze.until, freeze.cron, freeze.for_))
    if given != 2 or not (is_fixed or is_recurring):
        yield "freeze-form", path, "a freeze is from and until, or cron and for: write one of these pairs"
        return
    for name, moment in (("from", freeze.from_), ("until", freeze.until)):
        if moment is not None and _instant(moment, freeze.tz) is None:
            yield "freeze-form", f"{path}.{name}", f"{moment} is no time of any calendar"
            return
    span = _span(freeze)
    if isinstance(span, core.Fixed) and span.until_s <= span.from_s:
        yield "freeze-order", f"{path}.until", f"{freeze.until} is not after from ({freeze.from_}): swap them"
    elif isinstance(span, core.Fixed) and span.until_s - span.from_s > FREEZE_S_MAX:
        yield "freeze-order", f"{path}.until", "it lasts longer than a year: write paused: true instead"


def _span(freeze: models.Freeze) -> core.Recurring | core.Fixed:
    if freeze.cron is not None and freeze.for_ is not None:
        return _recurring(freeze.cron, freeze.for_, freeze.tz)
    start, end = _instant(freeze.from_ or "", freeze.tz), _instant(freeze.until or "", freeze.tz)
    return core.Fixed(start or 0.0, end or 0.0, ZoneInfo(freeze.tz), freeze.tz)


def _recurring(cron: str, for_s: float, zone: str) -> core.Recurring:
    return core.Recurring(cron, for_s, ZoneInfo(zone), zone)


def _instant(moment: str, zone: str) -> float | None:
    """Unix seconds of a moment that is written with its offset, or in the zone's own time; None for a 30 February."""
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return found.timestamp() if found.tzinfo is not None else core.instant(found, ZoneInfo(zone))
