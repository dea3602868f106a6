"""`decide`: from what the user wants, what is, and what was seen, to what shall be.

One pass in a fixed order, so that safety never waits: clocks, what may stop, actions, the spec, what went wrong,
what may go on; then the plan. It is total: any combination of inputs gives a decision, and none raises a share
without the stage's permission and a person's or the evidence's.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from controller.core import (
    capacity,
    entrance,
    explain,
    holds,
    hooks,
    mishaps,
    rivals,
    slots,
    steps,
    trial,
    warming,
)
from controller.core import draft as drafts
from controller.core import plan as plans
from controller.core.actions import act
from controller.core.checks import AtMost, Check, CheckResult, Lack, Metric
from controller.core.draft import PENDING, Draft
from controller.core.spec import Spec
from controller.core.status import (
    Candidate,
    Decision,
    Observed,
    Phase,
    Reason,
    Retiring,
    Rival,
    Status,
    VersionRef,
)
from controller.core.steps import Step
from headgate.wire.plan import RoutePlan

TICK_S_MAX: Final = 5.0
"""A clock gains at most this between two decisions: an hour without a controller advances no step."""

PAIRS: Final = Check(
    "(pairs)", Metric.DISAGREEMENT, AtMost(1.0), alpha_weight=1e-6, required=False, dry_run=True
)
"""Counts compared pairs where no check of the user's does; it decides nothing. No user can write that name."""

RECENT_MAX: Final = 16
"""So many past plans' weights are remembered, to say what a lagging router still does."""


NOBODY: Final[Mapping[str, tuple[CheckResult, ...]]] = {}


def decide(
    spec: Spec,
    status: Status,
    observed: Observed,
    results: tuple[CheckResult, ...],
    now: float,
    rival_results: Mapping[str, tuple[CheckResult, ...]] = NOBODY,
) -> Decision:
    """What shall be, given all that is known at `now` (Unix seconds).

    `results` are of the candidate's present step, `rival_results` of the rivals in it, by identity.
    """
    draft = Draft(spec, observed, results, now, status, rival_results)
    _make_sound(draft)
    _turn_clocks(draft)
    hooks.settle(draft)
    entrance.tell(draft)
    mishaps.tell(draft)
    _retire(draft)
    for action in observed.actions:
        act(draft, action)
    trial.follow_spec(draft)
    rivals.watch(draft)
    trial.watch(draft)
    trial.proceed(draft)
    rivals.follow(draft)
    return _conclude(draft, status)


def checks_needed(spec: Spec, status: Status) -> tuple[Check, ...]:
    """The checks whose evidence the next decision uses; none without a candidate, or with a failed one.

    A step that wants a number of compared pairs and has no check of them gets `PAIRS`, which only counts.
    """
    candidate = status.candidate
    if candidate is None or candidate.failed is not None or candidate.issued_generation == 0:
        return ()
    step = steps.at(steps.steps_of(spec, candidate.track), candidate.step)
    wanted = tuple(check for check in spec.checks if check.name in step.checks)
    return (*wanted, PAIRS) if step.min_pairs and not any(trial.counts_pairs(c) for c in wanted) else wanted


def _make_sound(draft: Draft) -> None:
    """Whatever was stored, start from a status whose shares add up and are allowed; a change here only lowers one."""
    stable, candidate = draft.status.stable, draft.status.candidate
    if stable is None or (candidate is not None and _is_one(candidate, stable)):
        candidate = None
    beside = rivals.sound(stable, candidate, draft.status.rivals)
    owned: slots.Slots = ()
    if stable is not None:
        owners = {stable.name} | ({candidate.name} if candidate and candidate.issued_generation else set())
        owners |= {rival.name for rival in beside if rival.was_issued}
        owned = draft.status.slots
        owned = owned if slots.is_sound(owned, owners) else slots.all_to(stable.name)
    ways_back = tuple(p for p in draft.status.past if stable is None or p.ref.identity != stable.identity)
    draft.status = replace(
        draft.status,
        past=ways_back,  # to what serves already there is no way back
        epoch=max(draft.status.epoch, draft.observed.epoch),
        observed_generation=draft.spec.generation,
        candidate=candidate,
        rivals=beside,
        slots=owned,
    )
    if candidate is not None:
        _cap(draft, candidate)


