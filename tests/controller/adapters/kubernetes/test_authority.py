"""The controller's own authority: made once, whoever comes first; renewed so that nobody ever meets one they do not know."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.certificates import (
    AUTHORITY_S,
    DAY_S,
    SERVING_S,
    ServerTls,
    Unusable,
    ends_at,
    made_at,
    made_authority,
)
from controller.adapters.kubernetes.api import Api, ApiError, Forbidden, Settings
from controller.adapters.kubernetes.authority import (
    OVERLAP_S,
    RENEW_BEFORE_S,
    ROTATE,
    SECRET,
    Authority,
    Kept,
    advanced,
)
from controller.adapters.kubernetes.trust import CONFIG_MAP, Trust
from headgate.log import Log
from tests.controller.adapters.kubernetes import api_server
from tests.controller.adapters.kubernetes.api_server import Cluster, kubeconfig, status

NOW = time.time()
PATH = f"/api/v1/namespaces/ml/secrets/{SECRET}"
Json = dict[str, Any]


# What there should be, by the time it is


def test_the_first_is_made_at_once_and_left_alone_for_most_of_its_life() -> None:
    made = advanced(None, NOW)
    assert made.next is None
    assert made.bundle.count("BEGIN CERTIFICATE") == 1
    for later_s in (0.0, DAY_S, AUTHORITY_S - RENEW_BEFORE_S - DAY_S):
        assert advanced(made, NOW + later_s) is made


def test_a_life_of_three_years_never_issues_by_what_was_not_long_known() -> None:
    """Day by day, as a controller looks: every issuer was in the bundle for the overlap before it issued, and is in it
    for as long as anything that it issued may be in use."""
    kept = advanced(None, NOW)
    known_since, issuers, last_issued = {kept.current.certificate: NOW}, [kept.current.certificate], {}
    step_s = DAY_S / 4
    for step in range(round(3 * AUTHORITY_S / step_s)):
        now = NOW + step * step_s
        kept = advanced(kept, now)
        believed = kept.bundle.encode()
        for pair in filter(None, (kept.current, kept.next)):
            known_since.setdefault(pair.certificate, now)
        if kept.current.certificate != issuers[-1]:
            issuers.append(kept.current.certificate)
            assert now - known_since[kept.current.certificate] >= OVERLAP_S - 1
        last_issued[kept.current.certificate] = now
        assert ends_at(kept.current.certificate) - now > SERVING_S
        for issuer, at in last_issued.items():
            assert issuer in believed or now - at >= SERVING_S - step_s
        assert believed.count(b"BEGIN CERTIFICATE") <= 3
    assert len(issuers) == 4


def test_a_person_may_ask_for_another_one_earlier() -> None:
    first = advanced(None, NOW)
    asked = advanced(first, NOW + DAY_S, is_asked=True)
    assert asked.current == first.current
    assert asked.next is not None
    assert asked.bundle.count("BEGIN CERTIFICATE") == 2
    assert advanced(asked, NOW + DAY_S, is_asked=True) == asked
    turned = advanced(asked, made_at(asked.next.certificate) + OVERLAP_S)
    assert turned == Kept(asked.next, None, first.current.certificate)


def test_after_a_year_without_a_controller_there_is_one_that_is_valid() -> None:
    first = advanced(None, NOW)
    late = advanced(first, NOW + AUTHORITY_S + DAY_S)
    assert ends_at(late.current.certificate) > NOW + AUTHORITY_S + DAY_S
    waiting = Kept(first.current, made_authority(NOW + AUTHORITY_S - 60))
    assert advanced(waiting, NOW + AUTHORITY_S).current == waiting.next


# In the Secret


class Scene:
    """An API server, and replicas of the controller that look at the Secret."""

    def __init__(self, cluster: Cluster, config: Path, stack: AsyncExitStack) -> None:
        self.cluster = cluster
        self.config = config
        self.now = NOW
        self.stack = stack
        self.told = 0

    def replica(self) -> Authority:
        api = Api.connect(Settings(kubeconfig=str(self.config)))
        self.stack.push_async_callback(api.close)
        tls = ServerTls()
        return Authority(
            api, tls, ("localhost",), on_bundle=self._tell, now=lambda: self.now, log=Log("test"), look_s=0.05
        )

    def api(self) -> Api:
        api = Api.connect(Settings(kubeconfig=str(self.config)))
        self.stack.push_async_callback(api.close)
        return api

    def _tell(self) -> None:
        self.told += 1

    def writes(self) -> list[str]:
        return [seen.method for seen in self.cluster.seen if seen.method != "GET"]

    def data(self) -> dict[str, bytes]:
        found = self.cluster.objects[PATH]["data"]
        return {name: base64.b64decode(value) for name, value in found.items()}


def play(folder: Path, story: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole(cluster: Cluster, config: Path) -> None:
        async with AsyncExitStack() as stack:
            await story(Scene(cluster, config, stack))

    with api_server.serving() as (cluster, port):
        asyncio.run(whole(cluster, kubeconfig(folder, port, "ml")))


async def until(holds: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)
    assert holds(), what


def test_it_is_made_once_and_every_replica_reads_the_same(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        replicas = [scene.replica() for _ in range(4)]
        await asyncio.gather(*(one.look() for one in replicas))
        for one in replicas:
            await one.look()
        assert len({one.bundle for one in replicas}) == 1
        assert replicas[0].bundle.encode() == scene.data()["ca.crt"]
        assert scene.cluster.objects[PATH]["metadata"]["resourceVersion"] == "101", "one write took"
        written = len(scene.writes())
        await replicas[0].look()
        assert len(scene.writes()) == written, "nothing is written at rest"

    play(tmp_path, story)


def test_an_empty_secret_of_the_manifests_is_filled_by_one_of_two(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.cluster.write(
            PATH, {"metadata": {"name": SECRET, "namespace": "ml", "labels": {"kept": "yes"}}}
        )
        one, other = scene.replica(), scene.replica()
        await asyncio.gather(one.look(), other.look())
        assert one.bundle == other.bundle != ""
        assert scene.cluster.objects[PATH]["metadata"]["labels"] == {"kept": "yes"}
        assert "POST" not in scene.writes(), "the Role has no right to create Secrets"

    play(tmp_path, story)


def test_asked_for_by_a_person_it_turns_over_and_the_word_is_taken_away(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        one = scene.replica()
        await one.look()
        first = one.bundle
        found = scene.cluster.objects[PATH]
        metadata = {**found["metadata"], "annotations": {ROTATE: "now", "other": "kept"}}
        scene.cluster.write(PATH, {**found, "metadata": metadata})
        await one.look()
        assert one.bundle.startswith(first)
        assert one.bundle != first
        assert scene.cluster.objects[PATH]["metadata"]["annotations"] == {"other": "kept"}
        both = one.bundle
        await one.look()
        assert one.bundle == both
        scene.now += OVERLAP_S + 1
        await one.look()
        assert one.bundle != both
        assert sorted(one.bundle.split("-----BEGIN")) == sorted(both.split("-----BEGIN"))
        assert scene.data()["previous.crt"] == first.encode()
        assert scene.told == 3

    play(tmp_path, story)


def test_a_serving_certificate_is_renewed_long_before_it_ends(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        one = scene.replica()
        await one.look()
        tls, ends = one._tls, one._tls.ends_at
        scene.now += SERVING_S / 2
        await one.look()
        assert tls.ends_at == ends
        scene.now += SERVING_S / 4
        await one.look()
        assert tls.ends_at == pytest.approx(scene.now + SERVING_S, abs=1)
        assert scene.writes() == ["POST"]

    play(tmp_path, story)


def test_before_the_cluster_answers_it_serves_with_something_nobody_believes(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.cluster.script("GET", SECRET, status(503), times=1)
        one = scene.replica()
        assert one._tls.ends_at > NOW
        with pytest.raises(ApiError):
            await one.look()
        assert one.bundle == ""
        running = asyncio.create_task(one.run())
        await until(lambda: one.bundle, "it goes on by itself")
        running.cancel()

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"ca.crt": "%%%"}, "ca.crt is not base64"),
        ({"ca.crt": "", "ca.key": ""}, "no certificate"),
        ({"other": "eA=="}, "no certificate"),
    ],
)
def test_a_secret_with_something_else_in_it_is_left_alone_and_said(
    tmp_path: Path, data: dict[str, str], said: str
) -> None:
    async def story(scene: Scene) -> None:
        scene.cluster.write(PATH, {"metadata": {"name": SECRET, "namespace": "ml"}, "data": data})
        with pytest.raises(Unusable, match=said) as refused:
            await scene.replica().look()
        assert f"ml/{SECRET}" in str(refused.value)
        assert "take all of its data away" in str(refused.value)
        assert scene.writes() == []

    play(tmp_path, story)


def test_a_key_of_another_certificate_is_refused_without_being_shown(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        one, other = made_authority(NOW), made_authority(NOW)
        held = {"ca.crt": one.certificate, "ca.key": other.key}
        data = {name: base64.b64encode(value).decode() for name, value in held.items()}
        scene.cluster.write(PATH, {"metadata": {"name": SECRET, "namespace": "ml"}, "data": data})
        with pytest.raises(Unusable, match="not that of the key") as refused:
            await scene.replica().look()
        assert "PRIVATE" not in str(refused.value)

    play(tmp_path, story)


def test_without_the_right_to_write_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story(scene: Scene) -> None:
        scene.cluster.script("POST", "secrets", status(403, "Forbidden", "no"), times=50)
        one = scene.replica()
        with pytest.raises(Forbidden):
            await one.look()
        running = asyncio.create_task(one.run())
        await until(lambda: len(scene.writes()) > 2, "it tries again")
        running.cancel()

    play(tmp_path, story)
    said = capsys.readouterr().err
    assert said.count("cannot be used") == 1
    assert "Role headgate-controller-tls" in said


# What routers are told


def published(scene: Scene, namespace: str) -> Json | None:
    return scene.cluster.objects.get(f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}")


def trust(scene: Scene, world: Json) -> tuple[Trust, "asyncio.Task[None]"]:
    made = Trust(
        scene.api(),
        None,
        namespaces=lambda: frozenset(world["namespaces"]),
        bundle=lambda: str(world["bundle"]),
        log=Log("test"),
    )
    running = asyncio.create_task(made.run())

    async def end() -> None:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    scene.stack.push_async_callback(end)
    return made, running


def test_the_bundle_follows_the_rollouts_and_is_written_only_where_it_differs(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        world: Json = {"namespaces": {"ml"}, "bundle": ""}
        made, _ = trust(scene, world)
        await until(lambda: any(seen.method == "GET" for seen in scene.cluster.seen), "it looks")
        assert scene.writes() == []
        world["bundle"] = "one"
        made.look()
        await until(lambda: published(scene, "ml"), "it is published")
        world["namespaces"] = {"ml", "fraud"}
        made.look()
        await until(lambda: published(scene, "fraud"), "a new namespace has it too")
        assert scene.writes() == ["PATCH", "PATCH"]
        world["bundle"] = "two"
        made.look()
        await until(lambda: (published(scene, "ml") or {})["data"] == {"ca.crt": "two"}, "it is renewed")
        world["namespaces"] = {"ml"}
        made.look()
        await until(lambda: published(scene, "fraud") is None, "it goes with the last rollout")
        scene.cluster.remove(f"/api/v1/namespaces/ml/configmaps/{CONFIG_MAP}")
        await until(lambda: published(scene, "ml"), "what was deleted by hand is there again")

    play(tmp_path, story)


def test_what_somebody_else_calls_so_is_left_alone_and_the_other_namespaces_are_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story(scene: Scene) -> None:
        theirs = {"metadata": {"name": CONFIG_MAP, "namespace": "fraud"}, "data": {"ca.crt": "theirs"}}
        scene.cluster.write(f"/api/v1/namespaces/fraud/configmaps/{CONFIG_MAP}", theirs)
        trust(scene, {"namespaces": {"fraud", "ml"}, "bundle": "ours"})
        await until(lambda: published(scene, "ml"), "the other one has it")
        assert (published(scene, "fraud") or {})["data"] == {"ca.crt": "theirs"}

    play(tmp_path, story)
    assert "belongs to somebody else" in capsys.readouterr().err


def test_a_namespace_that_cannot_be_written_holds_up_no_other_and_is_tried_again(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.cluster.script(
            "PATCH", "/namespaces/a/", status(403, "Forbidden", "it is terminating"), times=2
        )
        trust(scene, {"namespaces": {"a", "b"}, "bundle": "one"})
        await until(lambda: published(scene, "b"), "the other one has it")
        await until(lambda: published(scene, "a"), "and then this one")

    play(tmp_path, story)
