"""What a decision leaves behind: each step entered, by whom, and what was missing from then on."""

from dataclasses import replace

from controller.core.machine import decide
from controller.core.spec import Supersede, VersionSpec
from controller.core.status import Decision, Reason
from tests.controller.core.stories import candidate, decided, on_trial, say, seen, told, weight
from tests.transcripts.narrator import Narrator


def once_ready(story: Narrator) -> Decision:
    """What is decided when v2 is ready all of a sudden."""
    observed = seen(story)
    versions = {**observed.versions, "id-v2": observed.versions["id-v1"]}
    return decide(story.spec, story.status, replace(observed, versions=versions), (), story.now)


def test_a_step_that_moves_no_share_is_recorded_with_what_it_waits_for() -> None:
    (record,) = once_ready(told("target v2", stages="pause, canary 5% every 10s, full")).records
    assert (record.reason, record.version) == (Reason.STAGE_ENTERED, "v2")
    assert (record.weight_before, record.weight_after) == (0, 0)
    assert record.sentence.startswith("v2 enters pause until somebody resumes it at 0 %: it is ready")
    assert record.generation == decided(told("target v2")).status.generation + 1
    assert any("router r1" in what for what in record.unmet)
    assert any("headgate resume" in what for what in record.unmet)


def test_a_step_that_raises_the_share_is_recorded_once() -> None:
    records = once_ready(told("target v2", "routers run the plan")).records
    assert [record.reason for record in records] == [Reason.WEIGHT_RAISED]
    assert any("10 s more of canary 5 %" in what for what in records[0].unmet)


def test_what_a_person_raises_is_recorded_as_theirs() -> None:
    story = on_trial()
    story.status = replace(story.status, candidate=replace(candidate(story), pass_to=1, passed_by="ann"))
    (record,) = decided(story).records
    assert (record.reason, record.weight_after, record.actor) == (Reason.WEIGHT_RAISED, 5000, "ann")


def test_a_version_redefined_while_it_is_on_trial_is_called_off_whatever_supersede_says() -> None:
    for supersede in Supersede:
        story = on_trial()
        other = VersionSpec("v2", "id-v2-anew")
        versions = tuple(other if version.name == "v2" else version for version in story.spec.versions)
        story.spec = replace(story.spec, versions=versions, supersede=supersede, generation=9)
        decision = decided(story)
        assert decision.status.candidate is None
        assert weight(story, "v2") == 500
        assert [(r.weight_before, r.weight_after) for r in decision.records] == [(500, 0)]
        assert decision.records[0].sentence == "v2 called off: it was redefined"


def test_without_a_ready_stable_it_is_said_that_nobody_serves() -> None:
    story = on_trial("v1 not ready", "ann: rollback v2, all is lost")
    assert "v1 has no ready endpoint: requests are answered 503" in story.status.message
    assert "v1 serves everything" in say(story, "v1 ready")
