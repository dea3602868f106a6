"""Regression and any JSON, with numbers worked out by hand; and that no pair of documents ever raises."""

import math
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from headgate.wire.plan import Comparison
from router.core.compare import Compared, compare
from router.core.compare.jsondiff import VALUES_MAX
from router.core.compare.regression import relative_delta
from router.core.compare.result import close
from router.core.protocols import Prediction, Undecodable

REGRESSION = Comparison(task="regression", relative_delta_max=0.05)
ANY = Comparison(task="json")


def plain(value: Any) -> Prediction:
    return Prediction("json", value)


def compared(live: Any, shadow: Any, policy: Comparison) -> Compared:
    found = compare(plain(live), plain(shadow), policy)
    assert isinstance(found, Compared)
    return found


@pytest.mark.parametrize(
    ("live", "shadow", "relative", "verdict"),
    [
        (100.0, 104.0, 0.04, "agree"),
        (100.0, 105.0, 0.05, "agree"),
        (100.0, 106.0, 0.06, "disagree"),
        (-100.0, -94.0, 0.06, "disagree"),
        (1.0, -1.0, 2.0, "disagree"),
        (0.0, 1e-9, 0.0, "agree"),
        (1e-9, -1e-9, 0.0, "agree"),
    ],
)
def test_a_number_disagrees_when_it_is_relatively_further_off_than_allowed(
    live: float, shadow: float, relative: float, verdict: str
) -> None:
    found = compared({"prediction": live}, {"prediction": shadow}, REGRESSION)
    assert found.verdict == verdict
    assert found.measures["relative_delta"] == pytest.approx(relative)
    assert found.measures["delta"] == pytest.approx(shadow - live)


def test_a_sign_flip_is_measured() -> None:
    assert compared([1.0, 2.0], [-1.0, 2.0], REGRESSION).measures["sign_flip"] == 0.5
    assert compared([0.0], [-1.0], REGRESSION).measures["sign_flip"] == 0


@pytest.mark.parametrize(
    ("live", "shadow", "expected"),
    [
        (math.nan, math.nan, 0.0),
        (math.inf, math.inf, 0.0),
        (math.nan, 1.0, math.inf),
        (1.0, math.inf, math.inf),
        (math.inf, -math.inf, math.inf),
        (0.0, 1.0, math.inf),
        (1e308, -1e308, math.inf),
        (5e-324, 1.0, math.inf),
    ],
)
def test_what_cannot_be_divided_is_the_same_or_infinitely_far(
    live: float, shadow: float, expected: float
) -> None:
    assert relative_delta(live, shadow, 1e-8) == expected


def test_an_infinite_measure_is_left_out_because_json_cannot_say_it() -> None:
    found = compared(0.0, 1.0, REGRESSION)
    assert found.verdict == "disagree"
    assert "relative_delta" not in found.measures
    assert found.measures["delta"] == 1.0


def test_rows_are_compared_one_by_one_and_named() -> None:
    found = compared({"predictions": [1.0, 2.0, 3.0, 4.0]}, {"predictions": [1.0, 3.0, 3.0, 8.0]}, REGRESSION)
    assert found.verdict == "disagree"
    assert found.paths == ("/predictions/1", "/predictions/3")
    assert found.measures["rows_disagreeing"] == 0.5
    assert found.measures["delta"] == 4.0  # of the worst row: 4 -> 8 is 100 %


def test_a_v2_tensor_is_found_by_name_or_as_the_first_that_holds_numbers() -> None:
    def said(value: float) -> Prediction:
        texts = {"datatype": "BYTES", "shape": [1], "data": ["x"]}
        return Prediction("v2", {"t": texts, "price": {"datatype": "FP32", "shape": [1], "data": [value]}})

    for policy in (REGRESSION, Comparison(task="regression", label="price")):
        found = compare(said(1.0), said(2.0), policy)
        assert isinstance(found, Compared)
        assert found.paths == ("/price",)


@pytest.mark.parametrize("shadow", [{"predictions": [1.0]}, {"other": 1}, {"predictions": ["1", 2]}, None])
def test_a_shadow_without_as_many_numbers_disagrees(shadow: Any) -> None:
    assert compared({"predictions": [1.0, 2.0]}, shadow, REGRESSION).verdict == "disagree"


@pytest.mark.parametrize(
    "live", [{}, {"prediction": "1"}, {"prediction": True}, [], None, {"prediction": [1, [2]]}]
)
def test_a_live_answer_without_numbers_is_undecodable(live: Any) -> None:
    assert isinstance(compare(plain(live), plain({"prediction": 1}), REGRESSION), Undecodable)


