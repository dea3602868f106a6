"""From the short forms to stages, keeping where the user wrote each: rules point there, conversion reads it.

Also which checks can conclude where, which both need: rules to refuse, conversion to choose the defaults.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from controller.crd.models import (
    Approval,
    Canary,
    Check,
    Flip,
    Full,
    Match,
    PauseStage,
    RolloutSpec,
    Shadow,
    Stage,
    Strategy,
)
from controller.crd.quantities import BasisPoints

StageModel = Shadow | Canary | Match | Approval | PauseStage | Flip | Full


class Evidence(Enum):
    """What the candidate and stable get in a stage, and so what can be measured there."""

    COPIES = "copies"
    """Stable answers users, the candidate copies."""
    BOTH = "both"
    """Both answer users, in the same window."""
    MATCHED = "matched"
    """Both answer users among the requests that match, and only those are compared."""
    ALONE = "alone"
    """The candidate answers all users, or all that match; stable has nothing to compare with."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One stage and the path the user wrote it at."""

    path: str
    stage: StageModel


@dataclass(frozen=True, slots=True)
class Gate:
    """One place where checks run: `named` are the user's own choice, None where the defaults apply."""

    path: str
    evidence: Evidence
    has_copies: bool
    named: list[str] | None


DEFAULT_ERRORS: Final = Check.model_validate(
    {"name": "errors", "metric": "requests.errors", "noWorseThan": {"ratio": 1.2, "plus": "0.02pp"}}
)
DEFAULT_AGREEMENT: Final = Check.model_validate(
    {"name": "agreement", "metric": "shadow.disagreement", "max": "1%"}
)


def members(stage: Stage) -> tuple[tuple[str, StageModel], ...]:
    """Every kind of stage that is set in `stage`, by its YAML name; sound when there is exactly one."""
    found: tuple[tuple[str, StageModel | None], ...] = (
        ("shadow", stage.shadow),
        ("canary", stage.canary),
        ("match", stage.match),
        ("approval", stage.approval),
        ("pause", stage.pause),
        ("flip", stage.flip),
        ("full", stage.full),
    )
    return tuple((name, value) for name, value in found if value is not None)


def short_forms(strategy: Strategy) -> tuple[str, ...]:
    """The YAML names of the forms that are set; sound when there is exactly one."""
    found = (
        ("canary", strategy.canary),
        ("blueGreen", strategy.blue_green),
        ("shadow", strategy.shadow),
        ("stages", strategy.stages),
    )
    return tuple(name for name, value in found if value is not None)


def placed(strategy: Strategy) -> tuple[Placed, ...]:
    """The stages in the order they run. Of a strategy that the rules refuse: those that can be told."""
    base = "spec.strategy"
    if strategy.stages is not None:
        return tuple(
            Placed(f"{base}.stages[{index}].{name}", value)
            for index, stage in enumerate(strategy.stages)
            for name, value in members(stage)[:1]
        )
    if strategy.canary is not None:
        return (Placed(f"{base}.canary", strategy.canary), Placed(f"{base}.canary", Full()))
    if strategy.blue_green is not None:
        return (Placed(f"{base}.blueGreen", strategy.blue_green),)
    if strategy.shadow is not None:
        path = f"{base}.shadow"
        return (Placed(path, strategy.shadow), Placed(path, PauseStage()), Placed(path, Full()))
    return ()


def gates(stages: tuple[Placed, ...]) -> Iterator[Gate]:
    """Every place where checks run, in order."""
    for at in stages:
        match at.stage:
            case Shadow(checks=named, sample=sample):
                yield Gate(f"{at.path}.checks", Evidence.COPIES, sample > 0, named)
            case Canary(checks=named):
                yield Gate(f"{at.path}.checks", Evidence.BOTH, False, named)
            case Match(checks=named) as match:
                has_rest = match.share * parts(match.to) < BasisPoints.parts
                evidence = Evidence.MATCHED if has_rest else Evidence.ALONE
                yield Gate(f"{at.path}.checks", evidence, False, named)
            case Flip(before=before, after=after, preview=preview):
                yield Gate(f"{at.path}.before.checks", Evidence.COPIES, preview > 0, before.checks)
                yield Gate(f"{at.path}.after.checks", Evidence.ALONE, False, after.checks)
            case Full(checks=named):
                yield Gate(f"{at.path}.checks", Evidence.ALONE, False, named)
            case _:
                continue


def parts(to: list[str] | None) -> int:
    """How many versions a stage gives its share to, the target among them."""
    return max(len(set(to or ())), 1)


def checks_of(spec: RolloutSpec) -> list[Check]:
    """The checks as written. Where `checks` is absent: errors no worse than stable's, and agreement if copies are made.

    `checks: []` is the user's word that none is wanted.
    """
    if spec.checks is not None:
        return spec.checks
    places = tuple(gates(placed(spec.strategy)))
    defaults = (DEFAULT_ERRORS, DEFAULT_AGREEMENT)
    return [check for check in defaults if any(is_default(check, gate) for gate in places)]


def cannot_conclude(check: Check, gate: Gate) -> str | None:
    """Why `check` can never say anything at `gate`, and what to use instead; None where it can."""
    if check.metric == "shadow.disagreement":
        if gate.evidence is Evidence.COPIES:
            return None if gate.has_copies else "no copies are made here: set sample (or preview) above 0%"
        return "no copies are compared here: name it in a shadow stage, or in a flip's before with a preview"
    if gate.evidence is Evidence.COPIES and check.metric is not None:
        return "the candidate answers no users here: use shadow.disagreement, or a prometheus check"
    if check.within is not None:
        return None
    if gate.evidence is Evidence.MATCHED and check.prometheus is not None and check.max is None:
        return "its counters hold all of stable's requests, not only those that match: use max, or requests.errors"
    if gate.evidence is Evidence.ALONE and check.max is None:
        return "stable has no traffic here to compare with: " + (
            "leave it out here" if check.metric == "requests.latency" else "use a check with max"
        )
    return None


def is_default(check: Check, gate: Gate) -> bool:
    """Whether `check` runs at `gate` where the user named none: wherever it can conclude.

    On copies only the comparison itself: counters of a candidate without users are asked for by name.
    """
    if cannot_conclude(check, gate) is not None:
        return False
    return gate.evidence is not Evidence.COPIES or check.metric == "shadow.disagreement"


def names_at(gate: Gate, checks: list[Check]) -> tuple[str, ...]:
    """The checks that run at `gate`: those the user named, or the defaults."""
    if gate.named is not None:
        return tuple(gate.named)
    return tuple(check.name for check in checks if is_default(check, gate))
