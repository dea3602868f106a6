"""What must hold of every decision, checked before it is applied. A violation is a bug: nothing of it is applied.

The numbers are those of `docs/reliability.md`; the rest of them need the world and are checked in tests.
"""

from controller.core import slots, steps
from controller.core.spec import Spec
from controller.core.status import Candidate, Decision, Observed, Reason, Status, Track, VersionRef


def violations(spec: Spec, before: Status, decision: Decision, observed: Observed) -> tuple[str, ...]:
    """What the decision breaks, a sentence each; empty for a sound decision."""
    return (
        *_share_is_allowed(spec, decision.status),
        *_shares_add_up(decision),
        *_failed_only_falls(before, decision.status),
        *_raised_only_when_ready(before, decision.status, observed),
        *_raised_only_when_warm(spec, before, decision.status, observed),
        *_raises_are_recorded(before, decision),
        *_numbers_never_fall(before, decision),
    )


def _share_is_allowed(spec: Spec, after: Status) -> tuple[str, ...]:
    candidate = after.candidate
    if candidate is None:
        return ()
    share = slots.weight_of(after.slots, candidate.name)
    if candidate.issued_generation == 0:
        return () if share == 0 else (f"I1: {candidate.name} has {share} before its first step was issued",)
    allowed = steps.at(steps.steps_of(spec, candidate.track), candidate.step).weight
    return () if share <= allowed else (f"I1: {candidate.name} has {share}, its step allows {allowed}",)


def _shares_add_up(decision: Decision) -> tuple[str, ...]:
    after = decision.status
    if after.stable is None:
        return () if decision.plan is None else ("I2: a plan without a stable version",)
    owners = {after.stable.name} | ({after.candidate.name} if after.candidate else set())
    found = (
        [] if slots.is_sound(after.slots, owners) else [f"I2: slots {after.slots} are not 10,000 of {owners}"]
    )
    if decision.plan is not None and decision.plan.slots != after.slots:
        found.append("I2: the plan's slots are not those of the status")
    return tuple(found)


def _failed_only_falls(before: Status, after: Status) -> tuple[str, ...]:
    """A version that stays stable may have failed, too: what is taken from a worse one has nowhere else to go."""
    failed = {f.identity for f in before.failed if f.is_latched} & {
        f.identity for f in after.failed if f.is_latched
    }
    return tuple(
        f"I3: {identity} has failed and its share rose from {_share(before, identity)} to {_share(after, identity)}"
        for identity in sorted(failed)
        if _share(after, identity) > _share(before, identity)
        if after.stable is None or before.stable != after.stable or identity != after.stable.identity
    )


def _raised_only_when_ready(before: Status, after: Status, observed: Observed) -> tuple[str, ...]:
    return tuple(
        f"I4: {ref.name} was raised without a ready endpoint"
        for ref in (_raised(before, after), _brought_back(before, after))
        if ref is not None and not ((seen := observed.versions.get(ref.identity)) and seen.endpoints)
    )


def _raised_only_when_warm(spec: Spec, before: Status, after: Status, observed: Observed) -> tuple[str, ...]:
    candidate = _raised(before, after)
    if candidate is None or spec.warmup is None or candidate.track is Track.RETURN:
        return ()
    seen = observed.versions.get(candidate.identity)
    if (seen is not None and seen.is_warm) or candidate.warming_s >= spec.warmup.max_wait_s:
        return ()
    return (f"I4: {candidate.name} was raised before it was warm, or maxWait was over",)


def _raises_are_recorded(before: Status, decision: Decision) -> tuple[str, ...]:
    """One record of each raise, and one of the rollback that brought an earlier version back."""
    raised, back = _raised(before, decision.status), _brought_back(before, decision.status)
    told = [record.version for record in decision.records if record.reason is Reason.WEIGHT_RAISED]
    left = [record.version for record in decision.records if record.reason is Reason.ROLLING_BACK]
    found = []
    if told != ([raised.name] if raised else []):
        found.append(
            f"I5: increases of {told} are recorded, raised is {raised.name if raised else 'nothing'}"
        )
    if back is not None and before.stable is not None and left.count(before.stable.name) != 1:
        found.append(f"I5: {back.name} came back with {left.count(before.stable.name)} records of one")
    return tuple(found)


def _raised(before: Status, after: Status) -> Candidate | None:
    """The candidate, if this decision gave it more."""
    candidate = after.candidate
    rose = candidate is not None and _share(after, candidate.identity) > _share(before, candidate.identity)
    return candidate if rose else None


def _brought_back(before: Status, after: Status) -> VersionRef | None:
    """The stable version, if another was stable before and this one's share rose: after a promotion rolled back."""
    if not before.is_stable_proven or after.stable is None or before.stable == after.stable:
        return None
    return (
        after.stable if _share(after, after.stable.identity) > _share(before, after.stable.identity) else None
    )


def _numbers_never_fall(before: Status, decision: Decision) -> tuple[str, ...]:
    after = decision.status
    numbers = ("epoch", "generation", "endpoints_revision")
    found = [
        f"I6: {name} fell from {getattr(before, name)} to {getattr(after, name)}"
        for name in numbers
        if getattr(after, name) < getattr(before, name)
    ]
    plan = decision.plan
    if plan is not None and plan.triple != (after.epoch, after.generation, after.endpoints_revision):
        found.append(f"I6: the plan says {plan.triple}, the status {(after.epoch, after.generation)}")
    return tuple(found)


def _share(status: Status, identity: str) -> int:
    """The share of the version with this identity, by the name it has in this status."""
    for ref in (status.stable, status.candidate):
        if ref is not None and ref.identity == identity:
            return slots.weight_of(status.slots, ref.name)
    return 0
