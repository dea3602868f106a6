"""Stands between a client and a server, passes every byte on, and keeps a copy: what somebody on the wire could read."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class Relay:
    """Listens on `port` of loopback while the block lasts; `heard` is all that clients and the server at `to` said."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._heard = bytearray()
        self._first: list[bytes] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def heard(self) -> bytes:
        with self._lock:
            return bytes(self._heard)

    @property
    def beginnings(self) -> list[bytes]:
        """What each client said first."""
        with self._lock:
            return list(self._first)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._to), timeout=30)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for one, other, is_client in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(one, other, is_client), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, is_client: bool) -> None:
        is_first = is_client
        with suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    self._heard += data
                    self._first += [data] if is_first else []
                is_first = False
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
