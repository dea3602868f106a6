"""How single values look to people: instants, shares; and all that one view is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.core.checks import CheckResult
from controller.core.spec import Spec
from controller.core.status import RouterObserved
from controller.core.steps import Step, at, steps_of
from controller.ports import Stored

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a view is made of. `spec` is None when the document is not a valid one (any more)."""

    stored: Stored
    spec: Spec | None
    routers: Sequence[RouterObserved]
    now: float
    next_action_at: float | None = None

    @property
    def results(self) -> tuple[CheckResult, ...]:
        """What the checks say of the candidate."""
        return tuple(result for result in self.stored.results if not result.rival)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps the candidate goes through; none without a candidate."""
        candidate = self.stored.status.candidate
        return steps_of(self.spec, candidate.track) if self.spec and candidate else ()

    @property
    def step(self) -> Step | None:
        """The step the candidate is in; None without a candidate."""
        candidate = self.stored.status.candidate
        return at(self.steps, candidate.step) if self.steps and candidate else None


def instant(seconds: float | None) -> str | None:
    """Unix seconds as RFC 3339 with milliseconds; None for None and for 0, which means never."""
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def share(basis_points: int) -> Json:
    """A share of live traffic: as people write it, and in basis points."""
    return {"percent": f"{basis_points / 100:g}%", "basisPoints": basis_points}


def share_or_none(basis_points: int | None) -> Json | None:
    """The share; None when it is not known."""
    return None if basis_points is None else share(basis_points)
