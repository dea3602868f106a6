"""The story's figures, on records small enough to count by hand."""

import pytest
from measure import agreement, auto_rollback_s, digit_pairs, operator_rollback_ms
from traffic import Answer

from headgate.wire.record import ComparisonRecord, Side


def answer(sent: float, version: str, status: int | None = 200, latency_ms: float = 100.0) -> Answer:
    return Answer(f"r-{sent}", "user-1", sent, sent, latency_ms, status, version)


def test_the_automatic_rollback_runs_from_the_first_bad_answer_to_the_last_request() -> None:
    answers = [
        answer(10.0, "v4"),
        answer(11.0, "v4", 500),
        answer(12.0, "v1", 500),
        answer(14.5, "v4"),
        answer(13.0, "v4", 500),
        answer(20.0, "v1"),
    ]
    assert auto_rollback_s(answers, "v4") == pytest.approx(14.5 - 11.1)


def test_a_version_that_never_failed_was_not_rolled_back_for_failing() -> None:
    assert auto_rollback_s([answer(1, "v4")], "v4") is None
    assert auto_rollback_s([], "v4") is None


def test_the_operators_rollback_runs_from_the_command_to_the_last_request() -> None:
    answers = [answer(10.0, "v5"), answer(10.25, "v5"), answer(10.3, "v2")]
    assert operator_rollback_ms(answers, "v5", 10.1) == pytest.approx(150)
    assert operator_rollback_ms(answers, "v5", 10.9) == 0
    assert operator_rollback_ms(answers, "v6", 10.1) is None
    assert operator_rollback_ms(answers, "v5", None) is None


def test_agreement_is_overall_and_on_the_digit_where_it_is_worst() -> None:
    found = agreement([(1, 1), (1, 1), (4, 9), (4, 4), (4, 7), (7, 7)])
    assert found is not None
    assert (found.pairs, found.overall, found.worst_digit, found.on_worst_digit) == (6, 4 / 6, 4, 1 / 3)
    assert agreement([]) is None


def record(shadow: str, verdict: str, live: str, direction: str | None = None) -> ComparisonRecord:
    return ComparisonRecord(
        at=1.0,
        rollout="default/digits",
        live=Side(version="v1", status=200, latency_ms=1.0),
        shadow=Side(version=shadow, status=200, latency_ms=1.0),
        verdict=verdict,
        slices={"class": live} if live else {},
        direction=direction,
    )


def test_only_pairs_in_which_both_were_understood_count_and_only_of_that_version() -> None:
    records = [
        record("v3", "disagree", "4", "4->9"),
        record("v3", "soft", "1", "1->7"),
        record("v2", "agree", "1"),
        record("v3", "agree", "5"),
        record("v3", "shadow_failed", ""),
    ]
    assert digit_pairs(records, "v3") == [(4, 9), (1, 7), (5, 5)]
