"""What the Prometheus tests run against: an exporter, a real Prometheus that scrapes it, and servers that misbehave."""

import asyncio
import json
import re
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from controller.adapters.prometheus.counters import PrometheusCounters
from controller.core.analysis.inputs import Measurement
from controller.core.checks import PrometheusQuery, Query
from controller.crd.providers import Limits, Provider

QUERY = PrometheusQuery(
    "main", 'errors_total{version="{{version}}"}', 'requests_total{version="{{version}}"}'
)


class Exporter:
    """Counters over HTTP, as the tests set them: series text to value."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                lines = [f"{series} {value!r}\n" for series, value in exporter.values.items()]
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write("".join(lines).encode())

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def exporter() -> Iterator[Exporter]:
    running = Exporter()
    thread = threading.Thread(target=running.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield running
    finally:
        running.server.shutdown()
        running.server.server_close()
        thread.join()


@contextmanager
def prometheus(folder: Path, targets: list[str], web: dict[str, Any] | None = None) -> Iterator[str]:
    """The address of a real Prometheus that scrapes the targets every second; it ends with the block.

    With `web`, the content of its web.config.file, it asks for credentials or serves by TLS.
    """
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "models", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    (folder / "web.yml").write_text(json.dumps(web or {}))
    log = folder / "prometheus.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.config.file={folder / 'web.yml'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        address = _address(log, process)
        if web is None:
            _wait_until_ready(f"http://{address}")
        yield f"{'http' if web is None or 'tls_server_config' not in web else 'https'}://{address}"
    finally:
        process.terminate()
        process.wait(30)


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at and process.poll() is None:
        found = re.search(r'msg="Listening on" address=(127\.0\.0\.1:\d+)', log.read_text())
        if found:
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"prometheus did not start:\n{log.read_text()}")


def _wait_until_ready(url: str) -> None:
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at:
        with suppress(OSError):
            urllib.request.urlopen(f"{url}/-/ready", timeout=10).close()
            return
        time.sleep(0.05)
    raise AssertionError("prometheus did not become ready")


@contextmanager
def misbehaving(
    talk: Callable[[socket.socket], None], heard: Callable[[bytes], None] = lambda head: None
) -> Iterator[str]:
    """The address of a server that reads a request, which is `heard`, and then does with the connection what `talk`
    does."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (part := connection.recv(65536)):
                head += part
            heard(head)
            talk(connection)
        connection.close()

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_connections.append(connection)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for sock in [listener, *open_connections]:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        thread.join(10)


def answering(
    body: bytes, status: str = "200 OK", headers: tuple[str, ...] = ()
) -> Callable[[socket.socket], None]:
    """Sends one whole answer."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers])

    def talk(connection: socket.socket) -> None:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)

    return talk


def matrix(*series: dict[str, object], warnings: list[str] | None = None) -> bytes:
    answer = {"status": "success", "data": {"resultType": "matrix", "result": list(series)}}
    return json.dumps({**answer, "warnings": warnings or []}).encode()


def patient(url: str, timeout_s: float = 30.0, **more: Any) -> Provider:
    """A provider at that address that has so long for an answer."""
    return Provider(
        url=url, limits=Limits.model_validate({"perSecond": 1000, "timeout": f"{timeout_s:g}s"}), **more
    )


def ask(
    url: str,
    query: Query = QUERY,
    version: str = "v8",
    provider: Provider | None = None,
) -> Measurement:
    """One look, with the patience to wait for its end."""

    async def look() -> Measurement:
        counters = PrometheusCounters({"main": provider or patient(url)})
        try:
            return await counters.counts(query, version)
        finally:
            await counters.close()

    return asyncio.run(look())
