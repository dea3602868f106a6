"""What a decision costs, how large a stored status gets, and how long a week of rollouts takes to decide.

    make bench-core            QUICK=1 for a shorter run

The evidence of the decisions comes from the real judge: eight checks, one of them on twenty slices of compared pairs.
Times are of the processor, not of the clock on the wall: what else the machine does meanwhile is not counted.
"""

import gc
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec

from bench.report import Target, is_quick, publish
from controller.core.analysis.inputs import Inputs, Roles, StepContext
from controller.core.analysis.judge import judge
from controller.core.analysis.state import FRESH, encode_state
from controller.core.checks import AtMost, Check, CheckResult, Metric, NoSlower, NoWorse, Verdict
from controller.core.machine import checks_needed, decide
from controller.core.spec import CanaryStage, FullStage, PauseStage, ShadowStage, Spec, VersionSpec
from controller.core.status import Observed, Phase, RouterObserved, Status, VersionObserved, VersionRef
from headgate.histogram import BUCKETS
from headgate.wire.plan import Applied, Endpoint
from headgate.wire.telemetry import Outcomes, ShadowCounters, SliceCounters, Telemetry, VersionCounters
from tests.transcripts.narrator import Narrator

ROOT = Path(__file__).parents[2]
START = 1_700_000_000.0
DAY_S = 86_400.0
CHECKS = (
    Check("agree", Metric.DISAGREEMENT, AtMost(0.02), per_slice=True),
    Check("errors", Metric.ERRORS, NoWorse()),
    Check("errors-loose", Metric.ERRORS, NoWorse(1.5, 0.01)),
    Check("slo", Metric.ERRORS, AtMost(0.05)),
    Check("p99", Metric.LATENCY, NoSlower(0.99, 0.1)),
    Check("p95", Metric.LATENCY, NoSlower(0.95, 0.2)),
    Check("p90", Metric.LATENCY, NoSlower(0.9, 0.2)),
    Check("p50", Metric.LATENCY, NoSlower(0.5, 0.2)),
)
NAMES = tuple(check.name for check in CHECKS)
SLICES = 20


def spec(target: str = "v8") -> Spec:
    """A rollout as one would write it: shadow, five weights, a pause, and a bake."""
    return Spec(
        key="default/fraud",
        generation=1,
        target=target,
        versions=tuple(VersionSpec(f"v{number}", f"hash-of-v{number}") for number in range(7, 16)),
        stages=(
            ShadowStage(100_000, 600.0, 500, ("agree",)),
            CanaryStage((100, 500, 1000, 2500, 5000), 300.0, NAMES),
            PauseStage(60.0),
            FullStage(600.0, ("slo",)),
        ),
        initial_stable="v7",
        checks=CHECKS,
    )


