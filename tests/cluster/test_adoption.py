"""A running Deployment adopted by a rollout, and given back, on a real API server: its Service always leads to somebody."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.kubernetes import adopted
from tests.cluster.fronts import FRONT, TAKING, recording
from tests.cluster.test_takeover import OLD, ROUTERS, Scene
from tests.cluster.testbed.cluster import Testbed
from tests.cluster.testbed.kubelet import Kubelet
from tests.cluster.versions import deployment, service
from tests.cluster.whole import NAME, Whole, install, rollout, until

pytestmark = pytest.mark.timeout(400)

HAD = 3


@pytest.fixture
def scene(cluster: Testbed, namespace: str, tmp_path: Path) -> Iterator[Scene]:
    """As for a take-over; the Deployment `front` has three pods, and is called v1."""
    install(cluster)
    with ExitStack() as stack:
        whole = stack.enter_context(Whole(cluster, namespace, tmp_path))
        made = Scene(whole, stack.enter_context(recording(cluster, namespace)))
        stack.enter_context(Kubelet(cluster, namespace, health=made.health))
        running = deployment(FRONT, HAD)
        running["spec"]["template"]["metadata"]["labels"]["headgate.dev/version"] = "v1"
        whole.kubectl("apply", "-f", "-", stdin=running)
        whole.kubectl("apply", "-f", "-", stdin=service(FRONT))
        whole.kubectl("wait", "--for=condition=Available", "--timeout=90s", f"deployment/{FRONT}")
        whole.start()
        yield made


def adopting(how: str, **spec: Any) -> dict[str, Any]:
    """A rollout that adopts the Deployment; checks ask for nothing, so that nobody has to send requests."""
    document = rollout([], checks=[], traffic=TAKING, replicas=HAD, **spec)
    for name in ("target", "initialStable", "versions"):
        del document["spec"][name]
    reference = {"kind": "Deployment", "name": FRONT, "scaleDown": how}
    strategy = {"canary": {"weights": ["20%"], "every": "1s", "checks": []}}
    return {**document, "spec": {**document["spec"], "workloadRef": reference, "strategy": strategy}}


def old(scene: Scene) -> dict[str, Any]:
    return scene.whole.get("deployment", FRONT)


def replicas_are(scene: Scene, count: int) -> None:
    until(f"the Deployment has {count}", lambda: adopted.replicas_of(old(scene)) == count, 90, scene.says)


def image(scene: Scene, version: str, name: str) -> None:
    """A new template, as `kubectl set image` and `kubectl label` write it."""
    container = {"name": "model", "image": name}
    template = {
        "metadata": {"labels": {"headgate.dev/version": version}},
        "spec": {"containers": [container]},
    }
    patch = json.dumps({"spec": {"template": template}})
    scene.whole.kubectl("patch", "deployment", FRONT, "--type=strategic", "--patch", patch)


def test_its_pods_go_when_users_reach_the_rollouts_and_are_back_before_users_are(scene: Scene) -> None:
    scene.whole.apply(adopting("onSuccess"))
    scene.saying("not taken over yet", "there is no router pod")
    assert adopted.replicas_of(old(scene)) == HAD
    scene.pod("r1")
    scene.leads(ROUTERS)
    replicas_are(scene, 0)
    assert scene.whole.phase_is("Healthy")["stableVersion"] == "v1"
    assert adopted.note_of(old(scene)) == adopted.Note(f"{scene.whole.namespace}/{NAME}", HAD, 0)
    image(scene, "v2", "model:2")
    until("v2 is promoted", lambda: scene.whole.status().get("stableVersion") == "v2", 120, scene.says)
    assert adopted.replicas_of(old(scene)) == 0
    scene.unready = {FRONT}
    scene.whole.kubectl("delete", "mro", NAME, "--wait=false")
    scene.saying(f"Deployment {scene.whole.namespace}/{FRONT} is to have its pods back first")
    assert scene.history.leads() == [OLD, ROUTERS]
    scene.unready = set()
    scene.whole.kubectl("wait", "--for=delete", "--timeout=90s", f"mro/{NAME}")
    assert adopted.replicas_of(old(scene)) == HAD
    assert adopted.NOTE not in old(scene)["metadata"]["annotations"]
    assert old(scene)["spec"]["template"]["spec"]["containers"][0]["image"] == "model:2"
    assert scene.history.leads() == [OLD, ROUTERS, OLD]
    assert scene.history.gaps() == []
