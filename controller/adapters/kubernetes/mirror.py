"""A copy of one collection in memory, that what is read late, twice or out of order cannot set back.

Three sources feed it: lists, watch events, and the answers to own writes, which may be ahead of the watch. Versions of
one kind of object are compared as the integers they are (KEP-5504 lets clients do so); an object whose version is no
integer is taken as it comes. It does no I/O; one thread owns it.
"""

import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from headgate.log import Log

Object = Mapping[str, Any]
OnChange = Callable[[str, Object | None, Object | None], None]
Index = Callable[[Object], Iterable[str]]

GRAVES_MAX: Final = 4096
"""So many deletions are remembered, against events that come after the one that deleted."""


def key_of(obj: object) -> str | None:
    """`namespace/name`, or `/name` of a cluster-scoped object; None if it is no valid object."""
    metadata = obj.get("metadata") if isinstance(obj, Mapping) else None
    if not isinstance(metadata, Mapping):
        return None
    name, namespace = metadata.get("name"), metadata.get("namespace", "")
    is_valid = isinstance(name, str) and name and isinstance(namespace, str)
    return f"{namespace}/{name}" if is_valid and isinstance(metadata.get("resourceVersion"), str) else None


def number_of(version: object) -> int | None:
    """A resourceVersion as a number; None if it is none."""
    is_number = isinstance(version, str) and version.isascii() and version.isdecimal() and len(version) < 20
    return int(version) if is_number and isinstance(version, str) else None


def version_of(obj: Object) -> int | None:
    """The object's resourceVersion as a number."""
    return number_of(obj["metadata"].get("resourceVersion"))


