"""Bodies as bytes to bodies as data: content encodings with a bound, and JSON that may say NaN."""

import json
import zlib
from dataclasses import dataclass
from typing import Any, Final

import msgspec

_WINDOWS: Final[dict[str, tuple[int, ...]]] = {
    "gzip": (31,),
    "x-gzip": (31,),
    "deflate": (15, -15),  # RFC 9110 means zlib; raw deflate is what some servers send
}

ENCODINGS_MAX: Final = 2
"""How many content codings on top of each other are undone."""


class Unreadable(ValueError):
    """A body that is not what its protocol says it should be; the text quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON document and the bytes behind it (Open Inference V2 binary tensors)."""

    document: Any
    tail: bytes


def inflated(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body without its content coding. Unreadable: an unknown coding, broken data, more than `bytes_max` bytes."""
    codings = [name.strip().lower() for name in encoding.split(",") if name.strip()]
    codings = [name for name in codings if name != "identity"]
    if len(codings) > ENCODINGS_MAX:
        raise Unreadable(f"content-encoding: {len(codings)} codings, at most {ENCODINGS_MAX} are undone")
    for name in reversed(codings):
        body = _without(name, body, bytes_max)
    if len(body) > bytes_max:
        raise Unreadable(f"body of {len(body)} bytes: at most {bytes_max} are read")
    return body


def json_of(body: bytes) -> Any:
    """The JSON document in `body`; NaN and Infinity are read, as Python's servers write them."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if b"NaN" not in body and b"Infinity" not in body:
            raise Unreadable(f"not JSON: {_reason(error)}") from None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON: {_reason(error)}") from None


def _without(coding: str, body: bytes, bytes_max: int) -> bytes:
    windows = _WINDOWS.get(coding)
    if windows is None:
        raise Unreadable(f"content-encoding {coding[:32]!r} is not read; gzip and deflate are")
    for window in windows:
        inflator = zlib.decompressobj(window)
        try:
            whole = inflator.decompress(body, bytes_max + 1)
        except zlib.error:
            continue
        if len(whole) > bytes_max:
            raise Unreadable(f"body inflates to more than {bytes_max} bytes")
        if inflator.eof:
            return whole
    raise Unreadable(f"body is not whole {coding} data")


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "invalid UTF-8"
    return str(error)[:160]
