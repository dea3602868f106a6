"""Keeps a copy of one collection: a list, then a watch, for as long as the process runs.

Why not the official client's informer: it broke on custom objects, and with the server down it reconnected 2,709 times
in two seconds. Here a watch ends by the server's own timeout within the minute; one that outlives it, or that stays
silent about our own write, is taken for half-open and replaced. An expired version (410) costs a new list, nothing
else does, except that every few minutes the collection is listed anew: an event that was lost on the way is missed
for that long and no longer.
"""

import asyncio
import random
import re
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from controller.adapters.kubernetes.api import (
    LIST_BYTES_MAX,
    Api,
    ApiError,
    Ask,
    Gone,
    Stream,
    TooLarge,
    Unavailable,
)
from controller.adapters.kubernetes.backoff import Backoff, about
from controller.adapters.kubernetes.errors import error_of
from controller.adapters.kubernetes.mirror import (
    Index,
    Mirror,
    Object,
    OnChange,
    key_of,
    number_of,
    version_of,
)
from headgate.log import Log

LIMIT: Final = 500
BATCH: Final = 250
"""So many objects are taken before others on the loop get a turn."""

FAILURES_MAX: Final = 5
"""After so many failures in a row the place in the history is given up and the collection listed."""

FAILURES_LISTED: Final = 3
"""A list that succeeds ends an outage, but only a watch that goes on ends the failures: lists are expensive."""

EARLY_S: Final = 3.0
"""A watch that ends by so much before it should ended for a reason."""

WATCH_S_MIN: Final = 1.0
"""A watch that the server ends sooner without having said anything has failed."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. A watch is asked to end after `watch_s` (up to a quarter less, by chance) and is half-open `grace_s` later,
    or when it has not told of an own write for `echo_s`. `relist_s` (a quarter more or less): a new list, for what a
    watch may have lost. `list_s`: the deadline of one page. `answered_s`: the longest wait after a failure while the
    server answers other requests of this process, since then it is not away."""

    watch_s: float = 45.0
    grace_s: float = 10.0
    echo_s: float = 10.0
    relist_s: float = 600.0
    list_s: float = 30.0
    backoff_first_s: float = 0.5
    backoff_last_s: float = 60.0
    answered_s: float = 5.0


PATIENCE: Final = Patience()


@dataclass(slots=True)
class Counts:
    """What happened so far. `lost`: changes that the watch should have told and only a list did. `went_back`: how often
    the server's data was older than what it had said before."""

    lists: int = 0
    watches: int = 0
    events: int = 0
    failures: int = 0
    lost: int = 0
    went_back: int = 0


class _Metadata(msgspec.Struct, rename={"continue_": "continue", "version": "resourceVersion"}):
    version: str = ""
    continue_: str = ""


class _List(msgspec.Struct):
    metadata: _Metadata
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
"""A bracket, or a string, in which none counts."""

_lists: Final = msgspec.json.Decoder(_List)
_events: Final = msgspec.json.Decoder(_Event)


