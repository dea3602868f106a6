"""How a trial begins, what stops it, what moves it on, and what it leaves behind."""

from dataclasses import replace

import pytest

from controller.core.checks import Metric, Within
from controller.core.spec import Advance, CanaryStage, DecisionPolicy, FullStage, OnInconclusive
from controller.core.status import Cause, Failed, Phase, Track, Trip, VersionRef
from tests.controller.core.stories import candidate, matched, on_trial, replicas, router, say, told, weight

HOLD, ROLLBACK, PROMOTE = OnInconclusive.HOLD, OnInconclusive.ROLLBACK, OnInconclusive.PROMOTE


def promoted():
    """v2 is stable, v1 is warm."""
    story = on_trial("errors says Pass", "slo says Pass", "wait 10s", "routers run the plan", "wait 10s")
    for line in ("routers run the plan", "wait 6s", "routers run the plan", "wait 6s"):
        story.tell(line)
    assert story.status.stable == VersionRef("v2", "id-v2"), story.status.message
    return story


# --- what stops an increase ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pinned": "v1"}, "router r1 is pinned to v1: unpin it to go on"),
        ({"error": "version v2 has no endpoint"}, "router r1 refused the plan: version v2 has no endpoint"),
    ],
)
def test_a_router_that_does_not_follow_stops_every_increase_and_is_named(changes, said):
    story = on_trial("errors says undecided")
    router(story, **changes)
    story.tell("wait 30s")
    assert weight(story) == 500
    assert said in story.status.message
    router(story, pinned=None, error="")
    story.tell("wait 1s")
    assert weight(story) == 5000


def test_no_increase_without_a_ready_stable_to_go_back_to():
    story = on_trial("errors says undecided", "v1 not ready", "wait 30s")
    assert weight(story) == 500
    assert "v1 has no ready endpoint to go back to" in story.status.message
    story.tell("v1 ready")
    assert weight(story) == 5000


def test_a_person_may_roll_forward_away_from_a_stable_that_serves_nobody():
    story = on_trial("errors says undecided", "v1 not ready", "ann: promote v2")
    assert weight(story) == 10_000, "the next stage moves everything"
    story = on_trial("v1 not ready", "ann: promote v2", stages="canary 5% every 9s, canary 50% every 9s")
    assert weight(story) == 500, "a part of it would leave the rest where it is"
    say(story, "ann: promote-full v2")
    assert weight(story) == 10_000
    story = on_trial("errors says Pass", "v1 not ready", "wait 20s", stages="canary 5% every 9s")
    assert weight(story) == 500, "the robot has nobody's word for it"
    story = on_trial("v1 not ready", "v2 not ready", "ann: promote-full v2")
    assert weight(story) == 500, "nobody is sent to a version that serves nobody either"


def test_no_increase_for_a_candidate_without_a_ready_endpoint():
    story = told("target v2", "routers run the plan", "wait 10s")
    assert candidate(story).issued_generation == 0
    story = on_trial("errors says undecided", "wait 9s", "v2 not ready", "wait 10s")
    assert weight(story) == 500


def test_no_increase_while_no_router_has_asked_for_its_plan():
    story = on_trial("errors says undecided")
    story.routers.clear()
    story.tell("wait 30s")
    assert weight(story) == 500


def test_even_an_increase_of_a_hundredth_of_a_percent_asks_the_routers():
    story = on_trial("errors says undecided", stages="canary 1% 1.5% every 5s")
    router(story, pinned="v1")
    story.tell("wait 30s")
    assert weight(story) == 100


@pytest.mark.parametrize(("after", "split"), [("50% of x-beta", 5000), ("10% of x-eu", 1000)])
def test_from_one_match_to_another_is_an_increase_with_all_that_it_waits_for(after, split):
    stages = f"match 10s 10% of x-beta, match 10s {after}, canary 10% every 10s"
    story = on_trial("errors says Pass", stages=stages)
    router(story, pinned="v1")
    story.tell("wait 30s")
    assert candidate(story).step == 0
    assert matched(story)["v2"] == 1000
    router(story, pinned=None)
    story.tell("wait 1s")
    assert candidate(story).step == 1
    assert matched(story)["v2"] == split


def test_copies_need_no_router_to_have_agreed_before():
    story = told(
        "target v2", "r1 falls silent", "wait 12s", "v2 ready", stages="shadow 5s, canary 5% every 5s"
    )
    assert candidate(story).issued_generation != 0


