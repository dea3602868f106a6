"""What holds the robot back besides evidence and readiness: the schedule.

It holds starts, increases and promotions only. Nothing here is asked by a decrease, by a rollback, or on the way back
to a version that was stable; and a person's `promote` goes past it, which the record then says.
"""

from controller.core.draft import Draft
from controller.core.schedule import Closed, state
from controller.core.status import Candidate, Track


def closed(draft: Draft) -> Closed | None:
    """What the schedule says, if it says no."""
    found = state(draft.spec.schedule, draft.now)
    return found if isinstance(found, Closed) else None


def on_start(draft: Draft, track: Track) -> str | None:
    """Why no trial on this track starts now; None when nothing holds it."""
    held = closed(draft) if track is not Track.RETURN else None
    return held.why if held is not None else None


def on_move(draft: Draft, candidate: Candidate) -> str | None:
    """Why the candidate gets no more share, and is not promoted, now; None when nothing holds it."""
    if candidate.track is Track.RETURN or _is_by_person(draft, candidate):
        return None
    held = closed(draft)
    return held.why if held is not None else None


def aside(draft: Draft, candidate: Candidate) -> str:
    """What the record of a person's move says of a schedule that would have held the robot; "" if it would not."""
    held = closed(draft) if candidate.track is not Track.RETURN else None
    return f", though {held.why}" if held is not None and _is_by_person(draft, candidate) else ""


def _is_by_person(draft: Draft, candidate: Candidate) -> bool:
    """Did a person say that this very move shall be?"""
    is_let_in = candidate.issued_generation == 0 and candidate.admitted_by != ""
    return is_let_in or candidate.pass_to > candidate.step
