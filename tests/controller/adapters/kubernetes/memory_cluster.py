"""An API server in memory, as far as the store meets one: versions, generations, finalizers, subresources, conflicts.

`Cluster` stands for `Api`, `Copy` for a `Reflector`. What a real API server does with the same calls is tried by the
same contract suite in `tests/cluster`.
"""

import copy
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from controller.adapters.kubernetes.errors import ApiError, Conflict, Invalid, NotFound

Json = dict[str, Any]


class Cluster:
    """Objects by path. `before_write(method, path)` may raise, as a server or a network does; `after_write` too."""

    namespace = "default"

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.writes: list[tuple[str, str]] = []
        self.copies: list[Copy] = []
        self.before_write: Callable[[str, str], None] = lambda method, path: None
        self.after_write: Callable[[str, str], None] = lambda method, path: None
        self._versions = itertools.count(1)
        self._seconds = itertools.count(0)

    async def get(self, path: str, params: Any = None, **more: Any) -> Json:
        if path not in self.objects:
            raise NotFound(f"{path}: not found", status=404)
        return copy.deepcopy(self.objects[path])

    async def create(self, path: str, body: Mapping[str, Any], **more: Any) -> Json:
        self._begins("POST", path)
        made = copy.deepcopy(dict(body))
        metadata = made["metadata"]
        if f"{path}/{metadata['name']}" in self.objects:
            raise Conflict(f"{path}/{metadata['name']}: it exists already", status=409)
        number = next(self._seconds)
        metadata |= {
            "uid": f"uid-{number}",
            "generation": 1,
            "creationTimestamp": f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z",
        }
        return self._put("POST", f"{path}/{metadata['name']}", made)

    async def merge_patch(self, path: str, body: Mapping[str, Any], **more: Any) -> Json:
        self._begins("PATCH", path)
        at = path.removesuffix("/status")
        before = await self.get(at)
        metadata = dict(body.get("metadata", {}))
        for name in ("uid", "resourceVersion"):
            if metadata.get(name, before["metadata"][name]) != before["metadata"][name]:
                raise Conflict(f"{path}: it was changed", status=409)
        parts = ("status",) if path.endswith("/status") else ("metadata", "spec")
        after = {
            **before,
            **{name: _merged(before.get(name, {}), body[name]) for name in parts if name in body},
        }
        return self._put("PATCH", at, after)

    async def delete(self, path: str, *, uid: str | None = None, **more: Any) -> Json:
        self._begins("DELETE", path)
        before = await self.get(path)
        if uid not in (None, before["metadata"]["uid"]):
            raise Conflict(f"{path}: it is another", status=409)
        before["metadata"].setdefault("deletionTimestamp", "2026-01-02T00:00:00Z")
        return self._put("DELETE", path, before)

    def edit(self, path: str, change: Callable[[Json], None]) -> None:
        """Somebody else writes, anything at all."""
        edited = copy.deepcopy(self.objects[path])
        change(edited)
        self._put("PUT", path, edited)

    def _begins(self, method: str, path: str) -> None:
        self.before_write(method, path)
        self.writes.append((method, path))

    def _put(self, method: str, path: str, made: Json) -> Json:
        before = self.objects.get(path)
        metadata = made["metadata"]
        if before is not None and before.get("spec") != made.get("spec"):
            metadata["generation"] += 1
        if before is None or before != made:
            metadata["resourceVersion"] = str(next(self._versions))
        is_gone = "deletionTimestamp" in metadata and not metadata.get("finalizers")
        if is_gone:
            self.objects.pop(path, None)
        else:
            self.objects[path] = made
        for one in self.copies:
            one.hear(made, is_gone=is_gone)
        self.after_write(method, path)
        return copy.deepcopy(made)


class Copy:
    """The objects of one kind as a reflector has them; while it lags, events wait for `catch_up`."""

    def __init__(
        self,
        cluster: Cluster,
        kind: str,
        index: Mapping[str, Callable[[Mapping[str, Any]], Iterable[str]]] | None = None,
    ) -> None:
        self._kind = kind
        self._index = index or {}
        self._known: dict[str, Json] = {}
        self._events: list[tuple[Json, bool]] = []
        self.is_lagging = False
        self.is_synced = True
        cluster.copies.append(self)

    def get(self, key: str) -> Json | None:
        return self._known.get(key)

    def keys(self) -> Sequence[str]:
        return list(self._known)

    def values(self) -> Sequence[Json]:
        return list(self._known.values())

    def indexed(self, index: str, value: str) -> Sequence[Json]:
        return [one for one in self._known.values() if value in self._index[index](one)]

    def put(self, made: Json) -> None:
        self._take(made)

    def hear(self, made: Json, *, is_gone: bool) -> None:
        if made.get("kind") == self._kind:
            self._events.append((copy.deepcopy(made), is_gone))
            if not self.is_lagging:
                self.catch_up()

    def catch_up(self) -> None:
        """Everything that happened is known now."""
        self.is_lagging = False
        for made, is_gone in self._events:
            if is_gone:
                self._known.pop(_key(made), None)
            else:
                self._take(made)
        self._events.clear()

    def _take(self, made: Json) -> None:
        known = self._known.get(_key(made))
        if known is None or int(made["metadata"]["resourceVersion"]) >= int(
            known["metadata"]["resourceVersion"]
        ):
            self._known[_key(made)] = made


def refused(status: int) -> ApiError:
    """What a server that refuses with this status makes of a call."""
    return {409: Conflict, 422: Invalid}.get(status, ApiError)(f"refused with {status}", status=status)


def _key(made: Json) -> str:
    return f"{made['metadata']['namespace']}/{made['metadata']['name']}"


def _merged(before: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(before) if isinstance(before, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result
