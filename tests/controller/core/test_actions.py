"""What people may ask for, when it is refused, and that it is done once."""

from dataclasses import replace

import pytest

from controller.core.machine import decide
from controller.core.status import Action, Cause, Failed, Observed, Verb
from tests.controller.core.stories import candidate, on_trial, router, say, told, weight
from tests.controller.core.test_trial import promoted


def test_the_same_action_twice_is_one():
    story = on_trial("errors says undecided", stages="pause, pause, canary 5% every 5s")
    action = Action("a-1", Verb.PROMOTE, "v2", "ann")
    seen = Observed(story.epoch, story.versions, tuple(story.routers.values()), (action, action))
    once = decide(story.spec, story.status, seen, (), story.now)
    assert [answer.id for answer in once.actions] == ["a-1"]
    again = decide(story.spec, once.status, seen, (), story.now)
    assert again.actions == ()
    assert again.status.candidate is not None
    assert again.status.candidate.step == 1


@pytest.mark.parametrize("verb", ["promote", "promote-full", "pause", "resume", "skip-stage 1 of"])
def test_what_is_meant_for_another_version_is_refused_and_changes_nothing(verb):
    story = on_trial("errors says undecided")
    before = story.status.candidate
    line = f"ann: {verb} v3"
    assert "v3 is not on trial, v2 is" in say(story, line)
    assert story.status.paused is None
    after = candidate(story)
    assert before is not None
    assert (after.step, after.pass_to, after.skipped) == (before.step, before.pass_to, before.skipped)


def test_a_promote_is_refused_while_a_check_says_fail():
    story = on_trial("errors says undecided")
    story.results["errors"] = "Fail"
    assert "v2 has failed its check errors" in say(story, "ann: promote v2")


def test_a_promote_is_refused_once_the_version_has_failed():
    story = on_trial("v1 not ready", "errors says Fail", "errors says Pass")
    assert candidate(story).failed is not None
    assert "v2 has failed and is being rolled back" in say(story, "ann: promote v2")
    assert "v2 has failed and is being rolled back" in say(story, "ann: promote-full v2")


def test_a_promote_ends_the_present_stage_without_its_checks():
    story = on_trial("errors says undecided", "ann: promote v2")
    assert weight(story) == 10_000
    assert candidate(story).passed_by == "ann"


def test_a_promote_does_not_take_back_a_promote_full_that_waits():
    story = on_trial("errors says undecided", stages="canary 5% every 9s, canary 50% every 9s, full bake 5s")
    router(story, pinned="v1")
    story.tell("ann: promote-full v2")
    story.tell("bob: promote v2")
    assert weight(story) == 500
    router(story, pinned=None)
    story.tell("wait 1s")
    assert weight(story) == 10_000


@pytest.mark.parametrize("verb", ["promote", "promote-full"])
def test_a_person_who_passes_what_has_not_begun_yet_does_not_pass_its_only_step(verb):
    story = told("target v2", stages="full")
    say(story, f"ann: {verb} v2")
    for line in ("v2 ready", "routers run the plan", "routers run the plan", "wait 2s"):
        story.tell(line)
    assert story.status.stable is not None
    assert story.status.stable.name == "v2", story.status.message


def test_a_promote_does_not_get_around_an_approval():
    story = on_trial("errors says undecided", stages="canary 5% every 5s, approval, canary 50% every 5s")
    assert "stage 2 is an approval" in say(story, "ann: promote-full v2")
    assert weight(story) == 500


def test_a_promote_of_a_shadow_that_is_all_there_is_moves_everything_before_it_promotes():
    story = on_trial("agree says Pass", "ann: promote v2", stages="shadow 5s")
    assert weight(story) == 10_000
    assert story.status.stable is not None
    assert story.status.stable.name == "v1"


def test_approvals_need_the_role_and_different_people():
    story = on_trial(stages="approval 2 of owner, canary 5% every 5s")
    assert "none of the roles" in say(story, "ann: approve v2 as guest")
    roleless = Action("x", Verb.APPROVE, "v2", "eve")
    story.actions.append(roleless)
    assert "none of the roles" in say(story, "wait 1s")
    story.tell("ann: approve v2 as owner")
    story.tell("ann: approve v2 as owner")
    assert candidate(story).approved_by == ("ann",)
    assert weight(story) == 0
    story.tell("bob: approve v2 as owner")
    assert weight(story) == 500


@pytest.mark.parametrize(
    ("stages", "number", "said"),
    [
        ("canary 5% every 5s", 7, "there is no stage 7"),
        ("canary 5% every 5s, approval, canary 50% every 5s", 2, "stage 2 is an approval"),
        ("canary 5% every 5s, full", 2, "moves all traffic"),
        ("flip preview bake 5s", 1, "moves all traffic"),
    ],
)
def test_a_stage_that_must_not_be_left_out_is_not(stages, number, said):
    story = on_trial(stages=stages)
    assert said in say(story, f"ann: skip-stage {number} of v2")


def test_a_retry_forgives_one_version_only():
    story = on_trial("errors says Fail", "routers run the plan", "wait 6s", "errors says Pass")
    other = Failed("v3", "id-v3", 1, Cause.GUARD, "", 0.0)
    story.status = replace(story.status, failed=(*story.status.failed, other))
    story.tell("ann: retry v2")
    assert {f.name: f.is_latched for f in story.status.failed} == {"v2": False, "v3": True}


def test_a_retry_is_refused_for_what_has_not_failed_or_is_not_the_target():
    assert "v2 has not failed" in say(on_trial(), "ann: retry v2")
    story = on_trial("errors says Fail", "routers run the plan", "wait 6s", "target v1")
    assert "the target is v1" in say(story, "ann: retry v2")


def test_a_rollback_after_promotion_goes_back_in_one_write_and_not_twice():
    story = promoted()
    story.tell("ann: rollback v2, wrong")
    assert weight(story, "v1") == 10_000
    assert story.status.previous is None
    assert "no earlier version" in say(story, "ann: rollback v1")


def test_a_rollback_never_moves_anything_to_a_version_that_is_not_ready():
    story = promoted()
    story.tell("v1 not ready")
    story.tell("ann: rollback v2, wrong")
    assert weight(story, "v2") == 10_000
    story.tell("wait 3s")
    assert weight(story, "v2") == 10_000
    story.tell("v1 ready")
    assert weight(story, "v1") == 10_000


def test_a_rollback_of_what_has_no_share_any_more_is_done_already():
    story = on_trial("errors says Fail")
    assert "accepted" in say(story, "ann: rollback v2")
    assert "nothing is" in say(told(), "ann: rollback v3")


def test_a_pause_of_the_spec_is_ended_in_the_spec():
    story = on_trial("spec paused")
    assert "set spec.paused to false" in say(story, "ann: resume v2")
