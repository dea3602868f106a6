"""A real HTTP server that takes hooks: it answers as told and remembers every request."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


def says(status: int, text: str = "", **headers: str) -> Answer:
    """An answer with this status, text and headers."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(text.encode())))
        handler.end_headers()
        handler.wfile.write(text.encode())

    return answer


@dataclass
class Receiver:
    """`answers` are given in order, the last one for ever. `released` ends those that hang."""

    answers: list[Answer] = field(default_factory=lambda: [says(204)])
    received: list[Received] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Receiver":
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, headers, body))
                answer = receiver.answers[min(len(receiver.received), len(receiver.answers)) - 1]
                try:
                    answer(self)
                except OSError:
                    self.close_connection = True  # the other side had enough

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def hangs(self, handler: BaseHTTPRequestHandler) -> None:
        """No answer until the test is over."""
        self.released.wait(60)

    def drips(self, handler: BaseHTTPRequestHandler) -> None:
        """An answer that never comes to its end, a byte now and then."""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.released.wait(0.05):
            handler.wfile.write(b"x")

    def floods(self, handler: BaseHTTPRequestHandler) -> None:
        """A refusal with a text without end."""
        handler.wfile.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
        while not self.released.is_set():
            handler.wfile.write(b"too much " * 1000)
