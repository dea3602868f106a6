"""The request a shadow gets: the client's own, with its credentials gone, marked, and rewritten as the plan says."""

import re
from functools import lru_cache
from typing import Final

import msgspec

from headgate.pointer import replaced, segments
from headgate.wire.plan import Endpoint, PlanVersion, Rewrite
from router.core.channel import Copy
from router.core.join import Refused
from router.core.pick import path_matcher
from router.core.protocols import Head, Prediction, document

SHADOW_HEADER: Final = "x-headgate-shadow"

_NOT_FORWARDED: Final = frozenset(
    {
        b"authorization",
        b"proxy-authorization",
        b"cookie",
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"expect",
        b"x-request-id",
    }
)
_INFERENCE_ENDS: Final = ("/infer", ":predict", "/invocations")


def refusal(method: bytes, target: str, counted_paths: tuple[str, ...]) -> Refused | None:
    """Why a request must not be sent a second time; None where it may be.

    A POST that the plan counts is an inference, which changes nothing. A GET is one only on an inference path. A HEAD
    has no answer to compare.
    """
    path = target.split("?", 1)[0]
    if not path.startswith("/") or any(ord(sign) <= 32 or ord(sign) == 127 for sign in target):
        return Refused("method_not_safe", "the request target is no plain path")
    is_counted = _matcher(counted_paths)(path.encode("latin-1"))
    if method == b"POST" and is_counted:
        return None
    if method == b"GET" and ((is_counted and counted_paths) or path.endswith(_INFERENCE_ENDS)):
        return None
    return Refused("method_not_safe", f"{method.decode('latin-1')[:16]} is not replayed on this path")


def request_for(copy: Copy, version: PlanVersion, endpoint: Endpoint, bytes_max: int) -> bytes | Refused:
    """The bytes to send to one endpoint of a shadow.

    Refused (`undecodable`) if the plan rewrites the body and the body is no JSON object that has those fields.
    """
    fields = Head.parse(copy.request_head)
    body = _body(copy, version.rewrite, fields, bytes_max)
    if isinstance(body, Refused):
        return body
    is_rewritten = body is not copy.request_body
    lines = [
        copy.method + b" " + _target(copy, version).encode("latin-1") + b" HTTP/1.1",
        b"host: " + _host(endpoint),
        *(
            name + b": " + value
            for name, value in fields.fields
            if name not in _NOT_FORWARDED
            and not name.startswith(b"x-headgate-")
            and not (is_rewritten and name == b"content-encoding")
        ),
        b"x-request-id: " + _line(copy.request_id),
        SHADOW_HEADER.encode() + b": true",
        b"content-length: %d" % len(body),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _target(copy: Copy, version: PlanVersion) -> str:
    """Where the shadow is asked: its base path before the client's path, or before the rewritten one; same query."""
    path, mark, query = copy.target.decode("latin-1").partition("?")
    if version.rewrite is not None and version.rewrite.path is not None:
        path = version.rewrite.path
    return version.base_path.rstrip("/") + path + mark + query


def _body(copy: Copy, rewrite: Rewrite | None, fields: Head, bytes_max: int) -> bytes | Refused:
    if rewrite is None or not rewrite.body:
        return copy.request_body
    if fields.text("inference-header-content-length"):
        return Refused("undecodable", "rewrite.body: the request holds binary tensors behind its JSON")
    said = document(fields, copy.request_body, bytes_max)
    if not isinstance(said, Prediction):
        return Refused("undecodable", f"rewrite.body: the request: {said.why}")
    try:
        changed = said.value
        for pointer, value in rewrite.body.items():
            changed = replaced(changed, segments(pointer), value)
        return msgspec.json.encode(changed)
    except KeyError:
        return Refused("undecodable", f"rewrite.body: the request has no {pointer}")
    except (ValueError, RecursionError):
        return Refused("undecodable", "rewrite.body: the request cannot be written again")


def _host(endpoint: Endpoint) -> bytes:
    name = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{name}:{endpoint.port}".encode()


def _line(text: str) -> bytes:
    """Text that can be a header's value: what could end the line is left out."""
    return re.sub(r"[^\x21-\x7e]", "", text).encode()


_matcher = lru_cache(maxsize=64)(path_matcher)
