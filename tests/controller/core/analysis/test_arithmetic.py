"""What stands behind a verdict: the numbers are those the judge had, and they say how much is missing."""

import pytest

from controller.core.analysis.arithmetic import arithmetic
from controller.core.analysis.inputs import Arms, Missing, Values
from controller.core.analysis.state import FRESH
from controller.core.checks import AtMost, Check, GaugeQuery, Metric, NoSlower, Verdict, Within
from tests.controller.core.analysis.worlds import CANDIDATE, ERRORS, STABLE, START, Judge, Router

SLO = Check("slo", Metric.ERRORS, AtMost(0.01))
GPU = Check("gpu", Metric.GAUGE, Within(most=0.9), query=GaugeQuery("main", "gpu"))


def terms(judged: Judge, check: Check) -> dict[str, str]:
    return {term.name: term.text for term in arithmetic(check, judged.checks, judged.state, judged.alpha)}


def after(seconds: int, failed: int, *checks: Check) -> Judge:
    """The judge after so many seconds in which `failed` of 25 requests fail at the candidate, 4 of 475 at stable."""
    judged, router = Judge(checks), Router()
    for second in range(seconds):
        router.count(CANDIDATE.identity, 25, failed)
        router.count(STABLE.identity, 475, 4, 237, 2)
        judged.look(START + second, router)
    return judged


def test_a_fail_names_its_alpha_its_counts_and_a_product_that_reached_what_is_needed():
    judged = after(60, 2, ERRORS, SLO)
    told = terms(judged, ERRORS)
    assert told["alpha"] == "0.005 of the rollout's 0.01: it fails when the product is 200 or more"
    assert told["tolerated"] == "p_c ≤ 1.2 p_s + 0.02 pp"
    line = judged.state.checks["errors"].lines[""]
    assert line.has_failed
    total = line.evidence.total
    counted = (
        f"candidate {total.events:.0f} of {total.requests:.0f} = 8 %, stable {total.reference_events:.0f} of "
    )
    assert told["counted"].startswith(counted)
    assert " of 200: reached; the largest term says " in told["fail"]
    assert told["fail"].endswith("times what is tolerated")
    assert told["pass"].startswith("0") or "times as much is needed" in told["pass"]
    assert told["interval"].endswith("pp of p_c − p_s, at any time, with 99 %")


def test_what_is_missing_is_a_factor():
    told = terms(after(20, 0, ERRORS), ERRORS)
    needed = float(told["pass"].split(": ")[1].split(" times as much")[0].replace(",", ""))
    product = float(told["pass"].split(" of ")[0])
    assert needed * product == pytest.approx(20, rel=0.02)


def test_an_absolute_limit_asks_nothing_of_stable():
    told = terms(after(30, 2, SLO), SLO)
    assert told["tolerated"] == "p_c ≤ 1 %"
    assert "hold" not in told
    assert told["interval"].endswith("pp of the share, at any time, with 99 %")


def test_dispersion_is_said_with_where_it_is_from():
    assert "assumed: not known yet" in terms(after(3, 0, ERRORS), ERRORS)["dispersion"]
    assert "learned from stable's two halves" in terms(after(60, 0, ERRORS), ERRORS)["dispersion"]


def test_a_check_that_was_never_judged_says_what_it_will_ask():
    told = {term.name: term.text for term in arithmetic(ERRORS, (ERRORS,), FRESH, 0.01)}
    assert told["counted"] == "nothing yet"
    latency = Check("latency", Metric.LATENCY, NoSlower(0.99, 0.1))
    told = {term.name: term.text for term in arithmetic(latency, (latency,), FRESH, 0.01)}
    assert told["tolerated"] == "stable's latency is not known yet"


def test_a_gauge_shows_its_measurements():
    judged = Judge((GPU,))
    assert terms(judged, GPU)["measured"] == "nothing yet"
    points = Values(((START + 15, 0.5), (START + 30, 0.95)))
    judged.look(START + 31, counts={"gpu": Arms(points, Missing("not asked"))})
    assert terms(judged, GPU) == {
        "tolerated": "at most 0.9; 3 of the last 5 beyond fail",
        "measured": "within, beyond; the newest value is 0.95",
    }


def test_the_slices_nearest_to_a_fail_come_last():
    check = Check("agree", Metric.DISAGREEMENT, AtMost(0.05), per_slice=True)
    judged, router = Judge((check,)), Router()
    for second in range(30):
        router.compare(100, 2, {"digit=4": (10, 1), "digit=5": (90, 1)})
        result = judged.look(START + second, router)
    assert result.verdict is not Verdict.FAIL
    told = arithmetic(check, (check,), judged.state, 0.01)
    assert told[0].text.startswith("0.005 of the rollout's 0.01"), "the other half is for the slices"
    names = [term.name for term in told]
    assert names[-2:] == ["slice digit=4", "slice digit=5"]
