"""Made-up traffic for the analysis: routers that count what a seeded chance does, and shorthands for one look."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from controller.core.analysis.inputs import Arms, Counts, Inputs, Roles, StepContext
from controller.core.analysis.judge import judge
from controller.core.analysis.state import FRESH, AnalysisState
from controller.core.checks import Check, CheckResult, Metric, NoWorse, Verdict
from controller.core.status import VersionRef
from headgate.histogram import BUCKETS, bucket_of
from headgate.wire.telemetry import (
    Outcomes,
    ShadowCounters,
    SliceCounters,
    Telemetry,
    VersionCounters,
)

STABLE = VersionRef("v7", "hash-of-v7")
CANDIDATE = VersionRef("v8", "hash-of-v8")
ROLES = Roles(CANDIDATE, 1, STABLE)
START = 1_700_000_000.0
ERRORS = Check("errors", Metric.ERRORS, NoWorse())


def step(generation: int = 1, acknowledged_at: float | None = START, ordinal: int = 0) -> StepContext:
    return StepContext(ordinal, generation, acknowledged_at, weight=500)


RUNNING = step()


@dataclass
class Router:
    """One router's cumulative counters. `count` adds requests of one version, (requests, failed) by half."""

    name: str = "router-1"
    boot: str = "boot-1"
    started_at: float = START - 1000
    applied: str = "1.1.0"
    counted: dict[str, list[int]] = field(default_factory=dict)
    latency: dict[str, list[int]] = field(default_factory=dict)
    half_latency: dict[str, list[int]] = field(default_factory=dict)
    ages: dict[str, tuple[int, ...]] = field(default_factory=dict)
    timeouts: dict[str, int] = field(default_factory=dict)
    attempt: int = 1
    shadow: ShadowCounters | None = None

    def count(self, identity: str, requests: int, failed: int, half: int = 0, half_failed: int = 0) -> None:
        row = self.counted.setdefault(identity, [0, 0, 0, 0])
        for index, value in enumerate((requests, failed, half, half_failed)):
            row[index] += value

    def answer(self, identity: str, seconds: Sequence[float]) -> None:
        histogram = self.latency.setdefault(identity, [0] * BUCKETS)
        half = self.half_latency.setdefault(identity, [0] * BUCKETS)
        for index, duration in enumerate(seconds):
            histogram[bucket_of(duration)] += 1
            half[bucket_of(duration)] += index % 2
        self.count(identity, len(seconds), 0, len(seconds) // 2)

    def compare(
        self,
        pairs: int,
        disagreements: int,
        slices: dict[str, tuple[int, int]] | None = None,
        undecodable: int = 0,
        **more: int,
    ) -> None:
        old = self.shadow
        kept = dict(old.slices) if old else {}
        for name, (these, differing) in (slices or {}).items():
            before = kept.get(name, SliceCounters())
            kept[name] = SliceCounters(before.pairs + these, before.disagreements + differing)
        names = ("shadow_failed", "self_pairs", "self_disagreements")
        self.shadow = ShadowCounters(
            shadow=CANDIDATE.name,
            shadow_identity=CANDIDATE.identity,
            live=STABLE.name,
            live_identity=STABLE.identity,
            pairs=(old.pairs if old else 0) + pairs,
            disagreements=(old.disagreements if old else 0) + disagreements,
            slices=kept,
            dropped={"undecodable": (old.dropped.get("undecodable", 0) if old else 0) + undecodable},
            **{name: (getattr(old, name) if old else 0) + more.get(name, 0) for name in names},
        )

    def restart(self, boot: str, started_at: float) -> None:
        self.boot, self.started_at = boot, started_at
        for counters in (self.counted, self.latency, self.half_latency, self.ages, self.timeouts):
            counters.clear()
        self.shadow = None

    def report(self, at: float) -> Telemetry:
        versions = []
        for identity in sorted({*self.counted, *self.latency, *self.ages}):
            requests, failed, half, half_failed = self.counted.get(identity, [0, 0, 0, 0])
            versions.append(
                VersionCounters(
                    version="v7" if identity == STABLE.identity else "v8",
                    identity=identity,
                    attempt=1 if identity == STABLE.identity else self.attempt,
                    picked=Outcomes(
                        requests=requests,
                        failed=failed,
                        timeout=self.timeouts.get(identity, 0),
                        latency=tuple(self.latency.get(identity, ())),
                    ),
                    half=Outcomes(
                        requests=half, failed=half_failed, latency=tuple(self.half_latency.get(identity, ()))
                    ),
                    in_flight_ages=self.ages.get(identity, ()),
                )
            )
        return Telemetry(
            rollout="default/fraud",
            router=self.name,
            boot=self.boot,
            started_at=self.started_at,
            at=at,
            applied=self.applied,
            versions=tuple(versions),
            shadows=(self.shadow,) if self.shadow else (),
        )


@dataclass
class Judge:
    """A rollout's judge with its state: each `look` is one call."""

    checks: tuple[Check, ...] = (ERRORS,)
    alpha: float = 0.01
    state: AnalysisState = FRESH
    roles: Roles = ROLES

    def look(
        self,
        now: float,
        *routers: Router,
        step: StepContext = RUNNING,
        names: tuple[str, ...] | None = None,
        counts: dict[str, Arms] | None = None,
    ) -> CheckResult:
        """The result of the first check named (or of all)."""
        inputs = Inputs(tuple(router.report(now) for router in routers), counts or {})
        wanted = tuple(check.name for check in self.checks) if names is None else names
        self.state, results = judge(
            self.checks, wanted, self.roles, self.state, inputs, step, self.alpha, now
        )
        return results[0]


def seconds(count: int, start: float = START) -> Iterator[float]:
    yield from (start + second for second in range(count))


def chance(rng: random.Random, requests: int, ratio: float) -> int:
    """How many of the requests fail."""
    return sum(rng.random() < ratio for _ in range(requests))


def ramp(values: Sequence[tuple[float, float]]) -> Counts:
    """One series each of events and total that grow as given: (total, events) per 15 s, up to START."""
    times = [START - 15 * (len(values) - 1 - index) for index in range(len(values))]
    return Counts(
        events={"pod=a": tuple((at, events) for at, (_, events) in zip(times, values, strict=True))},
        total={"pod=a": tuple((at, total) for at, (total, _) in zip(times, values, strict=True))},
    )


def time_to_fail(
    seed: int,
    stable: float,
    candidate: float,
    *,
    per_second: int = 500,
    share: float = 0.05,
    limit_s: int = 400,
) -> tuple[float | None, CheckResult]:
    """Seconds until the errors check, one of eight of equal weight, says Fail; None if it does not within the limit."""
    rng = random.Random(seed)
    router = Router()
    judged = Judge((ERRORS, *(Check(f"other-{n}", Metric.ERRORS, NoWorse()) for n in range(7))))
    result = judged.look(START, router, names=("errors",))
    for now in seconds(limit_s, START + 1):
        arrived = round(per_second * share)
        router.count(CANDIDATE.identity, arrived, chance(rng, arrived, candidate))
        first = (per_second - arrived) // 2
        second = per_second - arrived - first
        failed_first, failed_second = chance(rng, first, stable), chance(rng, second, stable)
        router.count(STABLE.identity, first + second, failed_first + failed_second, first, failed_first)
        result = judged.look(now, router, names=("errors",))
        if result.verdict is Verdict.FAIL:
            return now - START, result
    return None, result
