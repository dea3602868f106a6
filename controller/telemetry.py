"""The controller's own metrics: one registry per controller, with every bounded label value there from the start."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.core.spec import FULL
from controller.core.status import Phase, Reason, Status, Verb

OUTCOMES: Final = ("done", "requeue", "retry", "terminal")
"""How a reconcile ends: nothing left to do, again at a time, again after back-off, or not before an edit."""

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What the controller counts. `statuses` gives the present (rollout key, status) pairs when it is scraped."""

    def __init__(self, statuses: Callable[[], Iterable[tuple[str, Status]]] = lambda: ()) -> None:
        self.registry = CollectorRegistry()
        self._reconciles = Histogram(
            "headgate_reconcile_seconds",
            "How long a reconcile took, by how it ended.",
            ["outcome"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._decisions = Counter(
            "headgate_decisions", "Changes of a share, by reason.", ["reason"], registry=self.registry
        )
        self._store_errors = Counter(
            "headgate_store_errors", "Store operations that failed.", registry=self.registry
        )
        self._actions = Counter(
            "headgate_actions", "What people asked for.", ["verb", "outcome"], registry=self.registry
        )
        self._violations = Counter(
            "headgate_invariant_violations",
            "Decisions that broke an invariant and were not applied: each is a bug.",
            registry=self.registry,
        )
        self._initialise()
        self.registry.register(_Rollouts(statuses))

    def reconciled(self, outcome: str, seconds: float) -> None:
        """One reconcile ended in `outcome` (one of OUTCOMES) after `seconds`."""
        self._reconciles.labels(outcome).observe(seconds)

    def decided(self, reason: Reason) -> None:
        """One decision record was written."""
        self._decisions.labels(reason.value).inc()

    def acted(self, verb: Verb, is_accepted: bool) -> None:
        """One action was decided."""
        self._actions.labels(verb.value, "accepted" if is_accepted else "refused").inc()

    def store_failed(self) -> None:
        """One store operation failed."""
        self._store_errors.inc()

    def invariant_broken(self) -> None:
        """One decision was not applied because it broke an invariant."""
        self._violations.inc()

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def _initialise(self) -> None:
        for outcome in OUTCOMES:
            self._reconciles.labels(outcome)
        for reason in Reason:
            self._decisions.labels(reason.value)
        for verb in Verb:
            for outcome in ("accepted", "refused"):
                self._actions.labels(verb.value, outcome)


class _Rollouts(Collector):
    """Phases and weights, read from the statuses when somebody looks, so that no gauge can go stale."""

    def __init__(self, statuses: Callable[[], Iterable[tuple[str, Status]]]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterable[Metric]:
        phases = dict.fromkeys((phase.value for phase in Phase), 0)
        weights = GaugeMetricFamily(
            "headgate_weight_ratio", "Desired share of live traffic.", labels=["rollout", "version"]
        )
        for key, status in self._statuses():
            phases[status.phase.value] += 1
            for version, share in _shares(status).items():
                weights.add_metric([key, version], share / FULL)
        rollouts = GaugeMetricFamily("headgate_rollouts", "Rollouts by phase.", labels=["phase"])
        for phase, count in phases.items():
            rollouts.add_metric([phase], count)
        yield rollouts
        yield weights


def _shares(status: Status) -> dict[str, int]:
    """Basis points of every version that has a role, 0 for a candidate without traffic."""
    shares = {status.candidate.name: 0} if status.candidate else {}
    for owned in status.slots:
        shares[owned.version] = shares.get(owned.version, 0) + owned.end - owned.start
    return shares
