"""What other people did to a rollout's objects, and what they have to mend before a version can serve: told once each.

Both outlive a restart: they are part of the status, so the next controller neither forgets them nor tells them again.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from controller.core.draft import Draft
from controller.core.status import Candidate, Reason, VersionObserved

OVERRIDDEN_MAX: Final = 16


def tell(draft: Draft) -> None:
    """Say what somebody else changed by hand since, and that the candidate cannot become ready by itself."""
    before = dict(draft.status.overridden)
    now = tuple(sorted(_overridden(draft, before)))[:OVERRIDDEN_MAX]
    for subject, sentence in now:
        if before.get(subject) != sentence:
            draft.tell(Reason.OVERRIDDEN, sentence)
    draft.status = replace(draft.status, overridden=now)
    if draft.status.candidate is not None:
        _tell_trouble(draft, draft.status.candidate)


def _overridden(draft: Draft, before: dict[str, str]) -> Iterator[tuple[str, str]]:
    """By version's identity or router's id what is not as we wrote it; as before where that is not known now."""
    seen = [(identity, version.override) for identity, version in draft.observed.versions.items()]
    seen += [(router.id, router.override) for router in draft.observed.routers]
    for subject, sentence in seen:
        found = before.get(subject) if sentence is None else sentence
        if found:
            yield subject, found


def _tell_trouble(draft: Draft, candidate: Candidate) -> None:
    """Once until it is ready. That it keeps crashing ends its trial, and is told by that."""
    seen = draft.seen(candidate.identity)
    is_told = not seen.endpoints and (candidate.in_trouble or bool(seen.trouble))
    if seen.is_crash_looping or is_told == candidate.in_trouble:
        return
    if is_told:
        draft.tell(Reason.NOT_READY, f"{candidate.name} cannot become ready: {seen.trouble}")
    draft.status = replace(draft.status, candidate=replace(candidate, in_trouble=is_told))


def is_unknown(draft: Draft, seen: VersionObserved) -> bool:
    """Is it not known yet whether a person has to do something for this version, or about who serves it?"""
    if not seen.endpoints:
        return seen.trouble is None
    return any(router.override is None for router in draft.observed.routers)


def obstacle(draft: Draft, candidate: Candidate) -> str | None:
    """Why nothing rises while somebody else's hand is in what serves; None while it is not."""
    stable = draft.status.stable
    serves = {candidate.identity, stable.identity if stable is not None else ""}
    return next((sentence for subject, sentence in draft.status.overridden if subject in serves), None)
