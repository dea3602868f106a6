"""How long to wait before trying again: longer each time, and never all at once."""

import random
from typing import Final

FIRST_S: Final = 0.5
LAST_S: Final = 60.0
JITTER: Final = 0.25


def about(seconds: float, jitter: float = JITTER) -> float:
    """The seconds, up to `jitter` (0 … 1) of them shorter or longer by chance, so that many do not act together."""
    return seconds * random.uniform(1 - jitter, 1 + jitter)  # noqa: S311  when to act is no secret


class Backoff:
    """0.5, 1, 2 … 60 s, each a quarter shorter or longer by chance, so that many do not come back together."""

    def __init__(self, *, first_s: float = FIRST_S, last_s: float = LAST_S) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self.failures = 0

    def succeeded(self) -> None:
        """Begin anew with the next failure."""
        self.failures = 0

    def failed(self, at_least_s: float | None = None) -> float:
        """Seconds to wait after this failure; not under `at_least_s` (bounded), which the server may have asked for."""
        self.failures += 1
        seconds = min(self._first_s * 2.0 ** min(self.failures - 1, 20), self._last_s)
        return max(about(seconds), min(at_least_s or 0.0, self._last_s))
