"""An API server that is away, silent, overloaded or behind, and people who take things away: the rollout ends as ever.

`make faults` runs the same with outages of minutes (FAULTS=long), and with lost events for the whole story.
"""

import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from controller.crd import crds
from tests.cluster.testbed.cluster import Testbed, wait_for
from tests.cluster.whole import NAME, install, rollout
from tests.faults.crashes import Stage
from tests.faults.proxy.rules import (
    Answer,
    DelayEvents,
    DropEvents,
    DuplicateEvents,
    Gone,
    Reset,
    Rule,
    Stall,
    conflicts_on_every_second_write,
)
from tests.faults.recorded import remembered
from tests.faults.scene import Scene, Versions
from tests.faults.stories import CANARY, GOOD, HOLDS, Story, play, wrongs

IS_LONG: Final = os.environ.get("FAULTS") == "long"
AWAY_S: Final = 300.0 if IS_LONG else 4.0
STORM_S: Final = 60.0 if IS_LONG else 5.0
LOSSES_S: Final = 1200.0
"""A lost event of a rollout at rest is missed until the next list: ten minutes, a quarter more or less."""


class Theatre:
    """One scene after the other: a controller that played one story to its end may play the next."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._numbers = itertools.count(1)
        self._scene: Scene | None = None

    def __enter__(self) -> "Theatre":
        return self

    def __exit__(self, *_: object) -> None:
        if self._scene is not None:
            self._scene.__exit__()
        self._scene = None

    def scene(self) -> Scene:
        """Started, with no rollout in it and no fault."""
        if self._scene is None:
            self._scene = self._stage.scene(f"faults-{next(self._numbers)}").__enter__()
            self._scene.start()
        return self._scene

    def tidy(self) -> None:
        """No fault lasts longer than its test; a scene that is not as before its story is of no more use."""
        scene = self._scene
        if scene is None:
            return
        scene.proxy.clear()
        scene.proxy.thaw()
        if scene.rollouts.present or scene.actions.present or scene.reborn.lives != 1:
            self.__exit__()


pytestmark = pytest.mark.timeout(7200 if IS_LONG else 600)

WATCHED = ("modelrollouts", "rolloutactions")
STEADY: Final[Mapping[str, Sequence[Rule]]] = {
    "409 on every second write": [conflicts_on_every_second_write()],
    "events late and twice": [
        Rule(DelayEvents(0.3), resources=WATCHED, every=2),
        Rule(DuplicateEvents(), resources=WATCHED),
    ],
    "410 and watches that go silent": [
        Rule(Gone(in_stream=True), resources=WATCHED, every=3),
        Rule(Gone(in_stream=False), resources=WATCHED, every=2),
        Rule(Stall(), resources=("modelrollouts",), nth=6),
    ],
    "429, 500 and 503": [
        Rule(Answer(429, retry_after_s=1), every=7),
        Rule(Answer(500), every=5),
        Rule(Answer(503), every=4),
        Rule(Reset(), every=9),
    ],
}


@pytest.fixture
def fresh(cluster: Testbed, namespace: str, tmp_path: Path, model_versions: Versions) -> Iterator[Scene]:
    """A scene of the test's own, in which nothing was started yet."""
    with Scene(cluster, namespace, tmp_path, model_versions) as made:
        yield made


@pytest.fixture(scope="module")
def theatre(
    cluster: Testbed, tmp_path_factory: pytest.TempPathFactory, model_versions: Versions
) -> Iterator[Theatre]:
    with Theatre(Stage(cluster, tmp_path_factory.mktemp("scenes"), model_versions)) as made:
        yield made


@pytest.fixture
def scene(theatre: Theatre) -> Iterator[Scene]:
    """Router and controller at work; those of the test before, if it left them in order."""
    yield theatre.scene()
    theatre.tidy()


def ends_as_ever(scene: Scene, meanwhile: Callable[[], None] = lambda: None, story: Story = CANARY) -> None:
    """Play the story; nothing is lost, raised twice, promoted or rolled back in error."""
    end = play(scene, story, meanwhile)
    found = wrongs(scene, story, end)
    assert not found, found
    assert scene.reborn.lives == 1, "it died of the fault"


@pytest.mark.parametrize("name", STEADY)
def test_a_server_that_fails_all_the_time_only_delays(scene: Scene, name: str) -> None:
    active = [scene.proxy.add(rule) for rule in STEADY[name]]
    ends_as_ever(scene)
    assert all(one.applied for one in active), [(one.rule, one.matched) for one in active]


