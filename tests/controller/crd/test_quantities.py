"""Quantities are strings with a unit and bounds; a wrong unit says what would be right."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from controller.crd.quantities import BasisPoints, Duration, Milliseconds, Percent, PerMillion, Points, Size

DURATION = Duration("0s", "90d")
READ: list[tuple[Any, str, float | int]] = [
    (DURATION, "60s", 60.0),
    (DURATION, "10m", 600.0),
    (DURATION, "1h30m", 5400.0),
    (DURATION, "24h", 86_400.0),
    (DURATION, "1d", 86_400.0),
    (DURATION, "500ms", 0.5),
    (DURATION, "1m500ms", 60.5),
    (DURATION, "1.5s", 1.5),
    (DURATION, "1d2h3m4s5ms", 93_784.005),
    (DURATION, "0s", 0.0),
    (Milliseconds("1ms", "1h"), "1.5s", 1500),
    (Percent("0%", "100%"), "5%", 0.05),
    (Percent("0%", "100%"), "0.01%", 0.0001),
    (BasisPoints("0%", "100%"), "0.01%", 1),
    (BasisPoints("0%", "100%"), "33.33%", 3333),
    (BasisPoints("0%", "100%"), "100%", 10_000),
    (PerMillion("0%", "100%"), "0.0001%", 1),
    (PerMillion("0%", "100%"), "100%", 1_000_000),
    (Points("0pp", "100pp"), "0.02pp", 0.0002),
    (Size("0", "1Gi"), "8Mi", 8 * 2**20),
    (Size("0", "1Gi"), "64Ki", 65_536),
    (Size("0", "1Gi"), "512", 512),
    (Size("0", "1Gi"), "5M", 5_000_000),
]


@pytest.mark.parametrize(("kind", "text", "amount"), READ)
def test_a_quantity_with_its_unit_is_read_exactly(kind: Any, text: str, amount: float | int) -> None:
    found = kind.read(text)
    assert found == amount
    assert type(found) is type(amount)


WRONG: list[tuple[Any, object, str]] = [
    (DURATION, "60", "'60' is not a duration: write a number and its unit, such as 500ms, 60s"),
    (DURATION, 60, "60 is not a duration"),
    (DURATION, "5%", "is not a duration"),
    (DURATION, "1m1h", "is not a duration"),
    (DURATION, "-5s", "is not a duration"),
    (DURATION, "s", "is not a duration"),
    (DURATION, "", "is not a duration"),
    (DURATION, "5 s", "is not a duration"),
    (DURATION, "5s\n", "is not a duration"),
    (DURATION, "٥s", "is not a duration"),
    (DURATION, "1e3s", "is not a duration"),
    (DURATION, True, "is not a duration"),
    (DURATION, ["60s"], "'list' is not a duration"),
    (DURATION, "91d", "91d is out of bounds: from 0s to 90d"),
    (DURATION, "9" * 400 + "s", "is not a duration"),
    (Percent("1%", "50%"), 5, "5 is not a percentage: write a number and %, such as 5%"),
    (Percent("1%", "50%"), "60s", "is not a percentage"),
    (Percent("1%", "50%"), "0.05", "is not a percentage"),
    (Percent("1%", "50%"), "0.5pp", "is not a percentage"),
    (Percent("1%", "50%"), "50.1%", "50.1% is out of bounds: from 1% to 50%"),
    (BasisPoints("0%", "100%"), "120%", "120% is out of bounds"),
    (BasisPoints("0%", "100%"), "0.001%", "0.001% is finer than 0.01%, the smallest step"),
    (
        Points("0pp", "100pp"),
        "0.02%",
        "is not a difference in percentage points: write a number and pp, such as 0.02pp",
    ),
    (Size("0", "1Gi"), "8MB", "is not a size: write a number and its unit, such as 64Ki"),
    (Size("0", "1Gi"), 8, "8 is not a size"),
    (Size("1Ki", "1Gi"), "2Gi", "2Gi is out of bounds: from 1Ki to 1Gi"),
]


@pytest.mark.parametrize(("kind", "value", "sentence"), WRONG)
def test_anything_else_is_refused_with_what_would_be_right(kind: Any, value: object, sentence: str) -> None:
    with pytest.raises(PydanticCustomError) as refused:
        kind.read(value)
    assert sentence in refused.value.message()


@given(st.integers(0, 10_000))
def test_every_weight_survives_being_written_and_read(basis_points: int) -> None:
    assert BasisPoints("0%", "100%").read(f"{basis_points / 100:.2f}%") == basis_points


@given(st.text() | st.integers() | st.floats() | st.none() | st.lists(st.text()))
def test_no_value_whatever_does_more_than_be_refused(value: object) -> None:
    for kind in (
        DURATION,
        Percent("0%", "100%"),
        BasisPoints("0%", "100%"),
        Points("0pp", "9pp"),
        Size("0", "1Mi"),
    ):
        try:
            assert kind.read(value) >= 0
        except PydanticCustomError:
            continue
