"""What is read from Services, EndpointSlices and pods, and the sentences about them; any JSON at all may be in them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from controller.adapters.kubernetes import endpoints, pods
from controller.adapters.kubernetes.endpoints import ENDPOINTS_MAX, Published, described, published

Json = dict[str, Any]
SERVICE: Json = {
    "metadata": {"namespace": "a", "name": "v8"},
    "spec": {
        "selector": {"app": "v8"},
        "ports": [{"name": "web", "port": 80}, {"name": "admin", "port": 81}],
    },
}


def slice_(*found: Json, ports: tuple[tuple[str, int], ...] = (("web", 8080),), kind: str = "IPv4") -> Json:
    return {
        "addressType": kind,
        "ports": [{"name": name, "port": port} for name, port in ports],
        "endpoints": list(found),
    }


def at(address: str, **conditions: bool | None) -> Json:
    return {"addresses": [address], "conditions": conditions}


def hosts(found: Published) -> list[str]:
    return [endpoint.host for endpoint in found.endpoints]


@pytest.mark.parametrize(
    ("conditions", "is_routed_to"),
    [
        ({}, True),
        ({"ready": True, "serving": True, "terminating": False}, True),
        ({"ready": None}, True),
        ({"ready": False, "serving": False}, False),
        ({"ready": True, "serving": False}, False),  # publishNotReadyAddresses
        ({"ready": True, "serving": True, "terminating": True}, False),
        ({"ready": False, "serving": True, "terminating": True}, False),
    ],
)
def test_an_address_is_routed_to_while_it_is_ready_serving_and_stays(
    conditions: dict[str, bool | None], is_routed_to: bool
) -> None:
    found = published(SERVICE, [slice_(at("10.0.0.1", **conditions))], "a/v8", 80)
    assert hosts(found) == (["10.0.0.1"] if is_routed_to else [])
    assert found.known == 1


def test_slices_are_merged_sorted_without_doubles_and_each_with_its_own_port() -> None:
    slices = [
        slice_(at("10.0.0.2"), at("10.0.0.1")),
        slice_(at("10.0.0.3"), ports=(("admin", 9), ("web", 8081))),
        slice_(at("10.0.0.2")),
        slice_(at("2001:db8::1"), kind="IPv6"),
    ]
    found = published(SERVICE, slices, "a/v8", "web")
    assert [(one.host, one.port) for one in found.endpoints] == [
        ("10.0.0.1", 8080),
        ("10.0.0.2", 8080),
        ("10.0.0.3", 8081),
    ]
    assert hosts(published(SERVICE, slices, "a/v8", 81)) == ["10.0.0.3"]


def test_more_addresses_than_a_plan_holds_are_cut_and_that_is_said() -> None:
    many = [at(f"10.0.{number // 250}.{number % 250}") for number in range(1500)]
    found = published(SERVICE, [slice_(*many[:900]), slice_(*many[900:])], "a/v8", 80)
    assert len(found.endpoints) == ENDPOINTS_MAX
    assert described(found, "a/v8").endswith(f"only the first {ENDPOINTS_MAX} are routed to")


def pod(name: str = "v8-5d9-x", phase: str = "Running", **status: Any) -> Json:
    return {
        "metadata": {"namespace": "a", "name": name},
        "spec": {"nodeName": "n1"},
        "status": {"phase": phase, **status},
    }


def container(restarts: int = 0, *, ready: bool = False, last: Json | None = None, **state: Json) -> Json:
    return {
        "name": "model",
        "image": "model:9",
        "ready": ready,
        "restartCount": restarts,
        "state": state,
        "lastState": {"terminated": last} if last else {},
    }


def condition(kind: str, status: str, message: str = "") -> Json:
    return {"type": kind, "status": status, "message": message}


BACKOFF = {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}
TROUBLES: list[tuple[Json, tuple[str, ...]]] = [
    (
        pod(
            containerStatuses=[
                container(5, last={"exitCode": 3, "message": "no such\nmodel"}, waiting=BACKOFF)
            ]
        ),
        ("container model of pod v8-5d9-x keeps crashing", "exit code 3, no such model", "kubectl -n a logs"),
    ),
    (
        pod(containerStatuses=[container(4, last={"exitCode": 137, "reason": "OOMKilled"}, running={})]),
        ("killed for its memory: raise resources.limits.memory",),
    ),
    (
        pod(initContainerStatuses=[container(3, waiting=BACKOFF)], phase="Pending"),
        ("keeps crashing",),
    ),
    (
        pod(
            phase="Pending",
            containerStatuses=[container(waiting={"reason": "ErrImagePull", "message": "not found"})],
        ),
        ("image model:9 of container model", "(not found)", "imagePullSecrets"),
    ),
    (
        pod(
            phase="Pending",
            conditions=[condition("PodScheduled", "False", "0/3 nodes are available: 3 Insufficient cpu.")],
        ),
        ("cannot be scheduled: 0/3 nodes are available", "ask for less"),
    ),
    (pod(phase="Failed", reason="Evicted"), ("pod v8-5d9-x failed: Evicted",)),
    (
        pod(containerStatuses=[container(running={})]),
        ("readiness probe of container model does not succeed",),
    ),
    (
        pod(
            containerStatuses=[container(ready=True, running={})],
            conditions=[condition("Ready", "False", "the gate is shut")],
        ),
        ("the gate is shut",),
    ),
]


@pytest.mark.parametrize(("found", "words"), TROUBLES)
def test_what_is_wrong_with_a_pod_is_said_with_its_name_and_the_remedy(
    found: Json, words: tuple[str, ...]
) -> None:
    told = pods.examined([found]).trouble
    assert all(word in told for word in words), told
    assert "\n" not in told


def test_the_worst_pod_speaks_for_all() -> None:
    fine = pod("a", conditions=[condition("Ready", "True")])
    waiting, crashing = pod("b", phase="Pending"), pod("c", containerStatuses=[container(9, waiting=BACKOFF)])
    told = pods.examined([waiting, crashing, fine])
    assert "pod c keeps crashing" in told.trouble
    assert told.restarts == 9
    assert told.ready == 1


def test_it_is_a_crash_loop_only_while_no_pod_is_ready() -> None:
    crashing = pod("c", containerStatuses=[container(9, waiting=BACKOFF)])
    fine = pod("a", conditions=[condition("Ready", "True")])
    leaving = {**fine, "metadata": {**fine["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert pods.examined([crashing]).is_crash_looping
    assert not pods.examined([crashing, fine]).is_crash_looping
    assert pods.examined([crashing, leaving]).is_crash_looping


def test_a_pod_is_found_by_its_deployment_through_the_name_of_its_replica_set() -> None:
    owned = {
        "metadata": {
            "namespace": "a",
            "labels": {"pod-template-hash": "5d9"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "fraud-v8-5d9"}],
        }
    }
    assert list(pods.by_deployment(owned)) == ["a/fraud-v8"]
    assert list(pods.by_deployment({"metadata": {**owned["metadata"], "labels": {}}})) == []


def test_a_selector_that_selects_nothing_selects_no_pod() -> None:
    one = {"metadata": {"labels": {"app": "v8", "x": "y"}}}
    assert pods.selected([one], {"app": "v8"}) == [one]
    assert pods.selected([one], {"app": "v9"}) == []
    assert pods.selected([one], {}) == []


NAMES = ["metadata", "spec", "status", "ports", "name", "port", "endpoints", "addresses", "conditions"]
NAMES += ["containerStatuses", "state", "waiting", "labels", "ownerReferences", "selector", "phase"]
anything = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=5),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(
            some.sampled_from(NAMES),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
objects = some.dictionaries(
    some.sampled_from(["metadata", "spec", "status", "ports", "endpoints"]), anything, max_size=4
)


@given(service=objects, slices=some.lists(objects, max_size=2), some_pods=some.lists(objects, max_size=2))
def test_objects_of_any_shape_are_read_without_an_error(
    service: Json, slices: list[Json], some_pods: list[Json]
) -> None:
    described(published(service, [{"addressType": "IPv4", **one} for one in slices], "a/v8", 80), "a/v8")
    pods.examined(some_pods)
    pods.refused(service)
    for one in (*slices, *some_pods):
        found = [*endpoints.by_service(one), *pods.by_deployment(one), *pods.by_namespace(one)]
        assert all(isinstance(value, str) for value in found)
