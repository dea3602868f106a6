"""Slots: always 10,000 of them, moved between stable and one version only, and as few as possible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core import slots
from headgate.wire.plan import SLOTS, SlotRange

WEIGHTS = st.lists(st.integers(0, SLOTS), min_size=1, max_size=8)


def owner(owned: slots.Slots, number: int) -> str:
    return next(each.version for each in owned if each.start <= number < each.end)


@given(WEIGHTS)
def test_whatever_weights_follow_each_other_the_version_has_just_that_and_the_sum_is_10_000(weights):
    now = slots.all_to("v1")
    for weight in weights:
        now = slots.with_weight(now, "v1", "v2", weight)
        assert slots.weight_of(now, "v2") == weight
        assert slots.weight_of(now, "v1") == SLOTS - weight
        assert slots.is_sound(now, {"v1", "v2"})


@given(st.integers(0, SLOTS), st.integers(0, SLOTS), st.integers(0, SLOTS - 1))
def test_nobody_changes_version_but_those_whom_the_change_needs(before, after, number):
    first = slots.with_weight(slots.all_to("v1"), "v1", "v2", before)
    then = slots.with_weight(first, "v1", "v2", after)
    was, now = owner(first, number), owner(then, number)
    assert was == now or (was, now) == (("v1", "v2") if after > before else ("v2", "v1"))


def test_who_came_last_leaves_first():
    at_five = slots.with_weight(slots.all_to("v1"), "v1", "v2", 500)
    at_fifty = slots.with_weight(at_five, "v1", "v2", 5000)
    assert slots.with_weight(at_fifty, "v1", "v2", 500) == at_five


def test_a_raise_takes_from_stable_only():
    others = (SlotRange(0, 3000, "v3"), SlotRange(3000, SLOTS, "v1"))
    raised = slots.with_weight(others, "v1", "v2", 8000)
    assert slots.weight_of(raised, "v3") == 3000
    assert slots.weight_of(raised, "v2") == 7000


def test_a_weight_below_nothing_is_nothing():
    assert slots.with_weight(slots.all_to("v1"), "v1", "v2", -5) == slots.all_to("v1")


@pytest.mark.parametrize(
    "broken",
    [
        (),
        (SlotRange(0, 9_999, "v1"),),
        (SlotRange(1, SLOTS, "v1"),),
        (SlotRange(0, 10_001, "v1"),),
        (SlotRange(0, 5000, "v1"), SlotRange(5001, SLOTS, "v2")),
        (SlotRange(0, 5000, "v1"), SlotRange(4999, SLOTS, "v2")),
        (SlotRange(0, 0, "v1"), SlotRange(0, SLOTS, "v1")),
        (SlotRange(0, 5000, "v1"), SlotRange(5000, SLOTS, "v9")),
    ],
)
def test_gaps_overlaps_wrong_sums_and_strangers_are_not_sound(broken):
    assert not slots.is_sound(broken, {"v1", "v2"})
