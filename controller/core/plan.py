"""From a rollout's status to the RoutePlan that its routers shall run, and the digests that count its changes."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from controller.core import slots
from controller.core.spec import Spec
from controller.core.status import Failed, Status, VersionObserved, VersionRef
from controller.core.steps import Step
from headgate.wire.plan import Match, Overrides, PlanVersion, Role, RoutePlan, Shadow

SHADOWS_MAX: Final = 4
"""So many versions a plan gives copies to."""

_ENCODER = msgspec.msgpack.Encoder(order="deterministic")


def route_plan(
    spec: Spec, status: Status, step: Step | None, observed: Mapping[str, VersionObserved]
) -> RoutePlan | None:
    """The plan for this status; None while there is no stable version, so nothing to serve.

    `step` is the candidate's present step if its traffic was issued. `observed` gives the ready endpoints by identity.
    """
    if status.stable is None:
        return None
    versions = _versions(spec, status, step, observed)
    taking_part = _taking_part(status, step)
    sample_ppm = step.sample_ppm if step is not None else 0
    return RoutePlan(
        rollout=spec.key,
        epoch=status.epoch,
        generation=status.generation,
        endpoints_revision=status.endpoints_revision,
        because=status.because,
        stage=step.title if step else "",
        salt=status.salt,
        stable=status.stable.name,
        versions=versions,
        slots=status.slots,
        shadows=tuple(Shadow(name, sample_ppm) for name in taking_part[:SHADOWS_MAX] if sample_ppm),
        identity=spec.traffic.identity,
        overrides=_overrides(spec, status, versions),
        match=_match(status.stable.name, taking_part, step),
        guard=spec.policy.guard,
        limits=spec.traffic.limits,
        capture=spec.traffic.capture,
        comparison=spec.traffic.comparison,
        counted_paths=spec.traffic.counted_paths,
    )


def _taking_part(status: Status, step: Step | None) -> tuple[str, ...]:
    """The candidate and the rivals that have its step's traffic; none while it has none."""
    candidate = status.candidate
    if candidate is None or step is None:
        return ()
    return (candidate.name, *(rival.name for rival in status.rivals if rival.step == candidate.step))


def _match(stable: str, taking_part: tuple[str, ...], step: Step | None) -> Match | None:
    """How the matching requests are split: a share to each that takes part, what is left to stable."""
    if step is None or step.match is None:
        return None
    owned = slots.all_to(stable)
    for name in taking_part:
        owned = slots.with_weight(owned, stable, name, step.match.share)
    return Match(step.match.conditions, owned)


def plan_digest(plan: RoutePlan) -> str:
    """A name for all a plan says, except where its endpoints are and how it is numbered."""
    bare = tuple(msgspec.structs.replace(version, endpoints=()) for version in plan.versions)
    return _digest(
        msgspec.structs.replace(plan, epoch=0, generation=0, endpoints_revision=0, because="", versions=bare)
    )


def endpoints_digest(plan: RoutePlan) -> str:
    """A name for where the plan's versions are reached."""
    return _digest([(version.identity, version.endpoints) for version in plan.versions])


def attempt_of(failed: tuple[Failed, ...], identity: str) -> int:
    """Which try of this version the next or present one is, from 1."""
    tries = [f.attempt if f.is_latched else f.attempt + 1 for f in failed if f.identity == identity]
    return max(tries, default=1)


def _digest(value: object) -> str:
    return blake2b(_ENCODER.encode(value), digest_size=8).hexdigest()


def _versions(
    spec: Spec, status: Status, step: Step | None, observed: Mapping[str, VersionObserved]
) -> tuple[PlanVersion, ...]:
    found: dict[str, PlanVersion] = {}

    def add(ref: VersionRef, role: Role, attempt: int) -> None:
        seen = observed.get(ref.identity)
        written = spec.version(ref.name)
        is_written = written is not None and written.identity == ref.identity
        found[ref.name] = PlanVersion(
            name=ref.name,
            identity=ref.identity,
            role=role,
            endpoints=seen.endpoints if seen else (),
            base_path=written.base_path if written and is_written else "",
            attempt=attempt,
            rewrite=written.rewrite if written and is_written else None,
        )

    if status.stable is not None:
        add(status.stable, "stable", attempt_of(status.failed, status.stable.identity))
    candidate = status.candidate
    if candidate is not None and step is not None:
        add(VersionRef(candidate.name, candidate.identity), "candidate", candidate.attempt)
        for rival in status.rivals:
            if rival.was_issued:
                add(VersionRef(rival.name, rival.identity), "candidate", rival.attempt)
    for retiring in status.retiring:
        if retiring.name not in found and len(found) < 8:
            ref = VersionRef(retiring.name, retiring.identity)
            add(ref, "retired", attempt_of(status.failed, retiring.identity))
    return tuple(found.values())


def _overrides(spec: Spec, status: Status, versions: tuple[PlanVersion, ...]) -> Overrides | None:
    """The overrides as written, without versions that are not there or have failed."""
    if spec.traffic.overrides is None:
        return None
    failed = {f.identity for f in status.failed if f.is_latched}
    there = {version.name for version in versions if version.identity not in failed}
    allow = tuple(name for name in spec.traffic.overrides.allow if name in there)
    return Overrides(spec.traffic.overrides.header, allow) if allow else None
