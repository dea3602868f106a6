"""The controller with the rights of its Role and no others: all it asks for is allowed, and all it may do it does."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.kinds import MANIFESTS
from tests.cluster.rights import is_granted
from tests.cluster.secured import Secured
from tests.cluster.test_whole_pods import Servers, change, managed, pods
from tests.cluster.testbed.cluster import Testbed, wait_for
from tests.cluster.testbed.kubelet import Kubelet
from tests.cluster.whole import install, rollout, until

USER = "controller"
Right = tuple[str, str, str]
"""API group, resource (with its subresource), verb."""

_MADE = [("", "services"), ("apps", "deployments"), ("apps", "controllerrevisions")]
ELSEWHERE: set[Right] = {
    # Traffic by a gateway: tests/cluster/test_gateway.py. To delete is what OwnerReferencesPermissionEnforcement asks for
    # where a reference is taken off.
    *(
        ("gateway.networking.k8s.io", "httproutes", verb)
        for verb in ("get", "list", "watch", "create", "patch", "update", "delete")
    ),
    # Versions that are InferenceServices: tests/cluster/test_inference.py.
    *(("serving.kserve.io", "inferenceservices", verb) for verb in ("list", "watch")),
    # An apply that makes something is a patch that the API server also asks create for.
    ("", "services", "create"),
    ("apps", "deployments", "create"),
    # Read again after a conflict, and a version's parts taken away when history is full: test_workloads_made.py.
    ("headgate.dev", "modelrollouts", "get"),
    *((group, resource, verb) for group, resource in _MADE for verb in ("get", "delete")),
    ("apps", "controllerrevisions", "patch"),
    *(("", "configmaps", verb) for verb in ("get", "create", "patch", "delete")),
}
"""Rights that these runs have no use for."""


def roles() -> list[dict[str, Any]]:
    """The controller's Roles as they are committed: what it may with rollouts, its lease and its certificates."""
    files = [MANIFESTS / "rbac" / name for name in ("controller.yaml", "leader.yaml", "tls.yaml")]
    found = [document for file in files for document in yaml.safe_load_all(file.read_text())]
    return [document for document in found if document["kind"] == "Role"]


def granted() -> set[Right]:
    return {
        (group, resource, verb)
        for role in roles()
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def asked(cluster: Testbed, namespace: str) -> dict[Right, set[int]]:
    """What the controller asked for in the namespace, and the status codes it got."""
    found: dict[Right, set[int]] = {}
    for event in cluster.audited(USER):
        about = event.get("objectRef", {})
        if about.get("namespace") != namespace:
            continue
        resource = "/".join(part for part in (about["resource"], about.get("subresource")) if part)
        right = (about.get("apiGroup", ""), resource, event["verb"])
        found.setdefault(right, set()).add(event.get("responseStatus", {}).get("code", 0))
    return found


@contextmanager
def confined(cluster: Testbed, namespace: str, folder: Path) -> Iterator[Secured]:
    install(cluster)
    for role in roles():
        name = role["metadata"]["name"]
        cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=role)
        cluster.kubectl("-n", namespace, "create", "rolebinding", name, f"--role={name}", f"--user={USER}")
    cluster.kubectl("-n", namespace, "apply", "-f", str(MANIFESTS / "controller" / "secret.yaml"))
    for role in roles():
        last = role["rules"][-1]
        wait_for(
            lambda rule=last: is_granted(cluster, namespace, USER, rule), "the authorizer knows the Role"
        )
    with Secured(cluster, namespace, folder, user=USER) as whole:
        whole.start()
        yield whole


def versions_that_are_there(whole: Secured) -> None:
    """Promoted, rolled back by a person, undone, deleted."""
    whole.apply(rollout([whole.model("v1"), whole.model("v2")]))
    whole.mount()
    with whole.load() as load:
        whole.target("v2")
        until("v2 is promoted", lambda: whole.status().get("stableVersion") == "v2", 90, whole.says)
        whole.act("undo", "v2", to="v1")
        until("v1 is stable again", lambda: whole.status().get("stableVersion") == "v1", 90, whole.says)
        load.stop()
    whole.kubectl("delete", "mro", "sum", "--timeout=60s")


def versions_of_a_template(whole: Secured) -> None:
    """Made, replaced, and taken away with the rollout."""
    whole.apply(managed("v1"))
    with whole.load() as load:
        change(whole, pods("v2"))
        until("v2 is promoted", lambda: whole.status().get("stableVersion") == "v2", 90, whole.says)
        load.stop()
    whole.kubectl("delete", "mro", "sum", "--timeout=60s")


@pytest.mark.timeout(400)
def test_the_role_is_what_the_controller_needs_and_no_more(
    cluster: Testbed, namespace: str, tmp_path: Path, pod_address: Callable[[], str]
) -> None:
    servers = Servers(tmp_path, pod_address)
    with (
        confined(cluster, namespace, tmp_path) as whole,
        Kubelet(cluster, namespace, health=servers.health, address=servers.address),
    ):
        try:
            versions_that_are_there(whole)
            versions_of_a_template(whole)
        finally:
            servers.close()
    seen = asked(cluster, namespace)
    refused = {right for right, codes in seen.items() if 403 in codes}
    assert not refused, "the Role lacks what the controller asks for"
    unused = granted() - set(seen) - ELSEWHERE
    assert not unused, f"the Role has what nothing asks for; seen: {json.dumps(sorted(seen))}"
