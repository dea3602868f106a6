"""What the tests of workloads share: objects to serve a version from, and the adapter running against the cluster."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from controller.adapters.kubernetes.api import Api, Settings
from controller.adapters.kubernetes.workloads import KubernetesWorkloads
from controller.core.status import VersionObserved
from controller.crd.revisions import Revision
from headgate.log import Log
from headgate.reach import ANYWHERE
from tests.cluster.testbed.cluster import Testbed

Json = dict[str, Any]
T = TypeVar("T")
WITHIN_S = 60.0
ROLLOUTS = "/apis/headgate.dev/v1alpha1/namespaces/{}/modelrollouts/{}"


def deployment(name: str, replicas: int = 2, image: str = "model:1") -> Json:
    container = {"name": "model", "image": image, "ports": [{"containerPort": 8080, "name": "http"}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    }


def service(name: str, **spec: Any) -> Json:
    ports = [{"name": "web", "port": 80, "targetPort": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports, **spec},
    }


def version(service_name: str, port: int | str = 80, **fields: Any) -> Json:
    return {"name": "v8", "service": {"name": service_name, "port": port}, **fields}


@dataclass
class Seeing:
    """The adapter at work; `told` are the rollouts it said something changed for."""

    workloads: KubernetesWorkloads
    key: str
    told: list[str] = field(default_factory=list)

    async def look(
        self, document: Mapping[str, Any], key: str = "", identity: str = "identity"
    ) -> VersionObserved:
        """What is seen of this one version now."""
        return (await self.workloads.observe(key or self.key, {identity: document}))[identity]

    async def look_at(self, revision: Revision) -> VersionObserved:
        return await self.look(revision.document(), identity=revision.identity)

    async def until(
        self,
        document: Mapping[str, Any],
        holds: Callable[[VersionObserved], bool],
        what: str,
        identity: str = "identity",
    ) -> VersionObserved:
        """What is seen once it is as expected."""
        seen = VersionObserved()
        try:
            async with asyncio.timeout(WITHIN_S):
                while not holds(seen := await self.look(document, identity=identity)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {WITHIN_S:g} s: {what}; last seen {seen}") from None
        return seen

    async def saying(self, document: Mapping[str, Any], *words: str) -> VersionObserved:
        """What is seen once its message has all these words."""
        return await self.until(
            document, lambda seen: all(word in seen.message for word in words), f"{words} in the message"
        )

    async def saying_of(self, revision: Revision, *words: str) -> VersionObserved:
        """The same of a version that is made."""
        return await self.until(
            revision.document(),
            lambda seen: all(word in seen.message for word in words),
            f"{words} in the message",
            revision.identity,
        )


@asynccontextmanager
async def seeing(cluster: Testbed, namespace: str, user: str = "admin") -> AsyncIterator[Seeing]:
    """The adapter for this namespace, with everything it needs running."""
    told: list[str] = []
    api = Api.connect(Settings(kubeconfig=str(cluster.kubeconfig(user)), namespace=namespace))
    client = cluster.client()

    def rollout(key: str) -> Json | None:
        answer = client.get(ROLLOUTS.format(*key.split("/")))
        if not answer.is_success:  # without our kinds the answer is not even JSON
            return None
        found: Json = answer.json()
        return found

    workloads = KubernetesWorkloads(
        api,
        namespace=namespace,
        rollout=rollout,
        reach=ANYWHERE,
        on_change=told.append,
        log=Log("test"),
    )
    running = asyncio.create_task(workloads.run())
    try:
        yield Seeing(workloads, f"{namespace}/fraud", told)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await workloads.close()
        await api.close()


async def apply(cluster: Testbed, namespace: str, *objects: Mapping[str, Any]) -> None:
    """`kubectl apply`, as anybody would."""
    for one in objects:
        await asyncio.to_thread(cluster.kubectl, "-n", namespace, "apply", "-f", "-", stdin=one)


async def kubectl(cluster: Testbed, namespace: str, *words: str) -> str:
    done = await asyncio.to_thread(cluster.kubectl, "-n", namespace, *words)
    return done.stdout


def running(story: Callable[[], Awaitable[None]]) -> None:
    """Run the story to its end."""

    async def go() -> None:
        await story()

    asyncio.run(go())
