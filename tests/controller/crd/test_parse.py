"""From a document to a rollout or to faults: unknown fields, types, what is filled in, what changes are allowed."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.spec import Spec
from controller.core.status import Status, VersionRef
from controller.crd import Fault, Parsed, Refused, changes, load_documents, parse, to_core, version_documents
from controller.crd.convert import identities
from controller.crd.places import Place
from tests.controller.crd.bad import UNKNOWN, WRONG, managed, put
from tests.controller.crd.specs import Document, changed, sound


def refused(document: Any, place: Place | None = None) -> tuple[Fault, ...]:
    parsed = parse(document, place=place)
    assert isinstance(parsed, Refused), parsed
    return parsed.faults


def accepted(document: Document) -> Parsed:
    parsed = parse(document)
    assert isinstance(parsed, Parsed), parsed
    return parsed


def one(document: Any) -> Fault:
    (fault,) = refused(document)
    return fault


def test_a_sound_document_is_kept_as_it_was_written_with_its_namespace() -> None:
    parsed = accepted(sound())
    assert parsed.key == "default/fraud"
    expected = sound()
    expected["metadata"]["namespace"] = "default"
    assert parsed.document == expected


def test_what_a_server_added_is_left_out_so_that_its_output_can_be_applied_again() -> None:
    document = sound()
    document["status"] = {"phase": "Healthy"}
    document["metadata"].update(uid="1", resourceVersion="2", generation=3, creationTimestamp="x")
    assert accepted(document).document == accepted(sound()).document


def test_parsing_changes_nothing_in_what_it_was_given() -> None:
    document = sound()
    parse(document)
    assert document == sound()


@pytest.mark.parametrize(("path", "sentence"), UNKNOWN)
def test_an_unknown_field_is_refused_by_its_path_with_what_was_meant(path: str, sentence: str) -> None:
    fault = one(put(path, {}))
    written = "spec." + path
    for number in "01":
        written = written.replace(f".{number}", f"[{number}]")
    assert (fault.path, fault.rule) == (written, "unknown-field")
    assert sentence in fault.message


def test_what_needs_a_cluster_is_refused_on_one_machine_and_the_other_way_round() -> None:
    on_cluster = put("versions.1", {"name": "v8", "service": {"name": "fraud-v8", "port": 8080}})
    (fault,) = refused(on_cluster, Place.MACHINE)
    assert (fault.path, fault.rule) == ("spec.versions[1].service", "place")
    assert "write url or process" in fault.message
    assert isinstance(parse(on_cluster, place=Place.CLUSTER), Parsed)
    (fault,) = refused(sound(), Place.CLUSTER)
    assert (fault.path, fault.rule) == ("spec.versions[1].process", "place")
    pods = changed(managed())
    (fault,) = refused(pods, Place.MACHINE)
    assert (fault.path, fault.rule) == ("spec.template", "place")
    assert isinstance(parse(pods, place=Place.CLUSTER), Parsed)


def test_a_warmup_from_a_config_map_is_for_kubernetes() -> None:
    spec = sound()
    spec["spec"]["versions"] = [{"name": name, "url": f"http://{name}.example"} for name in ("v7", "v8")]
    spec["spec"]["warmup"] = {"requests": {"from": "configMap", "configMap": {"name": "fraud-warmup"}}}
    (fault,) = refused(spec, Place.MACHINE)
    assert (fault.path, fault.rule) == ("spec.warmup.requests.from", "place")
    assert isinstance(parse(spec, place=Place.CLUSTER), Parsed)


@pytest.mark.parametrize(("path", "value", "rule", "sentence"), WRONG)
def test_a_wrong_value_is_refused_by_its_path_with_what_would_be_right(
    path: str, value: Any, rule: str, sentence: str
) -> None:
    fault = one(put(path, value))
    assert fault.rule == rule, fault
    assert sentence in fault.message
    assert fault.path.startswith("spec." + path.split(".")[0])


def test_a_refused_url_does_not_repeat_its_password() -> None:
    assert "hunter2" not in str(one(put("versions.0.url", "http://user:hunter2@x/")))


@pytest.mark.parametrize("off", ["off", False])
def test_the_guard_can_be_switched_off_but_not_by_leaving_its_value_out(off: Any) -> None:
    core = to_core(put("decision.guard", off), 1)
    assert isinstance(core, Spec)
    assert core.policy.guard is None
    empty = to_core(put("decision.guard", None), 1)
    assert isinstance(empty, Spec)
    assert empty.policy.guard is not None


@pytest.mark.parametrize(
    ("document", "path", "rule"),
    [
        ([], "", "type"),
        ("apiVersion", "", "type"),
        (None, "", "type"),
        ({}, "kind", "kind"),
        ({"kind": "Deployment"}, "kind", "kind"),
        ({**sound(), "apiVersion": "headgate.dev/v2"}, "apiVersion", "choice"),
        ({**sound(), "metadata": None}, "metadata", "required"),
        ({**sound(), "metadata": {"name": "Fraud"}}, "metadata.name", "pattern"),
        ({**sound(), "metadata": {"name": "fraud", "namespace": "a/b"}}, "metadata.namespace", "pattern"),
        ({**sound(), "extra": 1}, "extra", "unknown-field"),
        ({**sound(), "kind": "Model\0Rollout"}, "kind", "text"),
        ({**sound(), "spec": {"target": "\ud800"}}, "spec.target", "text"),
        ({**sound(), "spec": {"target": {1, 2}}}, "spec.target", "type"),
    ],
)
def test_what_is_no_rollout_at_all_is_refused(document: Any, path: str, rule: str) -> None:
    fault = one(document)
    assert (fault.path, fault.rule) == (path, rule)


def test_a_document_too_deep_or_too_large_is_refused_before_anything_else() -> None:
    deep: Any = {}
    for _ in range(2000):
        deep = {"a": deep}
    assert one({**sound(), "spec": deep}).rule == "size"
    assert one({**sound(), "spec": {"versions": [1] * 60_000}}).rule == "size"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["5%", "60s", "v8"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "spec",
                    "metadata",
                    "strategy",
                    "canary",
                    "stages",
                    "weights",
                    "versions",
                    "name",
                    "checks",
                    "url",
                    "full",
                ]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(value=JSON, where=st.lists(st.integers(0, 30), max_size=5))
@settings(max_examples=400, deadline=None)
def test_no_document_whatever_does_more_than_be_refused(value: Any, where: list[int]) -> None:
    """Any value at any place of a sound document: a rollout or faults, never an exception."""
    document: Any = sound()
    place, parent, key = document, None, None
    for step in where:
        keys = (
            list(place)
            if isinstance(place, dict)
            else list(range(len(place)))
            if isinstance(place, list)
            else []
        )
        if not keys:
            break
        parent, key = place, keys[step % len(keys)]
        place = parent[key]
    if parent is None:
        document = value
    else:
        parent[key] = value
    parsed = parse(document)
    if isinstance(parsed, Refused):
        assert parsed.faults
        assert all(fault.rule and fault.message for fault in parsed.faults)
    else:
        core = to_core(parsed.document, 1)
        assert isinstance(core, Spec)
        again = accepted(parsed.document)
        assert again.document == parsed.document


def test_a_provider_must_be_configured_where_the_configuration_is_known() -> None:
    assert isinstance(parse(sound(), providers={"main"}), Parsed)
    parsed = parse(sound(), providers={"other"})
    assert isinstance(parsed, Refused)
    assert parsed.faults[0].path == "spec.checks[4].prometheus.provider"
    assert "main is not a provider this controller was started with (other)" in parsed.faults[0].message


# Changes


def stable_at(document: Document, name: str) -> Status:
    return Status(stable=VersionRef(name, identities(accepted(document).rollout)[name]))


def test_the_first_apply_of_two_versions_must_say_which_is_stable() -> None:
    document = changed(lambda spec: spec.pop("initialStable"))
    (fault,) = changes(None, document, None)
    assert (fault.path, fault.rule) == ("spec.initialStable", "initial-stable")
    assert "such as v7" in fault.message
    assert changes(None, sound(), None) == ()


def test_the_first_apply_of_one_version_need_not_say_so() -> None:
    document = changed(
        lambda spec: (spec.pop("initialStable"), spec["versions"].pop(), spec.update(target="v7"))
    )
    assert changes(None, document, None) == ()


def test_once_there_is_a_stable_the_initial_one_may_be_left_out() -> None:
    document = changed(lambda spec: spec.pop("initialStable"))
    assert changes(sound(), document, stable_at(sound(), "v7")) == ()


def test_redefining_stable_under_its_own_name_is_refused_with_the_words_to_use() -> None:
    new = put("versions.0.url", "http://127.0.0.1:9001/fraud")
    (fault,) = changes(sound(), new, stable_at(sound(), "v7"))
    assert (fault.path, fault.rule) == ("spec.versions[0]", "stable-redefined")
    assert "add the change as a new version (such as v7-2) and set target to it" in fault.message


def test_redefining_another_version_is_allowed() -> None:
    new = put("versions.1.process.command.1", "other.py")
    assert changes(sound(), new, stable_at(sound(), "v7")) == ()


def test_taking_the_stable_version_out_is_refused() -> None:
    new = changed(lambda spec: (spec["versions"].pop(0), spec.pop("initialStable")))
    (fault,) = changes(sound(), new, stable_at(sound(), "v7"))
    assert (fault.path, fault.rule) == ("spec.versions", "stable-removed")


def test_a_change_to_an_unsound_document_is_refused_for_its_own_faults() -> None:
    assert changes(sound(), put("target", "v9"), stable_at(sound(), "v7"))[0].rule == "known-version"


def test_versions_go_to_the_workloads_as_written_by_identity_with_their_folder() -> None:
    found = version_documents(sound())
    assert isinstance(found, dict)
    names = identities(accepted(sound()).rollout)
    assert found[names["v8"]] == {**sound()["spec"]["versions"][1], "baseDir": "/srv/specs"}
    assert list(found) == [names["v7"], names["v8"]]


def test_a_stored_document_that_is_no_longer_accepted_is_a_value_not_an_exception() -> None:
    broken = put("target", "v9")
    assert isinstance(to_core(broken, 1), Refused)
    assert isinstance(version_documents(broken), Refused)


def test_faults_point_at_the_line_they_are_about() -> None:
    text = "apiVersion: headgate.dev/v1alpha1\nkind: ModelRollout\nmetadata:\n  name: x\nspec:\n  target: v1\n  bogus: 1\n"
    documents = load_documents(text)
    assert isinstance(documents, tuple)
    lines = {
        fault.path: documents[0].line_of(fault.path) for fault in refused(copy.deepcopy(documents[0].content))
    }
    assert lines == {"spec.strategy": 5, "spec.bogus": 7}
