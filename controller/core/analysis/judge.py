"""From measurements to verdicts: `judge` is the one way in, pure and total."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from controller.core.analysis import latency, readings, reports, series, text
from controller.core.analysis.dispersion import ASSUMED, UNKNOWN, add_tick
from controller.core.analysis.engine import NOTHING, Rules, Tally, Tolerance, add_block, is_usable
from controller.core.analysis.inputs import Arms, Counts, Inputs, Missing, Roles, StepContext, Values
from controller.core.analysis.state import FRESH, WHOLE, AnalysisState, Boundary, CheckState, Line
from controller.core.checks import (
    AtMost,
    Check,
    CheckResult,
    Lack,
    Metric,
    NoSlower,
    NoWorse,
    Verdict,
    Within,
)

BLOCK_S: Final = 5.0
"""Router counts are judged in blocks of so many seconds: with shorter ones the clip punishes rare events."""

REFERENCE_MIN: Final = 20
"""A comparative block stays open until stable has so many requests …"""

BLOCK_MAX_S: Final = 60.0
"""… but no longer than this, unless one of the two versions has none at all."""

CLIP_BLOCKS: Final = 3.0
CLIP_BLOCKS_OF_SKEW: Final = 5.0
"""How many blocks a Fail needs at least, and how many more where the versions are scraped a whole block apart."""

COVERAGE_MIN: Final = 0.5
"""Where fewer of the copies could be compared, those that could are not taken for all."""

SLICES_MAX: Final = 32
"""So many slices are judged; they share half of the check's alpha equally, seen or not."""

SLICE_MIN: Final = 20
"""A slice with fewer pairs is not named as the worst."""

_NO_ARMS: Final = Arms(Missing("no answer from the provider yet"), Missing("no answer from the provider yet"))


@dataclass(frozen=True, slots=True)
class _Tick:
    """New counts by slice, gathered in `since` … `until`, Unix seconds; `lost` copies were not compared."""

    since: float
    until: float
    counts: Mapping[str, Tally]
    lost: int = 0


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at a check: its state with baselines moved, what is new, and what is lacking, in words."""

    state: CheckState
    ticks: tuple[_Tick, ...] = ()
    block_s: float = BLOCK_S
    lack: str = ""


@dataclass(frozen=True, slots=True)
class _Context:
    """What all checks of one call share. `alpha` is the rollout's, `share` this check's part of it, as a fraction."""

    roles: Roles
    inputs: Inputs
    step: StepContext
    alpha: float
    share: float
    now: float
    note: str = ""


def judge(
    checks: tuple[Check, ...],
    names: tuple[str, ...],
    roles: Roles,
    state: AnalysisState,
    inputs: Inputs,
    step: StepContext,
    alpha: float,
    now: float,
) -> tuple[AnalysisState, tuple[CheckResult, ...]]:
    """The state with everything new in `inputs` counted once, and a result for each of `names`, in their order.

    `checks` are all of the rollout (they share `alpha`, above 0 and below 1, by their weight); `names` those judged
    in the present step. A name that is no check has no result. `now` is Unix seconds. Never raises; what was not or
    cannot be measured is Inconclusive and says why.
    """
    known = {check.name: check for check in checks}
    judged = [known[name] for name in dict.fromkeys(names) if name in known]
    if not 0 < alpha < 1:
        why = f"decision.alpha is {alpha:g}: it must be above 0 and below 1"
        return state, tuple(_nothing(check, why) for check in judged)
    state = _of_these(state, roles)
    states = dict(state.checks)
    results = []
    for check in judged:
        share = share_of(check, checks)
        context = _Context(roles, inputs, step, alpha, share, now, state.note)
        states[check.name], result = _judge_one(check, states.get(check.name), context)
        results.append(result)
    return replace(state, checks={name: kept for name, kept in states.items() if name in known}), tuple(
        results
    )


def _of_these(state: AnalysisState, roles: Roles) -> AnalysisState:
    """The state if it is of this try of this candidate against this stable; else a fresh one."""
    stable = roles.stable.identity if roles.stable is not None else ""
    if (state.candidate, state.attempt, state.stable) == (roles.candidate.identity, roles.attempt, stable):
        return state
    note = state.note if not state.candidate else ""
    return replace(FRESH, candidate=roles.candidate.identity, attempt=roles.attempt, stable=stable, note=note)


def share_of(check: Check, checks: tuple[Check, ...]) -> float:
    """The check's part of alpha: its weight among all checks of the rollout that test anything; gauges do not."""
    total = sum(max(other.alpha_weight, 0.0) for other in checks if other.metric is not Metric.GAUGE)
    share = max(check.alpha_weight, 0.0) / total if total > 0 else 1 / len(checks)
    return min(max(share, 1e-6), 1.0) if math.isfinite(share) else 1 / len(checks)


