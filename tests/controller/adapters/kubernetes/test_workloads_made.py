"""What versions of a pod template are called and made of, and where an object is not as it was asked to be."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from controller.adapters.kubernetes import objects
from controller.adapters.kubernetes.drift import PATHS_MAX, differences, managers
from controller.adapters.kubernetes.objects import Owner
from controller.core.status import Workload
from controller.crd.revisions import (
    NAME_MAX,
    Revision,
    all_of,
    bounded,
    config_maps_of,
    merge_patch,
    revision_of,
)

Json = dict[str, Any]
OWNER = Owner("models", "fraud", "uid-1")
TEMPLATE: Json = {
    "spec": {
        "initContainers": [{"name": "fetch", "envFrom": [{"configMapRef": {"name": "fetching"}}]}],
        "containers": [
            {
                "name": "model",
                "image": "model:1",
                "env": [
                    {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "x"}}},
                    {"name": "B", "value": "b"},
                ],
            }
        ],
        "volumes": [
            {"name": "v", "configMap": {"name": "mounted"}},
            {"name": "p", "projected": {"sources": [{"configMap": {"name": "projected"}}]}},
            {"name": "e", "emptyDir": {}},
        ],
    }
}


def changed(image: str, labels: Json | None = None) -> Json:
    found = copy.deepcopy(TEMPLATE)
    found["spec"]["containers"][0]["image"] = image
    return found | ({"metadata": {"labels": labels}} if labels else {})


def test_a_version_is_known_by_everything_its_pods_are_made_of() -> None:
    one = revision_of("fraud", TEMPLATE, 8080, {})
    assert one == revision_of("fraud", copy.deepcopy(TEMPLATE), 8080, {})
    assert one == revision_of("fraud", {**TEMPLATE, "metadata": None}, 8080, {})
    others = [
        revision_of("fraud", changed("model:2"), 8080, {}),
        revision_of("fraud", TEMPLATE, 8081, {}),
        revision_of("fraud", TEMPLATE, 8080, {"a": {"data": {"x": "1"}}}),
        revision_of("fraud", TEMPLATE, 8080, {"a": {"data": {"x": "2"}}}),
    ]
    assert len({one.identity, *(other.identity for other in others)}) == 5


def test_config_maps_are_found_wherever_a_pod_may_name_one_and_tracked_ones_are_copied() -> None:
    assert set(config_maps_of(TEMPLATE)) == {"fetching", "a", "mounted", "projected"}
    tracked = {
        "a": {"data": {"x": "1"}, "metadata": {"uid": "7"}},
        "projected": {"binaryData": {"y": "Cg=="}},
    }
    found = revision_of("fraud", TEMPLATE, 8080, tracked)
    assert set(config_maps_of(found.template)) == {"fetching", "mounted", *found.config_maps}
    assert sorted(map(json.dumps, found.config_maps.values())) == [
        '{"binaryData": {"y": "Cg=="}}',
        '{"data": {"x": "1"}}',
    ]
    assert set(config_maps_of(TEMPLATE)) == {"fetching", "a", "mounted", "projected"}


def test_a_version_is_called_as_its_label_says_else_after_its_hash() -> None:
    named = revision_of("fraud", changed("m:1", {"headgate.dev/version": "v8"}), 8080, {})
    assert named.name == "v8"
    unnamed = revision_of("fraud", TEMPLATE, 8080, {})
    assert unnamed.name == f"v-{unnamed.identity[:8]}"


def test_a_name_stays_with_the_version_that_had_it_first() -> None:
    label = {"headgate.dev/version": "v8"}
    first, second = (revision_of("fraud", changed(image, label), 8080, {}) for image in ("m:1", "m:2"))
    kept = Revision("v8", first.identity, first.template, 8080, 1)
    assert [one.name for one in all_of(first, [kept])] == ["v8"]
    assert [one.name for one in all_of(second, [kept])] == [f"v8-{second.identity[:6]}", "v8"]
    known = Revision(f"v8-{second.identity[:6]}", second.identity, second.template, 8080, 2)
    assert [one.name for one in all_of(second, [known])] == [known.name]
    assert [one.name for one in all_of(first, [kept, known])] == ["v8", known.name]


@given(parts=some.lists(some.text("abc-.", min_size=1, max_size=70), min_size=1, max_size=3))
def test_names_are_bounded_and_the_same_again(parts: list[str]) -> None:
    assert bounded(*parts) == bounded(*parts)
    assert len(bounded(*parts)) <= NAME_MAX


def test_long_names_that_begin_alike_are_told_apart() -> None:
    assert bounded("a" * 60, "v1") == "a" * 60 + "-v1"
    assert bounded("a" * 63, "v1") != bounded("a" * 63, "v2")
    assert objects.name_of("7up", "v1") == "r-7up-v1"


documents = some.recursive(
    some.booleans() | some.integers(0, 3) | some.sampled_from(["a", "b"]),
    lambda inner: some.lists(inner, max_size=2) | some.dictionaries(some.sampled_from("xyz"), inner),
    max_leaves=8,
)


def applied(before: Any, patch: Any) -> Any:
    """RFC 7386, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(before) if isinstance(before, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = applied(result.get(name), value)
    return result


@given(
    before=some.dictionaries(some.sampled_from("xyz"), documents),
    after=some.dictionaries(some.sampled_from("xyz"), documents),
)
def test_a_merge_patch_makes_one_of_the_other(before: Json, after: Json) -> None:
    assert applied(before, merge_patch(before, after)) == after


def version(**more: Any) -> tuple[Revision, Json]:
    found = revision_of("fraud", TEMPLATE, 8080, {})
    return found, found.document() | more


def test_objects_belong_to_the_rollout_and_select_only_their_own_pods() -> None:
    found, document = version()
    pods = objects.deployment(OWNER, found.identity, document, Workload(3, restarts=2, surge=2))
    door = objects.service(OWNER, found.identity, document)
    labels = {"headgate.dev/rollout": "fraud", "headgate.dev/version": found.name}
    assert pods["spec"]["selector"]["matchLabels"] == door["spec"]["selector"] == labels
    assert pods["spec"]["template"]["metadata"]["labels"] == labels
    assert pods["spec"]["template"]["metadata"]["annotations"] == {"headgate.dev/restarts": "2"}
    assert pods["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 2, "maxUnavailable": 0}
    assert pods["metadata"]["name"] == door["metadata"]["name"] == f"fraud-{found.name}"
    assert all(one["metadata"]["ownerReferences"][0]["uid"] == "uid-1" for one in (pods, door))
    assert "metadata" not in TEMPLATE
    assert objects.revision(objects.controller_revision(OWNER, found.identity, document, 4)) == Revision(
        found.name, found.identity, found.template, 8080, 4
    )


@pytest.mark.parametrize(
    "damage", [{"data": None}, {"data": {"template": 7}}, {"revision": "x"}, {"metadata": {}}]
)
def test_a_damaged_revision_is_none(damage: Json) -> None:
    found, document = version()
    kept = objects.controller_revision(OWNER, found.identity, document, 1)
    assert objects.revision({**kept, **damage}) is None


def test_what_belongs_to_another_rollout_or_to_nobody_we_know_is_not_ours() -> None:
    found, document = version()
    ours = objects.service(OWNER, found.identity, document)
    assert OWNER.may_have(ours)
    assert not Owner("models", "fraud", "uid-2").may_have(ours)
    left = copy.deepcopy(ours)
    left["metadata"]["ownerReferences"] = []
    assert Owner("models", "fraud", "uid-2").may_have(left)
    assert not OWNER.may_have({"metadata": {"name": "fraud-v8"}})


WANTED: Json = {
    "spec": {
        "replicas": 2,
        "containers": [
            {"name": "m", "image": "x", "resources": {"limits": {"cpu": "1000m", "memory": "1Gi"}}}
        ],
        "args": ["a", "b"],
        "env": [],
    }
}


def test_what_the_api_server_adds_and_how_it_writes_quantities_is_no_difference() -> None:
    found = copy.deepcopy(WANTED)
    found["status"] = {"replicas": 1}
    found["spec"].pop("env")
    found["spec"]["containers"][0]["resources"]["limits"] = {"cpu": "1", "memory": "1024Mi"}
    found["spec"]["containers"][0]["terminationMessagePath"] = "/dev/termination-log"
    found["spec"]["containers"].insert(0, {"name": "injected"})
    assert differences(WANTED, found) == ()


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda spec: spec.update(replicas=3), "spec.replicas"),
        (lambda spec: spec["containers"][0].update(image="y"), "spec.containers[m].image"),
        (lambda spec: spec["containers"][0].update(name="n"), "spec.containers[m].name"),
        (lambda spec: spec["args"].reverse(), "spec.args[0]"),
        (
            lambda spec: spec["containers"][0]["resources"]["limits"].update(cpu="2"),
            "spec.containers[m].resources.limits.cpu",
        ),
    ],
)
def test_a_difference_is_named_by_its_path(change: Any, path: str) -> None:
    found = copy.deepcopy(WANTED)
    change(found["spec"])
    assert differences(WANTED, found)[0] == path


