"""Which endpoint of a version, and for how long one that keeps failing is left alone."""

from dataclasses import dataclass
from typing import Final

EJECT_AFTER: Final = 3
"""So many failures in a row (no connection, a broken one, a time-out) eject an endpoint."""

EJECTION_S: Final = 1.0
EJECTION_S_MAX: Final = 30.0
"""The first ejection lasts one second, each following one twice as long, up to this."""


def pair(count: int, randomness: int) -> tuple[int, int]:
    """Two different indices below `count` (>= 2), uniform if `randomness` (non-negative, many bits) is.

    The less loaded of two random ones is nearly as good as the least loaded of all, and herds nobody:
    Mitzenmacher, The Power of Two Choices in Randomized Load Balancing (2001).
    """
    first, rest = randomness % count, randomness // count
    second = rest % (count - 1)
    return first, second + (second >= first)


SLOW_START_SHARE: Final = 0.1
"""What an endpoint takes at the very beginning of its slow start, of what would fall to it."""


def takes(age_s: float, slow_start_s: float, randomness: float) -> bool:
    """Whether an endpoint that has been usable for `age_s` takes a request that fell to it.

    Its share grows evenly over the slow start, so that caches fill and code is compiled before all of the load is
    there. `randomness` is uniform from 0 to 1.
    """
    return age_s >= slow_start_s or randomness < max(SLOW_START_SHARE, age_s / slow_start_s)


@dataclass(frozen=True, slots=True)
class Health:
    """How an endpoint did of late. `ejected_until` is an instant of the caller's clock, in seconds."""

    failures: int = 0
    ejections: int = 0
    ejected_until: float = 0.0

    def is_usable(self, now: float) -> bool:
        """Whether requests may go there."""
        return now >= self.ejected_until

    def after_failure(self, now: float) -> "Health":
        """One more failure; the one that ejects, and any after the ejection was over, ejects (again, for longer)."""
        failures = self.failures + 1
        if failures < EJECT_AFTER or not self.is_usable(now):
            return Health(failures, self.ejections, self.ejected_until)
        lasts = min(EJECTION_S * 2 ** min(self.ejections, 16), EJECTION_S_MAX)
        return Health(failures, self.ejections + 1, now + lasts)


HEALTHY: Final = Health()
"""What one good answer makes of any endpoint."""
