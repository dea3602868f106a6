"""What a request asks of the Kubernetes API, in the terms of RBAC, and how that API says no."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

WRITES: Final = ("create", "update", "patch", "delete", "deletecollection")
REASONS: Final[Mapping[int, str]] = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
_SUBRESOURCES_OF_NAMESPACES: Final = ("status", "finalize")


@dataclass(frozen=True, slots=True)
class Asked:
    """Verb and object of a request, as the API server's RequestInfo has them; resource "" for other paths.

    `resource` has its subresource after a slash: `deployments`, `deployments/scale`.
    """

    verb: str
    resource: str = ""
    group: str = ""
    namespace: str = ""
    name: str = ""


def asked(method: str, target: str) -> Asked:
    """Read the request line; never fails: a path outside /api and /apis has its method as verb."""
    url = urlsplit(target)
    parts = [part for part in url.path.split("/") if part]
    group = ""
    if parts[:1] == ["apis"] and len(parts) > 3:
        group, rest = parts[1], parts[3:]
    elif parts[:1] == ["api"] and len(parts) > 2:
        rest = parts[2:]
    else:
        return Asked(method.lower())
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _SUBRESOURCES_OF_NAMESPACES:
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    resource = "/".join([rest[0], *rest[2:3]])
    return Asked(_verb(method, name, parse_qs(url.query)), resource, group, namespace, name)


def _verb(method: str, name: str, query: Mapping[str, list[str]]) -> str:
    if method in ("GET", "HEAD"):
        watches = query.get("watch", [""])[0] in ("1", "true", "True")
        return "watch" if watches else "get" if name else "list"
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(method, method.lower())


def status(code: int, message: str, retry_after_s: int | None = None) -> dict[str, Any]:
    """A Status object, which is how the API server says why not."""
    details = {} if retry_after_s is None else {"details": {"retryAfterSeconds": retry_after_s}}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": REASONS.get(code, "Unknown"),
        "code": code,
        **details,
    }


def error_event(code: int, message: str) -> bytes:
    """The last line of a watch that the API server ends: a Status as an event of type ERROR."""
    return json.dumps({"type": "ERROR", "object": status(code, message)}).encode() + b"\n"
