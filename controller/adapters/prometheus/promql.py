"""Puts a version's name into a query the user wrote, so that it can only ever be a label's value."""

import re
from typing import Final

PLACEHOLDER: Final = "{{version}}"
_ESCAPED: Final = {"\\": "\\\\", '"': '\\"', "'": "\\'", "\n": "\\n"}


def for_version(query: str, version: str) -> str:
    """The query with the version's name for each `{{version}}`, escaped for where it stands.

    ValueError, in words for the user, where it stands outside of quotes or is missing, or a quote is never closed.
    """
    written: list[str] = []
    found = position = 0
    while position < len(query):
        sign = query[position]
        if query.startswith(PLACEHOLDER, position):
            raise ValueError(f"{PLACEHOLDER} must be a label's value, in quotes")
        if sign not in "\"'`":
            written.append(sign)
            position += 1
            continue
        end = _closing(query, position)
        literal = query[position + 1 : end]
        found += literal.count(PLACEHOLDER)
        is_pattern = re.search(r"[=!]~\s*$", query[:position]) is not None
        written += (sign, literal.replace(PLACEHOLDER, _quoted(version, sign, is_pattern)), sign)
        position = end + 1
    if not found:
        raise ValueError(f"it has no {PLACEHOLDER}, so both versions would be the same series")
    return "".join(written)


def _closing(query: str, opening: int) -> int:
    """Where the string that opens at `opening` ends."""
    sign = query[opening]
    position = opening + 1
    while position < len(query):
        if query[position] == "\\" and sign != "`":
            position += 2
        elif query[position] == sign:
            return position
        else:
            position += 1
    raise ValueError("a quote is never closed")


def _quoted(version: str, sign: str, is_pattern: bool) -> str:
    text = re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", version) if is_pattern else version
    if sign == "`":
        if "`" in text:
            raise ValueError("a version's name with a backtick cannot stand in backticks")
        return text
    return "".join(_ESCAPED.get(character, character) for character in text)
