"""What people did by hand, and what they have to mend: told once, through restarts, and what it holds."""

from dataclasses import replace

from controller.core.machine import decide
from controller.core.status import Decision, Observed, Phase, Reason, VersionObserved
from headgate.wire.plan import Endpoint
from tests.controller.core.stories import on_trial, told, weight
from tests.transcripts.narrator import Narrator

EDIT = "Deployment ml/fraud-v2 was changed by kubectl and is left so: set back spec.replicas"
IMAGE = "the image model:9 of v2 cannot be pulled: correct the image"


def look(story: Narrator, version: str = "", **seen: object) -> Decision:
    """One decision, remembered by the story, in which that is seen of the version."""
    identity = next((one.identity for one in story.spec.versions if one.name == version), "")
    versions = dict(story.versions)
    if identity:
        versions[identity] = replace(versions.get(identity, VersionObserved()), **seen)
    routers = tuple(replace(one, seen_at=story.now) for one in story.routers.values())
    decision = decide(story.spec, story.status, Observed(story.epoch, versions, routers), (), story.now)
    story.status = decision.status
    return decision


def said(decision: Decision) -> list[tuple[Reason, str]]:
    return [(event.reason, event.message) for event in decision.events]


def test_a_hand_edit_is_told_once_and_again_when_there_is_another() -> None:
    story = told("routers run the plan")
    assert said(look(story, "v1", override=EDIT)) == [(Reason.OVERRIDDEN, EDIT)]
    assert said(look(story, "v1", override=EDIT)) == []
    assert said(look(story, "v1", override=None)) == [], "not known after a restart"
    assert story.status.overridden != ()
    assert said(look(story, "v1", override=f"{EDIT}, image")) == [(Reason.OVERRIDDEN, f"{EDIT}, image")]
    assert said(look(story, "v1", override="")) == []
    assert story.status.overridden == ()
    assert story.status.phase is Phase.HEALTHY


def test_while_somebodys_hand_is_in_what_serves_nothing_rises_and_a_rollback_goes_on() -> None:
    for version in ("v1", "v2"):
        story = on_trial()
        before = weight(story)
        for _ in range(20):
            story.tell("routers run the plan")
            story.now += 5
            look(story, version, override=EDIT)
            assert weight(story) <= before
        assert "was changed by kubectl" in " ".join(story.status.unmet)
        story.tell("ann: rollback v2")
        assert weight(story) == 0


def test_a_router_whose_shares_somebody_changed_is_told_of() -> None:
    story = told("routers run the plan")
    (router,) = story.routers.values()
    story.routers[router.id] = replace(router, override="somebody else changed HTTPRoute fraud")
    assert said(look(story)) == [(Reason.OVERRIDDEN, "somebody else changed HTTPRoute fraud")]
    assert said(look(story)) == []


def test_what_keeps_a_router_from_a_step_is_in_the_message() -> None:
    story = told("target v2", "v2 ready", "routers run the plan")
    (router,) = story.routers.values()
    story.routers[router.id] = replace(router, error="somebody else changed HTTPRoute fraud")
    assert "to acknowledge canary 5 %: somebody else changed" in look(story).status.message


def test_a_candidate_that_cannot_become_ready_is_told_of_once_until_it_is() -> None:
    story = on_trial()
    unready = {"endpoints": (), "message": IMAGE, "trouble": IMAGE}
    assert said(look(story, "v2", **unready)) == [(Reason.NOT_READY, f"v2 cannot become ready: {IMAGE}")]
    assert said(look(story, "v2", **{**unready, "trouble": "another pod has it, too"})) == []
    assert said(look(story, "v2", **{**unready, "trouble": ""})) == []
    assert IMAGE in story.status.message
    look(story)
    assert said(look(story, "v2", **unready)) != []


def test_one_that_keeps_crashing_is_told_of_by_its_end() -> None:
    story = on_trial()
    reasons = [
        reason for reason, _ in said(look(story, "v2", endpoints=(), trouble=IMAGE, is_crash_looping=True))
    ]
    assert Reason.NOT_READY not in reasons
    assert Reason.ROLLING_BACK in reasons


def test_a_first_version_that_a_person_has_to_mend_is_stalled_and_says_so_once() -> None:
    story = Narrator()
    first = look(story, "v1", endpoints=(), message=IMAGE, trouble=IMAGE)
    assert (first.status.phase, IMAGE in first.status.message) == (Phase.STALLED, True)
    assert [reason for reason, _ in said(first)].count(Reason.STALLED) == 1
    assert said(look(story, "v1", endpoints=(), message=IMAGE, trouble=IMAGE)) == []
    assert said(look(story, "v1", endpoints=(), trouble=None)) == [], "not known after a restart"
    assert (story.status.phase, IMAGE in story.status.message) == (Phase.STALLED, True)
    look(story, "v1", endpoints=(), trouble="")
    assert story.status.phase is Phase.PROGRESSING


def test_a_first_version_whose_router_refuses_is_stalled() -> None:
    story = Narrator()
    (router,) = story.routers.values()
    story.routers[router.id] = replace(router, error="HTTPRoute fraud is somebody else's")
    decision = look(story, "v1", endpoints=(Endpoint("127.0.0.1", 1),))
    assert decision.status.phase is Phase.STALLED
    assert "HTTPRoute fraud is somebody else's" in decision.status.message
    story.routers[router.id] = replace(router, override=None)
    assert look(story, "v1", endpoints=(Endpoint("127.0.0.1", 1),)).status.phase is Phase.STALLED
    story.routers[router.id] = router
    assert look(story, "v1", endpoints=(Endpoint("127.0.0.1", 1),)).status.phase is Phase.PROGRESSING
