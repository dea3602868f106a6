"""Why the routers allow no increase now: nobody to carry it out, or somebody who does not run what he was given."""

from controller.core import draft as drafts
from controller.core import entrance
from controller.core.draft import Draft


def obstacle(draft: Draft) -> str | None:
    """Why the routers do not allow an increase now; None when they do."""
    if not draft.observed.routers:
        return "no router has asked for its plan yet"
    led_elsewhere = entrance.obstacle(draft)
    if led_elsewhere is not None:
        return led_elsewhere
    for router in draft.observed.routers:
        if router.pinned is not None:
            return f"router {router.id} is pinned to {router.pinned}: unpin it to go on"
        if router.error:
            return f"router {router.id} refused the plan: {router.error}"
    silent = drafts.silent(draft)
    if silent:
        return f"router {silent[0].id} is silent: bring it back, or `headgate router forget {silent[0].id}`"
    lagging = drafts.lagging(draft, draft.status.generation)
    if lagging:
        return f"router {lagging[0].id} has not acknowledged plan {draft.status.generation}"
    return None
