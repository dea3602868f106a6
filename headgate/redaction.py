"""The one redaction: what happens to a payload before any of it is stored or sent, on either side.

Pure: the key is passed in. Values are never changed in place. A rule names a field by pointer (`*` for every
element) and acts on all below it:

* `drop`    the field goes; an element of a list becomes null, so that the others keep their places
* `hash`    keyed BLAKE2b of the value's JSON, so that equal values stay equal while one key lives
* `mask`    every leaf becomes `***`; names, nesting and nulls stay
* `bucket`  a number becomes its decade (`[10,100)`), a text its length's power of two (`text[8,16)`)
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import blake2b
from typing import Any, Final, Literal

import msgspec

from headgate.pointer import EVERY, Segments, segments
from headgate.wire.plan import RedactRule

How = Literal["drop", "hash", "mask", "bucket"]

MASK: Final = "***"
DEPTH_MAX: Final = 200
"""A document nested deeper than this is not redacted but refused."""

_GONE: Final = object()


class Unredactable(ValueError):
    """The document cannot be redacted, so it must not be stored; the text says why and quotes nothing of it."""


def redact(document: Any, rules: Iterable[RedactRule], key: bytes) -> Any:
    """A copy of `document` with every rule applied, in order; a dropped whole is None.

    `key` is the secret of `hash`, 1 to 64 bytes. Raises Unredactable for a document that is nested too deeply or
    holds what JSON cannot say.
    """
    for rule in rules:
        document = _at(document, segments(rule.path), partial(one, how=rule.how, key=key), 0)
        if document is _GONE:
            return None
    return document


def one(value: Any, how: How, key: bytes) -> Any:
    """`value` after one rule; a private marker (never stored) when it is to be dropped."""
    match how:
        case "drop":
            return _GONE
        case "hash":
            return _hashed(value, key)
        case "mask":
            return _leaves(value, _masked, 0)
        case "bucket":
            return _leaves(value, _bucket, 0)


def label(value: str, pointer: str, rules: Iterable[RedactRule], key: bytes) -> str:
    """The label found at `pointer`, as the rules that cover it leave it; `***` when one drops it."""
    path = segments(pointer)
    for rule in rules:
        if covers(segments(rule.path), path):
            after = one(value, rule.how, key)
            value = MASK if after is _GONE else str(after)
    return value


def covers(rule: Segments, path: Segments) -> bool:
    """Whether a rule's pointer names `path` or something above it."""
    return len(rule) <= len(path) and all(
        mine in (theirs, EVERY) for mine, theirs in zip(rule, path, strict=False)
    )


def _at(value: Any, path: Segments, change: Callable[[Any], Any], depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise Unredactable(f"nested deeper than {DEPTH_MAX} levels")
    if not path:
        return change(value)
    if isinstance(value, dict):
        return _in_object(value, path, change, depth)
    if isinstance(value, list):
        return _in_list(value, path, change, depth)
    return value


def _in_object(value: dict[str, Any], path: Segments, change: Callable[[Any], Any], depth: int) -> Any:
    changed = {}
    for name, inner in value.items():
        after = _at(inner, path[1:], change, depth + 1) if path[0] in (EVERY, name) else inner
        if after is not _GONE:
            changed[name] = after
    return changed


def _in_list(value: list[Any], path: Segments, change: Callable[[Any], Any], depth: int) -> Any:
    changed = []
    for index, inner in enumerate(value):
        after = _at(inner, path[1:], change, depth + 1) if path[0] in (EVERY, str(index)) else inner
        changed.append(None if after is _GONE else after)
    return changed


def _leaves(value: Any, change: Callable[[Any], Any], depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise Unredactable(f"nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, dict):
        return {name: _leaves(inner, change, depth + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return [_leaves(inner, change, depth + 1) for inner in value]
    return change(value)


def _hashed(value: Any, key: bytes) -> str:
    try:
        said = msgspec.json.encode(value, order="deterministic")
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise Unredactable(f"not to be hashed: {type(error).__name__}") from None
    return "blake2b:" + blake2b(said, key=key, digest_size=16).hexdigest()


def _masked(value: Any) -> Any:
    return None if value is None else MASK


def _bucket(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return _masked(value)
    if isinstance(value, int | float):
        return _decade(value)
    if isinstance(value, str):
        return _length(len(value))
    return MASK


def _decade(value: float) -> str:
    if value != value:
        return "nan"
    sign = "-" if value < 0 else ""
    size = abs(value)
    if size == 0:
        return "0"
    if size > 1e300:
        return f"{sign}[1e+300,inf)"
    low = math.floor(math.log10(size))
    return (
        f"{sign}[1e{low},1e{low + 1})"
        if not -1 <= low <= 5
        else f"{sign}[{10.0**low:g},{10.0 ** (low + 1):g})"
    )


def _length(length: int) -> str:
    low = 1 << (length.bit_length() - 1) if length else 0
    return f"text[{low},{low * 2 or 1})"
