"""The figures of a report, against numbers worked out by hand or known from the literature."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.histogram import BUCKETS, bucket_of
from headgate.wire.record import ComparisonRecord, Side
from headgate.wire.telemetry import ShadowCounters, SliceCounters
from router.core.report import (
    EXAMPLES_MAX,
    Gathered,
    decide,
    directions,
    pairs_missing,
    percent,
    section,
    share,
)
from router.core.sketch import Pairing

PAIRING = Pairing("v2", "i2", "v1", "i1")


def record(
    number: int, verdict: str = "disagree", direction: str | None = "4->9", **more: object
) -> ComparisonRecord:
    return ComparisonRecord(
        at=float(number),
        rollout="ml/digits",
        request_id=f"r{number}",
        live=Side(version="v1", status=200, latency_ms=2.0),
        shadow=Side(version="v2", status=200, latency_ms=3.0),
        verdict=verdict,
        direction=direction,
        **more,
    )


def counters(**more: object) -> ShadowCounters:
    fields = {"shadow": "v2", "shadow_identity": "i2", "live": "v1", "live_identity": "i1"}
    return ShadowCounters(**(fields | more))


def gathered(*records: ComparisonRecord) -> Gathered:
    found = Gathered()
    for one in records:
        found.add(one)
    return found


@pytest.mark.parametrize(
    ("events", "total", "low", "high"),
    [
        # Newcombe (1998), table I, method 3 (score, no continuity correction), 95 %
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(events: int, total: int, low: float, high: float) -> None:
    found = share(events, total, z=1.959964)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


@given(total=st.integers(1, 10**9), data=st.data())
def test_an_interval_holds_its_estimate_and_is_a_share(total: int, data: st.DataObject) -> None:
    found = share(data.draw(st.integers(0, total)), total)
    assert 0 <= found.low <= found.estimate <= found.high <= 1


@pytest.mark.parametrize(
    ("events", "total", "bound", "verdict"),
    [
        (0, 10_000, 0.01, "PASS"),
        (500, 10_000, 0.01, "FAIL"),
        (5, 1_000, 0.01, "HOLD"),
        (12, 1_000, 0.01, "HOLD"),
    ],
)
def test_a_bound_holds_is_broken_or_not_proven(events: int, total: int, bound: float, verdict: str) -> None:
    found = decide(share(events, total), bound)
    assert found.verdict == verdict
    assert found.sentence.startswith(f"{verdict}: ")


def test_how_many_pairs_are_missing_is_enough_and_not_far_too_many() -> None:
    now = share(5, 1_000)
    more = pairs_missing(now, 0.01)
    assert more is not None
    assert share(round(0.005 * (1_000 + more)), 1_000 + more).high <= 0.01
    assert share(round(0.005 * (1_000 + more) * 0.95), round((1_000 + more) * 0.95)).high > 0.01
    assert f"about {more:,} more pairs" in decide(now, 0.01).sentence


def test_no_number_of_pairs_proves_a_bound_that_the_rate_is_above() -> None:
    assert pairs_missing(share(12, 1_000), 0.01) is None
    assert "however many follow" in decide(share(12, 1_000), 0.01).sentence


def test_without_pairs_nothing_is_decided() -> None:
    assert decide(None, 0.01).verdict == "NO DATA"
    assert "only records are left" in decide(None, 0.01, has_counters=False).sentence


def test_without_a_bound_the_sentence_says_how_to_give_one() -> None:
    assert "--max" in decide(share(1, 100), None).sentence


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 %"), (1.0, "100 %"), (0.123456, "12.35 %"), (0.00012345, "0.012 %"), (0.9999, "99.99 %")],
)
def test_shares_are_written_with_the_digits_that_matter(value: float, text: str) -> None:
    assert percent(value) == text


def test_agreement_is_never_computed_from_kept_records() -> None:
    kept = gathered(*(record(number) for number in range(50)), record(51, "agree", None))
    told = section("ml/digits", PAIRING, counters(offered=1000, pairs=1000, disagreements=50), kept, None)
    assert told.disagreement is not None
    assert told.disagreement.estimate == 0.05
    assert any("51 kept pairs; 1,000 were compared" in sentence for sentence in told.not_measured)
    alone = section("ml/digits", PAIRING, None, kept, None)
    assert alone.disagreement is None
    assert alone.decision.verdict == "NO DATA"


def test_slices_come_worst_first_and_three_unlucky_pairs_do_not_lead() -> None:
    slices = {
        "class=rare": SliceCounters(3, 3),
        "class=4": SliceCounters(1000, 700),
        "class=1": SliceCounters(1000, 10),
    }
    told = section(
        "ml/digits", PAIRING, counters(pairs=2003, disagreements=713, slices=slices), Gathered(), None
    )
    assert [one.name for one in told.slices] == ["class=4", "class=rare", "class=1"]


def test_coverage_leaves_out_what_was_never_meant_to_be_compared() -> None:
    dropped = {
        "sampled_out": 9_000,
        "queue_full": 60,
        "timeout": 40,
        "record_log_full": 7,
        "redaction_failed": 3,
    }
    told = section("ml/digits", PAIRING, counters(pairs=900, dropped=dropped), Gathered(), None)
    assert told.coverage is not None
    assert (told.coverage.events, told.coverage.total) == (900, 1000)
    said = " ".join(told.not_measured)
    for reason in ("queue_full", "timeout", "record_log_full", "redaction_failed", "sampled_out, 9,000 ×"):
        assert reason in said


def test_latency_is_that_of_all_pairs_side_by_side() -> None:
    live, shadow = [0] * BUCKETS, [0] * BUCKETS
    live[bucket_of(0.010)] = 100
    shadow[bucket_of(0.010)] = 50
    shadow[bucket_of(0.040)] = 50
    told = section(
        "ml/digits",
        PAIRING,
        counters(pairs=100, live_latency=tuple(live), shadow_latency=tuple(shadow)),
        Gathered(),
        None,
    )
    p50, p95, _ = told.latency
    assert p50.ratio == pytest.approx(1.0)
    assert p95.ratio == pytest.approx(4.0, rel=0.1)
    assert p95.live_ms == pytest.approx(10.0, rel=0.1)


def test_examples_show_every_kind_and_the_latest_of_each() -> None:
    common = [record(number, direction="4->9") for number in range(1000)]
    rare = [
        record(5000, direction="1->7"),
        record(5001, "soft", "1->7"),
        record(5002, direction=None, paths=("/a",)),
    ]
    told = section("ml/digits", PAIRING, None, gathered(*common, *rare), None)
    assert len(told.examples) == EXAMPLES_MAX
    ids = [one.request_id for one in told.examples]
    assert {"r5000", "r5001", "r5002", "r999"} <= set(ids)
    assert len(set(ids)) == len(ids)


def test_measures_tell_the_sample_of_agreements_from_the_disagreements() -> None:
    kept = gathered(
        *(record(number, measures={"delta_p_max": number / 100}) for number in range(1, 101)),
        record(200, "agree", None, measures={"delta_p_max": 0.001}),
        record(201, "shadow_failed", None, why="timeout", measures={"delta_p_max": 9.0}),
    )
    disagreements, agreements = section("ml/digits", PAIRING, None, kept, None).measures
    assert (agreements.of, agreements.pairs, agreements.largest) == ("agreements", 1, 0.001)
    assert (disagreements.pairs, disagreements.p50, disagreements.p95, disagreements.largest) == (
        100,
        0.5,
        0.95,
        1.0,
    )


def test_directions_come_most_frequent_first() -> None:
    assert directions(counters(directions={"a->b": 1, "b->a": 5, "x": 2})) == [
        ("b", "a", 5),
        ("x", "", 2),
        ("a", "b", 1),
    ]


def test_reasons_are_bounded_and_counted() -> None:
    kept = gathered(
        *(record(number, "undecodable", None, why=f"reason {number % 400}") for number in range(4000))
    )
    assert len(kept.reasons) <= 257
    assert sum(kept.reasons.values()) == 4000
