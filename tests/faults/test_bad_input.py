"""Rollouts that nobody can carry out, side by side with a good one: each says what is wrong and what helps, in its
message, in a condition and in one Event; the good one goes on."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from controller.crd import crds
from tests.cluster.testbed.cluster import Testbed, wait_for
from tests.cluster.testbed.kubelet import READY, Health, Kubelet, Pod
from tests.cluster.versions import deployment, service
from tests.cluster.whole import NAME, Whole, install, rollout, until

pytestmark = pytest.mark.timeout(600)

Json = dict[str, Any]
DEFINITION: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modelrollouts.headgate.dev"
NEVER: Final = "model:never"
WITHIN_S: Final = 150.0


@dataclass(frozen=True)
class Bad:
    """A rollout that cannot be, and the words by which it has to say why."""

    spec: Mapping[str, Any]
    words: Sequence[str]


def behind(service_name: str, port: int | str = 80, version: str = "v1") -> Json:
    return {"name": version, "service": {"name": service_name, "port": port}}


def brought(port: int | str = 80, name: str = "backend") -> Json:
    return {"versions": [behind(name, port)]}


def made(cpu: str, image: str = "model:1") -> Json:
    container = {"name": "model", "image": image, "resources": {"requests": {"cpu": cpu}}}
    metadata = {"labels": {"headgate.dev/version": "v1"}}
    return {"template": {"metadata": metadata, "spec": {"containers": [container]}}, "port": 8080}


def routed(route: str, **more: Any) -> Json:
    return {
        **brought(name="served"),
        "traffic": {"httpRoute": {"name": route, **more}},
        "checks": [],
        "identity": None,
    }


GATEWAY: Final = {"gateways": [{"name": "public"}]}
BAD: Final[Mapping[str, Bad]] = {
    "no-service": Bad(brought(name="absent"), ("there is no Service {}/absent", "create it")),
    "no-endpoints": Bad(brought(), ("Service {}/backend has no pod with an address", "app=backend")),
    "no-port": Bad(brought(81), ("Service {}/backend has no port 81", "it has web 80", "service.port")),
    "never-starts": Bad(made("10m", NEVER), (f"the image {NEVER}", "cannot be pulled", "correct the image")),
    "no-quota": Bad(made("900"), ("are refused", "exceeded quota: small", "raise the ResourceQuota")),
    "not-its-own": Bad(made("10m"), ("Deployment {}/not-its-own-v1", "belongs to somebody else", "rename")),
    "other-route": Bad(routed("theirs", **GATEWAY), ("HTTPRoute theirs is there already", "another name")),
    "second-route": Bad(routed("shared", rules=["model"]), ("rollout first-route moves the traffic",)),
}
"""All but the last two kinds, which only an API server with other rules takes."""

STORED: Final[Mapping[str, Bad]] = {
    "before-a-rule": Bad(brought() | {"target": "v9"}, ("target", "v9")),
    "before-a-bound": Bad(brought() | {"capacity": {"drain": "9000h"}}, ("drain",)),
}
NO_OBJECT: Final = Bad({"versions": "what?", "target": 7}, ("versions",))
"""Beside which the API server takes no status: only an Event can be told."""


def named(name: str, spec: Mapping[str, Any]) -> Json:
    """The rollout, with v1 for whatever it does not say."""
    document = rollout([])
    if "template" in spec:
        for field in ("target", "initialStable", "versions"):
            del document["spec"][field]
    whole = {**document["spec"], **spec}
    kept = {field: value for field, value in whole.items() if value is not None}
    return {**document, "metadata": {"name": name}, "spec": kept}


def health(pod: Pod) -> Health:
    is_bad = pod["spec"]["containers"][0]["image"] == NEVER
    return Health(waiting="ImagePullBackOff") if is_bad else READY


@dataclass
class People:
    """Who applies, and reads."""

    whole: Whole
    client: httpx.Client

    @property
    def rollouts(self) -> str:
        return f"/apis/headgate.dev/v1alpha1/namespaces/{self.whole.namespace}/modelrollouts"

    def create(self, document: Mapping[str, Any]) -> None:
        self.client.post(self.rollouts, json=document).raise_for_status()

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and note of the Events of this rollout that are warnings."""
        path = f"/apis/events.k8s.io/v1/namespaces/{self.whole.namespace}/events"
        found = self.client.get(path, params={"limit": "500"}).raise_for_status().json()["items"]
        return [
            (one["reason"], one["note"])
            for one in found
            if one["regarding"].get("name") == name and one["type"] == "Warning"
        ]

    def status(self, name: str) -> Json:
        found: Json = self.client.get(f"{self.rollouts}/{name}").raise_for_status().json()
        return found.get("status", {})

    def condition(self, name: str, kind: str) -> Json:
        found = self.status(name).get("conditions", [])
        return next((one for one in found if one["type"] == kind), {})

    def says_what_is_wrong(self, name: str, bad: Bad) -> None:
        """In its message, in its condition Stalled, and in one Event."""
        words = [word.format(self.whole.namespace) for word in bad.words]

        def is_told() -> bool:
            stalled = self.condition(name, "Stalled")
            return stalled.get("status") == "True" and _has(stalled["message"], words)

        until(f"{name} says {words}", is_told, WITHIN_S, lambda: (self.status(name), self.whole.says()))
        status = self.status(name)
        assert status["phase"] == "Stalled"
        assert _has(status["message"], words), status["message"]
        assert self.condition(name, "Ready")["status"] == "False"
        until(f"{name} has an Event", lambda: self.events(name), WITHIN_S, self.whole.says)

    def told_once(self, name: str, bad: Bad, reason: str = "Stalled") -> None:
        words = [word.format(self.whole.namespace) for word in bad.words]
        (event,) = self.events(name)
        assert event[0] == reason, event
        assert _has(event[1], words), event


