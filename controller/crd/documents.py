"""YAML (and so JSON) into plain values: safe, bounded, and without YAML's surprises.

Read from the parser's events, not through a constructor, so that nothing is built that we did not ask for: no
tags, no objects, `off` and `no` stay text (YAML 1.2), `1e-5` is a number, a duplicate key is refused with its line,
aliases are counted by what they expand to, and depth never becomes recursion.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from controller.crd.faults import Fault, Refused, path_of

BYTES_MAX: Final = 1024 * 1024
NODES_MAX: Final = 50_000
"""Values in all documents together, each alias counted as what it stands for."""
DEPTH_MAX: Final = 32
DOCUMENTS_MAX: Final = 64

_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT: Final = re.compile(r"[-+]?[0-9]{1,19}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_WORDS: Final[Mapping[str, bool | None]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_COLLECTION_TAGS: Final = (None, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_TEXT_TAG: Final = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document; `lines` says on which line (from 1) each path stands."""

    content: dict[str, Any]
    lines: Mapping[str, int]

    def line_of(self, path: str) -> int:
        """The line of `path`, or of the nearest field around it that is there."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, 1)


class _Bad(Exception):
    """What stops the reading, with the place."""

    def __init__(self, rule: str, message: str, mark: Any) -> None:
        super().__init__(message)
        self.fault = Fault("", rule, f"line {mark.line + 1}, column {mark.column + 1}: {message}")


@dataclass(slots=True)
class _Open:
    """A mapping or a list being read; `size` counts the values in it."""

    value: dict[str, Any] | list[Any]
    path: str
    anchor: str | None
    size: int = 1
    key: str | None = None
    merged: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class _Reader:
    """Builds one document from events, without recursion."""

    nodes: int
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    root: Any = None

    def take(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.AliasEvent():
                if event.anchor not in self.anchors:
                    raise _Bad(
                        "yaml",
                        f"*{event.anchor} stands for nothing that was written before",
                        event.start_mark,
                    )
                self._put(*self.anchors[event.anchor], event)
            case yaml.MappingStartEvent():
                self._open({}, event)
            case yaml.SequenceStartEvent():
                self._open([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close(event)
            case _:
                return

    def _open(self, value: dict[str, Any] | list[Any], event: Any) -> None:
        if len(self.stack) >= DEPTH_MAX:
            raise _Bad("yaml-limit", f"nested deeper than {DEPTH_MAX}", event.start_mark)
        if event.tag not in _COLLECTION_TAGS:
            raise _Bad("yaml", f"the tag {event.tag} is not read", event.start_mark)
        parent = self.stack[-1] if self.stack else None
        if parent is not None and isinstance(parent.value, dict) and parent.key is None:
            raise _Bad("yaml", "a key must be a text", event.start_mark)
        path = self._path()
        self.lines.setdefault(path, event.start_mark.line + 1)
        self.stack.append(_Open(value, path, event.anchor))

    def _close(self, event: Any) -> None:
        done = self.stack.pop()
        if isinstance(done.value, dict):
            for source in done.merged:
                for name, value in source.items():
                    done.value.setdefault(name, value)
        if done.anchor is not None:
            self.anchors[done.anchor] = (done.value, done.size)
        self._put(done.value, done.size, event, counted=True)

    def _scalar(self, event: Any) -> None:
        parent = self.stack[-1] if self.stack else None
        if parent is not None and isinstance(parent.value, dict) and parent.key is None:
            self._key(parent, event)
            return
        value = _plain(event)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)
        self._put(value, 1, event)

    def _key(self, parent: _Open, event: Any) -> None:
        name = event.value
        if name in parent.value and name != "<<":
            raise _Bad(
                "duplicate-key",
                f"{name!r} is there twice in {parent.path or 'the document'}",
                event.start_mark,
            )
        parent.key = name
        self.lines[path_of([parent.path, name] if parent.path else [name])] = event.start_mark.line + 1

    def _put(self, value: Any, size: int, event: Any, *, counted: bool = False) -> None:
        if not counted:
            self.nodes += size
            if self.nodes > NODES_MAX:
                raise _Bad("yaml-limit", f"more than {NODES_MAX} values, aliases expanded", event.start_mark)
        if not self.stack:
            self.root = value
            return
        parent = self.stack[-1]
        parent.size += size
        if isinstance(parent.value, list):
            self.lines.setdefault(self._path(), event.start_mark.line + 1)
            parent.value.append(value)
            return
        if parent.key is None:
            raise _Bad("yaml", "a key must be a text", event.start_mark)
        if parent.key == "<<":
            parent.merged += _merges(value, event)
        else:
            parent.value[parent.key] = value
        parent.key = None

    def _path(self) -> str:
        if not self.stack:
            return ""
        parent = self.stack[-1]
        if isinstance(parent.value, list):
            return f"{parent.path}[{len(parent.value)}]"
        return path_of([parent.path, parent.key or ""] if parent.path else [parent.key or ""])


def _merges(value: Any, event: Any) -> list[dict[str, Any]]:
    sources = value if isinstance(value, list) else [value]
    if not all(isinstance(source, dict) for source in sources):
        raise _Bad("yaml", "<< merges mappings only", event.start_mark)
    return sources


def _plain(event: Any) -> Any:
    """The scalar's value: text if quoted, else by the core schema of YAML 1.2, decimal numbers only."""
    text: str = event.value
    if event.tag is not None and event.tag != _TEXT_TAG:
        raise _Bad(
            "yaml",
            f"the tag {event.tag} is not read: write the value plainly, or in quotes",
            event.start_mark,
        )
    if event.tag == _TEXT_TAG or not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def load_documents(text: str | bytes) -> tuple[Document, ...] | Refused:
    """The documents in `text`, empty ones left out; Refused when it is no YAML, too large, or holds none."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > BYTES_MAX:
        return Refused((Fault("", "yaml-limit", f"{len(raw)} bytes are too many: at most {BYTES_MAX}"),))
    try:
        documents = _read(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Refused((Fault("", "yaml", f"byte {error.start} is not UTF-8 text"),))
    except _Bad as bad:
        return Refused((bad.fault,))
    except yaml.MarkedYAMLError as error:
        return Refused((Fault("", "yaml", _where(error)),))
    except yaml.YAMLError as error:
        return Refused((Fault("", "yaml", str(error).splitlines()[0]),))
    if not documents:
        return Refused((Fault("", "yaml", "there is no document in it: write a ModelRollout"),))
    return tuple(documents)


def _read(text: str) -> list[Document]:
    found: list[Document] = []
    reader, start = _Reader(0), None
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.DocumentStartEvent):
            reader, start = _Reader(reader.nodes), event.end_mark
        elif isinstance(event, yaml.DocumentEndEvent):
            if reader.root is None:
                continue
            if not isinstance(reader.root, dict):
                raise _Bad("yaml", "a document must be a mapping, such as apiVersion: …", start)
            found.append(Document(reader.root, reader.lines))
            if len(found) > DOCUMENTS_MAX:
                raise _Bad("yaml-limit", f"more than {DOCUMENTS_MAX} documents", event.start_mark)
        else:
            reader.take(event)
    return found


def _where(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    context = f" {error.context}" if error.context else ""
    return f"{place}{error.problem or 'this is not YAML'}{context}"
