"""Gauges against fixed bounds, N of M: no comparison and no probability, for those who know the number they want.

A gauge has no counts from which chance could be reckoned, so this gives no guarantee: how often a good version is
failed is decided by the bounds and by `failures`, and `dryRun` shows it beforehand. What is sound about it: every
point in time is used once, points from before the step do not count, and a gap is no point.
"""

import math
from itertools import pairwise
from statistics import median
from typing import Final, NamedTuple

from controller.core.analysis.inputs import Missing, Samples, Values
from controller.core.analysis.series import untimely
from controller.core.checks import Within

INTERVAL_S: Final = 15.0
"""The distance of points that is assumed where there is only one."""


class Readings(NamedTuple):
    """The last points of a step, oldest first: was each `beyond` the bounds? `upto` is the newest point that was used,
    Unix seconds, `value` what it was."""

    beyond: tuple[bool, ...] = ()
    upto: float | None = None
    value: float | None = None
    has_failed: bool = False


NO_READINGS: Final = Readings()


def entered(readings: Readings) -> Readings:
    """In a new step only its own points count."""
    return readings if readings.has_failed else readings._replace(beyond=())


def read(
    readings: Readings, measured: Values | Missing, within: Within, since: float | None, now: float
) -> tuple[Readings, str]:
    """The readings with all points after the last used one and after `since` (None: none counts yet), and what is
    lacking, in words. Times are Unix seconds."""
    if readings.has_failed:
        return readings, ""
    if isinstance(measured, Missing):
        return readings, measured.why
    points = _sound(measured.samples)
    if not points:
        return readings, "`value` gave no number"
    for at, value in points:
        if since is not None and at > max(since, readings.upto or 0.0):
            readings = _with(readings, at, value, within)
    return readings, "" if readings.has_failed else untimely(
        points[-1][0], points[-1][0], _interval_s(points), now
    )


def is_beyond(value: float, within: Within) -> bool:
    """Is the value outside of the bounds? A bound itself is inside."""
    return (within.most is not None and value > within.most) or (
        within.least is not None and value < within.least
    )


def is_enough(readings: Readings, within: Within) -> bool:
    """Are there as many points of this step as are looked at?"""
    return len(readings.beyond) >= within.of


def _with(readings: Readings, at: float, value: float, within: Within) -> Readings:
    beyond = (*readings.beyond, is_beyond(value, within))[-within.of :]
    return Readings(beyond, at, value, sum(beyond) >= within.at)


def _sound(samples: Samples) -> Samples:
    return tuple((at, value) for at, value in samples if math.isfinite(at) and math.isfinite(value))


def _interval_s(points: Samples) -> float:
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(points)]
    return median(gaps) if gaps else INTERVAL_S
