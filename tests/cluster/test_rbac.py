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
from tests.cluster.test_whole_pods import Servers, change, managed, pods
from tests.cluster.testbed.cluster import Testbed, wait_for
from tests.cluster.testbed.kubelet import Kubelet
from tests.cluster.testbed.programs import Program
from tests.cluster.whole import HEADGATE, Whole, install, rollout, until

USER = "controller"
Right = tuple[str, str, str]
"""API group, resource (with its subresource), verb."""

_MADE = [("", "services"), ("apps", "deployments"), ("apps", "controllerrevisions")]
ELSEWHERE: set[Right] = {
    # Traffic by a gateway: tests/cluster/test_gateway.py.
    *(
        ("gateway.networking.k8s.io", "httproutes", verb)
        for verb in ("get", "list", "watch", "create", "patch", "update")
    ),
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


class Confined(Whole):
    """A product whose controller is the user `controller`, not the administrator."""

    def program_of_controller(self, name: str, port: int, *more: str) -> Program:
        config = self.cluster.kubeconfig(USER, namespace=self.namespace)
        return Program(
            name,
            [HEADGATE, "controller", "--kubeconfig", config, "--api", f"127.0.0.1:{port}", "--token-file", self.token,
             *more],
            self.folder,
        )  # fmt: skip


def role() -> dict[str, Any]:
    """The controller's Role as it is committed."""
    documents = yaml.safe_load_all((MANIFESTS / "rbac" / "controller.yaml").read_text())
    (found,) = [document for document in documents if document["kind"] == "Role"]
    return dict(found)


def granted() -> set[Right]:
    return {
        (group, resource, verb)
        for rule in role()["rules"]
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
def confined(cluster: Testbed, namespace: str, folder: Path) -> Iterator[Confined]:
    install(cluster)
    cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=role())
    words = ("create", "rolebinding", "headgate-controller", "--role=headgate-controller", f"--user={USER}")
    cluster.kubectl("-n", namespace, *words)
    last = role()["rules"][-1]
    wait_for(lambda: is_granted(cluster, namespace, USER, last), "the authorizer knows the Role")
    with Confined(cluster, namespace, folder) as whole:
        whole.start()
        yield whole


def versions_that_are_there(whole: Confined) -> None:
    """Promoted, rolled back by a person, undone, deleted."""
    whole.apply(rollout([whole.model("v1"), whole.model("v2")]))
    with whole.load() as load:
        whole.target("v2")
        until("v2 is promoted", lambda: whole.status().get("stableVersion") == "v2", 90, whole.says)
        whole.act("undo", "v2", to="v1")
        until("v1 is stable again", lambda: whole.status().get("stableVersion") == "v1", 90, whole.says)
        load.stop()
    whole.kubectl("delete", "mro", "sum", "--timeout=60s")


def versions_of_a_template(whole: Confined) -> None:
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
