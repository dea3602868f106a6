"""Durations as people write them, in specs and on the command line: said once, and cheap to import for the latter."""

import re
from decimal import Decimal
from typing import Final

NUMBER: Final = r"[0-9]{1,12}(?:\.[0-9]{1,6})?"
DURATION: Final = rf"^(?=[0-9])({NUMBER}d)?({NUMBER}h)?({NUMBER}m(?!s))?({NUMBER}s)?({NUMBER}ms)?$"
DURATION_WRITTEN: Final = r"(([0-9]{1,6}([.][0-9]{1,6})?d)?([0-9]{1,6}([.][0-9]{1,6})?h)?([0-9]{1,7}([.][0-9]{1,6})?m)?([0-9]{1,9}([.][0-9]{1,6})?s)?([0-9]{1,12}([.][0-9]{1,6})?ms)?)"
"""The same for RE2, which does not look ahead (so that "" matches), and within what CEL's durations can hold."""
DURATION_EXAMPLE: Final = "a number and its unit, such as 500ms, 60s, 10m, 1h30m or 24h"

_SECONDS: Final = {
    "d": Decimal(86_400),
    "h": Decimal(3_600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal(1) / 1000,
}


def seconds(text: str) -> Decimal:
    """The seconds of a text that matches DURATION."""
    parts = re.findall(rf"({NUMBER})(ms|d|h|m|s)", text)
    return sum((Decimal(number) * _SECONDS[unit] for number, unit in parts), Decimal(0))