# --- what ends a step ----------------------------------------------------------------------------------------------


def test_a_step_lasts_its_own_time_whatever_the_one_before_took():
    story = on_trial(
        "errors says undecided", "wait 40s", "routers run the plan", stages="canary 5% 25% 50% every 10s"
    )
    assert weight(story) == 2500
    story.tell("wait 8s")
    assert weight(story) == 2500
    story.tell("wait 3s")
    assert weight(story) == 5000


def test_a_step_waits_for_the_acknowledgement_of_its_own_plan():
    story = on_trial("errors says undecided", "wait 10s", stages="canary 5% 25% 50% every 10s")
    assert weight(story) == 2500
    story.tell("wait 60s")
    assert weight(story) == 2500
    assert candidate(story).acknowledged_at is None


@pytest.mark.parametrize(
    ("evidence", "goes_on"),
    [("Pass", True), ("undecided", True), ("holds", False), ("nothing", False)],
)
def test_a_timed_step_goes_on_unless_something_fails_holds_or_lacks(evidence, goes_on):
    story = on_trial(f"errors says {evidence}", "wait 20s")
    assert (weight(story) == 5000) is goes_on


def test_a_timed_step_does_not_go_on_with_evidence_of_earlier_steps_only():
    story = on_trial("errors says undecided")
    stale = replace(story._result(story.spec.checks[0]), is_fresh=False)
    story._result = lambda check: replace(stale, check=check.name)
    story.tell("wait 30s")
    assert weight(story) == 500
    assert "too few requests in this step" in story.status.message


def test_a_check_that_was_never_measured_holds():
    story = on_trial("errors says undecided")
    story._result = lambda check: replace(type(story)()._result(check), check="another")
    story.tell("wait 30s")
    assert weight(story) == 500
    assert "no measurement yet" in story.status.message


@pytest.mark.parametrize(("evidence", "goes_on"), [("Pass", True), ("undecided", False), ("holds", False)])
def test_the_last_weight_is_left_only_with_a_pass(evidence, goes_on):
    story = on_trial(f"errors says {evidence}", "wait 30s", stages="canary 50% every 5s")
    assert (weight(story) == 10_000) is goes_on


def test_a_paused_rollout_stays_where_it_is_and_still_fails():
    story = on_trial("errors says Pass", "ann: pause v2", "wait 60s")
    assert weight(story) == 500
    story.tell("errors says Fail")
    assert weight(story) == 0


def test_a_paused_rollout_does_not_move_when_what_it_waited_for_comes():
    story = on_trial("errors says nothing", "wait 30s", "ann: pause v2", "errors says Pass", "wait 10s")
    assert weight(story) == 500
    story.tell("ann: resume v2")
    assert weight(story) == 5000


def test_what_the_next_weight_could_cost_must_be_within_the_risk_budget():
    story = on_trial("errors says undecided", stages="ramp budget 0.1%")
    story.tell("wait 20s")
    assert weight(story) == 100
    assert "nothing bounds the risk yet" in story.status.message
    story.tell("the upper bound of errors is 6 %")  # 2 % of traffic x 6 % = 0.12 % of all requests
    story.tell("wait 2s")
    assert weight(story) == 100
    story.tell("the upper bound of errors is 4 %")
    assert weight(story) == 200


def test_a_value_with_fixed_bounds_has_to_hold_and_bounds_no_risk():
    story = on_trial("errors says undecided", stages="ramp budget 0.1%")
    gauge = replace(story.spec.checks[0], metric=Metric.GAUGE, limit=Within(most=1.0))
    story._edit(checks=(gauge, *story.spec.checks[1:]))
    story.tell("wait 20s")
    assert weight(story) == 200, story.status.message


# --- too long ------------------------------------------------------------------------------------------------------


def impatient(on_inconclusive=HOLD, on_no_data=HOLD, *lines, max_stay_s=20.0):
    story = on_trial()
    stage = CanaryStage((500, 5000), 5.0, ("errors",), Advance.ON_PASS, max_stay_s)
    policy = DecisionPolicy(on_inconclusive=on_inconclusive, on_no_data=on_no_data, no_data_timeout_s=15.0)
    story._edit(stages=(stage, FullStage()), policy=policy)
    for line in ("wait 1s", "routers run the plan", *lines):
        story.tell(line)
    return story


