"""Rollouts elsewhere than where the controller is: each way to install that, with exactly the rights it grants."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, Self

import pytest

from controller.adapters.kubernetes.trust import CONFIG_MAP
from tests.cluster.kinds import MANIFESTS
from tests.cluster.secured import Secured
from tests.cluster.test_manifests import Object, built, chart, essence, rules
from tests.cluster.testbed.cluster import Testbed, wait_for
from tests.cluster.testbed.programs import Program
from tests.cluster.whole import HEADGATE, NAME, install, rollout

HOME: Final = "headgate"
ROLLOUTS: Final = "ml"
"""The namespace that manifests/one-namespace names."""

ACCOUNT: Final = f"system:serviceaccount:{HOME}:headgate-controller"
RIGHTS: Final = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Secret")
WAYS: Final = {"all-namespaces": "controller.allNamespaces=true", "one-namespace": "controller.namespace=ml"}
"""Each overlay, and the value of the chart that makes the same."""

way = pytest.mark.parametrize("overlay", WAYS)


def there(cluster: Testbed, *namespaces: str) -> None:
    for name in namespaces:
        if cluster.kubectl("get", "namespace", name, check=False).returncode != 0:
            cluster.kubectl("create", "namespace", name)


def where(objects: list[Object]) -> dict[tuple[str, str], str]:
    """The namespace of each object that has to do with rights; "" where none is said."""
    return {
        (thing["kind"], thing["metadata"]["name"]): thing["metadata"].get("namespace", "")
        for thing in objects
        if thing["kind"] in RIGHTS
    }


def arguments(objects: list[Object]) -> list[str]:
    """What the controller is started with, as the kubelet would put it."""
    (deployment,) = [thing for thing in objects if thing["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return [word.replace("$(NAMESPACE)", HOME) for word in container["args"]]


def is_in_force(cluster: Testbed, role: Object) -> bool:
    """Does the authorizer, which hears of roles a moment later, grant the controller's account its last rule by now?"""
    rule = role["rules"][-1]
    resource, _, subresource = rule["resources"][0].partition("/")
    wanted = {
        "namespace": role["metadata"].get("namespace", ""),
        "group": rule["apiGroups"][0],
        "resource": resource,
        "subresource": subresource,
        "verb": rule["verbs"][0],
        "name": rule.get("resourceNames", [""])[0],
    }
    answer = cluster.client().post(
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        json={"spec": {"user": ACCOUNT, "resourceAttributes": wanted}},
    )
    return bool(answer.json()["status"]["allowed"])


class Installed(Secured):
    """The controller as it is installed: its arguments, its account, but on this machine, as are the models."""

    def __init__(self, cluster: Testbed, folder: Path, given: list[str]) -> None:
        self.given = [word for word in given if not word.startswith("--api=")]
        super().__init__(cluster, ROLLOUTS, folder)

    def __enter__(self) -> Self:
        return self

    def program_of_controller(self, name: str, port: int, *more: str, server: str = "") -> Program:
        document = json.loads(self.cluster.kubeconfig().read_text())
        token = self.cluster.kubectl("-n", HOME, "create", "token", "headgate-controller").stdout.strip()
        document["users"][0]["user"] = {"token": token}
        config = self.folder / "kubeconfig"
        config.write_text(json.dumps(document))
        return Program(
            name,
            [HEADGATE, "controller", *self.given, "--kubeconfig", config, "--api", f"127.0.0.1:{port}",
             "--allow-address", "127.0.0.0/8", *more],
            self.folder,
        )  # fmt: skip

    def start(self) -> None:
        """With the router's own account, as manifests/router has it."""
        account = (MANIFESTS / "router" / "account.yaml").read_text().replace("fraud", NAME)
        self.cluster.kubectl("-n", ROLLOUTS, "apply", "-f", "-", stdin=account)
        token = self.kubectl("create", "token", f"{NAME}-router", "--audience", "headgate")
        self.token.write_text(token.stdout)
        super().start()


@contextmanager
def granted(cluster: Testbed, objects: list[Object]) -> Iterator[None]:
    """The account has these rights and no others, and the API server has heard of them."""
    install(cluster)
    there(cluster, HOME, ROLLOUTS)
    given = [thing for thing in objects if thing["kind"] in RIGHTS]
    listed = {"apiVersion": "v1", "kind": "List", "items": given}
    try:
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=listed)
        for role in given:
            if role["kind"] in ("Role", "ClusterRole") and "controller" in role["metadata"]["name"]:
                wait_for(partial(is_in_force, cluster, role), f"{role['metadata']['name']} is in force")
        yield
    finally:
        cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=listed)


