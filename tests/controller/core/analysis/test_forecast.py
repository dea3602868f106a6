"""A forecast is the engine's own proof on expected counts: it is monotone, honest, and near what seeded chance gives."""

import math
import random
from dataclasses import replace
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.analysis.dispersion import ASSUMED
from controller.core.analysis.engine import NO_EVIDENCE, Rules, Tally, Tolerance, add_block
from controller.core.analysis.forecast import StepForecast, Traffic, duration, faster, forecast
from controller.core.analysis.judge import BLOCK_MAX_S
from controller.core.checks import AtMost, Check, Metric, NoSlower, NoWorse, PrometheusQuery
from controller.core.spec import (
    FULL,
    Advance,
    ApprovalStage,
    CanaryStage,
    FullStage,
    Match,
    MatchStage,
    PauseStage,
    ShadowStage,
    Spec,
    Stage,
    VersionSpec,
    Warmup,
)
from controller.core.status import Track
from headgate.histogram import BUCKETS, bucket_of
from headgate.wire.plan import Condition

ERRORS = Check("errors", Metric.ERRORS, NoWorse())
SLO = Check("slo", Metric.ERRORS, AtMost(0.01))
AGREE = Check("agree", Metric.DISAGREEMENT, AtMost(0.01))
LATENCY = Check("latency", Metric.LATENCY, NoSlower())


def spec(*stages: Stage, checks: tuple[Check, ...] = (ERRORS, SLO, AGREE, LATENCY)) -> Spec:
    return Spec("ml/fraud", 1, "v2", (VersionSpec("v2", "two"),), stages, checks=checks)


def canary(*checks: Check, weight: int = 500) -> Spec:
    stage = CanaryStage((weight,), 10.0, tuple(check.name for check in checks), Advance.ON_PASS)
    return spec(stage, checks=checks)


def first(asked: Spec, traffic: Traffic) -> StepForecast:
    return forecast(asked, traffic)[0]


def seconds(asked: Spec, traffic: Traffic) -> float:
    found = first(asked, traffic).seconds
    assert found is not None
    return found


def latencies(answers: int = 20_000) -> list[int]:
    histogram = [0] * BUCKETS
    chance = random.Random(1)
    for _ in range(answers):
        histogram[bucket_of(chance.lognormvariate(-3, 0.5))] += 1
    return histogram


# --- what it says --------------------------------------------------------------------------------------------------


def test_each_step_names_its_slow_check_and_what_its_requests_prove() -> None:
    stages = (ShadowStage(100_000, 60.0, 500, ("agree",)), CanaryStage((500, 5000), 60.0, ("errors",)))
    told = forecast(spec(*stages), Traffic(120.0, errors=0.0042))
    assert [one.title for one in told] == ["shadow 10 %", "canary 5 %", "canary 50 %", "full 100 %"]
    assert told[0].sentence.startswith("shadow 10 %: about")
    assert "agree is the slow one (900 pairs" in told[0].sentence
    assert "to prove at most 1 %" in told[0].sentence
    assert (
        "its own time; errors needs 9 s of it at 120 requests/s (50 requests of this step)"
        in told[1].sentence
    )
    assert "to prove at most +0.1 pp" in told[2].sentence
    assert told[3].sentence == "full 100 %: at once"


def test_without_traffic_only_the_counts_are_said() -> None:
    told = first(canary(ERRORS), Traffic())
    assert told.seconds is None
    assert told.checks[0].seconds is None
    assert told.checks[0].requests is not None
    assert "known with the traffic" in told.sentence


def test_a_step_for_people_has_no_duration() -> None:
    told = forecast(spec(PauseStage(None), ApprovalStage(("owner",)), PauseStage(30.0)), Traffic(10.0))
    assert [one.seconds for one in told[:3]] == [None, None, 30.0]
    assert told[1].sentence == "approval by owner: until somebody acts"


