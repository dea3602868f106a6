"""Which pairs are kept, and that a record holds what its plan allows and nothing more."""

import json
from typing import Any

import msgspec
import pytest

from headgate.redaction import Unredactable
from headgate.wire.codec import decode_record
from headgate.wire.plan import Capture, Comparison, RedactRule
from headgate.wire.record import ComparisonRecord
from router.core.join import Answer, Refused, join
from router.observer.keep import PAYLOAD_BYTES_MAX, Kept, is_kept, line_of, with_labels_redacted
from tests.router.observer.shadow_servers import copy_of, plan_for, v2_answer

KEY = b"k" * 32
REQUEST = b'{"inputs": [{"ssn": "123-45-6789", "age": 44}]}'


def kept(capture: Capture, shadow: Answer | Refused | None = None, **copied: Any) -> Kept:
    plan = plan_for(capture=capture).plan
    copy = copy_of(**({"body": REQUEST} | copied))
    answer = shadow or Answer(200, 0.0061, b"", v2_answer(7, [0.3, 0.7]))
    live = Answer(copy.status, copy.latency_s, copy.answer_head, copy.answer_body)
    outcome = join("/v2/models/m/infer", live, answer, plan.comparison, capture.body_bytes_max)
    version = plan.version("v2")
    assert version is not None
    return Kept(copy, plan, version, with_labels_redacted(outcome, plan, KEY), answer)


def record(capture: Capture, shadow: Answer | Refused | None = None, **copied: Any) -> ComparisonRecord:
    line = line_of(kept(capture, shadow, **copied), KEY)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return decode_record(line)


def test_a_record_says_who_answered_what_and_how_they_differ() -> None:
    said = record(Capture())
    assert (said.rollout, said.request_id, said.protocol, said.task) == (
        "ml/digits",
        "request-1",
        "v2",
        "classification",
    )
    assert (said.verdict, said.direction, said.paths, said.slices) == (
        "soft",
        "4->7",
        ("label",),
        {"class": "4"},
    )
    assert (said.live.version, said.live.status, said.live.latency_ms, said.live.confidence) == (
        "v1",
        200,
        4.0,
        0.9,
    )
    assert (said.shadow.version, said.shadow.latency_ms, said.shadow.confidence) == ("v2", 6.1, 0.7)
    assert said.measures["delta_p_max"] == pytest.approx(0.2)


def test_with_nothing_stored_only_labels_and_confidence_are() -> None:
    said = record(Capture(store="none"))
    assert said.request is None
    assert (said.live.prediction, said.shadow.prediction) == ("4", "7")


def test_full_stores_request_and_predictions() -> None:
    said = record(Capture(store="full"))
    assert said.request == json.loads(REQUEST)
    assert said.shadow.prediction["label"]["data"] == [7]


@pytest.mark.parametrize("store", ["redacted", "full"])
def test_rules_are_applied_before_anything_is_stored(store: Any) -> None:
    rules = (RedactRule("/inputs/*/ssn", "drop"), RedactRule("/scores", "drop"))
    said = record(Capture(store=store, redact=rules))
    assert said.request == {"inputs": [{"age": 44}]}
    assert said.live.prediction.keys() == {"label"}


def test_redacted_without_a_rule_masks_every_value() -> None:
    capture = Capture(store="redacted")
    line = line_of(kept(capture), KEY)
    assert b"123-45" not in line
    said = decode_record(line)
    assert said.request == {"inputs": [{"ssn": "***", "age": "***"}]}
    assert said.live.prediction["label"]["data"] == ["***"]


def test_a_request_that_is_no_json_is_left_out_and_said() -> None:
    said = record(Capture(store="full"), body=b"\x00binary")
    assert said.request is None
    assert "request not stored: not JSON" in said.why


def test_a_payload_that_is_too_long_is_left_out_and_said() -> None:
    body = json.dumps({"text": "x" * PAYLOAD_BYTES_MAX}).encode()
    said = record(Capture(store="full"), body=body)
    assert said.request is None
    assert "not stored" in said.why
    assert said.live.prediction is not None


def test_a_payload_that_cannot_be_redacted_is_not_stored() -> None:
    nested = b"[" * 300 + b"1" + b"]" * 300
    with pytest.raises(Unredactable):
        line_of(kept(Capture(store="redacted"), body=nested), KEY)


def test_a_path_is_cut_where_a_rule_begins() -> None:
    capture = Capture(redact=(RedactRule("/people", "hash"),))
    plan = plan_for(capture=capture, comparison=Comparison(task="json", protocol="json")).plan
    answer = Answer(200, 0.1, b"", b'{"people": {"ada@example.com": 2}}')
    live = Answer(200, 0.1, b"", b'{"people": {"ada@example.com": 1}}')
    outcome = join("/x", live, answer, plan.comparison, 1 << 20)
    assert outcome.compared is not None
    assert outcome.compared.paths == ("/people/ada@example.com",)
    version = plan.version("v2")
    assert version is not None
    line = line_of(Kept(copy_of(), plan, version, outcome, answer), KEY)
    assert b"ada@" not in line
    assert decode_record(line).paths == ("/people",)


def test_nan_in_a_prediction_is_null_in_a_record() -> None:
    scores = b'{"outputs": [{"name": "label", "datatype": "FP32", "shape": [1], "data": [NaN]}]}'
    said = record(Capture(store="full"), Answer(200, 0.1, b"", scores))
    assert said.shadow.prediction["label"]["data"] == [None]


@pytest.mark.parametrize(
    ("shadow", "verdict", "status"),
    [
        (Refused("timeout", "no whole answer within 1 s", 1.0), "shadow_failed", 0),
        (Answer(503, 0.1, b"", b""), "shadow_failed", 503),
        (Answer(200, 0.1, b"", b"<html>"), "undecodable", 200),
    ],
)
def test_a_pair_that_was_not_compared_says_why(shadow: Answer | Refused, verdict: str, status: int) -> None:
    said = record(Capture(), shadow)
    assert (said.verdict, said.shadow.status) == (verdict, status)
    assert said.why


def test_copies_that_were_dropped_get_no_record() -> None:
    assert not is_kept(kept(Capture(), Refused("queue_full", "full")).outcome, "r", Capture())


def test_all_disagreements_are_kept_and_a_sample_of_agreements_by_request_id() -> None:
    capture = Capture(keep_agreements=100_000)
    agreed = kept(capture, Answer(200, 0.1, b"", v2_answer(4))).outcome
    differed = kept(capture).outcome
    ids = [f"r{number}" for number in range(10_000)]
    chosen = [one for one in ids if is_kept(agreed, one, capture)]
    assert 900 < len(chosen) < 1100
    assert chosen == [one for one in ids if is_kept(agreed, one, capture)]
    assert all(is_kept(differed, one, capture) for one in ids)
    assert not any(is_kept(agreed, one, Capture(keep_agreements=0)) for one in ids)


def test_a_record_is_one_message_of_the_wire() -> None:
    line = line_of(kept(Capture(store="full")), KEY)
    assert msgspec.json.decode(line)["wire"] == 1
