"""The contract of the store against a real API server, with the reflectors it has in production."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from controller.adapters.kubernetes.actions import INDEX
from controller.adapters.kubernetes.actions import PLURAL as ACTIONS
from controller.adapters.kubernetes.api import Api, Settings, path_of
from controller.adapters.kubernetes.reflector import Reflector
from controller.adapters.kubernetes.store import GROUP, PLURAL, VERSION
from headgate.log import Log
from tests.cluster.testbed.cluster import Testbed
from tests.cluster.whole import install
from tests.contract.store.kubernetes import LABEL, People, store_over, until
from tests.contract.store.suite import AnyStore, Called

NAMESPACES = ("default", "a", "b")


class TestStoreOnARealServer(AnyStore):
    @pytest.fixture
    def store(self, cluster: Testbed) -> Iterator[Called]:
        install(cluster)
        client, prefix = cluster.client(), f"store-{time.time_ns()}-"
        for name in NAMESPACES:
            client.post("/api/v1/namespaces", json={"metadata": {"name": prefix + name}}).raise_for_status()
        with asyncio.Runner() as runner:
            ends = AsyncExitStack()
            people = runner.run(_people(cluster, prefix, ends))
            yield Called(people, runner)
            runner.run(ends.aclose())
        for name in NAMESPACES:
            client.delete(f"/api/v1/namespaces/{prefix}{name}")


async def _people(cluster: Testbed, prefix: str, ends: AsyncExitStack) -> People:
    """The store over two reflectors that know the objects of this test, and run until `ends`."""
    api = Api.connect(Settings(kubeconfig=str(cluster.kubeconfig())))
    ends.push_async_callback(api.close)
    ours = {"labelSelector": f"{LABEL}={prefix.strip('-')}"}
    rollouts, actions = (
        Reflector(
            api,
            path_of(GROUP, VERSION, plural),
            lambda key, before, after: None,
            params=ours,
            log=Log("test"),
            index=index,
        )
        for plural, index in ((PLURAL, None), (ACTIONS, INDEX))
    )
    store = store_over(api, rollouts, actions)
    for part in (rollouts.run(), actions.run(), store.run()):
        ends.push_async_callback(_ended, asyncio.create_task(part))
    await rollouts.wait_synced()
    await actions.wait_synced()
    return People(store, api, until, prefix)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
