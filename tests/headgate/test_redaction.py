"""The one redaction function: what leaves it must not hold what a rule took away."""

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.redaction import DEPTH_MAX, Unredactable, label, redact
from headgate.wire.plan import RedactRule

KEY = b"k" * 32

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def rule(path: str, how: str) -> RedactRule:
    return RedactRule(path, how)


def test_drop_takes_the_field_away_and_keeps_the_rest() -> None:
    assert redact({"ssn": "1", "age": 4}, [rule("/ssn", "drop")], KEY) == {"age": 4}


def test_drop_leaves_null_in_a_list_so_that_places_stay() -> None:
    assert redact([1, 2, 3], [rule("/1", "drop")], KEY) == [1, None, 3]


def test_drop_of_the_whole_is_none() -> None:
    assert redact({"a": 1}, [rule("", "drop"), rule("/a", "mask")], KEY) is None


def test_a_star_reaches_every_element() -> None:
    document = {"instances": [{"ssn": "1", "x": 1}, {"ssn": "2", "x": 2}]}
    assert redact(document, [rule("/instances/*/ssn", "drop")], KEY) == {"instances": [{"x": 1}, {"x": 2}]}


def test_mask_hides_every_leaf_and_keeps_names_and_nulls() -> None:
    masked = redact({"user": {"name": "Ada", "tags": ["x", 1, True, None]}}, [rule("/user", "mask")], KEY)
    assert masked == {"user": {"name": "***", "tags": ["***", "***", "***", None]}}


def test_equal_values_have_equal_hashes_under_one_key_and_other_hashes_under_another() -> None:
    rules = [rule("/*", "hash")]
    first = redact({"a": "ada@example.com", "b": "ada@example.com", "c": "other"}, rules, KEY)
    assert first["a"] == first["b"] != first["c"]
    assert first["a"].startswith("blake2b:")
    assert len(first["a"]) == len("blake2b:") + 32
    assert redact({"a": "ada@example.com"}, rules, b"z" * 32)["a"] != first["a"]


def test_a_hash_does_not_depend_on_the_order_of_fields() -> None:
    rules = [rule("", "hash")]
    assert redact({"a": 1, "b": 2}, rules, KEY) == redact({"b": 2, "a": 1}, rules, KEY)


@pytest.mark.parametrize(
    ("value", "bucket"),
    [
        (0, "0"),
        (7, "[1,10)"),
        (37.5, "[10,100)"),
        (-37, "-[10,100)"),
        (0.5, "[0.1,1)"),
        (0.05, "[1e-2,1e-1)"),
        (1_234_567, "[1e6,1e7)"),
        (10**400, "[1e+300,inf)"),
        (math.inf, "[1e+300,inf)"),
        (math.nan, "nan"),
        ("", "text[0,1)"),
        ("a", "text[1,2)"),
        ("abcdefghij", "text[8,16)"),
        (True, "***"),
        (None, None),
    ],
)
def test_bucket_keeps_only_the_size(value: Any, bucket: Any) -> None:
    assert redact({"v": value}, [rule("/v", "bucket")], KEY) == {"v": bucket}


def test_a_rule_for_a_field_that_is_not_there_changes_nothing() -> None:
    assert redact({"a": [1]}, [rule("/b", "drop"), rule("/a/7", "mask"), rule("/a/0/x", "drop")], KEY) == {
        "a": [1]
    }


def test_rules_act_one_after_the_other() -> None:
    rules = [rule("/a", "mask"), rule("/a/x", "drop")]
    assert redact({"a": {"x": 1, "y": 2}}, rules, KEY) == {"a": {"y": "***"}}


def test_what_is_passed_in_is_not_changed() -> None:
    document = {"a": {"b": [1, 2]}}
    redact(document, [rule("/a/b/*", "mask"), rule("/a", "drop")], KEY)
    assert document == {"a": {"b": [1, 2]}}


@pytest.mark.parametrize("how", ["mask", "bucket", "hash"])
def test_a_document_nested_too_deeply_is_refused_and_not_stored(how: str) -> None:
    document: Any = "secret"
    for _ in range(DEPTH_MAX * 20):
        document = [document]
    with pytest.raises(Unredactable) as refusal:
        redact(document, [rule("", how)], KEY)
    assert "secret" not in str(refusal.value)


def test_text_that_is_no_unicode_cannot_be_hashed() -> None:
    with pytest.raises(Unredactable):
        redact("\ud800", [rule("", "hash")], KEY)


def test_a_label_is_redacted_where_a_rule_covers_its_field() -> None:
    assert label("fraud", "/predictions/0", [rule("/predictions", "mask")], KEY) == "***"
    assert label("fraud", "label", [rule("/label", "drop")], KEY) == "***"
    assert label("fraud", "label", [rule("/other", "drop"), rule("/label/data/0", "mask")], KEY) == "fraud"


@given(document=JSON, how=st.sampled_from(["drop", "hash", "mask", "bucket"]))
def test_no_redacted_text_survives_anywhere(document: Any, how: str) -> None:
    secret = "s3cr3t-value"
    whole = {"keep": 1, "private": {"deep": [secret, {"x": secret}], "more": document}}
    after = redact(whole, [rule("/private", how)], KEY)
    assert after["keep"] == 1
    assert secret not in json.dumps(after)


@given(
    document=JSON,
    path=st.text(alphabet="/*0ab~1", max_size=8),
    how=st.sampled_from(["drop", "hash", "mask", "bucket"]),
)
def test_any_document_and_any_pointer_give_a_document_or_a_refusal(
    document: Any, path: str, how: str
) -> None:
    with suppress(Unredactable):
        redact(document, [rule(path, how)], KEY)
