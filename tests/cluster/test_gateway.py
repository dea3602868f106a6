"""Plans in HTTPRoutes of a real API server; the test plays the gateway, which writes what it did into their status."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from controller.adapters.kubernetes.api import Api, Settings, path_of
from controller.adapters.kubernetes.gateway import Gateways
from controller.adapters.kubernetes.httproute import GROUP, PLAN, PLURAL, Backend, Wanted
from controller.adapters.kubernetes.objects import Owner
from controller.core.status import RouterObserved
from headgate.log import Log
from headgate.wire.plan import (
    NOTHING_APPLIED,
    Condition,
    Match,
    PlanVersion,
    RoutePlan,
    Shadow,
    SlotRange,
)
from tests.cluster.testbed.cluster import Testbed
from tests.cluster.whole import install, rollout

BACKENDS = {"v1": Backend("sum-v1", 8080), "v2": Backend("sum-v2", 8080)}


def plan(key: str, candidate: int, generation: int, **more: Any) -> RoutePlan:
    slots = [SlotRange(0, candidate, "v2")] if candidate else []
    return RoutePlan(
        rollout=key,
        epoch=1,
        generation=generation,
        salt="salt",
        stable="v1",
        versions=(
            PlanVersion(name="v1", identity="one", role="stable"),
            PlanVersion(name="v2", identity="two", role="candidate"),
        ),
        slots=(*slots, *([SlotRange(candidate, 10_000, "v1")] if candidate < 10_000 else [])),
        **more,
    )


@dataclass
class Scene:
    """One rollout's route, the people who edit it, and the gateway that carries it out."""

    gateways: Gateways
    asked: Wanted
    api: Api
    client: httpx.Client
    path: str

    def publish(self, present: RoutePlan) -> None:
        self.gateways.publish(present, self.asked)

    def seen(self) -> RouterObserved:
        return self.gateways.observed(self.asked)

    def route(self) -> dict[str, Any] | None:
        answer = self.client.get(self.path)
        return answer.json() if answer.is_success else None

    def generation(self) -> int:
        """How often its spec was changed."""
        return int((self.route() or {"metadata": {"generation": 0}})["metadata"]["generation"])

    def weights(self, rule: int = -1) -> dict[str, int]:
        route = self.route() or {"spec": {"rules": [{"backendRefs": []}]}}
        return {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][rule]["backendRefs"]}

    def accept(self, *, status: str = "True", reason: str = "Accepted") -> None:
        """What a gateway writes once it carries out the present generation."""
        route = self.route()
        assert route is not None
        conditions = [
            {
                "type": kind,
                "status": status if kind == "Accepted" else "True",
                "reason": reason,
                "message": "",
                "observedGeneration": route["metadata"]["generation"],
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            for kind in ("Accepted", "ResolvedRefs")
        ]
        parent = {
            "controllerName": "example.com/gateway",
            "parentRef": {"name": "public"},
            "conditions": conditions,
        }
        self.edit({"status": {"parents": [parent]}}, "/status")

    def edit(self, change: dict[str, Any], subresource: str = "") -> None:
        """A merge patch by somebody else."""
        headers = {"content-type": "application/merge-patch+json"}
        self.client.patch(self.path + subresource, json=change, headers=headers).raise_for_status()

    async def overridden(self, field: str) -> None:
        """Until it is told that somebody changed the field."""
        await self.until(f"{field} is told", lambda: field in (self.seen().override or ""))

    async def shared(self, share: int) -> None:
        """Until v2 has that share of 10,000."""
        await self.until(f"v2 has {share}", lambda: self.weights()["sum-v2"] == share)

    async def until(self, what: str, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline, f"not: {what}; {self.seen()} {self.route()}"
            await asyncio.sleep(0.05)


Story = Callable[[Scene], Awaitable[None]]


@asynccontextmanager
async def scene(cluster: Testbed, namespace: str, rules: tuple[str, ...]) -> AsyncIterator[Scene]:
    api = Api.connect(Settings(kubeconfig=str(cluster.kubeconfig())))
    client = cluster.client()
    install(cluster)
    rollouts = f"/apis/headgate.dev/v1alpha1/namespaces/{namespace}/modelrollouts"
    owner = client.post(rollouts, json=rollout([{"name": "v1", "url": "http://127.0.0.1:1"}])).json()
    asked = Wanted(
        key=f"{namespace}/sum",
        uid=owner["metadata"]["uid"],
        name="sum",
        parents=({"name": "public"},),
        hostnames=("sum.example.com",),
        rules=rules,
        backends=BACKENDS,
    )
    known = {asked.key: asked}
    gateways = Gateways(
        api,
        namespace,
        lambda key: None,
        time.time,
        Log("test"),
        wanted=known.get,
        settle_s=0.3,
        taken_s=0.5,
    )
    running = asyncio.create_task(gateways.run())
    path = path_of(GROUP, "v1", PLURAL, namespace, "sum")
    try:
        yield Scene(gateways, asked, api, client, path)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await api.close()
        client.close()


@pytest.fixture
def tell(gateway_api: Testbed, namespace: str) -> Callable[..., None]:
    """Runs a story of one route."""

    def run(story: Story, *, rules: tuple[str, ...] = ()) -> None:
        async def telling() -> None:
            async with scene(gateway_api, namespace, rules) as made:
                await story(made)

        asyncio.run(telling())

    return run


def test_a_plan_becomes_the_weights_of_a_route_and_is_run_once_the_gateway_accepted_it(
    tell: Callable[..., None],
) -> None:
    async def story(told: Scene) -> None:
        present = plan(told.asked.key, 500, 3)
        told.publish(present)
        await told.until("the route is written", lambda: told.weights() == {"sum-v1": 9500, "sum-v2": 500})
        await told.until(
            "that is told", lambda: "no gateway has taken HTTPRoute sum yet" in told.seen().error
        )
        assert told.seen().applied == NOTHING_APPLIED, "no gateway has said a word"
        told.accept()
        await told.until("it is run", lambda: told.seen().applied == present.triple)
        assert told.seen().error == ""
        following = plan(told.asked.key, 2500, 4)
        told.publish(following)
        await told.until("the next one is written", lambda: told.weights()["sum-v2"] == 2500)
        assert told.seen().applied == present.triple, "accepted is only the plan before"
        told.accept()
        await told.until("the next one is run", lambda: told.seen().applied == following.triple)
        route = told.route()
        assert route is not None
        assert route["spec"]["hostnames"] == ["sum.example.com"]
        assert route["metadata"]["ownerReferences"][0]["uid"] == told.asked.uid

    tell(story)


def test_a_gateway_that_refuses_the_route_is_an_error_that_names_its_reason(
    tell: Callable[..., None],
) -> None:
    async def story(told: Scene) -> None:
        told.publish(plan(told.asked.key, 500, 3))
        await told.until("the route is written", told.weights)
        told.accept(status="False", reason="NoMatchingListenerHostname")
        await told.until("the reason is told", lambda: "NoMatchingListenerHostname" in told.seen().error)
        assert told.seen().applied == NOTHING_APPLIED

    tell(story)


def test_copies_and_matching_requests_are_a_mirror_and_a_rule_of_their_own(tell: Callable[..., None]) -> None:
    async def story(told: Scene) -> None:
        halves = (SlotRange(0, 5000, "v2"), SlotRange(5000, 10_000, "v1"))
        match = Match((Condition("header:x-beta", exact="1"),), halves)
        told.publish(plan(told.asked.key, 0, 3, match=match, shadows=(Shadow("v2", 250_000),)))
        await told.until("the route is written", told.weights)
        route = told.route()
        assert route is not None
        matched, everybody = route["spec"]["rules"]
        assert matched["matches"][0]["headers"] == [{"type": "Exact", "name": "x-beta", "value": "1"}]
        assert told.weights(0) == {"sum-v1": 5000, "sum-v2": 5000}
        assert told.weights(1) == {"sum-v1": 10_000, "sum-v2": 0}
        mirror = everybody["filters"][0]["requestMirror"]
        assert (mirror["backendRef"]["name"], mirror["fraction"]["numerator"]) == ("sum-v2", 250_000)

    tell(story)


def test_weights_that_somebody_else_changed_are_told_and_not_fought_over_until_a_rollback(
    tell: Callable[..., None],
) -> None:
    async def story(told: Scene) -> None:
        told.publish(plan(told.asked.key, 500, 3))
        await told.until("the route is written", told.weights)
        told.accept()
        await told.until("it is run", lambda: told.seen().applied.generation == 3)
        route = told.route()
        assert route is not None
        rules = route["spec"]["rules"]
        for ref in rules[0]["backendRefs"]:
            ref["weight"] = 5000
        told.edit({"spec": {"rules": rules}})
        await told.until("it is told", lambda: "somebody else changed HTTPRoute sum" in told.seen().error)
        told.publish(plan(told.asked.key, 6000, 4))
        await asyncio.sleep(1.0)
        assert told.weights() == {"sum-v1": 5000, "sum-v2": 5000}, "an increase fought over the route"
        told.publish(plan(told.asked.key, 0, 5))
        await told.until("the rollback is written", lambda: told.weights() == {"sum-v1": 10_000, "sum-v2": 0})
        told.accept()
        await told.until("nothing is wrong any more", lambda: told.seen().error == "")

    tell(story)


def test_a_route_without_our_note_is_written_anew(tell: Callable[..., None]) -> None:
    async def story(told: Scene) -> None:
        told.publish(plan(told.asked.key, 500, 3))
        await told.until("the route is written", told.weights)
        route = told.route()
        assert route is not None
        rules = route["spec"]["rules"]
        rules[0]["backendRefs"][0]["weight"] = 1
        told.edit({"spec": {"rules": rules}, "metadata": {"annotations": {PLAN: None}}})
        await told.until("it is ours again", lambda: told.weights() == {"sum-v1": 9500, "sum-v2": 500})

    tell(story)


def rewritten(spec: dict[str, Any]) -> None:
    spec["rules"][0]["filters"] = [{"type": "URLRewrite", "urlRewrite": {"hostname": "elsewhere"}}]


def matched(spec: dict[str, Any]) -> None:
    spec["rules"][0]["matches"] = [{"path": {"type": "PathPrefix", "value": "/v2"}}]


def hurried(spec: dict[str, Any]) -> None:
    spec["rules"][0]["timeouts"] = {"request": "1s"}


def gated(spec: dict[str, Any]) -> None:
    spec["parentRefs"].append({"name": "inner"})


def named(spec: dict[str, Any]) -> None:
    spec["hostnames"] = ["other.example.com"]


EDITS: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (rewritten, "spec.rules[headgate].filters[0]"),
    (matched, "spec.rules[headgate].matches[0].path.value"),
    (hurried, "spec.rules[headgate].timeouts.request"),
    (gated, "spec.parentRefs[inner].name"),
    (named, "spec.hostnames[0]"),
]


def test_whatever_somebody_else_changed_in_a_route_of_ours_is_told_left_and_gone_once_it_is_set_back(
    tell: Callable[..., None],
) -> None:
    async def story(told: Scene) -> None:
        told.publish(plan(told.asked.key, 500, 4))
        await told.until("the route is written", told.weights)
        for generation, (change, field) in enumerate(EDITS, start=5):
            route = told.route()
            assert route is not None
            assert told.seen().override == ""
            edited = json.loads(json.dumps(route["spec"]))
            change(edited)
            told.edit({"spec": edited})
            await told.overridden(field)
            edition = told.generation()
            assert "somebody else changed HTTPRoute sum" in told.seen().error
            told.publish(plan(told.asked.key, 500 + generation, generation))
            await asyncio.sleep(0.3)
            assert told.generation() == edition, "an increase fought over the route"
            told.edit({"spec": {**dict.fromkeys(edited), **route["spec"]}})
            await told.shared(500 + generation)
            assert told.seen().override == ""

    tell(story)


def test_what_the_api_server_adds_to_a_route_is_nobodys_change(tell: Callable[..., None]) -> None:
    async def story(told: Scene) -> None:
        halves = (SlotRange(0, 5000, "v2"), SlotRange(5000, 10_000, "v1"))
        match = Match((Condition("header:x-beta", exact="1"),), halves)
        present = plan(told.asked.key, 0, 3, match=match, shadows=(Shadow("v2", 250_000),))
        told.publish(present)
        await told.until("the route is written", told.weights)
        told.accept()
        await told.until("it is run", lambda: told.seen().applied == present.triple)
        route = told.route()
        assert route is not None
        assert route["spec"]["rules"][0]["matches"][0]["path"] == {"type": "PathPrefix", "value": "/"}
        assert told.seen().override == ""

    tell(story)


def test_a_route_that_stays_is_nobodys_then_and_a_rollout_of_the_same_name_finds_it_again(
    tell: Callable[..., None],
) -> None:
    async def story(told: Scene) -> None:
        told.publish(plan(told.asked.key, 500, 3))
        await told.until("the route is written", told.weights)
        namespace, _, name = told.asked.key.partition("/")
        await told.gateways.release(Owner(namespace, name, told.asked.uid))
        route = told.route()
        assert route is not None
        assert "ownerReferences" not in route["metadata"]
        told.gateways.publish(plan(told.asked.key, 0, 4), replace(told.asked, stays=True))
        await told.until("the way to stable is written", lambda: told.weights()["sum-v2"] == 0)
        route = told.route()
        assert route is not None
        assert "ownerReferences" not in route["metadata"], "the rollout took it back on its way out"
        told.publish(plan(told.asked.key, 500, 5))
        await told.until("it is found again", lambda: told.weights()["sum-v2"] == 500)
        route = told.route()
        assert route is not None
        (reference,) = route["metadata"]["ownerReferences"]
        assert reference["uid"] == told.asked.uid
        assert "blockOwnerDeletion" not in reference, "that needs the right to write finalizers of rollouts"

    tell(story)


OTHERS: dict[str, Any] = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "sum"},
    "spec": {
        "parentRefs": [{"name": "public"}],
        "rules": [
            {
                "name": "docs",
                "matches": [{"path": {"value": "/docs"}}],
                "backendRefs": [{"name": "docs", "port": 80}],
            },
            {"name": "model", "backendRefs": [{"name": "sum-v1", "port": 8080}]},
        ],
    },
}


