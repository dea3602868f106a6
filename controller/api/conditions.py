"""Conditions, for programs that wait: kstatus (Ready, Reconciling, Stalled) and our own, abnormal ones True."""

from collections.abc import Mapping

from controller.api import traffic
from controller.api.shown import Json, Seen
from controller.core.checks import Lack
from controller.core.status import Phase, Way


def conditions(seen: Seen) -> list[Json]:
    """All conditions of a rollout; at most one of Ready, Reconciling and Stalled is True."""
    status = seen.stored.status
    is_current = status.observed_generation == seen.stored.generation
    is_stuck = is_current and status.phase in (Phase.STALLED, Phase.ROLLED_BACK)
    is_ready = is_current and status.phase is Phase.HEALTHY
    reason = status.phase.value if is_current else "NewGeneration"
    return [
        _condition("Ready", is_ready, reason, status.message),
        _condition("Reconciling", not is_ready and not is_stuck, reason, status.message),
        _condition("Stalled", is_stuck, reason, status.message),
        _traffic_synced(seen),
        _analysis_healthy(seen),
        _paused(seen),
        _overridden(seen),
        *_taken_over(seen),
    ]


def _condition(kind: str, is_true: bool | None, reason: str, message: str = "") -> Json:
    status = "Unknown" if is_true is None else str(is_true)
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _traffic_synced(seen: Seen) -> Json:
    late = [router.id for router in seen.routers if not traffic.is_synced(seen.stored.status, router)]
    if not seen.routers:
        return _condition("TrafficSynced", None, "NoRouter", "no router has polled for the plan yet")
    if late:
        return _condition("TrafficSynced", False, "NotAcknowledged", f"not yet: {', '.join(late[:16])}")
    count = len(seen.routers)
    return _condition("TrafficSynced", True, "Acknowledged", f"{count} of {count} routers run the plan")


def _analysis_healthy(seen: Seen) -> Json:
    results = [result for result in seen.results if result.required and not result.dry_run]
    if seen.stored.status.candidate is None or not results:
        return _condition("AnalysisHealthy", None, "NothingToAnalyse")
    blind = [result for result in results if result.lack is Lack.NO_DATA]
    if blind:
        return _condition("AnalysisHealthy", False, "NoData", f"{blind[0].check}: {blind[0].text}")
    return _condition("AnalysisHealthy", True, "HasData")


def _paused(seen: Seen) -> Json:
    pause = seen.stored.status.paused
    if pause is not None:
        return _condition(
            "Paused", True, "Paused", f"by {pause.by}" + (f": {pause.reason}" * bool(pause.reason))
        )
    if seen.spec is not None and seen.spec.paused:
        return _condition("Paused", True, "PausedBySpec", "spec.paused is true")
    return _condition("Paused", False, "NotPaused")


def _overridden(seen: Seen) -> Json:
    pinned = [f"{router.id} is pinned to {router.pinned}" for router in seen.routers if router.pinned]
    way, _, name = seen.stored.status.entrance.partition(" ")
    changed = [sentence for _, sentence in seen.stored.status.overridden[:8]]
    changed += [f"{name} was changed by hand and is left so"] if way == Way.CHANGED else []
    reason = "Pinned" if pinned else "Changed" if changed else "NotOverridden"
    return _condition("Overridden", bool(pinned or changed), reason, "; ".join([*changed, *pinned[:8]]))


def _taken_over(seen: Seen) -> list[Json]:
    """Only where the rollout asks for it: does the Service of `takeOver` lead to the routers?"""
    way, _, name = seen.stored.status.entrance.partition(" ")
    asked: object = seen.stored.document
    for field in ("spec", "traffic", "router", "takeOver"):
        asked = asked.get(field) if isinstance(asked, Mapping) else None
    if not asked and not name:
        return []
    if way == Way.LED:
        return [_condition("TakenOver", True, "LedToRouters", f"{name} leads to the routers")]
    return [_condition("TakenOver", False, "NotYet" if not way else "Changed", seen.stored.status.message)]
