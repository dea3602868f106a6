"""Two rollouts that move the traffic of one object are told so before anything is applied."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from controller.cli.write import lint

ROUTE = {"checks": [], "traffic": {"httpRoute": {"name": "shared", "rules": ["model"]}}}
OTHER = {"checks": [], "traffic": {"httpRoute": {"name": "other", "rules": ["model"]}}}
SERVICE = {"traffic": {"router": {"takeOver": "front"}}}


def rollout(name: str, namespace: str = "ml", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "ModelRollout",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "target": "v1",
            "versions": [{"name": "v1", "service": {"name": "v1", "port": 80}}],
            "strategy": {"canary": {"weights": ["5%"], "every": "1m"}},
            **spec,
        },
    }


def adopting(name: str, deployment: str) -> dict[str, Any]:
    made = rollout(name, workloadRef={"name": deployment})
    del made["spec"]["target"], made["spec"]["versions"]
    return made


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        (
            rollout("a", **ROUTE),
            rollout("b", **ROUTE),
            "rollout ml/a moves the traffic of HTTPRoute ml/shared",
        ),
        (
            rollout("a", **SERVICE),
            rollout("b", **SERVICE),
            "rollout ml/a moves the traffic of Service ml/front",
        ),
        (adopting("a", "fraud"), adopting("b", "fraud"), "rollout ml/a adopts Deployment ml/fraud already"),
        (adopting("a", "fraud"), adopting("b", "other"), ""),
        (rollout("a", **ROUTE), rollout("b", **OTHER), ""),
        (rollout("a", **ROUTE), rollout("b", namespace="web", **ROUTE), ""),
        (rollout("a", **ROUTE), rollout("a", **ROUTE), ""),
    ],
)
def test_the_second_on_one_target_is_refused_by_lint(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any], says: str
) -> None:
    file = tmp_path / "both.yaml"
    file.write_text(f"{json.dumps(one)}\n---\n{json.dumps(other)}\n")
    done = CliRunner().invoke(lint, ["-f", str(file)])
    assert done.exit_code == (1 if says else 0), done.output
    assert says in done.output
    assert "ml/a is sound" in done.output
