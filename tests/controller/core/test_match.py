"""Stage `match`: only requests that match reach the candidate, with the share that the stage gives and nobody else."""

from dataclasses import replace

import msgspec
import pytest

from controller.core import slots
from controller.core.invariants import violations
from controller.core.spec import FULL, ApprovalStage, CanaryStage, FlipStage, Match, MatchStage, PauseStage
from controller.core.status import Reason
from controller.core.steps import compile_stages, resume_at
from headgate.wire.plan import Condition
from tests.controller.core.stories import candidate, decided, matched, on_trial, say, seen, told, weight

HALF = "match 10s 50% of x-beta, canary 10% every 10s"
BETA = Match((Condition("header:x-beta"),), 5000)


def test_half_of_those_that_match_go_to_the_candidate_and_the_rest_of_them_stay() -> None:
    story = on_trial(stages=HALF)
    assert matched(story) == {"v1": 5000, "v2": 5000}
    assert weight(story) == 0


def test_all_that_match_go_to_the_candidate_and_nobody_else_does() -> None:
    story = on_trial(stages="match 10s of x-beta")
    assert matched(story) == {"v2": FULL}
    assert weight(story, "v1") == FULL


def test_who_takes_part_gets_as_much_of_those_that_match_and_stable_the_rest() -> None:
    story = on_trial("v3 ready", stages="match 10s 30% of x-beta with v3")
    assert matched(story) == {"v1": 4000, "v2": 3000, "v3": 3000}
    say(story, "errors says Fail of v3")
    assert matched(story) == {"v1": 7000, "v2": 3000}


def test_requests_that_match_wait_for_all_that_an_increase_waits_for() -> None:
    for hindrance in ("v1 not ready", "r2 joins", "spec paused"):
        story = told("target v2", "routers run the plan", hindrance, "v2 ready", stages=HALF)
        assert not matched(story), hindrance


def test_the_stage_goes_on_with_a_pass_and_the_split_ends_with_it() -> None:
    story = on_trial("errors says undecided", "wait 11s", stages=HALF)
    assert matched(story)
    say(story, "errors says Pass")
    assert not matched(story)
    assert weight(story) == 1000


@pytest.mark.parametrize(
    "line", ["errors says Fail", "r1 trips its guard", "ann: rollback v2", "target v1", "v2 crashes"]
)
def test_whatever_ends_the_trial_ends_the_split_in_the_same_decision(line: str) -> None:
    story = on_trial(line, stages=HALF)
    assert not matched(story)
    assert story.status.candidate is None
    assert [r.drain_s for r in story.status.retiring] == [5.0], "live requests may be in flight"


def test_a_person_s_pause_keeps_the_split_and_lets_nothing_grow() -> None:
    story = on_trial("ann: pause v2", "errors says Pass", "wait 20s", stages=HALF)
    assert matched(story) == {"v1": 5000, "v2": 5000}


@pytest.mark.parametrize("after", ["pause", "approval 1 of owner"])
def test_what_people_end_keeps_the_split_that_was(after: str) -> None:
    story = on_trial(
        "errors says Pass", "wait 11s", stages=f"match 10s 50% of x-beta, {after}, canary 10% every 10s"
    )
    assert candidate(story).step == 1
    assert matched(story) == {"v1": 5000, "v2": 5000}
    assert weight(story) == 0


def test_a_flip_s_preview_keeps_the_split_and_its_end_moves_everybody() -> None:
    compiled = compile_stages((MatchStage(BETA), FlipStage(1_000_000, ("agree",))))
    assert [step.match for step in compiled] == [BETA, BETA, None]
    assert [step.weight for step in compiled] == [0, 0, FULL]


def test_a_match_takes_back_the_share_of_a_canary_before_it() -> None:
    compiled = compile_stages((CanaryStage((1000,)), MatchStage(BETA), PauseStage(), ApprovalStage()))
    assert [(step.weight, step.match) for step in compiled[:4]] == [
        (1000, None),
        (0, BETA),
        (0, BETA),
        (0, BETA),
    ]


def test_an_edited_plan_is_never_resumed_in_a_match() -> None:
    compiled = compile_stages((CanaryStage((1000,)), MatchStage(BETA), CanaryStage((2000,))))
    for present in compiled:
        assert compiled[resume_at(compiled, replace(present, weight=0))].match is None


def test_an_edit_begins_anew_and_other_requests_are_matched_only_after_all_obstacles() -> None:
    story = on_trial("r2 joins", stages=HALF)
    say(story, "stages: match 10s of x-other, canary 10% every 10s")
    assert not matched(story), "r2 has not acknowledged"
    say(story, "routers run the plan")
    assert matched(story) == {"v2": FULL}


def test_the_exposure_is_recorded_with_its_stage() -> None:
    story = told("target v2", "routers run the plan", stages=HALF)
    story.versions["id-v2"] = story.versions["id-v1"]
    records = decided(story).records
    assert [(r.reason, r.version, r.sentence) for r in records] == [
        (Reason.STAGE_ENTERED, "v2", "v2 answers 50 % of header x-beta from now on")
    ]


@pytest.mark.parametrize(
    ("condition", "title"),
    [
        (Condition("header:x-beta"), "match all of header x-beta"),
        (Condition("header:x-beta", exact="1"), "match all of header x-beta: 1"),
        (Condition("cookie:beta", prefix="v2"), "match all of cookie beta: v2…"),
    ],
)
def test_the_stage_is_told_as_people_write_it(condition: Condition, title: str) -> None:
    assert compile_stages((MatchStage(Match((condition,))),))[0].title == title


def test_more_of_those_that_match_than_the_step_allows_is_seen() -> None:
    story = on_trial(stages=HALF)
    decision = decided(story)
    plan = decision.plan
    assert plan is not None
    assert plan.match is not None

    def found(**changes: object) -> str:
        match = msgspec.structs.replace(plan.match, **changes) if changes else None
        broken = replace(decision, plan=msgspec.structs.replace(plan, match=match))
        return " ".join(violations(story.spec, story.status, broken, seen(story)))

    assert found(slots=plan.match.slots) == ""
    assert "I1: v2 has 10000 of those that match" in found(slots=slots.all_to("v2"))
    assert "I2: the matching slots" in found(slots=slots.all_to("v9"))
    assert "I2: the matching slots" in found(slots=plan.match.slots[:1])


def test_a_match_in_a_step_that_matches_none_is_seen() -> None:
    matching, story = decided(on_trial(stages=HALF)), on_trial()
    decision = decided(story)
    assert decision.plan is not None
    assert matching.plan is not None
    broken = replace(decision, plan=msgspec.structs.replace(decision.plan, match=matching.plan.match))
    assert "I1: requests are matched in a step that matches none" in " ".join(
        violations(story.spec, story.status, broken, seen(story))
    )