def _is_one(candidate: Candidate, stable: VersionRef) -> bool:
    """Can the two not be told apart? Shares are counted by name, so one name is one version."""
    return candidate.identity == stable.identity or candidate.name == stable.name


def _cap(draft: Draft, candidate: Candidate) -> None:
    """No more share than the step allows (I1), unless an edited spec is about to be followed."""
    compiled = drafts.compiled_steps(draft, candidate)
    step = steps.at(compiled, candidate.step)
    is_followed = draft.spec.version(draft.spec.target) is not None
    if is_followed and steps.digest(compiled) != candidate.steps_digest:
        return
    on_trial: tuple[Candidate | Rival, ...] = (candidate, *draft.status.rivals)
    for version in on_trial:
        most = step.weight if version is candidate else step.share_of(version.name)
        allowed = most if candidate.issued_generation else 0
        if drafts.weight_of(draft, version.name) > allowed:
            drafts.set_weight(
                draft, version, replace(step, weight=allowed), "it had more than its step allows"
            )


def _turn_clocks(draft: Draft) -> None:
    """Give each clock the time since the last decision, at most TICK_S_MAX and never backwards."""
    status = draft.status
    draft.elapsed_s = min(max(draft.now - status.clock_at, 0.0), TICK_S_MAX) if status.clock_at else 0.0
    draft.status = replace(status, clock_at=draft.now)
    candidate = status.candidate
    if candidate is None or draft.is_paused:
        return
    is_ready = draft.is_ready(candidate)
    runs = candidate.acknowledged_at is not None and is_ready
    is_blind = runs and any(r.required and not r.dry_run and r.lack is Lack.NO_DATA for r in draft.results)
    patience = 0.0 if holds.closed(draft) and not _expires(draft, candidate) else draft.elapsed_s
    turned = replace(
        candidate,
        step_s=candidate.step_s + (draft.elapsed_s if runs else 0.0),
        stage_s=candidate.stage_s + patience,
        total_s=candidate.total_s + patience,
        waiting_s=0.0 if is_ready else candidate.waiting_s + draft.elapsed_s,
        warming_s=warming.clock(draft, candidate),
        no_data_s=candidate.no_data_s + draft.elapsed_s if is_blind else 0.0,
    )
    draft.status = replace(draft.status, candidate=turned)


def _expires(draft: Draft, candidate: Candidate) -> bool:
    """Is the present step one that people end, who keep no windows?"""
    return steps.at(drafts.compiled_steps(draft, candidate), candidate.step).expires_s is not None


def _retire(draft: Draft) -> None:
    """Let go of versions whose traffic has left: acknowledged everywhere, drained, and no longer kept warm."""
    kept: list[Retiring] = []
    for retiring in draft.status.retiring:
        if trial.is_draining(retiring) and drafts.is_acknowledged(draft, retiring.since_generation):
            retiring = replace(retiring, elapsed_s=retiring.elapsed_s + draft.elapsed_s)
            if retiring.elapsed_s >= retiring.drain_s:
                retiring = replace(retiring, warm_until=draft.now + retiring.warm_s)
        if retiring.warm_until is not None and draft.now >= retiring.warm_until:
            _say_gone(draft, retiring)
            continue
        kept.append(retiring)
    draft.status = replace(draft.status, retiring=tuple(kept))


def _say_gone(draft: Draft, retiring: Retiring) -> None:
    if trial.is_failed(draft.status, retiring.identity):
        draft.tell(
            Reason.ROLLED_BACK, f"{retiring.name} has no traffic on any router, drained, and is stopped"
        )


