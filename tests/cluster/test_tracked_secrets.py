"""Secrets whose content is part of a version, on a real API server: another content is another version, and nothing tells it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import yaml

from controller.core.status import Workload
from controller.crd.faults import Fault
from controller.crd.revisions import Revision
from controller.errors import StoreUnavailable
from tests.cluster.kinds import MANIFESTS
from tests.cluster.rights import is_granted
from tests.cluster.test_workloads_made import rollout
from tests.cluster.testbed.cluster import Testbed, wait_for
from tests.cluster.versions import Json, Seeing, apply, kubectl, running, seeing
from tests.cluster.whole import install

pytestmark = pytest.mark.usefixtures("crds")
WITHIN_S = 60.0
USER = "controller"
CONTENT = "correct-horse-battery"


@pytest.fixture(scope="module")
def crds(cluster: Testbed) -> None:
    install(cluster)


def secret(content: str = CONTENT, **annotations: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "fraud-key", "annotations": annotations},
        "data": {"key": base64.b64encode(content.encode()).decode()},
    }


def tracking(names: str = "fraud-key", image: str = "model:1") -> Json:
    """A template that asks for these Secrets to be tracked."""
    return {
        "metadata": {"annotations": {"headgate.dev/track-secrets": names}},
        "spec": {
            "containers": [
                {"name": "model", "image": image, "envFrom": [{"secretRef": {"name": "fraud-key"}}]}
            ]
        },
    }


class Tracking:
    """The adapter at work for the rollout `fraud`."""

    def __init__(self, eyes: Seeing) -> None:
        self.eyes = eyes

    def now(self, pods: Json | None = None) -> tuple[Revision, ...] | Fault | None:
        """The versions, or why there are none; None while that is not known."""
        try:
            return self.eyes.workloads.revisions(self.eyes.key, rollout(pods=pods or tracking()))
        except StoreUnavailable:
            return None

    async def until(self, holds: Callable[[Any], object], what: str, pods: Json | None = None) -> Any:
        async with asyncio.timeout(WITHIN_S):
            while not holds(found := self.now(pods)):
                await asyncio.sleep(0.05)
        assert holds(found), what
        return found

    async def version(self, pods: Json | None = None) -> Revision:
        found = await self.until(lambda found: isinstance(found, tuple), "there is a version", pods)
        return found[0]  # type: ignore[no-any-return]

    async def other_than(self, before: Revision) -> Revision:
        found = await self.until(
            lambda found: isinstance(found, tuple) and found[0].identity != before.identity, "another version"
        )
        return found[0]  # type: ignore[no-any-return]


@asynccontextmanager
async def tracked(cluster: Testbed, namespace: str, user: str = "admin") -> AsyncIterator[Tracking]:
    await apply(cluster, namespace, rollout(pods=tracking()))
    async with seeing(cluster, namespace, user) as eyes:
        eyes.workloads._secrets._look_s = 0.2
        yield Tracking(eyes)


def test_another_content_is_another_version_and_another_annotation_is_not(
    cluster: Testbed, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story() -> None:
        await apply(cluster, namespace, secret())
        async with tracked(cluster, namespace) as tracking_:
            first = await tracking_.version()
            await tracking_.eyes.workloads.apply(
                tracking_.eyes.key, {first.identity: first.document()}, {first.identity: Workload(1)}
            )
            await apply(cluster, namespace, secret(seen="yes"))
            await asyncio.sleep(1.0)  # several looks: nothing is what must not happen
            assert (await tracking_.version()).identity == first.identity
            tracking_.eyes.told.clear()
            await apply(cluster, namespace, secret("another"))
            second = await tracking_.other_than(first)
            assert tracking_.eyes.key in tracking_.eyes.told
            await apply(cluster, namespace, secret())
            again = await tracking_.other_than(second)
            assert again.identity == first.identity
            patch = await tracking_.eyes.workloads.retargeted(
                tracking_.eyes.key, rollout(pods=tracking(image="model:2"))["spec"], first.name
            )
            assert "digest" not in json.dumps(patch)
            kept = await kubectl(cluster, namespace, "get", "controllerrevisions,deployments", "-o", "json")
            assert "headgate.dev/secret-digests" in kept
            for written in (CONTENT, secret()["data"]["key"]):
                assert written not in kept

    running(story)
    said = capsys.readouterr()
    assert CONTENT not in said.out + said.err
    assert secret()["data"]["key"] not in said.out + said.err


def test_a_secret_that_is_not_there_is_named_until_it_comes(cluster: Testbed, namespace: str) -> None:
    async def story() -> None:
        async with tracked(cluster, namespace) as tracking_:
            refused = await tracking_.until(lambda found: isinstance(found, Fault), "it is refused")
            assert f"there is no Secret {namespace}/fraud-key" in refused.message
            tracking_.eyes.told.clear()
            await apply(cluster, namespace, secret())
            await tracking_.version()
            assert tracking_.eyes.key in tracking_.eyes.told

    running(story)


def rights(cluster: Testbed, namespace: str) -> None:
    """The controller's Role, which has no right on Secrets of people."""
    documents = yaml.safe_load_all((MANIFESTS / "rbac" / "controller.yaml").read_text())
    (role,) = [document for document in documents if document["kind"] == "Role"]
    cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=role)
    words = ("create", "rolebinding", "headgate-controller", "--role=headgate-controller", f"--user={USER}")
    cluster.kubectl("-n", namespace, *words)
    last = role["rules"][-1]
    wait_for(lambda: is_granted(cluster, namespace, USER, last), "the authorizer knows the Role")


