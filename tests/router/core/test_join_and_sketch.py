"""What a pair comes to, and counters that add up."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.histogram import bucket_of
from headgate.wire.plan import Comparison
from headgate.wire.telemetry import DROP_REASONS, ShadowCounters
from router.core.join import Answer, Outcome, Refused, join
from router.core.sketch import CLASSES_MAX, DIRECTIONS_MAX, Pairing, Tally, merged

POLICY = Comparison(task="classification", label="label")
PAIRING = Pairing("v2", "id-v2", "v1", "id-v1")
TARGET = "/v2/models/m/infer"


def said(*labels: Any, status: int = 200) -> Answer:
    output = {
        "name": "label",
        "datatype": "BYTES",
        "shape": [len(labels)],
        "data": [str(one) for one in labels],
    }
    return Answer(status, 0.004, b"", json.dumps({"outputs": [output]}).encode())


def joined(live: Answer, shadow: Answer | Refused) -> Outcome:
    return join(TARGET, live, shadow, POLICY, 1 << 20)


@pytest.mark.parametrize(
    ("live", "shadow", "verdict", "dropped"),
    [
        (said(1), said(1), "agree", None),
        (said(1), said(2), "disagree", None),
        (said(1), said(1, status=500), "shadow_failed", "shadow_error"),
        (said(1), said(1, status=404), "shadow_failed", "shadow_error"),
        (said(1), Refused("timeout", "t"), "shadow_failed", "timeout"),
        (said(1), Refused("shadow_error", "t"), "shadow_failed", "shadow_error"),
        (said(1, status=503), said(1), "live_failed", "live_error"),
        (said(1, status=503), said(1, status=503), "both_failed", "live_error"),
        (said(1, status=0), Refused("timeout", "t"), "both_failed", "live_error"),
        (said(1), Refused("body_too_large", "t"), None, "body_too_large"),
        (said(1), Refused("queue_full", "t"), None, "queue_full"),
        (said(1), Refused("method_not_safe", "t"), None, "method_not_safe"),
        (said(1), Answer(200, 0.0, b"", b"<html>"), "undecodable", "undecodable"),
        (Answer(200, 0.0, b"", b"<html>"), said(1), "undecodable", "undecodable"),
    ],
)
def test_a_pair_is_compared_or_not_compared_for_one_reason(
    live: Answer, shadow: Answer | Refused, verdict: str | None, dropped: str | None
) -> None:
    outcome = joined(live, shadow)
    assert (outcome.verdict, outcome.dropped) == (verdict, dropped)
    assert (outcome.compared is not None) == (dropped is None)
    assert dropped is None or (outcome.why and dropped in DROP_REASONS)


def test_two_broken_answers_with_the_same_bytes_are_not_called_equal() -> None:
    broken = Answer(200, 0.0, b"", b"oops")
    assert joined(broken, broken).verdict == "undecodable"


ANSWERS = st.builds(
    Answer,
    st.sampled_from([0, 200, 204, 301, 404, 500]),
    st.floats(0, 10),
    st.binary(max_size=30),
    st.binary(max_size=60),
) | st.lists(st.integers(0, 3), max_size=3).map(lambda labels: said(*labels))
REFUSALS = st.builds(
    Refused,
    st.sampled_from(
        ["queue_full", "body_too_large", "timeout", "shadow_error", "undecodable", "method_not_safe"]
    ),
    st.just("why"),
)


@given(pairs=st.lists(st.tuples(ANSWERS, ANSWERS | REFUSALS), max_size=30))
def test_every_offered_copy_is_a_pair_or_dropped_and_never_both(pairs: list[tuple[Answer, Any]]) -> None:
    tally = Tally(PAIRING)
    for live, shadow in pairs:
        tally.add(joined(live, shadow), live.latency_s, shadow.latency_s)
    counted = tally.counters()
    assert counted.offered == len(pairs) == counted.pairs + sum(counted.dropped.values())
    failed = counted.shadow_failed + counted.live_failed + counted.both_failed
    assert failed == sum(
        counted.dropped.get(reason, 0) for reason in ("timeout", "shadow_error", "live_error")
    )
    assert counted.soft <= counted.disagreements <= counted.pairs
    assert sum(counted.live_latency) == sum(counted.shadow_latency) == counted.pairs


def test_pairs_are_counted_by_the_live_label_and_by_direction() -> None:
    tally = Tally(PAIRING)
    for live, shadow in [("a", "a"), ("a", "b"), ("a", "b"), ("b", "a")]:
        tally.add(joined(said(live), said(shadow)), 0.001, 0.002)
    counted = tally.counters()
    assert counted.pairs == 4
    assert counted.disagreements == 3
    assert counted.slices["class=a"].pairs == 3
    assert counted.slices["class=a"].disagreements == 2
    assert counted.slices["class=b"].disagreements == 1
    assert counted.directions == {"a->b": 2, "b->a": 1}
    assert counted.live_latency[bucket_of(0.001)] == 4
    assert counted.shadow_latency[bucket_of(0.002)] == 4


def test_a_batch_counts_once_in_each_of_its_classes() -> None:
    tally = Tally(PAIRING)
    tally.add(joined(said("a", "a", "a", "b"), said("a", "c", "a", "b")), 0.001, 0.001)
    counted = tally.counters()
    assert (counted.pairs, counted.disagreements) == (1, 1)
    assert (counted.slices["class=a"].pairs, counted.slices["class=a"].disagreements) == (1, 1)
    assert (counted.slices["class=b"].pairs, counted.slices["class=b"].disagreements) == (1, 0)


def test_soft_disagreements_are_counted_among_the_disagreements_and_apart() -> None:
    unsure = Answer(200, 0.004, b"", b'{"predictions": [[0.4, 0.6]]}')
    other = Answer(200, 0.004, b"", b'{"predictions": [[0.9, 0.1]]}')
    tally = Tally(PAIRING)
    tally.add(
        join("/v1/models/m:predict", unsure, other, Comparison(task="classification"), 1 << 20), 0.001, 0.001
    )
    tally.add(joined(said("a"), said("b")), 0.001, 0.001)
    assert (tally.counters().disagreements, tally.counters().soft) == (2, 1)


def test_classes_and_directions_are_bounded_and_nothing_is_lost_of_the_sums() -> None:
    tally = Tally(PAIRING)
    for number in range(500):
        tally.add(joined(said(f"x{number}"), said(f"y{number}")), 0.001, 0.001)
    counted = tally.counters()
    assert len(counted.slices) == CLASSES_MAX + 1
    assert len(counted.directions) == DIRECTIONS_MAX + 1
    assert sum(one.pairs for one in counted.slices.values()) == 500
    assert sum(counted.directions.values()) == 500
    assert counted.slices["class=other"].pairs == 500 - CLASSES_MAX


def test_a_tally_goes_on_from_what_was_counted_before() -> None:
    first = Tally(PAIRING)
    first.add(joined(said("a"), said("b")), 0.001, 0.001)
    before = first.counters()
    second = Tally(PAIRING, before)
    assert second.counters() == first.counters()
    second.add(joined(said("a"), said("b")), 0.001, 0.001)
    assert second.counters().directions == {"a->b": 2}
    assert before == first.counters()


def test_the_counters_of_two_routers_add_up_whichever_comes_first() -> None:
    one, other, both = Tally(PAIRING), Tally(PAIRING), Tally(PAIRING)
    for tallies, live, shadow in [
        ((one, both), said("a"), said("b")),
        ((one, both), said("a"), Refused("timeout", "t")),
        ((other, both), said("b"), said("b")),
        ((other, both), said("b", status=500), said("b")),
    ]:
        for tally in tallies:
            tally.add(joined(live, shadow), 0.001, 0.01)
    assert (
        merged(one.counters(), other.counters())
        == merged(other.counters(), one.counters())
        == both.counters()
    )


def test_nothing_is_neutral_when_counters_are_merged() -> None:
    tally = Tally(PAIRING)
    tally.add(joined(said("a"), said("b")), 0.001, 0.01)
    assert merged(ShadowCounters(**PAIRING._asdict()), tally.counters()) == tally.counters()
