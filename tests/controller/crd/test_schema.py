"""The generated CRDs: structural, bounded and explained everywhere, with the defaults that a person would write."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import Field

from controller.crd.actions import ACTION_RULES, RolloutAction, parse_action
from controller.crd.crds import model_rollouts, rollout_actions
from controller.crd.faults import Refused
from controller.crd.forms import FORMS, UNSEEN
from controller.crd.models import Model, RolloutSpec
from controller.crd.quantities import BasisPoints, Duration, Milliseconds, Percent, PerMillion, Points, Size
from controller.crd.rules import RULES
from controller.crd.schema import descriptions, structural, written
from controller.crd.table import Form, Rule, validations

Schema = dict[str, Any]
ALLOWED = {
    "type", "format", "enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern",
    "minProperties", "maxProperties", "nullable", "description", "default", "properties", "required", "items",
    "additionalProperties", "x-kubernetes-validations", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-embedded-resource",
}  # fmt: skip
FREE = {"spec.decision.guard", "spec.versions[].rewrite.body{}", "spec.warmup.requests.inline[].body"}
"""Where anything may stand: a guard or `off`, and JSON that goes to a model as it is."""


def schema_of(definition: dict[str, Any]) -> Schema:
    (version,) = definition["spec"]["versions"]
    return dict(version["schema"]["openAPIV3Schema"]["properties"])


def nodes(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


EVERY = [
    pytest.param(path, node, id=f"{definition['spec']['names']['shortNames'][0]}-{path}")
    for definition in (model_rollouts(), rollout_actions())
    for root in ("spec", "status")
    for path, node in nodes(schema_of(definition)[root], root)
]


@pytest.mark.parametrize(("path", "node"), EVERY)
def test_every_field_is_structural_and_bounded(path: str, node: Schema) -> None:
    assert not set(node) - ALLOWED
    match node.get("type"):
        case "string":
            assert "maxLength" in node or "enum" in node
        case "integer" | "number":
            assert node["minimum"] <= node["maximum"]
        case "array":
            assert "maxItems" in node
            assert "items" in node
        case "object" if "additionalProperties" in node:
            assert "maxProperties" in node
        case "object":
            assert "properties" in node
        case "boolean":
            pass
        case None if node.get("x-kubernetes-int-or-string"):
            assert "maxLength" in node
        case other:
            assert other is None
            assert node["x-kubernetes-preserve-unknown-fields"]
            assert path in FREE


@pytest.mark.parametrize(("path", "node"), EVERY)
def test_every_field_says_what_it_is_for(path: str, node: Schema) -> None:
    if not path.endswith(("[]", "{}")):
        text = node.get("description", "")
        assert len(text) >= 8, f"{path}: write a docstring under the field"
        assert text.endswith("."), text


def test_a_definition_is_small_enough_for_a_client_side_apply() -> None:
    """Which keeps the whole object in an annotation of at most 256 KiB."""
    assert len(json.dumps(model_rollouts())) < 256 * 1024


def test_every_rule_is_told_to_the_api_server_or_says_why_not() -> None:
    assert not [rule.name for rule in RULES if not rule.forms and not rule.unseen]
    names = {rule.name for rule in RULES}
    assert set(FORMS) <= names
    assert set(UNSEEN) <= names


def test_few_rules_are_left_to_the_controller_as_a_whole() -> None:
    assert [rule.name for rule in RULES if not rule.forms] == ["base-dir", "cron-fires", "window-opens"]


QUANTITIES: list[tuple[Any, float, str]] = [
    (Duration("0s", "90d"), 0.0, "0s"),
    (Duration("0s", "90d"), 90.0, "90s"),
    (Duration("0s", "90d"), 5400.0, "90m"),
    (Duration("0s", "90d"), 86_400.0, "1d"),
    (Duration("0s", "90d"), 0.25, "250ms"),
    (Milliseconds("0s", "1h"), 1500, "1500ms"),
    (Milliseconds("0s", "1h"), 60_000, "1m"),
    (Percent("0%", "100%"), 0.2, "20%"),
    (Percent("0%", "100%"), 0.001, "0.1%"),
    (BasisPoints("0.01%", "100%"), 10_000, "100%"),
    (BasisPoints("0.01%", "100%"), 25, "0.25%"),
    (PerMillion("0%", "100%"), 10_000, "1%"),
    (Points("0pp", "100pp"), 0.0002, "0.02pp"),
    (Size("0", "64Mi"), 8 * 2**20, "8Mi"),
    (Size("0", "64Mi"), 65_536, "64Ki"),
    (Size("0", "64Mi"), 1000, "1000"),
]


@pytest.mark.parametrize(("quantity", "amount", "text"), QUANTITIES)
def test_a_default_is_written_as_a_person_would_and_read_as_the_same(
    quantity: Any, amount: float, text: str
) -> None:
    assert quantity.write(amount) == text
    assert quantity.read(text) == amount


def test_the_defaults_of_the_schema_are_those_of_the_models() -> None:
    def filled(schema: Schema) -> Any:
        if "properties" not in schema:
            return schema["default"]
        return {name: filled(inner) for name, inner in schema["properties"].items() if "default" in inner}

    needed = {
        "target": "v1",
        "versions": [{"name": "v1", "url": "http://x"}],
        "strategy": {"canary": {"weights": ["5%"]}},
    }
    spec = schema_of(model_rollouts())["spec"]
    given = RolloutSpec.model_validate(filled(spec) | needed)
    assert given == RolloutSpec.model_validate(needed)


def test_a_default_that_says_nothing_is_not_written() -> None:
    assert written(RolloutSpec.model_fields["hooks"]) is None
    assert written(RolloutSpec.model_fields["paused"]) is False
    assert written(RolloutSpec.model_fields["decision"]) == {}


class Inner(Model):
    """What a field of Outer is made of."""

    share: Annotated[int, BasisPoints("1%", "50%")] = 100
    """A share."""


class Outer(Model):
    """A model of the test's own."""

    inner: Inner = Inner()
    """An inner one,
    told on two lines."""
    maybe: Inner | None = None
    """Another."""
    names: Annotated[list[str], Field(max_length=3)] | None = None
    """Names."""