def test_lost_events_of_a_rollout_under_way_are_made_good(scene: Scene) -> None:
    """The controller writes to it, and hears nothing of what it wrote, nor of what others did in between."""

    def meanwhile() -> None:
        with scene.proxy.during(Rule(DropEvents(), resources=("modelrollouts",))) as active:
            scene.until(
                "v2 has half of the traffic", lambda: scene.status().get("stage", "").startswith("2/")
            )
            scene.patch({"metadata": {"annotations": {"somebody": "was here"}}})
            pause(STORM_S)
        assert active.applied

    ends_as_ever(scene, meanwhile)


if IS_LONG:  # no skip: in CI a skip is a failure

    def test_lost_events_of_a_rollout_at_rest_are_made_good_by_the_next_list(scene: Scene) -> None:
        scene.patience_s = LOSSES_S
        with scene.proxy.during(Rule(DropEvents(), resources=WATCHED, every=2)) as active:
            ends_as_ever(scene)
        assert active.applied


def pause(seconds: float) -> None:
    """Let the fault last."""
    threading.Event().wait(seconds)


def away(scene: Scene) -> Iterator[None]:
    """Every connection is broken, and every new one."""
    with scene.proxy.during(Rule(Reset())):
        scene.proxy.cut()
        yield


def silent(scene: Scene) -> Iterator[None]:
    """Connections stay open, and nothing is heard."""
    scene.proxy.freeze()
    yield
    scene.proxy.thaw()


def overloaded(scene: Scene) -> Iterator[None]:
    with scene.proxy.during(Rule(Answer(429, retry_after_s=2))):
        yield


def unavailable(scene: Scene) -> Iterator[None]:
    """503 for every request; watches under way are cut."""
    with scene.proxy.during(Rule(Answer(503))):
        scene.proxy.cut()
        yield


def read_only(scene: Scene) -> Iterator[None]:
    """Its etcd lost the quorum: what is read is fresh, what is written is refused."""
    with scene.proxy.during(Rule(Answer(500), verbs=("create", "update", "patch", "delete"))):
        yield


OUTAGES: Final[Mapping[str, tuple[Callable[[Scene], Iterator[None]], float]]] = {
    "away": (away, AWAY_S),
    "silent": (silent, AWAY_S * 2),
    "overloaded": (overloaded, STORM_S),
    "unavailable": (unavailable, STORM_S),
    "read only": (read_only, STORM_S),
}


@pytest.mark.parametrize("name", OUTAGES)
def test_an_outage_in_the_middle_of_a_ramp_moves_nothing_and_then_it_goes_on(scene: Scene, name: str) -> None:
    fault, seconds = OUTAGES[name]

    def meanwhile() -> None:
        with contextmanager(fault)(scene):
            pause(seconds)
            before = scene.stored()
            pause(seconds / 2)
            assert scene.stored() == before, "something was written"

    ends_as_ever(scene, meanwhile)


def test_a_controller_that_starts_while_the_server_is_away_waits_for_it(fresh: Scene) -> None:
    fresh.proxy.add(Rule(Reset(), times=6))
    fresh.start()
    ends_as_ever(fresh)


def test_hand_edits_of_the_status_change_nothing_that_was_decided(scene: Scene) -> None:
    damages: list[dict[str, Any]] = [
        {"weights": {"desired": "100%", "acknowledged": "100%"}},
        {"state": None},
        {"phase": "Healthy", "stableVersion": GOOD},
        {"state": "no such thing"},
        {"evidence": "AAAA", "candidateVersion": "v9"},
        {"state": "", "stableVersion": "v9"},
    ]

    def meanwhile() -> None:
        for damage in damages:
            scene.patch({"status": damage}, "/status")
            pause(0.5)

    ends_as_ever(scene, meanwhile)


def test_a_poisonous_rollout_beside_it_is_stalled_and_it_goes_on(fresh: Scene) -> None:
    scene = fresh
    bad = rollout([scene.versions["v1"]]) | {"metadata": {"name": "bad"}}

    def meanwhile() -> None:
        scene.apply(bad)
        scene.until("the other has a status", lambda: scene.status("bad").get("state"))
        damage = {"status": {"state": "no such thing", "stableVersion": "v0"}}
        with scene.proxy.during(Rule(Reset())):  # the next one reads it when the damage is done
            scene.kill()
            scene.patch(damage, "/status", "bad")
        scene.until("the other is stalled", lambda: scene.status("bad").get("phase") == "Stalled")

    scene.start()
    found = wrongs(scene, CANARY, play(scene, CANARY, meanwhile))
    assert not found, found
    assert "cannot be read" in scene.status("bad")["message"]