def test_undecided_for_too_long_does_what_on_inconclusive_says():
    assert weight(impatient(HOLD, HOLD, "errors says undecided", "wait 40s")) == 500
    assert (
        impatient(ROLLBACK, HOLD, "errors says undecided", "wait 40s").status.failed[0].cause
        is Cause.INCONCLUSIVE
    )
    assert weight(impatient(PROMOTE, HOLD, "errors says undecided", "wait 12s")) == 500, "maxStay is not over"
    assert weight(impatient(PROMOTE, HOLD, "errors says undecided", "wait 40s")) == 5000


def test_no_data_for_too_long_does_what_on_no_data_says_and_nothing_else():
    assert weight(impatient(HOLD, HOLD, "errors says nothing", "wait 60s")) == 500
    assert (
        impatient(HOLD, ROLLBACK, "errors says nothing", "wait 60s").status.failed[0].cause is Cause.NO_DATA
    )
    assert weight(impatient(PROMOTE, HOLD, "errors says nothing", "wait 60s")) == 500
    held = impatient(ROLLBACK, HOLD, "errors says nothing", "wait 17s", max_stay_s=1000.0)
    assert held.status.candidate is not None


def test_a_stage_is_too_long_by_its_own_time_also_where_the_candidate_is_never_ready():
    story = impatient(ROLLBACK, HOLD, "errors says undecided", "v2 not ready", "wait 25s")
    assert story.status.failed[0].cause is Cause.INCONCLUSIVE


# --- what fails a candidate ----------------------------------------------------------------------------------------


def test_a_dry_run_decides_nothing():
    story = on_trial("errors says undecided")
    story._edit(checks=tuple(replace(check, dry_run=True) for check in story.spec.checks))
    says = story._result
    story._result = lambda check: replace(says(check), dry_run=check.dry_run)
    story.tell("errors says Fail")
    assert candidate(story).failed is None


def test_stable_degraded_too_pauses_for_a_person_unless_the_check_only_watches():
    story = on_trial()
    assert "Paused" in say(story, "errors says shared")
    story = on_trial()
    says = story._result
    story._result = lambda check: replace(says(check), required=False)
    assert "Paused" not in say(story, "errors says shared")


def test_a_check_that_only_watches_still_rolls_back():
    story = on_trial("errors says undecided")
    says = story._result
    story._result = lambda check: replace(says(check), required=False)
    story.tell("errors says Fail")
    assert story.status.candidate is None


def test_a_trip_of_an_earlier_try_does_not_count_for_this_one():
    story = on_trial("r1 trips its guard", "routers run the plan", "wait 6s", "ann: retry v2", "wait 5s")
    assert story.status.candidate is not None
    assert candidate(story).attempt == 2
    router(story, trips=(Trip("id-v2", 2, "20 of 20"),))
    story.tell("wait 1s")
    assert story.status.candidate is None


def test_a_version_that_crashes_before_it_had_traffic_is_rolled_back_at_once():
    story = told("target v2")
    assert "keeps crashing" in say(story, "v2 crashes")
    assert story.status.candidate is None


def test_a_failed_version_is_not_tried_again_by_itself():
    story = on_trial("errors says Fail", "routers run the plan", "errors says Pass", "wait 120s")
    assert story.status.candidate is None
    assert story.status.phase is Phase.ROLLED_BACK


# --- the spec changes ----------------------------------------------------------------------------------------------


def test_another_build_under_the_candidates_name_is_another_candidate():
    story = on_trial()
    versions = tuple(replace(v, identity="id-v2-b") if v.name == "v2" else v for v in story.spec.versions)
    story._edit(versions=versions)
    story.tell("wait 1s")
    assert weight(story) == 0
    assert story.status.candidate is None or candidate(story).identity == "id-v2-b"


def test_a_new_target_starts_only_when_the_one_before_has_drained():
    story = on_trial("target v3", "v3 ready", "wait 20s")
    assert story.status.candidate is None
    story.tell("routers run the plan")
    story.tell("wait 2s")
    assert story.status.candidate is None
    story.tell("wait 5s")
    assert candidate(story).name == "v3"


