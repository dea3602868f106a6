"""Reading raw JSON that others wrote: what is missing, or of another type, reads as empty and never raises."""

from collections.abc import Mapping
from typing import Any, Final

_NOTHING: Final[Mapping[str, Any]] = {}


def mapping(obj: object, *path: str) -> Mapping[str, Any]:
    """The mapping at `path`; an empty one if there is none."""
    found = _at(obj, path)
    return found if isinstance(found, Mapping) else _NOTHING


def items(obj: object, *path: str) -> list[Any]:
    """The list at `path`; an empty one if there is none."""
    found = _at(obj, path)
    return found if isinstance(found, list) else []


def text(obj: object, *path: str) -> str:
    """The text at `path`; "" if there is none."""
    found = _at(obj, path)
    return found if isinstance(found, str) else ""


def number(obj: object, *path: str) -> int:
    """The whole number at `path`; 0 if there is none."""
    found = _at(obj, path)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def words(obj: object, *path: str, at_most: int = 300) -> str:
    """The text at `path` on one line and bounded, fit to be shown."""
    found = " ".join(text(obj, *path).split())
    return found if len(found) <= at_most else found[: at_most - 1] + "…"


def key_of(obj: object) -> str:
    """`namespace/name`."""
    return f"{text(obj, 'metadata', 'namespace')}/{text(obj, 'metadata', 'name')}"


def _at(obj: object, path: tuple[str, ...]) -> object:
    for name in path:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(name)
    return obj
