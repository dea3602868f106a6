"""Runs hooks and notifications: one POST of a CloudEvent each, in the background, until it succeeded or its tries are over.

At least once on the wire, once per occurrence by its key: a crash between a POST and the record of its outcome sends
it again, with the same `idempotency-key` (and CloudEvents `id`), never with another one.

A spec's hook may name any URL, so the controller must not become the way into what only this machine can reach:
addresses of loopback, the local link, cloud metadata and the like are refused unless the administrator allowed a
prefix of that URL. The address that was checked is the one that is connected to. Sinks are the administrator's own.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import httpx

from controller.adapters.asking import resolved
from controller.core.effects import Effect, EffectOutcome, Kind
from headgate.log import Log
from headgate.reach import special

ANSWER_BYTES_MAX: Final = 4096
"""So much of an answer is read; the rest is never asked for."""

TOLD_MAX: Final = 200
AT_ONCE: Final = 16
"""So many POSTs are under way at a time, of all rollouts."""

BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 30.0
TYPE: Final = "dev.headgate.rollout."
CONTENT_TYPE: Final = "application/cloudevents+json"

_AGAIN: Final = frozenset({408, 425, 429})
"""Answers below 500 after which it is tried again."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """No further try would end otherwise."""

    why: str


class HttpEffects:
    """The `Effects` port over HTTP. `sinks` maps the administrator's names to URLs, `allowed` are prefixes of URLs that
    hooks may reach wherever they lead; `on_news(key)` tells that an outcome is there."""

    def __init__(
        self,
        *,
        sinks: Mapping[str, str],
        allowed: Sequence[str],
        on_news: Callable[[str], None],
        log: Log,
        backoff_first_s: float = BACKOFF_FIRST_S,
    ) -> None:
        self._sinks = dict(sinks)
        self._allowed = tuple(urlsplit(prefix) for prefix in allowed)
        self._on_news = on_news
        self._log = log
        self._backoff_first_s = backoff_first_s
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._outcomes: dict[tuple[str, str], EffectOutcome] = {}
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._client = httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=None)  # noqa: S113  a deadline of ours covers the whole exchange

    def run(self, key: str, effects: Sequence[Effect]) -> None:
        """Run these of this rollout and no others; one that runs or ended already is left alone."""
        wanted = {(key, effect.id) for effect in effects}
        for known in [known for known in self._tasks if known[0] == key and known not in wanted]:
            self._tasks.pop(known).cancel()
        for known in [known for known in self._outcomes if known[0] == key and known not in wanted]:
            del self._outcomes[known]
        for effect in effects:
            place = (key, effect.id)
            if place not in self._tasks and place not in self._outcomes:
                self._tasks[place] = asyncio.create_task(self._run(key, effect))

    def outcomes(self, key: str) -> tuple[EffectOutcome, ...]:
        """What became of the effects that ended and are still wanted."""
        return tuple(outcome for place, outcome in self._outcomes.items() if place[0] == key)

    async def close(self) -> None:
        """Give up what is under way; the next controller sends it again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def _run(self, key: str, effect: Effect) -> None:
        """Try until it succeeded, was refused, or the tries are over."""
        backoff_s, why = self._backoff_first_s, ""
        for tried in range(1 + effect.retries):
            if tried:
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
            said = await self._try(key, effect)
            if said is None:
                return self._end(key, EffectOutcome(effect.id, is_success=True))
            if isinstance(said, _Refused):
                return self._end(key, EffectOutcome(effect.id, is_success=False, message=said.why))
            why = said
        times = f", {1 + effect.retries} times" if effect.retries else ""
        return self._end(key, EffectOutcome(effect.id, is_success=False, message=f"{why}{times}"))

    def _end(self, key: str, outcome: EffectOutcome) -> None:
        self._tasks.pop((key, outcome.id), None)
        self._outcomes[(key, outcome.id)] = outcome
        if not outcome.is_success:
            self._log.warning("effect failed", rollout=key, effect=outcome.id, why=outcome.message)
        self._on_news(key)

    async def _try(self, key: str, effect: Effect) -> str | _Refused | None:
        """One POST: None when it was taken, else why not."""
        url = self._sinks.get(effect.to) if effect.kind is Kind.NOTIFICATION else effect.to
        if url is None:
            return _Refused(f"there is no sink {effect.to}: start the controller with --sink {effect.to}=URL")
        is_allowed = effect.kind is Kind.NOTIFICATION or self._is_allowed(url)
        try:
            async with self._turn, asyncio.timeout(effect.timeout_s):
                return await self._post(key, effect, url, is_allowed=is_allowed)
        except TimeoutError:
            return f"no answer within {effect.timeout_s:g} s"
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"[:TOLD_MAX]
        except (httpx.InvalidURL, UnicodeError) as error:
            return _Refused(f"{url!r} is no URL: {error}"[:TOLD_MAX])
        except OSError as error:
            return f"{urlsplit(url).hostname}: {error.strerror or error}"

    async def _post(self, key: str, effect: Effect, url: str, *, is_allowed: bool) -> str | _Refused | None:
        parts = httpx.URL(url)
        addresses = await resolved(parts.host, parts.port or (443 if parts.scheme == "https" else 80))
        bad = next((a for a in addresses if not is_allowed and special(a)), None)
        if bad is not None:
            return _Refused(
                f"{parts.host} is {bad}, an address that hooks may not reach; the administrator can allow it with "
                "--allow-hook"
            )
        request = self._client.build_request(
            "POST",
            parts.copy_with(host=addresses[0]),
            json=cloud_event(key, effect),
            headers={
                "host": parts.netloc.decode(),
                "content-type": CONTENT_TYPE,
                "idempotency-key": effect.id,
            },
            extensions={"sni_hostname": parts.host},
        )
        response = await self._client.send(request, stream=True)
        try:
            return await _verdict(response)
        finally:
            await response.aclose()

    def _is_allowed(self, url: str) -> bool:
        try:
            wanted = urlsplit(url)
            return any(_covers(prefix, wanted) for prefix in self._allowed)
        except ValueError:
            return False


