"""Clients and servers that nobody here wrote: httpx and requests on one side, uvicorn on the other."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import requests
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from headgate.wire.plan import Endpoint
from tests.router.proxy.proxy_world import plan_of, run, serving, version

app = FastAPI()


@app.post("/echo")
async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/octet-stream")


@app.get("/events")
async def events() -> StreamingResponse:
    async def stream() -> Any:
        for i in range(20):
            yield f"data: {i}\n\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.get("/status/{code}")
async def status(code: int) -> Response:
    return Response(status_code=code)


@contextlib.contextmanager
def uvicorn_server(keep_alive_s: int) -> Iterator[int]:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="error", timeout_keep_alive=keep_alive_s, lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not (server.started and server.servers) and time.monotonic() < deadline:
        time.sleep(0.01)  # another thread's state: nothing to await
    try:
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)


def talk(base: str, size_max: int = 3_000_000) -> None:
    """What ordinary clients do, checked answer by answer."""
    with httpx.Client(base_url=base, timeout=30) as client:
        for size in (0, 1, 1000, 300_000, size_max):
            body = bytes(i % 251 for i in range(size))
            assert client.post("/echo", content=body).content == body
            pieces = (body[at : at + 50_000] for at in range(0, size, 50_000))
            assert client.post("/echo", content=pieces).content == body
        with client.stream("GET", "/events") as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert lines == [f"data: {i}" for i in range(20)]
        assert [client.get(f"/status/{code}").status_code for code in (200, 204, 304, 404, 503)] == [
            200,
            204,
            304,
            404,
            503,
        ]
        assert client.head("/status/200").status_code == 405
        assert client.get("/status/200").headers["x-headgate-version"] == "v1"
    with requests.Session() as session:
        for i in range(50):
            assert session.post(f"{base}/echo", data=b"%d" % i, timeout=30).content == b"%d" % i


def test_httpx_and_requests_talk_through_the_worker_to_uvicorn(tmp_path: Path):
    async def test() -> None:
        with uvicorn_server(5) as port:
            plan = plan_of(version("v1", endpoints=(Endpoint("127.0.0.1", port),)))
            async with serving(tmp_path, plan) as router:
                await asyncio.to_thread(talk, f"http://127.0.0.1:{router.port}")
                await router.settled()
                assert router.counted("v1").picked.broken == 0

    run(test())


def test_a_server_that_closes_idle_connections_at_once_costs_no_request(tmp_path: Path):
    async def test() -> None:
        with uvicorn_server(0) as port:
            plan = plan_of(version("v1", endpoints=(Endpoint("127.0.0.1", port),)))
            async with serving(tmp_path, plan) as router:
                for _ in range(5):
                    await asyncio.to_thread(talk, f"http://127.0.0.1:{router.port}", 900_000)
                await router.settled()
                assert router.counted("v1").picked.broken == 0

    run(test())
