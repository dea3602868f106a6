"""The rows of a classifier's answer: label, confidence and probabilities, wherever its protocol puts them.

Where the comparison names neither labels nor scores, the usual names are tried. A rule looks only at names and
shapes, never at values, so that both sides of a pair are read the same way.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from headgate.pointer import find, segments
from headgate.wire.plan import Comparison
from router.core.compare.result import number
from router.core.protocols import Prediction

LABELS: Final = ("label", "labels", "class", "classes", "predict", "prediction", "output_label")
SCORES: Final = ("scores", "probabilities", "probability", "proba", "predict_proba", "output_probability")

NOTHING: Final = "(none)"
"""The label of a row that the other side has and this one has not."""

NOT_A_NUMBER: Final = "(nan)"
"""The label of a row whose scores hold a NaN and that has no label of its own."""


@dataclass(frozen=True, slots=True)
class Row:
    """One classified input. `scores` maps classes to probabilities that sum to 1; None if there are none."""

    label: str
    scores: dict[str, float] | None = None

    @property
    def confidence(self) -> float | None:
        """The largest probability."""
        return max(self.scores.values()) if self.scores else None

    @property
    def margin(self) -> float | None:
        """The largest probability less the second largest."""
        if not self.scores or len(self.scores) < 2:
            return None
        best, second = sorted(self.scores.values())[-1:-3:-1]
        return best - second


def rows(said: Prediction, policy: Comparison) -> tuple[Row, ...]:
    """The rows of a prediction; none where it holds neither labels nor scores as `policy` names them."""
    if said.protocol == "v2":
        labels, scores = _tensors(said.value, policy)
    else:
        labels, scores = _fields(said.value, policy)
    if labels is None and scores is None:
        return ()
    if labels is not None and not all(isinstance(value, str | int | float) for value in labels):
        return ()
    if labels is None:
        return tuple(_scored(row) for row in scores or ())
    if scores is None or len(scores) != len(labels):
        return tuple(Row(label_text(value)) for value in labels)
    return tuple(
        Row(label_text(value), probabilities(row)) for value, row in zip(labels, scores, strict=True)
    )


def label_text(value: str | float) -> str:
    """A label as text: 4, 4.0 and "4" are one label."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return NOT_A_NUMBER
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)


def probabilities(row: Any) -> dict[str, float] | None:
    """One row of scores by class, as probabilities; None if it holds no numbers or a NaN.

    One number is the probability of class 1 of two. Several within [0, 1] are divided by their sum (a sum of 1
    stays as it is); others are taken for logits: softmax.
    """
    if isinstance(row, dict):
        names, raw = tuple(row), list(row.values())
    else:
        raw = row if isinstance(row, list) else [row]
        names = _indices(len(raw))
    values = [value for value in map(number, raw) if value is not None]
    if not values or len(values) != len(names) or not all(map(math.isfinite, values)):
        return None
    if len(values) == 1:
        return _binary(values[0])
    total = sum(values)
    if min(values) < 0 or max(values) > 1 or total <= 0:
        return _softmax(names, values)
    if abs(total - 1) >= 1e-6:
        values = [value / total for value in values]
    return dict(zip(names, values, strict=True))


@lru_cache(maxsize=64)
def _indices(count: int) -> tuple[str, ...]:
    """The names of classes that have none."""
    return tuple(map(str, range(count)))


def _binary(value: float) -> dict[str, float]:
    p = value if 0 <= value <= 1 else 1 / (1 + math.exp(-max(-700.0, min(700.0, value))))
    return {"0": 1 - p, "1": p}


def _softmax(names: tuple[str, ...], values: list[float]) -> dict[str, float]:
    top = max(values)
    weights = [math.exp(max(-700.0, value - top)) for value in values]
    total = sum(weights)
    return {name: weight / total for name, weight in zip(names, weights, strict=True)}


def _scored(row: Any) -> Row:
    """A row that has scores and no label of its own: the class with the largest one."""
    scores = probabilities(row)
    if scores is None:
        return Row(NOT_A_NUMBER)
    return Row(label_text(max(scores, key=scores.__getitem__)), scores)


def _tensors(tensors: dict[str, Any], policy: Comparison) -> tuple[list[Any] | None, list[Any] | None]:
    if policy.label or policy.scores:
        label, scores = _named(tensors, policy.label), _named(tensors, policy.scores)
    else:
        label, scores = _first(tensors, LABELS), _first(tensors, SCORES)
        if label is None and scores is None and len(tensors) == 1:
            only = next(iter(tensors.values()))
            label, scores = (None, only) if _width(only) > 1 else (only, None)
    labels = label["data"] if label is not None else None
    return labels, _score_rows(scores, len(labels) if labels is not None else None)


def _named(tensors: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The tensor of that name, or the one that holds what a pointer names."""
    path = segments(name)
    tensor = tensors.get(path[0]) if path else None
    return tensor if isinstance(tensor, dict) else None


def _first(said: dict[str, Any], names: Iterable[str]) -> Any:
    return next((said[name] for name in names if name in said), None)


def _width(tensor: dict[str, Any]) -> int:
    """How many scores one row has: what follows the first dimension; a single dimension is one row."""
    shape: list[int] = tensor["shape"]
    return math.prod(shape[1:]) if len(shape) > 1 else math.prod(shape)


def _score_rows(tensor: dict[str, Any] | None, count: int | None) -> list[Any] | None:
    if tensor is None:
        return None
    data, shape = tensor["data"], tensor["shape"]
    one_each = len(shape) == 1 and count is not None and count > 1 and count == len(data)
    width = 1 if one_each else _width(tensor)
    return [data[at : at + width] for at in range(0, len(data), width)] if width else []


def _fields(value: Any, policy: Comparison) -> tuple[list[Any] | None, list[Any] | None]:
    if policy.label or policy.scores:
        return _as_labels(_find(value, policy.label)), _as_scores(_find(value, policy.scores))
    said = value["predictions"] if isinstance(value, dict) and "predictions" in value else value
    if isinstance(said, dict):
        return _as_labels(_first(said, LABELS)), _as_scores(_first(said, SCORES))
    return _guessed(said if isinstance(said, list) else [said])


def _guessed(said: list[Any]) -> tuple[list[Any] | None, list[Any] | None]:
    """Rows without names: objects with the usual names, lists of scores, or plain labels."""
    if said and all(isinstance(row, dict) for row in said):
        labels = [_first(row, LABELS) for row in said]
        scores = [_first(row, SCORES) for row in said]
        return (
            labels if any(label is not None for label in labels) else None,
            scores if any(row is not None for row in scores) else None,
        )
    if said and all(isinstance(row, list) for row in said):
        return None, said
    plain = said and all(isinstance(row, str | int | float) for row in said)
    return (said if plain else None), None


def _find(value: Any, pointer: str) -> Any:
    try:
        return find(value, segments(pointer)) if pointer else None
    except KeyError:
        return None


def _as_labels(value: Any) -> list[Any] | None:
    if value is None or isinstance(value, dict):
        return None
    return value if isinstance(value, list) else [value]


def _as_scores(value: Any) -> list[Any] | None:
    """A list of rows: a flat list of numbers, or one object of classes, is a single row."""
    if value is None:
        return None
    if isinstance(value, list) and value and all(isinstance(row, list | dict) for row in value):
        return value
    return [value]
