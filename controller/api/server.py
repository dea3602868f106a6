"""The HTTP server under the API: bounded, quiet, and stopped by its owner rather than by signals."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import uvicorn
from fastapi import FastAPI

from controller.api.standby import Front

CONNECTIONS_MAX: Final = 4096
"""Connections and requests at once, long polls included; one more is answered 503."""

STOP_S_MAX: Final = 3
"""Requests still under way this long after `should_exit` are cut; the long polls end before (see `Changes.close`)."""


class ApiServer(uvicorn.Server):
    """Serves until `should_exit` is set; `await serve(sockets=[…])` returns when all is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program that owns this server."""
        yield


def api_server(app: FastAPI | Front, tls: ssl.SSLContext | None = None) -> ApiServer:
    """A server for this app, with `tls` for HTTPS only; the caller gives it listening sockets (see `listen`)."""
    return ApiServer(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=STOP_S_MAX,
            ssl_context_factory=None if tls is None else lambda config, default: tls,
            h11_max_incomplete_event_size=64 * 1024,
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; OSError, with the address in it, if the port is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is: 44 ms an answer otherwise.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener
