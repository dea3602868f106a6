"""The plan says what the status says, and its two numbers move only for what each of them counts."""

from dataclasses import replace

import msgspec
import pytest

from controller.core.machine import decide
from controller.core.plan import attempt_of, endpoints_digest, plan_digest, route_plan
from controller.core.spec import TrafficPolicy
from controller.core.status import Cause, Failed, Observed, Retiring, Status
from headgate.wire.plan import Overrides, RoutePlan
from tests.controller.core.stories import on_trial, say, told


def plan_of(story) -> RoutePlan:
    seen = Observed(story.epoch, story.versions, tuple(story.routers.values()))
    plan = decide(story.spec, story.status, seen, (), story.now).plan
    assert plan is not None
    return plan


def roles(story):
    return {version.name: version.role for version in plan_of(story).versions}


def test_nothing_to_serve_is_no_plan():
    assert route_plan(told().spec, Status(), None, {}) is None


def test_the_plan_has_stable_the_candidate_and_what_was_taken_off():
    assert roles(told("target v2")) == {"v1": "stable"}
    assert roles(on_trial()) == {"v1": "stable", "v2": "candidate"}
    assert roles(on_trial("errors says Fail")) == {"v1": "stable", "v2": "retired"}


def test_a_plan_holds_eight_versions_and_each_name_once():
    story = on_trial()
    names = ["v1", *(f"v{number}" for number in range(10, 20))]
    gone = tuple(Retiring(name, f"old-{name}", 1, 1e9, 0.0) for name in names)
    story.status = replace(story.status, retiring=gone)
    plan = plan_of(story)
    assert [v.name for v in plan.versions] == ["v1", "v2", *(f"v{number}" for number in range(10, 16))]
    assert plan.versions[0].identity == "id-v1"


def test_copies_go_to_the_candidate_in_a_shadow_stage_only():
    shadow = on_trial(stages="shadow 5s, canary 50% every 5s")
    assert [(s.version, s.sample) for s in plan_of(shadow).shadows] == [("v2", 1_000_000)]
    assert plan_of(on_trial()).shadows == ()


def failed(attempt: int, *, is_latched: bool) -> Failed:
    return Failed("v2", "id-v2", attempt, Cause.GUARD, "", 0.0, "", is_latched)


@pytest.mark.parametrize(
    ("failures", "attempt"),
    [
        ((), 1),
        ((failed(1, is_latched=True),), 1),
        ((failed(1, is_latched=False),), 2),
        ((failed(4, is_latched=False),), 5),
        ((Failed("v3", "id-v3", 9, Cause.GUARD, "", 0.0),), 1),
    ],
)
def test_a_try_is_counted_when_the_one_before_was_forgiven(failures, attempt):
    assert attempt_of(failures, "id-v2") == attempt


def test_testers_reach_what_is_allowed_and_there_and_nothing_that_failed():
    story = on_trial()
    overrides = Overrides("x-headgate-version", ("v2", "v3"))
    story._edit(traffic=TrafficPolicy(overrides=overrides))
    story.tell("wait 1s")
    assert plan_of(story).overrides == Overrides("x-headgate-version", ("v2",))
    say(story, "errors says Fail")
    assert plan_of(story).overrides is None


def test_where_a_version_is_reached_is_no_part_of_what_the_plan_says():
    plan = plan_of(on_trial())
    moved = replace_endpoints(plan)
    assert plan_digest(moved) == plan_digest(plan)
    assert endpoints_digest(moved) != endpoints_digest(plan)


def test_how_a_plan_is_numbered_is_no_part_of_what_it_says():
    story = told()
    plan = plan_of(story)
    story.status = replace(story.status, epoch=9, generation=77, endpoints_revision=5)
    again = route_plan(story.spec, story.status, None, story.versions)
    assert again is not None
    assert plan_digest(again) == plan_digest(plan)


def replace_endpoints(plan: RoutePlan) -> RoutePlan:
    bare = tuple(msgspec.structs.replace(version, endpoints=()) for version in plan.versions)
    return msgspec.structs.replace(plan, versions=bare)
