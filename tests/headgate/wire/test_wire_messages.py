"""Messages survive the wire, whatever they hold; and what is no message is refused with the field named."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from headgate.wire.codec import (
    BYTES_MAX,
    MESSAGES,
    Malformed,
    decode_plan,
    decode_record,
    decode_telemetry,
    encode,
    schema,
)
from headgate.wire.plan import NOTHING_APPLIED, Applied, RoutePlan, faults
from headgate.wire.record import ComparisonRecord
from headgate.wire.telemetry import Telemetry
from tests.contract.wire.examples import EXAMPLES, PLAN_FULL, PLAN_SMALL

PAYLOAD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def values_of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Everything that a field's type and bounds allow, kept small where it may be large."""
    match kind:
        case inspect.StructType():
            fields = {field.name: values_of(field.type) for field in kind.fields}
            return st.builds(kind.cls, **fields)
        case inspect.VarTupleType():
            return st.lists(values_of(kind.item_type), min_size=kind.min_length or 0, max_size=2).map(tuple)
        case inspect.TupleType():
            return st.tuples(*map(values_of, kind.item_types))
        case inspect.DictType():
            return st.dictionaries(values_of(kind.key_type), values_of(kind.value_type), max_size=2)
        case inspect.UnionType():
            return st.one_of(*map(values_of, kind.types))
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.StrType():
            return texts_of(kind)
        case inspect.IntType():
            return st.integers(kind.ge, kind.le)
        case inspect.FloatType():
            return floats_of(kind)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.AnyType():
            return PAYLOAD
        case _:
            raise AssertionError(f"no values for {kind}")


def texts_of(kind: inspect.StrType) -> st.SearchStrategy[str]:
    longest = min(kind.max_length or 16, 16)
    if kind.pattern is None:
        return st.text(min_size=kind.min_length or 0, max_size=longest)
    matching = st.from_regex(re.compile(kind.pattern), fullmatch=True)
    return matching.filter(lambda text: (kind.min_length or 0) <= len(text) <= (kind.max_length or 2**31))


def floats_of(kind: inspect.FloatType) -> st.SearchStrategy[float]:
    low, high = (kind.ge if kind.ge is not None else kind.gt), (kind.le if kind.le is not None else kind.lt)
    return st.floats(
        low,
        high,
        exclude_min=kind.gt is not None,
        exclude_max=kind.lt is not None,
        allow_nan=False,
        allow_infinity=False,
    )


def every(message: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    return values_of(inspect.type_info(message))


SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)


@SLOW
@given(message=every(Telemetry))
def test_any_telemetry_comes_out_as_it_went_in(message: Telemetry) -> None:
    assert decode_telemetry(encode(message)) == message


@SLOW
@given(message=every(ComparisonRecord))
def test_any_record_comes_out_as_it_went_in_on_one_line(message: ComparisonRecord) -> None:
    line = encode(message)
    assert decode_record(line) == message
    assert b"\n" not in line


@SLOW
@given(message=every(RoutePlan))
def test_any_plan_comes_out_as_it_went_in_and_is_refused_if_it_has_faults(message: RoutePlan) -> None:
    assert msgspec.json.decode(encode(message), type=RoutePlan) == message
    if faults(message):
        with pytest.raises(Malformed, match="plan refused: "):
            decode_plan(encode(message))
    else:
        assert decode_plan(encode(message)) == message


@given(body=st.binary(max_size=100) | PAYLOAD.map(lambda value: json.dumps(value).encode()))
def test_bytes_that_are_no_message_are_malformed_and_nothing_else(body: bytes) -> None:
    for decode in (decode_plan, decode_telemetry, decode_record):
        with pytest.raises(Malformed):
            decode(body)


def changed(name: str, path: str, value: Any) -> bytes:
    """A golden message with one field replaced, removed (value `...`) or added."""
    document = json.loads(encode(EXAMPLES[name]))
    place: Any = document
    *above, last = path.split(".")
    for part in above:
        place = place[int(part)] if isinstance(place, list) else place[part]
    if value is ...:
        del place[last]
    elif isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return json.dumps(document).encode()


