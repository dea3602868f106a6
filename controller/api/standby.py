"""What a controller answers before it leads: that it lives, that it is not ready, and that another one is to be asked."""

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


def standby_app(why: Callable[[], str]) -> FastAPI:
    """The API of one that waits; `why()` says for what. 421 tells a router to ask again: the Service leads to the leader."""
    app = FastAPI(title="Headgate", docs_url=None, redoc_url=None, openapi_url=None)
    install(app)

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> dict[str, Any]:
        raise Problem(503, why(), about="controller", do="nothing: it is ready when it leads")

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def elsewhere(path: str, request: Request) -> Response:
        raise Problem(
            421, why(), about=request.url.path, do="ask again: the Service leads to the one that leads"
        )

    return app
