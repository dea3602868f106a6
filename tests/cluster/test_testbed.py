"""The testbed is a real Kubernetes: what the API server, its admission and the controllers do happens here too."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.testbed.cluster import PREFIX, Testbed, wait_for
from tests.cluster.testbed.programs import Program

GADGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "gadgets.testbed.headgate.dev"},
    "spec": {
        "group": "testbed.headgate.dev",
        "scope": "Namespaced",
        "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}},
                                "x-kubernetes-validations": [
                                    {"rule": "self.low < self.high", "message": "low must be below high"}
                                ],
                            }
                        },
                    }
                },
            }
        ],
    },
}


def gadget(name: str, low: int, high: int) -> dict[str, Any]:
    return {
        "apiVersion": "testbed.headgate.dev/v1",
        "kind": "Gadget",
        "metadata": {"name": name},
        "spec": {"low": low, "high": high},
    }


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_the_version_is_the_pinned_one(cluster: Testbed) -> None:
    assert cluster.client().get("/version").json()["gitVersion"] == "v1.36.3"
    assert "Server Version: v1.36.3" in cluster.kubectl("version").stdout


def test_a_crd_brings_its_kind_and_its_cel_rule_refuses(cluster: Testbed, namespace: str) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=GADGETS)
    cluster.kubectl(
        "wait", "--for=condition=Established", "--timeout=60s", "crd/gadgets.testbed.headgate.dev"
    )
    cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=gadget("good", 1, 2))
    refused = cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=gadget("bad", 2, 1), check=False)
    assert refused.returncode != 0
    assert "low must be below high" in refused.stderr
    assert cluster.kubectl("-n", namespace, "get", "gadgets", "-o", "name").stdout.split() == [
        "gadget.testbed.headgate.dev/good"
    ]


def test_server_side_apply_knows_who_owns_a_field(cluster: Testbed, namespace: str) -> None:
    apply = ("-n", namespace, "apply", "--server-side", "-f", "-")
    cluster.kubectl(*apply, "--field-manager=one", stdin=config_map("owned", key="one"))
    refused = cluster.kubectl(
        *apply, "--field-manager=two", stdin=config_map("owned", key="two"), check=False
    )
    assert 'conflict with "one": .data.key' in refused.stderr
    cluster.kubectl(*apply, "--field-manager=two", "--force-conflicts", stdin=config_map("owned", key="two"))
    found = cluster.client().get(f"/api/v1/namespaces/{namespace}/configmaps/owned").json()
    assert found["data"] == {"key": "two"}


def test_a_watch_tells_of_what_happens(cluster: Testbed, namespace: str) -> None:
    client = cluster.client()
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    version = client.get(path).json()["metadata"]["resourceVersion"]
    seen: list[tuple[str, str]] = []
    with client.stream("GET", path, params={"watch": "1", "resourceVersion": version}) as watch:
        client.post(path, json=config_map("watched")).raise_for_status()
        client.delete(f"{path}/watched").raise_for_status()
        for line in watch.iter_lines():
            event = json.loads(line)
            if event["object"]["metadata"]["name"] == "watched":
                seen.append((event["type"], event["object"]["metadata"]["name"]))
            if len(seen) == 2:
                break
    assert seen == [("ADDED", "watched"), ("DELETED", "watched")]


def test_a_named_person_may_what_a_role_allows_and_no_more(cluster: Testbed, namespace: str) -> None:
    refused = cluster.kubectl("-n", namespace, "get", "configmaps", user="alice", check=False)
    assert 'User "alice" cannot list resource "configmaps"' in refused.stderr
    cluster.kubectl("-n", namespace, "create", "role", "reader", "--verb=get,list", "--resource=configmaps")
    cluster.kubectl("-n", namespace, "create", "rolebinding", "reader", "--role=reader", "--user=alice")
    wait_for(
        lambda: cluster.kubectl("-n", namespace, "get", "cm", user="alice", check=False).returncode == 0,
        "the binding lets alice list",
    )
    refused = cluster.kubectl("-n", namespace, "create", "cm", "x", user="alice", check=False)
    assert 'User "alice" cannot create resource "configmaps"' in refused.stderr


def test_a_group_counts_as_well_as_a_name(cluster: Testbed, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "create", "rolebinding", "duty", "--clusterrole=view", "--group=on-call")
    listing = ("-n", namespace, "get", "cm")
    wait_for(lambda: cluster.kubectl(*listing, user="oncall", check=False).returncode == 0, "oncall may list")
    assert cluster.kubectl(*listing, user="alice", check=False).returncode != 0


def test_a_stranger_is_refused_before_any_role(cluster: Testbed) -> None:
    with pytest.raises(KeyError, match="there are admin, alice"):
        cluster.token("mallory")
    headers = {"Authorization": "Bearer made-up"}
    assert cluster.client().get("/api/v1/namespaces", headers=headers).status_code == 401


def test_the_audit_log_has_who_did_what(cluster: Testbed, namespace: str) -> None:
    cluster.kubectl("-n", namespace, "get", "secrets", user="bob", check=False)
    asked = wait_for(
        lambda: [
            event for event in cluster.audited("bob") if event["objectRef"].get("namespace") == namespace
        ],
        "bob's request in the audit log",
    )
    assert [(event["verb"], event["objectRef"]["resource"]) for event in asked] == [("list", "secrets")]
    assert asked[0]["responseStatus"]["code"] == 403


def test_what_an_owner_owned_is_collected_after_it(cluster: Testbed, namespace: str) -> None:
    client = cluster.client()
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    owner = client.post(path, json=config_map("owner")).json()
    owned = config_map("owned")
    owned["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    ]
    client.post(path, json=owned).raise_for_status()
    client.delete(f"{path}/owner").raise_for_status()
    wait_for(lambda: client.get(f"{path}/owned").status_code == 404, "the owned ConfigMap is gone")


def test_a_pods_token_is_reviewed_for_its_audience(cluster: Testbed, namespace: str) -> None:
    create = ("-n", namespace, "create", "token", "default", "--audience=headgate")
    token = cluster.kubectl(*create).stdout.strip()

    def reviewed(*audiences: str) -> dict[str, Any]:
        review = {"spec": {"token": token, "audiences": audiences}}
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        status: dict[str, Any] = cluster.client().post(path, json=review).json()["status"]
        return status

    assert reviewed("headgate")["user"]["username"] == f"system:serviceaccount:{namespace}:default"
    assert not reviewed("somebody-else").get("authenticated", False)


def test_the_gateway_api_is_there_and_refuses_what_it_should(gateway_api: Testbed, namespace: str) -> None:
    def route(weight: int) -> dict[str, Any]:
        backend = {"name": "model", "port": 80, "weight": weight}
        return {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "model"},
            "spec": {"rules": [{"backendRefs": [backend]}]},
        }

    apply = ("-n", namespace, "apply", "--server-side", "-f", "-")
    gateway_api.kubectl(*apply, stdin=route(10))
    refused = gateway_api.kubectl(*apply, stdin=route(-1), check=False)
    assert "spec.rules[0].backendRefs[0].weight" in refused.stderr


@pytest.fixture
def own(tmp_path: Path) -> Testbed:
    """A cluster that a test may hurt; it needs a test's `cluster` mark all the same."""
    return Testbed(temp=tmp_path)


