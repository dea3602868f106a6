"""A sound rollout to start from, and the way to break it."""

import copy
from collections.abc import Callable
from typing import Any

Document = dict[str, Any]

ERRORS = {"name": "errors", "metric": "requests.errors", "noWorseThan": {"ratio": 1.2, "plus": "0.02pp"}}
SLO = {"name": "slo", "metric": "requests.errors", "max": "1%"}
LATENCY = {
    "name": "latency",
    "metric": "requests.latency",
    "quantile": "p99",
    "noWorseThan": {"slower": "10%"},
}
AGREE = {"name": "agree", "metric": "shadow.disagreement", "max": "1%"}
REDO = {
    "name": "redo",
    "prometheus": {
        "provider": "main",
        "events": 'redo_total{version="{{version}}"}',
        "total": 'search_total{version="{{version}}"}',
    },
    "noWorseThan": {"ratio": 1.5},
}
GPU = {
    "name": "gpu",
    "prometheus": {"provider": "main", "value": 'avg(gpu{version="{{version}}"})'},
    "within": {"max": 0.9},
}


def sound() -> Document:
    """A rollout with all kinds of stages and checks that nothing is wrong with."""
    return copy.deepcopy(
        {
            "apiVersion": "headgate.dev/v1alpha1",
            "kind": "ModelRollout",
            "metadata": {"name": "fraud", "annotations": {"headgate.dev/base-dir": "/srv/specs"}},
            "spec": {
                "target": "v8",
                "initialStable": "v7",
                "versions": [
                    {"name": "v7", "url": "http://127.0.0.1:9000/fraud"},
                    {
                        "name": "v8",
                        "process": {
                            "command": ["{python}", "serve.py", "--port", "{port}"],
                            "readiness": {"httpGet": {"path": "/v2/health/ready"}},
                        },
                    },
                ],
                "checks": [ERRORS, SLO, LATENCY, AGREE, REDO],
                "strategy": {
                    "stages": [
                        {"shadow": {"sample": "50%", "minPairs": 500, "duration": "10m"}},
                        {"canary": {"weights": ["5%", "25%"], "every": "60s"}},
                        {"pause": {}},
                        {"full": {"bake": "10m"}},
                    ]
                },
            },
        }
    )


def changed(change: Callable[[Document], Any]) -> Document:
    """The sound rollout after one change to its spec."""
    document = sound()
    change(document["spec"])
    return document


def flipping(**parts: Any) -> Document:
    """A blue-green rollout."""
    return changed(
        lambda spec: spec.update(
            strategy={"blueGreen": {"preview": "100%", "bake": "10m", **parts}}, checks=[AGREE, SLO, REDO]
        )
    )