def test_it_is_read_where_a_role_allows_that_name_and_losing_the_right_makes_no_new_version(
    cluster: Testbed, namespace: str
) -> None:
    (allowed, _) = yaml.safe_load_all((MANIFESTS / "examples" / "tracked-secret.yaml").read_text())
    (rule,) = allowed["rules"]
    assert (rule["verbs"], rule["resourceNames"]) == (["get"], ["fraud-key"])

    async def story() -> None:
        await apply(cluster, namespace, secret())
        async with tracked(cluster, namespace, USER) as tracking_:
            refused = await tracking_.until(lambda found: isinstance(found, Fault), "it is refused")
            assert "may not read Secret" in refused.message
            assert "the verb get on that name" in refused.message
            await apply(cluster, namespace, allowed)
            words = (
                "create",
                "rolebinding",
                "tracked",
                f"--role={allowed['metadata']['name']}",
                f"--user={USER}",
            )
            await kubectl(cluster, namespace, *words)
            first = await tracking_.version()
            documents, wanted = {first.identity: first.document()}, {first.identity: Workload(1)}
            await tracking_.eyes.workloads.apply(tracking_.eyes.key, documents, wanted)
            await tracking_.until(lambda found: isinstance(found, tuple) and found[0].number, "it is kept")
            await kubectl(cluster, namespace, "delete", "rolebinding", "tracked")
            seen = await tracking_.eyes.until(
                first.document(),
                lambda seen: tracking_.now() is not None and "may not read Secret" in seen.message,
                "that is said",
                first.identity,
            )
            assert "fraud-key" in seen.message
            assert (await tracking_.version()).identity == first.identity

    rights(cluster, namespace)
    running(story)


@pytest.mark.parametrize(
    ("names", "said"),
    [("No_Name!", "is not the name of a Secret"), (",".join(f"s{i}" for i in range(17)), "at most 16")],
)
def test_an_annotation_that_cannot_be_meant_is_refused(
    cluster: Testbed, namespace: str, names: str, said: str
) -> None:
    async def story() -> None:
        async with tracked(cluster, namespace) as tracking_:
            pods = tracking(names)
            refused = await tracking_.until(lambda found: isinstance(found, Fault), "it is refused", pods)
            assert said in refused.message
            assert refused.path == "spec.template.metadata.annotations[headgate.dev/track-secrets]"

    running(story)
