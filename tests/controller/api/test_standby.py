"""A controller that does not lead lives, is not ready, and sends everybody elsewhere, until it leads."""

import asyncio
import threading
from collections.abc import Iterator

import httpx
import pytest

from controller.api.server import api_server, listen
from controller.api.standby import Front, standby_app
from tests.controller.api.served import DEADLINE_S, until


@pytest.fixture
def front() -> Front:
    return Front(standby_app(lambda: "another one leads"))


@pytest.fixture
def url(front: Front) -> Iterator[str]:
    listener = listen("127.0.0.1", 0)
    server = api_server(front)
    thread = threading.Thread(target=asyncio.run, args=(server.serve(sockets=[listener]),))
    thread.start()
    until(lambda: server.started)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(DEADLINE_S)


def test_before_it_follows_anybody_it_lives_and_is_not_ready(url: str) -> None:
    assert httpx.get(f"{url}/healthz").status_code == 200
    ready = httpx.get(f"{url}/readyz")
    assert (ready.status_code, ready.json()["error"]["what"]) == (503, "another one leads")


def test_routers_and_people_are_sent_elsewhere(url: str) -> None:
    for path in ("/v1/routes/ml/fraud?router=r1", "/v1/rollouts", "/metrics"):
        assert httpx.get(url + path).status_code == 421, path
    assert httpx.post(f"{url}/v1/telemetry", content=b"{}").status_code == 421


def test_who_asks_is_told_where_the_leader_is_and_may_reach_it_by_another_connection(
    front: Front, url: str
) -> None:
    front.app = standby_app(lambda: "another one leads", leader=lambda: "https://10.1.2.3:7000")
    told = httpx.get(f"{url}/v1/routes/ml/fraud?router=r1")
    assert told.headers["location"] == "https://10.1.2.3:7000"
    assert told.headers["connection"] == "close"
    assert "10.1.2.3" in told.json()["error"]["do"]


def test_one_that_follows_a_leader_is_ready_so_that_an_update_goes_on(front: Front, url: str) -> None:
    front.app = standby_app(lambda: "another one leads", follows=lambda: True)
    ready = httpx.get(f"{url}/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "standby"})


def test_once_it_leads_the_same_connection_is_answered_by_the_api(front: Front, url: str) -> None:
    with httpx.Client(base_url=url) as client:
        assert client.get("/readyz").status_code == 503
        front.app = standby_app(lambda: "this stands for the whole API")
        assert client.get("/readyz").json()["error"]["what"] == "this stands for the whole API"
