"""How clients get to a worker: the listening sockets it inherited, with TLS and the PROXY protocol where they are on.

Every socket is served by the loop's own server, except where the PROXY protocol is on: there what a sender says comes
before anything else, TLS too, so those few bytes are taken off the socket before the loop gets it.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from router.core import counters as c
from router.core import proxy_protocol as pp
from router.proxy.client import LINGER_S, Client
from router.tls import Followed

if TYPE_CHECKING:
    from router.proxy.worker import Worker

HANDSHAKE_S: Final = 10.0
"""How long a client may take to shake hands."""

_BACKLOG: Final = 1024
_ANNOUNCING_MAX: Final = 1024
"""So many connections at a time may still owe their PROXY protocol header; the others wait in the kernel."""

_REST_S: Final = 0.05


class Listeners:
    """All listening sockets of a worker."""

    def __init__(self, worker: "Worker") -> None:
        """Unusable if TLS is asked for with files that are of no use."""
        self._worker = worker
        server = worker.options.server_tls
        self._tls = Followed(server, worker.log) if server is not None else None
        self._all: list[_Served | _Announced] = []

    async def open(self, descriptors: Sequence[int]) -> None:
        """Accept on sockets that this process inherited."""
        kind = _Announced if self._worker.options.senders else _Served
        for descriptor in descriptors:
            opened = socket.socket(fileno=descriptor)
            opened.setblocking(False)
            one = kind(self._worker, opened)
            self._all.append(one)
            await one.open(self._context(opened))

    async def refresh(self) -> None:
        """Look at the certificates; new ones are for connections from now on."""
        if self._tls is None or not await asyncio.to_thread(self._tls.refresh):
            return
        for one in self._all:
            if not self._worker.is_draining:
                await one.open(self._context(one.listening))

    @property
    def is_busy(self) -> bool:
        """Whether connections were accepted that no `Client` stands for yet."""
        return any(one.announcing for one in self._all)

    def close(self) -> None:
        """Accept no more."""
        for one in self._all:
            one.close()

    def _context(self, listening: socket.socket) -> ssl.SSLContext | None:
        """Unix sockets are for this machine alone: nobody listens in on them."""
        return self._tls.context if self._tls is not None and listening.family != socket.AF_UNIX else None


def _tls(context: ssl.SSLContext | None) -> dict[str, Any]:
    if context is None:
        return {}
    return {"ssl": context, "ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": LINGER_S}


class _Served:
    """A socket that the loop serves by itself."""

    announcing = 0

    def __init__(self, worker: "Worker", listening: socket.socket) -> None:
        self.listening = listening
        self._worker = worker
        self._server: asyncio.Server | None = None

    async def open(self, context: ssl.SSLContext | None) -> None:
        """Serve with this context, in place of the one before: two servers on one socket lose no connection."""
        loop = asyncio.get_running_loop()
        is_unix = self.listening.family == socket.AF_UNIX
        create: Any = loop.create_unix_server if is_unix else loop.create_server
        server = await create(
            lambda: Client(self._worker), sock=self.listening.dup(), backlog=_BACKLOG, **_tls(context)
        )
        if self._server is not None:
            self._server.close()
        self._server = server

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.listening.close()


class _Announced:
    """A socket on which each connection begins with a PROXY protocol header."""

    def __init__(self, worker: "Worker", listening: socket.socket) -> None:
        self.listening = listening
        self.announcing = 0
        self._worker = worker
        self._context: ssl.SSLContext | None = None
        self._accepting: asyncio.Task[None] | None = None

    async def open(self, context: ssl.SSLContext | None) -> None:
        """Accept, or go on accepting, with this context."""
        self._context = context
        if self._accepting is None:
            self._accepting = asyncio.get_running_loop().create_task(self._accept())

    def close(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
        self.listening.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self.announcing >= _ANNOUNCING_MAX:
                await asyncio.sleep(_REST_S)
                continue
            try:
                opened, address = await loop.sock_accept(self.listening)
            except OSError as error:
                self._worker.log.warning("no connection accepted", why=error)
                await asyncio.sleep(_REST_S)
                continue
            self.announcing += 1
            self._worker.spawn(self._introduce(opened, address))

    async def _introduce(self, opened: socket.socket, address: Any) -> None:
        try:
            await self._hand_over(opened, address[0] if isinstance(address, tuple) else None)
        except (pp.Malformed, TimeoutError):
            self._worker.cells[c.cause_cell("proxy_protocol")] += 1
            opened.close()
        except (OSError, EOFError):
            opened.close()  # gone before it said anything, as health checks of load balancers are
        finally:
            self.announcing -= 1

    async def _hand_over(self, opened: socket.socket, peer: str | None) -> None:
        worker = self._worker
        if not worker.options.senders.has(peer):
            worker.cells[c.cause_cell("proxy_protocol_sender")] += 1
            opened.close()
            return
        opened.setblocking(False)
        async with asyncio.timeout(worker.limits.header_timeout_ms / 1000):
            source = await announced(opened)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(
            lambda: Client(worker, source or peer), opened, **_tls(self._context)
        )


async def announced(opened: socket.socket) -> str | None:
    """The address in the header, which is taken off the socket, and not a byte more."""
    begin = await _exactly(opened, pp.BEGIN_BYTES)
    if pp.begins_v1(begin):
        return pp.read_v1(await _line(opened, begin))
    head = begin + await _exactly(opened, pp.V2_HEAD_BYTES - len(begin))
    return pp.read_v2(head, await _exactly(opened, pp.v2_length(head)))


async def _exactly(opened: socket.socket, count: int) -> bytes:
    """So many bytes. EOFError if the connection ends before."""
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < count:
        more = await loop.sock_recv(opened, count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


async def _line(opened: socket.socket, begin: bytes) -> bytes:
    """The rest of a line, as long as a header of version 1 may be: looked at first, so that nothing after it is taken."""
    line = begin
    while not line.endswith(b"\r\n"):
        if len(line) >= pp.V1_BYTES_MAX:
            raise pp.Malformed(f"no end of line within {pp.V1_BYTES_MAX} bytes")
        line += await _exactly(opened, 1)
        if line.endswith(b"\r\n"):
            break
        try:
            ahead = opened.recv(pp.V1_BYTES_MAX - len(line), socket.MSG_PEEK)
        except BlockingIOError:
            continue
        end = (line[-1:] + ahead).find(b"\r\n")
        line += opened.recv(len(ahead) if end < 0 else end + 1)
    return line
