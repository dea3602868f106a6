"""Sends the requests: for each rollout one version, a few senders at a time, until every endpoint of it is warm."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

import httpx
import msgspec

from controller.adapters.asking import NotAsked
from controller.adapters.warmup.gauge import Gauge
from controller.adapters.warmup.targets import Targets
from controller.core.spec import VersionSpec, WarmRequest, Warmup
from controller.core.status import VersionObserved
from headgate.log import Log
from headgate.pointer import replaced, segments
from headgate.reach import ANYWHERE, Reach
from headgate.wire.plan import Endpoint, Rewrite

ANSWER_S: Final = 30.0
"""An answer that takes longer is a failed one."""
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024

PACE_S: Final = 0.05
"""Each sender's pause once `count` were answered: from then on they only measure, and shall not be a load."""
AFTER_FAILURE_S: Final = 0.2
NOTHING_YET_S: Final = 2.0
"""How often is looked for requests while there are none."""

Source = Callable[[str, Warmup], Awaitable[tuple[WarmRequest, ...] | str]]

_HEADERS: Final = {
    "content-type": "application/json",
    "user-agent": "headgate-warmup",
    "x-headgate-shadow": "true",
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is measured. Another value is another measurement: a restarted process is cold again."""

    warmup: Warmup
    version: VersionSpec
    restarts: int


@dataclass(slots=True)
class _Warming:
    """One rollout's measurement: `gauges` has each endpoint that is not warm yet."""

    asked: _Asked
    endpoints: tuple[Endpoint, ...] = ()
    warm: set[Endpoint] = field(default_factory=set)
    gauges: dict[Endpoint, Gauge] = field(default_factory=dict)
    text: str = ""
    task: asyncio.Task[None] | None = None


class Warmer:
    """Measures on the one event loop that it is called on.

    `source(key, warmup)` gives the requests of a rollout that are not in its spec, or says why there are none yet.
    `on_change(key)` is called when a version became warm; `reach` says where requests may go. Call `close` at the end.
    """

    def __init__(
        self,
        source: Source,
        on_change: Callable[[str], None],
        log: Log | None = None,
        reach: Reach = ANYWHERE,
    ) -> None:
        self._source = source
        self._reach = reach
        self._on_change = on_change
        self._log = log or Log("controller")
        self._warming: dict[str, _Warming] = {}

    def measure(
        self, key: str, warmup: Warmup, version: VersionSpec, seen: VersionObserved
    ) -> VersionObserved:
        """What was seen of the version, with what is known of its warmth; begins or goes on measuring it."""
        asked = _Asked(warmup, version, seen.restarts)
        warming = self._warming.get(key)
        if warming is None or warming.asked != asked:
            self.stop(key)
            warming = self._warming[key] = _Warming(asked)
        self._follow(key, warming, seen.endpoints)
        return replace(seen, is_warm=_is_warm(warming), warmth=warming.text or _told(warming))

    def stop(self, key: str) -> None:
        """Send nothing more for this rollout, and forget what was measured."""
        warming = self._warming.pop(key, None)
        if warming is not None and warming.task is not None:
            warming.task.cancel()

    async def close(self) -> None:
        """End every measurement, and return when all have ended."""
        tasks = [warming.task for warming in self._warming.values() if warming.task is not None]
        for key in list(self._warming):
            self.stop(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _follow(self, key: str, warming: _Warming, endpoints: tuple[Endpoint, ...]) -> None:
        """Measure these endpoints: one that left and comes back is measured anew, one that is warm is left alone."""
        if endpoints != warming.endpoints:
            warming.endpoints = endpoints
            warming.warm &= set(endpoints)
            warming.text = ""
            known = warming.gauges
            now = time.monotonic()
            warming.gauges = {
                endpoint: known.get(endpoint) or Gauge(warming.asked.warmup, now)
                for endpoint in endpoints
                if endpoint not in warming.warm
            }
        if warming.gauges and (warming.task is None or warming.task.done()):
            warming.task = asyncio.create_task(self._run(key, warming), name=f"warm-up {key}")

    async def _run(self, key: str, warming: _Warming) -> None:
        """Send until all is warm, for `maxWait` at most; who still asks then begins it again."""
        asked = warming.asked
        try:
            async with asyncio.timeout(asked.warmup.max_wait_s):
                requests = await self._requests(key, warming)
                await self._send(warming, requests)
        except TimeoutError:
            return
        except Exception:  # noqa: BLE001  (outermost frame: a fault of ours leaves the version cold, and is told)
            self._log.error("warm-up failed", rollout=key, why=traceback.format_exc())
            return
        if not _is_warm(warming):
            return  # its endpoints went away
        self._log.info("warm", rollout=key, version=asked.version.name, why=warming.text)
        self._on_change(key)

    async def _requests(self, key: str, warming: _Warming) -> tuple[WarmRequest, ...]:
        """What is sent, as this version wants it; waits while there is nothing."""
        warmup, version = warming.asked.warmup, warming.asked.version
        found = warmup.requests or await self._source(key, warmup)
        while isinstance(found, str):
            warming.text = found
            await asyncio.sleep(NOTHING_YET_S)
            found = await self._source(key, warmup)
        warming.text = ""
        return tuple(_for_version(request, version) for request in found)

    async def _send(self, warming: _Warming, requests: tuple[WarmRequest, ...]) -> None:
        """A few senders, until no endpoint is cold any more."""
        turns, targets = count(), Targets(self._reach)
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=warming.asked.warmup.concurrency
        )
        async with (
            httpx.AsyncClient(trust_env=False, timeout=ANSWER_S, limits=limits) as client,
            asyncio.TaskGroup() as senders,
        ):
            for _ in range(warming.asked.warmup.concurrency):
                senders.create_task(_sender(client, targets, warming, requests, turns))


async def _sender(
    client: httpx.AsyncClient,
    targets: Targets,
    warming: _Warming,
    requests: tuple[WarmRequest, ...],
    turns: "count[int]",
) -> None:
    """One request after another, each to the next endpoint that is not warm."""
    while warming.gauges:
        turn = next(turns)
        endpoint = list(warming.gauges)[turn % len(warming.gauges)]
        gauge = warming.gauges[endpoint]
        began = time.monotonic()
        failure = await _ask(client, targets, endpoint, requests[turn % len(requests)])
        ended = time.monotonic()
        gauge.add(ended, None if failure else ended - began, failure)
        if gauge.is_warm and warming.gauges.get(endpoint) is gauge:
            del warming.gauges[endpoint]
            warming.warm.add(endpoint)
            warming.text = "" if warming.gauges else gauge.text
        if failure:
            targets.forget(endpoint)
            await asyncio.sleep(AFTER_FAILURE_S)
        elif gauge.answers >= warming.asked.warmup.count:
            await asyncio.sleep(PACE_S)


async def _ask(client: httpx.AsyncClient, targets: Targets, endpoint: Endpoint, request: WarmRequest) -> str:
    """Send one request and read its answer to the end; what failed, "" for an answer of 2xx."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    try:
        async with asyncio.timeout(ANSWER_S):
            named = httpx.URL(f"{'https' if endpoint.tls else 'http'}://{host}:{endpoint.port}{request.path}")
            async with client.stream(
                "POST",
                named.copy_with(host=await targets.address(endpoint)),
                content=request.body,
                headers={"host": named.netloc.decode(), **_HEADERS, **dict(request.headers)},
                extensions={"sni_hostname": endpoint.host},
            ) as answer:
                size = 0
                async for chunk in answer.aiter_raw():
                    size += len(chunk)
                    if size > ANSWER_BYTES_MAX:
                        return f"more than {ANSWER_BYTES_MAX} bytes"
    except NotAsked as error:
        return f"it is not asked: {error}"
    except TimeoutError:
        return f"no answer in {ANSWER_S:.0f} s"
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return str(error) or type(error).__name__
    return "" if answer.is_success else f"HTTP {answer.status_code}"


def _is_warm(warming: _Warming) -> bool:
    return bool(warming.endpoints) and warming.warm >= set(warming.endpoints)


def _told(warming: _Warming) -> str:
    """What is known so far, of the endpoint that is known best: one of those that are not warm yet."""
    gauges = sorted(warming.gauges.values(), key=lambda gauge: gauge.answers)
    return gauges[-1].text if gauges else ""


def _for_version(request: WarmRequest, version: VersionSpec) -> WarmRequest:
    """The request as a copy of it would reach this version: under its base path, and rewritten as it asks."""
    path, mark, query = request.path.partition("?")
    body, rewrite = request.body, version.rewrite
    if rewrite is not None:
        path = rewrite.path or path
        body = _rewritten(body, rewrite)
    return replace(request, path=version.base_path.rstrip("/") + path + mark + query, body=body)


def _rewritten(body: bytes, rewrite: Rewrite) -> bytes:
    """The body with the fields that the version wants; as it is where it has no such fields."""
    try:
        changed = msgspec.json.decode(body)
        for pointer, value in rewrite.body.items():
            changed = replaced(changed, segments(pointer), value)
        return msgspec.json.encode(changed)
    except (KeyError, msgspec.MsgspecError, RecursionError):
        return body