BAD_PLANS = [
    ("rollout", "no-slash", "rollout"),
    ("rollout", "Ml/fraud", "rollout"),
    ("rollout", ..., "rollout"),
    ("wire", 2, "wire"),
    ("epoch", -1, "epoch"),
    ("epoch", 2**63, "epoch"),
    ("epoch", "3", "epoch"),
    ("epoch", 3.5, "epoch"),
    ("generation", None, "generation"),
    ("salt", "", "salt"),
    ("surprise", 1, "surprise"),
    ("because", "x" * 1025, "because"),
    ("versions", [], "versions"),
    ("versions.0.name", "V7", "versions[0].name"),
    ("versions.0.name", "v7\n", "versions[0].name"),
    ("versions.0.name", "-v7", "versions[0].name"),
    ("versions.0.name", "v" * 64, "versions[0].name"),
    ("versions.0.identity", "a b", "versions[0].identity"),
    ("versions.0.identity", "a\n", "versions[0].identity"),
    ("versions.0.role", "shadow", "versions[0].role"),
    ("versions.0.endpoints.0.port", 0, "versions[0].endpoints[0].port"),
    ("versions.0.endpoints.0.port", 65_536, "versions[0].endpoints[0].port"),
    ("versions.0.endpoints.0.host", "", "versions[0].endpoints[0].host"),
    ("versions.0.endpoints.0.host", "a b", "versions[0].endpoints[0].host"),
    ("versions.0.endpoints.0.user", "x", "user"),
    ("versions.1.attempt", 0, "versions[1].attempt"),
    ("versions.1.basePath", "fraud8", "versions[1].basePath"),
    ("versions.1.basePath", "/a\r\nx: y", "versions[1].basePath"),
    ("versions.1.rewrite.path", "v2", "versions[1].rewrite.path"),
    ("versions.1.rewrite.path", "/a b", "versions[1].rewrite.path"),
    ("versions.1.rewrite.path", "/a\n", "versions[1].rewrite.path"),
    ("versions.1.rewrite.body", {"model": "x"}, "versions[1].rewrite.body"),
    ("slots.0.end", 10_001, "slots[0].end"),
    ("slots.0.start", -1, "slots[0].start"),
    ("shadows.0.sample", 1_000_001, "shadows[0].sample"),
    ("shadows.0.timeoutMs", 0, "shadows[0].timeoutMs"),
    ("shadows.0.concurrencyMax", 0, "shadows[0].concurrencyMax"),
    ("identity.sources", ["body:/user"], "identity.sources[0]"),
    ("overrides.header", "X-Upper", "overrides.header"),
    ("overrides.header", "x y", "overrides.header"),
    ("guard.errorRatio", 0, "guard.errorRatio"),
    ("guard.errorRatio", 1, "guard.errorRatio"),
    ("limits.headerBytesMax", 10, "limits.headerBytesMax"),
    ("capture.store", "some", "capture.store"),
    ("capture.redact.0.how", "shred", "capture.redact[0].how"),
    ("capture.redact.0.path", "ssn", "capture.redact[0].path"),
    ("capture.recordsBytesMax", 1, "capture.recordsBytesMax"),
    ("comparison.task", "ranking", "comparison.task"),
    ("comparison.relativeTolerance", -1, "comparison.relativeTolerance"),
    ("comparison.boundary", [0.5], "comparison.boundary"),
    ("comparison.ignore", ["ts"], "comparison.ignore[0]"),
    ("countedPaths", ["v2"], "countedPaths[0]"),
    # Well-typed, and yet no plan.
    ("stable", "v9", "stable: v9 is not among versions"),
    ("versions.1.name", "v7", "versions: v7 is there more than once"),
    ("shadows.0.version", "v9", "shadows[0].version: v9 is not among versions"),
    ("shadows", [{"version": "v8", "sample": 1}] * 2, "shadows: v8 is there more than once"),
    ("overrides.allow", ["v9"], "overrides.allow: v9 is not among versions"),
    ("comparison.boundary", [0.7, 0.5], "comparison.boundary: 0.7 … 0.5 is no band between 0 and 1"),
    ("comparison.boundary", [0.7, 1.5], "comparison.boundary"),
    ("slots.0.version", "v9", "slots[0].version: v9 is not among versions"),
    ("slots.0.end", 499, "slots[1].start: 500 where 499 must follow"),
    ("slots.0.end", 501, "slots[1].start: 500 where 501 must follow"),
    ("slots.0.start", 1, "slots[0].start: 1 where 0 must follow"),
    ("slots.1.end", 9_999, "slots: they end at 9999 instead of 10000"),
    ("slots.1.end", 500, "slots[1].end: 500 is not after start 500"),
]

