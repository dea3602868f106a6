"""Slots: who owns which of the 10,000 ranges that users' keys hash into.

A weight changes by moving as few slots as it can, and only between stable and the version whose weight changes, so
no other user ever changes version. Raising takes stable's lowest slots, lowering gives the version's highest back.
"""

from collections.abc import Iterable, Sequence

from headgate.wire.plan import SLOTS, SlotRange

Slots = tuple[SlotRange, ...]


def all_to(version: str) -> Slots:
    """Every slot to one version."""
    return (SlotRange(0, SLOTS, version),)


def weight_of(slots: Iterable[SlotRange], version: str) -> int:
    """How many slots the version owns, 0 … 10,000."""
    return sum(owned.end - owned.start for owned in slots if owned.version == version)


def with_weight(slots: Slots, stable: str, version: str, weight: int) -> Slots:
    """The slots after `version`'s share became `weight`, the difference taken from or given back to `stable`.

    A raise takes at most what stable owns. `stable` and `version` are different versions.
    """
    have = weight_of(slots, version)
    if weight > have:
        return _merged(_taken(slots, stable, version, weight - have))
    return _merged(reversed(_taken_from_top(slots, version, stable, have - max(weight, 0))))


def renamed(slots: Slots, before: str, after: str) -> Slots:
    """The slots with everything of one version given to another."""
    return _merged(SlotRange(s.start, s.end, after if s.version == before else s.version) for s in slots)


def _taken(slots: Sequence[SlotRange], giver: str, taker: str, count: int) -> list[SlotRange]:
    result: list[SlotRange] = []
    for owned in slots:
        take = min(count, owned.end - owned.start) if owned.version == giver else 0
        if take:
            result.append(SlotRange(owned.start, owned.start + take, taker))
            count -= take
        if owned.start + take < owned.end:
            result.append(SlotRange(owned.start + take, owned.end, owned.version))
    return result


def _taken_from_top(slots: Sequence[SlotRange], giver: str, taker: str, count: int) -> list[SlotRange]:
    result: list[SlotRange] = []
    for owned in reversed(slots):
        take = min(count, owned.end - owned.start) if owned.version == giver else 0
        if take:
            result.append(SlotRange(owned.end - take, owned.end, taker))
            count -= take
        if owned.start < owned.end - take:
            result.append(SlotRange(owned.start, owned.end - take, owned.version))
    return result


def _merged(slots: Iterable[SlotRange]) -> Slots:
    result: list[SlotRange] = []
    for owned in slots:
        if result and result[-1].version == owned.version and result[-1].end == owned.start:
            owned = SlotRange(result.pop().start, owned.end, owned.version)
        result.append(owned)
    return tuple(result)


def is_sound(slots: Slots, owners: frozenset[str] | set[str]) -> bool:
    """Do the slots cover 0 … 10,000 without gap or overlap, all of them owned by one of `owners`?"""
    reached = 0
    for owned in slots:
        if owned.start != reached or owned.end <= owned.start or owned.version not in owners:
            return False
        reached = owned.end
    return reached == SLOTS
