"""The verbs that ask for something: which version they mean, what they wait for, how they end."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from controller.core.status import Cause
from tests.controller.api.served import until
from tests.controller.cli.world import KEY, World

HEADGATE = Path(sys.executable).with_name("headgate")


def test_a_rollback_ends_when_every_router_acknowledged_and_says_how_long_that_took(here: World) -> None:
    here.ready("r1", "r2")
    here.on_trial()
    result = here.run("rollback", "fraud", "--reason", "p99 doubled")
    assert result.exit_code == 0, result.output
    first, last = result.output.splitlines()
    assert first == "ml/fraud: rolling back v2, which has 5% of the traffic; v1 takes all of it"
    assert last.startswith("ml/fraud: v2 has 0% of the traffic, acknowledged by all 2 routers, ")
    assert last.endswith(" ms after the command")
    status = here.api.store.load(KEY).status  # type: ignore[union-attr]
    assert (status.candidate, status.failed[-1].cause, status.failed[-1].message) == (
        None,
        Cause.OPERATOR,
        "p99 doubled",
    )
    assert status.failed[-1].actor.startswith("local:")
    for router in here.api.registry.observed(KEY):
        assert router.applied.generation == status.generation


def test_a_rollback_that_a_router_does_not_acknowledge_times_out_and_names_it(here: World) -> None:
    here.ready("r1")
    here.on_trial()
    here.router("lost", obeys=False)
    until(lambda: "lost" in here.api.store.members(KEY))
    result = here.run("rollback", "fraud", "--timeout", "300ms")
    assert result.exit_code == 2
    assert "not acknowledged by lost. The rollback stands" in result.output
    assert "headgate router forget ID" in result.output
    assert here.api.store.load(KEY).status.candidate is None  # type: ignore[union-attr]


def test_the_same_rollback_twice_is_one(here: World) -> None:
    here.ready()
    here.on_trial()
    assert here.run("rollback").exit_code == 0
    before = here.api.store.load(KEY).status.failed  # type: ignore[union-attr]
    again = here.run("rollback")
    assert again.exit_code == 0
    assert again.output.startswith("ml/fraud: v2 was rolled back already")
    assert here.api.store.load(KEY).status.failed == before  # type: ignore[union-attr]


def test_a_rollback_of_another_version_than_is_on_trial_is_refused(here: World) -> None:
    here.ready()
    here.on_trial()
    result = here.run("rollback", "fraud", "--version", "v7")
    assert result.exit_code == 1
    assert "v7 is not on trial, v2 is" in result.output
    assert here.api.store.load(KEY).status.candidate is not None  # type: ignore[union-attr]


def test_with_nothing_to_roll_back_it_says_so(here: World) -> None:
    here.ready()
    result = here.run("rollback", "fraud")
    assert result.exit_code == 1
    assert "there is nothing to roll back in ml/fraud" in result.output
    assert here.api.store.pending_actions(KEY) == ()


def test_after_a_promotion_a_rollback_goes_back_to_the_version_before(here: World) -> None:
    here.ready(strategy={"blueGreen": {}})
    here.run("set-target", "v2")
    here.until(lambda shown: shown["status"]["stableVersion"] == "v2")
    result = here.run("rollback", "fraud")
    assert result.exit_code == 0, result.output
    assert "rolling back v2, which has 100% of the traffic; v1 takes all of it" in result.output
    assert here.api.store.load(KEY).status.stable.name == "v1"  # type: ignore[union-attr]


def test_a_rollback_tells_programs_what_happened_as_data(here: World) -> None:
    here.ready()
    here.on_trial()
    result = here.run("rollback", "-o", "json")
    told = json.loads(result.output)
    assert (told["rollout"], told["version"], told["acknowledged"], told["routers"]) == (KEY, "v2", True, 1)
    assert told["tookMs"] > 0
    assert told["action"]["state"] == "Accepted"


def test_an_interrupted_rollback_stands_and_says_so(here: World) -> None:
    here.ready("r1")
    here.on_trial()
    here.router("lost", obeys=False)
    until(lambda: "lost" in here.api.store.members(KEY))
    process = subprocess.Popen(
        [HEADGATE, "rollback", "fraud", "--timeout", "60s"],
        env={**os.environ, "HEADGATE_STATE": str(here.state)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  a job in the background ignores it
    )
    until(lambda: here.api.store.load(KEY).status.candidate is None)  # type: ignore[union-attr]
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert "The rollback of v2 stands" in output
    assert process.returncode == 130


def test_a_target_is_set_and_set_again_is_no_change(here: World) -> None:
    here.ready()
    told, first, slow, last = here.run("set-target", "fraud", "v2").output.splitlines()
    assert told == "ml/fraud: v2 is the target now"
    assert first.startswith("  canary 5 %: ")
    assert slow.startswith("  canary 50 %: errors is the slow one, with 47,250 requests to prove")
    assert last == "  full 100 %: at once"
    assert here.run("set-target", "v2").output == "ml/fraud: v2 is the target already\n"
    assert here.api.store.load(KEY).generation == 2  # type: ignore[union-attr]


def test_a_target_that_is_not_there_is_refused_with_the_versions_there_are(here: World) -> None:
    here.ready()
    result = here.run("set-target", "fraud", "v9")
    assert result.exit_code == 1
    assert "ml/fraud has no version v9" in result.output
    assert "versions there are: v1, v2" in result.output


def test_waiting_for_a_promotion_ends_with_it(here: World) -> None:
    here.ready(strategy={"blueGreen": {}})
    result = here.run("set-target", "fraud", "v2", "--wait", "--timeout", "60s")
    assert result.exit_code == 0, result.output
    assert here.api.store.load(KEY).status.stable.name == "v2"  # type: ignore[union-attr]


def test_waiting_for_a_promotion_ends_with_1_when_it_is_rolled_back(here: World) -> None:
    here.ready(capacity={"drain": "0s"})
    here.on_trial()
    assert here.run("rollback").exit_code == 0
    here.until(lambda shown: shown["status"]["phase"] == "RolledBack")
    result = here.run("set-target", "v2", "--wait")
    assert result.exit_code == 1
    assert "was rolled back" in result.output


def test_waiting_for_a_promotion_times_out_with_2_and_the_rollout_goes_on(here: World) -> None:
    here.ready()
    result = here.run("set-target", "v2", "--wait", "--timeout", "200ms")
    assert result.exit_code == 2
    assert "the rollout goes on" in result.output


@pytest.mark.parametrize("verb", ["promote", "pause", "resume", "approve"])
def test_without_a_version_on_trial_the_verbs_about_it_say_what_to_do(here: World, verb: str) -> None:
    here.ready()
    result = here.run(verb, "fraud")
    assert result.exit_code == 1
    assert f"there is nothing to {verb} in ml/fraud: no version is on trial, v1 is stable" in result.output
    assert "headgate set-target ml/fraud VERSION" in result.output


def test_pause_and_resume_are_accepted_for_the_version_on_trial(here: World) -> None:
    here.ready()
    here.on_trial()
    assert here.run("pause", "--reason", "lunch").output == "ml/fraud: pause of v2 accepted\n"
    paused = here.api.store.load(KEY).status.paused  # type: ignore[union-attr]
    assert paused is not None
    assert paused.reason == "lunch"
    assert here.run("resume").exit_code == 0
    assert here.api.store.load(KEY).status.paused is None  # type: ignore[union-attr]
    refused = here.run("resume")
    assert refused.exit_code == 1
    assert "resume of v2 on ml/fraud refused: v2 is not paused" in refused.output


STAGES = [
    {"canary": {"weights": ["5%"], "every": "10m"}},
    {"pause": {}},
    {"canary": {"weights": ["20%", "50%"], "every": "10m"}},
    {"full": {}},
]


def test_promote_passes_the_present_stage_and_no_more(here: World) -> None:
    here.ready(strategy={"stages": STAGES})
    here.on_trial()
    result = here.run("promote", "--reason", "seen enough")
    assert (result.exit_code, result.output) == (0, "ml/fraud: promote of v2 accepted\n")
    here.until(lambda shown: shown["status"]["stage"]["kind"] == "pause")


def test_promote_full_passes_every_stage_but_the_last(here: World) -> None:
    here.ready(strategy={"stages": STAGES})
    here.on_trial()
    assert here.run("promote", "--full").exit_code == 0
    here.until(lambda shown: shown["status"]["stableVersion"] == "v2")


def test_approve_names_the_present_stage_and_is_refused_where_nothing_waits_for_it(here: World) -> None:
    here.ready(strategy={"stages": [{"approval": {}}, *STAGES]})
    here.api.client.post(f"/v1/rollouts/{KEY}/target", json={"version": "v2"})
    here.until(lambda shown: (shown["status"]["stage"] or {}).get("issued"))
    assert here.run("approve", "--reason", "looked at it").output == "ml/fraud: approve of v2 accepted\n"
    here.until(lambda shown: shown["status"]["stage"]["kind"] == "canary")
    refused = here.run("approve")
    assert refused.exit_code == 1
    assert "v2 waits for no approval now" in refused.output


def test_skip_stage_leaves_out_the_stage_that_is_named_or_the_present_one(here: World) -> None:
    here.ready(strategy={"stages": STAGES})
    here.on_trial()
    assert here.run("skip-stage", "--stage", "2").exit_code == 0
    assert here.run("skip-stage").exit_code == 0
    here.until(lambda shown: shown["status"]["stage"]["index"] == 3)
    assert here.run("skip-stage", "--stage", "9").exit_code == 1


def test_undo_makes_an_earlier_version_the_target(here: World) -> None:
    here.ready()
    here.on_trial()
    assert here.run("undo").output == "ml/fraud: undo of v2 accepted\n"
    refused = here.run("undo", "--to", "v9")
    assert refused.exit_code == 1
    assert "v9 is not among the versions" in refused.output


def test_retry_gives_the_failed_target_another_try(here: World) -> None:
    here.ready()
    here.on_trial()
    assert here.run("retry").exit_code == 1
    here.run("rollback")
    result = here.run("retry")
    assert result.output == "ml/fraud: retry of v2 accepted\n"
    assert here.api.store.load(KEY).status.failed[-1].is_latched is False  # type: ignore[union-attr]


def test_an_action_is_refused_when_another_version_is_on_trial_by_then(here: World) -> None:
    """The race: the status names v2, and by the time the action is decided v2 is gone."""
    here.ready()
    here.on_trial()
    stored = here.api.store.load(KEY)
    assert stored is not None
    assert stored.status.candidate is not None
    here.is_deciding = False
    other = replace(stored.status, candidate=replace(stored.status.candidate, name="v3"))
    act = here.api.client.post(
        f"/v1/rollouts/{KEY}/actions", json={"verb": "promote", "version": "v2", "id": "a1"}
    )
    assert act.status_code == 202
    here.api.decide(other)
    here.decide_again()
    answer = here.api.client.get(f"/v1/rollouts/{KEY}/actions/a1").json()
    assert answer["state"] == "Refused"
