"""Who may call the controller's API, asked of a real API server: routers by their ServiceAccount's token."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from controller.adapters.kubernetes.access import ClusterAccess
from controller.adapters.kubernetes.api import Api, Settings
from controller.ports import Denied, Wish
from tests.cluster.testbed.cluster import Testbed
from tests.faults.proxy.proxy import FaultProxy
from tests.faults.proxy.rules import Reset, Rule

Asks = Callable[[str, Wish], Awaitable[Denied | None]]


def wish(verb: str, namespace: str, name: str) -> Wish:
    return Wish(verb, f"{namespace}/{name}", "/v1/routes")


@pytest.fixture
def token(cluster: Testbed, namespace: str) -> str:
    """A router's token: of a ServiceAccount that may `route` the rollout sum, for our audience."""
    return _token(cluster, namespace, "headgate")


def _token(cluster: Testbed, namespace: str, audience: str) -> str:
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "router")
    role: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "router", "namespace": namespace},
        "rules": [
            {
                "apiGroups": ["headgate.dev"],
                "resources": ["modelrollouts"],
                "resourceNames": ["sum"],
                "verbs": ["route"],
            }
        ],
    }
    cluster.kubectl("apply", "-f", "-", stdin=role)
    cluster.kubectl(
        "-n",
        namespace,
        "create",
        "rolebinding",
        "router",
        "--role=router",
        f"--serviceaccount={namespace}:router",
    )
    found = cluster.kubectl("-n", namespace, "create", "token", "router", f"--audience={audience}")
    return found.stdout.strip()


def asked(cluster: Testbed, story: Callable[[ClusterAccess], Awaitable[None]]) -> None:
    async def telling() -> None:
        api = Api.connect(Settings(kubeconfig=str(cluster.kubeconfig())))
        try:
            await story(ClusterAccess(api, lambda token: token == "shared"))
        finally:
            await api.close()

    asyncio.run(telling())


def test_a_router_may_route_its_own_rollout_and_nothing_else(
    cluster: Testbed, namespace: str, token: str
) -> None:
    async def story(access: ClusterAccess) -> None:
        assert await access.refusal(token, wish("route", namespace, "sum")) is None
        other = await access.refusal(token, wish("route", namespace, "other"))
        assert other is not None
        assert other.status == 403
        assert f"system:serviceaccount:{namespace}:router may not route modelrollouts/other" in other.what
        for verb, name in (("get", "sum"), ("update", "sum")):
            refused = await access.refusal(token, wish(verb, namespace, name))
            assert refused is not None
            assert refused.status == 403
        assert await access.refusal(token, Wish("", "", "/v1/telemetry")) is None, "who it is, is known"

    asked(cluster, story)


def test_a_token_that_is_none_or_for_another_audience_is_not_known(cluster: Testbed, namespace: str) -> None:
    for_others = _token(cluster, namespace, "somebody-else")

    async def story(access: ClusterAccess) -> None:
        for bad in ("", "nonsense", for_others):
            refused = await access.refusal(bad, wish("route", namespace, "sum"))
            assert refused is not None, bad
            assert refused.status == 401

    asked(cluster, story)


def test_a_shared_token_may_do_everything_where_there_is_one(cluster: Testbed, namespace: str) -> None:
    async def story(access: ClusterAccess) -> None:
        assert await access.refusal("shared", wish("update", namespace, "sum")) is None

    asked(cluster, story)


def test_what_was_known_holds_while_the_api_server_is_away_and_what_was_not_is_not_guessed(
    cluster: Testbed, namespace: str, token: str, fault_proxy: FaultProxy
) -> None:
    now = 0.0

    async def story() -> None:
        nonlocal now
        api = Api.connect(Settings(kubeconfig=str(cluster.kubeconfig(server=fault_proxy.url))))
        access = ClusterAccess(api, monotonic=lambda: now)
        assert await access.refusal(token, wish("route", namespace, "sum")) is None
        fault_proxy.add(Rule(Reset()))
        now = 300.0
        assert await access.refusal(token, wish("route", namespace, "sum")) is None
        unknown = await access.refusal(token, wish("route", namespace, "other"))
        assert unknown is not None
        assert unknown.status == 503
        now = 601.0
        gone = await access.refusal(token, wish("route", namespace, "sum"))
        assert gone is not None
        assert gone.status == 503
        await api.close()

    asyncio.run(story())
