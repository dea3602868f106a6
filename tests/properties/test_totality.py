"""`decide` on whatever it is given, also what no world could make: it answers, and what it answers is allowed."""

import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.core import slots
from controller.core.checks import CheckResult, Lack, Verdict
from controller.core.invariants import violations
from controller.core.machine import checks_needed, decide
from controller.core.spec import (
    DecisionPolicy,
    OnInconclusive,
    RollbackWindow,
    Spec,
    Supersede,
    VersionSpec,
)
from controller.core.status import (
    Action,
    Candidate,
    Cause,
    Decision,
    Failed,
    Observed,
    Outcome,
    PastStable,
    Pause,
    Phase,
    Retiring,
    Rival,
    RouterObserved,
    Status,
    Track,
    Trip,
    Verb,
    VersionObserved,
    VersionRef,
)
from controller.core.warming import subject
from headgate.wire.plan import SLOTS, Applied, Endpoint, SlotRange
from tests.properties.world import CAPACITIES, CHECKS, STRATEGIES, WARMUPS

NOW = 1_000_000.0

names = st.sampled_from(("v1", "v2", "v3", "v4"))
identities = st.sampled_from(("a", "b", "c", "d"))
people = st.sampled_from(("", "ann", "bob"))
words = st.sampled_from(("", "because", "a: b"))
seconds = st.sampled_from((0.0, 1.0, 9.0, 1e6, -5.0))
times = st.sampled_from((0.0, NOW - 3600, NOW - 1, NOW, NOW + 50, -1.0))
numbers = st.integers(-2, 9)
positions = st.integers(-3, 30)
shares = st.sampled_from((-1, 0, 500, SLOTS, SLOTS + 1))
some = st.booleans()


def few(values: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=most).map(tuple)


