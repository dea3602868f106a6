"""JSON Pointers (RFC 6901) with one addition: the segment `*` stands for every element or key at its level.

Redaction, comparison and request rewriting all name fields this way, so what a pointer means is said once.
"""

from typing import Any, Final

Segments = tuple[str, ...]

EVERY: Final = "*"


def segments(pointer: str) -> Segments:
    """The unescaped segments of `pointer`; none for the empty pointer, which is the whole document.

    A text that does not start with `/` is one segment: the name of a top-level field.
    """
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        return (pointer,)
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/"))


def text(path: Segments) -> str:
    """The pointer of these segments."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


def child(value: Any, segment: str) -> Any:
    """What `segment` names inside an object or list; KeyError if there is nothing."""
    if isinstance(value, dict):
        return value[segment]
    if isinstance(value, list):
        index = _index(segment)
        if index is not None and index < len(value):
            return value[index]
    raise KeyError(segment)


def find(document: Any, path: Segments) -> Any:
    """The value at `path`; a list of values, in order, where a segment is `*`. KeyError if there is nothing."""
    value = document
    for depth, segment in enumerate(path):
        if segment == EVERY and isinstance(value, list):
            rest = path[depth + 1 :]
            return [find(element, rest) for element in value]
        value = child(value, segment)
    return value


def replaced(document: Any, path: Segments, new: Any) -> Any:
    """A copy of `document` with `new` at `path`, shared with the original elsewhere.

    The last segment may name a field that is not there yet; KeyError if anything before it is missing.
    """
    if not path:
        return new
    head, rest = path[0], path[1:]
    if isinstance(document, dict):
        inner = new if not rest else replaced(document[head], rest, new)
        return {**document, head: inner}
    if isinstance(document, list):
        child(document, head)
        position = int(head)
        return [replaced(value, rest, new) if i == position else value for i, value in enumerate(document)]
    raise KeyError(head)


def _index(segment: str) -> int | None:
    if segment.isascii() and segment.isdigit() and len(segment) <= 9:
        return int(segment)
    return None
