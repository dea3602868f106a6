"""What a Service says of who has it, and what is written to lead it elsewhere."""

import json
from typing import Any

import pytest
import yaml

from controller.adapters.kubernetes import takeover
from controller.adapters.kubernetes.takeover import Destination, Note, Stay
from controller.core.status import RouterObserved, Way
from controller.crd.revisions import VERSION_LABEL
from headgate.wire.plan import Applied, Endpoint, PlanVersion, RoutePlan, SlotRange
from tests.cluster.kinds import MANIFESTS

KEY = "ml/fraud"
ROUTERS = takeover.routers_of("fraud")
OLD = Destination({"app": "fraud", "tier": "front"}, 9000)


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"name": "web", "port": 80, "targetPort": OLD.port, "protocol": "TCP", "nodePort": 31_000}]
    return {
        "metadata": {"namespace": "ml", "name": "front", "uid": "u1", "resourceVersion": "7"},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "10.0.0.9",
            "selector": OLD.selector,
            "ports": ports,
            **spec,
        },
    }


def patched(found: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """As an API server patches (RFC 7386)."""
    merged = dict(found)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = patched(merged.get(name) or {}, value) if isinstance(value, dict) else value
    return merged


def pod(name: str, labels: dict[str, str], *, ready: bool = True, **metadata: Any) -> dict[str, Any]:
    ports = [{"name": "http", "containerPort": 8080}]
    return {
        "metadata": {"namespace": "ml", "name": name, "labels": labels, **metadata},
        "spec": {"containers": [{"name": "one", "ports": ports}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def router(name: str = "r1", **fields: Any) -> dict[str, Any]:
    return pod(name, dict(ROUTERS.selector), **fields)


def plan() -> RoutePlan:
    stable = PlanVersion("v1", "i1", "stable", (Endpoint("10.0.0.1", 80),))
    return RoutePlan(
        rollout=KEY,
        epoch=3,
        generation=5,
        endpoints_revision=1,
        stable="v1",
        versions=(stable,),
        slots=(SlotRange(0, 10_000, "v1"),),
        salt="s",
    )


def test_router_pods_are_found_by_the_labels_and_the_port_of_the_manifest() -> None:
    made = yaml.safe_load((MANIFESTS / "router" / "deployment.yaml").read_text())
    template = {**made["spec"]["template"], "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert takeover.reached([template], ROUTERS) == [template]
    served = yaml.safe_load((MANIFESTS / "router" / "service.yaml").read_text())
    assert takeover.destination_of(served) == ROUTERS
    environment = {one["name"]: one for one in template["spec"]["containers"][0]["env"]}
    assert environment["HEADGATE_ROUTER_ID"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_taking_and_giving_back_leave_the_service_as_it_was() -> None:
    before = service()
    taken = patched(before, takeover.taking(before, KEY))
    assert takeover.destination_of(taken) == ROUTERS
    assert takeover.way_of(taken, KEY) is Way.LED
    assert takeover.note_of(taken) == Note(KEY, OLD)
    assert list(takeover.by_taker(taken)) == [KEY]
    assert taken["spec"]["ports"][0] == {**before["spec"]["ports"][0], "targetPort": "http"}
    assert patched(taken, takeover.giving(taken, OLD)) == {
        **before,
        "metadata": {**before["metadata"], "annotations": {}},
    }


def test_each_write_holds_for_the_state_that_was_read_only() -> None:
    for patch in (
        takeover.taking(service(), KEY),
        takeover.giving(service(), OLD),
        takeover.letting(service()),
    ):
        assert (patch["metadata"]["uid"], patch["metadata"]["resourceVersion"]) == ("u1", "7")


def test_a_selector_or_a_port_of_somebody_elses_is_a_change_and_without_our_note_nobodys() -> None:
    taken = patched(service(), takeover.taking(service(), KEY))
    for spec in ({"selector": {"tier": "front"}}, {"ports": service()["spec"]["ports"]}):
        changed = patched(taken, {"spec": spec})
        assert takeover.way_of(changed, KEY) is Way.CHANGED
        assert takeover.way_of(changed, "ml/other") is Way.PAST
        assert takeover.way_of(patched(changed, takeover.letting(changed)), KEY) is Way.PAST


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '"x"', '{"by": 1}', '{"by": "ml/fraud"}', '{"by": "a/b", "selector": {"a": "b"}}']
)
def test_a_note_that_cannot_be_read_is_none(note: str) -> None:
    found = service()
    found["metadata"]["annotations"] = {takeover.NOTE: note}
    assert takeover.note_of(found) is None
    assert list(takeover.by_taker(found)) == []


def test_a_note_of_another_namespace_makes_a_service_nobodys_there() -> None:
    elsewhere = service()
    elsewhere["metadata"]["namespace"] = "web"
    noted = patched(elsewhere, takeover.taking(elsewhere, KEY))
    assert takeover.note_of(noted) == Note(KEY, OLD)
    assert list(takeover.by_taker(noted)) == []


NOTED = {
    "annotations": {takeover.NOTE: json.dumps({"by": "ml/other", "selector": {"a": "b"}, "targetPort": 1})}
}
UNFIT: list[tuple[dict[str, Any] | None, str]] = [
    (None, "there is no Service ml/front: create it"),
    ({"metadata": NOTED}, "is taken over by rollout ml/other"),
    ({"metadata": {"labels": {"app.kubernetes.io/managed-by": "headgate"}}}, "is Headgate's own"),
    ({"spec": {"type": "ExternalName"}}, "selects no pods"),
    ({"spec": {"selector": {"app": None, "tier": None}}}, "selects no pods"),
    ({"spec": {"clusterIP": "None"}}, "is headless"),
    ({"spec": {"ports": [{"name": "web", "port": 80}, {"port": 9090}]}}, "has the ports web, 9090"),
    ({"spec": {"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}}, "over TCP"),
    (
        {"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}},
        "has externalTrafficPolicy: Local",
    ),
    ({"spec": {"internalTrafficPolicy": "Local"}}, "nodes without a router pod would drop its requests"),
]


@pytest.mark.parametrize(("change", "sentence"), UNFIT)
def test_a_service_that_cannot_be_taken_over_is_named_with_what_to_do(
    change: dict[str, Any] | None, sentence: str
) -> None:
    found = None if change is None else patched(service(), change)
    said = takeover.unfit(found, KEY, "front")
    assert said.startswith(("Service ml/front", "there is no Service ml/front"))
    assert sentence in said
    assert takeover.unfit(service(), KEY, "front") == ""
    everywhere = service(externalTrafficPolicy="Cluster", internalTrafficPolicy="Cluster")
    assert takeover.unfit(everywhere, KEY, "front") == ""


def test_only_pods_that_are_ready_and_have_the_port_are_reached() -> None:
    there = router()
    others = [
        router("r2", ready=False),
        router("r3", deletionTimestamp="2026-01-01T00:00:00Z"),
        pod("other", {"app.kubernetes.io/name": "headgate-router"}),
    ]
    assert takeover.reached([there, *others], ROUTERS) == [there]
    assert takeover.reached([there], Destination(ROUTERS.selector, "grpc")) == []
    assert takeover.reached([there], Destination(ROUTERS.selector, 1234)) == [there]


def test_every_router_pod_must_be_ready_and_run_the_plan() -> None:
    known = RouterObserved("r1", Applied(3, 5, 0))

    def why(pods: list[dict[str, Any]], *routers: RouterObserved) -> str:
        return takeover.not_ready(pods, ROUTERS, routers, plan())

    assert why([], known).startswith("there is no router pod (app.kubernetes.io/name=headgate-router")
    assert why([router(ready=False)], known) == "router pod r1 is not ready"
    assert why([router()]) == "router pod r1 has not asked for its plan: its --id must be the name of the pod"
    behind = RouterObserved("r1", Applied(3, 4, 9))
    assert why([router()], behind) == "router pod r1 has not acknowledged plan 5"
    assert (
        why([router()], RouterObserved("r1", Applied(2, 5, 0))) == "router pod r1 has not acknowledged plan 5"
    )
    refusing = RouterObserved("r1", Applied(3, 5, 0), error="no such thing")
    assert why([router()], refusing) == "router pod r1 refused the plan: no such thing"
    assert why([router(), router("r2")], known).startswith("router pod r2 has not asked")
    assert why([router()], known) == ""


def test_of_the_rollouts_own_pods_only_stables_may_get_users_and_none_that_go_with_it() -> None:
    def of(version: str) -> dict[str, Any]:
        return pod(version, {"headgate.dev/rollout": "fraud", VERSION_LABEL: version})

    old = pod("old", {"app": "fraud", VERSION_LABEL: "v0"})
    stays, goes = Stay("fraud", "v1", False), Stay("fraud", "v1", True)
    assert stays.trouble([]) == goes.trouble([]) == "none of them is ready"
    assert stays.trouble([old]) == goes.trouble([old]) == ""
    assert stays.trouble([of("v1"), old]) == ""
    assert stays.trouble([of("v1"), of("v2")]) == "some of them are of v2, which is not stable"
    assert goes.trouble([of("v1")]) == "none of them is ready, but for those that go with the rollout"
    assert goes.trouble([of("v1"), old]) == ""
