"""Who is let in: the token on every route, loopback names only, bounded bodies that are not read before."""

import socket

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from controller.api.app import create_app
from controller.api.security import ACTION_BYTES_MAX, DOCUMENT_BYTES_MAX, OPEN_PATHS
from headgate.wire.codec import BYTES_MAX
from tests.controller.api.served import DEADLINE_S, TOKEN, Api, rollout


def every_call(api: Api) -> list[tuple[str, str]]:
    found = []
    for route in iter_route_contexts(create_app(api.deps).routes):
        path = route.path
        for name in ("namespace", "name", "router_id", "action_id"):
            path = path.replace("{" + name + "}", "x")
        found += [(method, path) for method in route.methods]
    return found


def raw(api: Api, request: bytes) -> bytes:
    """What the server answers to these very bytes, up to its close or the end of the answer's head."""
    with socket.create_connection(("127.0.0.1", api.port), DEADLINE_S) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
            answer += part
        return answer


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": f"Basic {TOKEN}"}],
    ids=["none", "wrong", "no scheme", "another scheme"],
)
def test_every_route_that_is_not_open_answers_401_without_the_token(
    api: Api, headers: dict[str, str]
) -> None:
    calls = every_call(api)
    closed = [(method, path) for method, path in calls if path not in OPEN_PATHS]
    assert len(closed) >= 15, "the routes were not found"
    for method, path in closed:
        answer = httpx.request(
            method, f"http://127.0.0.1:{api.port}{path}?wait=-1", headers=headers, timeout=DEADLINE_S
        )
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"].keys() >= {"what", "object", "do"}


def test_only_the_health_routes_are_open(api: Api) -> None:
    for path in OPEN_PATHS:
        assert httpx.get(f"http://127.0.0.1:{api.port}{path}", timeout=DEADLINE_S).status_code == 200
    assert {"/healthz", "/readyz"} == OPEN_PATHS


def test_without_the_token_the_body_is_not_read(api: Api) -> None:
    head = f"POST /v1/telemetry HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\nContent-Length: 1000000\r\n\r\n"
    assert raw(api, head.encode()).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("method", "path", "bytes_max"),
    [
        ("POST", "/v1/telemetry", BYTES_MAX),
        ("PUT", "/v1/rollouts/ml/fraud", DOCUMENT_BYTES_MAX),
        ("POST", "/v1/rollouts/ml/fraud/actions", ACTION_BYTES_MAX),
        ("POST", "/v1/rollouts/ml/fraud/target", ACTION_BYTES_MAX),
    ],
)
def test_a_body_that_says_it_is_too_large_is_refused_unread(
    api: Api, method: str, path: str, bytes_max: int
) -> None:
    api.apply(rollout())
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Length: {bytes_max + 1}\r\n\r\n"
    )
    assert raw(api, head.encode()).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_grows_too_large_is_refused_when_it_does(api: Api) -> None:
    api.apply(rollout())
    head = (
        "POST /v1/rollouts/ml/fraud/actions HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    size = ACTION_BYTES_MAX + 1
    answer = raw(api, head.encode() + f"{size:x}\r\n".encode() + b"x" * size + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:9000", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost@evil.example", 403),
        ("[", 403),
        ("", 403),
    ],
)
def test_only_loopback_names_are_answered(api: Api, host: str, status: int) -> None:
    answer = raw(api, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert int(answer.split()[1]) == status


@pytest.mark.parametrize("hosts", ["", "Host: localhost\r\nHost: localhost\r\n"], ids=["none", "two"])
def test_a_request_names_exactly_one_host(api: Api, hosts: str) -> None:
    answer = raw(api, f"GET /healthz HTTP/1.1\r\n{hosts}\r\n".encode())
    assert answer.split()[1] in (b"400", b"403")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://localhost.evil.example", 403),
    ],
)
def test_pages_of_other_hosts_are_not_answered_even_with_the_token(
    api: Api, origin: str, status: int
) -> None:
    assert api.client.get("/v1/rollouts", headers={"origin": origin}).status_code == status


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/"])
def test_there_are_no_documentation_pages(api: Api, path: str) -> None:
    answer = api.client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["object"] == path


def test_a_method_that_is_not_offered_is_refused_in_the_same_form(api: Api) -> None:
    answer = api.client.patch("/v1/rollouts")
    assert answer.status_code == 405
    assert answer.json()["error"]["what"] == "PATCH is not offered here"


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"[" * 100_000, b"\xff\xfe"])
def test_a_body_that_is_not_a_json_object_is_refused(api: Api, body: bytes) -> None:
    answer = api.client.put("/v1/rollouts/ml/fraud", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["object"] == "body"
