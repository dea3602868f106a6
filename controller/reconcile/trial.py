"""The verdicts on everybody on trial: the candidate and its rivals, each against stable, from one set of measurements.

All share the rollout's alpha equally with everybody whom its stages name, whether they take part yet or not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from controller.core.analysis.dispersion import UNKNOWN, Dispersion
from controller.core.analysis.inputs import Arms, Inputs, Roles, StepContext
from controller.core.analysis.judge import judge
from controller.core.analysis.state import FRESH, AnalysisState
from controller.core.checks import Check, CheckResult
from controller.core.rivals import named
from controller.core.slots import weight_of
from controller.core.spec import Spec
from controller.core.status import Candidate, Rival, Status, VersionRef
from controller.core.steps import Step, at, steps_of
from headgate.wire.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Judged:
    """The evidence to keep, and what the checks say of the candidate and, by identity, of each rival."""

    state: AnalysisState
    results: tuple[CheckResult, ...] = ()
    rivals: Mapping[str, tuple[CheckResult, ...]] = field(default_factory=dict)

    @property
    def everything(self) -> tuple[CheckResult, ...]:
        """What the checks say of everybody on trial, the candidate first."""
        return (*self.results, *(result for said in self.rivals.values() for result in said))


@dataclass(frozen=True, slots=True)
class Measured:
    """What there is to judge by: the routers' newest reports, by version name both arms of each provider's check, and how
    much stable's failures varied before."""

    reports: tuple[Telemetry, ...]
    counts: Mapping[str, Mapping[str, Arms]]
    usual: Dispersion = UNKNOWN


def on_trial(status: Status) -> Iterator[Candidate | Rival]:
    """The versions that are judged now: the candidate, and the rivals that were ever given traffic beside it.

    Those that do not have the present step's traffic yet, too: what they have of an earlier one is live all the same.
    """
    if status.candidate is not None:
        yield status.candidate
        yield from (rival for rival in status.rivals if rival.was_issued)


def judge_trial(
    spec: Spec,
    status: Status,
    checks: tuple[Check, ...],
    state: AnalysisState,
    measured: Measured,
    now: float,
) -> Judged:
    """Judge all that is new of everybody on trial by these `checks` of the present step; `now` is Unix seconds."""
    candidate = status.candidate
    if candidate is None:
        return Judged(state)
    every = (*spec.checks, *(check for check in checks if check not in spec.checks))
    names = tuple(check.name for check in checks)
    step = at(steps_of(spec, candidate.track), candidate.step)
    alpha = spec.policy.alpha / (1 + len(named(spec, candidate.track, candidate.name)))

    def one(
        version: Candidate | Rival, before: AnalysisState
    ) -> tuple[AnalysisState, tuple[CheckResult, ...]]:
        roles = Roles(VersionRef(version.name, version.identity), version.attempt, status.stable)
        inputs = Inputs(measured.reports, measured.counts.get(version.name, {}), measured.usual)
        context = _context(status, candidate, version, step)
        return judge(every, names, roles, before, inputs, context, alpha, now)

    known = state.rivals
    state, results = one(candidate, state)
    rivals = {rival.identity: one(rival, known.get(rival.identity, FRESH)) for rival in _rivals(status)}
    kept = {identity: evidence for identity, (evidence, _) in rivals.items()}
    names_of = {rival.identity: rival.name for rival in _rivals(status)}
    said = {
        identity: tuple(replace(result, rival=names_of[identity]) for result in found)
        for identity, (_, found) in rivals.items()
    }
    return Judged(replace(state, rivals=kept), results, said)


def _rivals(status: Status) -> Iterator[Rival]:
    return (version for version in on_trial(status) if isinstance(version, Rival))


def _context(status: Status, candidate: Candidate, version: Candidate | Rival, step: Step) -> StepContext:
    return StepContext(
        ordinal=candidate.step,
        generation=candidate.issued_generation,
        acknowledged_at=candidate.acknowledged_at,
        weight=weight_of(status.slots, version.name),
        sample_ppm=step.sample_ppm,
        matched=step.match is not None,
    )
