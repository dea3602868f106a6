"""The checks on a recorded history notice each thing that they are there for."""

from dataclasses import replace
from typing import Any

import pytest

from controller.adapters.kubernetes import status as packed
from controller.core import slots
from controller.core.status import Cause, Failed, Status, VersionRef
from headgate.wire.plan import SlotRange
from tests.faults.recorded import Object, broken

STABLE = slots.all_to("v1")
HALF = slots.with_weight(STABLE, "v1", "v2", 5000)
BEFORE = Status(stable=VersionRef("v1", "id-1"), slots=STABLE, epoch=3, generation=4, observed_generation=2)
RAISED = {"reason": "WeightRaised", "version": "v2", "weightBefore": "0%", "weightAfter": "50%"}
FAILED = (Failed("v2", "id-2", 1, Cause.GUARD, "", 0.0),)


def history(*states: Status, decisions: tuple[dict[str, Any], ...] = ()) -> list[Object]:
    return [
        {
            "metadata": {"resourceVersion": str(number)},
            "status": {"state": packed.encode(packed.Kept(state)), "decisions": list(decisions)},
        }
        for number, state in enumerate(states)
    ]


def test_a_recorded_raise_breaks_nothing() -> None:
    assert broken(history(BEFORE, replace(BEFORE, slots=HALF, epoch=4), decisions=(RAISED,))) == []


@pytest.mark.parametrize(
    ("before", "after", "decisions", "says"),
    [
        (BEFORE, replace(BEFORE, slots=HALF), (), "without a record"),
        (BEFORE, replace(BEFORE, slots=HALF), (RAISED, RAISED), "recorded 2 times"),
        (BEFORE, replace(BEFORE, epoch=2), (), "epoch 2 after 3"),
        (BEFORE, replace(BEFORE, generation=3), (), "plan 3 after 4"),
        (BEFORE, replace(BEFORE, observed_generation=1), (), "generation 1 after 2"),
        (replace(BEFORE, handled=("a",)), BEFORE, (), "I16"),
        (replace(BEFORE, failed=FAILED), replace(BEFORE, failed=FAILED, slots=HALF), (RAISED,), "I3"),
        (BEFORE, replace(BEFORE, slots=(SlotRange(0, 9999, "v1"),)), (), "I2"),
    ],
)
def test_a_break_is_told(
    before: Status, after: Status, decisions: tuple[dict[str, Any], ...], says: str
) -> None:
    found = broken(history(before, after, decisions=decisions))
    assert len(found) == 1, found
    assert says in found[0]
