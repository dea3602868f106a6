"""What an answer says: bytes of a model server's protocol to one canonical prediction, or the reason why not.

Total: any bytes give a `Prediction` or an `Undecodable`, never an exception, and what cannot be read is never
taken for equal to anything. What differs by design between two answers (request ids, model names and versions,
creation times) is not part of a prediction.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

from router.core.protocols import plain, v1, v2
from router.core.protocols.body import Body, Unreadable, inflated, json_of
from router.core.protocols.heads import Head
from router.core.protocols.prediction import Prediction, Protocol, Undecodable

__all__ = ["Head", "Prediction", "Protocol", "Undecodable", "decode", "detect", "document"]

_CANONICAL: Final[dict[Protocol, Callable[[Body], Any]]] = {
    "v2": v2.canonical,
    "v1": v1.canonical,
    "json": plain.canonical,
}


def decode(head: Head, body: bytes, protocol: Protocol, bytes_max: int) -> Prediction | Undecodable:
    """What an answer of this protocol says; `bytes_max` bounds the body after decompression."""
    try:
        whole = _body(head, body, bytes_max)
        return Prediction(protocol, _CANONICAL[protocol](whole))
    except Unreadable as reason:
        return Undecodable(str(reason))


def document(head: Head, body: bytes, bytes_max: int) -> Prediction | Undecodable:
    """A request's or answer's body as the JSON document it is, nothing taken away."""
    try:
        whole = _body(head, body, bytes_max)
        return Prediction("json", whole.document)
    except Unreadable as reason:
        return Undecodable(str(reason))


def detect(
    forced: Literal["auto", "v2", "v1", "json"], target: str, head: Head, body: bytes, bytes_max: int
) -> Protocol:
    """The protocol to read both answers by: the forced one, else what the live request's path and answer show.

    `target` is the path the client asked for; head and body are the live answer's.
    """
    if forced != "auto":
        return forced
    path = target.split("?", 1)[0]
    if "/v2/" in path and path.endswith("/infer"):
        return "v2"
    if path.endswith(":predict"):
        return "v1"
    said = document(head, body, bytes_max)
    return _by_shape(said.value) if isinstance(said, Prediction) else "json"


def _by_shape(value: Any) -> Protocol:
    if v2.looks_like(value):
        return "v2"
    return "v1" if v1.looks_like(value) else "json"


def _body(head: Head, body: bytes, bytes_max: int) -> Body:
    whole = inflated(body, head.text("content-encoding"), bytes_max)
    declared = head.text("inference-header-content-length")
    if not declared:
        return Body(json_of(whole), b"")
    if not (declared.isascii() and declared.isdigit() and len(declared) <= 9) or int(declared) > len(whole):
        raise Unreadable("Inference-Header-Content-Length is not a length within the body")
    return Body(json_of(whole[: int(declared)]), whole[int(declared) :])
