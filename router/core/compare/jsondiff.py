"""Any JSON: missing and extra paths, changed types, numbers beyond tolerance, other values."""

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from headgate.pointer import EVERY, Segments, segments, text
from headgate.wire.plan import Comparison
from router.core.compare.result import PATHS_MAX, Compared, close, finite, number
from router.core.protocols import Prediction, Undecodable

VALUES_MAX: Final = 500_000
"""A pair with more values than this is not compared."""

PATH_CHARS_MAX: Final = 256

_SCALARS: Final = (str, int, float)


class _Step(NamedTuple):
    """Where a value is: its segment and the step above it. The path is only written out where something differs."""

    segment: str
    above: "_Step | None"


class _Pair(NamedTuple):
    live: Any
    shadow: Any
    step: _Step | None
    ignore: tuple[Segments, ...]


class _Difference(NamedTuple):
    path: str
    delta: float | None


class _TooMuch(ValueError):
    """More values than are compared."""


def compare(live: Prediction, shadow: Prediction, policy: Comparison) -> Compared | Undecodable:
    """Every difference between the two documents beyond the tolerances and outside `policy.ignore`.

    Measures: `paths_differing` (all of them, also where only some are named) and `delta_max`, the largest
    difference of two numbers that differ beyond tolerance.
    """
    paths: list[str] = []
    count, delta_max = 0, 0.0
    try:
        for difference in differences(live.value, shadow.value, policy):
            count += 1
            delta_max = max(delta_max, difference.delta or 0.0)
            if len(paths) < PATHS_MAX:
                paths.append(difference.path)
    except _TooMuch:
        return Undecodable(f"more than {VALUES_MAX} values: not compared")
    measures = finite({"paths_differing": float(count), "delta_max": delta_max})
    return Compared(verdict="disagree" if count else "agree", measures=measures, paths=tuple(paths))


def differences(live: Any, shadow: Any, policy: Comparison) -> Iterator[_Difference]:
    """The differences in document order; walks with a stack of its own, so that no depth is too deep."""
    ignored = tuple(segments(pointer) for pointer in policy.ignore)
    if () in ignored:
        return
    stack = [_Pair(live, shadow, None, ignored)]
    visited = 0
    while stack:
        pair = stack.pop()
        visited += 1
        if visited > VALUES_MAX:
            raise _TooMuch
        if isinstance(pair.live, dict) and isinstance(pair.shadow, dict):
            stack += reversed(_members(pair))
        elif isinstance(pair.live, list) and isinstance(pair.shadow, list):
            stack += reversed(_elements(pair))
        else:
            found = _leaf(pair, policy)
            if found is not None:
                yield found


class _Missing:
    """Stands for a value that one side does not have."""


_MISSING: Final = _Missing()


def _members(pair: _Pair) -> list[_Pair]:
    names = list(pair.live) + [name for name in pair.shadow if name not in pair.live]
    return _children(
        pair, ((str(name), pair.live.get(name, _MISSING), pair.shadow.get(name, _MISSING)) for name in names)
    )


def _elements(pair: _Pair) -> list[_Pair]:
    shared = min(len(pair.live), len(pair.shadow))
    longest = max(len(pair.live), len(pair.shadow))
    return _children(
        pair,
        (
            (
                str(index),
                pair.live[index] if index < len(pair.live) else _MISSING,
                pair.shadow[index] if index < len(pair.shadow) else _MISSING,
            )
            # one missing tail is one difference: its first element
            for index in range(min(longest, shared + 1))
        ),
    )


def _children(pair: _Pair, triples: Iterator[tuple[str, Any, Any]]) -> list[_Pair]:
    found = []
    for segment, live, shadow in triples:
        if live is shadow or (type(live) is type(shadow) and isinstance(live, _SCALARS) and live == shadow):
            continue
        ignore = _below(pair.ignore, segment)
        if () not in ignore:
            found.append(_Pair(live, shadow, _Step(segment, pair.step), ignore))
    return found


def _below(ignore: tuple[Segments, ...], segment: str) -> tuple[Segments, ...]:
    """What of the ignored pointers is left to match under `segment`."""
    if not ignore:
        return ignore
    return tuple(path[1:] for path in ignore if path[0] in (segment, EVERY))


def _leaf(pair: _Pair, policy: Comparison) -> _Difference | None:
    live, shadow = number(pair.live), number(pair.shadow)
    if live is not None and shadow is not None:
        if close(live, shadow, policy.relative_tolerance, policy.absolute_tolerance):
            return None
        delta = abs(shadow - live)
        return _Difference(_path(pair.step), delta if math.isfinite(delta) else None)
    if type(pair.live) is type(pair.shadow) and pair.live == pair.shadow:
        return None
    return _Difference(_path(pair.step), None)


def _path(step: _Step | None) -> str:
    found: list[str] = []
    while step is not None:
        found.append(step.segment)
        step = step.above
    return text(tuple(reversed(found)))[:PATH_CHARS_MAX]
