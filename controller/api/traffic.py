"""What the routers do, as people read it: desired shares, acknowledged ones, and each router by itself.

A router's share of a version is said only where it is known: from the plan it says it runs (of the present epoch;
another epoch acknowledges nothing), from its pin, or from its guard.
"""

from collections.abc import Callable, Mapping, Sequence

from controller.api.shown import Json, instant, share, share_or_none
from controller.core.draft import SILENT_S
from controller.core.spec import FULL
from controller.core.status import Candidate, Retiring, RouterObserved, Status


def is_synced(status: Status, router: RouterObserved) -> bool:
    """Whether this router runs the present plan (wherever its endpoints are)."""
    applied = router.applied
    return applied.epoch == status.epoch and applied.generation >= status.generation


def desired(status: Status) -> Mapping[str, int]:
    """The share the present plan gives each version, in basis points; versions without one are not there."""
    shares: dict[str, int] = {}
    for owned in status.slots:
        shares[owned.version] = shares.get(owned.version, 0) + owned.end - owned.start
    return shares


def weights(status: Status, routers: Sequence[RouterObserved]) -> Json | None:
    """The share of the candidate, or else of the version that left last and still drains: desired and acknowledged.

    `acknowledged` is the interval over the routers where it is known; `unknown` names the others.
    """
    draining = [left for left in status.retiring if left.elapsed_s <= left.drain_s]
    subject = status.candidate or (draining[-1] if draining else None)
    if subject is None or not status.slots:
        return None
    return {
        "version": subject.name,
        "desired": share(desired(status).get(subject.name, 0)),
        "acknowledged": acknowledged(status, subject, routers),
    }


def acknowledged(status: Status, subject: Candidate | Retiring, routers: Sequence[RouterObserved]) -> Json:
    """Between which shares of this version the routers are, and those of which it is not known."""
    known = {router.id: _weight_at(status, subject, router) for router in routers}
    shares = [weight for weight in known.values() if weight is not None]
    return {
        "low": share_or_none(min(shares, default=None)),
        "high": share_or_none(max(shares, default=None)),
        "unknown": [name for name, weight in known.items() if weight is None],
    }


def routers(status: Status, seen: Sequence[RouterObserved], now: float) -> list[Json]:
    """Every router that counts: what it runs, the candidate's share there, when it was heard, what is wrong."""
    weight_at = _candidate_weight(status)
    return [
        {
            "id": router.id,
            "applied": str(router.applied),
            "synced": is_synced(status, router),
            "candidateWeight": share_or_none(weight_at(router)),
            "seenAt": instant(router.seen_at),
            "ageSeconds": round(max(now - router.seen_at, 0.0), 1) if router.seen_at else None,
            "silent": now - router.seen_at > SILENT_S,
            "error": router.error or None,
            "pinned": router.pinned,
            "trips": [trip.text for trip in router.trips],
        }
        for router in seen
    ]


def _candidate_weight(status: Status) -> Callable[[RouterObserved], int | None]:
    candidate = status.candidate
    if candidate is None:
        return lambda router: None
    return lambda router: _weight_at(status, candidate, router)


def _weight_at(status: Status, subject: Candidate | Retiring, router: RouterObserved) -> int | None:
    """The version's share at this router, in basis points; None when it is not known what it runs."""
    if router.pinned is not None:
        return FULL if router.pinned == subject.name else 0
    if router.applied.epoch != status.epoch:
        return None
    if isinstance(subject, Retiring):
        return 0 if router.applied.generation >= subject.since_generation else None
    if any((trip.identity, trip.attempt) == (subject.identity, subject.attempt) for trip in router.trips):
        return 0
    return dict(status.recent_weights).get(router.applied.generation)