def test_an_edited_step_is_acknowledged_anew():
    story = on_trial("errors says undecided", "wait 4s")
    story._edit(stages=(CanaryStage((300, 500, 9000), 20.0, ("errors",)), FullStage()))
    story.routers["r1"] = replace(
        story.routers["r1"], applied=story.routers["r1"].applied._replace(generation=0)
    )
    story.tell("wait 3s")
    assert weight(story) == 500
    assert candidate(story).acknowledged_at is None
    assert candidate(story).step_s == 0.0


def test_an_approval_counts_for_its_own_stage_only():
    story = on_trial("errors says Pass", stages="approval, canary 5% every 5s, approval, canary 50% every 5s")
    story.tell("ann: approve v2 as owner")
    for line in ("routers run the plan", "wait 7s", "routers run the plan", "wait 30s"):
        story.tell(line)
    assert weight(story) == 500
    assert "1 approval" in story.status.message
    story.tell("ann: approve v2 as owner")
    assert weight(story) == 5000


def test_a_target_that_failed_is_not_lined_up_again():
    story = on_trial("supersede: queue", "errors says Fail", "routers run the plan", "wait 6s")
    assert story.status.queue == ()
    other = tuple(replace(v, identity="id-v2-b") if v.name == "v2" else v for v in story.spec.versions)
    story._edit(versions=other, target="v3")
    for line in ("errors says undecided", "v3 ready", "wait 1s"):
        story.tell(line)
    assert candidate(story).name == "v3", "nobody asked for another build of v2"


# --- promotion -----------------------------------------------------------------------------------------------------


def test_the_promoted_version_is_stable_by_its_own_name_and_the_one_before_stays_warm():
    story = promoted()
    assert story.status.previous == VersionRef("v1", "id-v1")
    assert [(r.name, r.warm_s) for r in story.status.retiring] == [("v1", 3600.0)]
    assert weight(story, "v2") == 10_000


def test_the_version_before_the_previous_one_is_not_kept_warm_any_longer():
    story = promoted()
    assert replicas(story, "v1") == 1
    for line in ("target v3", "v3 ready", *("routers run the plan", "wait 11s") * 4):
        story.tell(line)
    assert story.status.stable == VersionRef("v3", "id-v3"), story.status.message
    assert replicas(story, "v2") == 1
    assert replicas(story, "v1") == 0


def test_the_version_that_was_rolled_back_is_not_kept_warm():
    story = promoted()
    story.tell("ann: rollback v2, wrong")
    assert [(r.name, r.warm_s) for r in story.status.retiring] == [("v2", 0.0)]


@pytest.mark.parametrize(
    ("window", "track"),
    [
        ("3 versions, 1000s", Track.RETURN),
        ("0 versions, 1000s", Track.FAST),
        ("3 versions, 5s", Track.FAST),
    ],
)
def test_going_back_skips_all_stages_only_inside_the_window_in_number_and_in_time(window, track):
    story = promoted()
    story._edit(capacity=replace(story.spec.capacity, keep_stable_warm_s=0.0))
    story.status = replace(story.status, retiring=())
    story.tell(f"rollback window: {window}")
    story.tell("wait 10s")
    story.tell("v1 not ready")
    story.tell("target v1")
    assert candidate(story).track is track


def test_going_back_to_a_warm_version_is_one_flip_whatever_the_window():
    story = promoted()
    story.tell("rollback window: 0 versions, 0s")
    story.tell("v1 not ready")
    story.tell("target v1")
    assert candidate(story).track is Track.RETURN


def away_from_a_failed_stable():
    """v2 is stable and was rolled back by a person while nothing was there to go back to; v3 is on trial at 5 %."""
    story = promoted()
    status = story.status
    failed = Failed("v2", "id-v2", 1, Cause.OPERATOR, "wrong", story.now, "ann")
    story.status = replace(status, failed=(failed,), past=())
    for line in (
        "target v3",
        "v3 ready",
        "errors says undecided",
        "wait 1s",
        "routers run the plan",
        "wait 1s",
    ):
        story.tell(line)
    assert weight(story, "v3") == 500
    return story


def test_a_trial_is_not_called_off_when_its_share_would_go_to_a_version_that_was_rolled_back():
    story = away_from_a_failed_stable()
    story.tell("target v4")
    assert candidate(story).name == "v3"
    assert weight(story, "v3") == 500


def test_a_candidate_that_fails_loses_its_share_although_stable_had_failed_before():
    story = away_from_a_failed_stable()
    story.tell("errors says Fail")
    assert weight(story, "v3") == 0
    assert weight(story, "v2") == 10_000
