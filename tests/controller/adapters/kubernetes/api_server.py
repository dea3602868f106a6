"""A small real HTTP server that speaks the API server's list, watch and write protocol, and misbehaves when told to.

What it keeps is in memory: objects by path, one revision for all, a history that watches replay and that can be
compacted. For faults: `script` answers the next requests in its own way, `silence` holds answers back, and
`broadcast` sends watchers any line. It knows no schema, no admission and no RBAC: those are tried on the real thing.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
Reply = Callable[["Handler"], None]


@dataclass(frozen=True)
class Seen:
    """One request."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Cluster:
    """What the server has and how it behaves. `lock` guards all; `news` wakes the watches."""

    objects: dict[str, Object] = field(default_factory=dict)
    revision: int = 100
    compacted: int = 0
    history: list[tuple[int, str, str, Object]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    scripted: list[tuple[str, str, Reply]] = field(default_factory=list)
    extra: dict[int, list[bytes]] = field(default_factory=dict)
    cut: int = 0
    connections: int = 0
    has_bookmarks: bool = True
    is_ending: bool = False
    token: str | None = None
    news: threading.Condition = field(default_factory=threading.Condition)
    speaks: threading.Event = field(default_factory=threading.Event)

    def write(self, path: str, obj: Object, kind: str | None = None) -> Object:
        """Keep the object under its path as if somebody else had written it; what is kept."""
        with self.news:
            self.revision += 1
            before = self.objects.get(path)
            kept = deepcopy(obj)
            metadata = kept.setdefault("metadata", {})
            if before is None:
                metadata.setdefault("uid", f"uid-{self.revision}")
            else:
                metadata["uid"] = before["metadata"]["uid"]
            metadata["resourceVersion"] = str(self.revision)
            self.objects[path] = kept
            self._happened(kind or ("MODIFIED" if before else "ADDED"), path, kept)
            return deepcopy(kept)

    def remove(self, path: str, *, is_told: bool = True) -> None:
        """Delete the object; without `is_told` no watch hears of it."""
        with self.news:
            self.revision += 1
            gone = deepcopy(self.objects.pop(path))
            gone["metadata"]["resourceVersion"] = str(self.revision)
            if is_told:
                self._happened("DELETED", path, gone)

    def write_untold(self, path: str, obj: Object) -> None:
        """Write without an event: the watch loses it."""
        with self.news:
            self.write(path, obj)
            self.history.pop()

    def compact(self) -> None:
        """Forget all history: a watch from before now is told 410."""
        with self.news:
            self.compacted = self.revision
            self.history.clear()

    def break_watches(self) -> None:
        """Cut every open watch's connection, in the middle of whatever it says."""
        with self.news:
            self.cut += 1
            self.news.notify_all()

    def broadcast(self, line: bytes) -> None:
        """Every watch that is open says this, as it is."""
        with self.news:
            for lines in self.extra.values():
                lines.append(line)
            self.news.notify_all()

    def script(self, method: str, part: str, reply: Reply, times: int = 1) -> None:
        """The next `times` requests of this method with `part` in their target are answered by `reply`."""
        with self.news:
            self.scripted += [(method, part, reply)] * times

    def silence(self) -> None:
        """From now on nothing is said, on open watches neither; `speak` ends it."""
        self.speaks.clear()

    def speak(self) -> None:
        self.speaks.set()

    def requests(self, method: str, part: str = "", *, watch: bool | None = None) -> list[Seen]:
        """What was asked so far."""
        with self.news:
            return [
                seen
                for seen in self.seen
                if seen.method == method
                and part in seen.path
                and (watch is None or (seen.params.get("watch") == "true") == watch)
            ]

    def scripted_reply(self, method: str, target: str) -> Reply | None:
        with self.news:
            for place, (wanted, part, reply) in enumerate(self.scripted):
                if wanted == method and part in target:
                    del self.scripted[place]
                    return reply
        return None

    def _happened(self, kind: str, path: str, obj: Object) -> None:
        self.history.append((self.revision, kind, path, deepcopy(obj)))
        self.news.notify_all()


def status(code: int, reason: str = "", message: str = "", **headers: str) -> Reply:
    """An answer as the API server words its refusals."""

    def reply(handler: "Handler") -> None:
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
        handler.say(code, {**body, "reason": reason, "message": message}, **headers)

    return reply


def raw(code: int, body: bytes, length: int | None = None) -> Reply:
    """An answer of these bytes; `length` is what it claims to have."""

    def reply(handler: "Handler") -> None:
        handler.send_response(code)
        handler.send_header("content-length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)
        if length is not None:
            handler.wfile.flush()
            handler.close_connection = True
            handler.connection.close()

    return reply


def drop(handler: "Handler") -> None:
    """No answer: the connection is closed."""
    handler.close_connection = True
    handler.connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def setup(self) -> None:
        super().setup()
        with self.cluster.news:
            self.cluster.connections += 1

    def serve(self) -> None:
        parts = urlsplit(self.path)
        params = {name: values[0] for name, values in parse_qs(parts.query).items()}
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.cluster.news:
            self.cluster.seen.append(Seen(self.command, parts.path, params, headers, body))
        self.cluster.speaks.wait()
        reply = self.cluster.scripted_reply(self.command, self.path)
        if reply is not None:
            return reply(self)
        token = self.cluster.token
        if token is not None and headers.get("authorization", "").lower() != f"bearer {token}".lower():
            return status(401, "Unauthorized", "Unauthorized")(self)
        return self._do(parts.path, params, body)

    def _do(self, path: str, params: dict[str, str], body: Any) -> None:
        if self.command == "GET" and params.get("watch") == "true":
            return self._watch(path, params)
        if self.command == "GET" and path not in self.cluster.objects and is_collection(path):
            return self._list(path, params)
        with self.cluster.news:
            code, answer = getattr(self, f"_{self.command.lower()}")(path, body)
        return self.say(code, answer)

    def _get(self, path: str, body: Any) -> tuple[int, Object]:
        found = self.cluster.objects.get(path)
        return (200, found) if found else refused(404, "NotFound", f"{path} not found")

    def _post(self, path: str, body: Any) -> tuple[int, Object]:
        place = f"{path}/{body['metadata']['name']}"
        if place in self.cluster.objects:
            return refused(409, "AlreadyExists", f"{place} already exists")
        return 201, self.cluster.write(place, body)

    def _put(self, path: str, body: Any) -> tuple[int, Object]:
        found = self.cluster.objects.get(path)
        wanted = body["metadata"].get("resourceVersion")
        if found is None and "/leases/" in path and wanted is not None:
            return refused(409, "Conflict", "the UID in the precondition differs")  # a PUT may create these
        if found is None:
            return refused(404, "NotFound", f"{path} not found")
        if wanted not in (None, found["metadata"]["resourceVersion"]):
            return refused(409, "Conflict", "the object has been modified")
        return 200, self.cluster.write(path, body)

    def _patch(self, path: str, body: Any) -> tuple[int, Object]:
        found = self.cluster.objects.get(path)
        if found is None and "apply" not in self.headers["content-type"]:
            return refused(404, "NotFound", f"{path} not found")
        return 200, self.cluster.write(path, merged(found or {}, body))

    def _delete(self, path: str, body: Any) -> tuple[int, Object]:
        if path not in self.cluster.objects:
            return refused(404, "NotFound", f"{path} not found")
        self.cluster.remove(path)
        return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _list(self, path: str, params: dict[str, str]) -> None:
        with self.cluster.news:
            found = sorted((p, o) for p, o in self.cluster.objects.items() if belongs(p, path))
            start, revision = 0, self.cluster.revision
            if "continue" in params:
                start, revision = (int(word) for word in params["continue"].split(":"))
            if revision < self.cluster.compacted:
                return status(410, "Expired", "the provided continue parameter is too old")(self)
            limit = int(params.get("limit", "0")) or len(found)
            metadata: Object = {"resourceVersion": str(revision)}
            if start + limit < len(found):
                metadata["continue"] = f"{start + limit}:{revision}"
            items = [deepcopy(o) for _, o in found[start : start + limit]]
        return self.say(200, {"kind": "List", "metadata": metadata, "items": items})

    def _watch(self, path: str, params: dict[str, str]) -> None:
        since = int(params.get("resourceVersion") or 0)
        cluster, me = self.cluster, id(self)
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        with cluster.news:
            cluster.extra[me] = []
            cut = cluster.cut
        try:
            self._tell(path, since, cut, float(params.get("timeoutSeconds", "600")))
        except OSError:
            self.close_connection = True
        finally:
            with cluster.news:
                cluster.extra.pop(me, None)

    def _tell(self, path: str, since: int, cut: int, seconds: float) -> None:
        cluster, told, start = self.cluster, since, since
        while True:
            with cluster.news:
                if since < cluster.compacted:
                    lines, is_over = [error_line(410, "Expired")], True
                else:
                    lines = [line(k, o) for r, k, p, o in cluster.history if r > told and belongs(p, path)]
                    lines += cluster.extra[id(self)]
                    cluster.extra[id(self)] = []
                    is_over, told = False, max(told, cluster.revision)
                    since = told
                is_cut = cluster.cut != cut
            cluster.speaks.wait()
            if is_cut:
                return drop(self)
            for one in lines:
                self.chunk(one)
            if is_over or cluster.is_ending:
                return self.chunk(b"")
            with cluster.news:
                is_woken = bool(cluster.extra[id(self)]) or cluster.revision > told or cluster.cut != cut
                if not is_woken and not cluster.news.wait(timeout=min(seconds, 0.2)):
                    seconds -= 0.2
            if seconds <= 0:
                if cluster.has_bookmarks and cluster.revision > start:
                    self.chunk(line("BOOKMARK", {"metadata": {"resourceVersion": str(told)}}))
                return self.chunk(b"")

    def say(self, code: int, body: Object, **headers: str) -> None:
        text = json.dumps(body).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        return


def line(kind: str, obj: Object) -> bytes:
    """One watch event."""
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def error_line(code: int, reason: str) -> bytes:
    return line("ERROR", {"kind": "Status", "code": code, "reason": reason, "message": reason})


def is_collection(path: str) -> bool:
    """Does the path end in a plural, not in a name? (/apis/g/v, /api/v, namespaces/NS, PLURAL, NAME)"""
    parts = path.strip("/").split("/")
    parts = parts[3:] if parts[0] == "apis" else parts[2:]
    parts = parts[2:] if parts[0] == "namespaces" and len(parts) > 2 else parts
    return len(parts) == 1


def belongs(path: str, collection: str) -> bool:
    """Is the object of that path in the collection, which may span all namespaces?"""
    parts = path.split("/")
    if parts[-4:-3] == ["namespaces"]:
        return collection in (path.rsplit("/", 1)[0], "/".join([*parts[:-4], parts[-2]]))
    return collection == path.rsplit("/", 1)[0]


def refused(code: int, reason: str, message: str) -> tuple[int, Object]:
    return code, {"kind": "Status", "code": code, "reason": reason, "message": message}


def merged(into: Object, patch: Object) -> Object:
    """RFC 7386."""
    result = dict(into)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = merged(result[name], value)
        else:
            result[name] = value
    return result


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


@contextmanager
def serving(port: int = 0) -> Iterator[tuple[Cluster, int]]:
    """The cluster behind a server on loopback, and its port."""
    cluster = Cluster()
    cluster.speaks.set()
    verbs = {f"do_{verb}": Handler.serve for verb in ("GET", "POST", "PUT", "PATCH", "DELETE")}
    server = Server(("127.0.0.1", port), type("Bound", (Handler,), {"cluster": cluster, **verbs}))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield cluster, server.server_address[1]
    finally:
        cluster.is_ending = True
        cluster.speaks.set()
        cluster.break_watches()
        server.shutdown()
        server.server_close()


def kubeconfig(folder: Path, port: int, namespace: str = "", user: Object | None = None) -> Path:
    """A kubeconfig for the server on this port."""
    context = {"cluster": "c", "user": "u", **({"namespace": namespace} if namespace else {})}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "here", "context": context}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path