class Mirror:
    """The copy. `on_change(key, before, after)` is called after each change; None before: new, None after: gone.

    `index` names functions that say under which values an object is found; what raises there or in `on_change` is
    logged and concerns that one object. Objects are shared: whoever gets one must not change it.
    """

    def __init__(
        self, what: str, on_change: OnChange, log: Log, index: Mapping[str, Index] | None = None
    ) -> None:
        self._what = what
        self._on_change = on_change
        self._log = log
        self._index = dict(index or {})
        self._objects: dict[str, Object] = {}
        self._found: dict[str, dict[str, dict[str, None]]] = {name: {} for name in self._index}
        self._graves: OrderedDict[str, int] = OrderedDict()
        self._untrusted: set[str] = set()
        self._heard: int | None = None
        self._newest = 0
        self.skipped = 0

    def get(self, key: str) -> Object | None:
        return self._objects.get(key)

    def keys(self) -> tuple[str, ...]:
        return tuple(self._objects)

    def values(self) -> tuple[Object, ...]:
        return tuple(self._objects.values())

    def indexed(self, index: str, value: str) -> tuple[Object, ...]:
        """The objects that `index` gives this value; KeyError if there is no such index."""
        return tuple(self._objects[key] for key in self._found[index].get(value, ()))

    @property
    def newest(self) -> int:
        """The highest version seen from any source."""
        return self._newest

    @property
    def heard(self) -> int | None:
        """Lists and watch together have told everything up to this version; None if that is not known."""
        return self._heard

    def put(self, obj: Object) -> bool:
        """Take the answer to an own write; False if the copy is as new, or newer, or the object was deleted since."""
        key = self._valid(obj)
        if key is None:
            return False
        version, kept = version_of(obj), self._objects.get(key)
        if version is not None and kept is None and self._heard is not None and version <= self._heard:
            return False
        if kept is not None and not self._is_newer(key, version, kept):
            return False
        self._set(key, obj)
        return True

    def event(self, kind: str, obj: object) -> None:
        """Take a watch event: ADDED, MODIFIED or DELETED."""
        key = self._valid(obj)
        if key is None or not isinstance(obj, Mapping):
            return
        version, kept = version_of(obj), self._objects.get(key)
        if kind == "DELETED":
            if kept is None or self._is_newer(key, version, kept, or_equal=True):
                self._remove(key, version)
        elif version is not None and version <= self._graves.get(key, -1):
            return  # said before it was deleted, heard after
        elif kept is None or self._is_newer(key, version, kept):
            self._set(key, obj)

    def hear(self, version: int | None) -> None:
        """The watch has told everything up to here."""
        if version is not None:
            self._heard = max(self._heard or 0, version)
            self._newest = max(self._newest, version)

    def distrust(self) -> None:
        """The server went back in time (etcd restored): whatever it lists now is newer than what is kept."""
        self._untrusted = set(self._objects)
        self._graves.clear()
        self._heard, self._newest = None, 0

    def adopt(self, items: Iterable[object], version: int | None, seen: set[str]) -> int:
        """Take a page of a list of this version; the keys of all its objects are added to `seen`.

        The list wins, except over what was put after it was made. Gives how many changes the watch had lost.
        """
        lost = 0
        for obj in items:
            key = self._valid(obj)
            if key is None or not isinstance(obj, Mapping):
                continue
            seen.add(key)
            kept = self._objects.get(key)
            if kept is not None and (self._is_same(key, obj, kept) or self._is_later(key, kept, version)):
                continue
            lost += self._heard is not None and (version_of(obj) or self._heard + 1) <= self._heard
            self._set(key, obj)
        return lost

    def listed(self, seen: set[str], version: int | None) -> int:
        """The list of this version is complete: what it did not have is gone; how many such there were."""
        gone = [
            key
            for key, kept in self._objects.items()
            if key not in seen and not self._is_later(key, kept, version)
        ]
        for key in gone:
            self._remove(key, version)
        self._untrusted.clear()
        self._heard = version
        self._newest = max(self._newest, version or 0)
        return len(gone)

    def skip(self, why: str, **fields: object) -> None:
        """Something that is no valid object came; it is counted and passed over."""
        self.skipped += 1
        self._log.warning("object skipped", collection=self._what, why=why, **fields)

    def _valid(self, obj: object) -> str | None:
        key = key_of(obj)
        if key is None:
            self.skip("it has no metadata with a name and a resourceVersion")
        return key

    def _is_newer(self, key: str, version: int | None, kept: Object, *, or_equal: bool = False) -> bool:
        had = version_of(kept)
        if version is None or had is None:
            return True
        return key in self._untrusted or version > had or (or_equal and version == had)

    def _is_same(self, key: str, obj: Object, kept: Object) -> bool:
        same = obj["metadata"]["resourceVersion"] == kept["metadata"]["resourceVersion"]
        return bool(same) and key not in self._untrusted

    def _is_later(self, key: str, kept: Object, version: int | None) -> bool:
        """Was it written after the list of that version was made?"""
        had = version_of(kept)
        return version is not None and had is not None and had > version and key not in self._untrusted

    def _set(self, key: str, obj: Object) -> None:
        before = self._objects.get(key)
        self._unfind(key, before)
        self._objects[key] = obj
        self._untrusted.discard(key)
        self._graves.pop(key, None)
        self._newest = max(self._newest, version_of(obj) or 0)
        self._find(key, obj)
        self._tell(key, before, obj)

    def _remove(self, key: str, version: int | None) -> None:
        if version is not None:
            self._graves[key] = max(version, self._graves.get(key, version))
            self._graves.move_to_end(key)
            if len(self._graves) > GRAVES_MAX:
                self._graves.popitem(last=False)
        before = self._objects.pop(key, None)
        self._untrusted.discard(key)
        if before is not None:
            self._unfind(key, before)
            self._tell(key, before, None)

    def _find(self, key: str, obj: Object) -> None:
        for name, found in self._found.items():
            for value in self._values(name, obj):
                found.setdefault(value, {})[key] = None

    def _unfind(self, key: str, obj: Object | None) -> None:
        if obj is None:
            return
        for name, found in self._found.items():
            for value in self._values(name, obj):
                keys = found.get(value, {})
                keys.pop(key, None)
                if not keys:
                    found.pop(value, None)

    def _values(self, name: str, obj: Object) -> tuple[str, ...]:
        try:
            return tuple(self._index[name](obj))
        except Exception as error:  # noqa: BLE001  the outermost frame: one object's shape stops no other
            self._log.warning("object not indexed", collection=self._what, index=name, why=repr(error))
            return ()

    def _tell(self, key: str, before: Object | None, after: Object | None) -> None:
        try:
            self._on_change(key, before, after)
        except Exception as error:  # noqa: BLE001  the outermost frame: one object's bug stops no other
            trace = traceback.format_exc(limit=-4)
            self._log.error(
                "change not handled", collection=self._what, key=key, why=repr(error), traceback=trace
            )
