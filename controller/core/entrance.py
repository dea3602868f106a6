"""How users come to the routers, where the rollout may lead them there: what is told of it, and what it holds."""

from dataclasses import replace

from controller.core.draft import Draft
from controller.core.status import Reason, Way


def tell(draft: Draft) -> None:
    """Say once that users are led to the routers, or past them again, or elsewhere by somebody else."""
    seen, before = draft.observed.entrance, draft.status.entrance
    if seen is not None and seen.way is Way.UNKNOWN:
        return
    now = f"{seen.way} {seen.name}" if seen is not None and seen.way is not Way.PAST else ""
    if now == before:
        return
    draft.status = replace(draft.status, entrance=now)
    was, _, name = before.partition(" ")
    if was == Way.LED and (seen is None or seen.way is Way.PAST or seen.name != name):
        draft.tell(Reason.GIVEN_BACK, f"{name} leads to the routers no more")
    if seen is not None and seen.way is Way.LED:
        draft.tell(Reason.TAKEN_OVER, f"{seen.name} leads to the routers")
    if seen is not None and seen.way is Way.CHANGED:
        draft.tell(Reason.OVERRIDDEN, seen.message)


def obstacle(draft: Draft) -> str | None:
    """Why nothing rises while somebody leads the users elsewhere; None while nobody does."""
    seen = draft.observed.entrance
    return seen.message if seen is not None and seen.way is Way.CHANGED else None


def unmet(draft: Draft) -> str:
    """What is not as the rollout asks for, and nobody changed by hand; "" when nothing is."""
    seen = draft.observed.entrance
    if seen is None or seen.way in (Way.CHANGED, Way.UNKNOWN):
        return ""
    is_led_as_asked = seen.is_wanted == (seen.way is Way.LED)
    return seen.message or ("" if is_led_as_asked else f"{seen.name} is about to change")


def is_stuck(draft: Draft) -> bool:
    """Has a person to do something about it?"""
    seen = draft.observed.entrance
    return seen is not None and seen.is_stuck
