"""One readiness question: a GET on a connection of its own, reading no more than the status line."""

import asyncio
import os
import ssl
from contextlib import suppress

from controller.adapters.asking import NotAsked, reachable
from controller.adapters.processes.version import Probe
from headgate.reach import ANYWHERE, Reach
from headgate.wire.plan import Endpoint

_STATUS_LINE_BYTES_MAX = 1024


async def ask(probe: Probe, endpoint: Endpoint, reach: Reach = ANYWHERE) -> str | None:
    """None when it is ready; else why not, in a few words that stay the same while the reason does."""
    question = f"GET {probe.path}" if probe.path is not None else "connecting"
    try:
        async with asyncio.timeout(probe.timeout_s):
            status = await _status(probe, endpoint, reach)
    except TimeoutError:
        return f"{question}: no answer within {probe.timeout_s:g} s"
    except NotAsked as error:
        return f"it is not asked: {error}"
    except OSError as error:
        return f"{question}: {_reason(error)}"
    if status is None or 200 <= status < 400:
        return None
    return f"{question} answers {status}" if status else f"{question}: the answer is not HTTP"


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # asyncio's own text is about its call
    return (error.strerror or str(error) or type(error).__name__)[:200]


async def _status(probe: Probe, endpoint: Endpoint, reach: Reach) -> int | None:
    """The status answered, 0 for what is not HTTP, None where a connection was all that was asked."""
    reader, writer = await _connected(endpoint, reach)
    try:
        if probe.path is None:
            return None
        host = probe.host or f"{endpoint.host}:{endpoint.port}"
        writer.write(
            f"GET {probe.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: headgate-readiness\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n".encode("ascii")
        )
        return _parse(await _line(reader))
    finally:
        writer.close()
        with suppress(OSError):
            writer.transport.abort()


async def _connected(endpoint: Endpoint, reach: Reach) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first address that takes one; the last one's OSError if none does."""
    tls = ssl.create_default_context() if endpoint.tls else None
    name = endpoint.host if endpoint.tls else None
    failure = OSError(f"{endpoint.host} has no address")
    for address in await reachable(endpoint.host, endpoint.port, reach):
        try:
            return await asyncio.open_connection(
                address, endpoint.port, ssl=tls, server_hostname=name, limit=_STATUS_LINE_BYTES_MAX
            )
        except OSError as error:
            failure = error
    raise failure


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:  # longer than the limit
        return b""


def _parse(line: bytes) -> int:
    words = line.split(maxsplit=2)
    is_http = (
        len(words) >= 2 and words[0].startswith(b"HTTP/1.") and len(words[1]) == 3 and words[1].isdigit()
    )
    return int(words[1]) if is_http else 0
