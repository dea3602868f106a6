"""Puts the API together: the routes, who may call them, and how errors speak."""

from fastapi import Depends, FastAPI

from controller.api import actions, discovery, health, rollouts
from controller.api.deps import Deps, provide
from controller.api.problems import install
from controller.api.security import OwnNames, authenticate


def create_app(deps: Deps) -> FastAPI:
    """The API over these dependencies. It has no documentation pages: those bring scripts of other hosts."""
    app = FastAPI(
        title="Headgate",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(authenticate)],
    )
    provide(app, deps)
    install(app)
    app.add_middleware(OwnNames, loopback_only=deps.is_loopback)
    for part in (health, discovery, rollouts, actions):
        app.include_router(part.router)
    return app
