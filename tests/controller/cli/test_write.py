"""apply, delete, lint and the options of up: files, their faults with lines, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from controller.crd import BASE_DIR
from headgate.cli import root
from tests.controller.api.served import rollout, until
from tests.controller.cli.world import KEY, World

GOOD = """apiVersion: headgate.dev/v1alpha1
kind: ModelRollout
metadata: {name: fraud, namespace: ml}
spec:
  target: v1
  versions:
  - {name: v1, url: "http://127.0.0.1:9001"}
  strategy:
    canary: {weights: [5%, 50%], every: 10s}
"""


def file(folder: Path, text: str, name: str = "rollout.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_apply_says_what_became_of_each_rollout(here: World, tmp_path: Path) -> None:
    two = GOOD + "---\n" + GOOD.replace("fraud", "search")
    path = file(tmp_path, two)
    lines = here.run("apply", "-f", path).output.splitlines()
    assert [line for line in lines if line[0] != " "] == ["ml/fraud created", "ml/search created"]
    assert lines[1].startswith("  canary 5 %: ")
    assert lines[2].startswith("  canary 50 %: errors is the slow one")
    assert here.run("apply", "-f", path).output == "ml/fraud unchanged\nml/search unchanged\n"
    path = file(tmp_path, GOOD.replace("10s", "20s"))
    assert here.run("apply", "-f", path).output.startswith("ml/fraud configured\n")
    answer = json.loads(here.run("apply", "-f", path, "-o", "json").output)
    assert answer["items"] == [{"rollout": KEY, "generation": 2, "outcome": "unchanged"}]


def test_a_rollout_remembers_the_folder_its_file_is_in(here: World, tmp_path: Path) -> None:
    here.run("apply", "-f", file(tmp_path, GOOD))
    stored = here.api.store.load(KEY)
    assert stored is not None
    assert stored.document["metadata"]["annotations"][BASE_DIR] == str(tmp_path)


def test_a_rollout_comes_from_standard_input(here: World) -> None:
    assert here.run("apply", "-f", "-", input=GOOD).output.startswith("ml/fraud created\n")


def test_what_get_prints_can_be_applied_again(here: World) -> None:
    here.run("apply", "-f", "-", input=GOOD)
    document = here.api.client.get(f"/v1/rollouts/{KEY}").json()["document"]
    assert here.run("apply", "-f", "-", input=yaml.safe_dump(document)).output == "ml/fraud unchanged\n"


@pytest.mark.parametrize(
    ("old", "new", "line", "path"),
    [
        ("target: v1", "target: v9", 5, "spec.target"),
        ("target: v1", "traget: v1", 5, "spec.traget"),
        ("5%, 50%", "5%, 150%", 9, "spec.strategy.canary.weights[1]"),
        ("every: 10s", "every: 10", 9, "spec.strategy.canary.every"),
        ("{weights: [5%, 50%], every: 10s}", "[", 0, ""),
    ],
)
def test_a_fault_is_told_with_its_file_line_and_field_and_nothing_is_changed(
    here: World, tmp_path: Path, old: str, new: str, line: int, path: str
) -> None:
    bad = file(tmp_path, GOOD.replace(old, new))
    good = file(tmp_path, GOOD.replace("fraud", "search"), "good.yaml")
    applied = here.run("apply", "-f", good, "-f", bad)
    assert applied.exit_code == 1
    linted = here.run("lint", "-f", bad)
    assert linted.exit_code == 1
    where = f"{bad}:{line}: {path}: " if line else f"{bad}:"
    assert where in applied.output
    assert where in linted.output
    assert here.api.store.keys() == ()


def test_what_only_the_controller_knows_is_told_by_it(here: World) -> None:
    here.ready()
    redefined = rollout(
        versions=[
            {"name": "v1", "url": "http://127.0.0.1:9999"},
            {"name": "v2", "url": "http://127.0.0.1:9002"},
        ]
    )
    result = here.run("apply", "-f", "-", input=yaml.safe_dump(redefined))
    assert result.exit_code == 1
    assert "spec.versions[0]: v1 is stable" in result.output
    assert "(stable-redefined)" in result.output


def test_a_file_that_is_not_there_is_named(here: World) -> None:
    result = here.run("apply", "-f", "/nowhere/rollout.yaml")
    assert result.exit_code == 1
    assert "/nowhere/rollout.yaml cannot be read: No such file or directory" in result.output


def test_lint_needs_no_controller_and_shows_the_steps(here: World, tmp_path: Path) -> None:
    path = file(tmp_path, GOOD)
    (here.state / "endpoint.json").unlink()
    result = here.run("lint", "-f", path)
    assert (result.exit_code, result.output) == (
        0,
        f"{path}: ml/fraud is sound: canary 5 % → canary 50 % → full 100 %\n",
    )
    (item,) = json.loads(here.run("lint", "-f", path, "-o", "json").output)["items"]
    assert (item["rollout"], item["faults"]) == (KEY, [])


def test_lint_tells_programs_each_fault_as_data(here: World, tmp_path: Path) -> None:
    path = file(tmp_path, GOOD.replace("target: v1", "target: v9"))
    result = here.run("lint", "-f", path, "-o", "json")
    assert result.exit_code == 1
    (item,) = json.loads(result.output)["items"]
    assert item["rollout"] is None
    (fault,) = item["faults"]
    assert (fault["line"], fault["path"], fault["rule"]) == (5, "spec.target", "known-version")


def test_delete_waits_until_it_is_gone_if_asked(here: World) -> None:
    here.ready()
    result = here.run("delete", "fraud", "--wait")
    assert result.output == "ml/fraud is being deleted\nml/fraud is gone\n"
    assert here.api.store.keys() == ()


def test_a_deletion_that_takes_longer_times_out_and_goes_on(here: World) -> None:
    here.ready()
    here.is_deciding = False
    result = here.run("delete", "fraud", "--wait", "--timeout", "200ms")
    assert result.exit_code == 2
    assert "the deletion goes on" in result.output


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--listen", "localhost", "is not HOST:PORT"),
        ("--listen", "127.0.0.1:http", "is not HOST:PORT"),
        ("--listen", "127.0.0.1:99999", "is not HOST:PORT"),
        ("--api", "0.0.0.0:8090", "is not a loopback address"),
        ("--prometheus", "main", "is not NAME=URL"),
        ("--prometheus", "main=ftp://x", "is not NAME=URL"),
        ("--sink", "chat", "is not NAME=URL, such as chat="),
        ("--allow-hook", "127.0.0.1:9000", "is not the beginning of a URL"),
        ("--allow-hook", "http://127.0.0.1/?a=b", "is not the beginning of a URL"),
        ("--workers", "0", "is not in the range"),
    ],
)
def test_up_refuses_what_it_cannot_listen_on_or_ask(here: World, option: str, value: str, said: str) -> None:
    result = here.run("up", option, value)
    assert result.exit_code != 0
    assert said in result.output


def test_a_controller_refuses_to_allow_what_is_no_network(here: World) -> None:
    result = here.run("controller", "--allow-address", "127.0.0.1/8")
    assert result.exit_code != 0
    assert "has host bits set; a network such as 127.0.0.0/8" in result.output


def test_up_tells_the_faults_of_its_files_before_it_starts_anything(here: World, tmp_path: Path) -> None:
    bad = file(tmp_path, GOOD.replace("target: v1", "target: v9"))
    state = tmp_path / "state"
    result = here.run("up", "-f", bad, "--state", str(state))
    assert result.exit_code == 1
    assert f"{bad}:5: spec.target: " in result.output
    assert not state.exists()


def test_the_example_is_sound(here: World) -> None:
    examples: list[Any] = sorted(Path("examples").glob("*/*.yaml"))
    assert examples
    for path in examples:
        assert here.run("lint", "-f", str(path)).exit_code == 0, path


def test_a_router_that_is_gone_is_forgotten_and_blocks_no_more(here: World) -> None:
    here.ready("r1")
    here.router("host-1:8080", obeys=False)
    until(lambda: "host-1:8080" in here.api.store.members(KEY))
    result = here.run("router", "forget", "host-1:8080")
    assert (result.exit_code, result.output) == (0, "ml/fraud: router host-1:8080 is forgotten\n")
    assert here.api.store.members(KEY) == ("r1",)
    again = here.run("router", "forget", "host-1:8080", "--rollout", "fraud")
    assert again.exit_code == 1
    assert "its routers are r1" in again.output
    assert "headgate router forget" in here.run("router", "forget", "--help").output


def test_plan_foretells_a_rollout_from_its_file_alone(tmp_path: Path) -> None:
    named = file(tmp_path, json.dumps(rollout()))
    lines = invoke("plan", "-f", named, "--rate", "120", "--errors", "0.4%").output.splitlines()
    assert lines[0] == "ml/fraud"
    assert lines[1].startswith("  canary 5 %: 10 s, its own time; errors needs 9 s of it at 120 requests/s")
    assert "about" in lines[2]
    assert "errors is the slow one" in lines[2]
    assert lines[-1].startswith("  faster: errors with `plus: 0.1pp`: canary 50 % in about ")
    data = json.loads(invoke("plan", "-f", named, "-o", "json").output)["items"][0]
    assert (data["rollout"], data["requestsPerSecond"]) == ("ml/fraud", None)
    assert all(step["seconds"] is None for step in data["steps"] if step["checks"])


@pytest.mark.parametrize(
    "options", [("--rate", "0"), ("--rate", "much"), ("--errors", "0.4"), ("--errors", "x%")]
)
def test_plan_takes_only_a_rate_and_a_share(tmp_path: Path, options: tuple[str, str]) -> None:
    named = file(tmp_path, json.dumps(rollout()))
    assert invoke("plan", "-f", named, *options).exit_code != 0


def invoke(*words: str) -> Result:
    return CliRunner().invoke(root(), words)