def _judge_one(check: Check, state: CheckState | None, context: _Context) -> tuple[CheckState, CheckResult]:
    asks = f"{check.metric} {check.limit} {check.query} {check.per_slice}" + " matched" * context.step.matched
    if state is None or state.asks != asks:
        is_known = check.metric is Metric.ERRORS and not context.step.matched
        state = CheckState(asks, {}, {}, context.inputs.usual if is_known else UNKNOWN)
    if isinstance(check.limit, Within):
        return _judge_gauge(check, check.limit, state, context)
    if any(line.has_failed for line in state.lines.values()):
        return state, _result(check, state, "", context)
    look = _look(check, _entered(check, state, context), context)
    tolerance = tolerance_of(check, look.state.boundary)
    if isinstance(tolerance, str):
        return look.state, _result(check, look.state, look.lack or tolerance, context)
    grown = look.state
    for tick in look.ticks:
        grown = _add_tick(check, grown, tick, look.block_s, tolerance, context)
    grown = grown._replace(looked_at=context.now)
    return grown, _result(check, grown, look.lack, context)


def _judge_gauge(
    check: Check, within: Within, state: CheckState, context: _Context
) -> tuple[CheckState, CheckResult]:
    """A gauge: no evidence is gathered, the last points are counted."""
    if check.metric is not Metric.GAUGE:
        return state, _nothing(check, f"{check.metric} is no gauge: say another limit")
    state = _entered(check, state, context)
    measured = context.inputs.counts.get(check.name, _NO_ARMS).candidate
    if isinstance(measured, Counts):
        measured = Missing("it gave counters, and no values")
    known, lack = readings.read(state.readings, measured, within, context.step.acknowledged_at, context.now)
    notes = (
        tuple(f"the provider warns: {w}" for w in measured.warnings[:1])
        if isinstance(measured, Values)
        else ()
    )
    state = state._replace(readings=known, looked_at=context.now)
    return state, _gauged(check, within, known, lack or _too_few(known, within, context), notes, context)


def _too_few(known: readings.Readings, within: Within, context: _Context) -> str:
    if context.step.acknowledged_at is None:
        return "the routers have not acknowledged this step yet"
    if not readings.is_enough(known, within):
        return f"{len(known.beyond)} of {within.of} measurements of this step"
    return ""


def _gauged(
    check: Check,
    within: Within,
    known: readings.Readings,
    lack: str,
    notes: tuple[str, ...],
    context: _Context,
) -> CheckResult:
    """The result of a gauge; `lack` says in words why there is no verdict, unless it has failed."""
    lack = "" if known.has_failed else lack
    verdict = Verdict.FAIL if known.has_failed else Verdict.INCONCLUSIVE if lack else Verdict.PASS
    return CheckResult(
        check=check.name,
        verdict=verdict,
        lack=Lack.NO_DATA if lack else Lack.NONE,
        text=text.gauge(
            check, within, known, verdict, (context.note, *notes) if context.note else notes, lack
        ),
        is_fresh=not lack and not known.has_failed,
        required=check.required,
        dry_run=check.dry_run,
        estimate=known.value,
        bound=within.most if within.most is not None else within.least,
        samples=len(known.beyond),
        window_s=max(round(context.now - (context.step.acknowledged_at or context.now)), 0),
    )


# --- steps -----------------------------------------------------------------------------------------------------


