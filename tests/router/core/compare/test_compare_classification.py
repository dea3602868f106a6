"""Classifiers, with numbers worked out by hand."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.wire.plan import Comparison
from router.core.compare import Compared, compare
from router.core.compare.classification import delta_p_max, jensen_shannon
from router.core.compare.rows import probabilities, rows
from router.core.protocols import Prediction, Undecodable

POLICY = Comparison(task="classification", label="label", scores="scores")


def tensor(data: list[Any], shape: list[int] | None = None, datatype: str = "FP64") -> dict[str, Any]:
    return {"datatype": datatype, "shape": shape or [len(data)], "data": data}


def v2(label: list[Any] | None = None, scores: list[list[float]] | None = None) -> Prediction:
    tensors = {}
    if label is not None:
        tensors["label"] = tensor(label, datatype="INT64")
    if scores is not None:
        flat = [value for row in scores for value in row]
        tensors["scores"] = tensor(flat, [len(scores), len(scores[0])])
    return Prediction("v2", tensors)


def plain(value: Any) -> Prediction:
    return Prediction("json", value)


def compared(live: Prediction, shadow: Prediction, policy: Comparison = POLICY) -> Compared:
    found = compare(live, shadow, policy)
    assert isinstance(found, Compared)
    return found


def test_the_same_label_agrees_however_far_the_scores_are_apart() -> None:
    found = compared(v2([1], [[0.1, 0.9]]), v2([1], [[0.4, 0.6]]))
    assert found.verdict == "agree"
    assert found.measures["delta_p_max"] == pytest.approx(0.3)
    assert found.measures["margin_live"] == pytest.approx(0.8)
    assert found.measures["margin_shadow"] == pytest.approx(0.2)
    assert found.measures["rows_disagreeing"] == 0
    assert (found.live_confidence, found.shadow_confidence) == (0.9, 0.6)
    assert found.paths == ()


def test_a_changed_label_of_two_sure_versions_is_a_firm_disagreement_with_its_direction() -> None:
    found = compared(v2([1], [[0.1, 0.9]]), v2([0], [[0.9, 0.1]]))
    assert found.verdict == "disagree"
    assert [row.direction for row in found.rows] == ["1->0"]
    assert found.paths == ("label",)


@pytest.mark.parametrize(
    ("live", "shadow", "verdict"),
    [
        (0.9, 0.60, "soft"),
        (0.60, 0.9, "soft"),
        (0.51, 0.9, "soft"),
        (0.71, 0.9, "soft"),
        (0.72, 0.9, "disagree"),
        (0.505, 0.9, "soft"),
    ],
)
def test_a_changed_label_is_soft_if_either_side_is_inside_the_boundary_band(
    live: float, shadow: float, verdict: str
) -> None:
    found = compared(v2([1], [[1 - live, live]]), v2([0], [[shadow, 1 - shadow]]))
    assert found.verdict == verdict


def test_among_many_classes_two_versions_that_are_unsure_do_not_contradict_firmly() -> None:
    live, shadow = [0.46, 0.45, 0.09], [0.33, 0.35, 0.32]
    assert compared(v2([0], [live]), v2([1], [shadow])).verdict == "soft"


def test_a_changed_label_without_confidence_is_firm() -> None:
    assert compared(v2([1]), v2([2])).verdict == "disagree"


def test_without_a_label_the_largest_score_says_it() -> None:
    policy = Comparison(task="classification", scores="scores")
    found = compared(v2(scores=[[0.1, 0.2, 0.7]]), v2(scores=[[0.1, 0.8, 0.1]]), policy)
    assert [row.direction for row in found.rows] == ["2->1"]


def test_jensen_shannon_is_what_the_definition_gives() -> None:
    # P = (1/2, 1/2), Q = (1, 0): M = (3/4, 1/4); JS = (log2(2/3)/2 + log2(2)/2 + log2(4/3)) / 2
    expected = (0.5 * math.log2(2 / 3) + 0.5 * math.log2(2) + math.log2(4 / 3)) / 2
    assert jensen_shannon({"0": 0.5, "1": 0.5}, {"0": 1.0, "1": 0.0}) == pytest.approx(expected)
    assert jensen_shannon({"0": 1.0}, {"1": 1.0}) == 1.0
    assert jensen_shannon({"0": 0.3, "1": 0.7}, {"0": 0.3, "1": 0.7}) == 0.0


def test_a_class_that_one_side_lacks_has_no_probability_there() -> None:
    assert delta_p_max({"a": 0.6, "b": 0.4}, {"a": 1.0}) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0.2, 0.8], {"0": 0.2, "1": 0.8}),
        ([0.5, 0.5, 1.0], {"0": 0.25, "1": 0.25, "2": 0.5}),
        ([0.0, math.log(3)], {"0": 0.25, "1": 0.75}),
        ([-1000.0, 1000.0], {"0": 0.0, "1": 1.0}),
        ([0.7], {"0": 0.3, "1": 0.7}),
        ([0.0], {"0": 1.0, "1": 0.0}),
        (0.7, {"0": 0.3, "1": 0.7}),
        ({"cat": 0.9, "dog": 0.1}, {"cat": 0.9, "dog": 0.1}),
        ([0.0, 0.0], {"0": 0.5, "1": 0.5}),
    ],
)
def test_scores_become_probabilities(row: Any, expected: dict[str, float]) -> None:
    assert probabilities(row) == pytest.approx(expected)


@pytest.mark.parametrize("row", [[math.nan, 0.5], [math.inf, 0.5], ["a"], [], None, [True, False], [10**400]])
def test_what_is_no_row_of_finite_numbers_has_no_probabilities(row: Any) -> None:
    assert probabilities(row) is None


def test_a_batch_disagrees_if_any_row_does_and_says_how_many() -> None:
    sure = [0.05, 0.95]
    found = compared(v2([1, 1, 1, 1], [sure] * 4), v2([1, 1, 0, 1], [sure, sure, [0.95, 0.05], sure]))
    assert found.verdict == "disagree"
    assert found.measures["rows"] == 4
    assert found.measures["rows_disagreeing"] == 0.25
    assert [row.disagrees for row in found.rows] == [False, False, True, False]


def test_a_batch_is_soft_only_if_all_its_changed_rows_are() -> None:
    live = v2([1, 1], [[0.4, 0.6], [0.1, 0.9]])
    assert compared(live, v2([0, 1], [[0.9, 0.1], [0.1, 0.9]])).verdict == "soft"
    assert compared(live, v2([0, 0], [[0.9, 0.1], [0.9, 0.1]])).verdict == "disagree"


def test_another_number_of_rows_is_a_firm_disagreement() -> None:
    found = compared(v2([1, 2, 3]), v2([1, 2]))
    assert found.verdict == "disagree"
    assert [row.direction for row in found.rows if row.disagrees] == ["3->(none)"]


def test_a_shadow_without_the_label_disagrees_because_users_would_miss_it() -> None:
    found = compared(v2([1]), Prediction("v2", {"other": tensor([1.0])}))
    assert found.verdict == "disagree"
    assert [row.direction for row in found.rows] == ["1->(none)"]


def test_a_live_answer_without_a_label_is_undecodable_and_says_what_to_name() -> None:
    found = compare(Prediction("v2", {"other": tensor([1.0])}), v2([1]), POLICY)
    assert isinstance(found, Undecodable)
    assert "name them in `label`, `scores`" in found.why


@pytest.mark.parametrize("label", [{"a": 1}, [{"a": 1}], [None], [[1]], None])
def test_labels_that_are_no_plain_values_are_never_called_equal(label: Any) -> None:
    policy = Comparison(task="classification", label="/label")
    assert isinstance(compare(plain({"label": label}), plain({"label": label}), policy), Undecodable)
    assert compared(plain({"label": "a"}), plain({"label": label}), policy).verdict == "disagree"


def test_long_labels_are_compared_whole_though_shown_cut() -> None:
    policy = Comparison(task="classification", label="/label")
    found = compared(plain({"label": "x" * 500 + "a"}), plain({"label": "x" * 500 + "b"}), policy)
    assert found.verdict == "disagree"
    assert len(found.rows[0].live) == 64


@pytest.mark.parametrize(("a", "b"), [(4, 4.0), (4, "4"), (True, "true"), (10**30, 10**30), (-0.0, 0)])
def test_a_label_is_the_same_whatever_its_type(a: Any, b: Any) -> None:
    policy = Comparison(task="classification", label="/label")
    assert compared(plain({"label": a}), plain({"label": b}), policy).verdict == "agree"


def test_nan_scores_disagree_with_numbers_and_break_nothing() -> None:
    policy = Comparison(task="classification", scores="scores")
    found = compared(v2(scores=[[0.1, 0.9]]), v2(scores=[[math.nan, 0.9]]), policy)
    assert found.verdict == "disagree"
    assert [row.direction for row in found.rows] == ["1->(nan)"]
    assert all(map(math.isfinite, found.measures.values()))


@pytest.mark.parametrize(
    ("said", "labels"),
    [
        (Prediction("v1", {"predictions": [3, 4]}), ["3", "4"]),
        (Prediction("v1", {"predictions": [[0.1, 0.9], [0.8, 0.2]]}), ["1", "0"]),
        (Prediction("v1", {"predictions": [{"label": "a", "scores": [0.5, 0.5]}]}), ["a"]),
        (Prediction("v1", {"predictions": [{"probabilities": {"cat": 0.9, "dog": 0.1}}]}), ["cat"]),
        (plain({"label": "fraud", "probability": 0.9}), ["fraud"]),
        (plain("fraud"), ["fraud"]),
        (plain({"scores": {"a": 0.2, "b": 0.8}}), ["b"]),
        (Prediction("v2", {"predict": tensor([7], datatype="INT64")}), ["7"]),
        (Prediction("v2", {"y": tensor([0.1, 0.9], [1, 2])}), ["1"]),
        (Prediction("v2", {"output_label": tensor(["a"], datatype="BYTES")}), ["a"]),
        (plain({"other": 1}), []),
        (plain(None), []),
        (plain({"label": None}), []),
        (Prediction("v1", {"predictions": []}), []),
    ],
)
def test_labels_are_found_by_their_usual_names_where_none_is_given(
    said: Prediction, labels: list[str]
) -> None:
    assert [row.label for row in rows(said, Comparison(task="classification"))] == labels


def test_pointers_with_a_star_give_a_row_for_every_element() -> None:
    said = plain({"rows": [{"y": "a", "p": [0.9, 0.1]}, {"y": "b", "p": [0.2, 0.8]}]})
    policy = Comparison(task="classification", label="/rows/*/y", scores="/rows/*/p")
    assert [(row.label, row.confidence) for row in rows(said, policy)] == [("a", 0.9), ("b", 0.8)]


def test_one_score_a_row_is_the_probability_of_class_one() -> None:
    tensors = {"label": tensor([1, 0], datatype="INT64"), "scores": tensor([0.9, 0.2])}
    assert [row.confidence for row in rows(Prediction("v2", tensors), POLICY)] == [0.9, 0.8]


SCORES = st.lists(st.floats(min_value=0, max_value=1), min_size=2, max_size=5)
PREDICTIONS = st.builds(lambda label, row: v2([label], [row]), st.integers(0, 3), SCORES)


@given(live=PREDICTIONS, shadow=PREDICTIONS)
def test_the_verdict_and_the_distances_are_symmetric(live: Prediction, shadow: Prediction) -> None:
    there, back = compared(live, shadow), compared(shadow, live)
    assert there.verdict == back.verdict
    assert there.measures["jensen_shannon"] == pytest.approx(back.measures["jensen_shannon"], abs=1e-12)
    assert there.measures["delta_p_max"] == pytest.approx(back.measures["delta_p_max"])
    assert 0 <= there.measures["jensen_shannon"] <= 1


@given(live=PREDICTIONS)
def test_a_version_agrees_with_itself(live: Prediction) -> None:
    found = compared(live, live)
    assert found.verdict == "agree"
    assert found.measures["jensen_shannon"] == 0
