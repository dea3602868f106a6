"""What holds the robot back besides evidence and readiness: the schedule, and hooks that have not said yes.

They hold starts, increases and promotions only. Nothing here is asked by a decrease, by a rollback, or on the way back
to a version that was stable; and a person's `promote` goes past it, which the record then says.
"""

from controller.core import hooks
from controller.core.draft import Draft
from controller.core.schedule import Closed, state
from controller.core.spec import VersionSpec
from controller.core.status import Candidate, Track
from controller.core.steps import Step


def closed(draft: Draft) -> Closed | None:
    """What the schedule says, if it says no."""
    found = state(draft.spec.schedule, draft.now)
    return found if isinstance(found, Closed) else None


def on_start(draft: Draft, target: VersionSpec, track: Track) -> str | None:
    """Why no trial of this version starts now; None when nothing holds it."""
    held = closed(draft) if track is not Track.RETURN else None
    return held.why if held is not None else hooks.unanswered_start(draft, target, track)


def on_move(draft: Draft, candidate: Candidate) -> str | None:
    """Why the schedule gives the candidate no more share, and does not promote it, now; None when it does not mind."""
    if candidate.track is Track.RETURN or _is_by_person(candidate):
        return None
    held = closed(draft)
    return held.why if held is not None else None


def on_hooks(draft: Draft, candidate: Candidate, step: Step | None) -> str | None:
    """The hook that holds this step (None: the promotion); None when none does."""
    return None if candidate.pass_to > candidate.step else hooks.unanswered(draft, candidate, step)


def on_promotion(draft: Draft, candidate: Candidate) -> str | None:
    """Why the candidate, which has all traffic, is not promoted now; None when nothing holds it."""
    return on_move(draft, candidate) or on_hooks(draft, candidate, None)


def must_ask(draft: Draft, candidate: Candidate, step: Step | None) -> bool:
    """Was a hook asked just now, before this step (None: the promotion)? Then its answer is waited for."""
    return candidate.pass_to <= candidate.step and hooks.ask(draft, candidate, step)


def aside(draft: Draft, candidate: Candidate, step: Step | None) -> str:
    """What the record of a person's move says of what would have held the robot; "" if nothing would."""
    if candidate.track is Track.RETURN or not _is_by_person(candidate):
        return ""
    held = closed(draft)
    passed = hooks.skipped(draft, candidate, step) if candidate.pass_to > candidate.step else None
    stable = draft.status.stable
    gone = (
        None
        if stable is None or draft.is_ready(stable)
        else f"{stable.name} has no ready endpoint to go back to"
    )
    why = " and ".join(why for why in (held.why if held else None, passed, gone) if why)
    return f", though {why}" if why else ""


def _is_by_person(candidate: Candidate) -> bool:
    """Did a person say that this very move shall be?"""
    is_let_in = candidate.issued_generation == 0 and candidate.admitted_by != ""
    return is_let_in or candidate.pass_to > candidate.step