def _covers(prefix: SplitResult, url: SplitResult) -> bool:
    """Is the URL of that scheme, host and port, and its path at or below that path?"""
    if (prefix.scheme, prefix.hostname, _port(prefix)) != (url.scheme, url.hostname, _port(url)):
        return False
    below = prefix.path.rstrip("/")
    segments = unquote(url.path).replace("\\", "/").split("/")
    is_plain = ".." not in segments and "." not in segments
    return is_plain and (url.path == below or url.path.startswith(below + "/"))


def _port(url: SplitResult) -> int | None:
    return url.port or {"http": 80, "https": 443}.get(url.scheme)


async def _verdict(response: httpx.Response) -> str | _Refused | None:
    """2xx is a yes; a server's trouble is tried again; a redirect or another refusal is a no."""
    if response.is_success:
        return None
    said = f"{response.status_code} {response.reason_phrase}".strip()
    if response.is_redirect:
        return _Refused(f"{said}: redirects are not followed; write the final URL")
    body = await _beginning(response)
    said = f"{said}: {body}" if body else said
    return said if response.status_code >= 500 or response.status_code in _AGAIN else _Refused(said)


async def _beginning(response: httpx.Response) -> str:
    """The first line of the answer, as far as a person would read it."""
    read = bytearray()
    async for chunk in response.aiter_raw(ANSWER_BYTES_MAX):
        read += chunk
        if len(read) >= ANSWER_BYTES_MAX:
            break
    text = bytes(read[:ANSWER_BYTES_MAX]).decode("utf-8", "replace").strip()
    line = text.splitlines()[0] if text else ""
    return "".join(c for c in line if c.isprintable())[:TOLD_MAX]


def cloud_event(key: str, effect: Effect) -> dict[str, Any]:
    """The body, in CloudEvents' JSON format (specversion 1.0)."""
    return {
        "specversion": "1.0",
        "id": effect.id,
        "type": TYPE + effect.type,
        "source": f"/rollouts/{key}",
        "subject": effect.version,
        "time": datetime.fromtimestamp(effect.at, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {
            "rollout": key,
            "kind": effect.kind.value,
            "name": effect.name,
            "version": effect.version,
            "identity": effect.identity,
            "attempt": effect.attempt,
            "stable": effect.stable,
            "weightBasisPoints": effect.weight,
            "message": effect.sentence,
        },
    }
