"""How long the supervisor waits before it starts a process again: pure, so that it can be read and tried."""

from dataclasses import dataclass, replace
from typing import Final

FIRST_S: Final = 0.1
LONGEST_S: Final = 10.0
LONG_LIFE_S: Final = 30.0
"""A process that lived this long has shown that it works: its next death counts as the first."""


@dataclass(frozen=True, slots=True)
class BackOff:
    """The deaths of one process in a row; `is_urgent`: the first of them is answered at once."""

    is_urgent: bool = False
    deaths: int = 0

    def died(self, lived_s: float) -> tuple["BackOff", float]:
        """What is known after a death, and the seconds to wait before the next start."""
        deaths = 1 if lived_s >= LONG_LIFE_S else self.deaths + 1
        return replace(self, deaths=deaths), self._delay_s(deaths)

    def _delay_s(self, deaths: int) -> float:
        doublings = deaths - 2 if self.is_urgent else deaths - 1
        return 0.0 if doublings < 0 else min(LONGEST_S, FIRST_S * 2.0 ** min(doublings, 16))
