"""InferenceServices of KServe as versions, on a real API server: where they are, whether they answer, and what is said."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.wire.plan import Endpoint
from tests.cluster import kserve
from tests.cluster.testbed.cluster import Testbed
from tests.cluster.testbed.kubelet import READY, UNREADY, Kubelet
from tests.cluster.versions import apply, deployment, running, seeing, service, version
from tests.cluster.whole import Whole, install, rollout, until

DOCUMENT: dict[str, Any] = {"name": "v8", "inferenceService": "fraud-v8"}


async def says(cluster: Testbed, namespace: str, ready: str, **more: Any) -> None:
    await asyncio.to_thread(kserve.says, cluster, namespace, "fraud-v8", ready, **more)


def test_without_kserve_that_version_says_so_the_others_go_on_and_it_is_found_once_installed(
    cluster: Testbed, namespace: str
) -> None:
    async def story() -> None:
        await apply(cluster, namespace, deployment("v7"), service("v7"))
        async with seeing(cluster, namespace) as eyes:
            seen = await eyes.saying(DOCUMENT, "does not know the kind", "install KServe")
            assert not seen.endpoints
            await eyes.until(version("v7"), lambda seen: len(seen.endpoints) == 2, "the others")
            await eyes.look(DOCUMENT)
            eyes.told.clear()
            with kserve.installed(cluster):
                await apply(cluster, namespace, kserve.written("fraud-v8"))
                await says(cluster, namespace, "True", at=f"http://fraud-v8.{namespace}.svc.cluster.local")
                await eyes.until(DOCUMENT, lambda seen: bool(seen.endpoints), "it is found")
                assert eyes.key in eyes.told

    with Kubelet(cluster, namespace):
        running(story)


@pytest.fixture(scope="module")
def known(cluster: Testbed) -> Iterator[None]:
    """The API server knows InferenceServices."""
    with kserve.installed(cluster):
        yield


def test_it_is_ready_when_kserve_says_so_and_not_before(
    cluster: Testbed, namespace: str, known: None
) -> None:
    host = f"fraud-v8.{namespace}.svc.cluster.local"

    async def story() -> None:
        async with seeing(cluster, namespace) as eyes:
            await eyes.saying(DOCUMENT, f"there is no InferenceService {namespace}/fraud-v8", "create it")
            await apply(cluster, namespace, kserve.written("fraud-v8"))
            await eyes.saying(DOCUMENT, "is not ready", "working on it")
            await says(cluster, namespace, "False", PredictorReady="no such bucket")
            waiting = await eyes.saying(DOCUMENT, "PredictorReady: no such bucket")
            assert (waiting.endpoints, waiting.is_running) == ((), False)
            await says(cluster, namespace, "True", at=f"http://{host}")
            seen = await eyes.until(DOCUMENT, lambda seen: bool(seen.endpoints), "it is ready")
            assert seen.endpoints == (Endpoint(host, 80),)
            assert (seen.is_running, seen.message) == (True, "")
            await says(cluster, namespace, "True", at="https://fraud-v8.example.com:8443")
            await eyes.until(
                DOCUMENT,
                lambda seen: seen.endpoints == (Endpoint("fraud-v8.example.com", 8443, tls=True),),
                "it is elsewhere, by TLS",
            )
            await says(cluster, namespace, "False", at=f"http://{host}", IngressReady="the gateway is gone")
            gone = await eyes.saying(DOCUMENT, "IngressReady: the gateway is gone")
            assert gone.endpoints == ()

    running(story)


def test_a_change_that_kserve_works_on_takes_nothing_away_and_is_said(
    cluster: Testbed, namespace: str, known: None
) -> None:
    address = f"http://fraud-v8.{namespace}.svc.cluster.local"

    async def story() -> None:
        async with seeing(cluster, namespace) as eyes:
            await apply(cluster, namespace, kserve.written("fraud-v8"))
            await says(cluster, namespace, "True", at=address)
            await eyes.until(DOCUMENT, lambda seen: bool(seen.endpoints), "it is ready")
            await apply(cluster, namespace, kserve.written("fraud-v8", "s3://models/9"))
            lagging = await eyes.saying(DOCUMENT, "has not seen the last change")
            assert lagging.endpoints
            await says(cluster, namespace, "Unknown", at=address, seen=2)
            working = await eyes.saying(DOCUMENT, "is not ready")
            assert working.endpoints
            await says(cluster, namespace, "True", at=address, seen=2)
            await eyes.until(DOCUMENT, lambda seen: not seen.message, "all is said to be well")

    running(story)


def test_where_its_address_is_a_service_with_pods_the_pods_say_whether_they_answer(
    cluster: Testbed, namespace: str, known: None
) -> None:
    health = [READY]
    address = f"http://fraud-v8-predictor.{namespace}.svc.cluster.local"

    async def story() -> None:
        await apply(
            cluster, namespace, deployment("fraud-v8-predictor"), service("fraud-v8-predictor"),
            kserve.written("fraud-v8"),
        )  # fmt: skip
        async with seeing(cluster, namespace) as eyes:
            await says(cluster, namespace, "True", at=address)
            seen = await eyes.until(DOCUMENT, lambda seen: len(seen.endpoints) == 2, "both pods")
            assert {endpoint.port for endpoint in seen.endpoints} == {8080}
            health[0] = UNREADY
            await eyes.until(DOCUMENT, lambda seen: not seen.endpoints, "no pod")
            health[0] = READY
            await says(cluster, namespace, "False", at=address, PredictorReady="a new revision fails")
            old = await eyes.saying(DOCUMENT, "a new revision fails")
            await eyes.until(DOCUMENT, lambda seen: len(seen.endpoints) == 2, "the pods that are ready serve")
            assert old.is_running

    with Kubelet(cluster, namespace, health=lambda pod: health[0]):
        running(story)


@pytest.mark.parametrize(
    "address", ["http://gateway.example.com/fraud-v8", "grpc://fraud-v8:9000", "http://[", "http://h:0"]
)
def test_an_address_that_cannot_be_routed_to_is_named(
    cluster: Testbed, namespace: str, known: None, address: str
) -> None:
    async def story() -> None:
        async with seeing(cluster, namespace) as eyes:
            await apply(cluster, namespace, kserve.written("fraud-v8"))
            await says(cluster, namespace, "True", at=address)
            seen = await eyes.saying(DOCUMENT, address, "write that as url")
            assert seen.endpoints == ()

    running(story)


@pytest.mark.timeout(400)
def test_a_rollout_of_inference_services_is_ramped_and_promoted_while_one_without_any_says_so(
    cluster: Testbed, namespace: str, known: None, tmp_path: Path
) -> None:
    install(cluster)
    with Whole(cluster, namespace, tmp_path) as whole:
        for name in ("v1", "v2"):
            address = whole.model(name)["url"]
            whole.kubectl("apply", "--filename", "-", stdin=kserve.written(f"sum-{name}"))
            kserve.says(cluster, namespace, f"sum-{name}", "True", at=address)
        versions = [{"name": name, "inferenceService": f"sum-{name}"} for name in ("v1", "v2")]
        lost = rollout([{"name": "v1", "inferenceService": "nowhere"}])
        whole.start()
        whole.apply(rollout(versions))
        whole.apply({**lost, "metadata": {"name": "lost"}})
        with whole.load() as load:
            whole.target("v2")
            until("v2 is promoted", lambda: whole.status().get("stableVersion") == "v2", 120, whole.says)
            load.stop()
        assert load.answers["v2"] > 0
        load.without_loss()
        said = f"there is no InferenceService {namespace}/nowhere"
        until("the other says so", lambda: said in whole.status("lost").get("message", ""), 60, whole.says)
