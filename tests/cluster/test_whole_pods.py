"""A rollout with a pod template on a real API server: its pods are Deployments of ours, each served by a real process."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.testbed.cluster import Testbed, wait_for
from tests.cluster.testbed.kubelet import READY, UNREADY, Health, Kubelet, Pod
from tests.cluster.testbed.programs import Program
from tests.cluster.versions import ROLLOUTS
from tests.cluster.whole import NAME, ROOT, Whole, install, rollout, until

PORT = 8080


class Servers:
    """A model server for each pod, at the pod's address. What the image is called says how it behaves."""

    def __init__(self, folder: Path, address: Callable[[], str]) -> None:
        self._folder, self._address = folder, address
        self._programs: dict[str, Program] = {}

    def address(self, pod: Pod) -> str:
        """Start the pod's server; where it is."""
        address, name = self._address(), pod["metadata"]["name"]
        options = pod["spec"]["containers"][0]["image"].split(":")[1].split("_")[1:]
        version = pod["metadata"]["labels"]["headgate.dev/version"]
        program = Program(
            name,
            ["env", f"PYTHONPATH={ROOT}", "PYTHONHASHSEED=0", sys.executable, "-m", "tests.local.model",
             "--version", version, "--port", str(PORT), "--host", address, *options],
            self._folder,
        )  # fmt: skip
        program.start()
        self._programs[name] = program
        return address

    def health(self, pod: Pod) -> Health:
        """What a readiness probe says."""
        address = pod["status"].get("podIP")
        if address is None:
            return UNREADY
        try:
            answer = httpx.get(f"http://{address}:{PORT}/v2/health/ready", timeout=2.0, trust_env=False)
        except httpx.TransportError:
            return UNREADY
        return READY if answer.is_success else UNREADY

    def close(self) -> None:
        for program in self._programs.values():
            program.kill()


@contextmanager
def product(
    cluster: Testbed, namespace: str, folder: Path, pod_address: Callable[[], str]
) -> Iterator[Whole]:
    install(cluster)
    servers = Servers(folder, pod_address)
    with (
        Whole(cluster, namespace, folder) as whole,
        Kubelet(cluster, namespace, health=servers.health, address=servers.address),
    ):
        try:
            whole.start()
            yield whole
        finally:
            servers.close()


def pods(version: str, image: str = "model:1") -> dict[str, Any]:
    return {
        "metadata": {"labels": {"headgate.dev/version": version}},
        "spec": {"containers": [{"name": "model", "image": image}]},
    }


def managed(version: str) -> dict[str, Any]:
    document = rollout([])
    for name in ("target", "initialStable", "versions"):
        del document["spec"][name]
    document["spec"] |= {"template": pods(version), "port": PORT, "replicas": 2}
    return document


def change(whole: Whole, template: dict[str, Any]) -> None:
    patch = json.dumps({"spec": {"template": template}})
    whole.kubectl("patch", "mro", NAME, "--type=merge", "--patch", patch)


@pytest.mark.timeout(300)
def test_a_new_template_is_ramped_and_promoted_a_bad_one_rolled_back_and_an_old_one_comes_back(
    cluster: Testbed, namespace: str, tmp_path: Path, pod_address: Callable[[], str]
) -> None:
    with product(cluster, namespace, tmp_path, pod_address) as whole:
        whole.apply(managed("v1"))
        with whole.load() as load:
            change(whole, pods("v2"))
            until("v2 is promoted", lambda: whole.status().get("stableVersion") == "v2", 90, whole.says)
            whole.phase_is("Healthy")
            change(whole, pods("v3", "model:3_--fail_0.9"))
            shown = whole.phase_is("RolledBack")
            assert shown["stableVersion"] == "v2"
            whole.act("undo", "v3", to="v1")
            until("v1 is stable again", lambda: whole.status().get("stableVersion") == "v1", 90, whole.says)
            whole.phase_is("Healthy")
            again = whole.get("modelrollouts", NAME)
            assert again["spec"]["template"]["metadata"] == pods("v1")["metadata"]
            assert again["spec"]["template"]["spec"]["containers"] == pods("v1")["spec"]["containers"]
            path = ROLLOUTS.format(namespace, NAME)
            scale = json.loads(whole.cluster.kubectl("get", "--raw", f"{path}/scale").stdout)
            assert (scale["spec"]["replicas"], scale["status"]["selector"]) == (
                2,
                f"headgate.dev/rollout={NAME}",
            )
            assert scale["status"]["replicas"] >= 2
            load.stop()
        load.without_loss()
        assert load.answers["v2"] > 0
        assert set(load.failed) <= {"v3"}
        made = json.loads(whole.kubectl("get", "controllerrevisions", "-o", "json").stdout)["items"]
        assert sorted(one["metadata"]["name"] for one in made) == ["sum-v1", "sum-v2", "sum-v3"]
        whole.kubectl("delete", "mro", NAME, "--timeout=60s")
        wait_for(
            lambda: (
                whole.kubectl("get", "deployments,services,controllerrevisions", "-o", "name").stdout == ""
            ),
            "nothing of ours is left",
        )
