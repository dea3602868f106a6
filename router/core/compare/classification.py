"""Classifiers: did the label change, how sure was either, and how far are the probabilities apart."""

import math
from collections.abc import Iterable

from headgate.wire.plan import Comparison
from router.core.compare.result import Compared, RowChange, finite
from router.core.compare.rows import NOTHING, Row, rows
from router.core.protocols import Prediction, Undecodable


def compare(live: Prediction, shadow: Prediction, policy: Comparison) -> Compared | Undecodable:
    """Row by row: same label, or a changed one, soft if either side is not surer than `policy.boundary`.

    The pair disagrees when any row does. Measures, of the worst row: `delta_p_max` (largest difference of one
    class's probability), `jensen_shannon` (bits, 0 … 1), `margin_live`, `margin_shadow` (of the least sure row);
    and `rows`, `rows_disagreeing` (share).
    """
    mine = rows(live, policy)
    if not mine:
        return Undecodable(
            "classification: the live answer has neither label nor scores; name them in `label`, `scores`"
        )
    theirs = rows(shadow, policy)
    if len(theirs) != len(mine):
        return _uneven(mine, theirs, policy)
    pairs = list(zip(mine, theirs, strict=True))
    changed = [(a, b) for a, b in pairs if a.label != b.label]
    firm = [pair for pair in changed if not is_soft(*pair, policy.boundary)]
    return Compared(
        verdict="disagree" if firm else "soft" if changed else "agree",
        measures=finite(_measures(pairs) | {"rows_disagreeing": len(changed) / len(pairs)}),
        paths=(policy.label or policy.scores or "label",) if changed else (),
        rows=tuple(RowChange.of(a.label, b.label) for a, b in pairs),
        live_confidence=_least(row.confidence for row in mine),
        shadow_confidence=_least(row.confidence for row in theirs),
    )


def is_soft(live: Row, shadow: Row, boundary: tuple[float, float]) -> bool:
    """Whether either side's confidence lies inside the boundary band, ends included, or below it.

    With two classes nothing lies below it; among many, a version that is less sure than the band contradicts nobody
    firmly.
    """
    return any(row.confidence is not None and row.confidence <= boundary[1] for row in (live, shadow))


def delta_p_max(a: dict[str, float], b: dict[str, float]) -> float:
    """The largest difference of one class's probability, 0 … 1; a class that one side lacks has 0 there."""
    return max((abs(p - q) for p, q in _side_by_side(a, b)), default=0.0)


def jensen_shannon(a: dict[str, float], b: dict[str, float]) -> float:
    """The Jensen–Shannon divergence in bits, 0 (same) … 1 (disjoint). Lin (1991), base 2."""
    total = 0.0
    for p, q in _side_by_side(a, b):
        middle = (p + q) / 2
        if p > 0 and middle > 0:
            total += p * math.log2(p / middle)
        if q > 0 and middle > 0:
            total += q * math.log2(q / middle)
    return min(1.0, max(0.0, total / 2))


def _side_by_side(a: dict[str, float], b: dict[str, float]) -> Iterable[tuple[float, float]]:
    """Both sides' probability of each class that either knows."""
    if a.keys() == b.keys():
        return [(p, b[name]) for name, p in a.items()]
    return [(a.get(name, 0.0), b.get(name, 0.0)) for name in sorted(a.keys() | b.keys())]


def _measures(pairs: list[tuple[Row, Row]]) -> dict[str, float | None]:
    scored = [(a.scores, b.scores) for a, b in pairs if a.scores is not None and b.scores is not None]
    return {
        "rows": float(len(pairs)),
        "margin_live": _least(live.margin for live, _ in pairs),
        "margin_shadow": _least(shadow.margin for _, shadow in pairs),
        "delta_p_max": max((delta_p_max(a, b) for a, b in scored), default=None),
        "jensen_shannon": max((jensen_shannon(a, b) for a, b in scored), default=None),
    }


def _uneven(mine: tuple[Row, ...], theirs: tuple[Row, ...], policy: Comparison) -> Compared:
    """Another number of rows (or none at all) is a firm disagreement on every row that has no counterpart."""
    labels = [row.label for row in theirs[: len(mine)]] + [NOTHING] * (len(mine) - len(theirs))
    changes = tuple(RowChange.of(row.label, label) for row, label in zip(mine, labels, strict=True))
    share = sum(change.disagrees for change in changes) / len(changes)
    return Compared(
        verdict="disagree",
        measures=finite({"rows": float(len(mine)), "rows_disagreeing": share}),
        paths=(policy.label or policy.scores or "label",),
        rows=changes,
        live_confidence=_least(row.confidence for row in mine),
    )


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)
