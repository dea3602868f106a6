"""Calls coroutines that wait for nothing, such as those of a store in memory or in a file, where there is no loop."""

from collections.abc import Coroutine
from typing import Any, TypeVar

_Value = TypeVar("_Value")


def at_once(coroutine: Coroutine[Any, Any, _Value]) -> _Value:
    """What the coroutine gives; fails if it has to wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: _Value = done.value
        return value
    coroutine.close()
    raise AssertionError(f"{coroutine.__qualname__} had to wait")
