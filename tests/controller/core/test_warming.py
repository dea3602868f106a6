"""What waits for a warm candidate, for how long, and what never does."""

from dataclasses import replace

import pytest

from controller.core.invariants import violations
from controller.core.machine import decide
from controller.core.spec import Warmup
from controller.core.status import Observed, RouterObserved, Track
from controller.core.warming import is_asked
from tests.controller.core.stories import candidate, say, weight
from tests.transcripts.narrator import Narrator

WARMUP = "warm-up: p95 of at most 20 ms for 30s, 60s at most"


def cold(stages: str = "canary 5% 50% every 5s, full") -> Narrator:
    """v2 is on trial and ready, but not warm; every check passes."""
    story = Narrator()
    for line in (
        f"stages: {stages}",
        WARMUP,
        "v1 ready",
        "routers run the plan",
        "target v2",
        "errors says Pass",
        "slo says Pass",
        "agree says Pass",
        "v2 ready",
        "routers run the plan",
    ):
        story.tell(line)
    return story


@pytest.mark.parametrize(
    "stages", ["shadow 5s, full", "canary 5% every 5s, full", "flip", "full", "pause, full"]
)
def test_whatever_the_first_stage_is_it_waits_for_a_warm_candidate(stages: str) -> None:
    story = cold(stages)
    story.tell("wait 40s")
    assert candidate(story).issued_generation == 0
    story.tell("v2 is warm, its p95 is 12 ms")
    assert candidate(story).issued_generation > 0


def test_a_person_s_promote_does_not_send_users_to_a_cold_version() -> None:
    story = cold()
    say(story, "ann: promote-full v2")
    story.tell("wait 30s")
    assert weight(story) == 0


def test_the_clock_of_the_warm_up_runs_while_the_candidate_is_ready_and_cold_and_not_paused() -> None:
    story = cold()
    story.tell("wait 10s")
    assert candidate(story).warming_s == pytest.approx(10.0)
    story.tell("v2 not ready")
    story.tell("wait 5s")
    story.tell("v2 ready")
    story.tell("ann: pause v2")
    story.tell("wait 5s")
    story.tell("ann: resume v2")
    story.tell("wait 1s")
    assert candidate(story).warming_s == pytest.approx(11.0)


def test_after_max_wait_it_goes_on_and_it_is_said_once() -> None:
    story = cold()
    said = say(story, "wait 59s")
    assert weight(story) == 0
    said += say(story, "wait 40s")
    assert weight(story) == 500
    assert said.count("NotWarm: v2 goes on without being proven warm") == 1
    assert "it is ready, though not proven warm" in said


def test_a_version_that_was_not_proven_warm_in_time_does_not_wait_again_before_each_increase() -> None:
    story = cold()
    for line in ("wait 61s", "routers run the plan", "wait 6s"):
        story.tell(line)
    assert weight(story) == 5000


def test_restarted_it_is_cold_again_and_gets_no_more_but_keeps_what_it_has() -> None:
    story = cold()
    for line in ("v2 is warm, its p95 is 12 ms", "v2 ready", "routers run the plan", "wait 30s"):
        story.tell(line)
    assert weight(story) == 500
    assert "the way to canary 50 %: v2 warms up" in story.status.waiting_for
    story.tell("v2 is warm, its p95 is 12 ms")
    assert weight(story) == 5000


def test_the_way_back_to_a_version_that_was_stable_asks_for_no_warmth() -> None:
    story = cold()
    for line in ("wait 61s", *["routers run the plan", "wait 6s"] * 4):
        story.tell(line)
    assert story.status.stable is not None
    assert story.status.stable.name == "v2"
    said = say(story, "target v1")
    assert candidate(story).track is Track.RETURN
    assert "warms up" not in said
    story.tell("routers run the plan")
    assert weight(story, "v1") == 10_000


def test_without_an_increase_ahead_warmth_is_not_measured() -> None:
    story = cold("canary 5% every 5s, full bake 60s")
    assert is_asked(story.spec, story.status)
    for line in ("v2 is warm, its p95 is 12 ms", *["routers run the plan", "wait 6s"] * 2):
        story.tell(line)
    assert weight(story) == 10_000
    assert not is_asked(story.spec, story.status)
    assert not is_asked(replace(story.spec, warmup=None), story.status)


def test_a_raise_of_a_cold_candidate_breaks_an_invariant() -> None:
    story = cold()
    router = RouterObserved("r1", story.routers["r1"].applied, story.now)
    observed = Observed(story.epoch, story.versions, (router,))
    lenient = replace(story.spec, warmup=None)
    raised = decide(lenient, story.status, observed, (), story.now)
    assert violations(lenient, story.status, raised, observed) == ()
    broken = violations(story.spec, story.status, raised, observed)
    assert broken == ("I4: v2 was raised before it was warm, or maxWait was over",)
    assert story.spec.warmup == Warmup(p95_s=0.02, stable_for_s=30.0, max_wait_s=60.0)
