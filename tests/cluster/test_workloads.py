"""Versions that are brought, on a real API server: what is seen of a Service and its pods, in which words, and what follows a change."""

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.cluster.testbed.cluster import Testbed
from tests.cluster.testbed.kubelet import READY, UNREADY, Health, Kubelet
from tests.cluster.versions import apply, deployment, kubectl, running, seeing, service, version


def test_a_service_has_the_ready_pods_as_endpoints_and_follows_them(cluster: Testbed, namespace: str) -> None:
    health = [READY]

    async def story() -> None:
        await apply(cluster, namespace, deployment("v8"), service("v8"))
        async with seeing(cluster, namespace) as eyes:
            by_number, by_name = version("v8", 80), version("v8", "web", deployment="v8")
            seen = await eyes.until(by_number, lambda seen: len(seen.endpoints) == 2, "two endpoints")
            assert {endpoint.port for endpoint in seen.endpoints} == {8080}
            assert seen.message == f"2 of 2 endpoints of Service {namespace}/v8 ready"
            assert seen.is_running
            assert seen.replicas is None
            assert (await eyes.look(by_name)).endpoints == seen.endpoints
            health[0] = UNREADY
            unready = await eyes.until(by_name, lambda seen: not seen.endpoints, "no endpoint")
            assert "0 of 2 endpoints" in unready.message
            assert not unready.is_crash_looping
            health[0] = READY
            eyes.told.clear()
            await eyes.until(by_name, lambda seen: len(seen.endpoints) == 2, "two endpoints again")
            assert eyes.key in eyes.told

    with Kubelet(cluster, namespace, health=lambda pod: health[0]):
        running(story)


def test_a_crash_loop_is_seen_through_the_deployment_and_through_the_selector(
    cluster: Testbed, namespace: str
) -> None:
    health = [READY]

    async def story() -> None:
        await apply(cluster, namespace, deployment("v8"), service("v8"))
        async with seeing(cluster, namespace) as eyes:
            for document in (version("v8", deployment="v8"), version("v8")):
                health[0] = READY
                await eyes.until(document, lambda seen: len(seen.endpoints) == 2, "two endpoints")
                health[0] = Health(waiting="CrashLoopBackOff", restarts=4)
                seen = await eyes.until(document, lambda seen: seen.is_crash_looping, "a crash loop")
                assert seen.endpoints == ()
                assert seen.restarts >= 4
                assert "container model of pod v8-" in seen.message
                assert "logs v8-" in seen.message

    with Kubelet(cluster, namespace, health=lambda pod: health[0]):
        running(story)


def test_what_keeps_pods_from_running_is_said_with_the_remedy(cluster: Testbed, namespace: str) -> None:
    health = [Health(waiting="ImagePullBackOff")]

    async def story() -> None:
        await apply(cluster, namespace, deployment("v8", 1, "model:9"), service("v8"))
        async with seeing(cluster, namespace) as eyes:
            await eyes.saying(version("v8"), "image model:9", "cannot be pulled", "correct the image")
            health[0] = Health(waiting="CreateContainerConfigError")
            await eyes.saying(version("v8"), "container model", "cannot start: CreateContainerConfigError")

    with Kubelet(cluster, namespace, health=lambda pod: health[0]):
        running(story)


def test_without_a_node_the_pods_are_said_to_wait_for_one(cluster: Testbed, namespace: str) -> None:
    async def story() -> None:
        await apply(cluster, namespace, deployment("v8"), service("v8"))
        async with seeing(cluster, namespace) as eyes:
            seen = await eyes.saying(version("v8", deployment="v8"), "pod v8-", "waits for a node")
            assert seen.endpoints == ()

    running(story)


def test_pods_that_a_quota_refuses_are_told_of_with_the_quotas_words(
    cluster: Testbed, namespace: str
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"pods": "1"}},
    }

    async def story() -> None:
        await apply(cluster, namespace, quota, deployment("v8", 3), service("v8"))
        async with seeing(cluster, namespace) as eyes:
            await eyes.saying(
                version("v8", deployment="v8"),
                f"pods of Deployment {namespace}/v8 are refused",
                "exceeded quota: small",
                "raise the ResourceQuota",
            )

    with Kubelet(cluster, namespace):
        running(story)


def test_each_missing_part_is_named_until_it_comes(cluster: Testbed, namespace: str) -> None:
    async def story() -> None:
        async with seeing(cluster, namespace) as eyes:
            document = version("v8", "web", deployment="v8")
            await eyes.saying(document, f"there is no Service {namespace}/v8: create it")
            await apply(cluster, namespace, service("v8", ports=[{"port": 9000}]))
            await eyes.saying(document, "has no port web (it has 9000)", "there is no Deployment")
            await apply(cluster, namespace, service("v8"))
            await eyes.saying(document, "has no pod with an address (it selects app=v8)")
            await apply(cluster, namespace, deployment("v8", 0))
            await eyes.saying(document, "is scaled to 0", "scale deployment/v8 --replicas=1")
            await kubectl(cluster, namespace, "scale", "deployment/v8", "--replicas=1")
            await eyes.saying(document, "1 of 1 endpoints")
            await kubectl(cluster, namespace, "delete", "service", "v8")
            gone = await eyes.saying(document, "there is no Service")
            assert gone.endpoints == ()

    with Kubelet(cluster, namespace):
        running(story)


