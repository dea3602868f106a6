"""Who counts as having acknowledged, what a failure leaves behind, and what is kept bounded."""

from dataclasses import replace

import pytest

from controller.core.draft import FAILED_MAX, HISTORY_MAX
from controller.core.machine import checks_needed, decide
from controller.core.slots import weight_of
from controller.core.status import Cause, Failed, Observed, Outcome, PastStable, VersionRef
from headgate.wire.plan import Applied
from tests.controller.core.stories import candidate, on_trial, router, say, told, weight


def test_a_router_that_obeys_a_former_leader_has_not_acknowledged():
    story = told("target v2", "the controller restarts", "v2 ready")
    status = story.status
    router(story, applied=Applied(status.epoch - 1, status.generation + 5, 0))
    assert "has not acknowledged" in say(story, "wait 1s") + status.message
    assert weight(story) == 0
    router(story, applied=Applied(status.epoch, status.generation, 0))
    story.tell("wait 1s")
    assert weight(story) == 500


def test_a_router_one_plan_behind_has_not_acknowledged():
    story = on_trial("errors says undecided", "wait 10s")
    assert weight(story) == 5000
    story.tell("wait 30s")
    assert candidate(story).acknowledged_at is None
    story.tell("routers run the plan")
    assert candidate(story).acknowledged_at is not None


def test_a_later_plan_of_the_same_leader_acknowledges_an_earlier_one():
    story = on_trial("errors says undecided", "wait 10s")
    router(story, applied=Applied(story.status.epoch, story.status.generation + 3, 0))
    story.tell("wait 1s")
    assert candidate(story).acknowledged_at is not None


@pytest.mark.parametrize(("unheard_s", "rises"), [(9.0, True), (11.0, False), (60.0, False)])
def test_a_router_unheard_for_more_than_ten_seconds_stops_increases_and_is_named(unheard_s, rises):
    story = on_trial("errors says undecided", "wait 9s")
    routers = tuple(replace(r, seen_at=story.now + 2.0 - unheard_s) for r in story.routers.values())
    results = tuple(story._result(check) for check in checks_needed(story.spec, story.status))
    seen = Observed(story.epoch, story.versions, routers)
    decision = decide(story.spec, story.status, seen, results, story.now + 2.0)
    assert (weight_of(decision.status.slots, "v2") == 5000) is rises
    assert ("is silent" in decision.status.message) is not rises


def test_each_failed_version_stays_failed_when_another_one_fails():
    story = on_trial("errors says Fail", "routers run the plan", "wait 6s", "target v3", "v3 ready")
    for line in (
        "routers run the plan",
        "routers run the plan",
        "wait 2s",
        "routers run the plan",
        "wait 6s",
    ):
        story.tell(line)
    assert [f.name for f in story.status.failed] == ["v2", "v3"]
    assert all(f.is_latched for f in story.status.failed)
    story.tell("errors says Pass")
    story.tell("target v2")
    story.tell("wait 60s")
    assert story.status.candidate is None


def test_too_many_failures_forget_the_forgiven_first_and_then_the_oldest():
    story = on_trial()
    many = tuple(Failed(f"x{n}", f"id-x{n}", 1, Cause.GUARD, "", 0.0, "", n != 7) for n in range(FAILED_MAX))
    story.status = replace(story.status, failed=many)
    story.tell("errors says Fail")
    names = [f.name for f in story.status.failed]
    assert len(names) == FAILED_MAX
    assert names[-1] == "v2"
    assert "x7" not in names
    assert "x0" in names


def test_there_is_no_way_back_to_a_version_that_failed():
    story = on_trial("errors says undecided")
    past = (PastStable(VersionRef("v3", "id-v3"), 0.0), PastStable(VersionRef("v2", "id-v2"), 0.0))
    story.status = replace(story.status, past=past)
    story.tell("errors says Fail")
    assert [p.ref.name for p in story.status.past] == ["v3"]


def test_a_robots_rollback_waits_for_a_stable_that_can_take_the_traffic():
    story = on_trial("v1 not ready", "errors says Fail")
    assert weight(story) == 500
    assert candidate(story).failed is not None
    story.tell("wait 5s")
    assert weight(story) == 500
    story.tell("v1 ready")
    assert weight(story) == 0
    assert story.status.candidate is None


def test_a_robots_rollback_does_not_wait_when_the_candidate_is_just_as_dead():
    story = on_trial("v1 not ready", "errors says Fail", "v2 not ready")
    assert weight(story) == 0


def test_a_persons_rollback_waits_for_nothing():
    story = on_trial("v1 not ready", "ann: rollback v2, it is wrong")
    assert weight(story) == 0
    assert story.status.candidate is None


def test_a_version_with_traffic_drains_before_it_stops_and_one_without_need_not():
    story = on_trial("errors says Fail")
    assert [r.drain_s for r in story.status.retiring] == [5.0]
    story.tell("wait 30s")
    assert [r.name for r in story.status.retiring] == ["v2"], "nobody has acknowledged yet"
    story.tell("routers run the plan")
    story.tell("wait 3s")
    assert [r.name for r in story.status.retiring] == ["v2"]
    story.tell("wait 3s")
    assert story.status.retiring == ()
    unborn = told("target v2", "v2 crashes")
    assert [r.drain_s for r in unborn.status.retiring] == [0.0]


def test_the_plan_that_a_decision_makes_is_not_acknowledged_by_it():
    story = told("target v2", "v2 crashes")
    assert [r.name for r in story.status.retiring] == ["v2"], "stopped before any router knew"


def test_the_history_is_bounded():
    story = on_trial()
    past = tuple(Outcome(f"x{n}", f"id-x{n}", "Promoted", "", 0.0, 0.0) for n in range(HISTORY_MAX))
    story.status = replace(story.status, history=past)
    story.tell("errors says Fail")
    assert len(story.status.history) == HISTORY_MAX
    assert story.status.history[-1].version == "v2"


def test_a_retried_version_has_the_next_number_and_another_choice_of_users():
    story = on_trial("errors says Fail", "routers run the plan", "wait 6s", "errors says Pass")
    salt = story.status.salt
    story.tell("ann: retry v2")
    assert candidate(story).attempt == 2
    assert story.status.salt != salt
    story.tell("ann: rollback v2, again")
    story.tell("ann: retry v2")
    story.tell("routers run the plan")
    story.tell("wait 6s")
    assert candidate(story).attempt == 3
