"""Raw JSON to and from an API server: objects are plain mappings, so an unknown field survives and one bad object harms no other.

The official client finds the cluster, signs in and keeps the connections (`transport`); its typed models, its informer
and its elector are not used. Every call ends within its deadline, whatever the server does; calls run in threads of
their own, few enough that a silent server cannot take the process with it. Nothing is retried here: who calls knows
what may be done twice.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from controller.adapters.kubernetes.errors import (
    ApiError,
    Conflict,
    Fenced,
    Forbidden,
    Gone,
    Invalid,
    Misconfigured,
    NotFound,
    TooLarge,
    Unavailable,
    error_of,
)
from controller.adapters.kubernetes.settings import Settings

if TYPE_CHECKING:
    from controller.adapters.kubernetes.transport import Answer, Call, Transport

__all__ = [
    "Api",
    "ApiError",
    "Ask",
    "Conflict",
    "Fenced",
    "Forbidden",
    "Gone",
    "Invalid",
    "Misconfigured",
    "NotFound",
    "Settings",
    "Stream",
    "TooLarge",
    "Unavailable",
    "path_of",
]

MANAGER: Final = "headgate"
THREADS: Final = 16
DEADLINE_S: Final = 10.0
BODY_BYTES_MAX: Final = 5 * 1024 * 1024
LIST_BYTES_MAX: Final = 64 * 1024 * 1024
LINE_BYTES_MAX: Final = 16 * 1024 * 1024
_ERROR_BYTES_MAX: Final = 256 * 1024
_STREAM_IDLE_S: Final = 600.0
"""More than anybody waits for a line: whoever waits ends the wait."""

_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")

_Value = TypeVar("_Value")


def path_of(
    group: str,
    version: str,
    plural: str,
    namespace: str | None = None,
    name: str | None = None,
    subresource: str = "",
) -> str:
    """The path of a collection, or with `name` of an object. `group` "" is the core group; ValueError: a part that is no name."""
    parts = ["apis", group, version] if group else ["api", version]
    parts += ["namespaces", namespace] if namespace is not None else []
    parts += [plural]
    parts += [name] if name is not None else []
    parts += subresource.split("/") if subresource else []
    for part in parts:
        if _SAFE_NAME.fullmatch(part) is None:
            raise ValueError(f"{part!r} cannot be part of the path of a Kubernetes object")
    return "/" + "/".join(quote(part, safe=":") for part in parts)


@dataclass(frozen=True, slots=True)
class Ask:
    """One call to the API server. `timeout_s` covers it all, the wait for a thread too; an answer that is longer than
    `body_bytes_max` is TooLarge."""

    method: str
    path: str
    params: Mapping[str, str] | None = None
    body: object = None
    content_type: str = "application/json"
    timeout_s: float = DEADLINE_S
    body_bytes_max: int = BODY_BYTES_MAX

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.method} {self.path}"


class _Lane:
    """Some threads, and the calls that run in them."""

    def __init__(self, threads: int) -> None:
        self.pool = ThreadPoolExecutor(threads, "kubernetes-api")
        self.calls: set[Call] = set()

    async def run(self, call: "Call", work: Callable[[], _Value], within_s: float) -> _Value:
        """What `work` gives, or Unavailable after `within_s`, a wait for a thread included."""
        future = asyncio.get_running_loop().run_in_executor(self.pool, work)
        self.calls.add(call)
        try:
            async with asyncio.timeout(within_s):  # wait_for swallows a cancellation that meets the answer
                return await future
        except TimeoutError as error:
            raise Unavailable(f"{call.name}: no answer within {within_s:g} s") from error
        finally:
            self.calls.discard(call)
            if not future.done() or future.cancelled():
                call.abort()

    async def close(self) -> None:
        for call in tuple(self.calls):
            call.abort()
        await asyncio.to_thread(self.pool.shutdown, wait=True, cancel_futures=True)


class Api:
    """One API server, as one identity. `namespace` is the context's, or the pod's own."""

    def __init__(
        self,
        transport: "Transport",
        lane: _Lane,
        may_write: Callable[[], bool] | None = None,
        *,
        is_guest: bool = False,
    ) -> None:
        self._transport = transport
        self._lane = lane
        self._may_write = may_write
        self._is_guest = is_guest
        self.namespace: str = transport.namespace

    @classmethod
    def connect(cls, settings: Settings | None = None, *, threads: int = THREADS) -> "Api":
        """Read the configuration; nothing is sent yet. Misconfigured if there is none that can be used."""
        # Here and not above: the official client costs a quarter of a second, which local mode shall not pay.
        from controller.adapters.kubernetes.transport import Transport

        return cls(Transport(settings or Settings()), _Lane(threads))

    def fenced(self, may_write: Callable[[], bool]) -> "Api":
        """The same, but what writes is sent only if `may_write()`, asked in the sending thread right before; else Fenced."""
        return Api(self._transport, self._lane, may_write, is_guest=self._is_guest)

    def apart(self, threads: int) -> "Api":
        """The same server with threads of its own, so that slow calls elsewhere delay nothing here. To be closed by itself."""
        return Api(self._transport, _Lane(threads), self._may_write, is_guest=True)

    async def request(self, ask: Ask) -> dict[str, Any]:
        """The answer to one call; an ApiError if it is no success. After an Unavailable a write may or may not have happened."""
        return _object(ask.name, await self.fetch(ask))

    async def fetch(self, ask: Ask) -> bytes:
        """As `request`, but the answer as it came."""
        call = self._call(ask.method, ask.path, ask.timeout_s)
        sent = None if ask.body is None else msgspec.json.encode(ask.body)
        target = _target(ask.path, ask.params)
        headers = _headers(ask.content_type if sent is not None else None)

        def exchange() -> bytes:
            answer = self._transport.open(ask.method, target, headers, sent, call)
            try:
                return self._heard(_success(call.name, answer, ask.body_bytes_max))
            finally:
                answer.close()

        return await self._lane.run(call, exchange, ask.timeout_s)

    async def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        timeout_s: float = DEADLINE_S,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> dict[str, Any]:
        """One object, or a whole small collection (with a larger `body_bytes_max`), read live."""
        return await self.request(
            Ask("GET", path, params=params, timeout_s=timeout_s, body_bytes_max=body_bytes_max)
        )

    async def create(
        self,
        path: str,
        body: object,
        *,
        params: Mapping[str, str] | None = None,
        timeout_s: float = DEADLINE_S,
    ) -> dict[str, Any]:
        """Create in the collection `path`; Conflict if it exists already."""
        named = {"fieldManager": MANAGER, **(params or {})}
        return await self.request(Ask("POST", path, params=named, body=body, timeout_s=timeout_s))

    async def replace(self, path: str, body: object, *, timeout_s: float = DEADLINE_S) -> dict[str, Any]:
        """Write the whole object; with a `resourceVersion` in it, Conflict if it is not the newest."""
        return await self.request(
            Ask("PUT", path, params={"fieldManager": MANAGER}, body=body, timeout_s=timeout_s)
        )

    async def delete(
        self,
        path: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: str | None = None,
        timeout_s: float = DEADLINE_S,
    ) -> dict[str, Any]:
        """Delete the object, only if it is still that one. `propagation`: Background, Foreground or Orphan."""
        preconditions = {
            name: value
            for name, value in (("uid", uid), ("resourceVersion", resource_version))
            if value is not None
        }
        options: dict[str, object] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        options |= {"preconditions": preconditions} if preconditions else {}
        options |= {"propagationPolicy": propagation} if propagation else {}
        return await self.request(Ask("DELETE", path, body=options, timeout_s=timeout_s))

    async def merge_patch(self, path: str, body: object, *, timeout_s: float = DEADLINE_S) -> dict[str, Any]:
        """RFC 7386: what is given is set, null removes. A `resourceVersion` in it makes it conditional."""
        return await self.request(
            Ask(
                "PATCH",
                path,
                params={"fieldManager": MANAGER},
                body=body,
                content_type="application/merge-patch+json",
                timeout_s=timeout_s,
            )
        )

    async def apply(
        self,
        path: str,
        body: object,
        *,
        manager: str = MANAGER,
        force: bool = True,
        timeout_s: float = DEADLINE_S,
    ) -> dict[str, Any]:
        """Server-side apply: `body` is all that `manager` wants to be so, what it owned and no longer names is removed.

        Without `force`, Conflict where another manager owns a field with another value.
        """
        params = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self.request(
            Ask(
                "PATCH",
                path,
                params=params,
                body=body,
                content_type="application/apply-patch+yaml",  # JSON is YAML
                timeout_s=timeout_s,
            )
        )

    async def stream(
        self, path: str, params: Mapping[str, str], *, timeout_s: float = DEADLINE_S
    ) -> "Stream":
        """Open an endless answer; an ApiError if it does not begin within `timeout_s`. To be closed."""
        call = self._call("GET", path, timeout_s, idle_s=_STREAM_IDLE_S)
        target, headers = _target(path, params), _headers(None)
        lane = _Lane(1)

        def begin() -> "Answer":
            answer = self._transport.open("GET", target, headers, None, call)
            if 200 <= answer.status < 300:
                return self._heard(answer)
            try:
                _success(call.name, answer, _ERROR_BYTES_MAX)
            finally:
                answer.close()
            raise AssertionError("an answer that is no success raises")

        try:
            return Stream(await lane.run(call, begin, timeout_s), call, lane)
        except BaseException:
            await lane.close()
            raise

    async def close(self) -> None:
        """End every call and thread of this one; nothing may be asked any more."""
        await self._lane.close()
        if not self._is_guest:
            self._transport.close()

    @property
    def heard_at(self) -> float:
        """When a request last succeeded, of this one, its `fenced` and `apart`, on the monotonic clock; -inf: none did."""
        return self._transport.heard_at

    def _heard(self, answer: _Value) -> _Value:
        self._transport.heard_at = time.monotonic()
        return answer

    def _call(self, method: str, path: str, timeout_s: float, *, idle_s: float | None = None) -> "Call":
        from controller.adapters.kubernetes.transport import Call

        may_send = None if method == "GET" else self._may_write
        return Call(f"{method} {path}", timeout_s, may_send, idle_s=idle_s)


class Stream:
    """An endless answer, read in whole lines by a thread of its own."""

    def __init__(self, answer: "Answer", call: "Call", lane: _Lane) -> None:
        self._answer = answer
        self._call = call
        self._lane = lane
        self._rest = b""
        self._is_over = False

    async def lines(self, within_s: float) -> list[bytes]:
        """The next lines, at least one; [] when the server ended it (half a line is dropped). Unavailable if nothing
        came for `within_s`, or the connection broke."""
        self._call.extend(within_s)
        return await self._lane.run(self._call, self._read, within_s)

    def abort(self) -> None:
        """Whoever waits for lines gets Unavailable at once."""
        self._call.abort()

    async def close(self) -> None:
        """Let go of the thread, and of the connection; one whose answer was read to its end serves others."""
        if not self._is_over:
            self.abort()
        await self._lane.close()
        self._answer.close()

    def _read(self) -> list[bytes]:
        while part := self._answer.some():
            *lines, self._rest = (self._rest + part).split(b"\n")
            if len(self._rest) > LINE_BYTES_MAX:
                raise TooLarge(f"{self._call.name}: a line is longer than {LINE_BYTES_MAX // 1024} KiB")
            if found := [line for line in lines if line.strip()]:
                return found
        self._is_over = True
        return []


class _Status(msgspec.Struct):
    """What an API server says in place of an object (meta/v1 Status)."""

    message: str = ""
    reason: str = ""
    details: dict[str, Any] | None = None


def _success(call: str, answer: "Answer", bytes_max: int) -> bytes:
    """The body of a success; raises what any other answer means."""
    if 200 <= answer.status < 300:
        return answer.all(bytes_max)
    try:
        said = msgspec.json.decode(answer.all(_ERROR_BYTES_MAX), type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError, TooLarge):
        said = _Status(
            message="redirects are not followed" if 300 <= answer.status < 400 else "it gave no reason"
        )
    raise error_of(
        call, answer.status, said.reason, said.message, _retry_after_s(answer.headers, said), _causes(said)
    )


def _causes(said: _Status) -> list[dict[str, Any]]:
    found = (said.details or {}).get("causes")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _retry_after_s(headers: Mapping[str, str], said: _Status) -> float | None:
    """Seconds only: nobody's wall clock is trusted here."""
    asked = headers.get("retry-after") or (said.details or {}).get("retryAfterSeconds")
    text = str(asked) if asked is not None else ""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _object(call: str, raw: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unavailable(f"{call}: the answer is no JSON ({error})") from error
    if not isinstance(decoded, dict):
        raise Unavailable(f"{call}: the answer is no JSON object")
    return decoded


def _target(path: str, params: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(params)}" if params else path


def _headers(content_type: str | None) -> dict[str, str]:
    headers = {
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": _user_agent(),
    }
    return headers if content_type is None else {**headers, "content-type": content_type}


@cache
def _user_agent() -> str:
    return f"headgate/{installed('headgate')}"
