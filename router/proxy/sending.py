"""The request's half of an exchange: its body, the way to an endpoint of the version that was picked, what is counted.

`Exchange` is the other half: the answer and the end. They are one object, a base class and its only subclass, because
there is one for each request: two that know each other would be a cycle that only the collector can take apart.
"""

from abc import ABC, abstractmethod
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from headgate.wire.plan import Limits
from router.core import counters as c
from router.proxy.capture import Capture
from router.proxy.counting import record
from router.proxy.framing import CHUNKED, Request
from router.proxy.messages import chunk
from router.proxy.picking import copies, pick
from router.proxy.pool import Address, choose, connect, least_bad
from router.proxy.routing import Live, Routing
from router.proxy.upstream import Upstream

if TYPE_CHECKING:
    from router.proxy.client import Client
    from router.proxy.worker import Worker

REPLAY_BYTES_MAX: Final = 1_048_576
"""A request no longer than this is kept until its answer begins: it can be sent again if the model has not seen it."""

REPLAY_BYTES_ALL_MAX: Final = 33_554_432
"""All that is kept so, in one worker; beyond it requests are sent once."""

_WINDOW_BYTES: Final = 65_536
"""So much of a body is taken from the client while there is no connection to a model yet."""

_CONNECT_TRIES_MAX: Final = 3


