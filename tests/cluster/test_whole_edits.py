"""People edit by hand what Headgate made: it is told once, left as it is, holds every rise, and is over when set back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.test_whole_pods import change, managed, pods, product
from tests.cluster.testbed.cluster import Testbed
from tests.cluster.whole import Whole, until

WITHIN_S = 150.0
MADE = "deployment/sum-v1"
LABEL = "app.kubernetes.io/managed-by"


def overridden(whole: Whole) -> dict[str, Any]:
    found = whole.status().get("conditions", ())
    return next((one for one in found if one["type"] == "Overridden"), {})


def told(whole: Whole) -> list[str]:
    """What Events say was changed by hand."""
    path = f"/apis/events.k8s.io/v1/namespaces/{whole.namespace}/events"
    with whole.cluster.client() as client:
        found = client.get(path, params={"limit": "500"}).raise_for_status().json()["items"]
    return [one["note"] for one in found if one["reason"] == "Overridden"]


def is_overridden(whole: Whole, *words: str) -> bool:
    now = overridden(whole)
    return now.get("status") == "True" and all(word in now["message"] for word in words)


@pytest.mark.timeout(600)
def test_hand_edits_of_replicas_and_labels_are_told_and_left_and_hold_the_next_version(
    cluster: Testbed, namespace: str, tmp_path: Path, pod_address: Callable[[], str]
) -> None:
    with product(cluster, namespace, tmp_path, pod_address) as whole:
        whole.apply(managed("v1"))
        with whole.load() as load:
            whole.kubectl("scale", MADE, "--replicas=3")
            until("that is told", lambda: is_overridden(whole, "spec.replicas"), WITHIN_S, whole.says)
            whole.kubectl("label", MADE, f"{LABEL}=somebody", "--overwrite")
            until("that, too", lambda: is_overridden(whole, LABEL), WITHIN_S, whole.says)
            until("two Events", lambda: len(told(whole)) == 2, WITHIN_S, whole.says)
            assert all("was changed by kubectl" in note for note in told(whole)), told(whole)
            whole.controller.stop()
            whole.controller.start()
            change(whole, pods("v2"))
            until(
                "v2 waits for that",
                lambda: "v2 waits" in whole.status()["message"] and "sum-v1" in whole.status()["message"],
                WITHIN_S,
                whole.says,
            )
            found = whole.get("deployment", "sum-v1")
            assert (found["spec"]["replicas"], found["metadata"]["labels"][LABEL]) == (3, "somebody")
            assert load.answers["v2"] == 0
            whole.kubectl("scale", MADE, "--replicas=2")
            whole.kubectl("label", MADE, f"{LABEL}=headgate", "--overwrite")
            until("v2 is promoted", lambda: whole.status().get("stableVersion") == "v2", WITHIN_S, whole.says)
            assert overridden(whole)["status"] == "False"
            load.stop()
        load.without_loss()
        assert len(set(told(whole))) == len(told(whole)) <= 3, told(
            whole
        )  # one of the two is set back before the other
