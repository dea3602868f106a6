"""The manifests on a real API server: it takes each of them, and pods of theirs where only `restricted` ones may run."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.kinds import MANIFESTS, install
from tests.cluster.testbed.cluster import Testbed

EXAMPLES = MANIFESTS / "examples"
Object = dict[str, Any]


@pytest.fixture(scope="module")
def kinds(cluster: Testbed) -> None:
    """The API server knows rollouts and actions."""
    install(cluster)


@pytest.fixture
def restricted(cluster: Testbed, namespace: str, kinds: None) -> str:
    """A namespace in which only pods of Pod Security's level `restricted` may be."""
    label = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "namespace", namespace, label)
    return namespace


def built(cluster: Testbed, folder: Path = MANIFESTS) -> list[Object]:
    """What kustomize makes of a folder."""
    text = cluster.kubectl("kustomize", str(folder)).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def pods(objects: list[Object]) -> Iterator[Object]:
    """The pods that the Deployments among these would make."""
    for found in objects:
        if found["kind"] == "Deployment":
            yield found["spec"]["template"]


def test_the_api_server_takes_what_installs_headgate(cluster: Testbed, kinds: None) -> None:
    if cluster.kubectl("get", "namespace", "headgate", check=False).returncode != 0:
        cluster.kubectl("create", "namespace", "headgate")
    done = cluster.kubectl(
        "apply", "--server-side", "--dry-run=server", "--force-conflicts", "-k", str(MANIFESTS)
    )
    assert len(done.stdout.splitlines()) == len(built(cluster))
    assert "Warning" not in done.stderr


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_api_server_takes_each_example(cluster: Testbed, restricted: str, example: Path) -> None:
    done = cluster.kubectl("-n", restricted, "create", "--dry-run=server", "-f", str(example))
    assert "Warning" not in done.stderr


def test_the_api_server_takes_the_routers(cluster: Testbed, restricted: str) -> None:
    done = cluster.kubectl(
        "-n", restricted, "apply", "--server-side", "--dry-run=server", "-k", str(MANIFESTS / "router")
    )
    assert "Warning" not in done.stderr


def test_every_pod_may_run_where_only_restricted_ones_may(cluster: Testbed, restricted: str) -> None:
    objects = [*built(cluster), *built(cluster, MANIFESTS / "router")]
    objects += [
        document for file in EXAMPLES.glob("*.yaml") for document in yaml.safe_load_all(file.read_text())
    ]
    templates = list(pods(objects))
    assert len(templates) == 3
    for index, template in enumerate(templates):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"pod-{index}"},
            "spec": template["spec"],
        }
        pod["spec"].pop("serviceAccountName", None)  # an account of the namespace headgate
        answer = cluster.client().post(
            f"/api/v1/namespaces/{restricted}/pods", params={"dryRun": "All"}, json=pod
        )
        assert answer.status_code == 201, answer.text


def test_a_pod_that_asks_for_more_is_refused_there(cluster: Testbed, restricted: str) -> None:
    """Or the test above would prove nothing."""
    (pod, *_) = pods(built(cluster))
    spec = pod["spec"] | {"securityContext": {}}
    spec.pop("serviceAccountName")
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "more"}, "spec": spec}
    answer = cluster.client().post(
        f"/api/v1/namespaces/{restricted}/pods", params={"dryRun": "All"}, json=document
    )
    assert answer.status_code == 403


def test_containers_cannot_write_where_they_run_and_say_what_they_need(cluster: Testbed) -> None:
    for template in pods([*built(cluster), *built(cluster, MANIFESTS / "router")]):
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["limits"]["memory"]
            assert {"readinessProbe", "livenessProbe"} <= set(container)


