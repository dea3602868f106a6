"""A model server for tests: Open Inference V2 over HTTP, real enough to fail in every way a model does.

`python -m tests.local.model --version v2 --port N [--fail 0.5] [--wrong 0.3] [--ready-after 1] [--exit-after 2] [--cold 50]`.
It answers the sum of its input's digits as label, echoes the request's id, and fails live requests only: a copy
(header `x-headgate-shadow`) is answered well. `/metrics` counts live requests for Prometheus.
"""

import argparse
import asyncio
import itertools
import os
import time
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry, Counter, generate_latest


def create(options: argparse.Namespace) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    registry = CollectorRegistry()
    total = Counter("model_requests", "Live requests.", ["version"], registry=registry)
    failed = Counter("model_failures", "Live requests answered 500.", ["version"], registry=registry)
    total.labels(options.version)
    failed.labels(options.version)
    began = time.monotonic()
    asked = itertools.count()

    @app.get("/v2/health/ready")
    async def ready() -> Response:
        return Response(status_code=200 if time.monotonic() - began >= options.ready_after else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    @app.post("/v2/models/sum/infer")
    async def infer(request: Request) -> Response:
        body: dict[str, Any] = await request.json()
        number = sum(body["inputs"][0]["data"])
        is_shadow = "x-headgate-shadow" in request.headers
        if next(asked) < options.cold:
            await asyncio.sleep(0.5)
        if not is_shadow:
            total.labels(options.version).inc()
            if options.slow_s:
                await asyncio.sleep(options.slow_s)
            if (hash((number, options.version)) % 100) < options.fail * 100:
                failed.labels(options.version).inc()
                return Response('{"error": "the model is out of order"}', 500, media_type="application/json")
        label = number % 10
        if number % 100 < options.wrong * 100:
            label = (label + 1) % 10
        scores = [0.01] * 10
        scores[label] = 0.91
        answer = {
            "model_name": "sum",
            "model_version": options.version,
            "id": body.get("id", ""),
            "outputs": [
                {"name": "label", "datatype": "INT64", "shape": [1], "data": [label]},
                {"name": "probabilities", "datatype": "FP64", "shape": [1, 10], "data": scores},
            ],
        }
        return Response(_json(answer), media_type="application/json")

    return app


def _json(value: object) -> bytes:
    import msgspec

    return msgspec.json.encode(value)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--fail", type=float, default=0.0, help="share of live requests answered 500")
    parser.add_argument("--wrong", type=float, default=0.0, help="share of answers with another label")
    parser.add_argument("--slow-s", type=float, default=0.0, help="seconds each live request takes longer")
    parser.add_argument("--ready-after", type=float, default=0.0, help="seconds until it says it is ready")
    parser.add_argument("--cold", type=int, default=0, help="so many first requests, of any kind, take 0.5 s")
    parser.add_argument("--exit-after", type=float, default=None, help="seconds until it dies with status 3")
    return parser.parse_args(argv)


async def main() -> None:
    options = parse()
    if options.exit_after is not None:
        asyncio.get_running_loop().call_later(options.exit_after, os._exit, 3)
    config = uvicorn.Config(
        create(options), host=options.host, port=options.port, access_log=False, log_level="warning"
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())
