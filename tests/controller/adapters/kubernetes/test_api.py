"""Calls to an API server: what is sent, what an answer means, and that every call ends in time whatever the server does."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.kubernetes import api as api_module
from controller.adapters.kubernetes.api import (
    Api,
    ApiError,
    Conflict,
    Fenced,
    Forbidden,
    Gone,
    Invalid,
    Misconfigured,
    NotFound,
    Settings,
    TooLarge,
    Unavailable,
    path_of,
)
from tests.controller.adapters.kubernetes.api_server import (
    Cluster,
    Handler,
    drop,
    kubeconfig,
    raw,
    serving,
    status,
)

MAPS = path_of("", "v1", "configmaps", "default")
ONE = f"{MAPS}/one"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Cluster, Path]]:
    with serving() as (cluster, port):
        yield cluster, kubeconfig(tmp_path, port, "team-a")


def using(config: Path, story: Callable[[Api], Awaitable[None]], **settings: Any) -> None:
    async def go() -> None:
        api = Api.connect(Settings(kubeconfig=str(config), **settings))
        try:
            await story(api)
        finally:
            await api.close()

    asyncio.run(go())


def a_map(name: str = "one", **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        (("", "v1", "pods"), "/api/v1/pods"),
        (("", "v1", "pods", "a"), "/api/v1/namespaces/a/pods"),
        (("apps", "v1", "deployments", "a", "web"), "/apis/apps/v1/namespaces/a/deployments/web"),
        (
            ("apps", "v1", "deployments", "a", "web", "scale"),
            "/apis/apps/v1/namespaces/a/deployments/web/scale",
        ),
        (("rbac.authorization.k8s.io", "v1", "clusterroles", None, "system:x"), None),
    ],
)
def test_a_path_names_group_version_collection_object_and_subresource(
    parts: tuple[str, ...], path: str | None
) -> None:
    expected = path or "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:x"
    assert path_of(*parts) == expected


@pytest.mark.parametrize("name", ["", "a/b", "..", "a?b", "a b", "%2e"])
def test_a_name_cannot_lead_out_of_its_path(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of the path"):
        path_of("", "v1", "pods", "default", name)


def test_an_object_is_created_read_replaced_patched_and_deleted(served: tuple[Cluster, Path]) -> None:
    cluster, config = served

    async def story(api: Api) -> None:
        assert api.namespace == "team-a"
        created = await api.create(MAPS, a_map(a="1"))
        assert (await api.get(ONE)) == created
        replaced = await api.replace(ONE, {**created, "data": {"a": "2"}})
        assert replaced["data"] == {"a": "2"}
        with pytest.raises(Conflict, match=r"PUT .*/one: 409 Conflict: the object has been modified"):
            await api.replace(ONE, created)
        with pytest.raises(Conflict) as exists:
            await api.create(MAPS, a_map())
        assert exists.value.reason == "AlreadyExists"
        assert (await api.merge_patch(ONE, {"data": {"a": None, "b": "3"}}))["data"] == {"b": "3"}
        await api.apply(ONE, a_map(c="4"), manager="someone", force=False)
        await api.delete(ONE, uid=created["metadata"]["uid"], propagation="Background")
        with pytest.raises(NotFound):
            await api.get(ONE)

    using(config, story)
    sent = {seen.method: seen for seen in cluster.seen if seen.params.get("fieldManager") != "someone"}
    assert sent["PATCH"].headers["content-type"] == "application/merge-patch+json"
    assert sent["POST"].params == {"fieldManager": "headgate"}
    assert sent["DELETE"].body["preconditions"] == {"uid": "uid-101"}
    (applied,) = [seen for seen in cluster.seen if seen.params.get("fieldManager") == "someone"]
    assert applied.headers["content-type"] == "application/apply-patch+yaml"
    assert applied.params["force"] == "false"
    assert applied.headers["user-agent"].startswith("headgate/")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (302, ApiError),
        (400, Invalid),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (405, ApiError),
        (408, Unavailable),
        (409, Conflict),
        (410, Gone),
        (422, Invalid),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_each_refusal_is_named_by_what_can_be_done_about_it(
    served: tuple[Cluster, Path], code: int, kind: type[ApiError]
) -> None:
    cluster, config = served
    cluster.script("GET", "one", status(code, "Reason", "because", location="/elsewhere"))

    async def story(api: Api) -> None:
        with pytest.raises(ApiError, match=f"GET {ONE}: {code} Reason: because") as refused:
            await api.get(ONE)
        assert type(refused.value) is kind
        assert (refused.value.status, refused.value.reason) == (code, "Reason")

    using(config, story)
    assert len(cluster.requests("GET")) == 1


@pytest.mark.parametrize(("said", "heard"), [("7", 7.0), ("86400", 3600.0), ("tomorrow", None), ("-1", None)])
def test_retry_after_is_heard_in_seconds_and_bounded(
    served: tuple[Cluster, Path], said: str, heard: float | None
) -> None:
    cluster, config = served
    cluster.script("GET", "one", status(429, "TooManyRequests", "slow down", retry_after=said))

    async def story(api: Api) -> None:
        with pytest.raises(Unavailable) as refused:
            await api.get(ONE)
        assert refused.value.retry_after_s == heard

    using(config, story)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (raw(200, b"<html>"), "no JSON"),
        (raw(200, b"[1]"), "no JSON object"),
        (raw(200, b'{"a": 1', length=100), "ProtocolError"),
        (raw(500, b"\xff\xfe"), "500 error: it gave no reason"),
        (raw(302, b""), "302 error: redirects are not followed"),
        (drop, "RemoteDisconnected|ProtocolError|ConnectionReset"),
    ],
)
def test_an_answer_that_is_none_is_a_sentence(served: tuple[Cluster, Path], reply: Any, text: str) -> None:
    cluster, config = served
    cluster.script("GET", "one", reply)

    async def story(api: Api) -> None:
        with pytest.raises(ApiError, match=text):
            await api.get(ONE)

    using(config, story)


def test_nobody_listening_is_unavailable(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        config = kubeconfig(tmp_path, free.getsockname()[1])

    async def story(api: Api) -> None:
        with pytest.raises(Unavailable, match="Connection refused") as refused:
            await api.get(ONE)
        assert refused.value.status == 0

    using(config, story)


def test_a_body_longer_than_its_bound_is_not_read(served: tuple[Cluster, Path]) -> None:
    cluster, config = served
    cluster.write(ONE, a_map(big="x" * 100_000))

    async def story(api: Api) -> None:
        with pytest.raises(TooLarge, match="longer than 9 KiB"):
            await api.get(ONE, body_bytes_max=10_000)
        assert (await api.get(ONE))["data"]["big"] == "x" * 100_000

    using(config, story)


def test_a_silent_server_is_left_in_time_and_no_thread_stays_with_it(served: tuple[Cluster, Path]) -> None:
    cluster, config = served
    cluster.write(ONE, a_map())
    cluster.silence()

    async def story(api: Api) -> None:
        async def one() -> None:
            with pytest.raises(Unavailable):
                await api.get(ONE, timeout_s=1.0)

        await asyncio.gather(*(one() for _ in range(40)))  # more than there are threads
        cluster.speak()
        assert (await api.get(ONE, timeout_s=60.0))["metadata"]["name"] == "one"

    using(config, story)
    assert [t for t in threading.enumerate() if t.name.startswith("kubernetes-api")] == []


def trickle(pause_s: float, until: threading.Event, start: bytes = b"") -> Callable[[Handler], None]:
    """After `start`, a byte at a time; `until` is set when the client has gone."""

    def reply(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n" + start)
        try:
            while not until.wait(pause_s):
                handler.wfile.write(b" ")
                handler.wfile.flush()
        except OSError:
            until.set()

    return reply


@pytest.mark.parametrize("start", [b"\r\n", b"x-header:"])
def test_an_answer_that_comes_byte_by_byte_does_not_outlive_the_deadline(
    served: tuple[Cluster, Path], start: bytes
) -> None:
    cluster, config = served
    over = threading.Event()
    cluster.script("GET", "one", trickle(0.05, over, start))

    async def story(api: Api) -> None:
        with pytest.raises(Unavailable):
            await api.get(ONE, timeout_s=1.0)
        assert await asyncio.to_thread(over.wait, 60), "the connection is still open"

    try:
        using(config, story)
    finally:
        over.set()


def test_a_cancelled_call_lets_go_of_its_connection(served: tuple[Cluster, Path]) -> None:
    cluster, config = served
    over = threading.Event()
    cluster.script("GET", "one", trickle(0.05, over, b"x-header:"))

    async def story(api: Api) -> None:
        asking = asyncio.ensure_future(api.get(ONE, timeout_s=100.0))
        while not cluster.requests("GET", "one"):
            await asyncio.sleep(0.01)
        asking.cancel()
        assert await asyncio.to_thread(over.wait, 60), "the connection is still open"

    try:
        using(config, story)
    finally:
        over.set()


def test_who_may_not_write_sends_nothing_but_may_read(served: tuple[Cluster, Path]) -> None:
    cluster, config = served
    cluster.write(ONE, a_map())
    may = [False]

    async def story(api: Api) -> None:
        fenced = api.fenced(lambda: may[0])
        for write in (
            fenced.create(MAPS, a_map("two")),
            fenced.replace(ONE, a_map()),
            fenced.merge_patch(ONE, {}),
            fenced.apply(ONE, a_map()),
            fenced.delete(ONE),
        ):
            with pytest.raises(Fenced, match="leads no more"):
                await write
        await fenced.get(ONE)
        may[0] = True
        await fenced.create(MAPS, a_map("two"))

    using(config, story)
    assert [seen.method for seen in cluster.seen] == ["GET", "POST"]


def test_the_fence_is_asked_after_the_connection_stands(served: tuple[Cluster, Path]) -> None:
    """A slow connect between question and write would make the answer old."""
    cluster, config = served

    def may_write() -> bool:
        end = time.monotonic() + 30
        while cluster.connections == 0 and time.monotonic() < end:
            time.sleep(0.01)
        return cluster.connections == 1 and not cluster.seen

    async def story(api: Api) -> None:
        await api.fenced(may_write).create(MAPS, a_map(), timeout_s=60.0)

    using(config, story)


def test_a_rotated_token_is_read_again_after_a_401(served: tuple[Cluster, Path], tmp_path: Path) -> None:
    cluster, config = served
    token = tmp_path / "token"
    token.write_text("first")
    settings = json.loads(config.read_text())
    settings["users"][0]["user"] = {"tokenFile": str(token)}
    config.write_text(json.dumps(settings))
    cluster.write(ONE, a_map())
    cluster.token = "first"

    async def story(api: Api) -> None:
        await api.get(ONE)
        token.write_text("second\n")
        cluster.token = "second"
        async with asyncio.timeout(60):
            while True:
                try:
                    await api.get(ONE)
                except Forbidden:
                    await asyncio.sleep(0.2)
                else:
                    break

    using(config, story)


PLUGIN = """
import json, pathlib, sys
count = pathlib.Path(sys.argv[1]); n = int(count.read_text()) + 1; count.write_text(str(n))
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                  "status": {"token": f"token-{n}"}}))
"""


def test_a_credential_plugin_gives_the_token(served: tuple[Cluster, Path], tmp_path: Path) -> None:
    cluster, config = served
    plugin, count = tmp_path / "plugin.py", tmp_path / "count"
    plugin.write_text(PLUGIN)
    count.write_text("0")
    settings = json.loads(config.read_text())
    settings["users"][0]["user"] = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(plugin), str(count)],
        }
    }
    config.write_text(json.dumps(settings))
    cluster.write(ONE, a_map())
    cluster.token = "token-1"

    async def story(api: Api) -> None:
        await api.get(ONE)

    using(config, story)
    plugin.write_text("raise SystemExit(3)")
    with pytest.raises(Misconfigured, match=r"credential plug-in .* of user 'u' gave no credential"):
        Api.connect(Settings(kubeconfig=str(config)))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "not: [yaml", "current-context: x\ncontexts: []\nclusters: []\n", "just words"]
)
def test_a_kubeconfig_that_is_none_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    with pytest.raises(Misconfigured, match=r"configuration cannot be used|no cluster"):
        Api.connect(Settings(kubeconfig=str(tmp_path / "kubeconfig")))


def test_without_any_configuration_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Misconfigured, match="name one with --kubeconfig or KUBECONFIG"):
        Api.connect()


def test_another_context_and_namespace_can_be_named(served: tuple[Cluster, Path]) -> None:
    _, config = served
    settings = json.loads(config.read_text())
    settings["contexts"].append({"name": "other", "context": {"cluster": "c", "user": "u"}})
    config.write_text(json.dumps(settings))

    async def story(api: Api) -> None:
        assert api.namespace == "default"

    async def overridden(api: Api) -> None:
        assert api.namespace == "mine"

    using(config, story, context="other")
    using(config, overridden, context="other", namespace="mine")
    with pytest.raises(Misconfigured, match="nowhere"):
        Api.connect(Settings(kubeconfig=str(config), context="nowhere"))


def test_calls_apart_are_not_held_up_by_calls_that_wait(served: tuple[Cluster, Path]) -> None:
    cluster, config = served
    over = threading.Event()
    cluster.script("GET", "slow", lambda handler: (over.wait(60), drop(handler))[1], times=16)
    cluster.write(ONE, a_map())

    async def story(api: Api) -> None:
        waiting = [asyncio.ensure_future(api.get(f"{MAPS}/slow", timeout_s=100.0)) for _ in range(16)]
        while len(cluster.requests("GET", "slow")) < 16:
            await asyncio.sleep(0.01)
        apart = api.apart(1)
        await apart.get(ONE, timeout_s=30.0)
        await apart.close()
        over.set()
        await asyncio.gather(*waiting, return_exceptions=True)

    using(config, story)


def test_importing_it_does_not_import_the_official_client() -> None:
    """Local mode does not pay for it."""
    program = (
        "import sys, controller.adapters.kubernetes.api; raise SystemExit('kubernetes.client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert "Transport" not in vars(api_module)
