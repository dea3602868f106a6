"""Where an object is not as it was asked to be, whatever else the API server, its defaults and other people added to it."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from controller.adapters.kubernetes.raw import items, mapping, text

PATHS_MAX: Final = 4
_QUANTITY: Final = re.compile(r"([+-]?[0-9]+(?:\.[0-9]*)?)([eE][+-]?[0-9]{1,2}|[numkMGTPE]|[KMGTPE]i)?")
_POWERS: Final = {"n": -3, "u": -2, "m": -1, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of `wanted` that `found` has not, or has otherwise, such as `spec.replicas`; at most four.

    Items of a list that have names are compared by them, others by their place. Quantities are compared as numbers:
    the API server writes 1000m as 1. What is empty is as good as absent.
    """
    paths: list[str] = []
    for path in _differ(wanted, found, ""):
        paths.append(path)
        if len(paths) == PATHS_MAX:
            break
    return tuple(paths)


def managers(live: Mapping[str, Any], path: str, ours: str) -> str:
    """Who, other than `ours`, wrote the field last, as the live object's `managedFields` tell; "somebody" if they do not."""
    field = path.partition("[")[0]
    found = [
        (text(entry, "time"), text(entry, "manager"))
        for entry in items(live, "metadata", "managedFields")
        if text(entry, "manager") != ours and _has(mapping(entry, "fieldsV1"), field)
    ]
    return max(found)[1] if found else "somebody"


def _has(fields: Mapping[str, Any], path: str) -> bool:
    """Is the path among the managed fields? A step of it may have dots of its own, as the names of labels do."""
    if not path:
        return True
    steps = (name.removeprefix("f:") for name in fields if name.startswith("f:"))
    return any(
        _has(mapping(fields, f"f:{step}"), path[len(step) + 1 :])
        for step in steps
        if path == step or path.startswith(f"{step}.")
    )


def _differ(wanted: Any, found: Any, path: str) -> Iterator[str]:
    if isinstance(wanted, Mapping):
        inner = found if isinstance(found, Mapping) else {}
        for name, value in wanted.items():
            yield from _differ(value, inner.get(name), f"{path}.{name}" if path else str(name))
    elif isinstance(wanted, list):
        yield from _items_differ(wanted, found if isinstance(found, list) else [], path)
    elif not _same(wanted, found):
        yield path


def _items_differ(wanted: list[Any], found: list[Any], path: str) -> Iterator[str]:
    is_named = all(isinstance(one, Mapping) and "name" in one for one in wanted)
    by_name = {text(one, "name"): one for one in found}
    for index, one in enumerate(wanted):
        if is_named:
            yield from _differ(one, by_name.get(one["name"]), f"{path}[{one['name']}]")
        else:
            yield from _differ(one, found[index] if index < len(found) else None, f"{path}[{index}]")


def _same(wanted: Any, found: Any) -> bool:
    if wanted == found or (not wanted and not found):
        return True
    one, other = _quantity(wanted), _quantity(found)
    return one is not None and one == other


def _quantity(value: Any) -> Decimal | None:
    """What the API server calls a Quantity (k8s.io/apimachinery/pkg/api/resource), as a number."""
    match = _QUANTITY.fullmatch(str(value)) if isinstance(value, (str, int, float)) else None
    if match is None:
        return None
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix != "Ei":
        return number * Decimal(10) ** int(suffix[1:])
    if suffix.endswith("i"):
        return number * Decimal(1024) ** _POWERS[suffix[0].replace("K", "k")]
    return number * Decimal(1000) ** _POWERS.get(suffix, 0)
