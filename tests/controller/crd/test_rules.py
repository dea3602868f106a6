"""Every rule of the table: what breaks it is refused with field, rule and remedy, and nothing else is."""

import pytest

from controller.crd import Fault, Refused, parse
from controller.crd.rules import RULES
from tests.controller.crd.bad import BROKEN, CANARY, FULL, SHADOW, Change, by_gateway, stages
from tests.controller.crd.specs import ERRORS, SLO, Document, changed, flipping, sound


def faults(document: Document) -> tuple[Fault, ...]:
    parsed = parse(document)
    return parsed.faults if isinstance(parsed, Refused) else ()


def test_the_sound_rollout_has_no_fault() -> None:
    assert faults(sound()) == ()


@pytest.mark.parametrize(
    ("rule", "change", "path", "sentence"), BROKEN, ids=[f"{b[0]}-{b[2]}" for b in BROKEN]
)
def test_what_breaks_a_rule_is_refused_by_that_rule_alone(
    rule: str, change: Change, path: str, sentence: str
) -> None:
    found = faults(changed(change))
    assert [(fault.rule, fault.path) for fault in found] == [(rule, path)], found
    assert sentence in found[0].message


def test_a_rollout_that_a_gateway_carries_has_no_fault() -> None:
    assert faults(changed(by_gateway())) == ()


def test_every_rule_of_the_table_is_tried() -> None:
    assert {rule.name for rule in RULES} == {rule for rule, *_ in BROKEN} | {"base-dir"}
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_a_base_dir_must_be_absolute() -> None:
    document = sound()
    document["metadata"]["annotations"]["headgate.dev/base-dir"] = "specs"
    (fault,) = faults(document)
    assert (fault.rule, fault.path) == ("base-dir", "metadata.annotations[headgate.dev/base-dir]")


BEFORE_AND_AFTER: list[tuple[Document, str, str]] = [
    ({"before": {"checks": ["slo"]}}, "before.checks[0]", "the candidate answers no users here"),
    ({"after": {"checks": ["redo", "slo"]}}, "after.checks[0]", "use a check with max"),
    ({"after": {"checks": ["agree", "slo"]}}, "after.checks[0]", "or in a flip's before with a preview"),
    (
        {"preview": "0%", "before": {"checks": ["agree"]}},
        "before.checks[0]",
        "set sample (or preview) above 0%",
    ),
]


@pytest.mark.parametrize(("parts", "path", "sentence"), BEFORE_AND_AFTER)
def test_a_check_on_the_wrong_side_of_a_flip_is_refused(parts: Document, path: str, sentence: str) -> None:
    found = [fault for fault in faults(flipping(**parts)) if fault.rule == "check-cannot-conclude"]
    assert [fault.path for fault in found] == [f"spec.strategy.blueGreen.{path}"]
    assert sentence in found[0].message


def test_a_comparative_check_that_only_a_flip_could_run_protects_nobody() -> None:
    document = changed(lambda spec: spec.update(strategy={"blueGreen": {}}, checks=[ERRORS, SLO]))
    (fault,) = faults(document)
    assert (fault.rule, fault.path) == ("check-never-runs", "spec.checks[0]")
    assert "use a check with max" in fault.message


def test_all_faults_are_listed_at_once() -> None:
    found = faults(
        changed(
            lambda spec: (
                spec.update(target="v9"),
                spec["strategy"]["stages"].pop(),
                spec["checks"].append(ERRORS),
            )
        )
    )
    assert {fault.rule for fault in found} == {"known-version", "stages-end", "unique-check-names"}


def test_a_later_canary_may_begin_where_the_one_before_ended() -> None:
    document = changed(stages(SHADOW, CANARY, {"pause": {}}, {"canary": {"weights": ["5%", "50%"]}}, FULL))
    assert faults(document) == ()
