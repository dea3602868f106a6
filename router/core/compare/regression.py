"""Numbers: how far the shadow's are from the live version's."""

import math
from typing import Any, NamedTuple

from headgate.pointer import find, segments, text
from headgate.wire.plan import Comparison
from router.core.compare.result import PATHS_MAX, Compared, close, finite, number
from router.core.protocols import Prediction, Undecodable

NAMES = ("prediction", "predictions", "value", "output", "score")
"""Where plain JSON is looked into when the comparison names no field."""


class _Values(NamedTuple):
    where: str
    values: list[float]


def compare(live: Prediction, shadow: Prediction, policy: Comparison) -> Compared | Undecodable:
    """Row by row: Δ = shadow − live, relative Δ = |Δ| / |live| (infinite where live is 0 and Δ beyond tolerance).

    The pair disagrees when any row's relative Δ is above `relative_delta_max` and Δ beyond `absolute_tolerance`.
    Measures, of the worst row: `delta`, `relative_delta`; and `sign_flip` (share of rows), `rows`,
    `rows_disagreeing` (share).
    """
    mine = _values(live, policy)
    if mine is None:
        return Undecodable(
            "regression: the live answer has no number where one is looked for; name it in `label`"
        )
    theirs = _values(shadow, policy)
    if theirs is None or len(theirs.values) != len(mine.values):
        return Compared("disagree", {"rows": float(len(mine.values)), "rows_disagreeing": 1.0}, (mine.where,))
    return _by_row(mine, theirs.values, policy)


def relative_delta(live: float, shadow: float, absolute: float) -> float:
    """|shadow − live| / |live|; 0 where both are the same within `absolute`, infinite where only one is a number."""
    if close(live, shadow, 0.0, absolute):
        return 0.0
    if live == 0 or not (math.isfinite(live) and math.isfinite(shadow)):
        return math.inf
    return abs((shadow - live) / live)


def _by_row(mine: _Values, theirs: list[float], policy: Comparison) -> Compared:
    relative = [
        relative_delta(a, b, policy.absolute_tolerance) for a, b in zip(mine.values, theirs, strict=True)
    ]
    rows = len(relative)
    beyond = [index for index, value in enumerate(relative) if value > policy.relative_delta_max]
    worst = max(range(rows), key=relative.__getitem__)
    flips = sum(_flipped(a, b) for a, b in zip(mine.values, theirs, strict=True))
    measures = finite(
        {
            "delta": theirs[worst] - mine.values[worst],
            "relative_delta": relative[worst],
            "sign_flip": flips / rows,
            "rows": float(rows),
            "rows_disagreeing": len(beyond) / rows,
        }
    )
    paths = tuple(f"{mine.where}/{index}" if rows > 1 else mine.where for index in beyond[:PATHS_MAX])
    return Compared("disagree" if beyond else "agree", measures, paths)


def _flipped(live: float, shadow: float) -> bool:
    return (live < 0 < shadow) or (shadow < 0 < live)


def _values(said: Prediction, policy: Comparison) -> _Values | None:
    """The numbers to compare, and where they are; None where there are none."""
    if policy.label:
        return _at(said, policy.label)
    if said.protocol == "v2":
        return _first_tensor(said.value)
    if not isinstance(said.value, dict):
        return _numbers("", said.value)
    for name in NAMES:
        if name in said.value:
            return _numbers("/" + name, said.value[name])
    return None


def _at(said: Prediction, name: str) -> _Values | None:
    path = segments(name)
    try:
        value = find(said.value, path)
    except KeyError:
        return None
    if said.protocol == "v2" and isinstance(value, dict):
        return _numbers(text(path), value.get("data"))
    return _numbers(text(path), value)


def _first_tensor(tensors: dict[str, Any]) -> _Values | None:
    for name, tensor in tensors.items():
        found = _numbers(text((name,)), tensor["data"])
        if found is not None:
            return found
    return None


def _numbers(where: str, value: Any) -> _Values | None:
    """A number, or a list (of lists) of nothing but numbers, as a flat list."""
    while isinstance(value, list) and any(isinstance(inner, list) for inner in value):
        if not all(isinstance(inner, list) for inner in value):
            return None
        value = [leaf for inner in value for leaf in inner]
    found = [number(leaf) for leaf in (value if isinstance(value, list) else [value])]
    numbers = [leaf for leaf in found if leaf is not None]
    return _Values(where, numbers) if numbers and len(numbers) == len(found) else None