def _entered(check: Check, state: CheckState, context: _Context) -> CheckState:
    """The state in the present step: entering another closes the open blocks and starts its samples anew."""
    step = context.step
    name = f"{step.ordinal}.{step.generation}"
    acknowledged = step.acknowledged_at is not None
    if state.step == name:
        if acknowledged and not state.acknowledged:
            return state._replace(acknowledged=True, samples=NOTHING, lost=0)
        return state
    tolerance = tolerance_of(check, state.boundary)
    lines = state.lines
    if not isinstance(tolerance, str):
        lines = {key: _closed(check, state, key, context.now, tolerance, context) for key in state.lines}
    if context.now - state.looked_at > BLOCK_MAX_S:  # steps that were not judged lie in between
        state = state._replace(baselines={}, upto=None)
    return state._replace(
        lines=lines,
        step=name,
        acknowledged=acknowledged,
        samples=NOTHING,
        lost=0,
        changes=state.changes + (1 if state.step else 0),
        skipped=0,
        said="",
        readings=readings.entered(state.readings),
    )


# --- looking ---------------------------------------------------------------------------------------------------


def _look(check: Check, state: CheckState, context: _Context) -> _Look:
    if check.metric is Metric.PROMETHEUS:
        return _look_at_series(check, state, context)
    if not context.inputs.reports:
        return _Look(state, lack="no router has reported")
    if check.metric is Metric.LATENCY and isinstance(check.limit, NoSlower) and state.boundary is None:
        boundary = latency.fix(latency.stable_histogram(context.inputs.reports, context.roles), check.limit)
        if isinstance(boundary, str):
            return _Look(state, lack=boundary)
        state = state._replace(boundary=boundary, baselines={})
    return _look_at_reports(check, state, context)


def _look_at_reports(check: Check, state: CheckState, context: _Context) -> _Look:
    read = reports.reader(check, context.roles, state.boundary, matched=context.step.matched)
    may_fall = check.metric is Metric.LATENCY
    generation, now = context.step.generation, context.now
    news = reports.news(context.inputs.reports, state.baselines, read, generation, may_fall, now)
    since = min(state.looked_at, now) if state.looked_at else now
    dispersion = state.dispersion
    if news.counted and check.metric is not Metric.DISAGREEMENT and not context.step.matched:
        dispersion = add_tick(dispersion, news.halves._replace(elapsed_s=now - since))
    moved = _said(state._replace(baselines=news.baselines, dispersion=dispersion), news.skipped)
    lack = f"router {', '.join(sorted(news.silent)[:3])} is silent" if news.silent else ""
    ticks = (_Tick(since, now, news.counts, news.lost),) if news.counts else ()
    return _Look(moved, ticks, BLOCK_S, lack)


def _look_at_series(check: Check, state: CheckState, context: _Context) -> _Look:
    arms = context.inputs.counts.get(check.name, _NO_ARMS)
    acknowledged_at = context.step.acknowledged_at
    new = series.increments(arms, state.upto, acknowledged_at, isinstance(check.limit, AtMost), context.now)
    ticks = tuple(_Tick(span.since, span.until, {WHOLE: span.counts}) for span in new.spans)
    return _Look(
        _said(state._replace(upto=new.upto, skew=new.skew), new.skipped), ticks, new.block_s, new.lack
    )


def _said(state: CheckState, skipped: tuple[str, ...]) -> CheckState:
    if not skipped:
        return state
    return state._replace(skipped=state.skipped + len(skipped), said=skipped[-1][:200])


# --- counting --------------------------------------------------------------------------------------------------


def tolerance_of(check: Check, boundary: Boundary | None) -> Tolerance | str:
    """What the engine tolerates; or in words why this limit cannot be judged on this metric."""
    match check.limit:
        case NoWorse(ratio, plus) if check.metric is not Metric.LATENCY:
            sound = ratio > 0 and plus >= 0 and math.isfinite(ratio + plus)
            return Tolerance(ratio, plus) if sound else f"a ratio of {ratio:g} plus {plus:g} cannot be judged"
        case AtMost(limit) if check.metric is not Metric.LATENCY:
            return Tolerance(0.0, limit) if 0 <= limit <= 1 else f"a limit of {limit:g} cannot be judged"
        case NoSlower() if check.metric is Metric.LATENCY:
            return "stable's latency is not known yet" if boundary is None else Tolerance(boundary.ratio, 0.0)
    return f"{check.metric} cannot be judged by {type(check.limit).__name__}: say another limit"


