"""Durations, percentages, percentage points and sizes as people write them: strings with a unit, and bounds.

A bare number is refused: `60` could be seconds or minutes, and a wrong guess moves live traffic.
"""

import re
from decimal import Decimal
from typing import Any, Final, NoReturn

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from controller.crd import cel
from controller.units import DURATION, DURATION_EXAMPLE, DURATION_WRITTEN, NUMBER, seconds

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


CHARACTERS_MAX: Final = 32


def _plain(amount: Decimal) -> str:
    """Without an exponent and without noughts that say nothing."""
    return f"{amount.normalize():f}"


class Quantity:
    """A string with a unit, between `least` and `most` (both written as a user would), read as a number."""

    pattern: str
    written: str
    """The same pattern in RE2, without its anchors."""
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
        return {
            "type": "string",
            "minLength": 1,
            "maxLength": CHARACTERS_MAX,
            "x-kubernetes-validations": [
                cel.shaped(self.written, f"is not {self.kind}: write {self.example}", rule="unit"),
                cel.validation(
                    "bounds",
                    f"!{cel.whole('self', self.written)} || ({self._within()})",
                    f"%s is out of bounds: from {cel.escaped(self._least)} to {cel.escaped(self._most)}",
                    "self",
                ),
                *self._finer(),
            ],
        }

    def write(self, amount: float) -> str:
        """The text that is read as this amount."""
        raise NotImplementedError

    def _amount(self) -> str:
        """CEL: the amount that `self` names, in the unit of `_bound`."""
        raise NotImplementedError

    def _bound(self, amount: Decimal) -> Decimal:
        return amount

    def _within(self) -> str:
        least, most = (f"{_plain(self._bound(amount))}" for amount in self._bounds)
        return f"{self._amount()} >= double({least}) && {self._amount()} <= double({most})"

    def _finer(self) -> list[cel.Validation]:
        return []


class Duration(Quantity):
    """`60s`, `10m`, `1h30m`, `250ms`, `1d`: read as seconds (float)."""

    pattern = DURATION
    written = DURATION_WRITTEN
    kind = "a duration"
    example = DURATION_EXAMPLE

    def _number(self, text: str) -> Decimal:
        return seconds(text)

    def write(self, amount: float) -> str:
        """`90.0` as `90s`: in the largest unit of which it is a whole number."""
        left = Decimal(str(amount))
        for unit, worth_s in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
            if left % worth_s == 0 and (left or unit == "s"):
                return f"{int(left / worth_s)}{unit}"
        return f"{(left * 1000).normalize():f}ms"

    def _amount(self) -> str:
        return cel.sound_seconds("self")


class Milliseconds(Duration):
    """A duration read as whole milliseconds (int), as the wire wants it."""

    def _convert(self, amount: Decimal) -> int:
        return int(amount * 1000)

    def write(self, amount: float) -> str:
        """`1500` as `1500ms`, `2000` as `2s`."""
        return super().write(amount / 1000)


class Percent(Quantity):
    """`5%`, `0.01%`: read as a fraction (float, 0 … 1)."""

    pattern = _PERCENT
    written = _PERCENT.strip("^$")
    kind = "a percentage"
    example = "a number and %, such as 5% or 0.5%"

    def _number(self, text: str) -> Decimal:
        return Decimal(text.removesuffix("%")) / 100

    def write(self, amount: float) -> str:
        """`0.05` as `5%`."""
        return f"{_plain(Decimal(str(amount)) * 100)}%"

    def _amount(self) -> str:
        return cel.number("self")

    def _bound(self, amount: Decimal) -> Decimal:
        return amount * 100


class _WholePercent(Percent):
    """A percentage that must come out as a whole number of parts."""

    parts: int
    step: str
    digits: int
    """Places after the point that `step` leaves."""

    def write(self, amount: float) -> str:
        """`500` basis points as `5%`."""
        return f"{_plain(Decimal(amount) * 100 / self.parts)}%"

    def _finer(self) -> list[cel.Validation]:
        coarse = rf"[0-9]+([.][0-9]{{1,{self.digits}}}0*)?%"
        fine = f"{cel.whole('self', self.written)} && !{cel.whole('self', coarse)}"
        return [
            cel.validation(
                "unit",
                f"!({fine})",
                f"%s is finer than {cel.escaped(self.step)}, the smallest step",
                "self",
            )
        ]

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
    digits = 2


class PerMillion(_WholePercent):
    """A share of copies, read as parts per million (int)."""

    parts = 1_000_000
    step = "0.0001%"
    digits = 4


class Points(Quantity):
    """`0.02pp`, percentage points: read as a fraction (float)."""

    pattern = _POINTS
    written = _POINTS.strip("^$")
    kind = "a difference in percentage points"
    example = "a number and pp, such as 0.02pp"

    def _number(self, text: str) -> Decimal:
        return Decimal(text.removesuffix("pp")) / 100

    def write(self, amount: float) -> str:
        """`0.0002` as `0.02pp`."""
        return f"{_plain(Decimal(str(amount)) * 100)}pp"

    def _amount(self) -> str:
        return cel.number("self")

    def _bound(self, amount: Decimal) -> Decimal:
        return amount * 100


class Size(Quantity):
    """`8Mi`, `64Ki`, `512`: read as bytes (int)."""

    pattern = _SIZE
    written = _SIZE.strip("^$")
    kind = "a size"
    example = "a number and its unit, such as 64Ki, 8Mi or 1Gi"

    def _number(self, text: str) -> Decimal:
        found = re.match(_SIZE, text)
        if found is None:
            raise ValueError(f"{text!r} is not a size")
        return Decimal(int(found[1]) * _BYTES[found[2]])

    def _convert(self, amount: Decimal) -> int:
        return int(amount)

    def write(self, amount: float) -> str:
        """`8388608` as `8Mi`."""
        for unit in ("Ti", "Gi", "Mi", "Ki"):
            if amount and amount % _BYTES[unit] == 0:
                return f"{int(amount) // _BYTES[unit]}{unit}"
        return str(int(amount))

    def _within(self) -> str:
        least, most = cel.text(self._least), cel.text(self._most)
        return f"quantity(self).compareTo(quantity({least})) >= 0 && quantity(self).compareTo(quantity({most})) <= 0"
