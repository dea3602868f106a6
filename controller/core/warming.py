"""Warm before traffic: a candidate that is ready but slow at first gets none, of any kind, until it was measured warm.

Copies count as traffic here: a cold version's answers would be compared, and its latency with them. Warmth is asked
for before the first step is issued and before each increase, for an endpoint that restarted is cold again. After
`maxWait` on the candidate's own clock it goes on without, and an event says that it is not proven warm. On the way
back to a version that was stable nothing is asked: there, waiting would keep users at what they are to leave.
"""

from collections.abc import Mapping

from controller.core import draft as drafts
from controller.core.draft import Draft
from controller.core.slots import weight_of
from controller.core.spec import Spec
from controller.core.status import Candidate, Reason, Rival, Status, Track, VersionObserved
from controller.core.steps import Step, steps_of


def is_asked(spec: Spec, status: Status) -> bool:
    """Is it to be measured whether the candidate is warm: is a rise ahead of it, and `maxWait` not over?"""
    candidate, warmup = status.candidate, spec.warmup
    if candidate is None or warmup is None or candidate.failed is not None or candidate.track is Track.RETURN:
        return False
    ahead = steps_of(spec, candidate.track)[candidate.step :]
    has_all = all(step.weight <= weight_of(status.slots, candidate.name) for step in ahead)
    return not is_overdue(spec, candidate) and not (candidate.issued_generation and has_all)


def subject(spec: Spec, status: Status, versions: Mapping[str, VersionObserved]) -> Candidate | Rival | None:
    """Who is to be measured now, one at a time: the candidate, but rivals that wait for it once the candidate has traffic.

    A rival without a ready endpoint (`versions`, by identity) is passed over: the candidate does not wait for the dead.
    """
    candidate = status.candidate
    if candidate is not None and candidate.issued_generation and candidate.failed is None:
        for rival in status.rivals:
            seen = versions.get(rival.identity)
            if seen is not None and seen.endpoints and awaits(spec, candidate, rival):
                return rival
    return candidate if is_asked(spec, status) else None


def awaits(spec: Spec, candidate: Candidate, rival: Rival) -> bool:
    """Is the rival's first traffic to wait until it is warm? Not once the trial has lasted for `maxWait`."""
    if spec.warmup is None or rival.was_issued:
        return False
    return candidate.total_s < spec.warmup.max_wait_s


def is_overdue(spec: Spec, candidate: Candidate) -> bool:
    """Was it ready but not warm for as long as `maxWait`?"""
    return spec.warmup is not None and candidate.warming_s >= spec.warmup.max_wait_s


def clock(draft: Draft, candidate: Candidate) -> float:
    """How long the candidate has been ready but not warm, in seconds; says when that ends, either way."""
    seen, warmup = draft.seen(candidate.identity), draft.spec.warmup
    if warmup is None or not is_asked(draft.spec, draft.status) or not seen.endpoints:
        return candidate.warming_s
    if seen.is_warm:
        if candidate.warming_s:
            draft.tell(
                Reason.WARMED,
                f"{candidate.name} is warm after {candidate.warming_s:.0f} s: {seen.warmth}",
            )
        return 0.0
    waited = candidate.warming_s + draft.elapsed_s
    if waited >= warmup.max_wait_s:
        draft.tell(
            Reason.NOT_WARM,
            f"{candidate.name} goes on without being proven warm, for maxWait ({warmup.max_wait_s:.0f} s) is over"
            + (f": {seen.warmth}" if seen.warmth else ""),
        )
    return waited


def obstacle(draft: Draft, candidate: Candidate, step: Step) -> str | None:
    """Why this step's traffic waits for the candidate to be warm; None when it does not."""
    if candidate.issued_generation and not drafts.gains(draft, candidate, step):
        return None
    seen = draft.seen(candidate.identity)
    if draft.spec.warmup is None or candidate.track is Track.RETURN or seen.is_warm:
        return None
    if is_overdue(draft.spec, candidate):
        return None
    return f"{candidate.name} warms up: {seen.warmth or 'nothing is measured yet'}"


def told(draft: Draft, candidate: Candidate) -> str:
    """Why the first traffic may come, for the record: what is known of readiness and warmth."""
    if draft.spec.warmup is None or candidate.track is Track.RETURN:
        return "it is ready"
    seen = draft.seen(candidate.identity)
    return f"it is ready and warm ({seen.warmth})" if seen.is_warm else "it is ready, though not proven warm"
