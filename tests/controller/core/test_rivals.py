"""Who takes part beside the target: with as much, never with more, and for itself alone."""

from dataclasses import replace

import pytest

from controller.core import slots
from controller.core.spec import CanaryStage, FullStage, PauseStage, ShadowStage, VersionSpec
from controller.core.status import Cause, Reason, Rival, VersionRef
from controller.core.steps import compile_stages
from controller.core.warming import subject
from tests.controller.core.stories import candidate, decided, on_trial, say, weight
from tests.transcripts.narrator import Narrator

BESIDE = "canary 10% 30% every 10s with v3 v4, full"


def beside(*lines: str, stages: str = BESIDE) -> Narrator:
    """v2 is in its first step and v3 beside it, both acknowledged; then the lines."""
    return on_trial("v3 ready", "routers run the plan", *lines, stages=stages)


def rival(story: Narrator, name: str = "v3") -> Rival:
    return next(one for one in story.status.rivals if one.name == name)


def names(story: Narrator) -> list[str]:
    return [one.name for one in story.status.rivals]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("errors says Fail of v3", Cause.CHECK_FAILED),
        ("r1 trips its guard of v3", Cause.GUARD),
        ("v3 crashes", Cause.CRASH_LOOP),
        ("ann: rollback v3, wrong prices", Cause.OPERATOR),
    ],
)
def test_what_goes_wrong_with_a_rival_ends_nothing_for_the_target(line: str, cause: Cause) -> None:
    story = beside()
    assert weight(story, "v3") == weight(story, "v2") == 1000
    before = candidate(story)
    say(story, line)
    assert (weight(story, "v3"), weight(story, "v2"), names(story)) == (0, 1000, ["v4"])
    assert candidate(story).issued_generation == before.issued_generation
    assert [(f.name, f.cause, f.is_latched) for f in story.status.failed] == [("v3", cause, True)]
    say(story, "wait 3s")
    assert "v3" not in names(story), "what failed does not come back by itself"


def test_what_goes_wrong_with_the_target_ends_the_trial_of_all() -> None:
    story = beside()
    say(story, "errors says Fail")
    assert weight(story, "v1") == 10_000
    assert not story.status.rivals
    assert {leaving.name for leaving in story.status.retiring} == {"v2", "v3", "v4"}
    assert [f.name for f in story.status.failed] == ["v2"], "nothing is held against who took part"


@pytest.mark.parametrize(
    ("hindrance", "cure"),
    [
        ("v3 not ready", "v3 ready"),
        ("ann: pause v2", "ann: resume v2"),
        ("v1 not ready", "v1 ready"),
        ("r2 joins", "r2 runs the plan"),
        ("r1 is pinned to v1", "r1 is unpinned"),
        ("frozen from 1970-01-01 00:00 to 1970-01-02 00:00: audit", "it is 1970-01-02 00:00"),
    ],
)
def test_a_rival_waits_for_all_that_an_increase_waits_for(hindrance: str, cure: str) -> None:
    story = on_trial(hindrance, stages=BESIDE)
    if hindrance != "v3 not ready":
        say(story, "v3 ready")
    assert weight(story, "v3") == 0
    assert any(said.startswith("v3 does not take part yet: ") for said in story.status.unmet)
    say(story, cure)
    assert weight(story, "v3") == 1000
    assert not any("v3" in said for said in story.status.unmet)


def test_a_rival_waits_for_the_replicas_that_the_step_needs() -> None:
    story = on_trial("4 replicas", "v3 has 3 replicas ready", stages=BESIDE)
    assert weight(story, "v3") == 0
    assert "v3 has 3 of the 4 replicas that canary 10 % needs" in " ".join(story.status.unmet)
    say(story, "v3 has 4 replicas ready")
    assert weight(story, "v3") == 1000


def test_a_rival_is_warm_before_its_first_traffic_and_the_target_does_not_wait_for_it() -> None:
    story = on_trial(
        "warm-up: p95 of at most 20 ms for 3s, 60s at most",
        "v3 ready",
        "errors says undecided",
        "v2 is warm, its p95 is 9 ms",
        stages=BESIDE,
    )
    assert weight(story, "v3") == 0
    say(story, "wait 11s")
    assert (weight(story), weight(story, "v3")) == (3000, 0), "the target goes on"
    say(story, "v3 is warm, its p95 is 12 ms")
    say(story, "routers run the plan")
    assert weight(story, "v3") == 3000