@pytest.mark.parametrize(
    ("check", "stage", "why"),
    [
        (
            SLO,
            CanaryStage((500,), 1.0, ("slo",)),
            "one that is as good as stable cannot be shown at most 1 %",
        ),
        (ERRORS, FullStage(1.0, ("errors",)), "stable has no traffic to compare with at 100 %"),
        (
            ERRORS,
            ShadowStage(1_000_000, 1.0, 0, ("errors",)),
            "the candidate has no live traffic in this step",
        ),
        (AGREE, CanaryStage((500,), 1.0, ("agree",)), "nothing is copied to the candidate in this step"),
    ],
)
def test_a_step_that_cannot_end_says_so_and_why(check: Check, stage: Stage, why: str) -> None:
    told = first(spec(stage, checks=(check,)), Traffic(100.0, errors=0.02))
    assert told.seconds is None
    assert told.sentence.split(": ", 1)[1].startswith(f"never by itself: {check.name}: {why}")


def test_what_is_not_known_yet_is_named_beside_what_is() -> None:
    query = PrometheusQuery("main", "e", "t")
    redo = Check("redo", Metric.PROMETHEUS, NoWorse(), query=query)
    told = first(canary(ERRORS, LATENCY), Traffic(100.0))
    assert "errors is the slow one" in told.sentence
    assert "latency not known yet (stable has 0 answers, its p99 needs 1,000)" in told.sentence
    assert "redo not known yet" in first(canary(redo), Traffic(100.0)).sentence
    assert seconds(canary(ERRORS, LATENCY), Traffic(100.0, histogram=latencies())) > 0


def test_evidence_of_earlier_steps_counts_for_later_ones() -> None:
    alone = spec(CanaryStage((5000,), 10.0, ("errors",)), checks=(ERRORS,))
    later = spec(CanaryStage((2500, 5000), 120.0, ("errors",)), checks=(ERRORS,))
    traffic = Traffic(100.0, errors=0.001)
    there, here = (
        forecast(later, traffic)[1].checks[0].requests,
        forecast(alone, traffic)[0].checks[0].requests,
    )
    assert there is not None
    assert here is not None
    assert there < here


def test_the_automatic_ramp_is_foretold_by_the_bound_on_its_risk() -> None:
    stage = CanaryStage((100, 1000, 5000), 15.0, ("errors",), risk_budget=0.001)
    told = forecast(spec(stage, checks=(ERRORS,)), Traffic(500.0, errors=0.001))
    assert "to bound the risk to 0.10% at the next weight" in told[0].sentence
    assert all(one.seconds is not None for one in told[:3])


def test_a_check_needs_the_least_requests_the_user_wants_however_soon_it_is_proven() -> None:
    told = first(canary(replace(SLO, min_requests=100_000)), Traffic(100.0))
    assert told.checks[0].requests == 100_000
    assert told.seconds == pytest.approx(20_000.0)


def test_a_dry_run_and_a_check_that_only_watches_make_no_step_longer() -> None:
    watching = (replace(ERRORS, dry_run=True), replace(SLO, required=False))
    assert first(canary(*watching), Traffic(100.0)).sentence == "canary 5 %: 10 s, its own time"


def test_advice_tells_how_long_it_would_take_then() -> None:
    advice = faster(canary(ERRORS), Traffic(100.0))
    assert [one.split(":")[0] for one in advice] == ["errors with `plus", "a weight of 10 %"]
    assert all("canary 5 % in about" in one for one in advice)
    assert faster(canary(ERRORS), Traffic(1_000_000.0)) == ()


def test_durations_are_said_as_people_do() -> None:
    assert [duration(s) for s in (0, 44.2, 240, 5_399, 7_200, 200_000)] == [
        "0 s",
        "45 s",
        "4 min",
        "90 min",
        "2 h",
        "3 days",
    ]


# --- properties ----------------------------------------------------------------------------------------------------

rates = st.floats(1.0, 5_000.0)
shares = st.sampled_from((0.0, 0.0005, 0.004, 0.02))
weights = st.sampled_from((100, 500, 2500, 5000))


@settings(max_examples=60, deadline=None)
@given(rates, st.floats(1.0, 20.0), shares, weights)
def test_more_traffic_never_takes_longer_but_for_the_last_block(
    rate: float, times: float, errors: float, weight: int
) -> None:
    asked = canary(ERRORS, weight=weight)
    slow, quick = seconds(asked, Traffic(rate, errors)), seconds(asked, Traffic(rate * times, errors))
    assert quick <= slow * 1.02 + BLOCK_MAX_S


