"""What the routers counted: which of their counters a check reads, and what is new since the last look.

Both arms of a router come from one report, so they are never skewed against each other. Differences are taken per
router and per life of it. A router seen for the first time gives a baseline, not an increment: its counters may hold
requests of long ago. One that started anew since the last look began at zero in between, so all it has is new.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from controller.core.analysis.dispersion import Halves
from controller.core.analysis.engine import Tally
from controller.core.analysis.inputs import Roles
from controller.core.analysis.state import WHOLE, Baseline, Boundary, Counted
from controller.core.checks import AtMost, Check, Metric
from headgate.histogram import BOUNDS_S, above
from headgate.wire.plan import Applied
from headgate.wire.telemetry import IN_FLIGHT_AGES_S, Outcomes, ShadowCounters, Telemetry, VersionCounters

Read = Callable[[Telemetry, Mapping[str, Counted]], Mapping[str, Counted]]
"""The counters of a check in one report, by slice; `WHOLE` is the check's own.

The second argument is what the same life of the router had counted before: what the report does not mention stays so.
"""

Arm = Callable[[VersionCounters], Outcomes]
"""Which requests of a version are compared: those of the split, or those that match."""

FRESH_S: Final = 17.0
"""A router silent for longer than two reports and 15 s has no fresh data."""

LOSSES: Final = ("queue_full", "body_too_large", "undecodable")
"""Why a copy that should have been compared was not; that a side failed is no loss but counted as such."""

ROUTERS_MAX: Final = 256
FORGET_S: Final = 3600.0
"""A router unheard for so long is met as a stranger when it comes back."""


@dataclass(frozen=True, slots=True)
class News:
    """What the reports say beyond the baselines: new counts by slice, and who could not be counted and why."""

    baselines: Mapping[str, Baseline]
    counts: Mapping[str, Tally]
    halves: Halves
    counted: int
    lost: int
    skipped: tuple[str, ...]
    silent: tuple[str, ...]


def reader(check: Check, roles: Roles, boundary: Boundary | None, *, matched: bool = False) -> Read:
    """How to read the check's counters from a report; `boundary` is needed for latency only.

    `matched`: of the requests that match, which are counted apart, in place of all others.
    """
    arm: Arm = (lambda version: version.matched) if matched else (lambda version: version.picked)
    if check.metric is Metric.DISAGREEMENT:
        return lambda report, before: _pairs(report, before, roles, check)
    if check.metric is Metric.LATENCY and boundary is not None:
        index = boundary.bucket
        hanging = _nothing_hangs if matched else _hanging(index)  # what is in flight is not told apart
        return lambda report, before: {
            WHOLE: _arms(report, before, roles, arm, lambda o: _slow(o, index), hanging)
        }
    return lambda report, before: {WHOLE: _arms(report, before, roles, arm, _failed, _nothing_hangs)}


def news(
    reports: tuple[Telemetry, ...],
    baselines: Mapping[str, Baseline],
    read: Read,
    generation: int,
    may_fall: bool,
    now: float,
) -> News:
    """What is new in the reports. Routers that do not run `generation` yet move their baseline and count nothing.

    `may_fall`: requests in flight are part of what is read, so a fall is one that ended, not a fault.
    """
    kept = {name: base for name, base in baselines.items() if now - base.heard_at <= FORGET_S}
    counts: dict[str, Tally] = {}
    halves = Halves()
    skipped: list[str] = []
    counted = lost = 0
    for report in reports:
        base = kept.get(report.router)
        if not _is_newer(report, base) or (base is None and len(kept) >= ROUTERS_MAX):
            continue
        before: Mapping[str, Counted] = base.counted if base is not None and base.boot == report.boot else {}
        reading = dict(read(report, before))
        kept[report.router] = Baseline(report.boot, report.started_at, report.at, now, reading)
        if base is None or not _runs(report, generation):
            continue
        grown = {
            name: _grown(value, before.get(name, Counted()), may_fall) for name, value in reading.items()
        }
        fault = next((why for why in grown.values() if isinstance(why, str)), None)
        if fault is not None:
            skipped.append(f"router {report.router}: {fault}")
            continue
        counted += 1
        for name, new in grown.items():
            if not isinstance(new, str):
                counts[name] = counts.get(name, Tally()).plus(_tally(new))
                lost += new.lost
        halves = _plus(halves, grown[WHOLE])
    silent = tuple(r.router for r in reports if r.router in kept and now - kept[r.router].heard_at > FRESH_S)
    return News(kept, counts, halves, counted, lost, tuple(skipped), silent)


def _is_newer(report: Telemetry, base: Baseline | None) -> bool:
    """Whether the report was taken after the baseline; a late one of an earlier life is not."""
    if base is None:
        return True
    if report.boot == base.boot:
        return report.at > base.at
    return report.started_at > base.started_at


def _runs(report: Telemetry, generation: int) -> bool:
    try:
        return Applied.parse(report.applied).generation >= generation
    except ValueError:
        return False


def _grown(now: Counted, before: Counted, may_fall: bool) -> Counted | str:
    """What came since; or in words why it cannot be."""
    new = [a - b for a, b in zip(now, before, strict=True)]
    if min(new) < 0 and not may_fall:
        return "a counter went back within one life"
    grown = Counted(*(max(n, 0) for n in new))
    if grown.events > grown.requests or grown.reference_events > grown.reference_requests:
        return "more events than requests"
    return grown


def _tally(new: Counted) -> Tally:
    return Tally(new.requests, new.events, new.reference_requests, new.reference_events)


def _plus(halves: Halves, new: Counted | str) -> Halves:
    if isinstance(new, str):
        return halves
    return halves.plus(
        Halves(new.reference_requests, new.reference_events, new.half_requests, new.half_events)
    )


def _arms(
    report: Telemetry,
    before: Mapping[str, Counted],
    roles: Roles,
    arm: Arm,
    count: Callable[[Outcomes], tuple[int, int]],
    hanging: Callable[[VersionCounters], int],
) -> Counted:
    counted = before.get(WHOLE, Counted())
    stable = [v for v in report.versions if roles.stable is not None and v.identity == roles.stable.identity]
    for version in report.versions:
        if (version.identity, version.attempt) == (roles.candidate.identity, roles.attempt):
            requests, events = count(arm(version))
            late = hanging(version)
            counted = counted._replace(requests=requests + late, events=events + late)
    if stable:
        ended = [count(arm(version)) for version in stable]
        halves = [count(version.half) for version in stable]
        late = sum(map(hanging, stable))
        counted = counted._replace(
            reference_requests=sum(requests for requests, _ in ended) + late,
            reference_events=sum(events for _, events in ended) + late,
            half_requests=sum(requests for requests, _ in halves),
            half_events=sum(events for _, events in halves),
        )
    return counted


def _nothing_hangs(version: VersionCounters) -> int:
    return 0


def _failed(outcomes: Outcomes) -> tuple[int, int]:
    return outcomes.requests, outcomes.failed


def _slow(outcomes: Outcomes, index: int) -> tuple[int, int]:
    """Answers, and those slower than the boundary; a time-out is an answer that never came."""
    return sum(outcomes.latency) + outcomes.timeout, above(outcomes.latency, index) + outcomes.timeout


def _hanging(index: int) -> Callable[[VersionCounters], int]:
    """Requests in flight that are slow already: older than the boundary, as far as the ages tell."""
    oldest = next((i for i, age in enumerate(IN_FLIGHT_AGES_S) if age >= BOUNDS_S[index]), None)
    if oldest is None:
        return lambda _: 0
    return lambda version: version.in_flight_ages[oldest] if oldest < len(version.in_flight_ages) else 0


def _pairs(
    report: Telemetry, before: Mapping[str, Counted], roles: Roles, check: Check
) -> Mapping[str, Counted]:
    found = {WHOLE: Counted(), **before}
    live = roles.stable.identity if roles.stable is not None else None
    for shadow in report.shadows:
        if shadow.shadow_identity == roles.candidate.identity and shadow.live_identity == live:
            found[WHOLE] = _whole(shadow, with_noise=not isinstance(check.limit, AtMost))
            if check.per_slice:
                found.update(
                    (name, Counted(counted.pairs, counted.disagreements))
                    for name, counted in shadow.slices.items()
                    if name != WHOLE
                )
    return found


def _whole(shadow: ShadowCounters, with_noise: bool) -> Counted:
    """Compared pairs and those that differ. That the shadow alone failed is a disagreement: it was asked and did not answer.

    With the noise floor, stable replayed to itself takes stable's place.
    """
    pairs = shadow.pairs + shadow.shadow_failed
    differing = shadow.disagreements + shadow.shadow_failed
    lost = sum(shadow.dropped.get(reason, 0) for reason in LOSSES)
    if not with_noise:
        return Counted(pairs, differing, lost=lost)
    return Counted(pairs, differing, shadow.self_pairs, shadow.self_disagreements, lost=lost)
