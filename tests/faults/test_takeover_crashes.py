"""The controller dies right before and right after each write of a take-over and of an adoption: nobody is led nowhere."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.kubernetes import adopted, takeover
from tests.cluster.fronts import FRONT, TAKING, History, recording, router_pod
from tests.cluster.test_adoption import adopting
from tests.cluster.testbed.cluster import Testbed
from tests.cluster.testbed.kubelet import Kubelet
from tests.cluster.versions import deployment, service
from tests.cluster.whole import NAME, rollout
from tests.faults.crashes import FAULTS, Side
from tests.faults.proxy.kube import WRITES
from tests.faults.proxy.rules import Rule
from tests.faults.scene import Scene, Versions

pytestmark = pytest.mark.timeout(500)

OLD, ROUTERS = f"app={FRONT}", str(takeover.routers_of(NAME))
HAD = 3


@contextmanager
def played(
    cluster: Testbed, namespace: str, folder: Path, versions: Versions
) -> Iterator[tuple[Scene, History]]:
    """The Service `front` with its Deployment of three pods and a router pod; the controller is not started."""
    with ExitStack() as stack:
        scene = stack.enter_context(Scene(cluster, namespace, folder, versions))
        history = stack.enter_context(recording(cluster, namespace))
        stack.enter_context(Kubelet(cluster, namespace))
        for made in (deployment(FRONT, HAD), service(FRONT), router_pod("r1")):
            scene.whole.kubectl("apply", "-f", "-", stdin=made)
        scene.whole.kubectl("wait", "--for=condition=Available", "--timeout=90s", f"deployment/{FRONT}")
        yield scene, history


def deadly(scene: Scene, side: Side, nth: int, resource: str, name: str) -> None:
    """The controller dies at the nth write of this object; of several rules each counts what those before let pass."""
    fault = FAULTS[side](scene.kill)
    scene.proxy.add(Rule(fault, verbs=WRITES, resources=(resource,), name=name, nth=nth))


@pytest.mark.parametrize(("side", "deaths"), [("before", (1, 2)), ("after", (1, 1))])
def test_a_death_at_a_write_of_a_service_leaves_it_leading_to_somebody_and_the_next_life_ends_it(
    cluster: Testbed,
    namespace: str,
    tmp_path: Path,
    model_versions: Versions,
    side: Side,
    deaths: tuple[int, ...],
) -> None:
    with played(cluster, namespace, tmp_path, model_versions) as (scene, history):
        for nth in deaths:
            deadly(scene, side, nth, "services", FRONT)
        scene.start()
        scene.apply(rollout([model_versions["v1"], model_versions["v2"]], traffic=TAKING))
        leads = partial(history.leads, FRONT)
        scene.until("it leads to the routers", lambda: leads()[-1:] == [ROUTERS])
        scene.until("that is said", lambda: "TakenOver" in _told(scene))
        scene.patch({"spec": {"traffic": None}})
        scene.until("it leads back", lambda: leads() == [OLD, ROUTERS, OLD])
        scene.phase_is("Healthy", "v1")
        scene.until("the last death", lambda: scene.reborn.lives == 1 + len(deaths))
        scene.until("nobody asks any more", lambda: "TakenOver" not in _told(scene))
        assert history.gaps() == []
        assert len(history.services.of(FRONT)) == 3
        assert scene.broken() == []


@pytest.mark.parametrize(("side", "deaths"), [("before", (1, 2, 2)), ("after", (1, 1, 1))])
def test_a_death_at_a_write_of_an_adopted_deployment_takes_no_pod_that_is_needed(
    cluster: Testbed,
    namespace: str,
    tmp_path: Path,
    model_versions: Versions,
    side: Side,
    deaths: tuple[int, ...],
) -> None:
    with played(cluster, namespace, tmp_path, model_versions) as (scene, history):
        for nth in deaths:
            deadly(scene, side, nth, "deployments", FRONT)
        scene.start()
        scene.apply(adopting("onSuccess"))
        scene.until("its pods are let go", lambda: _counts(scene) == (0, HAD))
        scene.until("the first death", lambda: scene.reborn.lives >= 2)
        scene.delete()
        scene.until("the rollout is gone", lambda: not scene.rollout())
        scene.until("the last death", lambda: scene.reborn.lives == 1 + len(deaths))
        assert _counts(scene) == (HAD, None)
        assert history.leads() == [OLD, ROUTERS, OLD]
        assert history.gaps() == []


def _counts(scene: Scene) -> tuple[int, int | None]:
    """How many pods the Deployment shall have, and how many the note says that it had."""
    found: Mapping[str, Any] = json.loads(
        scene.whole.kubectl("get", "deployment", FRONT, "--output", "json").stdout
    )
    note = adopted.note_of(found)
    return adopted.replicas_of(found), note.had if note is not None else None


def _told(scene: Scene) -> set[str]:
    """The conditions of the rollout that are True."""
    return {one["type"] for one in scene.status().get("conditions", ()) if one["status"] == "True"}
