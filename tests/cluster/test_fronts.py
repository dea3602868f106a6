"""The check on a recorded history of a Service notices each moment in which it led to nobody."""

from typing import Any

from tests.cluster.fronts import gaps


def service(version: int, app: str, port: int | str = 8080) -> dict[str, Any]:
    return {
        "metadata": {"name": "front", "resourceVersion": str(version)},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": port}]},
    }


def pod(version: int, app: str, *, ready: bool = True, **metadata: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"pod-{app}",
            "labels": {"app": app},
            "resourceVersion": str(version),
            **metadata,
        },
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def test_before_its_first_ready_pod_and_while_there_is_one_nothing_is_amiss() -> None:
    assert gaps([service(1, "a")], [pod(2, "a", ready=False), pod(9, "a"), pod(10, "b")]) == []
    assert gaps([service(1, "a"), service(11, "b")], [pod(9, "a"), pod(10, "b")]) == []


def test_a_selector_that_moves_too_early_is_noticed_also_for_a_moment() -> None:
    (said,) = gaps([service(1, "a"), service(10, "b")], [pod(9, "a"), pod(11, "b")])
    assert said.startswith("at 10: app=b selects nothing ready")


def test_a_port_that_no_pod_has_is_nobody() -> None:
    assert len(gaps([service(1, "a"), service(10, "a", "grpc")], [pod(9, "a")])) == 1


def test_the_last_ready_pod_that_goes_is_noticed() -> None:
    assert len(gaps([service(1, "a")], [pod(9, "a"), pod(12, "a", ready=False)])) == 1
    assert len(gaps([service(1, "a")], [pod(9, "a"), pod(12, "a", deletionTimestamp="now")])) == 1