def test_measured_is_a_rival_that_waits_and_lives_and_else_the_target() -> None:
    story = on_trial("warm-up: p95 of at most 20 ms for 3s, 60s at most", stages=BESIDE)

    def measured() -> str:
        found = subject(story.spec, story.status, story.versions)
        return "" if found is None else found.name

    assert measured() == "v2", "v3 and v4 have no endpoint: nobody waits for them"
    say(story, "v3 ready")
    assert measured() == "v3"
    say(story, "v3 is warm, its p95 is 12 ms")
    assert weight(story, "v3") == 1000
    assert measured() == "v2", "for its next increase"


def test_one_that_is_never_warm_takes_part_after_max_wait() -> None:
    story = on_trial("warm-up: p95 of at most 20 ms for 3s, 30s at most", "v3 ready", stages=BESIDE)
    say(story, "wait 20s")
    assert weight(story, "v3") == 0
    say(story, "wait 20s")
    assert weight(story, "v3") == 1000


def test_an_edit_gives_a_rival_no_more_than_the_target_has() -> None:
    story = beside(stages="canary 5% every 10s with v3, full")
    say(story, "stages: canary 20% 50% every 10s with v3, full")
    assert (weight(story), weight(story, "v3")) == (500, 500)
    for line in ("errors says undecided", "routers run the plan", "wait 11s"):
        say(story, line)
    assert (weight(story), weight(story, "v3")) == (2000, 2000), "together, when the step is over"


def test_an_edit_that_names_a_rival_no_more_takes_it_off() -> None:
    story = beside()
    assert "no stage to come names it" in say(story, "stages: canary 10% 30% every 10s, full") or not names(
        story
    )
    assert weight(story, "v3") == 0
    assert weight(story) == 1000


def test_a_stage_that_does_not_name_a_rival_leaves_it_without_traffic_until_one_does() -> None:
    story = beside(
        "errors says Pass",
        stages="canary 10% every 5s with v3, canary 20% every 5s, canary 30% every 5s with v3",
    )
    say(story, "wait 6s")
    assert (weight(story), weight(story, "v3")) == (2000, 0)
    say(story, "routers run the plan")
    say(story, "wait 6s")
    assert (weight(story), weight(story, "v3")) == (3000, 3000)


def test_a_rival_of_a_later_stage_starts_with_the_trial_and_has_nothing_until_then() -> None:
    story = on_trial("v3 ready", stages="canary 10% every 9s, canary 30% every 9s with v3")
    assert "id-v3" in decided(story).running
    assert (names(story), weight(story, "v3"), rival(story).was_issued) == (["v3"], 0, False)


def test_after_an_edit_a_rival_has_nothing_of_the_new_step_that_it_is_not_given() -> None:
    story = beside("v3 not ready", stages="shadow 60s with v3, full")
    say(story, "stages: shadow 90s with v3, canary 50% every 9s")
    plan = decided(story).plan
    assert plan is not None
    assert [shadow.version for shadow in plan.shadows] == ["v2"]


def test_a_shadow_gives_nobody_a_share_of_users() -> None:
    story = beside(
        "errors says Pass", stages="canary 10% every 5s, shadow 60s with v3, pause 60s, canary 30% every 9s"
    )
    say(story, "wait 6s")
    say(story, "routers run the plan")
    plan = decided(story).plan
    assert plan is not None
    assert [shadow.version for shadow in plan.shadows] == ["v2", "v3"]
    assert (weight(story), weight(story, "v3")) == (1000, 0)


def test_only_the_weights_of_a_canary_let_a_rival_have_users_and_what_follows_keeps_them() -> None:
    compiled = compile_stages(
        (
            CanaryStage((1000,), to=("v3", "v4")),
            PauseStage(),
            ShadowStage(1_000_000, to=("v4", "v5")),
            FullStage(),
        )
    )
    assert [step.live for step in compiled] == [("v3", "v4"), ("v3", "v4"), ("v4",), ()]
    assert compiled[2].rivals == ("v4", "v5")
    assert [compiled[2].share_of(name) for name in ("v3", "v4", "v5")] == [0, 1000, 0]


def test_a_rivals_share_is_given_back_before_the_target_takes_everything() -> None:
    story = beside("errors says Pass")
    for _ in range(2):
        say(story, "wait 11s")
        say(story, "routers run the plan")
    assert weight(story) == 10_000
    assert not story.status.rivals
    assert {one.name for one in story.status.retiring} >= {"v3"}


def test_who_is_still_there_at_the_promotion_leaves() -> None:
    """As after a restore: no decision leaves a rival beside a target that has everything."""
    stages = "canary 10% every 10s with v3, full bake 60s"
    story = beside("errors says Pass", "ann: promote-full v2", "routers run the plan", stages=stages)
    assert candidate(story).acknowledged_at is not None
    assert not story.status.rivals
    story.status = replace(story.status, rivals=(Rival("v3", "id-v3", was_issued=True),))
    say(story, "ann: promote v2")
    say(story, "routers run the plan")
    assert story.status.candidate is None
    assert not story.status.rivals