def test_of_somebody_elses_route_only_the_named_rules_are_changed(tell: Callable[..., None]) -> None:
    async def story(told: Scene) -> None:
        told.client.post(told.path.rpartition("/")[0], json=OTHERS).raise_for_status()
        told.publish(plan(told.asked.key, 500, 3))
        await told.until("its rule is changed", lambda: told.weights() == {"sum-v1": 9500, "sum-v2": 500})
        route = told.route()
        assert route is not None
        assert route["spec"]["rules"][0]["backendRefs"][0]["name"] == "docs"
        assert "ownerReferences" not in route["metadata"]

    tell(story, rules=("model",))


def test_a_route_of_somebody_else_is_not_taken(tell: Callable[..., None]) -> None:
    async def story(told: Scene) -> None:
        told.client.post(told.path.rpartition("/")[0], json=OTHERS).raise_for_status()
        told.publish(plan(told.asked.key, 500, 3))
        await told.until("it is told", lambda: "not this rollout's" in told.seen().error)
        assert told.weights() == {"sum-v1": 1}

    tell(story)


def test_a_rule_that_is_not_there_is_named(tell: Callable[..., None]) -> None:
    async def story(told: Scene) -> None:
        told.publish(plan(told.asked.key, 500, 3))
        await told.until("it is told", lambda: "there is no HTTPRoute sum" in told.seen().error)
        told.client.post(told.path.rpartition("/")[0], json=OTHERS).raise_for_status()
        await told.until("it is told", lambda: "has no rule named models" in told.seen().error)

    tell(story, rules=("models",))
