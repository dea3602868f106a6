"""Bytes to messages and back: the only way onto and off the wire, bounded and strict.

Errors are values of one kind: `Malformed`, whose text names the field and what is wrong with it.
"""

from typing import Any, Final, TypeVar

import msgspec

from headgate.wire.plan import RoutePlan, faults
from headgate.wire.record import ComparisonRecord
from headgate.wire.telemetry import Telemetry

BYTES_MAX: Final = 4 * 1024 * 1024
"""No message is larger than this; a larger one is refused unread."""

MESSAGES: Final[dict[str, type[msgspec.Struct]]] = {
    "route-plan": RoutePlan,
    "telemetry": Telemetry,
    "comparison-record": ComparisonRecord,
}
"""Every message by the name of its schema."""

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class Malformed(ValueError):
    """Bytes that are not the message they should be; the text names the field."""


def encode(message: RoutePlan | Telemetry | ComparisonRecord) -> bytes:
    """The message as compact JSON, without a line end."""
    return msgspec.json.encode(message)


def decode_plan(body: bytes) -> RoutePlan:
    """The plan in `body`. Malformed if it is too large, not JSON, not of the schema, or unsound (see `plan.faults`)."""
    plan = _decode(body, RoutePlan)
    found = faults(plan)
    if found:
        raise Malformed("plan refused: " + "; ".join(found[:8]))
    return plan


def decode_telemetry(body: bytes) -> Telemetry:
    """The report in `body`; Malformed as for `decode_plan`."""
    return _decode(body, Telemetry)


def decode_record(line: bytes) -> ComparisonRecord:
    """The record in one line of a record log; Malformed as for `decode_plan`."""
    return _decode(line, ComparisonRecord)


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the message called `name`; KeyError if there is none."""
    (root,), components = msgspec.json.schema_components([MESSAGES[name]], ref_template="#/$defs/{name}")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": components}


def _decode(body: bytes, kind: type[_Struct]) -> _Struct:
    if len(body) > BYTES_MAX:
        raise Malformed(f"{kind.__name__} of {len(body)} bytes: at most {BYTES_MAX} are read")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"{kind.__name__}: {error}") from error
