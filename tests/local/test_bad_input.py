"""What people get wrong: a clear error that names the field or object, nothing changed, the traffic untouched."""

import copy
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.crd import Refused, parse
from tests.controller.crd.bad import bad_specs
from tests.local.machine import Machine, process, rollout


def _spec(**changes: Any) -> dict[str, Any]:
    document = rollout([process("v1"), process("v2")])
    document["spec"] |= changes
    return document


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown field": (
        _spec(strategy={"canary": {"weigths": ["5%"], "every": "3s"}}),
        "spec.strategy.canary.weigths",
        "did you mean weights",
    ),
    "a wrong unit": (
        _spec(capacity={"drain": "5 parsecs"}),
        "spec.capacity.drain",
        "5 parsecs",
    ),
    "a number without a unit": (_spec(capacity={"drain": 5}), "spec.capacity.drain", "5"),
    "a weight over 100 %": (
        _spec(strategy={"canary": {"weights": ["5%", "120%"], "every": "3s"}}),
        "spec.strategy.canary.weights[1]",
        "120%",
    ),
    "two strategies": (
        _spec(strategy={"canary": {"weights": ["5%"], "every": "3s"}, "blueGreen": {}}),
        "spec.strategy",
        "canary",
    ),
    "a target that is no version": (_spec(target="v9"), "spec.target", "v9"),
    "no versions": (_spec(versions=[]), "spec.versions", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_it_is_refused_offline_with_the_field_named(name: str, tmp_path: Path) -> None:
    document, path, words = BAD[name]
    nobody = Machine(tmp_path, document)
    refused = nobody.run("lint", "-f", str(nobody.file), expect=1)
    assert path in refused.stdout + refused.stderr
    assert words in refused.stdout + refused.stderr


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("machine"), rollout([process("v1"), process("v2")])) as running:
        running.phase_is("Healthy")
        yield running


@pytest.mark.parametrize("name", BAD)
def test_a_running_controller_refuses_it_likewise_and_changes_nothing(name: str, machine: Machine) -> None:
    document, path, words = BAD[name]
    before = machine.get("/v1/rollouts/default/sum").json()
    file = machine.folder / "bad.yaml"
    file.write_text(yaml.safe_dump(document))
    refused = machine.run("apply", "-f", str(file), expect=1)
    assert path in refused.stderr
    assert words in refused.stderr
    assert machine.get("/v1/rollouts/default/sum").json() == before


TABLE = {name: document for name, document in bad_specs() if "nan" not in repr(document)}  # JSON has no NaN


def test_every_bad_spec_of_the_table_is_refused_offline_by_its_rule_and_field(tmp_path: Path) -> None:
    """The command, as people run it; what it says of each is what `parse` says."""
    names = [name for name in TABLE if "\n" not in repr(TABLE[name])]
    for start in range(0, len(names), 50):
        documents = [TABLE[name] for name in names[start : start + 50]]
        file = tmp_path / f"bad-{start}.yaml"
        file.write_text("\n---\n".join(json.dumps(document) for document in documents))
        refused = Machine(tmp_path, documents[0]).run("lint", "-f", str(file), expect=1)
        said = refused.stdout + refused.stderr
        for document in documents:
            parsed = parse(document)
            assert isinstance(parsed, Refused)
            assert f"{parsed.faults[0].path}: " in said
            assert f"({parsed.faults[0].rule})" in said


def test_every_bad_spec_of_the_table_is_refused_by_a_running_controller_likewise(machine: Machine) -> None:
    before = machine.get("/v1/rollouts").json()
    for name, document in TABLE.items():
        parsed = parse(document)
        assert isinstance(parsed, Refused)
        answer = machine.put("/v1/rollouts/default/fraud", document)
        assert answer.status_code == 422, f"{name}: {answer.text}"
        faults = {(fault["rule"], fault["path"]) for fault in answer.json()["error"]["faults"]}
        faults = {(rule, path) for rule, path in faults if rule != "known-provider"}  # it was given none
        assert faults == {(fault.rule, fault.path) for fault in parsed.faults}, name
    assert machine.get("/v1/rollouts").json() == before


def test_yaml_that_does_not_parse_is_refused_with_its_line(machine: Machine) -> None:
    file = machine.folder / "broken.yaml"
    file.write_text("apiVersion: headgate.dev/v1alpha1\nkind: [ModelRollout\n")
    refused = machine.run("apply", "-f", str(file), expect=1)
    assert "broken.yaml:" in refused.stderr


def test_a_rollout_or_version_that_is_not_there_is_named_with_those_that_are(machine: Machine) -> None:
    assert "sum" in machine.run("status", "sums", expect=1).stderr
    refused = machine.run("set-target", "sum", "v9", expect=1).stderr
    assert "v9" in refused
    assert "v1" in refused


def test_an_action_for_another_version_is_refused_and_says_which_is_on_trial(machine: Machine) -> None:
    refused = machine.run("promote", "sum", "--version", "v2", expect=1)
    assert "v2 is not on trial" in refused.stderr


def test_the_stable_version_cannot_be_redefined_under_its_name(machine: Machine) -> None:
    document = copy.deepcopy(machine.get("/v1/rollouts/default/sum").json()["document"])
    document["spec"]["versions"][0]["process"]["command"] += ["--fail", "1"]
    file = machine.folder / "redefined.yaml"
    file.write_text(yaml.safe_dump(document))
    assert "stable-redefined" in machine.run("apply", "-f", str(file), expect=1).stderr


def test_a_second_controller_on_the_same_state_is_refused_and_the_first_goes_on(machine: Machine) -> None:
    refused = machine.run("up", "--state", str(machine.state), "--listen", "127.0.0.1:0", expect=1)
    assert str(machine.state) in refused.stderr
    assert machine.status()["phase"] == "Healthy"


@pytest.mark.parametrize("option", ["--listen", "--api"])
def test_a_port_in_use_is_named_and_nothing_is_left_behind(option: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        fresh = Machine(tmp_path, rollout([process("v1")]))
        words = ["up", "-f", str(fresh.file), "--state", str(fresh.state), option, address]
        if option == "--api":
            words += ["--listen", "127.0.0.1:0"]
        refused = fresh.run(*words, expect=1)
    assert address in refused.stderr
    assert "in use" in refused.stderr
    assert not fresh.pids_of("supervisor")
    assert not list(fresh.pids_of_models())


def test_no_controller_is_said_with_how_to_start_one(tmp_path: Path) -> None:
    nobody = Machine(tmp_path, rollout([process("v1")]))
    assert "headgate up" in nobody.run("get", expect=1).stderr


def test_what_is_read_can_be_had_as_data(machine: Machine) -> None:
    shown = json.loads(machine.run("status", "sum", "-o", "json").stdout)
    assert shown["status"]["stableVersion"] == "v1"
    listed = yaml.safe_load(machine.run("get", "-o", "yaml").stdout)
    assert listed["items"][0]["name"] == "sum"