def _conclude(draft: Draft, before: Status) -> Decision:
    """Number the plan, fill the number in where it was pending, and say in a sentence where the rollout is."""
    plan = _numbered(draft)
    generation = draft.status.generation
    candidate = draft.status.candidate
    if candidate is not None and candidate.issued_generation == PENDING:
        candidate = replace(candidate, issued_generation=generation)
    retiring = tuple(_leaving(draft, r, before) for r in draft.status.retiring)
    draft.status = replace(draft.status, candidate=candidate, retiring=retiring)
    running = capacity.running(draft.spec, draft.status, draft.observed)
    place = explain.place(draft)
    if place.phase is Phase.STALLED and draft.status.phase is not place.phase:
        draft.tell(Reason.STALLED, place.message)
    hooks.announce(draft, before)
    draft.status = replace(
        draft.status,
        phase=place.phase,
        message=place.message,
        waiting_for=place.waiting_for,
        unmet=explain.unmet(draft),
        restarts=tuple(asked for asked in draft.status.restarts if asked[0] in running),
    )
    return Decision(
        status=draft.status,
        plan=plan,
        running=running,
        records=tuple(
            replace(record, generation=generation, unmet=draft.status.unmet) for record in draft.records
        ),
        events=tuple(draft.events),
        actions=tuple(draft.answers),
        target=draft.target,
        effects=hooks.wanted(draft.status),
        requeue_at=_requeue_at(draft),
    )


def _leaving(draft: Draft, retiring: Retiring, before: Status) -> Retiring:
    """What retires from now on: since which plan, and with what it had to carry until then."""
    if retiring.since_generation != PENDING:
        return retiring
    load = capacity.left_with(draft.spec, before, draft.observed, retiring.identity)
    return replace(retiring, since_generation=draft.status.generation, load=load)


def _numbered(draft: Draft) -> RoutePlan | None:
    """The plan with its numbers; `generation` moves when it says anything new, `endpoints_revision` when addresses change."""
    status = draft.status
    step = _issued_step(draft)
    plan = plans.route_plan(draft.spec, status, step, draft.observed.versions)
    if plan is None:
        return None
    named, reached = plans.plan_digest(plan), plans.endpoints_digest(plan)
    generation = status.generation + (named != status.plan_digest)
    revision = status.endpoints_revision + (reached != status.endpoints_digest)
    recent, loads = status.recent_weights, status.recent_loads
    if generation != status.generation:
        weight = slots.weight_of(status.slots, status.candidate.name) if status.candidate else 0
        recent = (*recent, (generation, weight))[-RECENT_MAX:]
        loads = (*loads, (generation, step.load if step is not None else 0))[-RECENT_MAX:]
    draft.status = replace(
        status,
        generation=generation,
        endpoints_revision=revision,
        plan_digest=named,
        endpoints_digest=reached,
        recent_weights=recent,
        recent_loads=loads,
    )
    return msgspec.structs.replace(plan, generation=generation, endpoints_revision=revision)


def _issued_step(draft: Draft) -> Step | None:
    candidate = draft.status.candidate
    if candidate is None or candidate.issued_generation == 0:
        return None
    return steps.at(drafts.compiled_steps(draft, candidate), candidate.step)


def _requeue_at(draft: Draft) -> float | None:
    """A second from now while something is going on; None when only an event can change anything."""
    status = draft.status
    is_busy = status.candidate is not None or not status.is_stable_proven
    leaving = [r.warm_until for r in status.retiring if r.warm_until is not None]
    if is_busy or any(trial.is_draining(r) for r in status.retiring):
        return draft.now + 1.0
    held = holds.closed(draft) if trial.held_start(draft) is not None else None
    if held is not None and held.opens_at is not None:
        leaving.append(held.opens_at)
    return min(leaving, default=None)