class Sending(ABC):
    """A request on its way. `kind` is the group of counters it belongs to: PICKED, MATCHED, SELECTED or OTHER."""

    __slots__ = (
        *("_address", "_capture", "_held", "_held_bytes", "_is_counted", "_is_first_half", "_is_over"),
        *("_is_request_done", "_is_request_paused", "_latest", "_picked", "_request_bytes", "_request_id"),
        *("_routing", "_serving", "_stale_tries", "_tried", "_upstream", "_worker"),
        *("client", "kind", "limits", "request", "started"),
    )

    def __init__(
        self, worker: "Worker", client: "Client", request: Request, routing: Routing, started: float
    ) -> None:
        self._worker = worker
        self.client = client
        self.request = request
        self.started = started
        self.limits: Limits = routing.limits
        self._routing = routing
        self._address: Address | None = None
        self._upstream: Upstream | None = None
        self._capture: Capture | None = None
        self._held: list[bytes] | None = []
        self._held_bytes = 0
        self._tried: tuple[Address, ...] = ()
        self._stale_tries = 0
        self._is_over = self._is_request_done = self._is_request_paused = self._is_counted = False
        self._latest = worker.now
        self._request_bytes = 0
        self._request_id = worker.request_id(request.headers.get(b"x-request-id"))
        picked, self.kind, self._is_first_half = pick(routing, request)
        self._picked: Live = picked
        self._serving: Live = picked
        if routing.shadows and self.kind in routing.compared and not request.is_websocket:
            self._capture = copies(worker.sink, routing, request, picked, self._request_id)

    # -- the request -------------------------------------------------------------------------------------------

    def on_request(self, piece: bytes, *, is_last: bool) -> None:
        """More of the request's body."""
        self._latest = self._worker.now
        framed = self._framed(piece, is_last=is_last)
        self._hold(framed)
        if self._upstream is not None:
            self._forget_if_large()
            self._upstream.write(framed)
        elif self._held_bytes > _WINDOW_BYTES:
            self.pause_request()

    def pause_request(self) -> None:
        """The endpoint does not take more of the body now."""
        self._is_request_paused = True
        self.client.pause_body()

    def resume_request(self) -> None:
        """It does again."""
        self._is_request_paused = False
        self._latest = self._worker.now
        self.client.resume_body()

    def _framed(self, piece: bytes, *, is_last: bool) -> bytes:
        """A piece of the body as it goes out, in the request's own framing."""
        self._request_bytes += len(piece)
        self._is_request_done = is_last
        if self._capture is not None and piece:
            self._capture.add_request(piece)
        if self.request.length != CHUNKED:
            return piece
        return chunk(piece, is_last=is_last)

    def _hold(self, framed: bytes) -> None:
        """Keep a piece for as long as it may have to be sent again."""
        if self._held is not None and framed:
            self._held.append(framed)
            self._held_bytes += len(framed)
            self._worker.held_bytes += len(framed)

    def _forget_if_large(self) -> None:
        if self._held_bytes > REPLAY_BYTES_MAX or self._worker.held_bytes > REPLAY_BYTES_ALL_MAX:
            self._forget()

    def _forget(self) -> None:
        """The request will not be sent again."""
        self._worker.held_bytes -= self._held_bytes
        self._held_bytes = 0
        self._held = None

    # -- the way there -----------------------------------------------------------------------------------------

    def _seek(self) -> None:
        """Take a connection to an endpoint of the version, make one, or go to stable."""
        address = self._choose()
        if address is not None:
            self._go(address)
        elif self._serving.is_stable:
            self._fail_without_connection()
        else:
            self._fall_back()

    def _choose(self) -> Address | None:
        """The endpoint to try next; None if all were, or the version has as many requests as it may."""
        serving, limits = self._serving, self.limits
        if (
            len(self._tried) >= _CONNECT_TRIES_MAX
            or serving.counted.in_flight > limits.requests_per_version_max
        ):
            return None
        now, maximum = self._worker.now, limits.connections_per_endpoint_max
        address = choose(serving.addresses, self._tried, now, maximum, limits.slow_start_ms / 1000)
        if address is None and serving.is_stable and not self._tried:
            address = least_bad(serving.addresses, maximum)
        return address

    def _go(self, address: Address) -> None:
        address.load += 1
        self._address = address
        upstream = None if self._stale_tries else address.take()
        if upstream is not None:
            self._send(upstream)
        else:
            self._worker.spawn(self._connect(address))

    async def _connect(self, address: Address) -> None:
        """A new connection, for this exchange or, if it ended meanwhile, for whoever comes next."""
        try:
            upstream = await connect(address, self.limits.connect_timeout_ms / 1000, Upstream)
        except (OSError, TimeoutError, UnicodeError) as error:
            self._complain(address, error)
            if not self._is_over:
                self._retry_elsewhere(address)
            return
        if self._is_over:
            address.put(upstream, self._worker.now)
        else:
            self._send(upstream)

    def _complain(self, address: Address, error: Exception) -> None:
        """Say why an endpoint gives no connection: once, until it does or the reason is another."""
        why = getattr(error, "strerror", None) or str(error) or "it takes too long"
        if why != address.complaint:
            address.complaint = why
            self._worker.log.warning(
                "endpoint gives no connection", endpoint=address.authority.decode(), why=why
            )

    def _retry_elsewhere(self, address: Address) -> None:
        """No connection: nobody saw the request, so another endpoint may have it."""
        self._let_go(address)
        self._blame(address)
        self._tried = (*self._tried, address)
        self._count_retry()
        self._seek()

    def _fall_back(self) -> None:
        """The picked version has no usable endpoint: stable answers, and the picked version has failed."""
        self._count(c.NO_CONNECTION)
        self._worker.cells[self._picked.counted.start + c.SAVED_BY_STABLE] += 1
        self._drop_capture(c.LIVE_ERROR)
        self._serving.counted.in_flight -= 1
        self._serving = self._routing.stable
        self._serving.counted.in_flight += 1
        self.kind = c.OTHER
        self._is_counted = False
        self._tried = ()
        self._seek()

    def _fail_without_connection(self) -> None:
        name = self._serving.name
        if not self._serving.addresses:
            message = f"version {name} has no endpoint"
            self._fail(c.NO_CONNECTION, HTTPStatus.SERVICE_UNAVAILABLE, "no_endpoint", message)
        elif not self._tried:
            message = f"version {name}, or each of its endpoints, has as many requests as it may"
            self._fail(c.NO_CONNECTION, HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", message)
        else:
            message = f"no endpoint of version {name} accepts a connection"
            self._fail(c.NO_CONNECTION, HTTPStatus.BAD_GATEWAY, "no_connection", message)

    @abstractmethod
    def _send(self, upstream: Upstream) -> None:
        """Send what there is of the request on this connection."""

    @abstractmethod
    def _fail(self, cell: int, status: HTTPStatus, cause: str, message: str) -> None:
        """The version failed: count it, and tell the client as far as that is still possible."""

    # -- what is counted ---------------------------------------------------------------------------------------

    def age(self, now: float) -> float:
        """Seconds since the request began, if it will count for the version it was picked for; else -1."""
        is_split = self.kind in (c.PICKED, c.MATCHED)
        return now - self.started if is_split and not self._is_counted else -1.0

    @property
    def picked(self) -> Live:
        """The version that a split, an override or a pin chose."""
        return self._picked

    def _let_go(self, address: Address) -> None:
        address.load -= 1
        self._address = None

    def _blame(self, address: Address) -> None:
        if address.failed(self._worker.now):
            self._worker.cells[self._serving.counted.start + c.EJECTIONS] += 1

    def _count_retry(self) -> None:
        self._worker.cells[self._serving.counted.start + c.RETRIES] += 1

    def _drop_capture(self, reason: int) -> None:
        if self._capture is not None:
            self._capture.drop(reason)
            self._capture = None

    def _count(self, cell: int, seconds: float | None = None) -> None:
        """How it ended, once; `seconds` if it was answered."""
        if not self._is_counted:
            self._is_counted = True
            counted = (self._serving if self.kind == c.OTHER else self._picked).counted
            record(self._worker.cells, counted.start, self.kind, self._is_first_half, cell, seconds)