def rules_of(
    check: Check, state: CheckState, key: str, tolerance: Tolerance, alpha: float, share: float
) -> Rules:
    """What the blocks of the check's line `key` are judged by; the check has `share` of the rollout's `alpha`."""
    is_strict = check.metric is not Metric.DISAGREEMENT and not tolerance.is_absolute
    has_halves = check.metric in (Metric.ERRORS, Metric.LATENCY)
    return Rules(
        tolerance=tolerance,
        alpha=alpha_of(check, key, alpha, share),
        interval_alpha=alpha,
        dispersion=state.dispersion.phi if has_halves else ASSUMED,
        clip_blocks=CLIP_BLOCKS + CLIP_BLOCKS_OF_SKEW * state.skew,
        strict=is_strict,
    )


def alpha_of(check: Check, key: str, alpha: float, share: float) -> float:
    """The alpha of one line: a check with slices gives half to the whole and half to all slices, equally."""
    own = alpha * share
    if not check.per_slice:
        return own
    return own / 2 if key == WHOLE else own / 2 / SLICES_MAX


def _add_tick(
    check: Check, state: CheckState, tick: _Tick, block_s: float, tolerance: Tolerance, context: _Context
) -> CheckState:
    lines = dict(state.lines)
    for key, counts in tick.counts.items():
        if key not in lines and len(lines) > SLICES_MAX:
            continue
        line = lines.get(key, Line())
        opened_at = tick.since if line.block == NOTHING else line.opened_at
        lines[key] = line._replace(block=line.block.plus(counts), opened_at=opened_at)
        elapsed = tick.until - opened_at
        if is_due(lines[key].block, elapsed, block_s, tolerance):
            lines[key] = _closed(check, state._replace(lines=lines), key, tick.until, tolerance, context)
    acknowledged_at = context.step.acknowledged_at
    if acknowledged_at is None or tick.since < acknowledged_at:
        return state._replace(lines=lines)
    samples = state.samples.plus(tick.counts.get(WHOLE, NOTHING))
    return state._replace(lines=lines, samples=samples, lost=state.lost + tick.lost)


def is_due(block: Tally, elapsed: float, block_s: float, tolerance: Tolerance) -> bool:
    """Whether a block that has been open for `elapsed` seconds is counted now."""
    if elapsed < block_s:
        return False
    return tolerance.is_absolute or block.reference_requests >= REFERENCE_MIN or elapsed >= BLOCK_MAX_S


def _closed(
    check: Check, state: CheckState, key: str, now: float, tolerance: Tolerance, context: _Context
) -> Line:
    """The line with its open block counted; one that says nothing stays open."""
    line = state.lines[key]
    if not is_usable(line.block, tolerance):
        return line
    rules = rules_of(check, state, key, tolerance, context.alpha, context.share)
    evidence = add_block(line.evidence, line.block, state.changes, rules)
    failed = evidence.is_worse_than_tolerated(rules.alpha)
    return Line(evidence, NOTHING, now, failed)


# --- concluding ------------------------------------------------------------------------------------------------


def _result(check: Check, state: CheckState, lack: str, context: _Context) -> CheckResult:
    tolerance = tolerance_of(check, state.boundary)
    if isinstance(tolerance, str):
        return _nothing(check, lack or tolerance)
    key = next((name for name, line in state.lines.items() if line.has_failed), WHOLE)
    line = state.lines.get(key, Line())
    lack = "" if line.has_failed else lack or _lacking(check, state, tolerance, context)
    verdict, why, is_holding = _verdict(check, line, lack, context, key)
    measured = text.Measured(check, line.evidence, tolerance, context.alpha, key, state.boundary)
    undecided = verdict is Verdict.INCONCLUSIVE and not lack
    return CheckResult(
        check=check.name,
        verdict=verdict,
        lack=Lack.NO_DATA if lack else Lack.UNDECIDED if undecided else Lack.NONE,
        text=text.sentence(measured, verdict, why, _notes(check, state, context)),
        is_fresh=not lack and not line.has_failed,
        is_holding=is_holding,
        is_shared=line.evidence.in_outage,
        required=check.required,
        dry_run=check.dry_run,
        estimate=line.evidence.ratio,
        reference=line.evidence.reference,
        low=line.evidence.low,
        high=line.evidence.high,
        bound=text.tolerated(line.evidence, tolerance),
        samples=round(state.samples.requests),
        reference_samples=round(state.samples.reference_requests),
        window_s=max(round(context.now - (context.step.acknowledged_at or context.now)), 0),
    )


