"""An existing Service taken over by routers and given back, on a real API server: each time in one write, never to nobody."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.kubernetes import takeover
from tests.cluster.fronts import FRONT, TAKING, History, recording, router_pod
from tests.cluster.testbed.cluster import Testbed
from tests.cluster.testbed.kubelet import READY, UNREADY, Health, Kubelet, Pod
from tests.cluster.versions import deployment, service
from tests.cluster.whole import NAME, Whole, install, rollout, until

pytestmark = pytest.mark.timeout(400)

ROUTERS = str(takeover.routers_of(NAME))
OLD = f"app={FRONT}"


@dataclass
class Scene:
    """A product behind the Service `front`; pods whose names begin with one of `unready` are not ready."""

    whole: Whole
    history: History
    unready: set[str] = field(default_factory=set)

    def health(self, pod: Pod) -> Health:
        return UNREADY if any(pod["metadata"]["name"].startswith(name) for name in self.unready) else READY

    def front(self) -> dict[str, Any]:
        return self.whole.get("service", FRONT)

    def leads(self, where: str) -> None:
        until(
            f"it leads to {where}", lambda: str(takeover.destination_of(self.front())) == where, 90, self.says
        )

    def says(self) -> str:
        return f"{self.whole.status().get('message')}; {self.whole.says()}"

    def saying(self, *words: str) -> str:
        """The message, once it has all these words."""

        def said() -> str:
            message = str(self.whole.status().get("message", ""))
            return message if all(word in message for word in words) else ""

        found: str = until(f"{words} in the message", said, 90, self.says)
        return found

    def condition(self, kind: str) -> dict[str, Any]:
        found = [one for one in self.whole.status().get("conditions", ()) if one["type"] == kind]
        return found[0] if found else {}

    def condition_is(self, kind: str, status: str) -> dict[str, Any]:
        def holds() -> dict[str, Any]:
            found = self.condition(kind)
            return found if found.get("status") == status else {}

        found: dict[str, Any] = until(f"{kind} is {status}", holds, 90, self.says)
        return found

    def events(self, reason: str) -> list[str]:
        listed = self.whole.kubectl("get", "events.v1.events.k8s.io", "--output", "json").stdout
        return [one["note"] for one in json.loads(listed)["items"] if one["reason"] == reason]

    def traffic(self, traffic: dict[str, Any] | None) -> None:
        patch = json.dumps({"spec": {"traffic": traffic}})
        self.whole.kubectl("patch", "mro", NAME, "--type=merge", "--patch", patch)

    def pod(self, name: str) -> None:
        self.whole.kubectl("create", "--filename", "-", stdin=router_pod(name))


@pytest.fixture
def scene(cluster: Testbed, namespace: str, tmp_path: Path) -> Iterator[Scene]:
    install(cluster)
    with ExitStack() as stack:
        whole = stack.enter_context(Whole(cluster, namespace, tmp_path))
        made = Scene(whole, stack.enter_context(recording(cluster, namespace)))
        stack.enter_context(Kubelet(cluster, namespace, health=made.health))
        whole.kubectl("apply", "-f", "-", stdin=deployment(FRONT))
        whole.kubectl("apply", "-f", "-", stdin=service(FRONT))
        whole.kubectl("wait", "--for=condition=Available", "--timeout=90s", f"deployment/{FRONT}")
        whole.start()
        yield made


def without_notes(front: dict[str, Any]) -> dict[str, Any]:
    """The Service as its owner wrote it, but for what changes with every write."""
    metadata = {name: value for name, value in front["metadata"].items() if name in ("name", "uid", "labels")}
    return {"metadata": metadata, "spec": front["spec"]}


def test_a_service_leads_to_the_routers_once_all_of_them_are_ready_and_back_when_nobody_asks_any_more(
    scene: Scene,
) -> None:
    before = without_notes(scene.front())
    scene.unready = {"r1", "r2"}
    scene.whole.apply(rollout([scene.whole.model("v1"), scene.whole.model("v2")], traffic=TAKING))
    scene.saying("v1 serves everything", "not taken over yet", "there is no router pod")
    scene.pod("r1")
    scene.pod("r2")
    scene.saying("router pod r1 is not ready")
    scene.unready = {"r2"}
    scene.saying("router pod r2 is not ready")
    assert scene.condition("TakenOver")["status"] == "False"
    scene.unready = set()
    scene.saying("router pod r2 has not asked for its plan")
    assert scene.history.leads() == [OLD]
    scene.whole.kubectl("delete", "pod", "r2", "--now")
    scene.condition_is("TakenOver", "True")
    scene.whole.phase_is("Healthy")
    note = takeover.note_of(scene.front())
    assert note == takeover.Note(
        f"{scene.whole.namespace}/{NAME}", takeover.Destination({"app": FRONT}, "http")
    )
    scene.traffic(None)
    scene.leads(OLD)
    until("it is told", lambda: scene.events("GivenBack"), 60, scene.says)
    assert len(scene.events("TakenOver")) == 1
    assert without_notes(scene.front()) == before
    assert scene.history.leads() == [OLD, ROUTERS, OLD]
    assert len(scene.history.services.of(FRONT)) == 3
    assert scene.history.gaps() == []


def test_who_leads_it_elsewhere_by_hand_is_named_and_not_fought(scene: Scene) -> None:
    scene.pod("r1")
    scene.whole.apply(rollout([scene.whole.model("v1")], traffic=TAKING))
    scene.leads(ROUTERS)
    scene.condition_is("TakenOver", "True")
    by_hand = [{"op": "replace", "path": "/spec/selector", "value": {"app": FRONT}}]
    scene.whole.kubectl("patch", "service", FRONT, "--type=json", "--patch", json.dumps(by_hand))
    assert FRONT in scene.condition_is("Overridden", "True")["message"]
    scene.saying("v1 serves everything", "was changed by kubectl-patch", "set its selector to")
    until("it is told", lambda: scene.events("Overridden"), 60, scene.says)
    scene.traffic(None)
    until("our note is off it", lambda: takeover.NOTE not in scene.front()["metadata"].get("annotations", {}))
    scene.condition_is("Overridden", "False")
    assert scene.history.leads() == [OLD, ROUTERS, OLD]
    scene.traffic(TAKING)
    scene.leads(ROUTERS)
    assert len(scene.events("Overridden")) == 1
    assert scene.history.gaps() == []


def test_a_rollout_that_is_deleted_stays_until_its_service_can_lead_to_somebody(scene: Scene) -> None:
    scene.pod("r1")
    scene.whole.apply(rollout([scene.whole.model("v1")], traffic=TAKING))
    scene.leads(ROUTERS)
    scene.unready = {FRONT}
    scene.whole.kubectl("wait", "--for=condition=Available=False", "--timeout=90s", f"deployment/{FRONT}")
    scene.whole.kubectl("delete", "mro", NAME, "--wait=false")
    scene.saying("is not given back yet", OLD, "none of them is ready")
    assert scene.history.leads() == [OLD, ROUTERS]
    scene.unready = set()
    scene.whole.kubectl("wait", "--for=delete", "--timeout=90s", f"mro/{NAME}")
    assert scene.history.leads() == [OLD, ROUTERS, OLD]
    assert takeover.NOTE not in scene.front()["metadata"].get("annotations", {})
    assert scene.history.gaps() == []


def test_it_goes_back_to_stable_where_it_led_to_a_version_that_is_stable_no_more(scene: Scene) -> None:
    scene.pod("r1")
    for made in (deployment("next"), service("next"), {**service("same"), "spec": service(FRONT)["spec"]}):
        scene.whole.kubectl("apply", "-f", "-", stdin=made)
    versions = [
        {"name": "v1", "service": {"name": "same", "port": 80}},
        {"name": "v2", "service": {"name": "next", "port": "web"}, "deployment": "next"},
    ]
    unproved = {"canary": {"weights": ["20%"], "every": "1s", "checks": []}}
    scene.whole.apply(rollout(versions, traffic=TAKING, strategy=unproved, checks=[]))
    scene.leads(ROUTERS)
    scene.whole.target("v2")
    until("v2 is promoted", lambda: scene.whole.status().get("stableVersion") == "v2", 120, scene.says)
    scene.whole.kubectl("delete", "mro", NAME, "--timeout=90s")
    assert scene.history.leads() == [OLD, ROUTERS, "app=next"]
    assert scene.history.gaps() == []


def test_of_two_rollouts_that_name_one_service_the_second_says_so(scene: Scene) -> None:
    scene.pod("r1")
    first = rollout([scene.whole.model("v1")], traffic=TAKING)
    scene.whole.apply(first)
    scene.leads(ROUTERS)
    scene.whole.apply({**first, "metadata": {"name": "second"}})
    shown = scene.whole.phase_is("Stalled", name="second")
    assert f"Service {scene.whole.namespace}/{FRONT} is taken over by rollout" in shown["message"]
    assert scene.whole.phase_is("Healthy")["stableVersion"] == "v1"
    assert scene.history.leads() == [OLD, ROUTERS]


def own_pods(app: str = FRONT, **spec: Any) -> dict[str, Any]:
    """A rollout with pods of its own; they carry the label of the old ones, as a copied template has it."""
    document = rollout([], traffic=TAKING, **spec)
    for name in ("target", "initialStable", "versions"):
        del document["spec"][name]
    template = deployment(FRONT)["spec"]["template"]
    labels = {"headgate.dev/version": "v1", "app": app}
    return {
        **document,
        "spec": {**document["spec"], "port": 8080, "template": {**template, "metadata": {"labels": labels}}},
    }


def test_pods_that_go_with_the_rollout_are_nobody_to_lead_to(scene: Scene) -> None:
    scene.pod("r1")
    scene.whole.apply(own_pods())
    scene.leads(ROUTERS)
    scene.whole.kubectl("scale", f"deployment/{FRONT}", "--replicas=0")
    old = ("get", "pods", "--selector", f"{OLD},!headgate.dev/rollout", "--output", "name")
    until("the old pods are gone", lambda: not scene.whole.kubectl(*old).stdout, 90, scene.says)
    scene.whole.kubectl("delete", "mro", NAME, "--wait=false")
    scene.saying("is not given back yet", "but for those that go with the rollout")
    assert scene.history.leads() == [OLD, ROUTERS]
    scene.whole.kubectl("scale", f"deployment/{FRONT}", "--replicas=1")
    scene.whole.kubectl("wait", "--for=delete", "--timeout=90s", f"mro/{NAME}")
    assert scene.history.leads() == [OLD, ROUTERS, OLD]
    assert scene.history.gaps() == []


def test_pods_that_stay_when_the_rollout_goes_have_the_service(scene: Scene) -> None:
    scene.pod("r1")
    scene.whole.apply(own_pods("other", deletionPolicy="Orphan"))
    scene.leads(ROUTERS)
    scene.whole.kubectl("scale", f"deployment/{FRONT}", "--replicas=0")
    scene.whole.kubectl("delete", "mro", NAME, "--timeout=90s")
    own = f"headgate.dev/rollout={NAME},headgate.dev/version=v1"
    assert scene.history.leads() == [OLD, ROUTERS, own]
    assert scene.history.gaps() == []
