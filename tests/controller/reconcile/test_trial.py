"""Everybody on trial is judged against stable, from the same measurements, with an equal part of the rollout's alpha."""

from dataclasses import replace

from controller.core.analysis.inputs import Inputs, Roles, StepContext
from controller.core.analysis.judge import judge
from controller.core.analysis.state import FRESH, AnalysisState
from controller.core.checks import CheckResult, Verdict
from controller.core.slots import all_to, with_weight
from controller.core.spec import CanaryStage, DecisionPolicy, Spec, VersionSpec
from controller.core.status import Candidate, Rival, Status, VersionRef
from controller.reconcile.trial import Judged, Measured, judge_trial, on_trial
from tests.controller.core.analysis.worlds import CANDIDATE, ERRORS, STABLE, START, Router

V9 = VersionRef("v9", "hash-of-v9")
SPEC = Spec(
    key="default/fraud",
    generation=1,
    target="v8",
    versions=tuple(VersionSpec(ref.name, ref.identity) for ref in (STABLE, CANDIDATE, V9)),
    stages=(CanaryStage((1000, 2000), checks=("errors",), to=("v8", "v9", "v10")),),
    checks=(ERRORS,),
    policy=DecisionPolicy(alpha=0.03),
)
OWNED = with_weight(with_weight(all_to("v7"), "v7", "v8", 1000), "v7", "v9", 500)
STATUS = Status(
    stable=STABLE,
    candidate=Candidate("v8", CANDIDATE.identity, issued_generation=1, acknowledged_at=START),
    rivals=(Rival("v9", V9.identity, step=0, was_issued=True), Rival("v10", "hash-of-v10")),
    slots=OWNED,
    epoch=1,
    generation=1,
)


def look(router: Router, second: int, state: AnalysisState, status: Status = STATUS) -> Judged:
    now = START + second
    return judge_trial(SPEC, status, (ERRORS,), state, Measured((router.report(now),), {}), now)


def traffic(router: Router, of_v9: int) -> None:
    """A second of it: stable and the candidate fail now and then, v9 as often as said."""
    router.count(STABLE.identity, 400, 2, 200, 1)
    router.count(CANDIDATE.identity, 50, 0)
    router.count(V9.identity, 50, of_v9)


def test_a_bad_rival_fails_and_the_good_target_beside_it_does_not() -> None:
    router, judged = Router(), Judged(FRESH)
    for second in range(1, 90):
        traffic(router, of_v9=25)
        judged = look(router, second, judged.state)
    assert [result.verdict for result in judged.rivals[V9.identity]] == [Verdict.FAIL]
    assert {result.rival for result in judged.rivals[V9.identity]} == {"v9"}
    assert judged.results[0].verdict is not Verdict.FAIL
    assert judged.results[0].rival == ""
    assert set(judged.rivals) == {V9.identity}, "v10 has had no traffic yet"


def test_everybody_whom_the_stages_name_has_an_equal_part_of_alpha_whether_it_takes_part_yet_or_not() -> None:
    router, judged = Router(), Judged(FRESH)
    alone: tuple[AnalysisState, tuple[CheckResult, ...]] = (FRESH, ())
    whole: tuple[AnalysisState, tuple[CheckResult, ...]] = (FRESH, ())
    step = StepContext(0, 1, START, weight=1000)
    roles = Roles(CANDIDATE, 1, STABLE)
    for second in range(1, 60):
        traffic(router, of_v9=0)
        judged = look(router, second, judged.state)
        inputs = Inputs((router.report(START + second),))
        now = START + second
        alone = judge(SPEC.checks, ("errors",), roles, alone[0], inputs, step, 0.03 / 3, now)
        whole = judge(SPEC.checks, ("errors",), roles, whole[0], inputs, step, 0.03, now)
    assert judged.results == alone[1]
    assert judged.results != whole[1]


def test_a_rival_that_lags_behind_the_targets_step_is_judged_on_with_what_is_known_of_it() -> None:
    router, judged = Router(), Judged(FRESH)
    for second in range(1, 90):
        traffic(router, of_v9=25)
        judged = look(router, second, judged.state)
    candidate = STATUS.candidate
    assert candidate is not None
    ahead = replace(STATUS, candidate=replace(candidate, step=1))
    assert [version.name for version in on_trial(ahead)] == ["v8", "v9"]
    judged = look(router, 91, judged.state, ahead)
    assert judged.rivals[V9.identity][0].verdict is Verdict.FAIL, "its Fail is not forgotten"


def test_the_evidence_of_a_rival_that_left_is_dropped_and_nobody_is_judged_without_a_candidate() -> None:
    router = Router()
    traffic(router, of_v9=0)
    judged = look(router, 1, FRESH)
    assert set(judged.state.rivals) == {V9.identity}
    assert not look(router, 2, judged.state, replace(STATUS, rivals=())).state.rivals
    nobody = look(router, 3, judged.state, replace(STATUS, candidate=None))
    assert (nobody.results, nobody.rivals) == ((), {})
    assert not list(on_trial(replace(STATUS, candidate=None)))
