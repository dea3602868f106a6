"""Durations, percentages, percentage points and sizes as people write them: strings with a unit, and bounds.

A bare number is refused: `60` could be seconds or minutes, and a wrong guess moves live traffic.
"""

import re
from decimal import Decimal
from typing import Any, Final, NoReturn

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from controller.units import DURATION, DURATION_EXAMPLE, NUMBER, seconds

_BYTES: Final = {
    "": 1,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
}
_PERCENT: Final = rf"^({NUMBER})%$"
_POINTS: Final = rf"^({NUMBER})pp$"
_SIZE: Final = r"^([0-9]{1,15})(Ki|Mi|Gi|Ti|k|M|G|)$"


class _Quantity:
    """A string with a unit, between `least` and `most` (both written as a user would), read as a number."""

    pattern: str
    kind: str
    example: str

    def __init__(self, least: str, most: str) -> None:
        self._least, self._most = least, most
        self._bounds = self._number(least), self._number(most)

    def _number(self, text: str) -> Decimal:
        """The amount that `text` names; only called with text that matches `pattern`."""
        raise NotImplementedError

    def _convert(self, amount: Decimal) -> float | int:
        return float(amount)

    def read(self, value: object) -> float | int:
        """The amount in the field's own unit; PydanticCustomError when it is none, or out of bounds."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            self._refuse_unit(value)
        amount = self._number(value)
        if not self._bounds[0] <= amount <= self._bounds[1]:
            raise PydanticCustomError(
                "bounds",
                "{value} is out of bounds: from {least} to {most}",
                {"value": value, "least": self._least, "most": self._most},
            )
        return self._convert(amount)

    def _refuse_unit(self, value: object) -> NoReturn:
        shown = value if isinstance(value, (str, int, float)) else type(value).__name__
        raise PydanticCustomError(
            "unit",
            "{shown} is not {kind}: write {example}",
            {"shown": repr(shown)[:80], "kind": self.kind, "example": self.example},
        )

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "maxLength": 32, "pattern": self.pattern}


class Duration(_Quantity):
    """`60s`, `10m`, `1h30m`, `250ms`, `1d`: read as seconds (float)."""

    pattern = DURATION
    kind = "a duration"
    example = DURATION_EXAMPLE

    def _number(self, text: str) -> Decimal:
        return seconds(text)


class Milliseconds(Duration):
    """A duration read as whole milliseconds (int), as the wire wants it."""

    def _convert(self, amount: Decimal) -> int:
        return int(amount * 1000)


class Percent(_Quantity):
    """`5%`, `0.01%`: read as a fraction (float, 0 … 1)."""

    pattern = _PERCENT
    kind = "a percentage"
    example = "a number and %, such as 5% or 0.5%"

    def _number(self, text: str) -> Decimal:
        return Decimal(text.removesuffix("%")) / 100


class _WholePercent(Percent):
    """A percentage that must come out as a whole number of parts."""

    parts: int
    step: str

    def _convert(self, amount: Decimal) -> int:
        count = amount * self.parts
        if count != int(count):
            raise PydanticCustomError(
                "unit",
                "{value}% is finer than {step}, the smallest step",
                {"value": f"{(amount * 100).normalize():f}", "step": self.step},
            )
        return int(count)


class BasisPoints(_WholePercent):
    """A share of live traffic, read as basis points (int, 0 … 10,000)."""

    parts = 10_000
    step = "0.01%"


class PerMillion(_WholePercent):
    """A share of copies, read as parts per million (int)."""

    parts = 1_000_000
    step = "0.0001%"


class Points(_Quantity):
    """`0.02pp`, percentage points: read as a fraction (float)."""

    pattern = _POINTS
    kind = "a difference in percentage points"
    example = "a number and pp, such as 0.02pp"

    def _number(self, text: str) -> Decimal:
        return Decimal(text.removesuffix("pp")) / 100


class Size(_Quantity):
    """`8Mi`, `64Ki`, `512`: read as bytes (int)."""

    pattern = _SIZE
    kind = "a size"
    example = "a number and its unit, such as 64Ki, 8Mi or 1Gi"

    def _number(self, text: str) -> Decimal:
        found = re.match(_SIZE, text)
        if found is None:
            raise ValueError(f"{text!r} is not a size")
        return Decimal(int(found[1]) * _BYTES[found[2]])

    def _convert(self, amount: Decimal) -> int:
        return int(amount)