@pytest.mark.parametrize(
    ("live", "shadow", "paths"),
    [
        ({"a": 1}, {"a": 1.000001}, []),
        ({"a": 1}, {"a": 1.0001}, ["/a"]),
        ({"a": 1}, {}, ["/a"]),
        ({}, {"a": None}, ["/a"]),
        ({"a": None}, {"a": 0}, ["/a"]),
        ({"a": True}, {"a": 1}, ["/a"]),
        ({"a": 1}, {"a": "1"}, ["/a"]),
        ({"a": 0}, {"a": 1e-9}, []),
        ({"a": {"b": [1, 2, {"c": "x"}]}}, {"a": {"b": [1, 3, {"c": "y"}]}}, ["/a/b/1", "/a/b/2/c"]),
        ([1, 2, 3], [1], ["/1"]),
        ([1], [1, 2, 3], ["/1"]),
        ({"a/b": 1}, {"a/b": 2}, ["/a~1b"]),
        ({"a": [1]}, {"a": {"0": 1}}, ["/a"]),
        ("x", "y", [""]),
        ({"a": math.nan}, {"a": math.nan}, []),
        ({"a": math.nan}, {"a": 1.0}, ["/a"]),
        ({"a": math.inf}, {"a": 1e308}, ["/a"]),
        ({"a": 10**400}, {"a": 1}, ["/a"]),
    ],
)
def test_the_paths_that_differ_are_named_in_document_order(live: Any, shadow: Any, paths: list[str]) -> None:
    found = compared(live, shadow, ANY)
    assert list(found.paths) == paths
    assert found.verdict == ("disagree" if paths else "agree")


@pytest.mark.parametrize(
    ("ignore", "paths"),
    [
        (("/ts",), ["/rows/0/t", "/rows/1/t"]),
        (("/ts", "/rows/*/t"), []),
        (("/ts", "/rows"), []),
        (("/ts", "/rows/0"), ["/rows/1/t"]),
        (("",), []),
        (("/t",), ["/ts", "/rows/0/t", "/rows/1/t"]),
    ],
)
def test_ignored_paths_and_what_is_below_them_are_no_difference(
    ignore: tuple[str, ...], paths: list[str]
) -> None:
    live = {"ts": 1, "rows": [{"t": 1, "x": 1}, {"t": 1, "x": 1}]}
    shadow = {"ts": 2, "rows": [{"t": 2, "x": 1}, {"t": 2, "x": 1}]}
    assert list(compared(live, shadow, Comparison(ignore=ignore)).paths) == paths


def test_all_differing_paths_are_counted_and_only_some_named() -> None:
    found = compared([0] * 1000, [1] * 1000, ANY)
    assert found.measures["paths_differing"] == 1000
    assert len(found.paths) == 64
    assert found.measures["delta_max"] == 1.0


def test_a_document_deeper_than_the_interpreter_allows_is_compared() -> None:
    def nested(value: Any) -> Any:
        for _ in range(5000):
            value = [value]
        return value

    assert compared(nested(1), nested(2), ANY).verdict == "disagree"
    assert compared(nested(1), nested(1), ANY).verdict == "agree"


def test_more_values_than_the_bound_are_not_compared_and_not_called_equal() -> None:
    live, shadow = [0.0] * (VALUES_MAX + 1), [1e-12] * (VALUES_MAX + 1)
    assert isinstance(compare(plain(live), plain(shadow), ANY), Undecodable)
    assert compared(live[:-2], shadow[:-2], ANY).verdict == "agree"


def test_tolerance_is_that_of_pep_485() -> None:
    assert close(1000.0, 1000.009, 1e-5, 0) is True
    assert close(1000.0, 1000.02, 1e-5, 0) is False
    assert close(0.0, 1e-9, 0, 1e-8) is True


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["label", "scores", "predictions", "value", "a"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)
POLICIES = st.builds(
    Comparison,
    task=st.sampled_from(["classification", "regression", "json"]),
    label=st.sampled_from(["", "label", "/predictions/*/label", "/predictions"]),
    scores=st.sampled_from(["", "scores", "/predictions/*/scores"]),
    ignore=st.lists(st.sampled_from(["/a", "/*", "/predictions/0"]), max_size=2).map(tuple),
)


@given(live=JSON, shadow=JSON, policy=POLICIES, protocol=st.sampled_from(["json", "v1"]))
def test_any_two_documents_are_compared_or_undecodable(
    live: Any, shadow: Any, policy: Comparison, protocol: Any
) -> None:
    found = compare(Prediction(protocol, live), Prediction(protocol, shadow), policy)
    event(f"{policy.task}: {type(found).__name__ if isinstance(found, Undecodable) else found.verdict}")
    if isinstance(found, Compared):
        assert all(map(math.isfinite, found.measures.values()))
        assert len(found.paths) <= 64


@given(live=JSON, shadow=JSON)
def test_the_json_comparison_is_symmetric(live: Any, shadow: Any) -> None:
    there, back = compared(live, shadow, ANY), compared(shadow, live, ANY)
    assert there.verdict == back.verdict
    assert sorted(there.paths) == sorted(back.paths) or len(there.paths) == 64


@given(value=JSON)
def test_every_document_agrees_with_itself(value: Any) -> None:
    assert compared(value, value, ANY).verdict == "agree"