BAD_MATCHES = [
    ("conditions", [], "match.conditions"),
    ("conditions", [{"source": "header:a"}] * 9, "match.conditions"),
    ("conditions.0.source", "query:a", "match.conditions[0].source"),
    ("conditions.0.source", "header:a b", "match.conditions[0].source"),
    ("conditions.0.source", "header:a\n", "match.conditions[0].source"),
    ("conditions.0.exact", 1, "match.conditions[0].exact"),
    ("conditions.0.exact", "x" * 1025, "match.conditions[0].exact"),
    ("conditions.1.prefix", "", "match.conditions[1].prefix"),
    ("conditions.0.is", "DE", "is"),
    ("slots", [], "match.slots"),
    ("colour", "red", "colour"),
    # Well-typed, and yet no match.
    ("conditions.0.prefix", "D", "match.conditions[0]: exact and prefix are both given"),
    ("conditions.0.exact", " DE", "match.conditions[0].exact: ' DE' begins or ends with a blank"),
    ("conditions.0.exact", "DE\t", "match.conditions[0].exact: 'DE\\t' begins or ends with a blank"),
    ("conditions.0.exact", "D\nE", "match.conditions[0].exact: 'D\\nE' has control characters"),
    ("conditions.1.prefix", " b", "match.conditions[1].prefix: ' b' begins or ends with a blank"),
    ("conditions.1.prefix", "b\x7f", "match.conditions[1].prefix: 'b\\x7f' has control characters"),
    ("conditions.1.prefix", "a;b", "match.conditions[1].prefix: 'a;b' has a quote or semicolon"),
    ("conditions.1.prefix", '"a', "match.conditions[1].prefix: '\"a' has a quote or semicolon"),
    ("slots.0.version", "v9", "match.slots[0].version: v9 is not among versions"),
    ("slots.1.start", 5_001, "match.slots[1].start: 5001 where 5000 must follow"),
    ("slots.1.end", 9_999, "match.slots: they end at 9999 instead of 10000"),
]


@pytest.mark.parametrize(("path", "value", "named"), BAD_MATCHES, ids=lambda one: str(one)[:40])
def test_a_malformed_match_is_refused_and_its_field_named(path: str, value: Any, named: str) -> None:
    with pytest.raises(Malformed) as refusal:
        decode_plan(changed("route-plan-match", f"match.{path}", value))
    assert named in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("conditions.0.exact", ""),
        ("conditions.0.exact", 'a;"b,\tc'),
        ("conditions.1.prefix", "a "),
        ("conditions.2.source", "header:X-Tester"),
    ],
)
def test_a_match_that_some_request_fulfils_is_no_fault(path: str, value: str) -> None:
    assert decode_plan(changed("route-plan-match", f"match.{path}", value)).match is not None


@pytest.mark.parametrize(("path", "value", "named"), BAD_PLANS, ids=lambda one: str(one)[:40])
def test_a_malformed_plan_is_refused_and_its_field_named(path: str, value: Any, named: str) -> None:
    with pytest.raises(Malformed) as refusal:
        decode_plan(changed("route-plan-full", path, value))
    assert named in str(refusal.value)


BAD_TELEMETRY = [
    ("router", "", "router"),
    ("router", "a b", "router"),
    ("router", "a\n", "router"),
    ("boot", "", "boot"),
    ("at", -1, "at"),
    ("at", "now", "at"),
    ("applied", "1.2", "applied"),
    ("applied", "1.2.3\n", "applied"),
    ("applied", "1.2.-3", "applied"),
    ("versions.0", {"version": "v8"}, "versions[0]"),
    ("versions.0.picked.requests", -1, "versions[0].picked.requests"),
    ("versions.0.picked.requests", 1.5, "versions[0].picked.requests"),
    ("versions.0.picked.latency", [1] * 513, "versions[0].picked.latency"),
    ("versions.0.inFlightAges", [-1], "versions[0].inFlightAges[0]"),
    ("shadows.0.pairs", None, "shadows[0].pairs"),
    ("shadows.0.dropped", {"timeout": -1}, "shadows[0].dropped[...]"),
    ("shadows.0.slices", {"a": {"pairs": -1}}, "shadows[0].slices[...].pairs"),
    ("shadows.0.directions", {str(n): 1 for n in range(1025)}, "shadows[0].directions"),
    ("shadows", [{}] * 17, "shadows"),
    ("trips.0.attempt", 0, "trips[0].attempt"),
    ("workers.0.index", 256, "workers[0].index"),
    ("wire", 0, "wire"),
]


