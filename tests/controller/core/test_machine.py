"""One decision: clocks, retirement, numbers, and a stored status that nobody should trust."""

from dataclasses import replace

import msgspec
import pytest

from controller.core import slots
from controller.core.checks import AtMost, Check, Metric
from controller.core.machine import PAIRS, checks_needed, decide
from controller.core.spec import CanaryStage, FullStage
from controller.core.status import Observed, PastStable, Phase, Status, VersionRef
from headgate.wire.plan import SlotRange
from tests.controller.core.stories import candidate, decided, on_trial, router, say, told, weight


def test_an_hour_without_a_controller_advances_no_step():
    story = on_trial("errors says undecided")
    story.now += 3600.0
    story.tell("wait 1s")
    assert candidate(story).step_s <= 6.0
    assert candidate(story).total_s <= 20.0
    assert weight(story) == 500


def test_a_clock_that_is_set_back_advances_nothing_and_takes_nothing_back():
    story = on_trial("errors says undecided", "wait 4s")
    before = candidate(story).step_s
    story.now -= 3600.0
    story.tell("wait 1s")
    assert candidate(story).step_s == before
    story.tell("wait 2s")
    assert candidate(story).step_s == before + 2.0


def test_a_steps_time_begins_with_the_last_acknowledgement():
    story = on_trial("r2 joins", "r2 runs the plan", "errors says undecided", "wait 10s")
    story.tell("r1 runs the plan")
    story.tell("wait 30s")
    assert candidate(story).step_s == 0.0
    story.tell("r2 runs the plan")
    story.tell("wait 3s")
    assert candidate(story).step_s == 3.0


def test_a_steps_time_stands_still_without_a_ready_endpoint():
    story = on_trial("errors says undecided", "wait 4s", "v2 not ready", "wait 10s")
    assert candidate(story).step_s == 4.0
    assert candidate(story).waiting_s == 10.0
    story.tell("v2 ready")
    assert candidate(story).waiting_s == 0.0


def test_the_progress_deadline_counts_from_when_the_version_was_last_ready():
    story = on_trial("errors says holds")
    for _ in range(3):
        story.tell("wait 20s")
        story.tell("v2 not ready")
        story.tell("wait 20s")
        story.tell("v2 ready")
    assert candidate(story).failed is None
    story.tell("v2 not ready")
    assert "did not become ready in time" in say(story, "wait 31s")


def test_all_clocks_stand_still_while_paused():
    story = on_trial("errors says undecided", "wait 4s", "ann: pause v2")
    before = candidate(story)
    story.tell("wait 100s")
    after = candidate(story)
    assert (after.step_s, after.stage_s, after.total_s) == (before.step_s, before.stage_s, before.total_s)


def test_time_without_data_starts_anew_when_data_comes():
    story = on_trial("errors says nothing", "wait 6s")
    assert candidate(story).no_data_s == pytest.approx(6.0, abs=2.0)
    story.tell("errors says undecided")
    assert candidate(story).no_data_s == 0.0


def test_data_that_only_an_optional_check_lacks_is_no_lack():
    story = on_trial()
    checks = tuple(replace(check, required=False) for check in story.spec.checks)
    story._edit(checks=checks)
    story.tell("wait 6s")
    assert candidate(story).no_data_s in (0.0, pytest.approx(6.0, abs=2.0))


def test_a_version_is_kept_until_every_router_has_left_it_then_drained_then_no_longer_warm():
    story = on_trial(
        "drain 3s, warm 4s", "errors says Pass", "slo says Pass", "wait 10s", "routers run the plan"
    )
    story.tell("wait 10s")
    for line in ("routers run the plan", "wait 6s"):
        story.tell(line)
    assert story.status.stable == VersionRef("v2", "id-v2")
    assert [r.name for r in story.status.retiring] == ["v1"]
    story.tell("wait 60s")
    assert [r.name for r in story.status.retiring] == ["v1"], "r1 may still send traffic to v1"
    story.tell("routers run the plan")
    story.tell("wait 5s")
    assert [r.name for r in story.status.retiring] == ["v1"]
    story.tell("wait 3s")
    assert story.status.retiring == ()


def test_stable_the_candidate_and_what_still_drains_are_kept_running():
    story = on_trial("errors says Fail")
    decision = decide(story.spec, story.status, Observed(1, story.versions), (), story.now + 1)
    assert set(decision.running) == {"id-v1", "id-v2"}


def test_a_candidate_runs_before_it_has_any_traffic():
    story = told("target v2")
    decision = decide(story.spec, story.status, Observed(1, story.versions), (), story.now + 1)
    assert set(decision.running) == {"id-v1", "id-v2"}


def test_the_epoch_never_falls():
    story = on_trial()
    story.status = replace(story.status, epoch=7)
    story.tell("wait 1s")
    assert story.status.epoch == 7


