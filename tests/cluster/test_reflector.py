"""The reflector on a real API server: what a small server of our own cannot show about watches, versions and restores."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from controller.adapters.kubernetes.api import Api, Conflict, Forbidden, Invalid, NotFound, Settings, path_of
from controller.adapters.kubernetes.mirror import Object
from controller.adapters.kubernetes.reflector import PATIENCE, Patience, Reflector
from headgate.log import Log
from tests.cluster.testbed.cluster import Testbed

QUICK = replace(PATIENCE, watch_s=8.0, backoff_first_s=0.1, backoff_last_s=1.0)
PATIENT_S = 90.0


@dataclass
class Scene:
    api: Api
    maps: str
    reflector: Reflector
    changes: list[tuple[str, Object | None, Object | None]] = field(default_factory=list)

    def path(self, name: str) -> str:
        return f"{self.maps}/{name}"

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENT_S):
            while not holds():
                await asyncio.sleep(0.02)

    def data(self, name: str) -> Any:
        found = self.reflector.get(f"{self.api.namespace}/{name}")
        return None if found is None else found.get("data")

    def of(self, name: str) -> list[Any]:
        """What was told of it: its data after each change, None for gone."""
        key = f"{self.api.namespace}/{name}"
        return [after and after.get("data") for changed, _, after in self.changes if changed == key]


def a_map(name: str, **data: str) -> dict[str, Any]:
    labels = {"test": "reflector"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": data,
    }


@asynccontextmanager
async def reflecting(
    cluster: Testbed, namespace: str, patience: Patience = QUICK, user: str = "admin"
) -> AsyncIterator[Scene]:
    config = cluster.kubeconfig(namespace=namespace)
    api = Api.connect(Settings(kubeconfig=str(config)))
    watcher = Api.connect(Settings(kubeconfig=str(cluster.kubeconfig(user, namespace=namespace))))
    maps = path_of("", "v1", "configmaps", namespace)
    changes: list[tuple[str, Object | None, Object | None]] = []
    reflector = Reflector(
        watcher,
        maps,
        lambda *change: changes.append(change),
        params={"labelSelector": "test=reflector"},
        log=Log("test"),
        patience=patience,
    )
    running = asyncio.create_task(reflector.run())
    try:
        yield Scene(api, maps, reflector, changes)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await api.close()
        await watcher.close()


def test_it_lists_follows_and_takes_own_writes(cluster: Testbed, namespace: str) -> None:
    async def story() -> None:
        async with reflecting(cluster, namespace) as scene:
            await scene.until(lambda: scene.reflector.is_synced)
            created = await scene.api.create(scene.maps, a_map("a", n="1"))
            scene.reflector.put(created)
            assert scene.data("a") == {"n": "1"}
            patched = await scene.api.merge_patch(scene.path("a"), {"data": {"n": "2"}})
            await scene.until(lambda: scene.data("a") == {"n": "2"})
            scene.reflector.put(created)  # comes late
            assert scene.data("a") == {"n": "2"}
            applied = await scene.api.apply(scene.path("b"), a_map("b", n="1"))
            assert await scene.api.apply(scene.path("b"), a_map("b", n="1")) == applied
            try:
                await scene.api.replace(scene.path("a"), {**created, "data": {"n": "9"}})
            except Conflict:
                await scene.api.delete(scene.path("a"), uid=patched["metadata"]["uid"])
            await scene.until(lambda: scene.data("a") is None and scene.data("b"))
            scene.reflector.put(patched)  # comes late, too
            assert scene.data("a") is None
            assert scene.of("a") == [{"n": "1"}, {"n": "2"}, None]
            assert "managedFields" not in scene.reflector.values()[0]["metadata"]

    asyncio.run(story())


def test_a_label_taken_away_is_a_deletion_and_given_back_a_creation(cluster: Testbed, namespace: str) -> None:
    async def story() -> None:
        async with reflecting(cluster, namespace) as scene:
            await scene.api.create(scene.maps, a_map("a", n="1"))
            await scene.until(lambda: scene.data("a"))
            for label, told in ((None, False), ("reflector", True)):
                await scene.api.merge_patch(scene.path("a"), {"metadata": {"labels": {"test": label}}})
                await scene.until(lambda is_there=told: (scene.data("a") is not None) == is_there)
            assert scene.of("a") == [{"n": "1"}, None, {"n": "1"}]

    asyncio.run(story())


def test_what_the_server_refuses_has_its_name(cluster: Testbed, namespace: str) -> None:
    async def story() -> None:
        async with reflecting(cluster, namespace, user="bob") as scene:
            await scene.until(lambda: scene.reflector.trouble is not None)
            assert isinstance(scene.reflector.trouble, Forbidden)
            assert 'User "bob" cannot list resource "configmaps"' in scene.reflector.trouble.message
            refused = 0
            for call, kind in (
                (scene.api.get(path_of("nothing.dev", "v1", "things")), NotFound),
                (scene.api.create(scene.maps, a_map("Not A Name")), Invalid),
                (scene.api.delete(scene.path("nothing")), NotFound),
            ):
                try:
                    await call
                except kind:
                    refused += 1
            assert refused == 3
            cluster.kubectl(
                "create", "rolebinding", "bob", "--clusterrole=view", "--user=bob", "--namespace", namespace
            )
            await scene.until(lambda: scene.reflector.is_synced and scene.reflector.trouble is None)

    asyncio.run(story())


def test_watches_that_end_and_begin_cost_no_list_and_lose_nothing(cluster: Testbed, namespace: str) -> None:
    async def story() -> None:
        async with reflecting(cluster, namespace, replace(QUICK, watch_s=2.0)) as scene:
            await scene.until(lambda: scene.reflector.is_synced)
            written = 0
            while scene.reflector.counts.watches < 5:
                written += 1
                await scene.api.apply(scene.path("a"), a_map("a", n=str(written)))
                await asyncio.sleep(0.05)
            await scene.until(lambda: scene.data("a") == {"n": str(written)})
            assert scene.of("a") == [{"n": str(number)} for number in range(1, written + 1)]
            assert scene.reflector.counts.lists == 1
            assert scene.reflector.counts.failures == 0

    asyncio.run(story())


def test_an_api_server_that_goes_away_comes_back_or_is_restored_is_followed() -> None:
    """On a cluster of its own, whose etcd is set back to a backup while the reflector watches."""

    async def story(own: Testbed) -> None:
        async with reflecting(own, "default") as scene:
            await scene.until(lambda: scene.reflector.is_synced)
            await scene.api.create(scene.maps, a_map("kept", n="1"))
            await scene.until(lambda: scene.data("kept"))
            copy = await asyncio.to_thread(own.backup)  # the server is killed and comes back
            for number in range(2, 40):
                await scene.api.merge_patch(scene.path("kept"), {"data": {"n": str(number)}})
            await scene.api.create(scene.maps, a_map("gone"))
            await scene.until(lambda: scene.data("kept") == {"n": "39"} and scene.reflector.keys()[1:])
            assert scene.reflector.counts.went_back == 0
            await asyncio.to_thread(own.restore, copy)
            await scene.until(lambda: scene.data("kept") == {"n": "1"})
            await scene.until(lambda: scene.reflector.keys() == ("default/kept",))
            await scene.api.merge_patch(scene.path("kept"), {"data": {"n": "again"}})
            await scene.until(lambda: scene.data("kept") == {"n": "again"})
            assert scene.reflector.counts.went_back == 1

    with Testbed() as own:
        asyncio.run(story(own))
