"""Two small rules without a clock of their own: when a version is ready, and how a dying one is restarted."""

from dataclasses import dataclass
from typing import Final

BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 30.0
HEALTHY_AFTER_S: Final = 60.0
"""Ready for so long, a version has got over its exits."""
LOOP_EXITS: Final = 3
LOOP_WINDOW_S: Final = 60.0
"""A version that exits `LOOP_EXITS` times within this is crash-looping, until it is healthy again."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a version is ready, and what its last probe said. One success makes it ready; failures must add up."""

    is_ready: bool = False
    failures: int = 0
    why_not: str = "not asked yet"

    def after(self, why_not: str | None, failures_max: int) -> "Health":
        """Health after one more probe; `why_not` is None for a success."""
        if why_not is None:
            return Health(is_ready=True, why_not="")
        failures = min(self.failures + 1, failures_max)
        return Health(self.is_ready and failures < failures_max, failures, why_not)


@dataclass(frozen=True, slots=True)
class Exits:
    """The exits of one version since it was last healthy. Times are monotonic seconds."""

    recent: tuple[float, ...] = ()
    streak: int = 0
    is_looping: bool = False

    def after(self, now: float) -> "Exits":
        """One more exit, at `now`."""
        recent = (*(at for at in self.recent if now - at < LOOP_WINDOW_S), now)[-100:]
        return Exits(recent, self.streak + 1, self.is_looping or len(recent) >= LOOP_EXITS)

    @property
    def backoff_s(self) -> float:
        """How long to wait before the next start."""
        doublings = min(max(self.streak - 1, 0), 16)
        return min(BACKOFF_FIRST_S * 2.0**doublings, BACKOFF_MAX_S)

    def described(self) -> str:
        """` 4 times in 20 s`, or nothing for a single exit."""
        if len(self.recent) < 2:
            return ""
        span = self.recent[-1] - self.recent[0]
        return f" ({len(self.recent)} times in {max(span, 1):.0f} s)"
