"""A reflector against a server that breaks off, lies dormant, forgets, repeats itself and speaks nonsense."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.kubernetes.api import Api, Forbidden, Gone, NotFound, Settings, path_of
from controller.adapters.kubernetes.mirror import Object
from controller.adapters.kubernetes.reflector import PATIENCE, Patience, Reflector
from headgate.log import Log
from tests.controller.adapters.kubernetes.api_server import (
    Cluster,
    drop,
    kubeconfig,
    line,
    raw,
    serving,
    status,
)

ALL = path_of("example.dev", "v1", "things")
MINE = path_of("example.dev", "v1", "things", "default")
QUICK = Patience(watch_s=30.0, grace_s=30.0, echo_s=30.0, backoff_first_s=0.02, backoff_last_s=0.1)
PATIENT_S = 60.0


def path(name: str) -> str:
    return f"{MINE}/{name}"


def thing(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def by_owner(obj: Object) -> Iterable[str]:
    return [obj["spec"]["owner"]] if "owner" in obj["spec"] else []


@dataclass
class Scene:
    """A server, a client, a reflector on it, and what it told."""

    cluster: Cluster
    api: Api
    reflector: Reflector
    changes: list[tuple[str, Object | None, Object | None]] = field(default_factory=list)

    async def until(self, holds: Callable[[], object], seconds: float = PATIENT_S) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.005)

    async def sees(self, name: str, **spec: Any) -> None:
        await self.until(lambda: (self.reflector.get(f"default/{name}") or {}).get("spec") == spec)

    async def watching(self) -> None:
        """Until a watch stands."""
        await self.until(lambda: self.cluster.extra)

    def told(self, name: str) -> list[Any]:
        return [after and after["spec"] for key, _, after in self.changes if key == f"default/{name}"]


def act(
    tmp_path: Path,
    story: Callable[[Scene], Awaitable[None]],
    *,
    before: Callable[[Cluster], None] = lambda cluster: None,
    patience: Patience = QUICK,
    params: dict[str, str] | None = None,
) -> Cluster:
    async def go(cluster: Cluster, port: int) -> None:
        api = Api.connect(Settings(kubeconfig=str(kubeconfig(tmp_path, port))))
        changes: list[tuple[str, Object | None, Object | None]] = []
        reflector = Reflector(
            api,
            ALL,
            lambda *change: changes.append(change),
            params=params,
            log=Log("test"),
            index={"owner": by_owner},
            patience=patience,
        )
        running = asyncio.create_task(reflector.run())
        try:
            await story(Scene(cluster, api, reflector, changes))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await api.close()

    with serving() as (cluster, port):
        before(cluster)
        asyncio.run(go(cluster, port))
    return cluster


def test_it_lists_then_follows(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        assert not scene.reflector.is_synced
        async with asyncio.timeout(PATIENT_S):
            await scene.reflector.wait_synced()
        assert scene.reflector.keys() == ("default/a",)
        scene.cluster.write(path("a"), thing("a", n=2))
        scene.cluster.write(path("b"), thing("b", n=1, owner="me"))
        await scene.sees("a", n=2)
        await scene.sees("b", n=1, owner="me")
        scene.cluster.remove(path("a"))
        await scene.until(lambda: scene.reflector.get("default/a") is None)
        assert scene.told("a") == [{"n": 1}, {"n": 2}, None]
        assert len(scene.reflector.values()) == len(scene.reflector.indexed("owner", "me")) == 1
        assert scene.reflector.last_heard_s < PATIENT_S

    cluster = act(
        tmp_path,
        story,
        before=lambda c: c.write(path("a"), thing("a", n=1)) and None,
        params={"labelSelector": "x=y"},
    )
    asked = [seen.params for seen in cluster.requests("GET", "things")]
    assert all(params["labelSelector"] == "x=y" for params in asked)
    assert asked[0]["limit"] == "500"
    assert asked[1]["allowWatchBookmarks"] == "true"
    assert asked[1]["resourceVersion"] == "101"


def test_a_large_collection_is_read_in_pages(tmp_path: Path) -> None:
    def fill(cluster: Cluster) -> None:
        for number in range(1203):
            cluster.write(path(f"t{number:04}"), thing(f"t{number:04}"))

    async def story(scene: Scene) -> None:
        await scene.until(lambda: scene.reflector.is_synced)
        assert len(scene.reflector.keys()) == 1203

    assert len(act(tmp_path, story, before=fill).requests("GET", "things", watch=False)) == 3


def test_managed_fields_are_not_kept(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.until(lambda: scene.reflector.is_synced)
        managed = thing("b")
        managed["metadata"]["managedFields"] = [{"manager": "someone"}]
        answer = scene.cluster.write(path("b"), managed)
        scene.reflector.put(answer)
        await scene.until(lambda: scene.reflector.get("default/b"))
        assert "managedFields" in answer["metadata"]
        assert [list(obj["metadata"]) for obj in scene.reflector.values()] == [
            ["name", "namespace", "uid", "resourceVersion"]
        ] * 2

    def fill(cluster: Cluster) -> None:
        managed = thing("a")
        managed["metadata"]["managedFields"] = [{"manager": "someone"}]
        cluster.write(path("a"), managed)

    act(tmp_path, story, before=fill)


def test_a_watch_that_ends_goes_on_where_it_was_without_a_list(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.watching()
        for number in range(4):
            scene.cluster.write(path("a"), thing("a", n=number))
            await scene.sees("a", n=number)
            watches = scene.reflector.counts.watches
            scene.cluster.break_watches()
            scene.cluster.write(path("b"), thing("b", n=number))  # while nobody watches
            await scene.until(lambda seen=watches: scene.reflector.counts.watches > seen)
        await scene.sees("b", n=3)
        assert scene.told("b") == [{"n": n} for n in range(4)]
        assert scene.reflector.counts.lists == 1

    act(tmp_path, story)


def test_watches_that_end_by_themselves_share_a_connection(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.until(lambda: scene.reflector.counts.watches >= 4)
        assert scene.cluster.connections == 1

    act(tmp_path, story, patience=replace(QUICK, watch_s=1.0))


def test_bookmarks_keep_an_idle_watch_from_expiring(tmp_path: Path) -> None:
    """Others' writes move the history on and it is compacted; the bookmark at a watch's end has kept up with it."""

    async def story(scene: Scene) -> None:
        await scene.watching()
        for number in range(3):
            scene.cluster.write("/apis/example.dev/v1/namespaces/default/others/x", thing("x", n=number))
            watches = scene.reflector.counts.watches
            await scene.until(lambda seen=watches: scene.reflector.counts.watches > seen + 1)
            scene.cluster.compact()
        assert scene.reflector.counts.lists == 1

    cluster = act(tmp_path, story, patience=replace(QUICK, watch_s=1.0))
    assert "bookmark" not in repr(cluster.history)


def test_an_expired_version_costs_one_list_and_loses_nothing(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.watching()
        scene.cluster.silence()
        scene.cluster.write(path("b"), thing("b"))
        scene.cluster.remove(path("a"))
        scene.cluster.compact()
        scene.cluster.break_watches()
        scene.cluster.speak()
        await scene.until(lambda: scene.reflector.counts.lists == 2)
        assert scene.reflector.keys() == ("default/b",)
        assert scene.told("a") == [{}, None]

    act(tmp_path, story, before=lambda c: c.write(path("a"), thing("a")) and None)


def test_410_as_an_answer_and_in_the_middle_of_a_list_begin_anew(tmp_path: Path) -> None:
    def expire(cluster: Cluster) -> None:
        for number in range(501):
            cluster.write(path(f"t{number}"), thing(f"t{number}"))
        cluster.script("GET", "continue=", status(410, "Expired", "the continue parameter is too old"))
        cluster.script("GET", "watch=true", status(410, "Gone", "too old resource version"))

    async def story(scene: Scene) -> None:
        await scene.watching()
        assert scene.reflector.counts.lists == 2
        assert len(scene.reflector.keys()) == 501
        await scene.until(
            lambda: scene.reflector.trouble is None or isinstance(scene.reflector.trouble, Gone)
        )

    act(tmp_path, story, before=expire)


def test_a_watch_that_went_silent_is_replaced(tmp_path: Path) -> None:
    """Half-open: the connection stands, nothing comes, not even the end the server was asked for."""

    async def story(scene: Scene) -> None:
        await scene.watching()
        scene.cluster.silence()
        scene.cluster.write(path("a"), thing("a", n=1))
        await scene.until(lambda: scene.reflector.counts.failures >= 1)
        assert scene.reflector.trouble is not None
        scene.cluster.speak()
        await scene.sees("a", n=1)
        await scene.until(lambda: scene.reflector.trouble is None)

    act(tmp_path, story, patience=replace(QUICK, watch_s=1.0, grace_s=0.5))


def test_a_watch_that_does_not_tell_of_an_own_write_is_replaced(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.watching()
        scene.cluster.silence()
        scene.reflector.put(scene.cluster.write(path("a"), thing("a", n=1)))
        assert scene.told("a") == [{"n": 1}]
        await scene.until(lambda: scene.reflector.counts.failures >= 1)
        scene.cluster.speak()
        await scene.until(lambda: scene.reflector.trouble is None)
        assert scene.told("a") == [{"n": 1}]

    act(tmp_path, story, patience=replace(QUICK, echo_s=0.5))


def test_an_own_write_is_read_at_once_and_told_once(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.watching()
        answer = scene.cluster.write(path("a"), thing("a", n=1))
        scene.reflector.put(answer)
        assert scene.reflector.get("default/a") == answer
        await scene.until(lambda: scene.reflector.counts.events >= 1)
        scene.cluster.write(path("b"), thing("b"))
        await scene.sees("b")
        assert scene.told("a") == [{"n": 1}]

    act(tmp_path, story)


@pytest.mark.parametrize(
    "said",
    [
        b'{"type":"ADDED","object":{"metad\n',
        b"\xff\xfe\n",
        b'["ADDED"]\n',
        b'{"object":{}}\n',
        line("ERROR", {"code": 500, "reason": "InternalError", "message": "etcd"}),
        line("ERROR", {"message": 7}),
    ],
)
def test_a_watch_that_speaks_nonsense_is_replaced_and_loses_nothing(tmp_path: Path, said: bytes) -> None:
    async def story(scene: Scene) -> None:
        await scene.watching()
        scene.cluster.broadcast(said)
        await scene.until(lambda: scene.reflector.counts.failures == 1)
        scene.cluster.write(path("a"), thing("a", n=1))
        await scene.sees("a", n=1)
        assert scene.reflector.counts.lists == 1

    act(tmp_path, story)


@pytest.mark.parametrize(
    "said",
    [
        line("ADDED", {"spec": {}}),
        line("MODIFIED", {"metadata": None}),
        b'{"type":"ADDED","object":7}\n',
        b'{"type":"ADDED","object":{"deep":' + b"[" * 5000 + b"]" * 5000 + b"}}\n",
        line("SOMETHING", {"metadata": {"name": "x", "resourceVersion": "1"}}),
    ],
)
def test_an_event_of_no_valid_object_is_passed_over(tmp_path: Path, said: bytes) -> None:
    async def story(scene: Scene) -> None:
        await scene.watching()
        scene.cluster.broadcast(said)
        await scene.until(lambda: scene.reflector.counts.events == 1)
        scene.cluster.write(path("a"), thing("a", n=1))
        await scene.sees("a", n=1)
        assert scene.reflector.counts.failures == 0
        assert scene.reflector.keys() == ("default/a",)

    act(tmp_path, story)


def test_events_told_twice_and_late_change_nothing(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.watching()
        old = scene.cluster.write(path("a"), thing("a", n=1))
        new = scene.cluster.write(path("a"), thing("a", n=2))
        await scene.sees("a", n=2)
        for again in (line("MODIFIED", new), line("ADDED", old), line("DELETED", old)):
            scene.cluster.broadcast(again)
        await scene.until(lambda: scene.reflector.counts.events == 5)
        assert scene.told("a") == [{"n": 1}, {"n": 2}]
        scene.cluster.break_watches()
        scene.cluster.write(path("a"), thing("a", n=3))
        await scene.sees("a", n=3)
        again = scene.cluster.requests("GET", watch=True)[-1].params["resourceVersion"]
        assert again == new["metadata"]["resourceVersion"], "the old events moved its place back"
        assert scene.told("a") == [{"n": 1}, {"n": 2}, {"n": 3}]

    act(tmp_path, story)


def test_a_poisonous_object_in_a_list_harms_no_other(tmp_path: Path) -> None:
    body = (
        b'{"metadata":{"resourceVersion":"100"},"items":[null,7,"]},{\\"",{"metadata":{"name":"x"},"deep":%s%s},'
        b'{"metadata":{"name":"good","namespace":"default","resourceVersion":"5"},"spec":{}}]}'
    )

    async def story(scene: Scene) -> None:
        await scene.until(lambda: scene.reflector.is_synced)
        assert scene.reflector.keys() == ("default/good",)
        assert scene.reflector.skipped == 1

    deep = body % (b"[" * 5000, b"]" * 5000)
    act(tmp_path, story, before=lambda c: c.script("GET", "things", raw(200, deep)))


@pytest.mark.parametrize(
    "reply",
    [
        raw(200, b"{}"),
        raw(200, b'{"metadata":{},"items":[]}'),
        raw(200, b'{"metadata":{"resourceVersion":"1"},"items":7}'),
        raw(200, b'{"metadata":', length=500),
        drop,
        status(500, "InternalError"),
        status(404, "NotFound", "the server could not find the requested resource"),
    ],
)
def test_a_list_that_is_none_is_asked_for_again(tmp_path: Path, reply: Any) -> None:
    async def story(scene: Scene) -> None:
        await scene.sees("a", n=1)
        assert scene.reflector.counts.failures == 3

    def before(cluster: Cluster) -> None:
        cluster.write(path("a"), thing("a", n=1))
        cluster.script("GET", "things", reply, times=3)

    act(tmp_path, story, before=before)


def test_what_is_known_stays_while_the_server_refuses(tmp_path: Path) -> None:
    """The kind or the permission is taken away and given back; the reason is there to be shown."""

    async def story(scene: Scene) -> None:
        await scene.watching()
        for code, kind in ((403, Forbidden), (404, NotFound)):
            scene.cluster.script("GET", "things", status(code, "Reason", "because"), times=9)
            scene.cluster.break_watches()
            await scene.until(lambda wanted=kind: isinstance(scene.reflector.trouble, wanted))
            assert scene.reflector.keys() == ("default/a",)
            await scene.until(lambda: scene.reflector.trouble is None)
        assert scene.told("a") == [{}]

    act(tmp_path, story, before=lambda c: c.write(path("a"), thing("a")) and None)


def test_a_server_that_is_away_is_not_stormed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def story(scene: Scene) -> None:
        await scene.watching()
        before = len(scene.cluster.requests("GET"))
        scene.cluster.script("GET", "things", drop, times=10_000)
        scene.cluster.break_watches()
        await asyncio.sleep(2.0)  # not a wait for a condition: how often it tries is what is asked
        assert len(scene.cluster.requests("GET")) - before <= 3

    act(tmp_path, story, patience=PATIENCE)
    assert capfd.readouterr().err.count("not kept up to date") <= 2


def test_a_server_that_ends_each_watch_at_once_is_not_stormed(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.until(lambda: scene.reflector.counts.watches >= 1)
        await asyncio.sleep(2.0)
        assert scene.reflector.counts.watches <= 3
        assert scene.reflector.counts.lists <= 2

    act(
        tmp_path,
        story,
        before=lambda c: c.script("GET", "watch=true", raw(200, b""), times=10_000),
        patience=PATIENCE,
    )


async def nudged_until_synced(scene: Scene) -> None:
    async with asyncio.timeout(PATIENT_S):
        while not scene.reflector.is_synced:
            scene.reflector.nudge()
            await asyncio.sleep(0.005)


def test_retry_after_is_obeyed(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.until(lambda: scene.reflector.counts.failures == 1)
        before = asyncio.get_running_loop().time()
        await nudged_until_synced(scene)
        assert asyncio.get_running_loop().time() - before > 1.5

    act(
        tmp_path,
        story,
        before=lambda c: c.script("GET", "things", status(429, "TooManyRequests", retry_after="2")),
        patience=PATIENCE,
    )


def test_a_long_back_off_ends_when_somebody_hears_the_server(tmp_path: Path) -> None:
    """Twelve failures would mean three minutes."""
    act(
        tmp_path,
        nudged_until_synced,
        before=lambda c: c.script("GET", "things", drop, times=12),
        patience=replace(QUICK, backoff_first_s=0.05, backoff_last_s=1.0e6),
    )


async def asked_otherwise_until_synced(scene: Scene) -> None:
    async with asyncio.timeout(PATIENT_S):
        while not scene.reflector.is_synced:
            await scene.api.get("/api/v1/others")
            await asyncio.sleep(0.005)


def test_a_long_back_off_ends_when_the_server_answers_anybody_else(tmp_path: Path) -> None:
    """A server that fails half of all requests is not away; a minute's silence each time would be our own outage."""

    def others(cluster: Cluster) -> None:
        cluster.script("GET", "things", drop, times=12)
        cluster.script("GET", "others", raw(200, b"{}"), times=100_000)

    act(
        tmp_path,
        asked_otherwise_until_synced,
        before=others,
        patience=replace(QUICK, backoff_first_s=0.05, backoff_last_s=1.0e6, answered_s=0.1),
    )