def refused(cluster: Testbed) -> list[str]:
    """What the controller was not allowed, of the whole cluster or in the namespaces that are this test's."""
    return [
        f"{event['verb']} {event['requestURI']}"
        for event in cluster.audited(ACCOUNT)
        if event.get("responseStatus", {}).get("code") == 403
        and event.get("objectRef", {}).get("namespace", "") in ("", HOME, ROLLOUTS)
    ]


@way
def test_a_rollout_elsewhere_becomes_healthy_with_the_rights_that_are_installed(
    cluster: Testbed, tmp_path: Path, overlay: str
) -> None:
    objects = built(cluster, MANIFESTS / overlay)
    with granted(cluster, objects), Installed(cluster, tmp_path, arguments(objects)) as whole:
        whole.start()
        whole.apply(rollout([whole.model("v1")]))
        whole.mount()
        whole.phase_is("Healthy")
        whole.kubectl("wait", "--for=condition=TrafficSynced", "--timeout=90s", f"mro/{NAME}")
        lease = cluster.kubectl("-n", HOME, "get", "lease,secret", "-o", "name").stdout
        assert "headgate-controller" in lease
        assert "secret/headgate-tls" in lease
        assert "headgate-tls" not in whole.kubectl("get", "secret,lease", "-o", "name").stdout
        whole.kubectl("delete", "mro", NAME, "--timeout=90s")
        wait_for(lambda: not whole.published(), f"{CONFIG_MAP} goes with the last rollout")
        assert not refused(cluster)


def test_without_the_cluster_role_nothing_of_that_is_allowed(cluster: Testbed, tmp_path: Path) -> None:
    """Or the test above would prove nothing: by a Role in each namespace, all of a kind cannot be read at once."""
    by_role = built(cluster, MANIFESTS / "one-namespace")
    given = arguments(built(cluster, MANIFESTS / "all-namespaces"))
    with granted(cluster, by_role), Installed(cluster, tmp_path, given) as whole:
        seen = len(refused(cluster))
        whole.controller.start()
        wait_for(lambda: len(refused(cluster)) > seen, "the controller is refused")


def test_everywhere_is_by_the_very_rules_of_one_namespace(cluster: Testbed) -> None:
    everywhere, one = (built(cluster, MANIFESTS / overlay) for overlay in WAYS)
    name = "headgate-controller"
    assert rules(everywhere, "ClusterRole", name) == rules(one, "Role", name)
    assert ("Role", name) not in where(everywhere)
    assert ("RoleBinding", name) not in where(everywhere)


@way
def test_what_is_the_controllers_own_stays_at_home(cluster: Testbed, overlay: str) -> None:
    places = where(built(cluster, MANIFESTS / overlay))
    elsewhere = {thing: place for thing, place in places.items() if place not in ("", HOME)}
    at_ml = {("Role", "headgate-controller"): ROLLOUTS, ("RoleBinding", "headgate-controller"): ROLLOUTS}
    assert elsewhere == (at_ml if overlay == "one-namespace" else {})
    for name in ("headgate-controller-leader", "headgate-controller-tls"):
        assert places["Role", name] == places["RoleBinding", name] == HOME


def test_the_api_server_takes_the_rollout_of_the_guide(cluster: Testbed) -> None:
    install(cluster)
    there(cluster, ROLLOUTS)
    text = (MANIFESTS.parent / "docs" / "kubernetes.md").read_text()
    found = re.findall(r"^```yaml\n(apiVersion: .*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found
    for document in found:
        done = cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=document)
        assert "Warning" not in done.stderr
    assert f"namespace: {ROLLOUTS}" in found[0]


@way
def test_the_api_server_takes_what_installs_it(cluster: Testbed, overlay: str) -> None:
    install(cluster)
    there(cluster, HOME, ROLLOUTS)
    done = cluster.kubectl(
        "apply", "--server-side", "--dry-run=server", "--force-conflicts", "-k", str(MANIFESTS / overlay)
    )
    assert len(done.stdout.splitlines()) == len(built(cluster, MANIFESTS / overlay))
    assert "Warning" not in done.stderr


@pytest.mark.needs("helm")
@way
def test_the_chart_makes_the_same_by_a_value(cluster: Testbed, overlay: str) -> None:
    by_chart, by_kustomize = chart(cluster, WAYS[overlay]), built(cluster, MANIFESTS / overlay)
    assert set(essence(by_chart)) == set(essence(by_kustomize))
    for (kind, name), found in essence(by_chart).items():
        if kind != "CustomResourceDefinition":
            assert found == essence(by_kustomize)[kind, name], f"{kind} {name}"
    elsewhere = {thing for thing, place in where(by_chart).items() if place == ROLLOUTS}
    assert elsewhere == {thing for thing, place in where(by_kustomize).items() if place == ROLLOUTS}
