"""The wire as a router uses it: plan by long poll, telemetry, membership."""

import asyncio
import socket
import threading
from typing import Any

import httpx
import pytest
from fastapi import Request

from controller.api import discovery
from headgate.wire import VERSION
from headgate.wire.codec import decode_plan, encode
from headgate.wire.telemetry import Telemetry
from tests.controller.api.served import KEY, TOKEN, Api, plan, rollout, until

ROUTES = f"/v1/routes/{KEY}"
ROUTERS = f"/v1/rollouts/{KEY}/routers"


def poll(api: Api, **query: Any) -> httpx.Response:
    return api.client.get(ROUTES, params={"router": "r1", "applied": "0.0.0", "wait": 0, **query})


def telemetry(at: float = 2.0, **more: Any) -> Telemetry:
    return Telemetry(
        rollout=more.pop("rollout", KEY),
        router=more.pop("router", "r1"),
        boot="b",
        started_at=1.0,
        at=at,
        applied="0.0.0",
        **more,
    )


def test_a_router_gets_the_plan_as_the_wire_defines_it(api: Api) -> None:
    api.apply(rollout())
    api.publish(plan(3))
    answer = poll(api)
    assert answer.status_code == 200
    assert decode_plan(answer.content) == plan(3)
    assert answer.headers["x-headgate-wire"] == str(VERSION)


def test_a_router_that_runs_the_plan_is_told_so_when_its_wait_is_over(api: Api) -> None:
    api.apply(rollout())
    api.publish(plan(3))
    answer = poll(api, applied="1.3.0", wait=0.1)
    assert (answer.status_code, answer.content) == (304, b"")
    (router,) = api.client.get(ROUTERS).json()["items"]
    assert router["applied"] == "1.3.0"


def test_a_waiting_router_is_answered_by_the_next_plan(api: Api) -> None:
    api.apply(rollout())
    api.publish(plan(3))
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(poll(api, applied="1.3.0", wait=60)))
    thread.start()
    until(lambda: "r1" in api.store.members(KEY))
    api.publish(plan(4))
    thread.join(60)
    assert decode_plan(answers[0].content).generation == 4


def test_no_router_waits_longer_than_is_allowed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "WAIT_S_MAX", 0.05)
    api.apply(rollout())
    assert poll(api, wait=1e9).status_code == 304


def test_a_poll_wakes_the_reconciler_when_it_says_something_new(api: Api) -> None:
    api.apply(rollout())
    api.publish(plan(3))
    api.woken.clear()
    poll(api)
    poll(api, applied="1.3.0")
    poll(api, applied="1.3.0")
    assert api.woken == [KEY, KEY]


def test_a_poll_whose_client_hung_up_says_nothing_any_more(api: Api) -> None:
    """A router gives up a poll when it has something else to say; heard late, the old one must not undo the new."""
    api.apply(rollout())
    poll(api, applied="1.3.0")
    request = (
        f"GET {ROUTES}?router=r1&applied=1.2.0&wait=0 HTTP/1.1\r\n"
        f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    )
    is_sent = threading.Event()
    blocked = threading.Thread(target=api.on_loop, args=(lambda: is_sent.wait(60),))
    blocked.start()
    with socket.create_connection(("127.0.0.1", api.port), 60) as connection:
        connection.sendall(request.encode())
    is_sent.set()
    blocked.join(60)
    poll(api, router="r2")
    assert [str(router.applied) for router in api.registry.observed(KEY)] == ["1.3.0", "0.0.0"]


def test_a_rollout_that_is_not_there_is_404_and_says_what_a_router_does(api: Api) -> None:
    answer = poll(api)
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "what": "there is no such rollout",
        "object": f"{KEY} router r1",
        "do": "apply the rollout first; a router keeps the plan it has",
    }


@pytest.mark.parametrize(
    ("field", "query"),
    [
        ("router", {"router": ""}),
        ("router", {"router": "a b"}),
        ("applied", {"applied": "1.2"}),
        ("applied", {"applied": "1.2.x"}),
        ("applied", {"applied": "1.2.-3"}),
        ("wait", {"wait": -1}),
        ("wait", {"wait": "soon"}),
        ("wait", {"wait": "nan"}),
    ],
)
def test_a_poll_that_is_malformed_is_refused_by_the_name_of_the_field(
    api: Api, field: str, query: dict[str, Any]
) -> None:
    api.apply(rollout())
    answer = poll(api, **query)
    assert answer.status_code == 400
    assert answer.json()["error"]["object"] == field
    assert api.store.members(KEY) == ()


def test_a_router_that_reads_only_other_wire_versions_is_refused(api: Api) -> None:
    api.apply(rollout())
    answer = api.client.get(ROUTES, params={"router": "r1"}, headers={"x-headgate-wire": "7, 8"})
    assert answer.status_code == 406
    assert "reads 7, 8" in answer.json()["error"]["what"]
    both = {"router": "r1", "wait": 0}
    assert api.client.get(ROUTES, params=both, headers={"x-headgate-wire": f"7,{VERSION}"}).status_code == 304


def test_a_report_is_taken_and_shows_that_the_router_is_alive(api: Api) -> None:
    api.apply(rollout())
    poll(api)
    answer = api.client.post("/v1/telemetry", content=encode(telemetry(pinned="v1")))
    assert answer.status_code == 204
    assert api.registry.reports(KEY) == (telemetry(pinned="v1"),)
    (router,) = api.client.get(ROUTERS).json()["items"]
    assert (router["id"], router["pinned"], router["silent"]) == ("r1", "v1", False)


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (telemetry(at=1.5), 409),
        (telemetry(router="stranger"), 409),
        (telemetry(rollout="ml/nothing"), 404),
    ],
    ids=["older", "never polled", "no rollout"],
)
def test_a_report_that_is_not_taken_says_why(api: Api, message: Telemetry, status: int) -> None:
    api.apply(rollout())
    poll(api)
    api.client.post("/v1/telemetry", content=encode(telemetry(at=2.0)))
    answer = api.client.post("/v1/telemetry", content=encode(message))
    assert answer.status_code == status
    assert answer.json()["error"]["do"]
    assert api.registry.reports(KEY) == (telemetry(at=2.0),)


def test_a_report_that_is_not_telemetry_is_refused_by_the_name_of_the_field(api: Api) -> None:
    answer = api.client.post("/v1/telemetry", content=b'{"wire": 1, "rollout": "ml/fraud"}')
    assert answer.status_code == 400
    assert "router" in answer.json()["error"]["what"]


def test_a_router_that_is_gone_can_be_forgotten_once(api: Api) -> None:
    api.apply(rollout())
    poll(api)
    assert api.client.delete(f"{ROUTERS}/r1").json() == {"forgotten": "r1"}
    answer = api.client.delete(f"{ROUTERS}/r1")
    assert answer.status_code == 404
    assert answer.json()["error"]["do"] == "it has no routers"


def test_a_client_that_hung_up_before_its_poll_was_read_is_gone() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert asyncio.run(discovery.is_gone(Request({"type": "http"}, receive)))