def test_at_rest_nothing_changes_but_the_time_of_looking():
    story = told("wait 3s")
    before = story.status
    assert before.phase is Phase.HEALTHY
    story.tell("wait 5s")
    assert replace(story.status, clock_at=before.clock_at) == before


def test_new_addresses_make_a_new_revision_and_no_new_generation():
    story = told("wait 1s")
    before = story.status
    story.versions["id-v1"] = replace(story.versions["id-v1"], endpoints=())
    story.tell("wait 1s")
    assert story.status.generation == before.generation
    assert story.status.endpoints_revision == before.endpoints_revision + 1


def test_a_share_above_what_the_step_allows_is_taken_back_at_once():
    story = on_trial("errors says undecided")
    raised = slots.with_weight(story.status.slots, "v1", "v2", 9000)
    story.status = replace(story.status, slots=raised)
    assert "it had more than its step allows" in say(story, "wait 1s")
    assert weight(story) == 500


@pytest.mark.parametrize(
    "stored",
    [(), (SlotRange(0, 9_999, "v1"),), (SlotRange(0, 4000, "v1"), SlotRange(4000, 10_000, "v9"))],
)
def test_stored_shares_that_cannot_be_are_replaced_by_everything_to_stable(stored):
    story = told()
    story.status = replace(story.status, slots=stored)
    story.tell("wait 1s")
    assert story.status.slots == slots.all_to("v1")


def test_a_candidate_that_is_stable_is_none():
    story = on_trial()
    story.status = replace(story.status, stable=VersionRef("v2", "id-v2"), slots=slots.all_to("v2"))
    story.tell("wait 1s")
    assert story.status.candidate is None or story.status.candidate.identity != "id-v2"


def test_a_candidate_with_stables_name_is_none_for_their_shares_could_not_be_told_apart():
    story = told("target v2")
    other = replace(candidate(story), name="v1", identity="id-of-another-v1")
    story.status = replace(story.status, candidate=other)
    story.tell("wait 1s")
    assert story.status.candidate != other
    assert weight(story, "v1") == 10_000


def test_without_a_stable_version_nobody_is_on_trial_and_nobody_has_a_share():
    story = on_trial()
    story._edit(target="v9")
    story.status = replace(story.status, stable=None, is_stable_proven=False)
    story.tell("wait 1s")
    assert story.status.candidate is None
    assert weight(story) == 0


def test_only_the_checks_of_the_present_step_are_asked():
    story = on_trial()
    assert [check.name for check in checks_needed(story.spec, story.status)] == ["errors"]
    assert checks_needed(story.spec, Status()) == ()
    waiting = told("target v2")
    assert checks_needed(waiting.spec, waiting.status) == ()
    failed = on_trial("v1 not ready", "errors says Fail")
    assert checks_needed(failed.spec, failed.status) == ()


def test_compared_pairs_are_counted_where_no_check_of_the_user_does():
    story = on_trial(stages="shadow 5s 100 pairs, canary 5% every 5s")
    assert [check.name for check in checks_needed(story.spec, story.status)] == ["agree"]
    only_errors = (Check("errors", Metric.ERRORS, AtMost(0.01)),)
    story._edit(checks=only_errors)
    needed = checks_needed(story.spec, story.status)
    assert needed == (PAIRS,)
    assert PAIRS.dry_run


def test_a_decision_is_due_every_second_while_something_goes_on_and_never_at_rest():
    story = on_trial()
    busy = decide(story.spec, story.status, Observed(1, story.versions), (), story.now)
    assert busy.requeue_at == story.now + 1.0
    rest = told("wait 1s")
    assert decide(rest.spec, rest.status, Observed(1, rest.versions), (), rest.now).requeue_at is None


def test_a_stable_that_nobody_may_serve_yet_has_a_plan_and_a_status_that_can_be_stored():
    story = told()
    router(story, seen_at=0.0)
    stored = msgspec.json.encode(story.status)
    assert msgspec.json.decode(stored, type=Status) == story.status


def test_stages_edited_under_a_target_that_is_not_there_still_bound_the_share():
    story = on_trial(stages="canary 50% every 10s, full")
    assert weight(story) == 5000
    story.spec = replace(
        story.spec, target="v9", stages=(CanaryStage((500,), 10.0), FullStage()), generation=9
    )
    after = decided(story).status
    assert slots.weight_of(after.slots, "v2") <= 500


def test_what_serves_already_is_no_way_back():
    """No writer of ours makes such a status; what somebody restored by hand may be one."""
    story = told("target v1", "wait 1s")
    serving = story.status.stable
    assert serving is not None
    same = PastStable(VersionRef("v9", serving.identity), 0.0)
    story.status = replace(story.status, past=(same,))
    story.tell("wait 1s")
    assert story.status.past == ()
