"""What the analysis costs: microseconds a block, a look and a stored state, and how much of a core many rollouts need.

    python -m bench.analysis.cost

Seeded; prints a table and checks nothing: the machine decides the figures.
"""

import random
import time
from collections.abc import Callable

from controller.core.analysis.engine import NO_EVIDENCE, Rules, Tally, Tolerance, add_block
from controller.core.analysis.inputs import Inputs, Roles, StepContext
from controller.core.analysis.judge import judge
from controller.core.analysis.state import FRESH, AnalysisState, decode_state, encode_state
from controller.core.checks import AtMost, Check, Metric, NoSlower, NoWorse
from controller.core.status import VersionRef
from headgate.histogram import BUCKETS
from headgate.wire.telemetry import Outcomes, Telemetry, VersionCounters

ROLES = Roles(VersionRef("v8", "candidate"), 1, VersionRef("v7", "stable"))
CHECKS = tuple(
    Check(f"check-{n}", metric, limit)
    for n, (metric, limit) in enumerate(
        [
            (Metric.ERRORS, NoWorse()),
            (Metric.ERRORS, NoWorse(1.5, 0.01)),
            (Metric.ERRORS, AtMost(0.05)),
            (Metric.ERRORS, AtMost(0.10)),
            (Metric.LATENCY, NoSlower(0.99, 0.1)),
            (Metric.LATENCY, NoSlower(0.95, 0.2)),
            (Metric.LATENCY, NoSlower(0.9, 0.2)),
            (Metric.LATENCY, NoSlower(0.5, 0.2)),
        ]
    )
)
NAMES = tuple(check.name for check in CHECKS)
STEP = StepContext(0, 1, 0.0, weight=500)


def outcomes(requests: int, failed: int) -> Outcomes:
    """`requests` answers, spread over thirty buckets with a thin tail."""
    histogram = [0] * BUCKETS
    for bucket in range(30):
        histogram[40 + bucket] = requests >> (bucket // 3 + 2)
    return Outcomes(requests=requests, failed=failed, latency=tuple(histogram))


def report(second: int, rng: random.Random) -> Telemetry:
    """500 requests a second, 5 % of them to the candidate, 1 % of both failing."""
    stable, candidate = 475 * second, 25 * second
    return Telemetry(
        rollout="default/fraud",
        router="router-0-7c9d8b6f5-x2x4z",
        boot="0f8fad5b-d9cb-469f-a165-70867728950e",
        started_at=0.0,
        at=float(second),
        applied="1.1.0",
        versions=(
            VersionCounters(
                version="v7",
                identity="stable",
                picked=outcomes(stable, stable // 100),
                half=outcomes(stable // 2, stable // 200 + rng.randrange(2)),
            ),
            VersionCounters(version="v8", identity="candidate", picked=outcomes(candidate, candidate // 100)),
        ),
    )


def microseconds(work: Callable[[], object], times: int) -> float:
    """The least mean of five rounds."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, time.perf_counter() - started)
    return best / times * 1e6


def looks(seconds: int) -> tuple[AnalysisState, float]:
    """The state after so many one-second looks of eight checks, and microseconds a look and check."""
    rng = random.Random(1)
    reports = [report(second, rng) for second in range(100, 100 + seconds)]
    state = FRESH
    started = time.perf_counter()
    for now, present in enumerate(reports, 100):
        state, _ = judge(CHECKS, NAMES, ROLES, state, Inputs((present,)), STEP, 0.01, float(now))
    return state, (time.perf_counter() - started) / seconds / len(CHECKS) * 1e6


def main() -> None:
    rules = Rules(Tolerance(1.2, 0.0002), alpha=0.00125, interval_alpha=0.01)
    evidence = NO_EVIDENCE
    for _ in range(100):
        evidence = add_block(evidence, Tally(125, 2, 2375, 20), 0, rules)
    block = microseconds(lambda: add_block(evidence, Tally(125, 2, 2375, 20), 0, rules), 2000)
    state, look = looks(120)
    stored = encode_state(state)
    encode, decode = (
        microseconds(lambda: encode_state(state), 500),
        microseconds(lambda: decode_state(stored), 500),
    )
    per_second = look * len(CHECKS) + encode + decode
    for what, figure, unit in (
        ("one block of one check", block, "µs"),
        ("one look at one check, blocks included", look, "µs"),
        ("state of one check", len(stored) / len(CHECKS), "bytes"),
        ("storing the state of eight checks", encode, "µs"),
        ("reading it", decode, "µs"),
        ("1,000 rollouts of 8 checks each second", per_second * 1000 / 1e6, "cores"),
    ):
        print(f"{what:45} {figure:10,.2f} {unit}")


if __name__ == "__main__":
    main()
