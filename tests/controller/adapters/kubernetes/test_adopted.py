"""What a Deployment that is adopted says, how many of its pods are needed, and what is written."""

from typing import Any

import pytest

from controller.adapters.kubernetes import adopted
from controller.adapters.kubernetes.adopted import Made, Note, ScaleDown
from tests.controller.adapters.kubernetes.test_takeover import patched

KEY = "ml/fraud"


def deployment(*ports: dict[str, Any], replicas: int | None = 4, **metadata: Any) -> dict[str, Any]:
    container = {"name": "model", "image": "model:1", "ports": list(ports)}
    spec = {"template": {"metadata": {"labels": {"app": "fraud"}}, "spec": {"containers": [container]}}}
    return {
        "metadata": {
            "namespace": "ml",
            "name": "fraud",
            "uid": "u1",
            "resourceVersion": "7",
            "generation": 2,
            **metadata,
        },
        "spec": spec | ({} if replicas is None else {"replicas": replicas}),
    }


HTTP, ADMIN = {"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9090}


@pytest.mark.parametrize(
    ("ports", "asked", "found"),
    [((ADMIN,), 0, 9090), ((ADMIN, HTTP), 0, 8080), ((ADMIN, HTTP), 9090, 9090), ((), 80, 80)],
)
def test_the_port_is_the_one_that_is_asked_for_or_called_http_or_the_only_one(
    ports: tuple[dict[str, Any], ...], asked: int, found: int
) -> None:
    one = deployment(*ports)
    assert adopted.pods_of(one, KEY, "fraud", asked) == Made(one["spec"]["template"], found)


def test_a_deployment_that_cannot_be_adopted_is_named_with_what_to_do() -> None:
    def why(one: dict[str, Any] | None) -> object:
        return adopted.pods_of(one, KEY, "fraud", 0)

    assert why(None) == "there is no Deployment ml/fraud: create it, or correct workloadRef.name"
    assert (
        why(deployment()) == "the pods of Deployment ml/fraud say no port: write the one that serves as port"
    )
    two = deployment(ADMIN, {"containerPort": 8080})
    assert (
        why(two)
        == "the pods of Deployment ml/fraud say the ports 9090, 8080: write the one that serves as port"
    )
    ours = deployment(HTTP, labels={"app.kubernetes.io/managed-by": "headgate"})
    assert "is Headgate's own" in str(why(ours))
    another = patched(deployment(HTTP), adopted.scaling(deployment(HTTP), "ml/other", 4, 0))
    assert "is adopted by rollout ml/other" in str(why(another))
    misnamed = deployment(HTTP)
    misnamed["spec"]["template"]["metadata"]["labels"]["headgate.dev/version"] = "v8.1"
    assert "calls its version 'v8.1'" in str(why(misnamed))


@pytest.mark.parametrize(
    ("how", "had", "left", "ready", "expected"),
    [
        (ScaleDown.NEVER, 4, 4, 4, 4),
        (ScaleDown.ON_SUCCESS, 4, 4, 3, 4),
        (ScaleDown.ON_SUCCESS, 4, 4, 4, 0),
        (ScaleDown.PROGRESSIVELY, 4, 4, 0, 4),
        (ScaleDown.PROGRESSIVELY, 4, 4, 1, 3),
        (ScaleDown.PROGRESSIVELY, 4, 3, 1, 3),
        (ScaleDown.PROGRESSIVELY, 4, 2, 0, 2),  # what went does not come back
        (ScaleDown.PROGRESSIVELY, 4, 1, 9, 0),
    ],
)
def test_no_more_of_its_pods_go_than_others_are_ready(
    how: ScaleDown, had: int, left: int, ready: int, expected: int
) -> None:
    assert adopted.needed(how, had, left, ready) == expected


def test_what_it_had_is_noted_with_the_write_that_takes_it_and_gone_with_the_last_one() -> None:
    before = deployment(HTTP)
    scaled = patched(before, adopted.scaling(before, KEY, 4, 1))
    assert adopted.replicas_of(scaled) == 1
    assert adopted.note_of(scaled) == Note(KEY, 4, 1)
    assert list(adopted.by_adopter(scaled)) == [KEY]
    back = patched(scaled, adopted.scaling(scaled, KEY, 4, 4))
    released = patched(back, adopted.releasing(back))
    assert released == {**before, "metadata": {**before["metadata"], "annotations": {}}}
    for patch in (adopted.scaling(before, KEY, 4, 1), adopted.releasing(before)):
        assert (patch["metadata"]["uid"], patch["metadata"]["resourceVersion"]) == ("u1", "7")


@pytest.mark.parametrize("note", ["", "{", "[]", '{"by": "ml/fraud"}', '{"by": 1, "replicas": 1, "left": 1}'])
def test_a_note_that_cannot_be_read_is_none(note: str) -> None:
    assert adopted.note_of(deployment(annotations={adopted.NOTE: note})) is None


def asking(name: str, created: int, **status: str) -> dict[str, Any]:
    metadata = {"namespace": "ml", "name": name, "creationTimestamp": f"2026-01-01T00:00:0{created}Z"}
    return {"metadata": metadata, "status": status}


def test_of_several_rollouts_that_ask_for_a_deployment_the_one_that_has_it_keeps_it() -> None:
    one, other = asking("a", 2), asking("b", 1)
    free = deployment(HTTP)
    noted = patched(free, adopted.scaling(free, "ml/a", 4, 4))
    serving = asking("a", 2, phase="Healthy", targetVersion="v1")
    refused = asking("b", 1, phase="Stalled", targetVersion="v7")

    def holder(found: dict[str, Any], last: str, *rollouts: dict[str, Any]) -> str:
        assert adopted.holder_of(found, rollouts, last) == adopted.holder_of(found, rollouts[::-1], last)
        return adopted.holder_of(found, rollouts, last)

    assert holder(free, "") == ""
    assert holder(free, "ml/gone", one, other) == "ml/b", "the older one"
    assert holder(free, "ml/a", one, other) == "ml/a", "the one that had it last"
    assert holder(noted, "ml/b", one, other) == "ml/a", "the one that it notes"
    assert holder(free, "", serving, other) == "ml/a", "the one that went on with it"
    assert holder(free, "", serving, refused) == "ml/a", "the one that was not refused"


def test_a_note_of_another_namespace_makes_a_deployment_nobodys_there() -> None:
    elsewhere = deployment(HTTP, namespace="web")
    noted = patched(elsewhere, adopted.scaling(elsewhere, KEY, 4, 1))
    assert adopted.note_of(noted) == Note(KEY, 4, 1)
    assert list(adopted.by_adopter(noted)) == []


def test_it_is_whole_when_all_pods_of_its_present_template_are_ready() -> None:
    one = deployment(HTTP)
    assert adopted.replicas_of(deployment(HTTP, replicas=None)) == 1
    for status, is_whole in (
        ({}, False),
        ({"observedGeneration": 2, "readyReplicas": 4, "updatedReplicas": 4}, True),
        ({"observedGeneration": 1, "readyReplicas": 4, "updatedReplicas": 4}, False),
        ({"observedGeneration": 2, "readyReplicas": 4, "updatedReplicas": 1}, False),
    ):
        assert adopted.is_whole({**one, "status": status}) is is_whole
