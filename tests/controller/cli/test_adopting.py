"""What a person is told before a Deployment is adopted."""

from typing import Any

from controller.cli.adopting import Found, hints, rollout_of

LABELS = {"app": "fraud", "tier": "model"}


def service(name: str, **selector: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ml"},
        "spec": {"selector": selector, "clusterIP": "10.0.0.1", "ports": [{"port": 80, "targetPort": 8080}]},
    }


def found(*services: dict[str, Any], **annotations: str) -> Found:
    template = {
        "metadata": {"labels": LABELS, "annotations": annotations},
        "spec": {"containers": [{"name": "model", "ports": [{"containerPort": 8080}]}]},
    }
    deployment = {
        "metadata": {"name": "fraud", "namespace": "ml"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "fraud"}}, "template": template},
    }
    return Found("ml/fraud", deployment, [*services], [{"metadata": {"name": "router-1"}}])


def told(there: Found) -> tuple[str, ...]:
    return hints(there, rollout_of(there, there.services[0], "onSuccess", None))


def test_a_second_service_whose_clients_are_in_no_canary_is_named() -> None:
    front, batch, other = (
        service("front", app="fraud"),
        service("batch", tier="model"),
        service("other", app="x"),
    )
    (said,) = told(found(front, batch, other))
    assert said.startswith(
        "Service batch leads to the pods of every version, one on trial too, whatever its share"
    )


def test_nothing_is_said_where_the_only_service_is_taken_over() -> None:
    assert told(found(service("front", app="fraud"))) == ()


def test_what_makes_the_names_end_otherwise_is_said() -> None:
    (said,) = told(found(service("front", app="fraud"), **{"headgate.dev/track-secrets": "key"}))
    assert "whose name ends otherwise than told here" in said
