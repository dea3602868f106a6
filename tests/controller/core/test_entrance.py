"""What is told of the way users come to the routers, and what it holds."""

from dataclasses import replace

from controller.core.machine import decide
from controller.core.status import Decision, EntranceObserved, Observed, Phase, Reason, Way
from tests.controller.core.stories import on_trial, told, weight
from tests.transcripts.narrator import Narrator

NAME = "Service ml/fraud"


def look(story: Narrator, entrance: EntranceObserved | None) -> Decision:
    """One decision with this entrance, remembered by the story."""
    routers = tuple(story.routers.values())
    observed = Observed(story.epoch, story.versions, routers, entrance=entrance)
    decision = decide(story.spec, story.status, observed, (), story.now)
    story.status = decision.status
    return decision


def said(decision: Decision) -> list[tuple[Reason, str]]:
    return [(event.reason, event.message) for event in decision.events]


def at_rest() -> Narrator:
    return told("routers run the plan")


def test_a_rollout_is_not_healthy_before_its_service_leads_to_the_routers_and_says_why() -> None:
    story = at_rest()
    waits = EntranceObserved(NAME, Way.PAST, message="Service ml/fraud is not taken over yet: no router pod")
    decision = look(story, waits)
    assert decision.status.phase is Phase.PROGRESSING
    assert "no router pod" in decision.status.message
    assert decision.events == ()
    stuck = look(story, replace(waits, is_stuck=True))
    assert stuck.status.phase is Phase.STALLED


def test_what_a_person_has_to_do_is_said_also_before_the_first_version_serves() -> None:
    story = Narrator()
    story.tell("v1 ready")
    stuck = EntranceObserved(NAME, Way.PAST, message="Service ml/fraud is taken over already", is_stuck=True)
    decision = look(story, stuck)
    assert decision.status.phase is Phase.STALLED
    assert decision.status.message.startswith("waiting for a router")
    assert decision.status.message.endswith("is taken over already")


def test_each_way_is_told_once() -> None:
    story = at_rest()
    led = EntranceObserved(NAME, Way.LED)
    assert said(look(story, led)) == [(Reason.TAKEN_OVER, f"{NAME} leads to the routers")]
    assert said(look(story, led)) == []
    assert story.status.phase is Phase.HEALTHY
    changed = EntranceObserved(NAME, Way.CHANGED, message="Service ml/fraud was changed by ann")
    assert said(look(story, changed)) == [(Reason.OVERRIDDEN, changed.message)]
    assert said(look(story, changed)) == []
    assert said(look(story, replace(led, is_wanted=False))) == [
        (Reason.TAKEN_OVER, f"{NAME} leads to the routers")
    ]
    assert said(look(story, None)) == [(Reason.GIVEN_BACK, f"{NAME} leads to the routers no more")]
    assert said(look(story, None)) == []


def test_what_is_not_known_is_no_news_and_holds_nothing() -> None:
    story = at_rest()
    look(story, EntranceObserved(NAME, Way.LED))
    unknown = EntranceObserved(NAME, Way.UNKNOWN, message="it is not read yet")
    assert said(look(story, unknown)) == []
    assert story.status.phase is Phase.HEALTHY
    assert story.status.entrance == f"led {NAME}"


def test_another_service_that_is_taken_over_gives_the_first_one_back() -> None:
    story = at_rest()
    look(story, EntranceObserved(NAME, Way.LED))
    reasons = [reason for reason, _ in said(look(story, EntranceObserved("Service ml/other", Way.LED)))]
    assert reasons == [Reason.GIVEN_BACK, Reason.TAKEN_OVER]


def test_while_users_are_led_elsewhere_nothing_rises_and_a_rollback_goes_on() -> None:
    story = on_trial()
    before = weight(story)
    changed = EntranceObserved(NAME, Way.CHANGED, message="Service ml/fraud was changed by ann")
    for _ in range(20):
        story.tell("routers run the plan")
        story.now += 5
        look(story, changed)
        assert weight(story) <= before
    assert "was changed by ann" in " ".join(story.status.unmet)
    story.tell("ann: rollback v2")
    assert weight(story) == 0
