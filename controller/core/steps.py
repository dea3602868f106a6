"""The step language, and the compilers from what users write (stages) to it.

Shadow, canary, blue-green, pause and full are nothing but compilers to a tuple of steps; the one interpreter
(`controller.core.machine`) runs steps and never mentions a strategy. Stages in sequence are concatenation.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Final, assert_never

from controller.core.spec import (
    FULL,
    Advance,
    ApprovalStage,
    CanaryStage,
    FlipStage,
    FullStage,
    Match,
    MatchStage,
    OnExpire,
    PauseStage,
    ShadowStage,
    Spec,
    Stage,
)
from controller.core.status import Track
from headgate.wire.plan import Condition


class Gate(StrEnum):
    """What lets a step end, besides its time being up.

    TIME: nothing. APPROVAL: enough people approved. RISK: as FRESH, and the next weight is within the risk budget. FRESH: every required check has data of this step, none says Fail, none holds. PASS: every
    required check says Pass. PERSON: somebody must act. A Fail never ends a step, it ends the trial.
    """

    TIME = "time"
    FRESH = "fresh"
    PASS = "pass"
    PERSON = "person"
    APPROVAL = "approval"
    RISK = "risk"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing the machine does: give the candidate `weight` and `sample_ppm` copies, and wait for the gate.

    `stage` is the index of the user's stage, `kind` its word, `title` how people read it. `weight` is in basis
    points and is also the most the candidate may have in this step (I1). `match`: what it gets beside, or in place
    of, its weight. `rivals` take part with as much each; of its weight only those that are `live` too: a share is given
    by the weights of a canary that names them, never by a shadow. `min_s` runs on the step's clock.
    """

    stage: int
    kind: str
    title: str
    weight: int
    gate: Gate
    sample_ppm: int = 0
    match: Match | None = None
    rivals: tuple[str, ...] = ()
    live: tuple[str, ...] = ()
    min_s: float = 0.0
    min_pairs: int = 0
    checks: tuple[str, ...] = ()
    max_stay_s: float | None = None
    risk_budget: float | None = None
    roles: tuple[str, ...] = ()
    quorum: int = 0
    expires_s: float | None = None
    on_expire: OnExpire = OnExpire.HOLD

    @property
    def load(self) -> int:
        """The most requests a version gets in this step, copies among them, in basis points of all there are."""
        return max(self.weight, -(-self.sample_ppm // 100), self.match.share if self.match else 0)

    def share_of(self, rival: str) -> int:
        """The most that this version, not the candidate, may have of the live requests, in basis points."""
        return self.weight if rival in self.live else 0


def percent(basis_points: int) -> str:
    """A share as people read it: 500 → `5 %`, 1 → `0.01 %`."""
    return f"{basis_points / 100:g} %"


REMEMBERED: Final = 4096
"""So many compiled plans and names are kept; compiling is most of what a decision would cost."""


@lru_cache(maxsize=REMEMBERED)
def compile_stages(stages: tuple[Stage, ...]) -> tuple[Step, ...]:
    """The steps of the stages, in order, ending with all traffic on the candidate.

    A last stage that does not move everything is followed by a `full` without bake.
    """
    steps: list[Step] = []
    for index, stage in enumerate(stages):
        steps += _compile(index, stage, steps[-1] if steps else None)
    if not steps or steps[-1].weight < FULL:
        steps += _full(len(stages), FullStage())
    return tuple(steps)


def steps_of(spec: Spec, track: Track) -> tuple[Step, ...]:
    """The steps a candidate on this track goes through."""
    if track is Track.RETURN:
        return compile_stages((FlipStage(),))
    if track is Track.FAST:
        return compile_stages(tuple(stage for stage in spec.stages if not isinstance(stage, ShadowStage)))
    return compile_stages(spec.stages)


@lru_cache(maxsize=REMEMBERED)
def digest(steps: tuple[Step, ...]) -> str:
    """A name for these very steps; equal steps have equal names."""
    return blake2b(repr(steps).encode(), digest_size=8).hexdigest()


def at(steps: tuple[Step, ...], index: int) -> Step:
    """The step of that index, the first or last one for an index outside."""
    return steps[min(max(index, 0), len(steps) - 1)]


def stage_count(steps: tuple[Step, ...]) -> int:
    """How many stages the steps belong to."""
    return steps[-1].stage + 1


def first_of_stage(steps: tuple[Step, ...], stage: int) -> int:
    """The index of the first step of that stage or a later one; `len(steps)` when there is none."""
    return next((index for index, step in enumerate(steps) if step.stage >= stage), len(steps))


def resume_at(steps: tuple[Step, ...], present: Step) -> int:
    """Where a candidate in `present` goes on after its stages were edited: never at a higher weight.

    The step that is the same but for its place; else the last of those with the same kind and weight; else the
    last one with no more weight than it has; else the first. Never one that matches: only its own gates lead there.
    """
    known = [(i, step) for i, step in enumerate(steps) if step.match is None]
    alike = [i for i, step in known if (step.kind, step.weight) == (present.kind, present.weight)]
    same = [i for i in alike if steps[i].sample_ppm == present.sample_ppm]
    lower = [i for i, step in known if step.weight <= present.weight]
    return (same or alike or lower or [0])[-1]


def _compile(index: int, stage: Stage, before: Step | None) -> list[Step]:
    match stage:
        case ShadowStage():
            return _shadow(index, stage, before)
        case CanaryStage():
            return _canary(index, stage)
        case MatchStage():
            return _match(index, stage)
        case ApprovalStage():
            return _approval(index, stage, before)
        case PauseStage():
            return _pause(index, stage, before)
        case FlipStage():
            return _flip(index, stage, before)
        case FullStage():
            return _full(index, stage)
        case _:
            assert_never(stage)


def _shadow(index: int, stage: ShadowStage, before: Step | None) -> list[Step]:
    gate = Gate.PASS if stage.advance is Advance.ON_PASS else Gate.FRESH
    return [
        Step(
            stage=index,
            kind="shadow",
            title=f"shadow {stage.sample_ppm / 10_000:g} %",
            weight=before.weight if before else 0,
            gate=gate,
            sample_ppm=stage.sample_ppm,
            rivals=stage.to,
            live=tuple(name for name in stage.to if before and name in before.live),
            min_s=stage.duration_s,
            min_pairs=stage.min_pairs,
            checks=stage.checks,
            max_stay_s=stage.max_stay_s,
        )
    ]


def _canary(index: int, stage: CanaryStage) -> list[Step]:
    last = len(stage.weights) - 1
    return [
        Step(
            stage=index,
            kind="canary",
            title=f"canary {percent(weight)}",
            weight=weight,
            gate=_canary_gate(stage, is_last=position == last),
            rivals=stage.to,
            live=stage.to,
            min_s=stage.every_s,
            checks=stage.checks,
            max_stay_s=stage.max_stay_s,
            risk_budget=stage.risk_budget,
        )
        for position, weight in enumerate(stage.weights)
    ]


def _canary_gate(stage: CanaryStage, *, is_last: bool) -> Gate:
    if is_last or stage.advance is Advance.ON_PASS:
        return Gate.PASS
    return Gate.FRESH if stage.risk_budget is None else Gate.RISK


def _match(index: int, stage: MatchStage) -> list[Step]:
    asked = " and ".join(_asked(condition) for condition in stage.match.conditions)
    share = "all" if stage.match.share == FULL else percent(stage.match.share)
    return [
        Step(
            stage=index,
            kind="match",
            title=f"match {share} of {asked}",
            weight=0,
            gate=Gate.PASS if stage.advance is Advance.ON_PASS else Gate.FRESH,
            match=stage.match,
            rivals=stage.to,
            min_s=stage.duration_s,
            checks=stage.checks,
            max_stay_s=stage.max_stay_s,
        )
    ]


def _asked(condition: Condition) -> str:
    """A condition as people read it: `header x-beta: 1`, `cookie beta: v2…`, `header x-beta`."""
    source = condition.source.replace(":", " ", 1)
    if condition.exact is not None:
        return f"{source}: {condition.exact}"
    return source if condition.prefix is None else f"{source}: {condition.prefix}…"


def _approval(index: int, stage: ApprovalStage, before: Step | None) -> list[Step]:
    who = f" by {' or '.join(stage.roles)}" if stage.roles else ""
    return [
        Step(
            stage=index,
            kind="approval",
            title=f"approval{who}",
            weight=before.weight if before else 0,
            gate=Gate.APPROVAL,
            match=before.match if before else None,
            rivals=before.rivals if before else (),
            live=before.live if before else (),
            checks=before.checks if before else (),
            roles=stage.roles,
            quorum=stage.quorum,
            expires_s=stage.expires_s,
            on_expire=stage.on_expire,
        )
    ]


def _pause(index: int, stage: PauseStage, before: Step | None) -> list[Step]:
    timed = stage.duration_s is not None
    return [
        Step(
            stage=index,
            kind="pause",
            title=f"pause {stage.duration_s:g} s" if timed else "pause until somebody resumes it",
            weight=before.weight if before else 0,
            gate=Gate.TIME if timed else Gate.PERSON,
            match=before.match if before else None,
            rivals=before.rivals if before else (),
            live=before.live if before else (),
            min_s=stage.duration_s or 0.0,
            checks=before.checks if before else (),
        )
    ]


def _flip(index: int, stage: FlipStage, before: Step | None) -> list[Step]:
    preview = Step(
        stage=index,
        kind="flip",
        title="preview before the flip",
        weight=before.weight if before else 0,
        gate=Gate.PASS,
        sample_ppm=stage.preview_ppm,
        match=before.match if before else None,
        rivals=before.rivals if before else (),
        live=before.live if before else (),
        checks=stage.before,
        max_stay_s=stage.max_stay_s,
    )
    flipped = Step(
        stage=index,
        kind="flip",
        title="flipped to 100 %",
        weight=FULL,
        gate=Gate.PASS,
        min_s=stage.bake_s,
        checks=stage.after,
        max_stay_s=stage.max_stay_s,
    )
    return [preview, flipped] if stage.before or stage.preview_ppm else [flipped]


def _full(index: int, stage: FullStage) -> list[Step]:
    return [
        Step(
            stage=index,
            kind="full",
            title="full 100 %",
            weight=FULL,
            gate=Gate.PASS,
            min_s=stage.bake_s,
            checks=stage.checks,
            max_stay_s=stage.max_stay_s,
        )
    ]