def test_a_rival_cannot_be_promoted_and_says_what_makes_it_the_one() -> None:
    story = beside()
    for verb in ("promote", "promote-full", "pause", "approve"):
        assert "`headgate set-target v3`" in say(story, f"ann: {verb} v3")
    assert candidate(story).name == "v2"


def test_a_rival_that_becomes_the_target_begins_at_the_first_stage() -> None:
    story = beside("errors says undecided", "target v3")
    assert weight(story, "v1") == 10_000
    for line in ("routers run the plan", "wait 6s"):
        say(story, line)
    assert candidate(story).name == "v3"
    assert candidate(story).step == 0


def test_a_rivals_next_try_has_the_next_number() -> None:
    story = beside("r1 trips its guard of v3", "routers run the plan", "wait 6s", "ann: retry v3")
    say(story, "routers run the plan")
    assert rival(story).attempt == 2
    assert weight(story, "v3") == 1000, "the old trip was of the first try"
    assert weight(story) == 1000


def test_another_build_of_a_rival_is_another_rival() -> None:
    story = beside("errors says Fail of v3", "routers run the plan")
    versions = tuple(
        VersionSpec(v.name, "other" if v.name == "v3" else v.identity) for v in story.spec.versions
    )
    story.spec = replace(story.spec, versions=versions)
    story.versions["other"] = (
        story.versions["id-v4"] if "id-v4" in story.versions else story.versions["id-v1"]
    )
    say(story, "wait 1s")
    assert rival(story).identity == "other"
    assert weight(story, "v3") == 1000


def test_a_robots_word_against_a_rival_waits_for_a_stable_that_can_take_its_share() -> None:
    story = beside("v1 not ready", "errors says Fail of v3")
    assert weight(story, "v3") == 1000
    say(story, "v1 ready")
    assert weight(story, "v3") == 0


def test_a_rival_that_is_as_dead_as_stable_is_not_waited_for() -> None:
    story = beside("v1 not ready", "v3 crashes")
    assert weight(story, "v3") == 0


def test_a_persons_word_against_a_rival_waits_for_nothing() -> None:
    story = beside("v1 not ready", "ann: rollback v3")
    assert weight(story, "v3") == 0


def test_a_rival_goes_past_no_hook_that_a_person_goes_past_with_the_target() -> None:
    story = on_trial("hook gate: before-increase", stages="pause, canary 10% every 10s with v3")
    say(story, "v3 ready")
    say(story, "ann: promote v2")
    assert (weight(story), weight(story, "v3")) == (1000, 0)
    say(story, "routers run the plan")
    assert "v3 does not take part yet: hook gate was not asked" in " ".join(story.status.unmet)


def test_nor_past_one_that_was_asked_and_has_not_answered() -> None:
    story = on_trial("hook gate: before-increase", stages="pause 5s, canary 10% every 10s with v3")
    for line in ("v3 ready", "wait 6s", "ann: promote v2", "routers run the plan"):
        say(story, line)
    assert (weight(story), weight(story, "v3")) == (1000, 0)
    assert "v3 does not take part yet: hook gate has not answered yet" in " ".join(story.status.unmet)


def test_a_rival_waits_for_the_answer_that_the_increase_waits_for() -> None:
    story = on_trial(
        "hook gate: before-increase", "v3 ready", stages="pause 5s, canary 10% every 10s with v3"
    )
    say(story, "wait 6s")
    assert (weight(story), weight(story, "v3")) == (0, 0)
    say(story, "hook gate says yes")
    assert (weight(story), weight(story, "v3")) == (1000, 1000)


def test_a_raise_of_a_rival_is_recorded_with_its_own_evidence() -> None:
    story = on_trial("errors says undecided", stages=BESIDE)
    story.versions["id-v3"] = story.versions["id-v2"]
    records = [r for r in decided(story).records if r.reason is Reason.WEIGHT_RAISED]
    assert [(r.version, r.weight_before, r.weight_after, r.checks) for r in records] == [("v3", 0, 1000, ())]


def test_a_first_version_that_is_replaced_before_it_was_ready_leaves_no_rivals() -> None:
    story = beside("v1 not ready")
    other = VersionRef("v9", "id-v9")
    story.status = replace(story.status, is_stable_proven=False, stable=other, slots=slots.all_to("v9"))
    assert not decided(story).status.rivals
