"""Whether the controller lives, is ready, and its metrics."""

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from controller.api.deps import Given
from controller.api.problems import Problem

router = APIRouter()


@router.get("/healthz")
async def healthz() -> dict[str, Any]:
    """200 while the event loop answers. Open."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(deps: Given) -> dict[str, Any]:
    """200 once every rollout was reconciled, 503 before. Open."""
    if not deps.is_ready():
        raise Problem(
            503, "not every rollout was reconciled yet", about="controller", do="ask again in a second"
        )
    return {"status": "ready"}


@router.get("/metrics")
async def metrics(deps: Given) -> Response:
    """The controller's metrics in the Prometheus text format. Needs the token."""
    return Response(deps.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)
