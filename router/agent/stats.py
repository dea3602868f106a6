"""What happened in the last seconds: differences of the cumulative counters, for people and scripts without Prometheus."""

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from headgate.histogram import quantile
from headgate.wire.telemetry import Outcomes, Telemetry, VersionCounters

WINDOW_MAX_S: Final = 300
_DURATION: Final = re.compile(r"(\d{1,4})(s|m)")
CLASSES: Final = (
    "status_2xx",
    "status_3xx",
    "status_4xx",
    "status_5xx",
    "no_connection",
    "broken",
    "timeout",
    "client_closed",
)
"""How a request can have ended; fields of `Outcomes`."""


def window_s(text: str) -> int:
    """The seconds in `60s` or `5m`; ValueError if it is no such text or not within 1 … `WINDOW_MAX_S`."""
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * (60 if found[2] == "m" else 1) if found else 0
    if not 1 <= seconds <= WINDOW_MAX_S:
        raise ValueError(
            f"window {text[:32]!r}: a whole number of s or m, 1s to {WINDOW_MAX_S}s, such as 60s"
        )
    return seconds


@dataclass(slots=True)
class History:
    """The versions' counters of the last minutes, a sample a second."""

    _samples: deque[Telemetry] = field(default_factory=lambda: deque(maxlen=WINDOW_MAX_S + 1))

    def add(self, telemetry: Telemetry) -> None:
        self._samples.append(telemetry)

    def over(self, seconds: int) -> dict[str, Any]:
        """Per version of the present plan, what was added in the last `seconds` (or since there are samples)."""
        if not self._samples:
            return {"seconds": 0.0, "versions": {}}
        last = self._samples[-1]
        first = next(one for one in self._samples if one.at >= last.at - seconds - 0.5)
        before = {one.identity: one for one in first.versions}
        elapsed_s = last.at - first.at
        rows = {one.version: _row(one, before.get(one.identity), elapsed_s) for one in last.versions}
        return {"seconds": round(elapsed_s, 3), "versions": rows}


def _row(now: VersionCounters, before: VersionCounters | None, elapsed_s: float) -> dict[str, Any]:
    """What the split picked the version for, and beside it the same of matched requests and of overrides."""
    then = before if before is not None else VersionCounters(version=now.version, identity=now.identity)
    return {
        **_outcomes(now.picked, then.picked, elapsed_s),
        "in_flight": now.in_flight,
        "matched": _outcomes(now.matched, then.matched, elapsed_s),
        "selected": _outcomes(now.selected, then.selected, elapsed_s),
    }


def _outcomes(now: Outcomes, then: Outcomes, elapsed_s: float) -> dict[str, Any]:
    requests, failed = now.requests - then.requests, now.failed - then.failed
    old = then.latency or (0,) * len(now.latency)
    latency = [new - was for new, was in zip(now.latency, old, strict=True)]
    return {
        "requests": requests,
        "requests_per_second": round(requests / elapsed_s, 3) if elapsed_s > 0 else None,
        "failed": failed,
        "failed_ratio": failed / requests if requests else None,
        "by_class": {name: getattr(now, name) - getattr(then, name) for name in CLASSES},
        "latency_seconds": {name: quantile(latency, q) for name, q in _QUANTILES},
    }


_QUANTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