def _has(text: str, words: Sequence[str]) -> bool:
    return all(word in text for word in words)


@contextmanager
def lenient(cluster: Testbed, client: httpx.Client) -> Iterator[None]:
    """The API server takes any rollout, as one from before there were rules; afterwards it has them again."""
    strict = json.loads(json.dumps(crds.model_rollouts()))
    loose = json.loads(json.dumps(strict))
    for version in loose["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"] = {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
        }
        version.pop("additionalPrinterColumns", None)
        version["subresources"].pop("scale", None)
    _replace(client, loose)
    try:
        yield
    finally:
        _replace(client, strict)
        install(cluster)


def _replace(client: httpx.Client, definition: Json) -> None:
    live = client.get(DEFINITION).raise_for_status().json()
    client.put(DEFINITION, json={**live, "spec": definition["spec"]}).raise_for_status()


def store_anyhow(cluster: Testbed, people: People) -> None:
    """Create what is refused today; back when the API server refuses it again."""
    with lenient(cluster, people.client):
        for name, bad in {**STORED, "no-object": NO_OBJECT}.items():
            document = named(name, bad.spec)
            wait_for(lambda document=document: _takes(people, document), f"{name} is taken", 120)
    refused = named("refused", STORED["before-a-rule"].spec)
    dry = {"dryRun": "All"}
    wait_for(
        lambda: people.client.post(people.rollouts, json=refused, params=dry).status_code == 422,
        "the rules hold again",
        120,
    )


def _takes(people: People, document: Json) -> bool:
    return people.client.post(people.rollouts, json=document).status_code in (201, 409)


THEIRS: Final[Json] = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "spec": {"rules": [{"name": "model", "backendRefs": [{"name": "backend", "port": 80}]}]},
}


def others_things(people: People) -> None:
    """What other people have in the namespace already."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"requests.cpu": "2"}},
    }
    routes = [{**THEIRS, "metadata": {"name": name}} for name in ("theirs", "shared")]
    served = service("served", selector=None)
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "served", "labels": {"kubernetes.io/service-name": "served"}},
        "addressType": "IPv4",
        "ports": [{"name": "web", "port": 8080}],
        "endpoints": [{"addresses": ["10.1.2.3"]}],
    }
    for one in (quota, service("backend"), served, slice_, deployment("not-its-own-v1", 0), *routes):
        people.whole.kubectl("apply", "--server-side", "--filename", "-", stdin=one)


def test_each_says_what_is_wrong_in_its_message_a_condition_and_one_event_and_the_others_go_on(
    gateway_api: Testbed, namespace: str, tmp_path: Path
) -> None:
    install(gateway_api)
    with (
        gateway_api.client() as client,
        Whole(gateway_api, namespace, tmp_path) as whole,
        Kubelet(gateway_api, namespace, health=health),
    ):
        people = People(whole, client)
        others_things(people)
        store_anyhow(gateway_api, people)
        people.create(named("first-route", routed("shared", rules=["model"])))
        whole.start()
        whole.apply(rollout([whole.model("v1"), whole.model("v2"), behind("absent", version="v3")]))
        until("the first has its route", lambda: _moves(people, "first-route"), WITHIN_S, whole.says)
        for name, bad in BAD.items():
            people.create(named(name, bad.spec))
        for name, bad in {**BAD, **STORED}.items():
            people.says_what_is_wrong(name, bad)
        until("that is told", lambda: people.events("no-object"), WITHIN_S, whole.says)
        with whole.load() as load:
            whole.controller.stop()
            whole.controller.start()
            whole.target("v3")
            until("v3 is told of", lambda: people.events(NAME), WITHIN_S, whole.says)
            assert "there is no Service" in whole.status()["message"]
            assert people.condition(NAME, "Stalled")["status"] == "False"
            whole.target("v2")
            until("v2 is promoted", lambda: whole.status().get("stableVersion") == "v2", WITHIN_S, whole.says)
            load.stop()
        load.without_loss()
        for name, bad in {**BAD, **STORED, "no-object": NO_OBJECT}.items():
            people.told_once(name, bad)
        people.told_once(NAME, Bad({}, ("v3 cannot become ready", "there is no Service")), "NotReady")


def _moves(people: People, rollout_name: str) -> bool:
    path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{people.whole.namespace}/httproutes/shared"
    found = people.client.get(path).json()["metadata"].get("annotations", {})
    return found.get("headgate.dev/rollout") == rollout_name
