"""How an exchange ended, written into the shared counters: plain increments, nothing allocated."""

from typing import Final

from headgate.histogram import bucket_of
from router.core import counters as c

_FAILURES: Final = frozenset((c.STATUS_5XX, c.NO_CONNECTION, c.BROKEN, c.TIMEOUT))
"""What is an error of the version that was picked; 4xx and clients that left are not."""


def status_cell(status: int) -> int:
    """The cell of a final status: by its class, and whatever is beyond HTTP as a server's error."""
    return c.STATUS_2XX + status // 100 - 2 if 200 <= status < 600 else c.STATUS_5XX


def record(
    cells: memoryview, start: int, kind: int, is_first_half: bool, cell: int, seconds: float | None
) -> None:
    """Count an end in the column at `start`: the group `kind`, and the half's if it was picked.

    `kind` is `PICKED`, `MATCHED`, `SELECTED` or `OTHER`; `seconds` is how long the answer took, None if there was none.
    """
    if kind == c.OTHER:
        cells[start + c.OTHER] += 1
        return
    _add(cells, start + kind, cell, seconds)
    if is_first_half and kind == c.PICKED:
        _add(cells, start + c.HALF, cell, seconds)


def _add(cells: memoryview, group: int, cell: int, seconds: float | None) -> None:
    cells[group + c.REQUESTS] += 1
    cells[group + cell] += 1
    if cell in _FAILURES:
        cells[group + c.FAILED] += 1
    if seconds is not None:
        cells[group + c.LATENCY_US] += int(seconds * 1e6)
        cells[group + c.LATENCY + bucket_of(seconds)] += 1
