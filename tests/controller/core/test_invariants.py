"""Every invariant that is checked before a decision is applied can fail, and says which one and of what."""

from dataclasses import replace

import msgspec
import pytest

from controller.core import slots
from controller.core.invariants import violations
from controller.core.machine import decide
from controller.core.status import Cause, Decision, DecisionRecord, Failed, Observed, Reason, VersionRef
from tests.controller.core.stories import on_trial, say, told
from tests.transcripts.narrator import Narrator


def seen(story: Narrator) -> Observed:
    return Observed(story.epoch, story.versions, tuple(story.routers.values()))


def decided(story: Narrator) -> Decision:
    return decide(story.spec, story.status, seen(story), (), story.now)


def found(story: Narrator, decision: Decision) -> str:
    return "\n".join(violations(story.spec, story.status, decision, seen(story)))


def with_weight(decision: Decision, weight: int) -> Decision:
    """The decision with another share for v2, in status and plan alike."""
    moved = slots.with_weight(decision.status.slots, "v1", "v2", weight)
    plan = msgspec.structs.replace(decision.plan, slots=moved) if decision.plan else None
    return replace(decision, status=replace(decision.status, slots=moved), plan=plan)


def test_a_sound_decision_breaks_nothing():
    story = on_trial()
    assert found(story, decided(story)) == ""


def test_more_than_the_step_allows_is_seen():
    story = on_trial()
    assert "I1: v2 has 501, its step allows 500" in found(story, with_weight(decided(story), 501))


def test_a_share_before_the_first_step_was_issued_is_seen():
    story = told("target v2")
    assert "I1: v2 has 1 before its first step" in found(story, with_weight(decided(story), 1))


@pytest.mark.parametrize("owned", [(), slots.all_to("v9"), slots.all_to("v1")[:0]])
def test_shares_that_do_not_add_up_or_belong_to_strangers_are_seen(owned):
    story = on_trial()
    decision = decided(story)
    assert "are not 10,000 of" in found(
        story, replace(decision, status=replace(decision.status, slots=owned))
    )


def test_a_plan_that_says_something_else_than_the_status_is_seen():
    story = on_trial()
    decision = decided(story)
    other = msgspec.structs.replace(decision.plan, slots=slots.all_to("v1"))
    assert "I2: the plan's slots" in found(story, replace(decision, plan=other))
    unserved = replace(decision.status, stable=None, candidate=None)
    assert "I2: a plan without a stable" in found(story, replace(decision, status=unserved))


def test_a_failed_version_that_gets_more_is_seen():
    story = on_trial()
    failed = Failed("v2", "id-v2", 1, Cause.GUARD, "", 0.0)
    story.status = replace(story.status, failed=(failed,))
    decision = decided(story)
    raised = with_weight(replace(decision, status=replace(decision.status, failed=(failed,))), 600)
    assert "I3: id-v2 has failed and its share rose from 500 to 600" in found(story, raised)


def test_a_raise_of_what_is_not_ready_is_seen():
    story = on_trial()
    decision = with_weight(decided(story), 600)
    story.tell("v2 not ready")
    assert "I4: v2 was raised without a ready endpoint" in found(story, decision)


def test_an_earlier_version_that_comes_back_without_being_ready_is_seen():
    story = on_trial()
    decision = decided(story)
    swapped = replace(
        decision.status, stable=VersionRef("v3", "id-v3"), candidate=None, slots=slots.all_to("v3")
    )
    said = found(story, replace(decision, status=swapped, plan=None))
    assert "I4: v3 was raised without a ready endpoint" in said
    assert "I5: v3 came back with 0 records of one" in said


def test_a_raise_without_its_record_and_a_record_without_its_raise_are_seen():
    story = on_trial()
    decision = decided(story)
    assert "I5: increases of [] are recorded, raised is v2" in found(story, with_weight(decision, 600))
    record = DecisionRecord(0.0, Reason.WEIGHT_RAISED, "v2", 0, 1, "", "", 1, 1)
    assert "recorded, raised is nothing" in found(story, replace(decision, records=(record,)))


@pytest.mark.parametrize("name", ["epoch", "generation", "endpoints_revision"])
def test_a_number_that_falls_is_seen(name):
    story = on_trial()
    decision = decided(story)
    story.status = replace(story.status, **{name: 1000})
    assert f"I6: {name} fell from 1000 to" in found(story, decision)


def test_a_plan_with_other_numbers_than_the_status_is_seen():
    story = on_trial()
    decision = decided(story)
    assert decision.plan is not None
    other = msgspec.structs.replace(decision.plan, generation=decision.plan.generation + 1)
    assert "I6: the plan says" in found(story, replace(decision, plan=other))
    assert say(story, "wait 1s") == ""


def test_a_stable_version_that_failed_takes_back_what_another_candidate_loses():
    """It was rolled back and its successor did not come: what another one loses has no other place to go."""
    story = on_trial()
    stable = story.status.stable
    assert stable is not None
    failed = Failed(stable.name, stable.identity, 1, Cause.OPERATOR, "", 0.0)
    story.status = replace(story.status, failed=(failed,))
    say(story, "v2 crashes")
    assert story.status.candidate is None
