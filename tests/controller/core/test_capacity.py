"""Replicas come before traffic and go after it; stable is whole; a restart counts once."""

from dataclasses import replace

import pytest

from controller.core.capacity import needed
from controller.core.invariants import violations
from controller.core.spec import Capacity
from controller.core.status import Workload
from headgate.wire.plan import Applied
from tests.controller.core.stories import decided, on_trial, replicas, router, say, seen, told, weight
from tests.transcripts.narrator import Narrator

SCALED = "4 replicas, in proportion to the weight"


def scaled(*lines: str, stages: str) -> Narrator:
    """v2, with all the replicas it is given, is in its first step, acknowledged; then the lines."""
    story = told(SCALED, "v1 has 4 replicas ready", "target v2", "v2 has 4 replicas ready", stages=stages)
    for line in ("routers run the plan", "routers run the plan", "errors says undecided", *lines):
        say(story, line)
    return story


@pytest.mark.parametrize(
    ("load", "least", "count"),
    [
        (0, 1, 1),
        (1, 1, 1),
        (2500, 1, 1),
        (2501, 1, 2),
        (5000, 1, 2),
        (7501, 1, 4),
        (10_000, 1, 4),
        (20_000, 1, 4),
        (-5, 1, 1),
        (100, 3, 3),
        (100, 9, 4),
        (0, 0, 1),
    ],
)
def test_replicas_are_in_proportion_rounded_up_never_too_few_and_never_more_than_all(
    load: int, least: int, count: int
) -> None:
    spec = replace(Narrator().spec, capacity=Capacity(4, scale_with_weight=True, min_replicas=least))
    assert needed(spec, load) == count
    assert needed(replace(spec, capacity=replace(spec.capacity, scale_with_weight=False)), load) == 4


def test_a_candidate_has_what_its_present_and_its_next_step_need() -> None:
    story = scaled(stages="canary 10% 50% 60% every 5s")
    assert replicas(story) == 2
    say(story, "wait 6s")
    assert (weight(story), replicas(story)) == (5000, 3)


def test_before_its_first_step_it_has_what_that_one_needs() -> None:
    story = told(SCALED, "target v2", stages="canary 10% 100% every 5s")
    assert replicas(story) == 1


@pytest.mark.parametrize(
    ("line", "count"),
    [("ann: promote-full v2", 4), ("ann: skip-stage 2 of v2", 3), ("ann: promote v2", 2)],
)
def test_what_a_person_passes_it_to_is_asked_for_too(line: str, count: int) -> None:
    story = scaled(stages="canary 10% every 50s, canary 50% every 5s, canary 75% every 5s")
    say(story, "v2 has 1 replica ready")
    say(story, line)
    assert replicas(story) == count


def test_an_increase_waits_for_its_replicas_and_says_how_many_are_missing() -> None:
    story = scaled("v2 has 1 replica ready", "wait 6s", stages="canary 10% 50% every 5s")
    assert weight(story) == 1000
    assert "v2 has 1 of the 2 replicas that canary 50 % needs" in story.status.waiting_for
    say(story, "v2 has 2 replicas ready")
    assert weight(story) == 5000


def test_copies_wait_for_their_replicas_too() -> None:
    story = scaled(
        "errors says Pass",
        "v2 has 1 replica ready",
        "wait 6s",
        stages="canary 10% every 5s, shadow 5s, canary 20% 5s",
    )
    plan = decided(story).plan
    assert plan is not None
    assert not plan.shadows
    say(story, "v2 has 4 replicas ready")
    plan = decided(story).plan
    assert plan is not None
    assert [shadow.version for shadow in plan.shadows] == ["v2"]


def test_a_decrease_waits_for_no_replica() -> None:
    story = scaled("v2 has 1 replica ready", stages="canary 50% every 60s")
    say(story, "stages: canary 10% 30% every 60s")
    assert weight(story) == 3000


def test_replicas_that_are_not_ours_to_count_are_not_waited_for() -> None:
    story = on_trial(SCALED, "errors says undecided", "wait 11s")
    assert weight(story) == 5000


@pytest.mark.parametrize("first", ["shadow 5s", "match 5s of x-beta"])
def test_replicas_stay_until_the_last_router_stopped_sending_what_needed_them(first: str) -> None:
    story = scaled("r2 joins", "r2 runs the plan", stages=f"{first}, canary 10% 20% every 60s")
    for line in ("agree says Pass", "errors says Pass", "wait 6s"):
        say(story, line)
    assert weight(story) == 1000
    assert replicas(story) == 4
    say(story, "r1 runs the plan")
    assert replicas(story) == 4, "r2 sends it all of those"
    say(story, "r2 runs the plan")
    assert replicas(story) == 1


def test_a_router_that_obeys_an_earlier_leader_keeps_the_replicas_it_sends_to() -> None:
    story = scaled(
        "r2 joins",
        "r2 runs the plan",
        "errors says Pass",
        "agree says Pass",
        stages="shadow 5s, canary 10% 20% every 60s",
    )
    say(story, "wait 6s")
    say(story, "the controller restarts")
    say(story, "r1 runs the plan")
    assert replicas(story) == 4
    say(story, "r2 runs the plan")
    assert replicas(story) == 1


def test_a_restart_of_the_controller_asks_for_no_more_replicas() -> None:
    story = scaled(stages="canary 10% 20% every 60s")
    say(story, "wait 1s")
    assert replicas(story) == 1
    say(story, "the controller restarts")
    assert replicas(story) == 1


def test_a_router_that_runs_what_is_not_remembered_may_send_everything() -> None:
    story = scaled(stages="canary 10% 20% every 60s")
    assert replicas(story) == 1
    story.status = replace(story.status, recent_loads=story.status.recent_loads[2:])
    router(story, applied=Applied(1, 1, 1))
    assert replicas(story) == 4


