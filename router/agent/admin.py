"""The router's admin API: what it runs and counts, for people, probes and Prometheus. It changes nothing.

On loopback it is open to this machine, if the Host header says that this machine was meant (a web page that rebinds
its name to 127.0.0.1 gets 421). On any other address everything but the two probes needs the router's own token.
"""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from router.agent.inforce import InForce
from router.agent.metrics import RouterCollector
from router.agent.shared import Shared
from router.agent.stats import History, window_s

_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


class Problem(Exception):
    """Ends a request with `status`; the body says what is wrong and what to do, as the controller's API does."""

    def __init__(self, status: int, what: str, do: str) -> None:
        super().__init__(what)
        self.status = status
        self.do = do


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask. `token_file` holds the token that is needed when not only this machine can ask."""

    is_loopback: bool
    token_file: Path | None

    def check_host(self, request: Request) -> None:
        """421 for a request that did not mean this machine."""
        host = request.headers.get("host", "")
        name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
        if self.is_loopback and name.lower() not in _LOOPBACK_NAMES:
            raise Problem(421, f"host {host[:100]!r} is not this machine", "ask for localhost or 127.0.0.1")

    def check_token(self, request: Request) -> None:
        """401 without the token where one is needed."""
        if self.is_loopback:
            return
        given = request.headers.get("authorization", "")
        expected = f"Bearer {self.token_file.read_text().strip()}" if self.token_file is not None else ""
        if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
            what = "this address is not for this machine alone, and the request has not the router's token"
            raise Problem(401, what, "send the content of the router's --token-file as bearer token")


def admin(
    shared: Shared, in_force: InForce, history: History, collector: RouterCollector, access: Access
) -> FastAPI:
    """The admin application."""
    app = FastAPI(
        title="headgate router",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(_async(access.check_host))],
    )
    guarded = [Depends(_async(access.check_token))]
    registry = CollectorRegistry()
    registry.register(collector)

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        body = {"what": str(error), "object": f"router of {in_force.rollout}", "do": error.do}
        headers = {"www-authenticate": "Bearer"} if error.status == 401 else None
        return JSONResponse({"error": body}, error.status, headers)

    @app.get("/healthz")
    async def healthz() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/readyz")
    async def readyz() -> dict[str, bool]:
        missing = _missing(shared, in_force)
        if missing:
            raise Problem(503, missing, f"/v1/plan and the log say more; the run directory is {shared.path}")
        return {"ok": True}

    @app.get("/metrics", dependencies=guarded)
    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    @app.get("/v1/plan", dependencies=guarded)
    async def plan() -> dict[str, Any]:
        return _plan(shared, in_force)

    @app.get("/v1/stats", dependencies=guarded)
    async def stats(window: str = "60s") -> dict[str, Any]:
        try:
            return history.over(window_s(window))
        except ValueError as error:
            raise Problem(422, str(error), "ask for a window such as 60s") from error

    return app


def _plan(shared: Shared, in_force: InForce) -> dict[str, Any]:
    if in_force.plan is None:
        raise Problem(404, "no plan is in force yet", "wait for the controller, or see why in the log")
    return {
        "plan": msgspec.to_builtins(in_force.plan),
        "applied": str(in_force.said.applied),
        "error": in_force.said.error,
        "pinned": shared.pinned(),
    }


def _missing(shared: Shared, in_force: InForce) -> str:
    """What keeps the router from serving; empty when nothing does."""
    if in_force.plan is None:
        return "no plan is in force yet"
    if not any(worker.is_live for worker in shared.workers()):
        return "no worker lives"
    return ""


def _async(check: Callable[[Request], None]) -> Callable[[Request], Awaitable[None]]:
    """The check as a coroutine: a plain function would be run in a thread."""

    async def checked(request: Request) -> None:
        check(request)

    return checked
