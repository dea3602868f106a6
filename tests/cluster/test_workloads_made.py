"""Versions made from a pod template, on a real API server: what is made, kept, replaced, left alone and taken away."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from controller.core.status import VersionObserved, Workload
from controller.crd.revisions import Revision
from tests.cluster.testbed.cluster import Testbed, wait_for
from tests.cluster.testbed.kubelet import READY, Health, Kubelet
from tests.cluster.versions import ROLLOUTS, Json, Seeing, apply, kubectl, running, seeing
from tests.cluster.whole import install

pytestmark = pytest.mark.usefixtures("crds")
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def crds(cluster: Testbed) -> None:
    install(cluster)


def template(image: str = "model:1", **spec: Any) -> Json:
    return {"spec": {"containers": [{"name": "model", "image": image, **spec}]}}


def rollout(name: str = "fraud", pods: Json | None = None, **spec: Any) -> Json:
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "ModelRollout",
        "metadata": {"name": name, "finalizers": ["tests.headgate.dev/held"]},
        "spec": {
            "template": pods or template(),
            "port": 8080,
            "strategy": {"canary": {"weights": ["5%"]}},
            **spec,
        },
    }


@dataclass
class Making:
    """The adapter at work for the rollout `fraud`, and the cluster as it is."""

    eyes: Seeing
    client: httpx.Client
    namespace: str

    @property
    def key(self) -> str:
        return self.eyes.key

    async def revisions(self, pods: Json | None = None) -> tuple[Revision, ...]:
        """The versions there are, once everything was read."""
        document = rollout(pods=pods)
        async with asyncio.timeout(WITHIN_S):
            while not self.eyes.workloads._copies.has_what_is_made:
                await asyncio.sleep(0.05)
        return self.eyes.workloads.revisions(self.key, document)

    async def apply(self, *wanted: tuple[Revision, Workload], known: tuple[Revision, ...] = ()) -> None:
        documents = {one.identity: one.document() for one in (*known, *(one for one, _ in wanted))}
        running = {one.identity: workload for one, workload in wanted}
        await self.eyes.workloads.apply(self.key, documents, running)

    async def serving(self, revision: Revision, replicas: int) -> VersionObserved:
        """What is seen of the version once that many of its pods are ready."""
        return await self.eyes.until(
            revision.document(),
            lambda seen: seen.replicas == replicas == len(seen.endpoints),
            f"{replicas} ready replicas of {revision.name}",
            revision.identity,
        )

    def all(self, path: str) -> list[Json]:
        found: list[Json] = self.client.get(f"{path_of(path)}/namespaces/{self.namespace}/{path}").json()[
            "items"
        ]
        return [one for one in found if "headgate.dev/rollout" in one["metadata"].get("labels", {})]

    def versions(self, path: str) -> dict[str, str]:
        """Name to resourceVersion of all objects of that kind that are ours."""
        return {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in self.all(path)}

    def writes(self, cluster: Testbed) -> list[str]:
        """The verbs by which the adapter wrote so far, also where nothing came of it."""
        return [
            event["verb"]
            for event in cluster.audited("admin")
            if event["objectRef"].get("namespace") == self.namespace
            and event["userAgent"].startswith("headgate/")
            and event["verb"] not in ("get", "list", "watch")
        ]

    def deployment(self, revision: Revision) -> Json:
        (found,) = [one for one in self.all("deployments") if revision.name in one["metadata"]["name"]]
        return found


def path_of(plural: str) -> str:
    return "/apis/apps/v1" if plural in ("deployments", "controllerrevisions") else "/api/v1"


@asynccontextmanager
async def making(
    cluster: Testbed, namespace: str, document: Mapping[str, Any] | None = None
) -> AsyncIterator[Making]:
    await apply(cluster, namespace, document or rollout())
    async with seeing(cluster, namespace) as eyes:
        yield Making(eyes, cluster.client(), namespace)


def test_a_version_becomes_a_deployment_and_a_service_and_then_nothing_is_written(
    cluster: Testbed, namespace: str
) -> None:
    async def story() -> None:
        async with making(cluster, namespace) as made:
            (only,) = await made.revisions()
            assert only.name == f"v-{only.identity[:8]}"
            await made.apply((only, Workload(2)))
            seen = await made.serving(only, 2)
            assert {endpoint.port for endpoint in seen.endpoints} == {8080}
            kinds = ("deployments", "services", "controllerrevisions")
            before = {kind: made.versions(kind) for kind in kinds}
            assert [len(found) for found in before.values()] == [1, 1, 1]
            for kind in kinds:
                (one,) = made.all(kind)
                assert one["metadata"]["name"] == f"fraud-{only.name}"
                (owner,) = one["metadata"]["ownerReferences"]
                assert (owner["kind"], owner["name"], owner["controller"]) == ("ModelRollout", "fraud", True)
            written = len(made.writes(cluster))
            assert written == 4  # and how many pods there shall be, in the status of the rollout
            for _ in range(3):
                await made.apply((only, Workload(2)))
            assert len(made.writes(cluster)) == written
            assert {kind: made.versions(kind) for kind in kinds} == before

    with Kubelet(cluster, namespace):
        running(story)


def test_two_versions_run_side_by_side_and_the_one_that_went_can_come_back(
    cluster: Testbed, namespace: str
) -> None:
    async def story() -> None:
        async with making(cluster, namespace) as made:
            (old,) = await made.revisions()
            await made.apply((old, Workload(2)))
            await made.serving(old, 2)
            new, kept = await made.revisions(template("model:2"))
            assert (kept.name, kept.identity, kept.template) == (old.name, old.identity, old.template)
            await made.apply((kept, Workload(2)), (new, Workload(1)))
            await made.serving(new, 1)
            await made.serving(kept, 2)
            await made.apply((kept, Workload(2)), (new, Workload(3)))
            await made.serving(new, 3)
            await made.apply((new, Workload(3)), known=(kept,))
            wait_for(lambda: len(made.versions("deployments")) == 1, "the old Deployment is gone")
            wait_for(lambda: len(made.versions("services")) == 1, "the old Service is gone")
            gone = (await made.eyes.workloads.observe(made.key, {kept.identity: kept.document()}))[
                kept.identity
            ]
            assert (gone.endpoints, gone.replicas, gone.message) == ((), 0, "it is not running")
            again, other = await made.revisions()
            assert (again.identity, again.name, other.identity) == (old.identity, old.name, new.identity)
            await made.apply((again, Workload(1)), (other, Workload(3)))
            await made.serving(again, 1)

    with Kubelet(cluster, namespace):
        running(story)


def test_restarts_replace_pods_one_after_another(cluster: Testbed, namespace: str) -> None:
    async def story() -> None:
        async with making(cluster, namespace) as made:
            (only,) = await made.revisions()
            await made.apply((only, Workload(2)))
            before = {found.host for found in (await made.serving(only, 2)).endpoints}
            await made.apply((only, Workload(2, restarts=1, surge=2)))
            strategy = made.deployment(only)["spec"]["strategy"]["rollingUpdate"]
            assert strategy == {"maxSurge": 2, "maxUnavailable": 0}
            seen = await made.eyes.until(
                only.document(),
                lambda seen: len(seen.endpoints) == 2 and not before & {one.host for one in seen.endpoints},
                "two other pods",
                only.identity,
            )
            assert seen.replicas == 2

    with Kubelet(cluster, namespace):
        running(story)


def test_what_somebody_else_changed_is_told_with_the_name_and_left_as_it_is(
    cluster: Testbed, namespace: str
) -> None:
    async def story() -> None:
        async with making(cluster, namespace) as made:
            (only,) = await made.revisions()
            await made.apply((only, Workload(1)))
            await made.serving(only, 1)
            name = f"deployment/fraud-{only.name}"
            await kubectl(cluster, namespace, "scale", name, "--replicas=3")
            await made.serving(only, 3)
            await made.apply((only, Workload(1)))
            seen = await made.eyes.saying_of(only, "was changed by kubectl", "set back spec.replicas")
            assert seen.replicas == 3
            await made.apply((only, Workload(2)))
            assert made.deployment(only)["spec"]["replicas"] == 3
            await made.eyes.saying_of(only, "was changed by kubectl")
            await kubectl(cluster, namespace, "scale", name, "--replicas=2")
            await made.serving(only, 2)
            await made.apply((only, Workload(2)))
            await made.eyes.until(
                only.document(), lambda seen: "changed" not in seen.message, "nothing to tell", only.identity
            )
            await kubectl(cluster, namespace, "set", "image", name, "model=model:666")
            async with asyncio.timeout(WITHIN_S):
                while "containers[model].image" not in (await made.eyes.look_at(only)).message:
                    await made.apply((only, Workload(2)))
                    await asyncio.sleep(0.1)
            pods = made.deployment(only)["spec"]["template"]["spec"]["containers"]
            assert pods[0]["image"] == "model:666"

    with Kubelet(cluster, namespace):
        running(story)


def test_what_somebody_deleted_is_made_again(cluster: Testbed, namespace: str) -> None:
    async def story() -> None:
        async with making(cluster, namespace) as made:
            (only,) = await made.revisions()
            await made.apply((only, Workload(1)))
            await made.serving(only, 1)
            await kubectl(cluster, namespace, "delete", "deployment,service", f"fraud-{only.name}")
            await made.eyes.until(
                only.document(), lambda seen: seen.replicas == 0, "it is gone", only.identity
            )
            await made.apply((only, Workload(1)))
            await made.serving(only, 1)

    with Kubelet(cluster, namespace):
        running(story)


def test_the_content_of_a_tracked_config_map_is_part_of_the_version(cluster: Testbed, namespace: str) -> None:
    pods = template(envFrom=[{"configMapRef": {"name": "tuning"}}])

    def tuning(text: str, track: str = "true") -> Json:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "tuning", "labels": {"headgate.dev/track": track}},
            "data": {"THRESHOLD": text},
        }

    async def story() -> None:
        async with making(cluster, namespace, rollout(pods=pods)) as made:
            (untracked,) = await made.revisions(pods)
            await made.eyes.workloads.observe(made.key, {untracked.identity: untracked.document()})
            made.eyes.told.clear()
            await apply(cluster, namespace, tuning("0.5"))
            async with asyncio.timeout(WITHIN_S):
                while (await made.revisions(pods))[0].identity == untracked.identity:
                    await asyncio.sleep(0.05)
            assert made.key in made.eyes.told
            old = (await made.revisions(pods))[0]
            await made.apply((old, Workload(1)))
            await made.serving(old, 1)
            await apply(cluster, namespace, tuning("0.7"))
            async with asyncio.timeout(WITHIN_S):
                while (await made.revisions(pods))[0].identity == old.identity:
                    await asyncio.sleep(0.05)
            new, kept = await made.revisions(pods)
            await made.apply((new, Workload(1)), (kept, Workload(1)))
            await made.serving(new, 1)
            used = {
                one.identity: made.deployment(one)["spec"]["template"]["spec"]["containers"][0]["envFrom"][0]
                for one in (new, kept)
            }
            contents = {one["metadata"]["name"]: one["data"] for one in made.all("configmaps")}
            assert contents[used[new.identity]["configMapRef"]["name"]] == {"THRESHOLD": "0.7"}
            assert contents[used[kept.identity]["configMapRef"]["name"]] == {"THRESHOLD": "0.5"}

    with Kubelet(cluster, namespace):
        running(story)


def test_a_template_that_the_api_server_refuses_is_told_of_and_others_go_on(
    cluster: Testbed, namespace: str
) -> None:
    bad = template(ports=[{"containerPort": 99_999}])

    async def story() -> None:
        async with making(cluster, namespace) as made:
            (good,) = await made.revisions()
            await made.apply((good, Workload(1)))
            await made.serving(good, 1)
            worse, known = await made.revisions(bad)
            made.eyes.told.clear()
            await made.apply((known, Workload(1)), (worse, Workload(1)))
            assert made.eyes.told == [made.key]
            await made.eyes.saying_of(worse, "cannot be made as it is written", "containerPort")
            await made.serving(known, 1)
            health[0] = Health(waiting="CrashLoopBackOff", restarts=3)
            seen = await made.eyes.until(
                good.document(), lambda seen: seen.is_crash_looping, "a crash loop", good.identity
            )
            assert "keeps crashing" in seen.message

    health = [READY]
    with Kubelet(cluster, namespace, health=lambda pod: health[0]):
        running(story)


def test_objects_of_the_same_name_that_are_somebody_elses_are_left_alone(
    cluster: Testbed, namespace: str
) -> None:
    async def story() -> None:
        async with making(cluster, namespace) as made:
            (only,) = await made.revisions()
            theirs = {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": f"fraud-{only.name}"},
                "spec": {"ports": [{"port": 1}]},
            }
            await apply(cluster, namespace, theirs)
            await made.eyes.until(only.document(), lambda seen: seen.replicas == 0, "seen", only.identity)
            async with asyncio.timeout(WITHIN_S):
                while "belongs to somebody else" not in (await made.eyes.look_at(only)).message:
                    await made.apply((only, Workload(1)))
                    await asyncio.sleep(0.1)
            assert made.all("deployments") == []

    running(story)


@pytest.mark.parametrize("policy", ["Delete", "Orphan"])
def test_what_is_ours_goes_with_the_rollout_or_stays_as_it_says(
    cluster: Testbed, namespace: str, policy: str
) -> None:
    async def story() -> None:
        async with making(cluster, namespace, rollout(deletionPolicy=policy)) as made:
            (only,) = await made.revisions()
            await made.apply((only, Workload(1)))
            await made.serving(only, 1)
            address = ROLLOUTS.format(namespace, "fraud")
            made.client.delete(address).raise_for_status()
            await made.apply(
                known=(only,) if policy == "Delete" else ()
            )  # as of a spec that is accepted no more
            merge = {"Content-Type": "application/merge-patch+json"}
            made.client.patch(
                address, json={"metadata": {"finalizers": None}}, headers=merge
            ).raise_for_status()
            wait_for(lambda: made.client.get(address).status_code == 404, "the rollout is gone")
            if policy == "Delete":
                wait_for(
                    lambda: (
                        not [
                            *made.all("deployments"),
                            *made.all("services"),
                            *made.all("controllerrevisions"),
                        ]
                    ),
                    "nothing is left",
                )
                return
            for kind in ("deployments", "services", "controllerrevisions"):
                (left,) = made.all(kind)
                assert not left["metadata"].get("ownerReferences")
            await made.serving(only, 1)
            await apply(cluster, namespace, rollout(deletionPolicy=policy))
            (again,) = await made.revisions()
            await made.apply((again, Workload(1)))
            assert made.deployment(again)["metadata"]["ownerReferences"]

    with Kubelet(cluster, namespace):
        running(story)
