"""What the judge is given: who is compared, which step runs, and what was measured.

A measurement that could not be had is a value, `Missing`, so that no caller can mistake it for a zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.core.analysis.dispersion import UNKNOWN, Dispersion
from controller.core.status import VersionRef
from headgate.wire.telemetry import Telemetry

Samples = tuple[tuple[float, float], ...]
"""One series: (Unix seconds at which the source took the sample, cumulative value), oldest first."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A measurement that could not be had, and why in one line."""

    why: str


@dataclass(frozen=True, slots=True)
class Counts:
    """The recent samples of two cumulative counters of one version: each series by its own labels.

    A value lower than the one before is a reset. `warnings` are what the source said about its own answer.
    """

    events: Mapping[str, Samples]
    total: Mapping[str, Samples]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Values:
    """The recent values of a gauge of one version, at points in time that lie equally far apart; gaps are left out.

    `warnings` are what the source said about its own answer.
    """

    samples: Samples
    warnings: tuple[str, ...] = ()


Measurement = Counts | Values | Missing


@dataclass(frozen=True, slots=True)
class Arms:
    """The same measurement of both versions, read at about the same time."""

    candidate: Measurement
    stable: Measurement


@dataclass(frozen=True, slots=True)
class Roles:
    """Who is compared with whom. `stable` is None where there is none; `attempt` counts the candidate's tries from 1."""

    candidate: VersionRef
    attempt: int
    stable: VersionRef | None


@dataclass(frozen=True, slots=True)
class StepContext:
    """The step that runs: its traffic, and since when the routers carry it.

    `generation` is the plan generation that gave the step its traffic. `acknowledged_at` is when the last router
    acknowledged it (Unix seconds), None until then: nothing measured before counts for the step. `weight` is the
    candidate's live share in basis points, `sample_ppm` its share of copies per million. `matched`: the two are
    compared in the requests that match, which the routers count apart.
    """

    ordinal: int
    generation: int
    acknowledged_at: float | None
    weight: int = 0
    sample_ppm: int = 0
    matched: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that was measured: the newest report of each router, both arms of each `prometheus:` check by its name, and
    how much stable's failures varied before the trial."""

    reports: tuple[Telemetry, ...] = ()
    counts: Mapping[str, Arms] = field(default_factory=dict)
    usual: Dispersion = UNKNOWN
