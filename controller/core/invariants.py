"""What must hold of every decision, checked before it is applied. A violation is a bug: nothing of it is applied.

The numbers are those of `docs/reliability.md`; the rest of them need the world and are checked in tests.
"""

from controller.core import capacity, slots, steps
from controller.core.spec import Spec
from controller.core.status import Candidate, Decision, Observed, Reason, Rival, Status, Track, VersionRef


def violations(spec: Spec, before: Status, decision: Decision, observed: Observed) -> tuple[str, ...]:
    """What the decision breaks, a sentence each; empty for a sound decision."""
    return (
        *_share_is_allowed(spec, decision.status),
        *_shares_add_up(decision),
        *_match_is_allowed(spec, decision),
        *_failed_only_falls(before, decision.status),
        *_raised_only_when_ready(before, decision.status, observed),
        *_raised_only_when_warm(spec, before, decision.status, observed),
        *_raises_are_recorded(before, decision),
        *_capacity_carries_traffic(spec, decision),
        *_numbers_never_fall(before, decision),
    )


def _on_trial(status: Status) -> tuple[Candidate | Rival, ...]:
    return () if status.candidate is None else (status.candidate, *status.rivals)


def _step(spec: Spec, candidate: Candidate) -> steps.Step:
    return steps.at(steps.steps_of(spec, candidate.track), candidate.step)


def _share_is_allowed(spec: Spec, after: Status) -> tuple[str, ...]:
    candidate = after.candidate
    if candidate is None:
        return (f"I1: {after.rivals[0].name} is on trial beside nobody",) if after.rivals else ()
    step = _step(spec, candidate)
    found = []
    for version in _on_trial(after):
        share = slots.weight_of(after.slots, version.name)
        most = step.weight if version is candidate else step.share_of(version.name)
        allowed = most if candidate.issued_generation else 0
        if share > allowed:
            limit = (
                f", its step allows {allowed}"
                if candidate.issued_generation
                else " before its first step was issued"
            )
            found.append(f"I1: {version.name} has {share}{limit}")
    return tuple(found)


def _shares_add_up(decision: Decision) -> tuple[str, ...]:
    after = decision.status
    if after.stable is None:
        return () if decision.plan is None else ("I2: a plan without a stable version",)
    owners = {after.stable.name} | {version.name for version in _on_trial(after)}
    found = (
        [] if slots.is_sound(after.slots, owners) else [f"I2: slots {after.slots} are not 10,000 of {owners}"]
    )
    if decision.plan is not None and decision.plan.slots != after.slots:
        found.append("I2: the plan's slots are not those of the status")
    return tuple(found)


def _match_is_allowed(spec: Spec, decision: Decision) -> tuple[str, ...]:
    """Requests that match go to nobody but stable and who has the present step's traffic, with the step's share each."""
    plan, after = decision.plan, decision.status
    if plan is None or plan.match is None or after.stable is None:
        return ()
    candidate = after.candidate
    step = None if candidate is None or not candidate.issued_generation else _step(spec, candidate)
    if candidate is None or step is None or step.match is None:
        return ("I1: requests are matched in a step that matches none",)
    names = {candidate.name, *(rival.name for rival in after.rivals if rival.step == candidate.step)}
    found = []
    if not slots.is_sound(plan.match.slots, names | {after.stable.name}):
        found.append(f"I2: the matching slots {plan.match.slots} are not 10,000 of {names} and stable")
    for name in sorted(names):
        share = slots.weight_of(plan.match.slots, name)
        if share > step.match.share:
            found.append(f"I1: {name} has {share} of those that match, its step allows {step.match.share}")
    return tuple(found)


def _capacity_carries_traffic(spec: Spec, decision: Decision) -> tuple[str, ...]:
    """I7: as many replicas as the traffic needs, of everybody who has some."""
    after = decision.status
    every = (*((after.stable,) if after.stable else ()), *_on_trial(after))
    found = []
    for version in every:
        wanted = decision.running.get(version.identity)
        least = capacity.needed(spec, slots.weight_of(after.slots, version.name))
        if version is after.stable:
            least = spec.capacity.replicas
        if wanted is None or wanted.replicas < least:
            found.append(f"I7: {version.name} needs {least} replicas and gets {wanted}")
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
    back = _brought_back(before, after)
    return tuple(
        f"I4: {ref.name} was raised without a ready endpoint"
        for ref in (*_raised(before, after), *_newly_issued(before, after), *((back,) if back else ()))
        if not ((seen := observed.versions.get(ref.identity)) and seen.endpoints)
    )


def _raised_only_when_warm(spec: Spec, before: Status, after: Status, observed: Observed) -> tuple[str, ...]:
    candidate = after.candidate
    if spec.warmup is None or candidate is None or candidate.track is Track.RETURN:
        return ()
    found = []
    for version in _raised(before, after):
        seen = observed.versions.get(version.identity)
        first = not isinstance(version, Rival) or not _was_issued(before, version)
        waited = candidate.warming_s if version is candidate else candidate.total_s
        if first and not (seen is not None and seen.is_warm) and waited < spec.warmup.max_wait_s:
            found.append(f"I4: {version.name} was raised before it was warm, or maxWait was over")
    return tuple(found)


def _was_issued(status: Status, rival: Rival) -> bool:
    return any(known.identity == rival.identity and known.was_issued for known in status.rivals)


def _raises_are_recorded(before: Status, decision: Decision) -> tuple[str, ...]:
    """One record of each raise, and one of the rollback that brought an earlier version back."""
    raised, back = _raised(before, decision.status), _brought_back(before, decision.status)
    told = [record.version for record in decision.records if record.reason is Reason.WEIGHT_RAISED]
    left = [record.version for record in decision.records if record.reason is Reason.ROLLING_BACK]
    found = []
    if sorted(told) != sorted(version.name for version in raised):
        names = ", ".join(version.name for version in raised) or "nothing"
        found.append(f"I5: increases of {told} are recorded, raised is {names}")
    if back is not None and before.stable is not None and left.count(before.stable.name) != 1:
        found.append(f"I5: {back.name} came back with {left.count(before.stable.name)} records of one")
    return tuple(found)


def _raised(before: Status, after: Status) -> tuple[Candidate | Rival, ...]:
    """Who is on trial and was given more by this decision."""
    return tuple(
        version
        for version in _on_trial(after)
        if _share(after, version.identity) > _share(before, version.identity)
    )


def _newly_issued(before: Status, after: Status) -> tuple[Rival, ...]:
    """The rivals that this decision gave their first traffic, copies and matching requests included."""
    return tuple(rival for rival in after.rivals if rival.was_issued and not _was_issued(before, rival))


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
    for ref in (status.stable, *_on_trial(status)):
        if ref is not None and ref.identity == identity:
            return slots.weight_of(status.slots, ref.name)
    return 0
