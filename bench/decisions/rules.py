"""The rules: Headgate's judge as it is, and what the documentation of others tells people to write.

Each is given the same traffic and says at which second it rolls back, if it does, and whether it would promote at the end.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.decisions.worlds import CHECKS, SECONDS, Counts, Traffic, World
from controller.core.analysis.dispersion import UNKNOWN, Dispersion, Halves, add_tick
from controller.core.analysis.inputs import Inputs, Roles, StepContext
from controller.core.analysis.judge import judge
from controller.core.analysis.state import FRESH
from controller.core.checks import Check, Metric, NoWorse, Verdict
from controller.core.status import VersionRef
from headgate.wire.telemetry import Outcomes, Telemetry, VersionCounters

ALPHA: Final = 0.01
ROLES: Final = Roles(VersionRef("v8", "candidate"), 1, VersionRef("v7", "stable"))
OURS: Final = tuple(Check(f"errors-{n}", Metric.ERRORS, NoWorse()) for n in range(CHECKS))
START: Final = 1_000_000.0


@dataclass(frozen=True)
class Outcome:
    """What a rule did: the second of its rollback, if any, and whether it would promote at the end."""

    rolled_back_at: int | None
    promotes: bool


Rule = Callable[[World, Traffic], Outcome]


# --- Headgate ------------------------------------------------------------------------------------------------------


def headgate(every_s: int) -> Rule:
    """The judge with its defaults, eight checks sharing alpha, looked at each `every_s` seconds.

    It has seen ten minutes of stable alone before, as the registry of routers has.
    """

    def decide(world: World, traffic: Traffic) -> Outcome:
        states = [FRESH] * CHECKS
        passed = [False] * CHECKS
        usual = known_before(traffic)
        step = StepContext(0, 1, START, weight=round(10_000 * world.weight))
        for second, reports in _reports(traffic, every_s):
            for check, report in enumerate(reports):
                states[check], (result,) = judge(
                    OURS,
                    (OURS[check].name,),
                    ROLES,
                    states[check],
                    Inputs((report,), usual=usual),
                    step,
                    ALPHA,
                    START + second,
                )
                if result.verdict is Verdict.FAIL:
                    return Outcome(second, False)
                passed[check] = result.verdict is Verdict.PASS
        return Outcome(None, all(passed))

    return decide


def known_before(traffic: Traffic) -> Dispersion:
    """What is learned of how stable's failures vary, in the ten minutes before."""
    known = UNKNOWN
    for requests, failed, half, half_failed in traffic.before.T.tolist():
        known = add_tick(known, Halves(requests, failed, half, half_failed, 1.0))
    return known


def _reports(traffic: Traffic, every_s: int) -> Iterator[tuple[int, list[Telemetry]]]:
    """(second, what a router reports then for each check), from its start on, when it had counted nothing."""
    boot, begun = 0, 0
    yield 0, [_report(traffic, check, boot, 0, 0) for check in range(CHECKS)]
    for second in range(1, SECONDS + 1):
        if second in traffic.restarts_at:
            boot, begun = boot + 1, second
        if second % every_s == 0:
            yield second, [_report(traffic, check, boot, begun, second) for check in range(CHECKS)]


def _report(traffic: Traffic, check: int, boot: int, begun: int, second: int) -> Telemetry:
    def total(counts: Counts) -> int:
        return int(counts[begun:second].sum())

    return telemetry(
        stable=Outcomes(total(traffic.reference), total(traffic.reference_failed[check])),
        half=Outcomes(total(traffic.half), total(traffic.half_failed[check])),
        candidate=Outcomes(total(traffic.requests), total(traffic.failed[check])),
        begun_s=begun,
        at_s=second,
        boot=str(boot),
    )


def telemetry(
    *, stable: Outcomes, half: Outcomes, candidate: Outcomes, begun_s: int, at_s: int, boot: str = "b"
) -> Telemetry:
    """What the one router reports; seconds after `START`."""
    versions = (
        VersionCounters(version="v7", identity="stable", picked=stable, half=half),
        VersionCounters(version="v8", identity="candidate", picked=candidate),
    )
    return Telemetry(
        rollout="bench/world",
        router="r",
        boot=boot,
        started_at=START + begun_s,
        at=START + at_s,
        applied="1.1.0",
        versions=versions,
    )