def test_a_lost_event_is_made_good_by_the_next_list(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.watching()
        scene.cluster.write_untold(path("a"), thing("a", n=1))
        scene.cluster.write(path("b"), thing("b"))
        await scene.sees("a", n=1)
        await scene.until(lambda: scene.reflector.counts.lists >= 2)
        assert scene.reflector.counts.lost == 1

    act(tmp_path, story, patience=replace(QUICK, watch_s=1.0, relist_s=2.0))


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_server_restored_from_an_older_snapshot_is_noticed(tmp_path: Path, is_cut: bool) -> None:
    """A watch from a version the server has not reached yet would wait in silence for a future that is another one."""

    async def story(scene: Scene) -> None:
        await scene.watching()
        cluster = scene.cluster
        with cluster.news:
            cluster.objects.clear()
            cluster.history.clear()
            cluster.revision = 50
            cluster.write(path("kept"), thing("kept", n=1))
        if is_cut:
            cluster.break_watches()
        await scene.sees("kept", n=1)
        await scene.until(lambda: scene.reflector.keys() == ("default/kept",))
        assert scene.reflector.counts.went_back == 1
        cluster.write(path("kept"), thing("kept", n=5))
        await scene.sees("kept", n=5)

    def before(cluster: Cluster) -> None:
        cluster.write(path("gone"), thing("gone"))
        cluster.write(path("kept"), thing("kept", n=2))

    act(tmp_path, story, before=before, patience=replace(QUICK, watch_s=2.0))


def test_it_leaves_no_thread_and_no_connection(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        await scene.watching()

    act(tmp_path, story)
    assert [t.name for t in threading.enumerate() if t.name.startswith("kubernetes-api")] == []
