"""What `judge` says in each situation, and that it never counts twice and never raises."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.analysis.engine import NO_EVIDENCE, Tally, Tolerance
from controller.core.analysis.inputs import Arms, Counts, Inputs, Missing, Roles, StepContext
from controller.core.analysis.judge import judge
from controller.core.analysis.state import FRESH, decode_state, encode_state
from controller.core.analysis.text import tolerated
from controller.core.checks import AtMost, Check, Lack, Metric, NoSlower, NoWorse, PrometheusQuery, Verdict
from controller.core.status import VersionRef
from tests.controller.core.analysis.test_series import growing
from tests.controller.core.analysis.worlds import (
    CANDIDATE,
    ERRORS,
    ROLES,
    STABLE,
    START,
    Judge,
    Router,
    seconds,
    step,
    time_to_fail,
)

WIDE = Check("errors", Metric.ERRORS, NoWorse(1.2, 0.05), min_requests=30)


def steady(
    judged: Judge, router: Router, now: float, duration: int, candidate=(25, 0), stable=(475, 2), **look
):
    """`duration` seconds of the same traffic each second, (requests, failed); the last result."""
    result = None
    for second in range(duration):
        router.count(CANDIDATE.identity, *candidate)
        router.count(STABLE.identity, *stable, stable[0] // 2, stable[1] // 2)
        result = judged.look(now + second, router, **look)
    assert result is not None
    return result


def test_what_is_tolerated_is_never_more_than_there_is_room_for():
    evidence = NO_EVIDENCE._replace(total=Tally(100, 90, 100, 80), reference_share=80.0)
    assert tolerated(evidence, Tolerance(4.0, 0.0)) == pytest.approx(0.2)
    assert tolerated(evidence, Tolerance(1.1, 0.02)) == pytest.approx(0.1)


def test_a_candidate_ten_times_worse_fails_and_the_sentence_has_the_numbers():
    judged, router = Judge(), Router()
    result = steady(judged, router, START, 60, candidate=(25, 2), stable=(475, 4))
    assert result.verdict is Verdict.FAIL
    assert result.lack is Lack.NONE
    assert result.text.startswith("error rate 8.00 % against 0.84 % over ")
    assert " requests, 99 % interval of the difference [+" in result.text
    assert " pp, tolerated +0.19 pp → Fail" in result.text
    assert result.estimate == pytest.approx(0.08)
    assert result.reference == pytest.approx(4 / 475)
    assert result.bound == pytest.approx(0.2 * 4 / 475 + 0.0002)
    assert result.low > result.bound
    assert result.low < 0.08 - 4 / 475 < result.high


def test_a_fail_latches_until_another_try():
    judged, router = Judge(), Router()
    failed = steady(judged, router, START, 60, candidate=(25, 5), stable=(475, 4))
    assert failed.verdict is Verdict.FAIL
    later = steady(judged, router, START + 60, 600, candidate=(25, 0), stable=(475, 4))
    assert (later.verdict, later.text) == (Verdict.FAIL, failed.text)
    judged.state = decode_state(encode_state(judged.state))
    assert judged.look(START + 700).verdict is Verdict.FAIL
    judged.roles = replace(ROLES, attempt=2)
    router.attempt = 2
    assert judged.look(START + 701, router).verdict is Verdict.INCONCLUSIVE


def test_a_good_candidate_passes_and_is_fresh():
    judged, router = Judge((WIDE,)), Router()
    result = steady(judged, router, START, 60)
    assert result.verdict is Verdict.PASS
    assert result.lack is Lack.NONE
    assert result.is_fresh
    assert not result.is_holding
    assert result.samples > 1000


def test_data_from_which_nothing_is_proven_is_undecided_and_fresh():
    result = steady(Judge(), Router(), START, 20)
    assert (result.verdict, result.lack) == (Verdict.INCONCLUSIVE, Lack.UNDECIDED)
    assert result.is_fresh
    assert result.text.endswith("→ Inconclusive: nothing is proven yet")


def test_as_long_as_the_dispersion_is_not_known_the_sentence_says_what_is_assumed():
    judged, router = Judge(), Router()
    assert "(dispersion not known, taken as 2)" in steady(judged, router, START, 6).text
    assert "dispersion" not in steady(judged, router, START + 6, 20).text


def test_worse_than_stable_but_within_tolerance_only_holds():
    check = Check("errors", Metric.ERRORS, NoWorse(3.0, 0.0))
    result = steady(Judge((check,)), Router(), START, 80, candidate=(25, 1), stable=(475, 9))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.is_holding
    assert "worse than stable, not shown worse than tolerated: no increase" in result.text


def test_worse_than_stable_and_proven_within_tolerance_passes_and_says_so():
    check = Check("errors", Metric.ERRORS, NoWorse(3.0, 0.0))
    result = steady(Judge((check,)), Router(), START, 300, candidate=(25, 1), stable=(475, 9))
    assert result.verdict is Verdict.PASS
    assert not result.is_holding
    assert "Pass: worse than stable, but by less than is tolerated" in result.text


def test_no_report_is_no_data():
    result = Judge().look(START)
    assert (result.verdict, result.lack, result.is_fresh) == (Verdict.INCONCLUSIVE, Lack.NO_DATA, False)
    assert result.text == "error rate → Inconclusive: no router has reported"


def test_a_router_that_fell_silent_is_no_data_and_named_and_a_pass_is_withdrawn():
    judged, router = Judge((WIDE,)), Router()
    assert steady(judged, router, START, 60).verdict is Verdict.PASS
    stale = Inputs((router.report(START + 59),))
    state, (result,) = judge((WIDE,), ("errors",), ROLES, judged.state, stale, step(), 0.01, START + 90)
    assert (result.verdict, result.lack, result.is_fresh) == (Verdict.INCONCLUSIVE, Lack.NO_DATA, False)
    assert "router router-1 is silent" in result.text
    assert state.checks["errors"].lines[""].evidence.is_within_tolerance()


def test_too_few_requests_of_this_step_are_no_data_whatever_earlier_steps_proved():
    judged, router = Judge((WIDE,)), Router()
    assert steady(judged, router, START, 60).verdict is Verdict.PASS
    router.applied = "1.2.0"
    second = step(generation=2, acknowledged_at=None, ordinal=1)
    waiting = steady(judged, router, START + 60, 2, step=second)
    assert waiting.lack is Lack.NO_DATA
    assert "the routers have not acknowledged this step yet" in waiting.text
    running = step(generation=2, acknowledged_at=START + 62, ordinal=1)
    few = steady(judged, router, START + 62, 2, step=running)
    assert few.lack is Lack.NO_DATA
    assert "25 of 30 requests of this step" in few.text
    assert few.samples == 25
    assert steady(judged, router, START + 64, 2, step=running).verdict is Verdict.PASS


def test_evidence_accumulates_over_steps_of_different_weight():
    judged, router = Judge(), Router()
    steady(judged, router, START, 20, candidate=(25, 0), stable=(475, 4))
    before = judged.state.checks["errors"].lines[""].evidence.total.requests
    router.applied = "1.2.0"
    later = step(generation=2, acknowledged_at=START + 20, ordinal=1)
    steady(judged, router, START + 20, 20, candidate=(125, 1), stable=(375, 3), step=later)
    check = judged.state.checks["errors"]
    assert check.changes == 1
    assert check.lines[""].evidence.total.requests > before + 1000


def test_a_block_stays_open_until_stable_has_twenty_requests():
    judged, router = Judge(), Router()
    steady(judged, router, START, 9, stable=(2, 0))
    assert judged.state.checks["errors"].lines[""].evidence.blocks == 0
    steady(judged, router, START + 9, 6, stable=(2, 0))
    assert judged.state.checks["errors"].lines[""].evidence.blocks == 1
    assert judged.state.checks["errors"].lines[""].evidence.total.reference_requests >= 20


def test_a_block_never_mixes_two_weights():
    """Stable at 1 % in busy seconds only: mixed blocks would show a difference that is none."""
    judged, router = Judge(), Router()
    steady(judged, router, START, 3, candidate=(5, 0), stable=(495, 50))
    assert judged.state.checks["errors"].lines[""].evidence.blocks == 0
    router.applied = "1.2.0"
    steady(judged, router, START + 3, 1, step=step(generation=2, acknowledged_at=START + 3, ordinal=1))
    evidence = judged.state.checks["errors"].lines[""].evidence
    assert evidence.blocks == 1
    assert evidence.total.reference_events == 2 * 50


@pytest.mark.parametrize("minutes", [1, 5])
def test_an_outage_that_both_share_fails_nobody_passes_nobody_and_holds(minutes):
    judged, router = Judge(), Router()
    steady(judged, router, START, 100, candidate=(25, 1), stable=(475, 19))
    lasts = 60 * minutes
    during = steady(judged, router, START + 100, lasts, candidate=(25, 15), stable=(475, 285))
    assert during.verdict is Verdict.INCONCLUSIVE
    assert during.is_holding
    assert "stable itself is far worse than before: no increase until that is over" in during.text
    after = steady(judged, router, START + 100 + lasts, 100, candidate=(25, 1), stable=(475, 19))
    assert after.verdict is Verdict.INCONCLUSIVE
    assert not after.is_holding


def test_a_stable_that_stays_worse_becomes_the_new_normal():
    judged, router = Judge((WIDE,)), Router()
    steady(judged, router, START, 60, stable=(475, 2))
    assert steady(judged, router, START + 60, 30, candidate=(25, 1), stable=(475, 19)).is_holding
    assert not steady(judged, router, START + 90, 900, candidate=(25, 1), stable=(475, 19)).is_holding


def test_where_stable_has_no_traffic_a_comparison_says_which_limit_to_use():
    result = steady(Judge(), Router(), START, 20, candidate=(500, 5), stable=(0, 0))
    assert (result.verdict, result.lack) == (Verdict.INCONCLUSIVE, Lack.NO_DATA)
    assert "stable has no traffic to compare with: give the limit as `max`" in result.text


def test_an_absolute_limit_needs_no_stable_traffic():
    check = Check("slo", Metric.ERRORS, AtMost(0.02))
    good = steady(Judge((check,)), Router(), START, 60, candidate=(500, 1), stable=(0, 0))
    assert good.verdict is Verdict.PASS
    assert good.text.startswith("error rate 0.20 % over 27,500 requests, 99 % interval [0.")
    assert "] %, limit 2.00 % → Pass" in good.text
    bad = steady(Judge((check,)), Router(), START, 60, candidate=(500, 25), stable=(0, 0))
    assert bad.verdict is Verdict.FAIL
    assert not bad.is_holding


def test_requests_of_testers_and_of_another_try_are_not_compared():
    judged, router = Judge(), Router(attempt=2)
    result = steady(judged, router, START, 20, candidate=(25, 25))
    assert "0 of 50 requests" in result.text


def test_impossible_counts_are_left_out_and_said_and_never_fail():
    judged, router = Judge(), Router()
    result = steady(judged, router, START, 60, candidate=(25, 30))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "(59 ticks left out: router router-1: more events than requests)" in result.text


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, math.nan, math.inf])
def test_an_alpha_that_is_no_chance_is_said(alpha):
    result = steady(Judge(alpha=alpha), Router(), START, 5)
    assert (result.verdict, result.lack) == (Verdict.INCONCLUSIVE, Lack.NO_DATA)
    assert "it must be above 0 and below 1" in result.text


def test_checks_share_alpha_by_weight_with_all_checks_of_the_rollout():
    heavy = replace(ERRORS, alpha_weight=9)
    others = tuple(Check(f"x{n}", Metric.ERRORS, NoWorse(), alpha_weight=1) for n in range(9))

    def seconds_to_fail(checks):
        judged, router = Judge(checks), Router()
        for second in range(2000):
            result = steady(
                judged, router, START + second, 1, candidate=(25, 1), stable=(475, 9), names=("errors",)
            )
            if result.verdict is Verdict.FAIL:
                return second
        raise AssertionError

    alone = seconds_to_fail((ERRORS,))
    shared = seconds_to_fail((ERRORS, *others))
    favoured = seconds_to_fail((heavy, *others))
    assert alone < favoured < shared


def test_only_the_named_checks_are_judged_and_in_their_order():
    checks = (ERRORS, Check("slo", Metric.ERRORS, AtMost(0.1)), WIDE)
    inputs = Inputs((Router().report(START),))
    _, results = judge(checks, ("slo", "errors", "nobody", "slo"), ROLES, FRESH, inputs, step(), 0.01, START)
    assert [result.check for result in results] == ["slo", "errors"]


def test_requirements_and_dry_run_travel_with_the_result():
    check = replace(ERRORS, required=False, dry_run=True)
    result = Judge((check,)).look(START)
    assert (result.required, result.dry_run) == (False, True)


def test_another_question_under_the_same_name_starts_anew():
    judged, router = Judge(), Router()
    steady(judged, router, START, 30)
    judged.checks = (replace(ERRORS, limit=NoWorse(2.0, 0.1)),)
    judged.look(START + 30, router)
    assert judged.state.checks["errors"].lines == {}


def test_a_check_that_was_not_judged_for_some_steps_takes_nothing_of_them():
    judged, router = Judge(), Router()
    steady(judged, router, START, 20)
    router.applied = "1.3.0"
    steady(Judge(), router, START + 20, 300, candidate=(400, 400))
    later = step(generation=3, acknowledged_at=START + 400, ordinal=2)
    result = steady(judged, router, START + 400, 20, step=later)
    assert result.estimate == 0


# --- restarts of the controller ----------------------------------------------------------------------------------


@given(st.lists(st.booleans(), min_size=40, max_size=40), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_restarts_from_stored_state_change_no_verdict_and_count_nothing_twice(restarts, seed):
    rng = random.Random(seed)
    router, through, restarted = Router(), Judge(), Judge()
    for now, restart in zip(seconds(40), restarts, strict=True):
        router.count(CANDIDATE.identity, 25, rng.randrange(3))
        router.count(STABLE.identity, 475, rng.randrange(10), 240, 2)
        expected = through.look(now, router)
        if restart:
            restarted.state = decode_state(encode_state(restarted.state))
        assert restarted.look(now, router) == expected


def test_what_was_counted_while_the_controller_was_away_is_filled_in_once():
    judged, router = Judge(), Router()
    steady(judged, router, START, 10)
    stored = encode_state(judged.state)
    for _ in range(30):
        router.count(CANDIDATE.identity, 25, 0)
        router.count(STABLE.identity, 475, 2)
    judged.state = decode_state(stored)
    result = judged.look(START + 40, router)
    assert result.samples == 9 * 25 + 30 * 25


# --- latency -------------------------------------------------------------------------------------------------------

LATENCY = Check("latency", Metric.LATENCY, NoSlower(0.9, 0.2), min_requests=30)


def answers(rng, count, scale=1.0):
    return [scale * rng.lognormvariate(-3, 0.5) for _ in range(count)]


def slow_world(scale, duration=120, history=200, seed=3):
    rng = random.Random(seed)
    judged, router = Judge((LATENCY,)), Router()
    router.answer(STABLE.identity, answers(rng, history))
    result = judged.look(START, router)
    for now in seconds(duration, START + 1):
        router.answer(STABLE.identity, answers(rng, 190))
        router.answer(CANDIDATE.identity, answers(rng, 50, scale))
        result = judged.look(now, router)
        if result.verdict is Verdict.FAIL:
            break
    return result


def test_a_candidate_twice_as_slow_fails_and_the_boundary_is_named():
    result = slow_world(2.0)
    assert result.verdict is Verdict.FAIL
    assert result.text.startswith("share slower than ")
    assert " ms (stable's p90) " in result.text


def test_a_candidate_as_fast_as_stable_passes():
    assert slow_world(1.0, duration=300, history=20_000).verdict is Verdict.PASS


def test_a_candidate_that_hangs_fails_although_it_completes_nothing():
    rng = random.Random(1)
    judged, router = Judge((LATENCY,)), Router()
    router.answer(STABLE.identity, answers(rng, 2000))
    result = judged.look(START, router)
    for second, now in enumerate(seconds(120, START + 1), 1):
        router.answer(STABLE.identity, answers(rng, 190))
        router.ages[CANDIDATE.identity] = (5 * second, 5 * second, 5 * max(second - 1, 0), 0, 0, 0, 0, 0, 0)
        result = judged.look(now, router)
    assert result.verdict is Verdict.FAIL


def test_until_stable_has_enough_answers_the_sentence_says_how_many_are_needed():
    router = Router()
    router.answer(STABLE.identity, [0.01] * 30)
    result = Judge((LATENCY,)).look(START, router)
    assert result.lack is Lack.NO_DATA
    assert "stable has 30 answers, its p90 needs 100" in result.text


@pytest.mark.parametrize(
    ("metric", "limit"),
    [
        (Metric.LATENCY, NoWorse()),
        (Metric.LATENCY, AtMost(0.1)),
        (Metric.ERRORS, NoSlower()),
        (Metric.ERRORS, AtMost(2.0)),
    ],
)
def test_a_limit_that_does_not_fit_the_metric_is_said(metric, limit):
    result = steady(Judge((Check("odd", metric, limit),)), Router(), START, 5)
    assert result.lack is Lack.NO_DATA
    assert "cannot be judged" in result.text


# --- shadow --------------------------------------------------------------------------------------------------------

AGREE = Check("agree", Metric.DISAGREEMENT, AtMost(0.05), min_requests=100)


def shadowed(check, duration, pairs, disagreements, **more):
    judged, router = Judge((check,)), Router()
    result = judged.look(START, router)
    for now in seconds(duration, START + 1):
        router.compare(pairs, disagreements, **more)
        result = judged.look(now, router)
    return result


def test_a_shadow_that_disagrees_more_than_allowed_fails():
    result = shadowed(AGREE, 60, 20, 4)
    assert result.verdict is Verdict.FAIL
    assert result.text.startswith("disagreement 20.00 % over ")
    assert " pairs, 99 % interval [" in result.text


def test_a_shadow_that_agrees_passes():
    result = shadowed(AGREE, 60, 50, 1)
    assert result.verdict is Verdict.PASS
    assert result.samples == 60 * 50


def test_a_shadow_that_fails_where_stable_answers_disagrees():
    assert shadowed(AGREE, 60, 0, 0, shadow_failed=10).verdict is Verdict.FAIL


def test_agreement_of_the_few_answers_that_could_be_compared_is_no_pass():
    result = shadowed(AGREE, 60, 50, 0, undecodable=60)
    assert (result.verdict, result.lack) == (Verdict.INCONCLUSIVE, Lack.NO_DATA)
    assert "only 45% of the copies could be compared, 50% are needed" in result.text
    assert shadowed(AGREE, 60, 50, 0, undecodable=10).verdict is Verdict.PASS


def test_the_worst_slice_is_named_also_while_nothing_fails():
    check = replace(AGREE, limit=AtMost(0.5), per_slice=True)
    result = shadowed(check, 60, 50, 4, slices={"digit=4": (5, 1), "digit=5": (45, 3)})
    assert "(worst slice digit=4: 20.00 % of 300 pairs)" in result.text


def test_one_bad_slice_fails_the_whole_and_is_named():
    check = replace(AGREE, limit=AtMost(0.10), per_slice=True)
    slices = {"digit=4": (5, 4), "digit=5": (45, 0)}
    result = shadowed(check, 60, 50, 4, slices=slices)
    assert result.verdict is Verdict.FAIL
    assert result.text.startswith("disagreement on slice digit=4 80.00 % over ")
    assert shadowed(replace(check, per_slice=False), 60, 50, 4, slices=slices).verdict is not Verdict.FAIL


def test_a_slice_needs_far_stronger_evidence_than_the_whole():
    """There may be thirty-two of them, and each gets a chance to be unlucky."""
    check = replace(AGREE, limit=AtMost(0.10), per_slice=True)
    judged, router = Judge((check,)), Router()
    judged.look(START - 1, router)
    for now in seconds(600):
        router.compare(50, 7, {"digit=4": (50, 7)})
        if judged.look(now, router).verdict is Verdict.FAIL:
            break
    lines = judged.state.checks[check.name].lines
    assert lines[""].has_failed
    assert not lines["digit=4"].has_failed


def test_a_slice_that_failed_has_failed_whatever_comes_after():
    check = replace(AGREE, limit=AtMost(0.10), per_slice=True)
    judged, router = Judge((check,)), Router()
    verdicts = []
    judged.look(START - 1, router)
    for now in seconds(300):
        bad = 4 if now < START + 60 else 0
        router.compare(50, bad, {"digit=4": (5, bad), "digit=5": (45, 0)})
        verdicts.append(judged.look(now, router).verdict)
    assert verdicts[60] is Verdict.FAIL
    assert verdicts[-1] is Verdict.FAIL


def test_noise_of_stable_itself_is_not_held_against_the_candidate():
    check = replace(AGREE, limit=NoWorse(1.0, 0.03))
    noisy = shadowed(check, 120, 50, 10, self_pairs=20, self_disagreements=4)
    assert noisy.verdict is not Verdict.FAIL
    assert not noisy.is_holding
    worse = shadowed(check, 120, 50, 25, self_pairs=20, self_disagreements=4)
    assert worse.verdict is Verdict.FAIL
    unknown = shadowed(check, 60, 50, 10)
    assert "stable was not replayed to itself" in unknown.text


# --- prometheus ----------------------------------------------------------------------------------------------------

REDO = Check(
    "redo",
    Metric.PROMETHEUS,
    NoWorse(1.2, 0.01),
    query=PrometheusQuery("main", 'e{version="{{version}}"}', 't{version="{{version}}"}'),
)


def polled(candidate: tuple[float, float], stable: tuple[float, float], duration: int = 600):
    judged = Judge((REDO,))
    result = None
    for second in range(0, duration, 5):
        now = START + second
        arms = Arms(growing(*candidate, until=now - 2), growing(*stable, until=now - 7))
        result = judged.look(now, counts={"redo": arms})
    return result, judged


def test_a_provider_alone_is_enough_to_fail_and_to_pass():
    bad, _ = polled((300, 30), (3000, 30))
    assert bad.verdict is Verdict.FAIL
    assert bad.text.startswith("redo rate 10.00 % against 1.00 % over ")
    good, _ = polled((3000, 30), (3000, 30))
    assert good.verdict is Verdict.PASS
    assert good.is_fresh


def test_where_both_versions_are_scraped_at_different_seconds_a_fail_needs_more_blocks():
    """A burst that both have falls into another block of each: three blocks do not outlast it."""
    judged = Judge((REDO,))
    for second in range(0, 1200, 5):
        now = START + second
        arms = Arms(growing(30000, 5700, until=now - 2), growing(30000, 30, until=now - 7))
        if judged.look(now, counts={"redo": arms}).verdict is Verdict.FAIL:
            break
    line = judged.state.checks["redo"].lines[""]
    assert line.has_failed
    assert line.evidence.blocks >= 6


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        (None, "no answer from the provider yet"),
        (Arms(Missing("prometheus 'main': connection refused"), Missing("x")), "connection refused"),
        (Arms(Counts({}, {}), Counts({}, {})), "matched no series"),
        (Arms(growing(300, 3, until=START), growing(300, 3, until=START)), "old, more than 45 s"),
    ],
)
def test_a_provider_without_data_holds_and_says_why_and_withdraws_a_pass(arms, said):
    good, judged = polled((3000, 30), (3000, 30))
    assert good.verdict is Verdict.PASS
    result = judged.look(START + 601, counts={} if arms is None else {"redo": arms})
    assert (result.verdict, result.lack, result.is_fresh) == (Verdict.INCONCLUSIVE, Lack.NO_DATA, False)
    assert said in result.text


def test_what_the_provider_warned_of_is_passed_on():
    warned = replace(growing(300, 3), warnings=("a store is away",))
    result = Judge((REDO,)).look(START, counts={"redo": Arms(warned, growing(300, 3))})
    assert "(the provider warns: a store is away)" in result.text


# --- totality ------------------------------------------------------------------------------------------------------

odd = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.integers(-10, 10**18).map(float))
limits = st.one_of(st.builds(NoWorse, odd, odd), st.builds(NoSlower, odd, odd), st.builds(AtMost, odd))
checks = st.builds(
    Check,
    name=st.sampled_from("abc"),
    metric=st.sampled_from(Metric),
    limit=limits,
    min_requests=st.integers(-1, 100),
    alpha_weight=odd,
    per_slice=st.booleans(),
)
samples = st.lists(st.tuples(st.floats(START - 400, START + 400), odd), max_size=6).map(tuple)
counts = st.one_of(
    st.just(Missing("away")),
    st.builds(
        Counts,
        st.dictionaries(st.sampled_from("xy"), samples, max_size=2),
        st.dictionaries(st.sampled_from("xy"), samples, max_size=2),
    ),
)
contexts = st.builds(
    StepContext,
    st.integers(0, 3),
    st.integers(0, 3),
    st.one_of(st.none(), st.floats(START - 100, START + 100)),
)


@st.composite
def routers(draw):
    router = Router(
        draw(st.sampled_from(["r1", "r2"])),
        draw(st.sampled_from(["b1", "b2"])),
        applied=draw(st.sampled_from(["", "1.1.0", "1.3.0"])),
    )
    number = st.integers(-5, 2**63)
    for version in (STABLE, CANDIDATE):
        router.count(version.identity, *(draw(number) for _ in range(4)))
        router.latency[version.identity] = draw(st.lists(number, max_size=200))
        router.ages[version.identity] = tuple(draw(st.lists(number, max_size=12)))
    router.compare(draw(number), draw(number), {"s": (draw(number), draw(number))}, self_pairs=draw(number))
    return router


@given(
    st.lists(checks, min_size=1, max_size=3, unique_by=lambda check: check.name).map(tuple),
    st.lists(
        st.tuples(
            st.lists(routers(), max_size=2),
            st.dictionaries(st.sampled_from("abc"), st.builds(Arms, counts, counts)),
            contexts,
            st.floats(START - 100, START + 10_000),
        ),
        min_size=1,
        max_size=4,
    ),
    odd,
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_whatever_it_is_given_it_answers_and_what_it_stores_can_be_read(asked, looks, alpha, has_stable):
    roles = ROLES if has_stable else Roles(VersionRef("v8", CANDIDATE.identity), 1, None)
    state = FRESH
    for present, given_counts, context, now in looks:
        inputs = Inputs(tuple(router.report(now) for router in present), given_counts)
        names = tuple(check.name for check in asked)
        state, results = judge(asked, names, roles, state, inputs, context, alpha, now)
        assert [result.check for result in results] == list(names)
        assert all("\n" not in result.text for result in results)
        assert decode_state(encode_state(state)) == state
        for result in results:
            numbers = (result.estimate, result.reference, result.low, result.high, result.bound)
            assert all(math.isfinite(number) for number in numbers if number is not None)
            assert result.verdict is not Verdict.PASS or result.is_fresh


# --- simulations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_ten_times_the_errors_of_stable_fail_within_a_minute(seed):
    failed_after, _ = time_to_fail(seed, 0.01, 0.10, limit_s=120)
    assert failed_after is not None
    assert failed_after <= 60


@pytest.mark.parametrize("seed", range(6))
def test_five_times_the_errors_fail_within_three_minutes(seed):
    failed_after, _ = time_to_fail(seed, 0.01, 0.05, limit_s=180)
    assert failed_after is not None


@pytest.mark.parametrize("seed", range(8))
def test_an_equal_candidate_does_not_fail_in_five_minutes(seed):
    failed_after, result = time_to_fail(seed, 0.01, 0.01, limit_s=300)
    assert failed_after is None
    assert not result.is_holding