class Reflector:
    """A copy of the collection at `path`, kept by `run` and read at any time. Keys are `namespace/name` (`/name` if
    cluster-scoped); objects are raw JSON without `managedFields`, shared, not to be changed.

    `on_change(key, before, after)` runs on the event loop. `params` may hold a labelSelector or fieldSelector. `trouble`
    is why the copy is not kept up to date at present (NotFound: the server does not know this kind), None if it is.
    """

    def __init__(
        self,
        api: Api,
        path: str,
        on_change: OnChange,
        *,
        params: Mapping[str, str] | None = None,
        log: Log,
        index: Mapping[str, Callable[[Object], Iterable[str]]] | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        indexes: Mapping[str, Index] = index or {}
        self.path = path
        self.counts = Counts()
        self._api = api
        self._params = dict(params or {})
        self._log = log
        self._patience = patience
        self._mirror = Mirror(path, on_change, log, indexes)
        self._position: str | None = None
        self._limit = LIMIT
        self._relist_at = 0.0
        self._is_suspect = False
        self._synced = asyncio.Event()
        self._nudged = asyncio.Event()
        self._echo: tuple[int, asyncio.TimerHandle] | None = None
        self._stream: Stream | None = None
        self._heard_at: float | None = None
        self._backoff = Backoff(first_s=patience.backoff_first_s, last_s=patience.backoff_last_s)
        self.trouble: ApiError | None = None

    def get(self, key: str) -> Object | None:
        """The object as last heard; None if there is none."""
        return self._mirror.get(key)

    def keys(self) -> tuple[str, ...]:
        return self._mirror.keys()

    def values(self) -> tuple[Object, ...]:
        return self._mirror.values()

    def indexed(self, index: str, value: str) -> tuple[Object, ...]:
        """The objects for which the function of that name gave that value."""
        return self._mirror.indexed(index, value)

    @property
    def is_synced(self) -> bool:
        """Was the whole collection read once? It stays true; `last_heard_s` says how old the copy may be."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Until `is_synced`; for ever if the server cannot be asked, so give it a timeout."""
        await self._synced.wait()

    @property
    def last_heard_s(self) -> float:
        """Seconds since the server last said anything about this collection; infinite if it never did."""
        return float("inf") if self._heard_at is None else time.monotonic() - self._heard_at

    @property
    def skipped(self) -> int:
        """How often something came that is no valid object."""
        return self._mirror.skipped

    def put(self, obj: Object) -> None:
        """Take the answer to an own write into the copy, unless the copy is newer; the watch has to tell of it soon."""
        taken = without_managers(obj)
        self._mirror.put(taken)
        version = version_of(taken) if key_of(taken) is not None else None
        if version is not None and self._echo is None and version > (self._mirror.heard or 0):
            due = asyncio.get_running_loop().call_later(self._patience.echo_s, self._stays_silent)
            self._echo = (version, due)
        self.nudge()

    def nudge(self) -> None:
        """The server answers (somebody just heard it): do not sit out a long back-off."""
        self._nudged.set()

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            try:
                await self._once()
            except ApiError as error:
                await self._failed(error)
            except Exception as error:  # noqa: BLE001  the outermost frame: a bug here must not leave the process deaf
                self._position = None
                trace = traceback.format_exc(limit=-4)
                self._log.error("watching failed", collection=self.path, why=repr(error), traceback=trace)
                await self._failed(Unavailable(repr(error)))

    async def _once(self) -> None:
        """One list, or one watch from where the last one ended."""
        if self._position is not None and self._is_suspect and await self._has_gone_back():
            self._position = None
        if self._position is None or time.monotonic() >= self._relist_at:
            await self._list()
        else:
            await self._watch(self._position)

    async def _failed(self, error: ApiError) -> None:
        """Tell of the failure and wait: long if there were many, shorter once somebody hears the server."""
        self.counts.failures += 1
        self._is_suspect = True
        self._forget_echo()
        pause_s, failed_at = self._backoff.failed(error.retry_after_s), time.monotonic()
        if isinstance(error, Gone) or self._backoff.failures >= FAILURES_MAX:
            self._position = None
        if self.trouble is None or self.trouble.message != error.message:
            self._log.warning("the copy is not kept up to date", collection=self.path, why=error.message)
        self.trouble = error
        at_least_s = max(self._patience.backoff_first_s, error.retry_after_s or 0.0)
        self._nudged.clear()
        await asyncio.sleep(min(pause_s, at_least_s))
        while (left_s := failed_at + pause_s - time.monotonic()) > 0:
            if await self._is_nudged(min(left_s, about(self._patience.answered_s))):
                return
            if self._api.heard_at > failed_at:
                return

    async def _is_nudged(self, within_s: float) -> bool:
        """Wait for a nudge; False if there was none."""
        try:
            async with asyncio.timeout(within_s):
                return await self._nudged.wait()
        except TimeoutError:
            return False

    async def _has_gone_back(self) -> bool:
        """Does the server know less than it has told? Then etcd was restored, and a watch would wait for a future that
        is not the one we know."""
        page = await self._page("", limit=1)
        version, heard = number_of(page.metadata.version), self._mirror.heard
        self._is_suspect = False
        return version is not None and heard is not None and version < heard

    async def _list(self) -> None:
        """Read the whole collection, in pages. What was put meanwhile and is newer stays."""
        known = self._mirror.newest
        page = await self._page("")
        position = page.metadata.version
        version = number_of(position)
        if version is not None and version < known:
            self._went_back(version, known)
        seen: set[str] = set()
        lost = await self._adopt(page, version, seen)
        while page.metadata.continue_:
            page = await self._page(page.metadata.continue_)
            lost += await self._adopt(page, version, seen)
        self._mirror.listed(seen, version)
        self._listed(position, lost)

    def _listed(self, position: str, lost: int) -> None:
        self._position = position
        self._is_suspect = False
        self._forget_echo()
        self._relist_at = time.monotonic() + about(self._patience.relist_s)
        self._backoff.failures = min(self._backoff.failures, FAILURES_LISTED)
        self.counts.lists += 1
        if lost:
            self.counts.lost += lost
            self._log.warning("the watch had lost changes", collection=self.path, changes=lost)
        self._hears()
        self._synced.set()

    def _went_back(self, version: int, known: int) -> None:
        self.counts.went_back += 1
        self._mirror.distrust()
        self._log.error(
            "the API server has gone back in time: its data is taken as it is now",
            collection=self.path,
            version=version,
            known=known,
        )

    async def _page(self, continue_: str, limit: int = LIMIT) -> _List:
        """One page; one that is too large is asked for again in smaller ones."""
        params = {**self._params, "limit": str(limit), **({"continue": continue_} if continue_ else {})}
        try:
            raw = await self._api.fetch(
                Ask(
                    "GET",
                    self.path,
                    params=params,
                    timeout_s=self._patience.list_s,
                    body_bytes_max=LIST_BYTES_MAX,
                )
            )
        except TooLarge:
            if limit == 1:
                raise
            return await self._page(continue_, max(limit // 8, 1))
        try:
            page = _decoded_list(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"GET {self.path}: the answer is no list ({error})") from error
        if not page.metadata.version:
            raise Unavailable(f"GET {self.path}: the answer is a list without a resourceVersion")
        return page

    async def _adopt(self, page: _List, version: int | None, seen: set[str]) -> int:
        """Take the page; how many of its changes the watch had lost."""
        items, lost = page.items or [], 0
        for start in range(0, len(items), BATCH):
            batch = [_decoded(raw) for raw in items[start : start + BATCH]]
            lost += self._mirror.adopt(batch, version, seen)
            await asyncio.sleep(0)
        return lost

    async def _watch(self, position: str) -> None:
        """Follow the collection from `position` until the server ends the watch; Unavailable if it is silent too long."""
        lasts_s = max(round(self._patience.watch_s * random.uniform(0.75, 1.0)), 1)  # noqa: S311  no secret
        params = {
            **self._params,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": position,
            "timeoutSeconds": str(lasts_s),
        }
        began_at, events = time.monotonic(), self.counts.events
        ends_at = began_at + lasts_s + self._patience.grace_s
        self._stream = stream = await self._api.stream(self.path, params)
        self.counts.watches += 1
        try:
            while lines := await stream.lines(max(ends_at - time.monotonic(), 0.0)):
                await self._take(lines)
        finally:
            self._stream = None
            await stream.close()
        lasted_s = time.monotonic() - began_at
        # A server that goes away to be restored ends watches early, and one that was tells nothing, not even bookmarks.
        self._is_suspect = self.counts.events == events or lasted_s < lasts_s - EARLY_S
        if lasted_s >= WATCH_S_MIN:
            self._moves()
        elif self._position == position:
            raise Unavailable(f"GET {self.path}: the watch ended at once")

    async def _take(self, lines: list[bytes]) -> None:
        for start in range(0, len(lines), BATCH):
            for line in lines[start : start + BATCH]:
                self._event(line)
            await asyncio.sleep(0)

    def _event(self, line: bytes) -> None:
        self.counts.events += 1
        try:
            event = _events.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"GET {self.path}: the watch says what is no event ({error})") from error
        except RecursionError:
            self._mirror.skip("it is nested too deeply")
            self._moves()
            return
        obj = _decoded(event.object)
        if event.type == "ERROR":
            raise _told(self.path, obj)
        if event.type in ("ADDED", "MODIFIED", "DELETED"):
            self._mirror.event(event.type, obj)
        self._reaches(obj)
        self._moves()

    def _reaches(self, obj: object) -> None:
        """The history was told up to this object's version."""
        metadata = obj.get("metadata") if isinstance(obj, dict) else None
        position = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if not isinstance(position, str) or not position:
            return
        version = number_of(position)
        self._mirror.hear(version)
        if version is None or version == self._mirror.heard:
            self._position = position
        if self._echo is not None and version is not None and version >= self._echo[0]:
            self._forget_echo()

    def _forget_echo(self) -> None:
        if self._echo is not None:
            self._echo[1].cancel()
            self._echo = None

    def _stays_silent(self) -> None:
        """The watch should long have told of an own write: it is half-open."""
        self._echo = None
        if self._stream is not None:
            self._stream.abort()

    def _moves(self) -> None:
        """The watch works."""
        self._backoff.succeeded()
        self._hears()

    def _hears(self) -> None:
        """The server said something: all is well."""
        self._heard_at = time.monotonic()
        if self.trouble is not None:
            self._log.info("the copy is kept up to date again", collection=self.path)
            self.trouble = None


def without_managers(obj: Object) -> Object:
    """The object without `managedFields`, which are often half of it and of use to nobody here."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, Mapping) or "managedFields" not in metadata:
        return obj
    kept = {name: value for name, value in metadata.items() if name != "managedFields"}
    return {**obj, "metadata": kept}


def _decoded_list(raw: bytes) -> _List:
    """The list, its items still raw. One object nested too deeply for the decoder does not hide the others."""
    try:
        return _lists.decode(raw)
    except RecursionError:
        shell, items = _cut(raw)
        return _List(_lists.decode(shell).metadata, [msgspec.Raw(item) for item in items])


def _cut(raw: bytes) -> tuple[bytes, list[bytes]]:
    """A list without its items, and what is in them of objects and arrays; by counting brackets, however deep."""
    depth = start = first = last = 0
    items: list[bytes] = []
    for token in _BRACKET.finditer(raw):
        sign = token[0]
        if sign in b"[{":
            first = token.end() if depth == 1 and sign == b"[" else first
            start = token.start() if depth == 2 else start
            depth += 1
        elif sign in b"]}":
            depth -= 1
            if depth == 2 and first > last:
                items.append(raw[start : token.end()])
            last = token.start() if depth == 1 and sign == b"]" else last
    return raw[:first] + raw[last:], items


def _decoded(raw: msgspec.Raw) -> object:
    """The object without `managedFields`; None if it cannot be read."""
    try:
        obj: object = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return without_managers(obj) if isinstance(obj, dict) else obj


def _told(path: str, obj: object) -> ApiError:
    """What an ERROR event means."""
    said = obj if isinstance(obj, dict) else {}
    code = said.get("code")
    status = code if isinstance(code, int) else 500
    return error_of(f"GET {path} (watch)", status, str(said.get("reason", "")), str(said.get("message", "")))
