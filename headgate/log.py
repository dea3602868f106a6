"""What Headgate's processes say: one line per change on stderr, a constant message and fields after it.

`2026-11-21T08:40:05.123Z warning agent: plan refused epoch=4 why="older than 5"`. Never bodies, never secrets:
callers pass what they mean to show (None: nothing). A stderr that is gone must not stop a process, so it is passed over.
"""

import json
import re
import sys
from datetime import UTC, datetime
from typing import Final

_PLAIN: Final = re.compile(r"[\w.:/@%+-]+")
_FIELD_CHARS_MAX: Final = 500


class Log:
    """One process's log; `process` is how its lines begin, such as `agent` or `worker-0`."""

    def __init__(self, process: str) -> None:
        self._process = process

    def info(self, message: str, **fields: object) -> None:
        """Something changed as it should."""
        self._write("info", message, fields)

    def warning(self, message: str, **fields: object) -> None:
        """Something went wrong and is dealt with."""
        self._write("warning", message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Something went wrong and a person has to do something."""
        self._write("error", message, fields)

    def _write(self, level: str, message: str, fields: dict[str, object]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        words = [
            f"{now}Z {level} {self._process}: {message}",
            *(_field(k, v) for k, v in fields.items() if v is not None),
        ]
        try:
            sys.stderr.write(" ".join(words) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return


def _field(key: str, value: object) -> str:
    text = str(value)[:_FIELD_CHARS_MAX]
    return f"{key}={text}" if _PLAIN.fullmatch(text) else f"{key}={json.dumps(text, ensure_ascii=False)}"
