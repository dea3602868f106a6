"""The controller as the agent sees it: a long poll for the plan and a place to send telemetry. Failures are values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import httpx

from headgate.wire import READS
from headgate.wire.codec import BYTES_MAX, encode
from headgate.wire.telemetry import Telemetry
from router.agent.inforce import Said

WAIT_S: Final = 30
_CONNECT_S: Final = 5.0
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
    """Where the controller is, what proves who we are, and to which other hosts it may send us (its leader)."""

    url: str
    token_file: Path | None
    other_hosts: frozenset[str] = frozenset()


class Controller:
    """Speaks to whichever controller leads now. Use as an async context manager."""

    def __init__(self, address: Address, rollout: str, router: str) -> None:
        self._address = address
        self._path = f"/v1/routes/{rollout}"
        self._router = router
        self._base = address.url.rstrip("/")
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S), follow_redirects=False, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def poll(self, said: Said) -> Answer:
        """Say what this router runs and wait, at most `WAIT_S`, for a plan that differs from it."""
        query = {"router": self._router, "applied": str(said.applied), "wait": str(WAIT_S)}
        if said.error:
            query["error"] = said.error
        found = await self._ask("GET", self._path, query=query, answer_s=WAIT_S + _ANSWER_S)
        match found:
            case Failed():
                return found
            case _Response(status=200, body=body):
                return Offered(body)
            case _Response(status=304):
                return NothingNew()
            case _Response(status=404):
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
    ) -> "_Response | Failed":
        """The answer of the leader: 421 names it, and it is followed only where the address allows."""
        for _ in range(_HOPS_MAX):
            request = self._request(method, path, query, content, answer_s)
            found = request if isinstance(request, Failed) else await self._send(request)
            if isinstance(found, Failed):
                self._base = self._address.url.rstrip("/")
                return found
            if found.status != 421:
                return found
            refused = self._follow(found.location)
            if refused is not None:
                return refused
        return Failed(f"{self._base}: sent on {_HOPS_MAX} times without reaching a leader")

    def _request(
        self, method: str, path: str, query: Mapping[str, str] | None, content: bytes | None, answer_s: float
    ) -> httpx.Request | Failed:
        headers = {"x-headgate-wire": ",".join(str(version) for version in READS)}
        if content is not None:
            headers["content-type"] = "application/json"
        try:
            if self._address.token_file is not None:
                headers["authorization"] = f"Bearer {self._address.token_file.read_text().strip()}"
        except (OSError, UnicodeDecodeError) as error:
            return Failed(f"token file {self._address.token_file}: {error}")
        timeout = httpx.Timeout(answer_s, connect=_CONNECT_S)
        return self._client.build_request(
            method, self._base + path, params=query, content=content, headers=headers, timeout=timeout
        )

    async def _send(self, request: httpx.Request) -> "_Response | Failed":
        try:
            answer = await self._client.send(request, stream=True)
            try:
                body = await _bounded(answer)
            finally:
                await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Failed(f"{self._base}: {type(error).__name__}: {error}")
        if body is None:
            return Failed(f"{self._base}: answer of more than {BYTES_MAX} bytes")
        return _Response(answer.status_code, body, answer.headers.get("location", ""))

    def _follow(self, location: str) -> Failed | None:
        configured, found = urlsplit(self._address.url), urlsplit(location)
        allowed = {configured.hostname, *self._address.other_hosts}
        if found.scheme != configured.scheme or found.hostname not in allowed:
            return Failed(
                f"{self._base}: its leader is said to be at {location[:200]!r}, which is not allowed"
            )
        self._base = f"{found.scheme}://{found.netloc}{configured.path.rstrip('/')}"
        return None


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    body: bytes
    location: str


async def _bounded(answer: httpx.Response) -> bytes | None:
    """The body, or None as soon as it is larger than any message may be."""
    found = bytearray()
    async for chunk in answer.aiter_bytes():
        found += chunk
        if len(found) > BYTES_MAX:
            return None
    return bytes(found)


def _refusal(found: _Response) -> str:
    hint = {401: ": the token is not accepted", 403: ": the token may not do this"}.get(found.status, "")
    try:
        said = json.loads(found.body)["error"]["what"]
    except (ValueError, KeyError, TypeError):
        said = ""
    return f"status {found.status}{hint}" + (f" ({str(said)[:200]})" if said else "")
