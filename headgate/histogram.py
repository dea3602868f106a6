"""The latency buckets that both sides share: fixed, logarithmic, 10 % wide, mergeable by addition.

Bucket `i` holds durations in `(BOUNDS_S[i-1], BOUNDS_S[i]]`; the last bucket has no upper bound.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

RATIO: Final = 1.1
BOUNDS_S: Final[tuple[float, ...]] = tuple(1e-4 * RATIO**i for i in range(146))
"""Upper bounds in seconds, from 0.1 ms to about 100 s."""

BUCKETS: Final = len(BOUNDS_S) + 1
"""How many buckets there are, with the one above the last bound."""


def bucket_of(seconds: float) -> int:
    """The index of the bucket that a duration falls into, 0 … BUCKETS - 1."""
    return bisect_left(BOUNDS_S, seconds)


def quantile(counts: Sequence[int], q: float) -> float | None:
    """The upper bound in seconds of the bucket in which the q-quantile (0 < q <= 1) lies; None without data.

    The overflow bucket answers the last bound: the true value is above it.
    """
    total = sum(counts)
    if not total:
        return None
    wanted = q * total
    seen = 0
    for index, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return BOUNDS_S[min(index, len(BOUNDS_S) - 1)]
    return BOUNDS_S[-1]


def above(counts: Sequence[int], bound_index: int) -> int:
    """How many durations were longer than `BOUNDS_S[bound_index]`."""
    return sum(counts[bound_index + 1 :])