def test_a_schema_is_made_of_the_fields_their_docstrings_and_the_rules() -> None:
    rules = validations((Rule("no-names", lambda _: iter(()), (Form("Outer", "!has(self.names)", "none"),)),))
    found = structural(Outer, rules)
    assert found["description"] == "A model of the test's own."
    assert found["x-kubernetes-validations"] == [{"rule": "!has(self.names)", "message": "[no-names] none"}]
    inner = found["properties"]["inner"]
    assert inner["description"] == "An inner one, told on two lines."
    assert inner["default"] == {}
    assert inner["properties"]["share"]["default"] == "1%"
    assert "default" not in found["properties"]["maybe"]
    assert found["properties"]["maybe"]["type"] == "object"
    assert descriptions(Outer)["names"] == "Names."


def test_a_rule_about_a_model_that_is_not_there_is_a_mistake() -> None:
    rules = validations((Rule("lost", lambda _: iter(()), (Form("Nowhere", "true", "never"),)),))
    with pytest.raises(ValueError, match="Nowhere"):
        structural(Outer, rules)


# Actions


def action(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "RolloutAction",
        "metadata": {"name": "fraud-1"},
        "spec": {"rollout": "fraud", "action": "rollback", "version": "v8", "requestedBy": "ann", **spec},
    }


def test_an_action_is_read_with_what_it_means() -> None:
    found = parse_action(action(action="skip-stage", stage=2, reason="p99 doubled"))
    assert isinstance(found, RolloutAction)
    assert (found.spec.action, found.spec.stage, found.spec.reason) == ("skip-stage", 2, "p99 doubled")


BAD_ACTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"action": "explode"}, "choice", "spec.action"),
    ({"action": "skip-stage"}, "stage-meant", "spec.stage"),
    ({"action": "rollback", "stage": 1}, "stage-meant", "spec.stage"),
    ({"action": "rollback", "to": "v6"}, "to-meant", "spec.to"),
    ({"action": "rollback", "roles": ["owner"]}, "roles-meant", "spec.roles"),
    ({"action": "skip-stage", "stage": 0}, "bounds", "spec.stage"),
    ({"version": "V8"}, "pattern", "spec.version"),
    ({"requestedBy": ""}, "bounds", "spec.requestedBy"),
    ({"rolout": "fraud"}, "unknown-field", "spec.rolout"),
]


@pytest.mark.parametrize(("spec", "rule", "path"), BAD_ACTIONS)
def test_an_action_that_cannot_be_meant_is_refused(spec: dict[str, Any], rule: str, path: str) -> None:
    found = parse_action(action(**spec))
    assert isinstance(found, Refused)
    assert [(fault.rule, fault.path) for fault in found.faults] == [(rule, path)]


def test_the_rules_of_actions_are_all_told_to_the_api_server() -> None:
    assert all(rule.forms for rule in ACTION_RULES)