def test_only_some_differences_are_named() -> None:
    wanted = {str(number): number for number in range(1, 20)}
    assert len(differences(wanted, {})) == PATHS_MAX


def test_who_changed_a_label_is_read_though_its_name_has_dots() -> None:
    label = {"f:metadata": {"f:labels": {"f:app.kubernetes.io/managed-by": {}}}}
    entry = {"manager": "kubectl-label", "time": "2026-01-01T00:00:00Z", "fieldsV1": label}
    live = {"metadata": {"managedFields": [entry]}}
    path = "metadata.labels.app.kubernetes.io"
    assert managers(live, f"{path}/managed-by", "headgate") == "kubectl-label"
    assert managers(live, path, "headgate") == "somebody"


def test_who_changed_a_field_last_is_read_from_the_managers() -> None:
    def entry(manager: str, time: str, **fields: Json) -> Json:
        return {"manager": manager, "time": time, "fieldsV1": fields}

    replicas = {"f:spec": {"f:replicas": {}}}
    live = {
        "metadata": {
            "managedFields": [
                entry("headgate", "2026-01-03T00:00:00Z", **replicas),
                entry("kubectl-edit", "2026-01-01T00:00:00Z", **replicas),
                entry("kube-controller-manager", "2026-01-02T00:00:00Z", **replicas),
                entry("other", "2026-01-04T00:00:00Z", **{"f:status": {}}),
            ]
        }
    }
    assert managers(live, "spec.replicas", "headgate") == "kube-controller-manager"
    assert managers(live, "spec.template.spec.containers[m].image", "headgate") == "somebody"