def _verdict(check: Check, line: Line, lack: str, context: _Context, key: str) -> tuple[Verdict, str, bool]:
    """Verdict, why in words, and whether no increase may follow although nothing failed."""
    if line.has_failed:
        return Verdict.FAIL, "", False
    is_worse = line.evidence.is_worse_than_stable(alpha_of(check, key, context.alpha, context.share))
    is_within = line.evidence.is_within_tolerance()
    if lack:
        return Verdict.INCONCLUSIVE, lack, (is_worse and not is_within) or line.evidence.in_outage
    if line.evidence.in_outage:
        return (
            Verdict.INCONCLUSIVE,
            "stable itself is far worse than before: no increase until that is over",
            True,
        )
    if is_within:
        return Verdict.PASS, "worse than stable, but by less than is tolerated" if is_worse else "", False
    if is_worse:
        return Verdict.INCONCLUSIVE, "worse than stable, not shown worse than tolerated: no increase", True
    return Verdict.INCONCLUSIVE, "nothing is proven yet", False


def _lacking(check: Check, state: CheckState, tolerance: Tolerance, context: _Context) -> str:
    """What data of the present step is missing, in words."""
    things = text.things(check)
    if context.step.acknowledged_at is None:
        return "the routers have not acknowledged this step yet"
    if state.samples.requests < max(check.min_requests, 1):
        return f"{state.samples.requests:,.0f} of {max(check.min_requests, 1):,} {things} of this step"
    covered = state.samples.requests / (state.samples.requests + state.lost)
    if covered < COVERAGE_MIN:
        return f"only {covered:.0%} of the copies could be compared, {COVERAGE_MIN:.0%} are needed"
    if not tolerance.is_absolute and not state.samples.reference_requests:
        if check.metric is Metric.DISAGREEMENT:
            return "stable was not replayed to itself, so the noise is not known: give the limit as `max`"
        return "stable has no traffic to compare with: give the limit as `max`"
    return ""


def _notes(check: Check, state: CheckState, context: _Context) -> tuple[str, ...]:
    notes = []
    if worst := _worst_slice(check, state):
        notes.append(f"{worst} {text.things(check)}")
    arms = context.inputs.counts.get(check.name, _NO_ARMS)
    warnings = [w for arm in (arms.candidate, arms.stable) if isinstance(arm, Counts) for w in arm.warnings]
    if warnings:
        notes.append(f"the provider warns: {warnings[0]}")
    if state.skipped:
        ticks = "tick" if state.skipped == 1 else "ticks"
        notes.append(f"{state.skipped} {ticks} left out: {state.said}")
    if state.boundary is not None and not 1 / 1.5 <= state.boundary.nearness <= 1.5:
        notes.append(
            f"no bucket ends near the quantile: this cuts off {state.boundary.nearness:.2g} times as much"
        )
    has_halves = check.metric in (Metric.ERRORS, Metric.LATENCY)
    if state.lines and not (has_halves and state.dispersion.is_known):
        notes.append(f"dispersion not known, taken as {ASSUMED:g}")
    if context.note:
        notes.append(context.note)
    return tuple(notes)


def _worst_slice(check: Check, state: CheckState) -> str:
    slices = [(name, line.evidence) for name, line in state.lines.items() if name != WHOLE]
    measured = [(name, e) for name, e in slices if e.ratio is not None and e.total.requests >= SLICE_MIN]
    if not measured:
        return ""
    name, evidence = max(measured, key=lambda item: item[1].ratio or 0.0)
    return f"worst slice {name}: {100 * (evidence.ratio or 0.0):.2f} % of {evidence.total.requests:,.0f}"


def _nothing(check: Check, why: str) -> CheckResult:
    return CheckResult(
        check=check.name,
        verdict=Verdict.INCONCLUSIVE,
        lack=Lack.NO_DATA,
        text=f"{check.name}: {why} → Inconclusive",
        required=check.required,
        dry_run=check.dry_run,
    )
