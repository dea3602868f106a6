"""The controller as the agent sees it: a long poll for the plan and a place to send telemetry. Failures are values.

Of several controllers one leads, and only that one answers. Who does not lead says so (421), and where the leader is if
it knows; who does not answer at all is left for the next address. What one request found out holds for the others: a
poll that hangs at a controller that has stopped is given up as soon as a report failed there.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import httpx

from headgate.wire import READS
from headgate.wire.codec import encode
from headgate.wire.telemetry import Telemetry
from router.agent.inforce import Said
from router.agent.line import Broken, Line, Response, request_to

WAIT_S: Final = 30
_ANSWER_S: Final = 10.0
_HOPS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Offered:
    """A plan, not looked at yet."""

    body: bytes


@dataclass(frozen=True, slots=True)
class NothingNew:
    """The controller has nothing else than what this router runs."""


@dataclass(frozen=True, slots=True)
class NoSuchRollout:
    """The controller does not know the rollout, or has no plan for it: what is in force stays."""


@dataclass(frozen=True, slots=True)
class Failed:
    """No usable answer, and why in one line."""

    why: str


Answer = Offered | NothingNew | NoSuchRollout | Failed


@dataclass(frozen=True, slots=True)
class Address:
    """Where controllers are, what proves who we are, and to which other hosts they may send us (their leader).

    `ca_file` holds the authorities that their certificates may be of; None: those of the machine.
    """

    urls: tuple[str, ...]
    token_file: Path | None
    other_hosts: frozenset[str] = frozenset()
    ca_file: Path | None = None


class Controller:
    """Speaks to whichever controller leads now. Use as an async context manager."""

    def __init__(self, address: Address, rollout: str, router: str) -> None:
        self._address = address
        self._path = f"/v1/routes/{rollout}"
        self._router = router
        self._urls = tuple(url.rstrip("/") for url in address.urls)
        self._place = _Place(0, self._urls[0])
        self._turned = asyncio.Event()
        self._line = Line(address.ca_file)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._line.close()

    async def poll(self, said: Said) -> Answer:
        """Say what this router runs and wait, at most `WAIT_S`, for a plan that differs from it."""
        query = {"router": self._router, "applied": str(said.applied), "wait": str(WAIT_S)}
        if said.error:
            query["error"] = said.error
        found = await self._ask("GET", self._path, query=query, answer_s=WAIT_S + _ANSWER_S)
        match found:
            case Failed():
                return found
            case Response(status=200, body=body):
                return Offered(body)
            case Response(status=304):
                return NothingNew()
            case Response(status=404):
                return NoSuchRollout()
        return Failed(_refusal(found))

    async def report(self, telemetry: Telemetry) -> Failed | None:
        """Send one report; what failed, if anything did. Nothing is lost with it: the next one says it all again."""
        found = await self._ask("POST", "/v1/telemetry", content=encode(telemetry))
        if isinstance(found, Failed):
            return found
        return None if 200 <= found.status < 300 else Failed(_refusal(found))

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        content: bytes | None = None,
        answer_s: float = _ANSWER_S,
    ) -> Response | Failed:
        """The answer of the leader, or the last of those who are not it; each address is asked once."""
        found: Response | Failed = Failed("no controller was asked")
        for _ in range(len(self._urls) + _HOPS_MAX):
            place = self._place
            request = self._request(place, method, path, query, content, answer_s)
            if isinstance(request, Failed):
                return request
            found = await self._answered(place, request)
            if isinstance(found, Response) and found.status != 421:
                return found
            told = self._refused(place, found)
            if told is not None and self._place.index == 0:
                return told  # that was the last address: a pause, before all are asked again
            found = told or found
        return (
            found
            if isinstance(found, Failed)
            else Failed(f"{self._place.base}: sent on and on, to no leader")
        )

    def _request(
        self,
        place: "_Place",
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        content: bytes | None,
        answer_s: float,
    ) -> httpx.Request | Failed:
        headers = {"x-headgate-wire": ",".join(str(version) for version in READS)}
        if content is not None:
            headers["content-type"] = "application/json"
        try:
            if self._address.token_file is not None:
                headers["authorization"] = f"Bearer {self._address.token_file.read_text().strip()}"
        except (OSError, UnicodeDecodeError) as error:
            return Failed(f"token file {self._address.token_file}: {error}")
        try:
            return request_to(
                method,
                place.base + path,
                params=query,
                content=content,
                headers=headers,
                answer_s=answer_s,
                name=place.name,
            )
        except httpx.InvalidURL as error:
            return Failed(f"{place.base}: {error}")

    async def _answered(self, place: "_Place", request: httpx.Request) -> Response | Failed:
        """The answer; Failed as soon as another request found that it is not to be had there."""
        sending = asyncio.ensure_future(self._send(place, request))
        turned = asyncio.ensure_future(self._turned.wait())
        try:
            await asyncio.wait((sending, turned), return_when=asyncio.FIRST_COMPLETED)
            return (
                sending.result() if sending.done() else Failed(f"{place.base}: another request failed there")
            )
        finally:
            for task in (sending, turned):
                task.cancel()
            await asyncio.gather(sending, turned, return_exceptions=True)

    async def _send(self, place: "_Place", request: httpx.Request) -> Response | Failed:
        try:
            return await self._line.send(request)
        except Broken as error:
            return Failed(f"{place.base}: {error}")

    def _refused(self, place: "_Place", found: Response | Failed) -> Failed | None:
        """Go on to where the leader is said to be (None), or to the next address, and why."""
        if isinstance(found, Failed):
            self._turn(place, self._next(place))
            return found
        if not found.location:
            self._turn(place, self._next(place))
            return Failed(f"{place.base}: {_said(found.body) or 'it does not lead'}")
        leader = self._leader(place, found.location)
        if leader is None:
            self._turn(place, self._next(place))
            return Failed(
                f"{place.base}: its leader is said to be at {found.location[:200]!r}, which is not allowed"
            )
        self._turn(place, leader)
        return None

    def _next(self, place: "_Place") -> "_Place":
        index = (place.index + 1) % len(self._urls)
        return _Place(index, self._urls[index])

    def _leader(self, place: "_Place", location: str) -> "_Place | None":
        """Where a 421 leads to, if that is allowed: by TLS anywhere, for the certificate must be for the name we know."""
        configured, found = urlsplit(self._urls[place.index]), urlsplit(location)
        if found.scheme != configured.scheme or not found.hostname:
            return None
        base = f"{found.scheme}://{found.netloc}{configured.path.rstrip('/')}"
        if found.hostname in {configured.hostname, *self._address.other_hosts}:
            return _Place(place.index, base)
        return _Place(place.index, base, configured.hostname or "") if found.scheme == "https" else None

    def _turn(self, place: "_Place", other: "_Place") -> None:
        """From now on ask there, unless another request has turned away already."""
        if self._place is place:
            self._place = other
            self._turned.set()
            self._turned = asyncio.Event()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where requests go: the configured address `index`, or the leader that it named, which must prove to be `name`."""

    index: int
    base: str
    name: str = ""


def _refusal(found: Response) -> str:
    hint = {401: ": the token is not accepted", 403: ": the token may not do this"}.get(found.status, "")
    said = _said(found.body)
    return f"status {found.status}{hint}" + (f" ({said})" if said else "")


def _said(body: bytes) -> str:
    """What the controller says is wrong; "" if it does not."""
    try:
        return str(json.loads(body)["error"]["what"])[:200]
    except (ValueError, KeyError, TypeError):
        return ""
