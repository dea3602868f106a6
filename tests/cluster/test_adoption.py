"""A running Deployment adopted by a rollout, and given back, on a real API server: its Service always leads to somebody."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.kubernetes import adopted
from tests.cluster.fronts import FRONT, TAKING, recording
from tests.cluster.rights import is_granted
from tests.cluster.test_rbac import USER, roles
from tests.cluster.test_takeover import OLD, ROUTERS, Scene
from tests.cluster.testbed.cluster import Testbed, wait_for
from tests.cluster.testbed.kubelet import Kubelet
from tests.cluster.versions import deployment, service
from tests.cluster.whole import HEADGATE, NAME, Whole, install, rollout, until

pytestmark = pytest.mark.timeout(400)

HAD = 3


@pytest.fixture
def scene(cluster: Testbed, namespace: str, tmp_path: Path) -> Iterator[Scene]:
    """As for a take-over; the Deployment `front` has three pods, and is called v1. The controller has its Role only."""
    install(cluster)
    for role in roles():
        name = role["metadata"]["name"]
        cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=role)
        cluster.kubectl("-n", namespace, "create", "rolebinding", name, f"--role={name}", f"--user={USER}")
    for role in roles():
        granted = partial(is_granted, cluster, namespace, USER, role["rules"][-1])
        wait_for(granted, "the authorizer knows the Role")
    with ExitStack() as stack:
        whole = stack.enter_context(Whole(cluster, namespace, tmp_path, user=USER))
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
    document = rollout([], **{"checks": [], "traffic": TAKING, "replicas": HAD, **spec})
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


def headgate(scene: Scene, *words: str) -> dict[str, Any]:
    """What `headgate WORDS --output json` says, in the namespace of the test."""
    whole = scene.whole
    config = whole.cluster.kubeconfig("admin", namespace=whole.namespace)
    command = [HEADGATE, *words, "--kubeconfig", str(config), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def value_of(found: Any, path: str) -> Any:
    """What is at `spec.ports[0].targetPort` of an object; names of labels and annotations have dots themselves."""
    if not path:
        return found
    for name, inner in found.items() if isinstance(found, dict) else ():
        if path == name or path.startswith((f"{name}.", f"{name}[")):
            return value_of(inner, path[len(name) :].removeprefix("."))
    index = re.match(r"\[(\d+)\]\.?", path)
    return value_of(found[int(index[1])], path[index.end() :]) if index and isinstance(found, list) else None


def test_every_write_is_told_beforehand_and_done_as_it_was_told(scene: Scene) -> None:
    told = headgate(scene, "adopt", FRONT, "--name", NAME, "--scale-down", "progressively", "--plan")
    assert scene.whole.kubectl("get", "mro", "--output", "name").stdout == ""
    assert len(told["hints"]) == 1
    assert "there is no router pod yet" in told["hints"][0]
    namespace = scene.whole.namespace
    assert [(one["verb"], one["object"]) for one in told["writes"]] == [
        ("create", f"ModelRollout {namespace}/{NAME}"),
        ("create", f"ControllerRevision {namespace}/{NAME}-v1"),
        ("create", f"Service {namespace}/{NAME}-v1"),
        ("create", f"Deployment {namespace}/{NAME}-v1"),
        ("patch", f"Service {namespace}/{FRONT}"),
        ("patch", f"Deployment {namespace}/{FRONT}"),
    ]
    for one in told["writes"]:
        kind, name = one["object"].split(f" {namespace}/")
        for field in one["fields"] if one["verb"] == "patch" else ():
            assert value_of(scene.whole.get(kind, name), field["field"]) == field["before"]
    done = headgate(scene, "adopt", FRONT, "--name", NAME, "--scale-down", "progressively")
    assert (done["outcome"], done["writes"]) == ("created", told["writes"])
    scene.pod("r1")
    replicas_are(scene, 0)
    scene.whole.phase_is("Healthy")
    for one in told["writes"]:
        kind, name = one["object"].split(f" {namespace}/")
        found = scene.whole.get(kind, name)
        for field in one["fields"]:
            assert value_of(found, field["field"]) == field["after"], (one["object"], field)
    assert scene.history.leads() == [OLD, ROUTERS]
    assert scene.history.gaps() == []


def test_an_earlier_template_is_written_back_and_who_scales_by_hand_is_not_fought(scene: Scene) -> None:
    scene.pod("r1")
    scene.whole.apply(adopting("onSuccess", capacity={"drain": "1s", "keepStableWarm": "0s"}))
    replicas_are(scene, 0)
    image(scene, "v2", "model:2")
    until("v2 is promoted", lambda: scene.whole.status().get("stableVersion") == "v2", 120, scene.says)
    scene.whole.kubectl("scale", f"deployment/{FRONT}", "--replicas=1")
    scene.saying(f"Deployment {scene.whole.namespace}/{FRONT} was scaled to 1 by kubectl", "scale it to 0")
    scene.whole.act("undo", "v2", to="v1")
    until("v1 is stable again", lambda: scene.whole.status().get("stableVersion") == "v1", 120, scene.says)
    assert old(scene)["spec"]["template"]["spec"]["containers"][0]["image"] == "model:1"
    assert adopted.replicas_of(old(scene)) == 1
    scene.whole.kubectl("scale", f"deployment/{FRONT}", "--replicas=0")
    scene.whole.phase_is("Healthy")
    assert scene.history.gaps() == []


def test_a_deployment_that_is_not_there_is_named_and_one_keeps_its_pods_while_somebody_needs_them(
    scene: Scene,
) -> None:
    scene.pod("r1")
    document = adopting("onSuccess", replicas=1)
    document["spec"]["workloadRef"]["name"] = "none"
    scene.whole.apply(document)
    said = f"there is no Deployment {scene.whole.namespace}/none"
    assert said in scene.whole.phase_is("Stalled")["message"]
    document["spec"]["workloadRef"]["name"] = FRONT
    scene.whole.apply(document)
    scene.saying("has 3 of its 3 pods as long as replicas is 1")
    (pod, *_) = json.loads(scene.whole.kubectl("get", "pods", "-l", OLD, "-o", "json").stdout)["items"]
    hashed = {"pod-template-hash": pod["metadata"]["labels"]["pod-template-hash"], "app": FRONT}
    scene.whole.kubectl("apply", "-f", "-", stdin=service("alone", selector=hashed))
    document["spec"]["replicas"] = HAD
    scene.whole.apply(document)
    scene.saying("keeps its pods", f"Service {scene.whole.namespace}/alone leads to them alone")
    assert adopted.replicas_of(old(scene)) == HAD
    scene.whole.kubectl("delete", "service", "alone")
    replicas_are(scene, 0)
    assert scene.history.gaps() == []


def test_a_second_rollout_on_one_deployment_is_told_so_and_has_it_when_the_first_is_gone(
    scene: Scene,
) -> None:
    scene.whole.apply(adopting("never", traffic={"router": {}}))
    scene.whole.phase_is("Healthy")
    second = adopting("never", traffic={"router": {}})
    second["metadata"] = {"name": "second"}
    scene.whole.apply(second)
    said = f"Deployment {scene.whole.namespace}/{FRONT} is adopted by rollout {scene.whole.namespace}/{NAME}"
    assert said in scene.whole.phase_is("Stalled", name="second")["message"]
    made = ("get", "deployments", "-l", "headgate.dev/rollout=second", "-o", "name")
    assert scene.whole.kubectl(*made).stdout == ""
    scene.whole.kubectl("delete", "mro", NAME, "--timeout=90s")
    until("the second has it", lambda: scene.whole.kubectl(*made).stdout, 90, scene.says)
    assert adopted.replicas_of(old(scene)) == HAD