@pytest.mark.usefixtures("cluster")
def test_the_api_server_can_go_hang_and_come_back_with_its_objects(own: Testbed) -> None:
    with own:
        client = own.client(timeout_s=2.0)
        objects = "/api/v1/namespaces/default/configmaps"
        client.post(objects, json=config_map("kept")).raise_for_status()
        own.apiserver.suspend()
        with pytest.raises(httpx.TimeoutException):
            client.get("/readyz")
        own.apiserver.resume()
        own.stop_apiserver(kill=True)
        with pytest.raises(httpx.ConnectError):
            client.get("/readyz")
        own.start_apiserver()
        assert client.get(f"{objects}/kept").status_code == 200


@pytest.mark.usefixtures("cluster")
def test_a_restored_backup_knows_nothing_of_what_came_after_it(own: Testbed) -> None:
    def create(name: str) -> int:
        answer = own.client().post("/api/v1/namespaces/default/configmaps", json=config_map(name))
        return int(answer.raise_for_status().json()["metadata"]["resourceVersion"])

    with own:
        create("before")
        backup = own.backup()
        latest = [create(f"after-{number}") for number in range(50)][-1]
        own.restore(backup)
        names = own.kubectl("get", "configmaps", "-o", "name").stdout.split()
        assert "configmap/before" in names
        assert not any("after" in name for name in names)
        assert create("since") < latest


@pytest.mark.usefixtures("cluster")
def test_a_cluster_leaves_nothing_behind(own: Testbed) -> None:
    with own:
        pids = [program.pid for program in (own.etcd, own.apiserver, own.manager)]
        assert all(map(alive, pids))
        folder = own.folder
    assert not any(map(alive, pids))
    assert not folder.exists()


STARTED_AND_KILLED = """
import sys, time, pathlib
from tests.cluster.testbed.cluster import Testbed
with Testbed(temp=pathlib.Path(sys.argv[1])) as own:
    print(own.etcd.pid, own.apiserver.pid, own.manager.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.usefixtures("cluster")
def test_what_a_killed_run_left_ends_with_it_and_the_next_run_clears_up(tmp_path: Path, own: Testbed) -> None:
    command = [sys.executable, "-c", STARTED_AND_KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pids = [int(word) for word in run.stdout.readline().split()]
        assert len(pids) == 3
        run.kill()
    try:
        wait_for(lambda: not any(map(alive, pids)), "the programs died with the run that started them")
    finally:
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)
    (left,) = tmp_path.glob(f"{PREFIX}*")
    with own:
        assert not left.exists()


def alive(pid: int) -> bool:
    """A zombie counts as dead: its parent here is whoever collects orphans."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_a_program_dies_with_the_thread_that_started_it(tmp_path: Path) -> None:
    program = Program("sleep", ["sleep", "600"], tmp_path)

    def start() -> None:
        program.start()
        wait_for(
            lambda: Path(f"/proc/{program.pid}/comm").read_text() == "sleep\n", "setpriv has become sleep"
        )

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    wait_for(lambda: not program.alive, "sleep was killed")


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    program = Program("stubborn", ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"], tmp_path)
    program.start()
    wait_for(lambda: "up" in program.tail(), "the trap is set")
    program.stop(patience_s=0.5)
    assert not program.alive
