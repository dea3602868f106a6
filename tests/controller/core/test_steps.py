"""What each kind of stage compiles to, and where an edited plan is resumed."""

from controller.core import steps
from controller.core.spec import (
    FULL,
    Advance,
    ApprovalStage,
    CanaryStage,
    FlipStage,
    FullStage,
    OnExpire,
    PauseStage,
    ShadowStage,
    Spec,
    VersionSpec,
)
from controller.core.status import Track
from controller.core.steps import Gate, compile_stages


def shape(*stages):
    return [(step.kind, step.weight, step.gate) for step in compile_stages(stages)]


def test_a_canary_moves_on_unless_something_fails_and_leaves_its_last_weight_only_with_a_pass():
    assert shape(CanaryStage((500, 2500), 10.0), FullStage()) == [
        ("canary", 500, Gate.FRESH),
        ("canary", 2500, Gate.PASS),
        ("full", FULL, Gate.PASS),
    ]


def test_a_canary_that_advances_on_pass_needs_one_at_every_weight():
    gates = [gate for _, _, gate in shape(CanaryStage((500, 2500), advance=Advance.ON_PASS))]
    assert gates == [Gate.PASS] * 3


def test_a_ramp_is_gated_by_its_risk_but_for_the_last_weight():
    gates = [gate for _, _, gate in shape(CanaryStage((500, 2500), risk_budget=0.001))]
    assert gates == [Gate.RISK, Gate.PASS, Gate.PASS]


def test_a_shadow_needs_a_pass_unless_it_says_otherwise_and_gives_no_live_traffic():
    assert shape(ShadowStage(10_000))[0] == ("shadow", 0, Gate.PASS)
    assert shape(ShadowStage(10_000, advance=Advance.UNLESS_FAIL))[0] == ("shadow", 0, Gate.FRESH)


def test_a_flip_without_anything_to_preview_moves_everything_at_once():
    assert shape(FlipStage()) == [("flip", FULL, Gate.PASS)]


def test_a_flip_looks_at_the_preview_before_it_moves_anything():
    assert shape(FlipStage(before=("agree",))) == [("flip", 0, Gate.PASS), ("flip", FULL, Gate.PASS)]
    assert len(shape(FlipStage(preview_ppm=1000))) == 2


def test_a_pause_ends_by_time_or_by_a_person():
    timed, open_ended = compile_stages((PauseStage(5.0), PauseStage(None)))[:2]
    assert (timed.gate, timed.min_s) == (Gate.TIME, 5.0)
    assert (open_ended.gate, open_ended.min_s) == (Gate.PERSON, 0.0)


def test_waiting_stages_keep_the_weight_and_the_checks_of_the_stage_before():
    compiled = compile_stages((CanaryStage((500,), checks=("errors",)), PauseStage(5.0), ApprovalStage()))
    assert [step.weight for step in compiled] == [500, 500, 500, FULL]
    assert [step.checks for step in compiled[:3]] == [("errors",)] * 3


def test_an_approval_carries_who_how_many_and_until_when():
    step = compile_stages((ApprovalStage(("owner",), 2, 60.0, OnExpire.ABORT),))[0]
    assert (step.gate, step.roles, step.quorum) == (Gate.APPROVAL, ("owner",), 2)
    assert (step.expires_s, step.on_expire) == (60.0, OnExpire.ABORT)


def test_stages_that_do_not_end_with_everything_are_followed_by_full():
    for stages in ((), (CanaryStage((5000,)),), (ShadowStage(1000),), (PauseStage(None),)):
        assert compile_stages(stages)[-1].weight == FULL
    assert len(compile_stages((FullStage(),))) == 1


def test_the_fast_track_has_no_shadow_and_the_way_back_is_one_flip():
    spec = Spec(
        "a/b",
        1,
        "v1",
        (VersionSpec("v1", "1"),),
        (ShadowStage(1000), CanaryStage((500,)), FullStage()),
    )
    assert [s.kind for s in steps.steps_of(spec, Track.STAGES)] == ["shadow", "canary", "full"]
    assert [s.kind for s in steps.steps_of(spec, Track.FAST)] == ["canary", "full"]
    assert [s.kind for s in steps.steps_of(spec, Track.RETURN)] == ["flip"]


def test_an_edited_plan_is_never_resumed_at_a_higher_weight():
    present = compile_stages((CanaryStage((2500,)),))[0]
    edited = compile_stages((CanaryStage((1000, 2000, 9000)), FullStage()))
    assert edited[steps.resume_at(edited, present)].weight == 2000


def test_an_edited_plan_that_contains_the_present_step_is_resumed_there():
    present = compile_stages((CanaryStage((2500,)),))[0]
    edited = compile_stages((CanaryStage((1000, 2500, 2600)), FullStage()))
    assert edited[steps.resume_at(edited, present)].weight == 2500


def test_a_plan_with_nothing_so_low_is_resumed_at_its_start():
    present = compile_stages((ShadowStage(1000),))[0]
    edited = compile_stages((CanaryStage((1000, 2500)), FullStage()))
    assert steps.resume_at(edited, present) == 0


def test_equal_steps_have_one_name_and_other_steps_another():
    one = compile_stages((CanaryStage((500,), 10.0),))
    assert steps.digest(one) == steps.digest(compile_stages((CanaryStage((500,), 10.0),)))
    assert steps.digest(one) != steps.digest(compile_stages((CanaryStage((500,), 11.0),)))