def test_a_rollout_deleted_in_a_storm_brings_all_traffic_to_stable_before_it_goes(scene: Scene) -> None:
    story = Story("deleted", [{"canary": {"weights": ["50%"], "every": "10m"}}, HOLDS, {"full": {}}], ["50%"])
    scene.apply(story.document(scene.versions))
    scene.phase_is("Healthy", "v1")
    with scene.load() as load:
        scene.target(GOOD)
        scene.until("v2 has some share", lambda: load.answers[GOOD] > 5)
        scene.proxy.add(Rule(Answer(503), every=2))
        scene.delete()
        scene.until("the rollout is gone", lambda: not scene.rollout())
        before, sent = load.answers[GOOD], load.sent
        scene.until("some more traffic", lambda: load.sent >= sent + 50)
        load.stop()
    load.without_loss()
    assert load.answers[GOOD] == before
    last = remembered(scene.rollouts.of(NAME)[-1])
    assert last is not None
    assert {owned.version for owned in last.slots} == {"v1"}
    assert not scene.broken(), scene.broken()


@contextmanager
def allowed(client: httpx.Client, user: str) -> Iterator[Callable[[bool], None]]:
    """The user may do everything; call what is given with False, and they may nothing, until it is True again."""
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    binding = {
        "metadata": {"name": f"faults-{user}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }

    def allow(is_allowed: bool) -> None:
        answer = client.post(path, json=binding) if is_allowed else client.delete(f"{path}/{binding_name}")
        answer.raise_for_status()

    binding_name = f"faults-{user}"
    allow(True)
    try:
        yield allow
    finally:
        client.delete(f"{path}/{binding_name}")


def test_rights_that_are_taken_away_are_missed_and_used_again_when_they_are_back(
    cluster: Testbed, namespace: str, tmp_path: Path, model_versions: Versions
) -> None:
    with (
        allowed(cluster.client(), "controller") as allow,
        Scene(cluster, namespace, tmp_path, model_versions, user="controller") as scene,
    ):
        scene.start()

        def meanwhile() -> None:
            allow(False)
            scene.proxy.cut()
            scene.until("it is refused", lambda: any(one.status == 403 for one in scene.proxy.record()))
            pause(STORM_S)
            allow(True)

        ends_as_ever(scene, meanwhile)


def test_kinds_that_are_taken_away_and_given_back_are_served_again(
    tmp_path: Path, model_versions: Versions
) -> None:
    """On a cluster of its own: with a definition all objects of its kind go."""
    folder = tmp_path / "scene"
    folder.mkdir()
    with Testbed(audit=False, temp=tmp_path) as own:
        install(own)
        client = own.client()
        client.post("/api/v1/namespaces", json={"metadata": {"name": "taken"}}).raise_for_status()
        with Scene(own, "taken", folder, model_versions) as scene:
            scene.start()

            def meanwhile() -> None:
                take_away(client, "rolloutactions")
                pause(STORM_S)
                give_back(own, client, "rolloutactions")

            ends_as_ever(scene, meanwhile)
            scene.apply(CANARY.document(model_versions))
            scene.phase_is("Healthy", "v1")
            take_away(client, "modelrollouts")
            pause(STORM_S)
            give_back(own, client, "modelrollouts")
            scene.apply(CANARY.document(model_versions))
            scene.phase_is("Healthy", "v1")
            assert scene.reborn.lives == 1


DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def take_away(client: httpx.Client, plural: str) -> None:
    """Delete the definition; back when it is gone, with all its objects."""
    path = f"{DEFINITIONS}/{plural}.headgate.dev"
    client.delete(path).raise_for_status()
    wait_for(lambda: client.get(path).status_code == 404, f"{plural} are gone", 120)


def give_back(cluster: Testbed, client: httpx.Client, plural: str) -> None:
    for definition in (crds.model_rollouts(), crds.rollout_actions()):
        if definition["metadata"]["name"].startswith(plural):
            cluster.kubectl(
                "apply", "--server-side", "--filename", "-", stdin=json.loads(json.dumps(definition))
            )
    path = f"/apis/headgate.dev/v1alpha1/{plural}"
    wait_for(lambda: client.get(path).status_code == 200, f"{plural} are served", 120)