@settings(max_examples=60, deadline=None)
@given(rates, shares, weights, st.floats(0.0002, 0.01), st.floats(1.0, 20.0), st.floats(1.0, 1.5))
def test_a_tighter_tolerance_never_takes_less(
    rate: float, errors: float, weight: int, plus: float, times: float, ratio: float
) -> None:
    tight = canary(replace(ERRORS, limit=NoWorse(ratio, plus)), weight=weight)
    wide = canary(replace(ERRORS, limit=NoWorse(ratio, plus * times)), weight=weight)
    assert _or_never(tight, Traffic(rate, errors)) >= _or_never(wide, Traffic(rate, errors))


def _or_never(asked: Spec, traffic: Traffic) -> float:
    """Seconds; endless for a tolerance so tight that the engine is prepared for nothing inside it."""
    found = first(asked, traffic)
    if found.seconds is None:
        assert not found.checks[0].is_possible
        return math.inf
    return found.seconds


# --- against the engine on seeded chance ---------------------------------------------------------------------------

CASES = [
    (ERRORS, 200.0, 0.0, 500),
    (ERRORS, 500.0, 0.01, 2500),
    (ERRORS, 100.0, 0.0042, 5000),
    (SLO, 100.0, 0.002, 500),
    (replace(ERRORS, limit=NoWorse(1.2, 0.005)), 50.0, 0.004, 1000),
]


@pytest.mark.parametrize(("check", "rate", "errors", "weight"), CASES)
def test_equal_candidates_pass_within_a_small_factor_of_the_forecast(
    check: Check, rate: float, errors: float, weight: int
) -> None:
    foretold = seconds(canary(replace(check, min_requests=1), weight=weight), Traffic(rate, errors))
    took = [_passed_after(check, rate, errors, weight, seed) for seed in range(15)]
    assert foretold / 2 <= median(took) <= foretold * 2, (foretold, sorted(took))


def _passed_after(check: Check, rate: float, errors: float, weight: int, seed: int) -> float:
    """Seconds after which the real engine says Pass in a world of that seed, in blocks of five seconds."""
    chance = random.Random(seed)
    limit = check.limit
    tolerance = (
        Tolerance(limit.ratio, limit.plus) if isinstance(limit, NoWorse) else Tolerance(0.0, _limit(limit))
    )
    rules = Rules(tolerance, alpha=0.01, interval_alpha=0.01, dispersion=ASSUMED)
    evidence, blocks = NO_EVIDENCE, 0
    mine, others = round(rate * weight / 10_000 * 5), round(rate * (1 - weight / 10_000) * 5)
    while not evidence.is_within_tolerance():
        block = Tally(mine, _failures(chance, mine, errors), others, _failures(chance, others, errors))
        evidence, blocks = add_block(evidence, block, 0, rules), blocks + 1
        assert blocks < 20_000
    return blocks * 5.0


def _limit(limit: object) -> float:
    assert isinstance(limit, AtMost)
    return limit.limit


def _failures(chance: random.Random, requests: int, share: float) -> int:
    return sum(chance.random() < share for _ in range(requests)) if share else 0


def test_warming_up_comes_first_and_says_its_bounds():
    asked = replace(spec(FullStage()), warmup=Warmup(stable_for_s=30.0, max_wait_s=1200.0))
    first, *_ = forecast(asked, Traffic(100.0))
    assert first.sentence == "warm-up: at least 30 s, until it is measured warm, at most 20 min"
    assert forecast(asked, Traffic(100.0), Track.RETURN)[0].title != "warm-up"


def test_how_many_requests_match_is_not_known_beforehand():
    beta = Match((Condition("header:x-beta"),), 5000)
    told = forecast(spec(MatchStage(beta, 60.0, ("errors",)), FullStage(), checks=(ERRORS,)), Traffic(100.0))
    assert told[0].seconds is None
    assert "how many requests match is not known beforehand" in told[0].sentence
    alone = replace(beta, share=FULL)
    told = forecast(spec(MatchStage(alone, 60.0, ("errors",)), FullStage(), checks=(ERRORS,)), Traffic(100.0))
    assert "never by itself" in told[0].sentence
