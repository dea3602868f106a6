"""The line to a controller: sends a request, reads a bounded answer, and believes only certificates it was told to.

The file of the believed authorities is read again before every request, so a renewed one needs no restart; while it
cannot be read, what was believed last is believed still. Requests under way end on the connection they began on.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from headgate.wire.codec import BYTES_MAX

_CONNECT_S: Final = 5.0
_CA_BYTES_MAX: Final = 1024 * 1024


class Broken(Exception):
    """There is no usable answer; the text says why in one line."""


@dataclass(frozen=True, slots=True)
class Response:
    """What was answered; `location` is "" where no other place was named."""

    status: int
    body: bytes
    location: str


@dataclass(slots=True)
class _Client:
    """A client and the authorities it was made for; it is closed when it is neither the newest nor in use."""

    http: httpx.AsyncClient
    believed: bytes
    used_by: int = 0


class Line:
    """Sends requests to controllers. Without `ca_file` the machine's own authorities are believed."""

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._newest: _Client | None = None

    async def close(self) -> None:
        """No request may be under way."""
        if self._newest is not None:
            await self._newest.http.aclose()

    async def send(self, request: httpx.Request) -> Response:
        """The answer; Broken if there is none, or one of more bytes than any message may have."""
        try:
            async with self._client() as client:
                answer = await client.send(request, stream=True)
                try:
                    body = await _bounded(answer)
                finally:
                    await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Broken(self._why(error)) from error
        if body is None:
            raise Broken(f"answer of more than {BYTES_MAX} bytes")
        return Response(answer.status_code, body, answer.headers.get("location", ""))

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        before, self._newest = self._newest, self._current()
        if before is not None and before is not self._newest and not before.used_by:
            await before.http.aclose()
        client = self._newest
        client.used_by += 1
        try:
            yield client.http
        finally:
            client.used_by -= 1
            if client is not self._newest and not client.used_by:
                await client.http.aclose()

    def _current(self) -> _Client:
        """The newest client, or another one if other authorities are to be believed by now."""
        newest = self._newest
        try:
            believed = self._ca_file.read_bytes()[:_CA_BYTES_MAX] if self._ca_file is not None else b""
            if newest is not None and newest.believed == believed:
                return newest
            context = trusting(believed)
        except (OSError, ValueError) as error:
            if newest is not None:
                return newest
            raise Broken(f"the controller's authorities in {self._ca_file}: {error}") from error
        http = httpx.AsyncClient(verify=context, follow_redirects=False, trust_env=False)
        return _Client(http, believed)

    def _why(self, error: httpx.HTTPError | httpx.InvalidURL) -> str:
        found: BaseException | None = error
        while found is not None:
            if isinstance(found, ssl.SSLCertVerificationError):
                whom = self._ca_file or "the machine's own authorities"
                return f"the controller's certificate is refused: {found.verify_message} (believed: {whom})"
            found = found.__cause__ or found.__context__
        return f"{type(error).__name__}: {error}"


def request_to(
    method: str,
    url: str,
    *,
    params: Mapping[str, str] | None,
    content: bytes | None,
    headers: Mapping[str, str],
    answer_s: float,
    name: str = "",
) -> httpx.Request:
    """A request whose answer may take `answer_s`; with `name` the certificate must be for that, not for the URL's host.

    httpx.InvalidURL if it is none.
    """
    timeout = httpx.Timeout(answer_s, connect=_CONNECT_S).as_dict()
    extensions = {"timeout": timeout} | ({"sni_hostname": name} if name else {})
    return httpx.Request(
        method,
        url,
        params=dict(params) if params is not None else None,
        content=content,
        headers=dict(headers),
        extensions=extensions,
    )


def trusting(authorities: bytes) -> ssl.SSLContext:
    """TLS that believes the authorities in this PEM text (b"": the machine's own) and checks names. ValueError: no PEM."""
    if not authorities:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cadata=authorities.decode("ascii"))
    except (UnicodeDecodeError, ssl.SSLError) as error:
        raise ValueError(f"no certificate in PEM form ({error})") from error


async def _bounded(answer: httpx.Response) -> bytes | None:
    """The body, or None as soon as it is larger than any message may be."""
    found = bytearray()
    async for chunk in answer.aiter_bytes():
        found += chunk
        if len(found) > BYTES_MAX:
            return None
    return bytes(found)