refs = st.builds(VersionRef, names, identities)
failures = st.builds(Failed, names, identities, numbers, st.sampled_from(Cause), words, times, people, some)
candidates = st.builds(
    Candidate,
    name=names,
    identity=identities,
    attempt=numbers,
    track=st.sampled_from(Track),
    step=positions,
    steps_digest=words,
    issued_generation=numbers,
    acknowledged_at=st.none() | times,
    step_s=seconds,
    stage_s=seconds,
    total_s=seconds,
    waiting_s=seconds,
    no_data_s=seconds,
    pass_to=positions,
    passed_by=people,
    approved_by=few(people),
    skipped=few(numbers),
    failed=st.none() | failures,
)
rivals = st.builds(Rival, names, identities, numbers, positions, some)
ranges = st.builds(SlotRange, st.integers(0, SLOTS // 2), st.integers(SLOTS // 2 + 1, SLOTS), names)
owned = (
    few(ranges)
    | st.builds(slots.all_to, names)
    | st.builds(
        lambda giver, taker, weight: slots.with_weight(slots.all_to(giver), giver, taker, weight),
        names,
        names,
        st.integers(0, SLOTS),
    )
)
statuses = st.builds(
    Status,
    phase=st.sampled_from(Phase),
    stable=st.none() | refs,
    is_stable_proven=some,
    past=few(st.builds(PastStable, refs, times)),
    queue=few(names),
    candidate=st.none() | candidates,
    rivals=few(rivals),
    restarts=few(st.tuples(identities, numbers)),
    failed=few(failures),
    retiring=few(
        st.builds(Retiring, names, identities, numbers, seconds, seconds, seconds, st.none() | times, shares)
    ),
    slots=owned,
    recent_weights=few(st.tuples(numbers, shares)),
    recent_loads=few(st.tuples(numbers, shares)),
    epoch=numbers,
    generation=numbers,
    endpoints_revision=numbers,
    clock_at=times,
    paused=st.none() | st.builds(Pause, people, words, times),
    handled=few(st.sampled_from(("x0", "x1"))),
    history=few(st.builds(Outcome, names, identities, words, words, times, times, people)),
)
versions = st.lists(names, min_size=1, max_size=4, unique=True).flatmap(
    lambda chosen: st.tuples(*(st.builds(VersionSpec, st.just(name), identities) for name in chosen))
)
specs = st.builds(
    Spec,
    key=st.just("default/fraud"),
    generation=numbers,
    target=names,
    versions=versions,
    stages=st.sampled_from(((), *STRATEGIES)),
    initial_stable=st.none() | names,
    checks=st.just(CHECKS) | st.just(()),
    policy=st.builds(
        DecisionPolicy,
        on_inconclusive=st.sampled_from(OnInconclusive),
        on_no_data=st.sampled_from(OnInconclusive),
        no_data_timeout_s=seconds,
        max_duration_s=seconds,
    ),
    rollback_window=st.builds(RollbackWindow, numbers, seconds),
    supersede=st.sampled_from(Supersede),
    capacity=st.sampled_from(CAPACITIES),
    warmup=st.sampled_from(WARMUPS),
    paused=some,
)
seen = st.builds(
    VersionObserved,
    endpoints=st.sampled_from(((), (Endpoint("127.0.0.1", 8000),))),
    is_crash_looping=st.sampled_from((False, False, False, True)),
    is_warm=some,
    replicas=st.none() | st.integers(-1, 9),
)
routers = st.builds(
    RouterObserved,
    id=st.sampled_from(("r1", "r2")),
    applied=st.builds(Applied, numbers, numbers, numbers),
    seen_at=times,
    error=words,
    trips=few(st.builds(Trip, identities, numbers, words), 1),
    pinned=st.none() | names,
)
actions = st.builds(
    Action,
    id=st.sampled_from(("x0", "x1", "x2", "x3")),
    verb=st.sampled_from(Verb),
    version=names,
    actor=people,
    stage=numbers,
    to=st.just("") | names,
    roles=few(st.just("owner"), 1),
)
readings = st.builds(
    Observed,
    epoch=numbers,
    versions=st.dictionaries(identities, seen),
    routers=few(routers),
    actions=few(actions),
)
judged = st.builds(
    CheckResult,
    check=st.sampled_from([check.name for check in CHECKS] + ["of another step"]),
    verdict=st.sampled_from(Verdict),
    lack=st.sampled_from(Lack),
    text=words,
    is_fresh=some,
    is_holding=some,
    required=some,
    dry_run=some,
    high=st.none() | st.sampled_from((-1.0, 0.0, 0.5)),
    samples=numbers,
)


@pytest.mark.timeout(600)
@given(
    spec=specs,
    status=statuses,
    observed=readings,
    results=few(judged, 4),
    now=times,
    of_rivals=st.dictionaries(identities, few(judged, 2)),
)
@settings(
    max_examples=150 if os.environ.get("HEADGATE_QUICK") else 1500,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_it_is_given_it_decides_and_breaks_nothing(
    spec: Spec,
    status: Status,
    observed: Observed,
    results: tuple[CheckResult, ...],
    now: float,
    of_rivals: dict[str, tuple[CheckResult, ...]],
) -> None:
    checks_needed(spec, status)
    subject(spec, status, observed.versions)
    decision = decide(spec, status, observed, results, now, of_rivals)
    assert not _broken(spec, status, decision, observed)
    again = decide(spec, decision.status, replace(observed, actions=()), results, now, of_rivals)
    assert not _broken(spec, decision.status, again, observed)
    _check_raise(status, decision.status, results)
    _check_rivals_raise(status, decision.status, of_rivals)


def _broken(spec: Spec, before: Status, decision: Decision, observed: Observed) -> list[str]:
    """What the decision breaks, save that a stored status may have no stable version but one that failed."""
    stable = decision.status.stable
    excused = f"I3: {stable.identity} has failed" if stable is not None else "-"
    return [said for said in violations(spec, before, decision, observed) if not said.startswith(excused)]


def _check_raise(before: Status, after: Status, results: tuple[CheckResult, ...]) -> None:
    """A share that rose belongs to a candidate that has not failed, and no check says Fail."""
    candidate = after.candidate
    if candidate is None or before.candidate is None or before.candidate.identity != candidate.identity:
        return
    if slots.weight_of(after.slots, candidate.name) <= slots.weight_of(before.slots, candidate.name):
        return
    assert candidate.failed is None
    assert not any(r.verdict is Verdict.FAIL and not r.dry_run for r in results)


def _check_rivals_raise(before: Status, after: Status, results: dict[str, tuple[CheckResult, ...]]) -> None:
    """A rival whose share rose beside the same candidate has no Fail, and had an endpoint and a trial to take part in."""
    candidate = after.candidate
    if candidate is None or before.candidate is None or before.candidate.identity != candidate.identity:
        assert not after.rivals or candidate is not None
        return
    for rival in after.rivals:
        if slots.weight_of(after.slots, rival.name) > slots.weight_of(before.slots, rival.name):
            said = results.get(rival.identity, ())
            was_on = any(known.identity == rival.identity for known in before.rivals)
            assert not (was_on and any(r.verdict is Verdict.FAIL and not r.dry_run for r in said))
            assert candidate.failed is None
