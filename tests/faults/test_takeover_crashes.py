"""The controller dies right before and right after each write of a take-over: the Service always leads to somebody."""

from functools import partial
from pathlib import Path

import pytest

from controller.adapters.kubernetes import takeover
from tests.cluster.fronts import FRONT, TAKING, recording, router_pod
from tests.cluster.testbed.cluster import Testbed
from tests.cluster.testbed.kubelet import Kubelet
from tests.cluster.versions import deployment, service
from tests.cluster.whole import NAME, rollout
from tests.faults.crashes import FAULTS, Side
from tests.faults.proxy.kube import WRITES
from tests.faults.proxy.rules import Rule
from tests.faults.scene import Scene, Versions

WHERE = {"old": f"app={FRONT}", "routers": str(takeover.routers_of(NAME))}


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("side", "deaths"), [("before", (1, 2)), ("after", (1, 1))])
def test_a_death_at_a_write_of_a_service_leaves_it_leading_to_somebody_and_the_next_life_ends_it(
    cluster: Testbed,
    namespace: str,
    tmp_path: Path,
    model_versions: Versions,
    side: Side,
    deaths: tuple[int, ...],
) -> None:
    with (
        Scene(cluster, namespace, tmp_path, model_versions) as scene,
        recording(cluster, namespace) as history,
        Kubelet(cluster, namespace),
    ):
        # A rule counts the writes that the one before lets pass.
        for made in (deployment(FRONT), service(FRONT), router_pod("r1")):
            scene.whole.kubectl("apply", "-f", "-", stdin=made)
        scene.whole.kubectl("wait", "--for=condition=Available", "--timeout=90s", f"deployment/{FRONT}")
        kills = [
            Rule(FAULTS[side](scene.kill), verbs=WRITES, resources=("services",), nth=nth) for nth in deaths
        ]
        for kill in kills:
            scene.proxy.add(kill)
        scene.start()
        scene.apply(rollout([model_versions["v1"], model_versions["v2"]], traffic=TAKING))
        leads = partial(history.leads, FRONT)
        scene.until("it leads to the routers", lambda: leads()[-1:] == [WHERE["routers"]])
        scene.until("that is said", lambda: "TakenOver" in _told(scene))
        scene.patch({"spec": {"traffic": None}})
        scene.until("it leads back", lambda: leads() == [WHERE["old"], WHERE["routers"], WHERE["old"]])
        scene.phase_is("Healthy", "v1")
        scene.until("the last death", lambda: scene.reborn.lives == 1 + len(deaths))
        scene.until("nobody asks any more", lambda: "TakenOver" not in _told(scene))
        assert history.gaps() == []
        assert len(history.services.of(FRONT)) == 3
        assert scene.broken() == []


def _told(scene: Scene) -> set[str]:
    """The conditions of the rollout that are True."""
    return {one["type"] for one in scene.status().get("conditions", ()) if one["status"] == "True"}