def outcomes(requests: int) -> Outcomes:
    """`requests` answers, one in a hundred failed, spread over thirty buckets with a thin tail."""
    histogram = [0] * BUCKETS
    for bucket in range(30):
        histogram[40 + bucket] = requests >> (bucket // 3 + 2)
    return Outcomes(requests=requests, failed=requests // 100, latency=tuple(histogram))


def report(second: int) -> Telemetry:
    """500 requests a second, 5 % of them to the candidate, and 50 compared pairs in twenty slices."""
    pairs = 50 * second
    each = SliceCounters(pairs // SLICES, pairs // SLICES // 200)
    return Telemetry(
        rollout="default/fraud",
        router="r1",
        boot="0f8fad5b-d9cb-469f-a165-70867728950e",
        started_at=0.0,
        at=float(second),
        applied="1.1.0",
        versions=(
            VersionCounters(
                version="v7",
                identity="hash-of-v7",
                picked=outcomes(475 * second),
                half=outcomes(237 * second),
            ),
            VersionCounters(version="v8", identity="hash-of-v8", picked=outcomes(25 * second)),
        ),
        shadows=(
            ShadowCounters(
                shadow="v8",
                shadow_identity="hash-of-v8",
                live="v7",
                live_identity="hash-of-v7",
                pairs=pairs,
                disagreements=pairs // 200,
                slices={f"country=c{number}": each for number in range(SLICES)},
            ),
        ),
    )


def evidence(looks: int) -> tuple[tuple[CheckResult, ...], float, int]:
    """The results after so many looks of a second, microseconds a look, and bytes of stored evidence."""
    roles = Roles(VersionRef("v8", "hash-of-v8"), 1, VersionRef("v7", "hash-of-v7"))
    step = StepContext(0, 1, 0.0, weight=500)
    state = FRESH
    results: tuple[CheckResult, ...] = ()
    reports = [report(second) for second in range(100, 100 + looks)]
    started = time.process_time()
    for now, present in enumerate(reports, 100):
        state, results = judge(CHECKS, NAMES, roles, state, Inputs((present,)), step, 0.01, float(now))
    took = (time.process_time() - started) / looks * 1e6
    return results, took, len(encode_state(state))


class Simulation:
    """A rollout whose workloads are ready, whose routers obey at once and whose evidence is what it is told."""

    def __init__(self, results: tuple[CheckResult, ...]) -> None:
        self.spec = spec("v7")
        self.status = Status()
        self.now = START
        self.decisions = 0
        self._by_name = {result.check: result for result in results}
        self._applied = Applied(0, 0, 0)

    def observed(self) -> Observed:
        versions = {
            version.identity: VersionObserved((Endpoint("127.0.0.1", 8000 + number),), is_running=True)
            for number, version in enumerate(self.spec.versions)
        }
        routers = tuple(RouterObserved(f"r{n}", self._applied, self.now) for n in range(3))
        return Observed(1, versions, routers)

    def results(self) -> tuple[CheckResult, ...]:
        return tuple(self._by_name[check.name] for check in checks_needed(self.spec, self.status))

    def tick(self) -> None:
        """Decide, let the routers obey, and wait a second, or longer if the decision says so."""
        due = self.decide()
        self.now = max(due, self.now + 1.0) if due is not None else self.now + 1.0

    def decide(self) -> float | None:
        """Decide and let the routers obey; when the next decision is due."""
        decision = decide(self.spec, self.status, self.observed(), self.results(), self.now)
        self.decisions += 1
        self.status = decision.status
        if decision.plan is not None:
            self._applied = decision.plan.triple
        return decision.requeue_at

    def until(self, when: float) -> None:
        """Decide whenever it is due, and a second after a plan was obeyed, until then."""
        while self.now < when:
            before = self._applied
            due = self.decide()
            if due is None:
                due = self.now + 1.0 if self._applied != before else when
            self.now = min(max(due, self.now + 1.0), when)


def passing(results: tuple[CheckResult, ...]) -> tuple[CheckResult, ...]:
    """The same results, as if each had proven its point."""
    return tuple(replace(result, verdict=Verdict.PASS, is_fresh=True, is_holding=False) for result in results)


def decision_us(results: tuple[CheckResult, ...], times: int) -> list[float]:
    """Microseconds of the processor for each of so many decisions in the middle of the canary, every one a second after the last."""
    simulation = Simulation(results)
    simulation.until(START + 10)
    simulation.spec = spec()
    while simulation.status.candidate is None or simulation.status.candidate.step < 2:
        simulation.tick()
    simulation.spec = replace(simulation.spec, stages=(*simulation.spec.stages[:1], _endless()))
    for _ in range(10):
        simulation.tick()
    took = []
    gc.collect()
    for _ in range(times):
        observed, now = simulation.observed(), simulation.now
        present = simulation.results()
        assert len(present) == len(CHECKS)
        started = time.thread_time_ns()
        decision = decide(simulation.spec, simulation.status, observed, present, now)
        took.append((time.thread_time_ns() - started) / 1000)
        simulation.status = decision.status
        simulation.now = now + 1.0
    return took


def _endless() -> CanaryStage:
    return CanaryStage((100, 500, 1000, 2500, 5000), 1e9, NAMES)


def largest_status() -> tuple[int, str]:
    """Bytes of the largest stored status in all transcripts, and where that was."""
    found = (0, "")
    for path in sorted((ROOT / "tests" / "transcripts").glob("*.txt")):
        narrator = Narrator()
        for line in path.read_text().splitlines():
            said = line.split("│")[0].strip()
            if said and not line.startswith("#"):
                narrator.tell(said)
                found = max(found, (len(msgspec.json.encode(narrator.status)), path.stem))
    return found


def week(results: tuple[CheckResult, ...]) -> tuple[float, int]:
    """Seconds of the processor to decide seven rollouts, one a day, and how many decisions those were."""
    simulation = Simulation(results)
    started = time.process_time()
    simulation.until(START + 60)
    for day in range(7):
        simulation.spec = spec(f"v{8 + day}")
        simulation.until(START + 60 + day * DAY_S + 4000)  # three stages and a bake take less
        status = simulation.status
        promoted = status.stable is not None and status.stable.name == f"v{8 + day}"
        assert promoted, (day, status.phase, status.message)
        simulation.until(START + 60 + (day + 1) * DAY_S)
    assert simulation.status.phase is Phase.HEALTHY
    return time.process_time() - started, simulation.decisions


def main() -> int:
    times = 5_000 if is_quick() else 50_000
    results, look_us, evidence_bytes = evidence(120)
    results = passing(results)
    decision_us(results, 500)
    took = sorted(decision_us(results, times))
    median, p99 = statistics.median(took), took[int(len(took) * 0.99)]
    status_bytes, transcript = largest_status()
    week_s, decisions = week(results)
    met = publish(
        "core",
        [
            Target("decide, 8 checks and 20 slices, median, µs", round(median, 1), "<=", 150),
            Target("decide, 8 checks and 20 slices, p99, µs", round(p99, 1), "<=", 1000),
            Target("status in the longest transcript, bytes", status_bytes, "<=", 32 * 1024),
            Target("a week of daily rollouts, s", round(week_s, 2), "<=", 5),
        ],
        {
            "decide": {"times": times, "least_us": round(took[0], 1), "most_us": round(took[-1], 1)},
            "judge": {"checks": len(CHECKS), "slices": SLICES, "look_us": round(look_us, 1)},
            "evidence": {"bytes": evidence_bytes},
            "status": {"transcript": transcript},
            "week": {"decisions": decisions},
        },
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