# --- others --------------------------------------------------------------------------------------------------------


def argo(interval_s: int, window_s: int) -> Rule:
    """Argo Rollouts' documented success-rate analysis: `successCondition: result[0] >= 0.95`, `failureLimit: 3`.

    It fails with the fourth measurement of one metric that is below; a measurement without traffic (NaN) is none
    here, which is kind: there it is an error, and five in a row fail the run.
    """

    def decide(world: World, traffic: Traffic) -> Outcome:
        failures = [0] * CHECKS
        for second in range(interval_s, SECONDS + 1, interval_s):
            for check in range(CHECKS):
                share = _share(traffic.failed[check], traffic.requests, second - window_s, second)
                failures[check] += share is not None and 1 - share < 0.95
            if max(failures) > 3:
                return Outcome(second, False)
        return Outcome(None, True)

    return decide


def flagger(world: World, traffic: Traffic) -> Outcome:
    """Flagger's documented analysis: each minute, `request-success-rate` at least 99 over a minute, `threshold: 10`."""
    failures = 0
    for second in range(60, SECONDS + 1, 60):
        shares = [
            _share(traffic.failed[check], traffic.requests, second - 60, second) for check in range(CHECKS)
        ]
        failures += any(share is not None and share > 0.01 for share in shares)
        if failures >= 10:
            return Outcome(second, False)
    return Outcome(None, True)


def kayenta(world: World, traffic: Traffic) -> Outcome:
    """Kayenta's default judge: a point a minute and version, judged each five minutes on all points so far.

    Mann-Whitney at 98 % with a tolerance of a quarter of the Hodges-Lehmann estimate; the score is the share of metrics
    that pass. It stops below 75 (marginal) and wants 95 (pass) at the end.
    """
    for second in range(300, SECONDS + 1, 300):
        high = sum(_is_high(*_points(traffic, check, second)) for check in range(CHECKS))
        score = 100 * (CHECKS - high) / CHECKS
        if score < (75 if second < SECONDS else 95):
            return Outcome(second, False)
    return Outcome(None, True)


def _share(failed: Counts, requests: Counts, begin: int, end: int) -> float | None:
    """Which share failed; None without requests."""
    total = int(requests[max(begin, 0) : end].sum())
    return int(failed[max(begin, 0) : end].sum()) / total if total else None


def _points(traffic: Traffic, check: int, until: int) -> tuple[list[float], list[float]]:
    """A share a minute, of the candidate and of stable; minutes without requests are left out."""
    minutes = list(pairwise(range(0, until + 1, 60)))
    mine = [_share(traffic.failed[check], traffic.requests, *minute) for minute in minutes]
    theirs = [_share(traffic.reference_failed[check], traffic.reference, *minute) for minute in minutes]
    return [one for one in mine if one is not None], [one for one in theirs if one is not None]


_Z: Final = NormalDist().inv_cdf(0.99)


def _is_high(candidate: list[float], stable: list[float]) -> bool:
    """Is the candidate classified as high? The interval is that of the ordered differences (Hollander & Wolfe)."""
    m, n = len(candidate), len(stable)
    if not m or not n or sorted(candidate) == sorted(stable) or len({*candidate, *stable}) == 1:
        return False
    differences: NDArray[np.float64] = np.sort(np.subtract.outer(candidate, stable), axis=None)
    rank = int(np.floor(m * n / 2 - _Z * np.sqrt(m * n * (m + n + 1) / 12)))
    low = differences[rank - 1] if rank >= 1 else -np.inf
    return bool(low > 0.25 * abs(float(np.median(differences))))


RULES: Final[dict[str, Rule]] = {
    "Headgate": headgate(5),
    "Argo Rollouts, as documented (each 5 min)": argo(300, 300),
    "Argo Rollouts, each 20 s": argo(20, 60),
    "Flagger": flagger,
    "Kayenta": kayenta,
}
