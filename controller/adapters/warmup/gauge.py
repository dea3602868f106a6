"""When is an endpoint warm? Its answers in windows of time, the p95 of each, and since when the windows are good.

A failed answer counts as infinitely slow, so an endpoint that fails more than 5 % of its requests is never warm.
"""

import math
from typing import Final

from controller.core.spec import Warmup

WINDOWS: Final = 5
"""`stableFor` is divided into so many windows, if that makes them no shorter and no longer than these seconds."""
WINDOW_S_MIN: Final = 0.2
WINDOW_S_MAX: Final = 5.0

ANSWERS_MIN: Final = 20
"""A window lasts until it has so many answers: of fewer a p95 says little."""

ALIKE: Final = 0.2
ALIKE_S: Final = 0.002
"""Without a bound, windows are alike if their p95 differ by at most this fraction of the earlier, or so many seconds."""


class Gauge:
    """One endpoint's answers since `now`, the reading of a clock that only moves forward, in seconds."""

    def __init__(self, warmup: Warmup, now: float) -> None:
        self._warmup = warmup
        self._width_s = min(max(warmup.stable_for_s / WINDOWS, WINDOW_S_MIN), WINDOW_S_MAX)
        self._began = now
        self._window: list[float] = []
        self._p95_s: float | None = None
        self._good_since: float | None = None
        self._good_until = now
        self._failure = ""
        self.answers = 0

    def add(self, now: float, latency_s: float | None, failure: str = "") -> None:
        """One answer that came at `now`; a latency of None is a failed one, `failure` says how."""
        self.answers += 1
        self._window.append(math.inf if latency_s is None else latency_s)
        self._failure = failure or self._failure
        if now - self._began >= self._width_s and len(self._window) >= ANSWERS_MIN:
            self._close(now)

    @property
    def is_warm(self) -> bool:
        """Were enough answers good for long enough?"""
        return self.answers >= self._warmup.count and self._good_for_s >= self._warmup.stable_for_s

    @property
    def text(self) -> str:
        """The measurement in words, such as `p95 41 ms of at most 20 ms, 120 requests so far`."""
        return ", ".join(filter(None, [self._shown(), f"{self.answers} requests so far"]))

    @property
    def _good_for_s(self) -> float:
        return 0.0 if self._good_since is None else self._good_until - self._good_since

    def _close(self, now: float) -> None:
        """End the window: is it good, by itself or beside the one before?"""
        before, began = self._p95_s, self._began
        self._p95_s = p95(self._window)
        if self._is_good(self._p95_s, before):
            self._good_since = began if self._good_since is None else self._good_since
            self._good_until = now
        else:
            self._good_since = None
        self._window, self._began = [], now

    def _is_good(self, found_s: float, before_s: float | None) -> bool:
        if self._warmup.p95_s is not None:
            return found_s <= self._warmup.p95_s
        if before_s is None or math.isinf(found_s) or math.isinf(before_s):
            return False
        return abs(found_s - before_s) <= max(ALIKE * before_s, ALIKE_S)

    def _shown(self) -> str:
        if self._p95_s is None:
            return ""
        if math.isinf(self._p95_s):
            return f"more than 5 % of its answers fail ({self._failure})"
        limit = f" of at most {_ms(self._warmup.p95_s)}" if self._warmup.p95_s is not None else ""
        kept = (
            f" for {self._good_for_s:.0f} s of {self._warmup.stable_for_s:.0f} s" if self._good_for_s else ""
        )
        return f"p95 {_ms(self._p95_s)}{limit}{kept}"


def p95(latencies_s: list[float]) -> float:
    """The 95th percentile by nearest rank, of at least one value."""
    ranked = sorted(latencies_s)
    return ranked[math.ceil(0.95 * len(ranked)) - 1]


def _ms(seconds: float) -> str:
    ms = seconds * 1000
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.2g} ms"
