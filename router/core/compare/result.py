"""What a comparison found, whatever the task."""

import math
from dataclasses import dataclass, field
from typing import Literal

PATHS_MAX = 64
"""How many differing paths are named; the others are only counted."""

LABEL_CHARS_MAX = 64
"""Labels are cut to this length before they become a slice or a direction."""


@dataclass(frozen=True, slots=True)
class RowChange:
    """The labels of one row, cut for show; `disagrees` was judged on the whole of them."""

    live: str
    shadow: str
    disagrees: bool

    @classmethod
    def of(cls, live: str, shadow: str) -> "RowChange":
        """The row with these labels."""
        return cls(shown(live), shown(shadow), live != shadow)

    @property
    def direction(self) -> str:
        """`from->to`."""
        return f"{self.live}->{self.shadow}"


def shown(label: str) -> str:
    """A label as a slice or direction names it: bounded, valid Unicode, and without the arrow of a direction."""
    return label[:LABEL_CHARS_MAX].encode("utf-8", "replace").decode().replace("->", "→")


@dataclass(frozen=True, slots=True)
class Compared:
    """The verdict over all rows and the numbers behind it.

    `measures` are finite numbers by name, the worst row's where there are several. `rows` holds each row's labels
    (classification only). `paths` are JSON pointers that differ, at most `PATHS_MAX`.
    """

    verdict: Literal["agree", "soft", "disagree"]
    measures: dict[str, float] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    rows: tuple[RowChange, ...] = ()
    live_confidence: float | None = None
    shadow_confidence: float | None = None


def finite(measures: dict[str, float | None]) -> dict[str, float]:
    """Those measures that are numbers: JSON has no word for NaN and infinity, and a missing measure says as much."""
    return {name: value for name, value in measures.items() if value is not None and math.isfinite(value)}


def number(value: object) -> float | None:
    """A JSON number as a float (a too large integer as ±infinity); None for anything else, booleans too."""
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return None


def close(a: float, b: float, relative: float, absolute: float) -> bool:
    """Whether two numbers are the same within tolerance; NaN equals NaN, an infinity only itself. Symmetric.

    |a − b| ≤ max(relative · max(|a|, |b|), absolute), as PEP 485.
    """
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if math.isinf(a) or math.isinf(b):
        return a == b
    return abs(a - b) <= max(relative * max(abs(a), abs(b)), absolute)
