"""The verbs that read: what they show to people and to programs, and how they end."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.cli.lines import Reporter
from controller.cli.read import show_lines
from controller.cli.waiting import Goal, healthy, promoted, rolled_back
from controller.core.checks import CheckResult, Lack, Verdict
from tests.controller.api.served import rollout, until
from tests.controller.cli.world import KEY, World, world

HEADGATE = Path(sys.executable).with_name("headgate")

RESULT = CheckResult(
    check="errors",
    verdict=Verdict.INCONCLUSIVE,
    lack=Lack.UNDECIDED,
    text="error rate 2.24 % against 0.42 %",
    estimate=0.0224,
    reference=0.0042,
    low=0.0022,
    high=0.0479,
    bound=0.001,
    samples=625,
)


def test_get_shows_a_line_for_each_rollout(here: World) -> None:
    here.ready()
    here.on_trial()
    here.api.apply(rollout("other"))
    header, *lines = here.run("get").output.splitlines()
    assert header.split() == [
        "NAME",
        "STRATEGY",
        "PHASE",
        "STAGE",
        "WEIGHT",
        "STABLE",
        "CANDIDATE",
        "VERDICT",
        "WAITING-FOR",
    ]
    assert lines[0].startswith("ml/fraud  canary,full  Progressing  1/2 canary 5 %  5%")
    assert lines[1].startswith("ml/other")
    assert "SAMPLES" in here.run("get", "-o", "wide").output
    assert here.run("get", "-n", "none").output.startswith("No rollout.")


def test_get_prints_data_for_programs(here: World) -> None:
    here.ready()
    items = json.loads(here.run("get", "-o", "json").output)["items"]
    assert [item["name"] for item in items] == ["fraud"]
    one = yaml.safe_load(here.run("get", "fraud", "-o", "yaml").output)
    assert one["status"]["stableVersion"] == "v1"
    assert items[0]["status"].items() <= one["status"].items()


def watch(here: World, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [HEADGATE, *arguments],
        env={**os.environ, "HEADGATE_STATE": str(here.state)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    process.communicate(timeout=60)


def test_watching_as_json_prints_one_line_for_each_change(here: World) -> None:
    here.ready()
    process = watch(here, "get", "fraud", "-w", "-o", "json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["spec"]["target"] == "v1"
    here.on_trial()
    seen: list[dict[str, Any]] = []
    while not (seen and seen[-1]["status"]["candidateVersion"] == "v2"):
        seen.append(json.loads(process.stdout.readline()))
    stop(process)


@pytest.mark.parametrize("verb", [("get", "-w"), ("get", "fraud", "-w"), ("status", "fraud", "-w")])
def test_watching_without_a_terminal_prints_one_line_for_each_change(
    here: World, verb: tuple[str, ...]
) -> None:
    here.ready()
    process = watch(here, *verb)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2 if verb[0] == "get" else 1)]
    assert "Healthy" in lines[-1]
    here.on_trial()
    while "Progressing" not in lines[-1]:
        lines.append(process.stdout.readline())
    assert len(set(lines)) == len(lines), "a line was repeated"
    stop(process)


def test_lines_are_printed_only_when_they_changed(here: World, capsys: pytest.CaptureFixture[str]) -> None:
    here.ready()
    (before,) = here.api.client.get("/v1/rollouts").json()["items"]
    here.on_trial()
    (after,) = here.api.client.get("/v1/rollouts").json()["items"]
    show_lines(iter([[before], [before], [after], [after], [before]]), is_wide=False)
    phases = [line.split()[2] for line in capsys.readouterr().out.splitlines()]
    assert phases == ["PHASE", "Healthy", "Progressing", "Healthy"]


def test_a_countdown_and_more_of_the_same_evidence_are_no_change(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    here.ready()
    (item,) = here.api.client.get("/v1/rollouts").json()["items"]

    def saying(waiting: str) -> dict[str, Any]:
        status = {**item["status"], "waitingFor": waiting, "message": f"v2 at 5 %, waiting for {waiting}"}
        return {**item, "status": status}

    told = [
        saying("8 s more of canary 5 %"),
        saying("7 s more of canary 5 %"),
        saying("check errors: not proven yet; 12 requests"),
        saying("check errors: not proven yet; 13 requests"),
    ]
    show_lines(iter([[one] for one in told]), is_wide=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1].strip() for line in lines[1:]] == [
        "8 s more of canary 5 %",
        "check errors: not proven yet",
    ]
    report = Reporter()
    for one in told:
        report(one)
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("goal", [healthy, promoted, rolled_back])
def test_no_goal_is_judged_by_what_the_controller_knew_before_an_edit(here: World, goal: Goal) -> None:
    here.ready()
    shown = here.api.client.get(f"/v1/rollouts/{KEY}/status").json()
    assert goal(shown) is not None
    assert goal({**shown, "generation": shown["generation"] + 1}) is None


@pytest.mark.parametrize("name", [(), ("fraud",)], ids=["all", "one"])
def test_a_watch_goes_on_when_the_controller_came_back_on_another_port(
    tmp_path: Path, name: tuple[str, ...]
) -> None:
    with world(tmp_path) as first:
        first.ready()
        process = watch(first, "get", *name, "-w", "-o", "json")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
    told = process.stderr.readline()
    assert "does not answer" in told
    assert "trying again" in told
    with world(tmp_path) as second:
        assert second.api.port != first.api.port
        second.ready()
        second.on_trial()
        line = process.stdout.readline()
        while json.loads(line)["status"]["candidateVersion"] != "v2":
            line = process.stdout.readline()
        process.terminate()
        _, more = process.communicate(timeout=60)
        assert "does not answer" not in more


def test_status_shows_versions_checks_routers_and_decisions(here: World) -> None:
    here.ready()
    here.results = (RESULT,)
    here.on_trial()
    page = here.run("status", "fraud").output
    assert page.startswith("ml/fraud  Progressing  stage 1/2: canary 5 %\n")
    assert "  steps   canary 5 % → canary 50 % → full 100 %\n" in page
    assert "  weight  v2 5% desired, 5% acknowledged\n" in page
    check = next(line for line in page.splitlines() if line.startswith("  errors"))
    assert check.split()[1:7] == ["Inconclusive", "2.24%", "0.42%", "[+0.22,", "+4.79]pp", "+0.10pp"]
    assert check.endswith("+0.10pp    625")
    assert "  errors: error rate 2.24 % against 0.42 %\n" in page
    assert "present plan" in next(line for line in page.splitlines() if line.startswith("  r1"))
    assert "0% → 5%" in page
    assert not any(line != line.rstrip() for line in page.splitlines())


def test_status_in_a_terminal_fits_it(here: World) -> None:
    here.ready()
    here.on_trial()
    page = here.run("status", "fraud", env={"COLUMNS": "100", "FORCE_COLOR": "1", "TERM": "xterm"}).output
    lines = re.sub(r"\x1b\[[0-9;]*m", "", page).splitlines()
    assert max(len(line) for line in lines) <= 100
    assert "\x1b[36mProgressing" in page


@pytest.mark.parametrize(("goal", "code"), [("promoted", 0), ("healthy", 0), ("rolled-back", 1)], ids=str)
def test_waiting_for_what_is_there_already_ends_at_once(here: World, goal: str, code: int) -> None:
    here.ready()
    result = here.run("status", "--wait-for", goal)
    assert (result.exit_code, result.output) == (code, "ml/fraud  Healthy  v1 serves everything\n")


def test_waiting_for_what_does_not_come_times_out_with_2(here: World) -> None:
    here.ready()
    here.on_trial()
    result = here.run("status", "--wait-for", "promoted", "--timeout", "200ms", "-o", "json")
    assert result.exit_code == 2
    assert "timed out after 0.2 s" in result.stderr
    assert json.loads(result.stdout)["status"]["phase"] == "Progressing"


def test_the_exit_status_tells_well_failed_and_under_way_apart(here: World) -> None:
    here.ready(capacity={"drain": "0s"})
    assert here.run("status", "--exit-status").exit_code == 0
    here.on_trial()
    assert here.run("status", "--exit-status").exit_code == 2
    here.run("rollback")
    here.until(lambda shown: shown["status"]["phase"] == "RolledBack")
    assert here.run("status", "--exit-status").exit_code == 1


def test_events_and_history_read_like_a_log_and_as_data_newest_first(here: World) -> None:
    here.ready()
    here.on_trial()
    here.run("rollback")
    lines = here.run("history").output.splitlines()
    assert lines[0].split() == ["AT", "REASON", "VERSION", "WEIGHT", "BY", "PLAN", "WHY"]
    decided = [line.split()[2] for line in lines[1:] if not line.startswith(" ")]
    assert decided == ["WeightRaised", "RollingBack"]
    assert any("then missing: 10 s more of canary 5 %" in line for line in lines)
    data = json.loads(here.run("history", "-o", "json").output)["items"]
    assert [item["reason"] for item in data] == ["RollingBack", "WeightRaised"]
    assert here.run("events", "--limit", "1").output.count("\n") == 2
    assert json.loads(here.run("events", "-o", "json").output)["items"][0]["reason"] == "RollingBack"


def test_history_shows_the_evidence_of_each_decision_below_it(here: World) -> None:
    here.results = (RESULT,)
    here.ready()
    here.on_trial()
    here.run("rollback")
    lines = here.run("history").output.splitlines()
    rolled_back = next(index for index, line in enumerate(lines) if "RollingBack" in line)
    assert lines[rolled_back + 1].strip() == f"errors: {RESULT.text}"


def test_explain_says_why_what_is_missing_and_what_would_end_it(here: World) -> None:
    here.results = (RESULT,)
    here.ready()
    here.on_trial()
    text = here.run("explain", "fraud").output
    assert "Why it is there\n  v2 from 0 % to 5 %: it is ready" in text
    assert "decided by the controller at" in text
    assert re.search(r"What is missing, in this order\n  1\. \d+ s more of canary 5 %\n", text)
    assert "  2. check errors: too few requests in this step" in text
    assert f"What the checks say now\n  errors: {RESULT.text}" in text
    assert "Then: canary 50 %" in text
    assert "  - check errors says Fail: proven worse than 1.2 times stable's share plus 0.02 pp" in text
    assert "  - `headgate rollback`, or another target than v2" in text
    told = json.loads(here.run("explain", "fraud", "-o", "json").output)
    assert told["waitingFor"].startswith(told["unmet"][0].split()[0])
    assert told["why"]["epoch"] == 1
    assert told["why"]["generation"] > 0


def test_explain_of_a_rollout_at_rest_says_how_it_came_there(here: World) -> None:
    here.ready()
    here.on_trial()
    here.run("rollback", "--reason", "p99 doubled")
    text = here.run("explain").output
    assert "p99 doubled" in text.split("Why it is there")[1]
    assert "What is missing" not in text
    assert "What would roll it back" not in text


def test_status_foretells_each_step_of_a_trial(here: World) -> None:
    here.ready()
    assert "Forecast" not in here.run("status").output
    here.on_trial()
    page = here.run("status").output
    assert "Forecast\n  canary 5 %: " in page
    assert "\n  canary 50 %: errors is the slow one, with 47,250 requests to prove" in page
    assert "\n  full 100 %: at once" in page
    forecast = json.loads(here.run("status", "-o", "json").output)["forecast"]
    assert forecast["requestsPerSecond"] is None
    assert [step["title"] for step in forecast["steps"]] == ["canary 5 %", "canary 50 %", "full 100 %"]
    assert [step["slow"] for step in forecast["steps"]] == [False, True, False]


def test_an_empty_log_says_so(here: World) -> None:
    here.ready()
    result = here.run("history")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Nothing yet.\n")


def test_the_name_may_be_left_out_only_if_there_is_one_rollout(here: World) -> None:
    here.ready()
    assert here.run("status").output.startswith("ml/fraud")
    here.api.apply(rollout("other"))
    result = here.run("status")
    assert result.exit_code == 1
    assert "there are 2 of them: which rollout?" in result.output
    assert "name one of: ml/fraud, ml/other" in result.output


@pytest.mark.parametrize(
    "name", [("fraud",), ("ml/fraud",), ("-n", "ml"), ("fraud", "-n", "ml")], ids=" ".join
)
def test_a_rollout_is_found_by_name_namespace_or_both(here: World, name: tuple[str, ...]) -> None:
    here.ready()
    assert here.run("status", *name).output.startswith("ml/fraud")


@pytest.mark.parametrize("name", [("nope",), ("ml/nope",), ("fraud", "-n", "other")], ids=" ".join)
def test_a_name_that_is_not_there_is_answered_with_those_that_are(here: World, name: tuple[str, ...]) -> None:
    here.ready()
    result = here.run("status", *name)
    assert result.exit_code == 1
    assert "rollouts there are: ml/fraud" in result.output


def test_without_a_controller_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [HEADGATE, "status"],
        env={**os.environ, "HEADGATE_STATE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"no controller runs with its state in {tmp_path}" in done.stderr
    assert "headgate up -f rollout.yaml" in done.stderr


def test_a_controller_that_is_gone_is_named_by_its_address(here: World) -> None:
    (here.state / "endpoint.json").write_text(
        f'{{"api": "http://127.0.0.1:1", "tokenFile": "{here.state}/token"}}'
    )
    result = here.run("status")
    assert result.exit_code == 1
    assert "the controller at http://127.0.0.1:1 does not answer" in result.output


def test_a_wrong_token_says_where_the_right_one_is(here: World) -> None:
    (here.state / "token").write_text("wrong")
    result = here.run("status")
    assert result.exit_code == 1
    assert "this needs the controller's token" in result.output


def test_the_api_can_be_named_without_a_state_folder(here: World, tmp_path: Path) -> None:
    here.ready()
    token = tmp_path / "elsewhere"
    token.write_text((here.state / "token").read_text())
    (here.state / "endpoint.json").unlink()
    url = f"http://127.0.0.1:{here.api.port}"
    assert here.run("get", "--api", url, "--token-file", str(token)).exit_code == 0


def test_a_token_is_not_sent_out_of_this_machine_in_clear(here: World, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    result = here.run("get", "--api", "http://192.0.2.1:7000", "--token-file", str(token))
    assert result.exit_code == 1
    assert "192.0.2.1:7000 in clear" in result.output
    assert "https://" in result.output


def test_authorities_that_cannot_be_read_are_named(here: World, tmp_path: Path) -> None:
    token, ca = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("s3cret\n")
    words = ("get", "--api", "https://127.0.0.1:1", "--token-file", str(token), "--api-ca", str(ca))
    assert f"authorities in {ca} cannot be read" in here.run(*words).output
    ca.write_text("nothing")
    assert f"authorities in {ca} cannot be read" in here.run(*words).output


def test_version_says_headgate_and_wire(here: World) -> None:
    assert here.run("version").output.startswith("headgate 0.1.0, wire 1, Python 3.")
    assert json.loads(here.run("version", "-o", "json").output)["reads"] == [1]


def test_a_usage_error_ends_with_1_because_2_means_timed_out(tmp_path: Path) -> None:
    for arguments in (["status", "--timeout", "soon"], ["nonsense"], ["set-target"]):
        done = subprocess.run(
            [HEADGATE, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 1, arguments
    assert (
        "is not a duration"
        in subprocess.run(
            [HEADGATE, "status", "--timeout", "soon"], capture_output=True, text=True, check=False, timeout=60
        ).stderr
    )


def test_every_verb_teaches_with_an_example(here: World) -> None:
    for verb in (
        "up",
        "apply",
        "delete",
        "lint",
        "get",
        "status",
        "explain",
        "events",
        "history",
        "rollback",
    ):
        assert f"headgate {verb}" in here.run(verb, "--help").output, verb
    for verb in ("promote", "pause", "resume", "retry", "approve", "skip-stage", "undo", "set-target"):
        assert f"headgate {verb} fraud" in here.run(verb, "--help").output, verb


def test_nothing_is_lost_when_the_reader_of_a_pipe_goes_away(here: World) -> None:
    here.ready()
    process = watch(here, "get", "-w", "-o", "json")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    here.on_trial()
    until(lambda: process.poll() is not None)
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    assert here.api.store.load(KEY) is not None


def test_check_explain_prints_the_arithmetic_of_each_check_or_of_one(here: World) -> None:
    here.ready()
    text = here.run("check", "explain", "fraud").output
    assert text.startswith(f"{KEY}  nobody is on trial: what each check will ask\n")
    here.results = (RESULT,)
    here.on_trial()
    text = here.run("check", "explain", "fraud", "--check", "errors").output
    assert text.startswith(f"{KEY}  v2 is on trial\n\nerrors  ")
    assert re.search(
        r"  alpha +0\.\d+ of the rollout's 0\.01: it fails when the product is [\d,]+ or more\n", text
    )
    assert re.search(r"  tolerated +p_c ≤ 1\.2 p_s \+ 0\.02 pp\n", text)
    told = json.loads(here.run("check", "explain", "fraud", "-o", "json").output)
    assert told["candidate"] == "v2"
    assert "errors" in [check["name"] for check in told["checks"]]


def test_check_explain_of_a_check_that_is_not_there_names_those_that_are(here: World) -> None:
    here.ready()
    failed = here.run("check", "explain", "fraud", "--check", "oops")
    assert failed.exit_code == 1
    assert "has no check oops" in failed.output
    assert "it has errors" in failed.output
