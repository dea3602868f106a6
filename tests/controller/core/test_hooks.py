"""Hooks and notifications in the core: one effect an occurrence, gates, and what never waits for one."""

from dataclasses import replace

import msgspec
import pytest

from controller.core.effects import Effect, Hook, HookAt
from controller.core.hooks import NEWS, SETTLED_MAX, WANTED_MAX, kebab
from controller.core.status import Reason
from tests.controller.core.stories import candidate, on_trial, say, told, weight
from tests.transcripts.narrator import Narrator, restarted

GATE = "hook gate: before-increase"


def wait(story: Narrator, seconds: int = 12) -> None:
    for line in ("routers run the plan", f"wait {seconds}s"):
        story.tell(line)


def asked(story: Narrator) -> tuple[Effect, ...]:
    return tuple(a.effect for a in story.status.effects.asked if a.effect is not None)


def test_the_same_occurrence_is_the_same_effect_after_any_restart() -> None:
    story, other = on_trial(GATE, "errors says Pass"), on_trial(GATE, "errors says Pass")
    wait(story)
    wait(other)
    (effect,) = asked(story)
    other.now += 1000.0
    for _ in range(3):
        other.status = restarted(other.status)
        other.epoch += 1
        other.tell("wait 1s")
    assert [one.id for one in asked(other)] == [effect.id]


def test_each_occurrence_has_an_id_of_its_own() -> None:
    story = on_trial(GATE, "errors says Pass", "slo says Pass")
    ids = set()
    for _ in range(2):
        wait(story)
        (effect,) = asked(story)
        ids.add(effect.id)
        story.tell("hook gate says yes")
    assert weight(story) == 10_000
    assert len(ids) == 2


def test_another_try_of_a_version_asks_again() -> None:
    story = told("hook gate: before-start", "target v2")
    first = asked(story)[0].id
    for line in ("hook gate says yes", "v2 ready", "routers run the plan", "ann: rollback v2"):
        story.tell(line)
    wait(story, 8)
    story.tell("ann: retry v2")
    assert asked(story)[0].id != first


def test_a_version_that_is_the_target_again_is_asked_about_again() -> None:
    story = told("hook gate: before-traffic", "target v2", "v2 ready")
    wait(story, 1)
    first = asked(story)[0].id
    story.tell("hook gate says yes")
    wait(story, 1)
    for line in (
        "target v1",
        "routers run the plan",
        "wait 6s",
        "target v2",
        "v2 ready",
        "routers run the plan",
    ):
        story.tell(line)
    wait(story, 1)
    assert asked(story)[0].id != first


def test_a_mended_hook_is_asked_again() -> None:
    story = on_trial(GATE, "errors says Pass")
    wait(story)
    story.tell("hook gate fails: 404 Not Found")
    assert "hook gate failed: 404 Not Found" in story.status.message
    mended = Hook("gate", story.spec.hooks[0].at, "https://hooks.example/mended")
    story.spec = replace(story.spec, hooks=(mended,))
    story.tell("wait 1s")
    assert asked(story)[0].to == "https://hooks.example/mended"


def test_a_hook_is_asked_only_when_all_else_allows_the_move() -> None:
    story = on_trial(GATE)
    wait(story)
    assert asked(story) == ()
    story.tell("errors says Pass")
    assert len(asked(story)) == 1


@pytest.mark.parametrize(
    "line", ["ann: rollback v2", "target v1", "v2 crashes", "r1 trips its guard", "errors says Fail"]
)
def test_nothing_that_takes_share_away_waits_for_a_hook(line: str) -> None:
    story = on_trial(GATE, "errors says Pass")
    wait(story)
    story.tell(line)
    assert weight(story) == 0
    assert all(not effect.type.startswith("before-") for effect in asked(story))


def test_a_failed_hook_holds_or_rolls_back_as_its_user_wrote() -> None:
    for end, after in (("", 500), (", or rollback", 0)):
        story = on_trial(GATE + end, "errors says Pass")
        wait(story)
        story.tell("hook gate fails: no")
        wait(story, 5)
        assert weight(story) == after


def test_an_outcome_for_nothing_that_was_asked_changes_nothing() -> None:
    story = on_trial(GATE, "errors says Pass")
    wait(story)
    story.tell("hook gate says yes")
    story.tell("hook gate fails: too late")
    assert candidate(story).failed is None
    assert weight(story) == 5000


def test_a_notification_that_fails_makes_no_other_one() -> None:
    story = told("notify chat: " + " ".join(kebab(reason) for reason in NEWS), "target v2")
    said = say(story, "hook chat fails: no such host")
    assert "NotificationFailed" in said
    assert "→ notification chat, notification-failed" not in said


def test_however_much_is_to_be_told_the_status_stays_small() -> None:
    story = on_trial("notify chat: paused resumed")
    for _ in range(60):
        story.tell("ann: pause v2")
        story.tell("ann: resume v2")
    assert len(story.status.effects.asked) <= WANTED_MAX + SETTLED_MAX


def test_effects_at_their_most_leave_room_in_a_status_of_32_kib() -> None:
    story = on_trial("errors says Pass", "notify chat: paused resumed")
    url = "https://hooks.example/" + "x" * 200
    hooks = tuple(Hook(f"gate-{n}", HookAt.BEFORE_INCREASE, url) for n in range(8))
    story.spec = replace(story.spec, hooks=hooks)
    for _ in range(SETTLED_MAX):
        story.tell("ann: pause v2, " + "for a long reason " * 20)
        story.tell("ann: resume v2")
        story.tell("hook chat fails: " + "no such host " * 30)
    wait(story)
    assert len(asked(story)) > 8
    assert len(msgspec.json.encode(story.status.effects)) < 20 * 1024


def test_reasons_are_written_in_kebab_case() -> None:
    assert kebab(Reason.ROLLED_BACK) == "rolled-back"
