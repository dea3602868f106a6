"""What stable is like while nobody is on trial: how much more than by chance its failures vary.

Learned from every report, so that a trial begins with an hour of history instead of an assumption: a candidate is
seen sooner where failures are independent, and not condemned where they come in groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from controller.core.analysis.dispersion import TICK_S, UNKNOWN, Dispersion, Halves, add_tick
from headgate.wire.telemetry import Telemetry, VersionCounters

ROUTERS_MAX: Final = 256
SILENCE_S: Final = 17.0
"""After so long without any report what came in the meantime is no tick: it starts anew."""

_NOTHING: Final = Halves()


class Heard(NamedTuple):
    """Where one life of a router's counters of stable were: all of its requests and failures, and its first half's."""

    boot: str
    requests: int
    events: int
    half_requests: int
    half_events: int


@dataclass(frozen=True, slots=True)
class Usual:
    """What is known of the version with this identity. `waiting` is what was counted since `since`, Unix seconds."""

    identity: str = ""
    heard: Mapping[str, Heard] = field(default_factory=dict)
    waiting: Halves = _NOTHING
    since: float = 0.0
    dispersion: Dispersion = UNKNOWN


NOTHING_USUAL: Final = Usual()


def learned(usual: Usual, identity: str, report: Telemetry, now: float) -> Usual:
    """What is known with one more report, heard at `now` (Unix seconds); of another version it starts anew.

    Reports of one router come in order. The first of each of its lives is where one counts from.
    """
    if usual.identity != identity:
        usual = Usual(identity, since=now)
    version = next((one for one in report.versions if one.identity == identity), None)
    if version is None:
        return usual
    heard, before = _heard(report.boot, version), usual.heard.get(report.router)
    if before is None and len(usual.heard) >= ROUTERS_MAX:
        return usual
    known = {**usual.heard, report.router: heard}
    grown = _grown(before, heard)
    if grown is None or now - usual.since > SILENCE_S:
        return replace(usual, heard=known, waiting=_NOTHING, since=now)
    waiting = usual.waiting.plus(grown)
    if now - usual.since < TICK_S:
        return replace(usual, heard=known, waiting=waiting)
    dispersion = add_tick(usual.dispersion, waiting._replace(elapsed_s=now - usual.since))
    return Usual(identity, known, _NOTHING, now, dispersion)


def _heard(boot: str, version: VersionCounters) -> Heard:
    whole, half = version.picked, version.half
    return Heard(boot, whole.requests, whole.failed, half.requests, half.failed)


def _grown(before: Heard | None, heard: Heard) -> Halves | None:
    """What was counted in between; None where that is not known, or the numbers make no sense."""
    if before is None or before.boot != heard.boot:
        return None
    grown = [float(new - old) for new, old in zip(heard[1:], before[1:], strict=True)]
    requests, events, half_requests, half_events = grown
    is_sound = min(grown) >= 0 and events <= requests and half_requests <= requests and half_events <= events
    return Halves(requests, events, half_requests, half_events) if is_sound else None
