"""What a schedule holds back, and what it never does."""

from dataclasses import replace

import pytest

from controller.core.schedule import ALWAYS
from controller.core.status import Phase
from tests.controller.core.stories import candidate, on_trial, say, told, weight
from tests.transcripts.narrator import Narrator

FROZEN = "frozen from 1970-01-01 00:00 to 1970-01-03 00:00: a holiday"


def wait(story: Narrator, seconds: int) -> None:
    for line in ("routers run the plan", f"wait {seconds}s"):
        story.tell(line)


def test_resume_ends_no_pause_outside_the_windows() -> None:
    story = on_trial(FROZEN, stages="pause, canary 50% every 5s")
    said = say(story, "ann: resume v2")
    assert "a holiday; `headgate promote` goes past it" in said
    story.spec = replace(story.spec, schedule=ALWAYS)
    say(story, "ann: resume v2")
    assert weight(story) == 5000


def test_a_freeze_stops_no_clock_of_a_step_and_all_patience() -> None:
    story = on_trial(FROZEN)
    before = candidate(story)
    wait(story, 5)
    after = candidate(story)
    assert after.step_s == pytest.approx(before.step_s + 5)
    assert (after.stage_s, after.total_s) == (before.stage_s, before.total_s)


def test_an_approval_expires_also_outside_the_windows() -> None:
    story = on_trial(FROZEN, stages="approval within 10s else abort, canary 50% every 5s")
    wait(story, 12)
    assert story.status.candidate is None
    assert "not approved in time" in story.status.message


def test_a_trial_that_waits_for_its_window_is_looked_at_again_when_it_opens() -> None:
    story = told(FROZEN, "target v2")
    assert story.status.candidate is None
    assert story.status.phase is Phase.PROGRESSING
    assert story.requeue_at == 2 * 86_400


@pytest.mark.parametrize(
    "line", ["ann: rollback v2", "target v1", "target v3", "v2 crashes", "r1 trips its guard"]
)
def test_nothing_that_takes_share_away_asks_the_schedule(line: str) -> None:
    story = on_trial(FROZEN)
    assert weight(story) == 500
    story.tell(line)
    assert weight(story) == 0


def test_an_edit_of_the_stages_that_allows_less_is_done_in_a_freeze() -> None:
    story = on_trial(FROZEN)
    story.tell("stages: canary 1% every 10s, full bake 5s")
    assert weight(story) == 100


def test_a_version_that_was_stable_comes_back_in_a_freeze() -> None:
    story = on_trial("errors says Pass", "slo says Pass", stages="full")
    wait(story, 2)
    assert story.status.stable is not None
    assert story.status.stable.name == "v2"
    for line in (FROZEN, "routers run the plan", "wait 6s", "target v1", "v1 ready", "routers run the plan"):
        story.tell(line)
    assert weight(story, "v1") == 10_000


def test_a_person_lets_only_the_version_start_that_waits() -> None:
    story = told(FROZEN, "target v2")
    assert "refused" in say(story, "ann: promote v3")
    assert story.status.candidate is None
    say(story, "ann: promote v2")
    assert candidate(story).admitted_by == "ann"


def test_who_let_a_trial_start_did_not_pass_its_later_steps() -> None:
    story = told(
        FROZEN, "target v2", "ann: promote v2", "v2 ready", "routers run the plan", "errors says Pass"
    )
    assert weight(story) == 500
    wait(story, 30)
    assert weight(story) == 500
    assert "a holiday" in story.status.message