@pytest.mark.parametrize(("path", "value", "named"), BAD_TELEMETRY, ids=lambda one: str(one)[:40])
def test_malformed_telemetry_is_refused_and_its_field_named(path: str, value: Any, named: str) -> None:
    with pytest.raises(Malformed) as refusal:
        decode_telemetry(changed("telemetry-full", path, value))
    assert f"$.{named}" in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "decode"), [("telemetry", decode_telemetry), ("comparison-record", decode_record)]
)
def test_reports_with_fields_of_a_newer_release_are_read(name: str, decode: Any) -> None:
    assert decode(changed(f"{name}-full", "newer", {"a": 1})) == EXAMPLES[f"{name}-full"]


def test_a_plan_with_a_field_this_router_does_not_know_is_refused_whole() -> None:
    with pytest.raises(Malformed, match="newer"):
        decode_plan(changed("route-plan-full", "newer", 1))


def test_a_message_above_the_bound_is_refused_unread() -> None:
    with pytest.raises(Malformed, match=f"at most {BYTES_MAX}"):
        decode_record(b" " * (BYTES_MAX + 1))


def test_nesting_without_end_is_malformed() -> None:
    with pytest.raises(Malformed):
        decode_record(b'{"wire":1,"request":' + b"[" * 100_000)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_schema_bounds_every_text_list_and_number_that_travels(name: str) -> None:
    """Payloads (`prediction`, `request`, `body`) and measures are bounded as a whole, by BYTES_MAX."""
    unbounded = {
        "prediction",
        "request",
        "body",
        "measures",
        "slices",
        "confidence",
        "paths",
        "direction",
        "protocol",
        "task",
        "at",
        "boundary",
        "dropped",
        "redact",
    }
    for kind, definition in schema(name)["$defs"].items():
        for field, told in definition.get("properties", {}).items():
            if field not in unbounded:
                assert is_bounded(told), f"{kind}.{field}: {told}"


def is_bounded(told: dict[str, Any]) -> bool:
    if "anyOf" in told:
        return all(is_bounded(one) for one in told["anyOf"])
    needs = {
        "string": "maxLength",
        "integer": "minimum",
        "number": "minimum",
        "array": "maxItems",
        "object": "maxProperties",
    }
    kind = told.get("type")
    return (
        "enum" in told
        or "$ref" in told
        or kind in (None, "null", "boolean")
        or needs[kind] in told
        or "exclusiveMinimum" in told
    )


@given(st.builds(Applied, *[st.integers(0, 10**18 - 1)] * 3))
def test_what_a_router_runs_survives_as_text(applied: Applied) -> None:
    assert Applied.parse(str(applied)) == applied


@pytest.mark.parametrize(
    "text", ["", "1.2", "1.2.3.4", "a.b.c", "1.-2.3", "1. 2.3", "1.2.3\n", "²." * 3, "1" * 19 + ".0.0"]
)
def test_what_is_no_triple_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="EPOCH"):
        Applied.parse(text)


def test_a_router_without_a_plan_runs_nothing() -> None:
    assert str(NOTHING_APPLIED) == "0.0.0"
    assert PLAN_SMALL.triple > NOTHING_APPLIED


def test_weights_are_the_sizes_of_the_slots() -> None:
    assert PLAN_FULL.weights() == {"v7": 9_500, "v8": 500, "v6": 0}
    assert sum(PLAN_SMALL.weights().values()) == 10_000


def test_a_version_is_found_by_its_name() -> None:
    assert PLAN_FULL.version("v8") is PLAN_FULL.versions[1]
    assert PLAN_FULL.version("v9") is None
