"""What Prometheus reads: the same numbers as telemetry, under names that stay, with labels that are bounded.

The label `version` is a version's name, so that a query written for `version="v2"` works for every router. Only
versions of the present plan are shown.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from headgate.histogram import BOUNDS_S, BUCKETS
from headgate.wire.plan import RoutePlan
from headgate.wire.telemetry import DROP_REASONS, ShadowCounters, Telemetry, VersionCounters
from router.agent.shared import Shared
from router.agent.stats import CLASSES
from router.core.channel import Assignment

PREFIX: Final = "headgate_router_"
_STEP: Final = 6
SHOWN: Final = range(4, len(BOUNDS_S), _STEP)
"""Which of the bounds become a `le`: every sixth, so each is 1.77 times the one before."""

_REQUESTS: Final = {
    "picked": ("requests", "the split picked the version for"),
    "matched": (
        "matched_requests",
        "matched the plan's conditions and the split among those picked the version for",
    ),
    "selected": ("selected_requests", "came to the version by override"),
}
"""Groups of outcomes: the metric, and what its requests are."""

_PER_VERSION: Final[tuple[tuple[str, str, Callable[[VersionCounters], int]], ...]] = (
    ("failed", "Requests that are an error of the version the split picked.", lambda one: one.picked.failed),
    ("other_requests", "Requests outside the counted paths.", lambda one: one.other),
    ("saved_by_stable", "Requests that failed at their version and were answered by stable.", lambda one: one.saved_by_stable),
    ("retries", "Requests tried at another endpoint of the same version.", lambda one: one.retries),
    ("ejections", "Endpoints taken out after failures in a row.", lambda one: one.ejections),
    ("received_bytes", "Request bodies, in bytes.", lambda one: one.bytes_in),
    ("sent_bytes", "Answer bodies, in bytes.", lambda one: one.bytes_out),
)  # fmt: skip

_PER_SHADOW: Final[tuple[tuple[str, str, Callable[[ShadowCounters], int]], ...]] = (
    ("shadow_offered", "Copies that reached the observer.", lambda one: one.offered),
    ("shadow_pairs", "Pairs of answers that were compared.", lambda one: one.pairs),
    ("shadow_disagreements", "Pairs that differ beyond the comparison's bound.", lambda one: one.disagreements),
    ("shadow_soft_disagreements", "Disagreements inside the boundary band.", lambda one: one.soft),
    ("shadow_failed", "Requests at which the shadow alone failed.", lambda one: one.shadow_failed),
    ("shadow_live_failed", "Requests at which the live version alone failed.", lambda one: one.live_failed),
    ("shadow_both_failed", "Requests at which both failed.", lambda one: one.both_failed),
)  # fmt: skip


class RouterCollector(Collector):
    """Turns the newest report into metric families whenever Prometheus asks."""

    def __init__(
        self, report: Callable[[], Telemetry], assignment: Callable[[], Assignment | None], shared: Shared
    ) -> None:
        self._report = report
        self._assignment = assignment
        self._shared = shared

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are ours alone, so there is nothing to check against at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        report, assignment = self._report(), self._assignment()
        yield from _router_families(report)
        yield from _worker_families(report.rollout, self._shared)
        if assignment is not None:
            yield from _plan_families(report, assignment.plan)
        seconds = self._shared.seconds(assignment) if assignment is not None else {}
        yield from _version_families(report, seconds)
        yield from _shadow_families(report)


def _router_families(report: Telemetry) -> Iterator[Metric]:
    rollout = [report.rollout]
    epoch, generation, revision = (float(part) for part in report.applied.split("."))
    yield _gauge("workers", "Workers that live.", ["rollout"], [(rollout, len(report.workers))])
    yield _gauge(
        "applied_epoch", "Epoch of the plan that every live worker runs.", ["rollout"], [(rollout, epoch)]
    )
    yield _gauge("applied_generation", "Generation of that plan.", ["rollout"], [(rollout, generation)])
    yield _gauge(
        "applied_endpoints_revision", "Endpoints revision of that plan.", ["rollout"], [(rollout, revision)]
    )
    yield _gauge(
        "plan_refused", "1 while the newest plan is refused.", ["rollout"], [(rollout, bool(report.error))]
    )
    yield _gauge(
        "pinned",
        "1 while a person has pinned a version.",
        ["rollout"],
        [(rollout, report.pinned is not None)],
    )


def _worker_families(rollout: str, shared: Shared) -> Iterator[Metric]:
    """What the workers count beside versions: their clients, and what they answered or closed themselves."""
    workers = shared.all_workers()
    connections = sum(one.connections for one in shared.workers())
    yield _gauge("connections", "Connections of clients.", ["rollout"], [([rollout], connections)])
    for name, text, count in (
        ("accepted_connections", "Connections of clients so far.", sum(one.accepted for one in workers)),
        (
            "access_log_dropped",
            "Lines of the access log that nobody took.",
            sum(one.log_dropped for one in workers),
        ),
    ):
        family = CounterMetricFamily(PREFIX + name, text, labels=["rollout"])
        family.add_metric([rollout], count)
        yield family
    refused = CounterMetricFamily(
        PREFIX + "refused",
        "Requests that the router answered itself, and connections it closed before any, by why.",
        labels=["rollout", "cause"],
    )
    for cause, count in shared.causes().items():
        refused.add_metric([rollout, cause], count)
    yield refused


def _plan_families(report: Telemetry, plan: RoutePlan) -> Iterator[Metric]:
    rollout = report.rollout
    yield _gauge(
        "plan_info",
        "The plan in force.",
        ["rollout", "stable", "stage"],
        [([rollout, plan.stable, plan.stage], 1)],
    )
    yield _gauge("plan_epoch", "Epoch of the plan in force.", ["rollout"], [([rollout], plan.epoch)])
    yield _gauge(
        "plan_generation", "Generation of the plan in force.", ["rollout"], [([rollout], plan.generation)]
    )
    everyone = plan.weights()
    matching = dict.fromkeys(everyone, 0) | plan.match.weights() if plan.match is not None else {}
    for name, whose, weights in (
        ("weight_ratio", "in the plan in force", everyone),
        ("match_weight_ratio", "among the requests that match its conditions", matching),
    ):
        yield _gauge(
            name,
            f"Live share of the version {whose}, 0 to 1.",
            ["rollout", "version"],
            [([rollout, version], weight / 10_000) for version, weight in weights.items()],
        )
    tripped = {(trip.identity, trip.attempt) for trip in report.trips}
    rows = [([rollout, one.name], (one.identity, one.attempt) in tripped) for one in plan.versions]
    yield _gauge(
        "guard_tripped", "1 while the guard keeps the version's share from it.", ["rollout", "version"], rows
    )


def _version_families(report: Telemetry, seconds: Mapping[str, float]) -> Iterator[Metric]:
    labels = ["rollout", "version"]
    for which in _REQUESTS:
        yield _requests(report, which)
    for name, text, value in _PER_VERSION:
        family = CounterMetricFamily(PREFIX + name, text, labels=labels)
        for one in report.versions:
            family.add_metric([report.rollout, one.version], value(one))
        yield family
    in_flight = [([report.rollout, one.version], one.in_flight) for one in report.versions]
    yield _gauge("in_flight", "Requests that have not ended.", labels, in_flight)
    latency = HistogramMetricFamily(
        PREFIX + "request_seconds", "From the request's first byte to the answer's last.", labels=labels
    )
    for one in report.versions:
        _add_latency(latency, [report.rollout, one.version], one, seconds.get(one.identity, 0.0))
    yield latency


def _requests(report: Telemetry, which: str) -> Metric:
    name, text = _REQUESTS[which]
    family = CounterMetricFamily(
        PREFIX + name, f"Requests that {text}, by how they ended.", labels=["rollout", "version", "class"]
    )
    for one in report.versions:
        outcomes = getattr(one, which)
        for kind in CLASSES:
            labels = [report.rollout, one.version, kind.removeprefix("status_")]
            family.add_metric(labels, getattr(outcomes, kind))
    return family


def _add_latency(
    family: HistogramMetricFamily, labels: list[str], one: VersionCounters, seconds: float
) -> None:
    cumulative = list(accumulate(one.picked.latency or (0,) * BUCKETS))
    rows = [(f"{BOUNDS_S[index]:.6g}", float(cumulative[index])) for index in SHOWN]
    family.add_metric(labels, [*rows, ("+Inf", float(cumulative[-1]))], sum_value=seconds)


def _shadow_families(report: Telemetry) -> Iterator[Metric]:
    for name, text, value in _PER_SHADOW:
        family = CounterMetricFamily(PREFIX + name, text, labels=["rollout", "shadow", "live"])
        for one in report.shadows:
            family.add_metric([report.rollout, one.shadow, one.live], value(one))
        yield family
    yield _dropped(report.rollout, report.shadows)


def _dropped(rollout: str, shadows: Iterable[ShadowCounters]) -> Metric:
    family = CounterMetricFamily(
        PREFIX + "shadow_dropped",
        "Copies not compared, by why.",
        labels=["rollout", "shadow", "live", "reason"],
    )
    for one in shadows:
        for reason in DROP_REASONS:
            family.add_metric([rollout, one.shadow, one.live, reason], one.dropped.get(reason, 0))
    return family


def _gauge(name: str, text: str, labels: list[str], rows: Iterable[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in rows:
        family.add_metric(values, float(value))
    return family
