"""Who may ask: a bearer token on every route that is not listed as open, no web pages, bounded bodies.

What the bearer may is checked in a dependency of the whole app, so that a new route is closed until somebody lists it here.
Bodies are read by the routes themselves, after that: the framework would read them before.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Header, Request
from starlette.requests import ClientDisconnect

from controller.api.access import wish_of
from controller.api.deps import Given
from controller.api.problems import Problem
from controller.ports import ROUTE, Wish

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Answered without a token: they say nothing but yes or no."""

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})

DOCUMENT_BYTES_MAX: Final = 1024 * 1024
ACTION_BYTES_MAX: Final = 16 * 1024

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


async def authenticate(request: Request, deps: Given, authorization: Annotated[str, Header()] = "") -> None:
    """Let the request pass if its path is open, or its bearer may have what it asks for; else Problem. Reads no body."""
    if request.url.path in OPEN_PATHS:
        return
    scheme, _, token = authorization.partition(" ")
    request.state.token = token.strip() if scheme.lower() == "bearer" else ""
    names = {name: str(value) for name, value in request.path_params.items()}
    await _demand(request, deps, wish_of(request.method, request.url.path, names))


async def demand_route(request: Request, deps: Given, key: str) -> None:
    """Go on only if the bearer may speak as a router of this rollout, which only the body said; else Problem."""
    await _demand(request, deps, Wish(ROUTE, key, request.url.path))


async def _demand(request: Request, deps: Given, wish: Wish) -> None:
    refused = await deps.access.refusal(request.state.token, wish)
    if refused is not None:
        raise Problem(
            refused.status,
            refused.what,
            about=request.url.path,
            do=refused.do,
            headers={"www-authenticate": "Bearer"} if refused.status == 401 else None,
        )


class OwnNames:
    """Refuses requests of web pages, and with `loopback_only` those that name another host than this one, so that no
    page reaches us by rebinding a name."""

    def __init__(self, app: Asgi, *, loopback_only: bool = True) -> None:
        self._app = app
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        refusal = _refusal(headers, loopback_only=self._loopback_only)
        answer = self._app if refusal is None else refusal.response()
        await answer(scope, receive, send)


def _refusal(headers: list[tuple[bytes, str]], *, loopback_only: bool) -> Problem | None:
    hosts = [value for name, value in headers if name == b"host"]
    if loopback_only and (len(hosts) != 1 or _host_of(f"//{hosts[0]}") not in LOOPBACK_NAMES):
        return Problem(
            403,
            "the Host header does not name this machine's loopback",
            about=", ".join(hosts)[:256],
            do="call the API as localhost or 127.0.0.1",
        )
    for origin in (value for name, value in headers if name == b"origin"):
        if _host_of(origin) not in LOOPBACK_NAMES:
            return Problem(
                403,
                "requests of pages from other hosts are not answered",
                about=origin[:256],
                do="call the API from a page of this machine, or with a client that sends no Origin",
            )
    return None


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The body, Problem 413 as soon as it is known to be longer than `bytes_max`; the rest is not read."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdigit() or int(announced) > bytes_max:
        raise _too_large(request, bytes_max)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > bytes_max:
                raise _too_large(request, bytes_max)
    except ClientDisconnect as error:  # nobody reads this answer, and it is nothing to log
        raise Problem(400, "the client went away", about="body", do="send the whole body") from error
    return bytes(body)


async def read_object(request: Request, bytes_max: int) -> dict[str, Any]:
    """The JSON object in the body; Problem 400 if it is anything else, 413 if it is too large."""
    body = await read_body(request, bytes_max)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(
            400, f"the body is not JSON: {error}", about="body", do="send one JSON object"
        ) from error
    if not isinstance(document, dict):
        raise Problem(400, "the body is not a JSON object", about="body", do="send one JSON object")
    return document


def _too_large(request: Request, bytes_max: int) -> Problem:
    return Problem(
        413,
        f"the body is larger than the {bytes_max} bytes that are read here",
        about=request.url.path,
        do="send less",
        headers={"connection": "close"},
    )
