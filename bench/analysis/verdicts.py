"""How soon a bad version fails and how often a good one does, by simulation of the judge as it is.

    python -m bench.analysis.verdicts [ROLLOUTS]

One router reports each second; a rollout lasts 15 minutes at 5 % of 500 requests/s unless the row says otherwise;
eight checks share alpha = 1 %, of which one is simulated, so the false rollbacks of a rollout are at most eight times
those shown here. Seeded by the number of the rollout.
"""

import random
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from controller.core.analysis.inputs import Inputs, Roles, StepContext
from controller.core.analysis.judge import judge
from controller.core.analysis.state import FRESH
from controller.core.checks import Check, Metric, NoWorse, Verdict
from controller.core.status import VersionRef
from headgate.wire.telemetry import Outcomes, Telemetry, VersionCounters

ROLES = Roles(VersionRef("v8", "candidate"), 1, VersionRef("v7", "stable"))
CHECKS = tuple(Check(f"errors-{n}", Metric.ERRORS, NoWorse()) for n in range(8))
DURATION_S = 900

Weather = Callable[[int], float]
"""The second to a factor by which both versions fail more often."""


@dataclass(frozen=True)
class World:
    """What happens: error ratios of both versions, requests a second, the candidate's share, weather for both."""

    name: str
    stable: float
    candidate: float
    per_second: int = 500
    weight: float = 0.05
    weather: Weather = field(default=lambda _: 1.0)


def outage(length_s: int) -> Weather:
    return lambda second: 50.0 if 300 <= second < 300 + length_s else 1.0


WORLDS = (
    World("equal, 1 %", 0.01, 0.01),
    World("at the edge of the tolerance, 1 %", 0.01, 0.0122),
    World("at the edge, 0.1 %", 0.001, 0.0014),
    World("equal, shared outage of a minute", 0.01, 0.01, weather=outage(60)),
    World("equal, shared outage of five minutes", 0.01, 0.01, weather=outage(300)),
    World("2 x from 1 %", 0.01, 0.02),
    World("5 x from 1 %", 0.01, 0.05),
    World("5 x from 0.42 %", 0.0042, 0.021),
    World("5 x from 0.1 %", 0.001, 0.005),
    World("10 x from 1 %, at the 1 % step", 0.01, 0.10, weight=0.01),
    World("half of the answers fail", 0.0042, 0.5),
)


def failures(rng: random.Random, requests: int, ratio: float) -> int:
    """How many of the requests fail: binomial, from the gaps between failures."""
    if ratio >= 0.25:
        return sum(rng.random() < ratio for _ in range(requests))
    count, position = -1, 0
    while position <= requests:
        position += 1 + int(rng.expovariate(1.0) / ratio) if ratio > 0 else requests + 1
        count += 1
    return count


@dataclass
class Counts:
    candidate: list[int] = field(default_factory=lambda: [0, 0])
    stable: list[int] = field(default_factory=lambda: [0, 0])
    half: list[int] = field(default_factory=lambda: [0, 0])

    def report(self, at: float) -> Telemetry:
        versions = (
            VersionCounters(
                version="v7", identity="stable", picked=Outcomes(*self.stable), half=Outcomes(*self.half)
            ),
            VersionCounters(version="v8", identity="candidate", picked=Outcomes(*self.candidate)),
        )
        return Telemetry(
            rollout="bench/world",
            router="r",
            boot="b",
            started_at=0,
            at=at,
            applied="1.1.0",
            versions=versions,
        )


def rollout(world: World, seed: int) -> int | None:
    """Seconds until the version fails; None if it does not."""
    rng = random.Random(seed)
    counts, state = Counts(), FRESH
    candidate = round(world.per_second * world.weight)
    stable = world.per_second - candidate
    for second in range(DURATION_S):
        weather = world.weather(second)
        for counter, requests, ratio in (
            (counts.candidate, candidate, world.candidate),
            (counts.half, stable // 2, world.stable),
            (counts.stable, stable - stable // 2, world.stable),
        ):
            failed = failures(rng, requests, min(ratio * weather, 1.0))
            counter[0] += requests
            counter[1] += failed
            if counter is counts.half:
                counts.stable[0] += requests
                counts.stable[1] += failed
        inputs, step = Inputs((counts.report(float(second)),)), StepContext(0, 1, 0.0)
        state, (result,) = judge(CHECKS, (CHECKS[0].name,), ROLES, state, inputs, step, 0.01, 1000.0 + second)
        if result.verdict is Verdict.FAIL:
            return second
    return None


def row(world: World, rollouts: int) -> str:
    times = [rollout(world, seed) for seed in range(rollouts)]
    failed = sorted(time for time in times if time is not None)
    if len(failed) < 2:
        return f"| {world.name} | {len(failed)} of {rollouts} | – | – |"
    p95 = failed[min(len(failed) - 1, int(0.95 * len(failed)))]
    return f"| {world.name} | {len(failed)} of {rollouts} | {statistics.median(failed):.0f} s | {p95} s |"


def main() -> None:
    rollouts = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print("| world | failed | median | p95 |\n|---|---|---|---|")
    for world in WORLDS:
        print(row(world, rollouts), flush=True)


if __name__ == "__main__":
    main()