def rules(objects: list[Object], kind: str, name: str) -> list[Mapping[str, Any]]:
    (found,) = [o["rules"] for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return list(found)


def test_the_controller_reads_no_secrets_and_creates_no_actions(cluster: Testbed) -> None:
    for rule in rules(built(cluster), "Role", "headgate-controller"):
        assert "secrets" not in rule["resources"]
        assert "*" not in [*rule["resources"], *rule["verbs"], *rule["apiGroups"]]
        if "rolloutactions" in rule["resources"]:
            assert "create" not in rule["verbs"]


def test_of_secrets_the_controller_may_only_read_and_fill_its_own(cluster: Testbed) -> None:
    (rule,) = rules(built(cluster), "Role", "headgate-controller-tls")
    assert rule == {
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": ["headgate-tls"],
        "verbs": ["get", "update"],
    }


def test_outside_its_namespace_the_controller_only_asks_who_somebody_is(cluster: Testbed) -> None:
    found = rules(built(cluster), "ClusterRole", "headgate-controller-identity")
    assert [(rule["resources"], rule["verbs"]) for rule in found] == [
        (["tokenreviews"], ["create"]),
        (["subjectaccessreviews"], ["create"]),
    ]


def test_an_owner_may_all_that_can_be_asked_for(cluster: Testbed) -> None:
    objects = built(cluster)
    (definition,) = [
        o for o in objects if o["metadata"]["name"] == "rolloutactions.headgate.dev" and "names" in o["spec"]
    ]
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    owner, *_ = rules(objects, "ClusterRole", "headgate-owner")
    assert set(owner["verbs"]) == {"get", "list", "watch", *spec["properties"]["action"]["enum"]}
    on_call, *_ = rules(objects, "ClusterRole", "headgate-on-call")
    assert set(on_call["verbs"]) == {"get", "list", "watch", "rollback", "pause"}


# The chart


CHART = MANIFESTS.parent / "charts" / "headgate"


def chart(cluster: Testbed, *values: str) -> list[Object]:
    """What helm makes of the chart."""
    sets = [word for value in values for word in ("--set", value)]
    version = cluster.client().get("/version").json()["gitVersion"]
    done = subprocess.run(
        ["helm", "template", "headgate", str(CHART), "--namespace", "headgate", "--include-crds",
         "--kube-version", version, *sets],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def essence(objects: list[Object]) -> dict[tuple[str, str], Object]:
    """Objects by kind and name, without what says only where they are or whose they are."""
    found = {}
    for thing in objects:
        if thing["kind"] == "Namespace":  # helm has --create-namespace
            continue
        metadata = {name: value for name, value in thing["metadata"].items() if name != "namespace"}
        labels = {
            name: value
            for name, value in metadata.pop("labels", {}).items()
            if name != "app.kubernetes.io/part-of"
        }
        found[thing["kind"], metadata["name"]] = thing | {
            "metadata": metadata | ({"labels": labels} if labels else {})
        }
    return found


@pytest.mark.needs("helm")
def test_the_chart_makes_the_very_objects_of_the_manifests(cluster: Testbed) -> None:
    by_chart, by_kustomize = essence(chart(cluster)), essence(built(cluster))
    assert set(by_chart) == set(by_kustomize)
    for (kind, name), found in by_chart.items():
        if kind != "CustomResourceDefinition":  # the same files, as tests/house sees to
            assert found == by_kustomize[kind, name], f"{kind} {name}"


@pytest.mark.needs("helm")
def test_the_api_server_takes_what_the_chart_makes_with_every_value_used(
    cluster: Testbed, restricted: str
) -> None:
    objects = chart(
        cluster, "controller.replicas=3", "controller.args={--sink=chat=https://chat.example/hook}", "image.pullPolicy=Never",
        "image.tag=dev", "imagePullSecrets[0].name=registry", "networkPolicy.create=true",
    )  # fmt: skip
    (deployment,) = [thing for thing in objects if thing["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert deployment["spec"]["replicas"] == 3
    assert container["image"] == "headgate:dev"
    assert "--sink=chat=https://chat.example/hook" in container["args"]
    assert "NetworkPolicy" in {thing["kind"] for thing in objects}
    for thing in objects:
        done = cluster.kubectl(
            "-n",
            restricted,
            "apply",
            "--server-side",
            "--dry-run=server",
            "--force-conflicts",
            "-f",
            "-",
            stdin=thing,
        )
        assert "Warning" not in done.stderr


@pytest.mark.needs("helm")
def test_where_few_may_reach_the_controller_every_router_may_and_who_is_named(cluster: Testbed) -> None:
    named = "networkPolicy.from[0].namespaceSelector.matchLabels.team=metrics"
    objects = chart(cluster, "networkPolicy.create=true", named)
    (policy,) = [thing for thing in objects if thing["kind"] == "NetworkPolicy"]
    *routers, last = policy["spec"]["ingress"][0]["from"]
    assert last == {"namespaceSelector": {"matchLabels": {"team": "metrics"}}}
    wanted = [peer["podSelector"]["matchLabels"].items() for peer in routers]
    sidecar = list(yaml.safe_load_all((EXAMPLES / "sidecar.yaml").read_text()))
    for template in pods([*built(cluster, MANIFESTS / "router"), *sidecar]):
        assert any(labels <= template["metadata"]["labels"].items() for labels in wanted)


@pytest.mark.needs("helm")
def test_with_a_certificate_of_somebody_elses_the_controller_keeps_no_authority(cluster: Testbed) -> None:
    objects = chart(cluster, "tls.secret=mine")
    (deployment,) = [thing for thing in objects if thing["kind"] == "Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert "--tls-cert=/etc/headgate/tls/tls.crt" in container["args"]
    assert {"name": "tls", "secret": {"secretName": "mine"}} in spec["volumes"]
    assert {"name": "tls", "mountPath": "/etc/headgate/tls", "readOnly": True} in container["volumeMounts"]
    assert "Secret" not in {thing["kind"] for thing in objects}
    assert "headgate-controller-tls" not in {thing["metadata"]["name"] for thing in objects}


@pytest.mark.needs("helm")
def test_what_is_switched_off_is_left_out(cluster: Testbed) -> None:
    kinds = [thing["kind"] for thing in chart(cluster, "people.create=false", "admission.create=false")]
    assert "ValidatingAdmissionPolicy" not in kinds
    assert kinds.count("ClusterRole") == 1