def test_a_service_without_selector_has_what_somebody_writes_into_its_slices(
    cluster: Testbed, namespace: str
) -> None:
    def slice_(name: str, *endpoints: Mapping[str, Any], kind: str = "IPv4") -> dict[str, Any]:
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "v8"}},
            "addressType": kind,
            "ports": [{"name": "web", "port": 7000}],
            "endpoints": list(endpoints),
        }

    async def story() -> None:
        bare = service("v8")
        del bare["spec"]["selector"]
        await apply(cluster, namespace, bare)
        async with seeing(cluster, namespace) as eyes:
            await eyes.saying(version("v8"), "has no selector, and nobody wrote an EndpointSlice")
            await apply(cluster, namespace, slice_("six", {"addresses": ["2001:db8::1"]}, kind="IPv6"))
            await eyes.saying(version("v8"), "IPv6 addresses only")
            conditions = {"ready": True, "serving": True, "terminating": True}
            await apply(
                cluster,
                namespace,
                slice_("one", {"addresses": ["10.1.0.2"]}, {"addresses": ["10.1.0.1"]}),
                slice_("two", {"addresses": ["10.1.0.3"], "conditions": conditions}),
            )
            seen = await eyes.saying(version("v8"), "2 of 3 endpoints")
            assert [(found.host, found.port) for found in seen.endpoints] == [
                ("10.1.0.1", 7000),
                ("10.1.0.2", 7000),
            ]

    running(story)


def test_one_rollouts_wrong_objects_leave_another_rollout_alone(cluster: Testbed, namespace: str) -> None:
    async def story() -> None:
        poison = service("bad", type="ExternalName", externalName="models.example")
        del poison["spec"]["selector"], poison["spec"]["ports"]
        await apply(cluster, namespace, poison, deployment("v8", 1), service("v8"))
        async with seeing(cluster, namespace) as eyes:
            healthy = version("v8")
            await eyes.until(healthy, lambda seen: len(seen.endpoints) == 1, "one endpoint")
            both = await eyes.workloads.observe(
                eyes.key,
                {
                    "good": healthy,
                    "poison": version("bad"),
                    "nonsense": {"name": "x", "service": 7},
                    "elsewhere": {
                        "name": "p",
                        "process": {"command": ["x"], "readiness": {"httpGet": {"path": "/"}}},
                    },
                },
            )
            assert len(both["good"].endpoints) == 1
            assert "ExternalName" in both["poison"].message
            assert "cannot be read" in both["nonsense"].message
            assert "write service, inferenceService or url" in both["elsewhere"].message

    with Kubelet(cluster, namespace):
        running(story)


def test_only_who_looks_at_an_object_is_told_of_it(cluster: Testbed, namespace: str) -> None:
    async def story() -> None:
        await apply(cluster, namespace, service("v8"), service("other"))
        async with seeing(cluster, namespace) as eyes:
            await eyes.look(version("v8"))
            await eyes.look(version("other"), f"{namespace}/other")
            eyes.told.clear()
            await kubectl(cluster, namespace, "annotate", "service", "v8", "touched=yes")
            async with asyncio.timeout(30):
                while not eyes.told:
                    await asyncio.sleep(0.05)
            assert set(eyes.told) == {eyes.key}
            eyes.workloads.forget(eyes.key)
            eyes.told.clear()
            await kubectl(cluster, namespace, "annotate", "service", "v8", "touched=again", "--overwrite")
            await kubectl(cluster, namespace, "annotate", "service", "other", "touched=yes")
            async with asyncio.timeout(30):
                while not eyes.told:
                    await asyncio.sleep(0.05)
            assert set(eyes.told) == {f"{namespace}/other"}

    running(story)


def test_what_serves_goes_on_being_seen_while_nobody_may_read_it_any_more(
    cluster: Testbed, namespace: str
) -> None:
    """Pods may never be read here: they only say why something is not ready."""

    async def story() -> None:
        reader = ("create", "role", "reader", "--verb=get,list,watch")
        bind = ("create", "rolebinding", "reader", "--role=reader", "--user=controller")
        objects = "--resource=services,endpointslices.discovery.k8s.io,deployments.apps"
        await apply(cluster, namespace, deployment("v8", 1), service("v8"))
        await kubectl(cluster, namespace, *reader, objects)
        await kubectl(cluster, namespace, *bind)
        async with seeing(cluster, namespace, "controller") as eyes:
            await eyes.until(version("v8"), lambda seen: len(seen.endpoints) == 1, "one endpoint")
            await kubectl(cluster, namespace, "delete", "rolebinding", "reader")
            await asyncio.sleep(1.0)
            assert len((await eyes.look(version("v8"))).endpoints) == 1

    with Kubelet(cluster, namespace):
        running(story)
