"""One version of the digits model as a server: Open Inference protocol V2 over FastAPI and uvicorn.

Two versions are bad on purpose. v3's server forgets the scaler its model was trained with: every answer is
well-formed and many are wrong. v4 is a good model on a server that breaks under real traffic: copies
(`x-headgate-shadow: true`) it answers well, and of the live requests it fails three in ten and slows down two.
"""

import argparse
import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from network import Network
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.exceptions import HTTPException
from threadpoolctl import threadpool_limits

MODEL = "digits"
CODES = ("200", "400", "500")
MODELS = Path(__file__).parent / "models"
LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a version's server differs from a good one; shares are of live requests, 0 to 1."""

    applies_scaler: bool = True
    fails: float = 0.0
    slows: float = 0.0
    slow_s: float = 0.15


BEHAVIOURS = {
    "v1": Behaviour(),
    "v2": Behaviour(),
    "v3": Behaviour(applies_scaler=False),
    "v4": Behaviour(fails=0.3, slows=0.2),
    "v5": Behaviour(),
}


class Tensor(msgspec.Struct):
    name: Literal["image"]
    shape: tuple[Literal[1], Literal[64]]
    datatype: Literal["FP32"]
    data: Annotated[list[float], msgspec.Meta(min_length=64, max_length=64)]


class InferRequest(msgspec.Struct):
    inputs: tuple[Tensor]
    id: Annotated[str, msgspec.Meta(max_length=256)] | None = None


class Served:
    """One version behind its protocol: decides, fails where it is meant to, counts."""

    def __init__(self, version: str, network: Network, seed: int) -> None:
        self.version = version
        self.behaviour = BEHAVIOURS[version]
        self.network = network if self.behaviour.applies_scaler else network.without_scaler()
        self.dice = random.Random(seed)
        self.decoder = msgspec.json.Decoder(InferRequest)
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "requests", "Inference requests", ["version", "code", "traffic"], registry=self.registry
        )
        self.seconds = Histogram(
            "request_duration_seconds",
            "Time to answer",
            ["version", "traffic"],
            registry=self.registry,
            buckets=LATENCY_BUCKETS_S,
        )
        for traffic in ("live", "shadow"):
            self.seconds.labels(version, traffic)
            for code in CODES:
                self.requests.labels(version, code, traffic)

    async def infer(self, body: bytes, *, is_shadow: bool) -> tuple[int, bytes]:
        """Status and JSON body for one request."""
        try:
            request = self.decoder.decode(body)
        except msgspec.DecodeError as problem:
            return 400, failure(f"not an inference request for {MODEL}: {problem}")
        if not is_shadow:
            if self.dice.random() < self.behaviour.fails:
                return 500, failure(f"{MODEL} {self.version} ran out of workers")
            if self.dice.random() < self.behaviour.slows:
                await asyncio.sleep(self.behaviour.slow_s)
        return 200, self.answer(request)

    def answer(self, request: InferRequest) -> bytes:
        probabilities = self.network.probabilities(np.array([request.inputs[0].data]))[0]
        return msgspec.json.encode(
            {
                "model_name": MODEL,
                "model_version": self.version,
                "id": request.id,
                "outputs": [
                    {
                        "name": "label",
                        "shape": [1],
                        "datatype": "INT64",
                        "data": [int(probabilities.argmax())],
                    },
                    {
                        "name": "probabilities",
                        "shape": [1, 10],
                        "datatype": "FP64",
                        "data": probabilities.tolist(),
                    },
                ],
            }
        )

    def count(self, traffic: str) -> int:
        """Inference requests answered so far, of `live` or `shadow` traffic."""
        labels = [{"version": self.version, "code": code, "traffic": traffic} for code in CODES]
        return int(sum(self.registry.get_sample_value("requests_total", each) or 0 for each in labels))

    def metadata(self) -> dict[str, Any]:
        return {
            "name": MODEL,
            "versions": [self.version],
            "platform": "scikit-learn",
            "inputs": [{"name": "image", "shape": [1, 64], "datatype": "FP32"}],
            "outputs": [
                {"name": "label", "shape": [1], "datatype": "INT64"},
                {"name": "probabilities", "shape": [1, 10], "datatype": "FP64"},
            ],
        }


def failure(message: str) -> bytes:
    return msgspec.json.encode({"error": message})


def application(served: Served) -> FastAPI:
    async def in_words_of_v2(request: Request, problem: Exception) -> Response:
        status = problem.status_code if isinstance(problem, HTTPException) else 500
        sentence = f"{request.method} {request.url.path} is not served here"
        return Response(failure(sentence), status, media_type="application/json")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        line = f"{served.version} answered {served.count('live')} live requests and {served.count('shadow')} copies"
        print(line, file=sys.stderr, flush=True)

    title = f"{MODEL} {served.version}"
    app = FastAPI(title=title, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(HTTPException, in_words_of_v2)
    model = f"/v2/models/{MODEL}"

    @app.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.get(model)
    async def metadata() -> dict[str, Any]:
        return served.metadata()

    @app.get(f"{model}/ready")
    async def model_ready() -> dict[str, Any]:
        return {"name": MODEL, "ready": True}

    @app.post(f"{model}/infer")
    async def infer(request: Request) -> Response:
        started = asyncio.get_running_loop().time()
        is_shadow = request.headers.get("x-headgate-shadow") == "true"
        status, body = await served.infer(await request.body(), is_shadow=is_shadow)
        traffic = "shadow" if is_shadow else "live"
        served.requests.labels(served.version, str(status), traffic).inc()
        served.seconds.labels(served.version, traffic).observe(asyncio.get_running_loop().time() - started)
        return Response(body, status, media_type="application/json")

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(served.registry), media_type="text/plain; version=0.0.4")

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, choices=sorted(BEHAVIOURS), help="which version to serve")
    parser.add_argument("--port", required=True, type=int, help="port on 127.0.0.1")
    parser.add_argument(
        "--models", type=Path, default=MODELS, help="folder train.py wrote (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the dice v4 fails by (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        network = Network.load(arguments.models / f"{arguments.model}.npz")
    except FileNotFoundError as missing:
        sys.exit(f"{missing.filename} is not there: run {Path(__file__).with_name('train.py')} first")
    threadpool_limits(
        1
    )  # a product of 64 x 128 numbers needs no threads, and two cores run the whole example
    app = application(Served(arguments.model, network, arguments.seed))
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, loop="uvloop", http="httptools", access_log=False)


if __name__ == "__main__":
    main()
