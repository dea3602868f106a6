"""What a controller answers before it leads: that it lives, whether it could lead, and who is to be asked.

One that follows a leader is ready: as a Deployment's second replica it must not hold up an update. The Service then
leads to it, too, and whoever comes is sent on to the leader.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, Request, Response

from controller.api.problems import Problem, install

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class Front:
    """The app that answers now; another one may take its place between two requests."""

    def __init__(self, app: Asgi) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the present app answer."""
        await self.app(scope, receive, send)


def nobody() -> str:
    """No leader is known."""
    return ""


def standby_app(
    why: Callable[[], str], leader: Callable[[], str] = nobody, follows: Callable[[], bool] = lambda: False
) -> FastAPI:
    """The API of one that waits; `why()` says for what. `leader()` is the address of the one that leads, "" if that is not
    known, and `follows()` whether this one could take its place.

    421 tells a router to ask there, or again: the connection is closed, so that the Service may lead elsewhere.
    """
    app = FastAPI(title="Headgate", docs_url=None, redoc_url=None, openapi_url=None)
    install(app)

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> dict[str, Any]:
        if follows():
            return {"status": "standby"}
        raise Problem(503, why(), about="controller", do="nothing: it is ready when it leads, or follows")

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def elsewhere(path: str, request: Request) -> Response:
        there = leader()
        raise Problem(
            421,
            why(),
            about=request.url.path,
            do=f"ask the one that leads{f', at {there}' if there else ''}",
            headers={"connection": "close", **({"location": there} if there else {})},
        )

    return app
