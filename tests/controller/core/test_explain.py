"""What people are told of a rollout: what it waits for, all that is missing, and what would end the trial."""

from dataclasses import replace

from controller.core import explain
from controller.core.checks import AtMost, Check, Metric, NoSlower
from controller.core.spec import CanaryStage, DecisionPolicy, OnInconclusive, Spec, VersionSpec
from controller.core.status import Candidate, Phase
from tests.controller.core.stories import on_trial, told

CHECKS = (
    Check("errors", Metric.ERRORS, AtMost(0.01)),
    Check("latency", Metric.LATENCY, NoSlower(0.99, 0.1)),
    Check("watched", Metric.ERRORS, AtMost(0.5), dry_run=True),
)
SPEC = Spec(
    key="ml/fraud",
    generation=1,
    target="v2",
    versions=(VersionSpec("v2", "two"),),
    stages=(CanaryStage((500, 5000), 10.0, ("errors", "watched"), max_stay_s=60.0),),
    checks=CHECKS,
)


def test_a_rollout_at_rest_waits_for_nothing() -> None:
    status = told().status
    assert status.message == "v1 serves everything"
    assert (status.waiting_for, status.unmet) == ("", ())


def test_a_stable_version_that_is_not_whole_serves_everything_and_says_what_is_missing() -> None:
    story = told()
    whole = story.versions["id-v1"]

    def message(replicas: int | None, outdated: int = 0) -> str:
        seen = replace(whole, message="1 of 2 ready", replicas=replicas, outdated=outdated)
        story.versions["id-v1"] = seen
        story.tell("wait 1s")
        assert story.status.phase is Phase.HEALTHY
        return story.status.message

    story.spec = replace(story.spec, capacity=replace(story.spec.capacity, replicas=2))
    assert message(1) == "v1 serves everything; 1 of 2 ready"
    assert message(2, outdated=1) == "v1 serves everything; 1 of 2 ready"
    assert message(2) == "v1 serves everything"
    assert message(None) == "v1 serves everything"


def test_what_is_waited_for_is_the_end_of_the_message_and_the_first_thing_missing() -> None:
    status = on_trial().status
    assert status.message.endswith(f"waiting for {status.waiting_for}")
    assert status.unmet[0] == status.waiting_for


def test_all_that_is_missing_is_said_in_order_without_its_evidence() -> None:
    story = on_trial("errors says holds", "bob: pause v2")
    assert story.status.unmet[0] == "somebody to `headgate resume` it"
    assert story.status.unmet[1].endswith("s more of canary 5 %")
    assert story.status.waiting_for == story.status.unmet[0]
    assert story.status.unmet[2].startswith("check errors: shown to be worse than stable")
    assert all(";" not in said for said in story.status.unmet)


def test_a_candidate_without_an_endpoint_is_waited_for_before_anything_else() -> None:
    status = told("target v2").status
    assert status.waiting_for.startswith("v2 has no ready endpoint")
    assert status.unmet == (status.waiting_for.partition(";")[0],)


def test_a_rolled_back_version_has_nothing_ahead() -> None:
    status = on_trial("bob: rollback v2").status
    assert status.candidate is None
    assert status.unmet == ()


def test_what_would_roll_back_names_the_checks_of_this_step_that_decide_and_their_limits() -> None:
    sentences = explain.would_roll_back(SPEC, Candidate("v2", "two"))
    assert sentences[0] == "check errors says Fail: proven above 1 %, whatever stable does"
    assert not any("latency" in said or "watched" in said for said in sentences)
    assert any("a router's guard" in said for said in sentences)
    assert sentences[-1] == "`headgate rollback`, or another target than v2"
    assert not any("onNoData" in said or "onInconclusive" in said for said in sentences)


def test_the_patience_the_user_wrote_down_is_counted_out() -> None:
    impatient = DecisionPolicy(
        on_no_data=OnInconclusive.ROLLBACK,
        on_inconclusive=OnInconclusive.ROLLBACK,
        no_data_timeout_s=100.0,
        guard=None,
    )
    candidate = Candidate("v2", "two", no_data_s=30.0, stage_s=20.0)
    sentences = explain.would_roll_back(replace(SPEC, policy=impatient), candidate)
    assert "70 s more without data (onNoData: rollback)" in sentences
    assert "nothing proven for 40 s more (onInconclusive: rollback)" in sentences
    assert not any("guard" in said for said in sentences)
