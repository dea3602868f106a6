"""Tokens that nobody knows, and an API server that does not know audiences (a real one is in tests/cluster)."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.kubernetes import access as access_module
from controller.adapters.kubernetes.access import UNKNOWN_AT_ONCE, ClusterAccess
from controller.adapters.kubernetes.api import Api, Settings
from controller.ports import Wish
from tests.controller.adapters.kubernetes.api_server import Cluster, Handler, Reply, kubeconfig, serving

WHO = Wish("", "", "/v1/telemetry")
USER = {"username": "system:serviceaccount:ml:router"}
OURS = {"authenticated": True, "user": USER, "audiences": ["headgate"]}
NOBODY = {"authenticated": False}


def says(status: dict[str, Any]) -> Reply:
    return lambda handler: handler.say(201, {"kind": "TokenReview", "status": status})


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Cluster, Path]]:
    with serving() as (cluster, port):
        yield cluster, kubeconfig(tmp_path, port)


def asking(
    config: Path,
    story: Callable[[ClusterAccess], Awaitable[None]],
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    async def go() -> None:
        api = Api.connect(Settings(kubeconfig=str(config)), threads=32)
        try:
            await story(ClusterAccess(api, monotonic=monotonic))
        finally:
            await api.close()

    asyncio.run(go())


def reviews(cluster: Cluster) -> int:
    return len(cluster.requests("POST", "tokenreviews"))


@pytest.mark.parametrize(
    ("status", "is_known"),
    [
        (OURS, True),
        ({**OURS, "audiences": ["other", "headgate"]}, True),
        ({"authenticated": True, "user": USER}, False),
        ({**OURS, "audiences": []}, False),
        ({**OURS, "audiences": ["https://kubernetes.default.svc"]}, False),
        ({**OURS, "audiences": "headgate"}, False),
        ({**OURS, "authenticated": False}, False),
    ],
)
def test_a_token_counts_only_if_the_answer_names_our_audience(
    served: tuple[Cluster, Path], status: dict[str, Any], is_known: bool
) -> None:
    cluster, config = served
    cluster.script("POST", "tokenreviews", says(status))

    async def story(access: ClusterAccess) -> None:
        denied = await access.refusal("token", WHO)
        assert (denied is None) == is_known
        if denied is not None:
            assert denied.status == 401
            assert "for the audience headgate" in denied.what

    asking(config, story)


def test_of_tokens_that_are_not_known_few_are_reviewed_at_a_time_and_who_is_known_does_not_wait(
    served: tuple[Cluster, Path],
) -> None:
    cluster, config = served
    clock = 0.0
    now, most, lock, go_on = 0, 0, threading.Lock(), threading.Event()

    def slowly(handler: Handler) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        go_on.wait(60)
        with lock:
            now -= 1
        says(NOBODY)(handler)

    cluster.script("POST", "tokenreviews", says(OURS))
    cluster.script("POST", "tokenreviews", slowly, times=100)

    async def story(access: ClusterAccess) -> None:
        nonlocal clock
        assert await access.refusal("known", WHO) is None
        asked = [asyncio.create_task(access.refusal(f"guess-{n}", WHO)) for n in range(20)]
        async with asyncio.timeout(60):
            while reviews(cluster) < 1 + UNKNOWN_AT_ONCE:
                await asyncio.sleep(0.01)
            clock = 61.0
            with cluster.news:
                cluster.scripted.insert(0, ("POST", "tokenreviews", says(OURS)))
            assert await access.refusal("known", WHO) is None, "though it is asked anew"
            assert reviews(cluster) == 2 + UNKNOWN_AT_ONCE
        go_on.set()
        denied = await asyncio.gather(*asked)
        assert all(one is not None and one.status == 401 for one in denied)
        assert most == UNKNOWN_AT_ONCE

    try:
        asking(config, story, lambda: clock)
    finally:
        go_on.set()


def test_more_than_may_wait_to_become_known_are_told_to_come_again(
    served: tuple[Cluster, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, config = served
    monkeypatch.setattr(access_module, "UNKNOWN_MAX", 8)
    cluster.script("POST", "tokenreviews", says(NOBODY), times=100)

    async def story(access: ClusterAccess) -> None:
        found = await asyncio.gather(*(access.refusal(f"guess-{n}", WHO) for n in range(20)))
        assert sorted(one.status for one in found if one is not None) == [401] * 8 + [503] * 12
        again = await access.refusal("guess-19", WHO)
        assert again is not None
        assert again.status == 401

    asking(config, story)


def test_one_token_that_comes_many_times_at_once_is_not_reviewed_as_often(
    served: tuple[Cluster, Path],
) -> None:
    cluster, config = served
    cluster.script("POST", "tokenreviews", says(OURS), times=100)

    async def story(access: ClusterAccess) -> None:
        found = await asyncio.gather(*(access.refusal("token", WHO) for _ in range(40)))
        assert found == [None] * 40
        assert reviews(cluster) <= UNKNOWN_AT_ONCE

    asking(config, story)


def test_tokens_that_are_refused_push_out_nobody_who_is_known(
    served: tuple[Cluster, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, config = served
    monkeypatch.setattr(access_module, "KEPT_MAX", 10)
    cluster.script("POST", "tokenreviews", says(OURS))
    cluster.script("POST", "tokenreviews", says(NOBODY), times=100)

    async def story(access: ClusterAccess) -> None:
        assert await access.refusal("known", WHO) is None
        for n in range(30):
            assert await access.refusal(f"guess-{n}", WHO) is not None
        asked = reviews(cluster)
        assert await access.refusal("guess-29", WHO) is not None, "what was refused last is kept"
        assert await access.refusal("known", WHO) is None
        assert reviews(cluster) == asked
        assert await access.refusal("guess-0", WHO) is not None, "what was refused first is asked again"
        assert reviews(cluster) == asked + 1

    asking(config, story)


def test_a_token_that_is_refused_later_is_known_no_more_and_the_other_way_round(
    served: tuple[Cluster, Path],
) -> None:
    cluster, config = served
    now = 0.0
    for status in (OURS, NOBODY, OURS):
        cluster.script("POST", "tokenreviews", says(status))

    async def story(access: ClusterAccess) -> None:
        nonlocal now
        found = []
        for now in (0.0, 30.0, 61.0, 100.0, 122.0, 150.0):  # noqa: B007  the clock
            denied = await access.refusal("token", WHO)
            found.append(200 if denied is None else denied.status)
        assert found == [200, 200, 401, 401, 200, 200]

    asking(config, story, lambda: now)