@pytest.mark.parametrize(("epoch", "count"), [(1, 1), (2, 4)])
def test_the_last_plan_of_a_leader_that_died_may_be_another_than_the_one_of_its_number(
    epoch: int, count: int
) -> None:
    """It may have published a decrease and died before it was recorded; what it sends is at most what came before."""
    story = scaled(stages="canary 10% 20% every 60s")
    last = story.status.generation
    story.status = replace(story.status, recent_loads=((last - 1, 10_000), (last, 1000)))
    router(story, applied=Applied(1, last, 1))
    story.epoch = epoch
    assert replicas(story) == count


def test_what_the_present_step_needs_is_known_without_any_memory_of_plans() -> None:
    story = scaled(stages="shadow 60s, canary 10% 20% every 60s")
    story.status = replace(story.status, recent_loads=())
    assert replicas(story) == 4


def test_a_router_without_a_plan_sends_nothing() -> None:
    story = scaled("r2 joins", stages="canary 10% 20% every 60s")
    assert replicas(story) == 1


def test_who_takes_part_has_the_replicas_of_the_target() -> None:
    story = scaled("v3 has 4 replicas ready", stages="canary 10% 50% every 60s with v3")
    assert replicas(story, "v3") == replicas(story) == 2


def test_a_version_that_leaves_keeps_what_it_had_and_no_more() -> None:
    story = scaled("v3 has 4 replicas ready", stages="canary 10% 50% every 60s with v3")
    say(story, "errors says Fail")
    assert replicas(story) == replicas(story, "v3") == 2
    for line in ("routers run the plan", "wait 6s"):
        say(story, line)
    assert replicas(story) == replicas(story, "v3") == 0


def test_stable_is_whole_and_so_is_the_one_before_while_it_is_kept_warm() -> None:
    story = scaled(stages="full")
    assert replicas(story, "v1") == 4
    say(story, "routers run the plan")
    assert story.status.stable is not None
    assert story.status.stable.name == "v2"
    assert replicas(story, "v2") == replicas(story, "v1") == 4


def test_a_kept_warm_version_that_takes_part_again_stays_whole() -> None:
    story = scaled("routers run the plan", stages="full")
    for line in (
        "wait 9s",
        "stages: canary 5% every 60s with v1, full",
        "target v3",
        "v3 has 1 replica ready",
    ):
        say(story, line)
    assert replicas(story, "v3") == 1
    assert replicas(story, "v1") == 4


def test_a_version_that_was_stable_and_is_tried_again_keeps_its_replicas_until_its_traffic_is_gone() -> None:
    story = scaled("routers run the plan", stages="canary 100% every 60s")
    for line in (
        "slo says Pass",
        "errors says Pass",
        "ann: promote v2",
        "routers run the plan",
        "routers run the plan",
    ):
        say(story, line)
    assert story.status.stable is not None
    assert story.status.stable.name == "v2"
    say(story, "stages: canary 5% 10% every 60s")
    say(story, "ann: rollback v2, wrong prices")
    say(story, "ann: retry v2")
    assert story.status.candidate is not None
    assert replicas(story) == 4, "r1 still sends it everything"
    say(story, "routers run the plan")
    say(story, "wait 6s")
    assert replicas(story) == 1


def test_too_few_replicas_for_the_traffic_are_seen() -> None:
    story = scaled(stages="canary 50% every 60s")
    decision = decided(story)
    few = replace(decision, running={**decision.running, "id-v2": Workload(1)})
    told_ = violations(story.spec, story.status, few, seen(story))
    assert "I7: id-v2" in " ".join(told_) or "I7: v2 needs 2 replicas" in " ".join(told_)
    none = replace(decision, running={"id-v2": decision.running["id-v2"]})
    assert "I7: v1 needs 4 replicas" in " ".join(violations(story.spec, story.status, none, seen(story)))


def test_a_restart_counts_once_and_only_for_its_version() -> None:
    story = scaled("ann: restart v2, it leaks", "wait 3s", stages="canary 10% 50% every 60s")
    running = decided(story).running
    assert (running["id-v2"].restarts, running["id-v1"].restarts) == (1, 0)
    say(story, "ann: restart v2")
    say(story, "ann: restart v1")
    running = decided(story).running
    assert (running["id-v2"].restarts, running["id-v1"].restarts) == (2, 1)


def test_a_restart_is_forgotten_with_the_version_it_was_for() -> None:
    story = scaled(
        "ann: restart v2", "ann: rollback v2", "routers run the plan", stages="canary 10% 50% every 60s"
    )
    assert dict(story.status.restarts) == {"id-v2": 1}
    say(story, "wait 6s")
    assert not story.status.restarts


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_who_takes_part_and_who_leaves_can_be_restarted_and_nobody_else(version: str) -> None:
    story = scaled("v3 has 4 replicas ready", stages="canary 10% 50% every 60s with v3")
    said = say(story, f"ann: restart {version}")
    assert ("accepted" in said) is (version == "v3")
    assert ("does not run" in said) is (version == "v4")


def test_what_headgate_does_not_run_it_does_not_restart() -> None:
    assert "is not run by Headgate" in say(on_trial(), "ann: restart v2")


def test_surge_and_replicas_are_those_of_the_spec() -> None:
    story = scaled(stages="canary 10% 50% every 60s")
    story.spec = replace(story.spec, capacity=replace(story.spec.capacity, replicas=6, max_surge=3))
    workload = decided(story).running["id-v1"]
    assert (workload.replicas, workload.surge) == (6, 3)
