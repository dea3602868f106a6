"""Which protocol an answer is read by, content encodings, plain JSON and V1; and that no bytes ever raise."""

import gzip
import json
import math
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.protocols import Head, Prediction, Undecodable, decode, detect

BYTES_MAX = 1 << 16
V2 = json.dumps({"outputs": [{"name": "y", "datatype": "INT64", "shape": [1], "data": [1]}]}).encode()
V1 = b'{"predictions": [1]}'


@pytest.mark.parametrize(
    ("target", "body", "protocol"),
    [
        ("/v2/models/digits/infer?x=1", b"anything", "v2"),
        ("/v2/models/digits/versions/3/infer", b"{}", "v2"),
        ("/v1/models/digits:predict", b"{}", "v1"),
        ("/predict", V2, "v2"),
        ("/predict", V1, "v1"),
        ("/predict", b'{"outputs": [1]}', "json"),
        ("/predict", b'{"predictions": "none"}', "json"),
        ("/predict", b"[1, 2]", "json"),
        ("/predict", b"not json", "json"),
        ("/v2/models/digits", V1, "v1"),
    ],
)
def test_the_protocol_is_seen_from_path_and_answer(target: str, body: bytes, protocol: str) -> None:
    assert detect("auto", target, Head(), body, BYTES_MAX) == protocol


def test_a_forced_protocol_is_taken_whatever_the_answer_looks_like() -> None:
    assert detect("json", "/v2/models/digits/infer", Head(), V2, BYTES_MAX) == "json"


def test_v1_is_its_predictions_and_nothing_else() -> None:
    said = decode(Head(), b'{"predictions": [[1, 2]], "model_version": "7", "id": 3}', "v1", BYTES_MAX)
    assert said == Prediction("v1", {"predictions": [[1, 2]]})


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"error": "x"}'])
def test_v1_without_predictions_is_undecodable(body: bytes) -> None:
    assert isinstance(decode(Head(), body, "v1", BYTES_MAX), Undecodable)


def test_plain_json_loses_what_differs_by_design_and_keeps_every_other_field() -> None:
    body = {
        "id": "3f2b8c1e-9a4d-4a55-9d1e-0c3b5a7f6e21",
        "created": 1,
        "model_version": "v7",
        "request_id": "a",
        "y": {"id": "kept", "created": "kept"},
    }
    said = decode(Head(), json.dumps(body).encode(), "json", BYTES_MAX)
    assert said == Prediction("json", {"y": {"id": "kept", "created": "kept"}})


@pytest.mark.parametrize("identifier", [42, "sku-12345678", None, {"a": 1}])
def test_an_id_that_may_be_the_answer_is_kept(identifier: Any) -> None:
    said = decode(Head(), json.dumps({"id": identifier}).encode(), "json", BYTES_MAX)
    assert said == Prediction("json", {"id": identifier})


def test_nan_and_infinity_are_read_as_servers_write_them() -> None:
    said = decode(Head(), b'{"a": NaN, "b": -Infinity}', "json", BYTES_MAX)
    assert isinstance(said, Prediction)
    assert math.isnan(said.value["a"])
    assert said.value["b"] == -math.inf


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
        ("gzip, identity", gzip.compress),
        ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    ],
)
def test_content_encodings_are_undone(encoding: str, pack: Any) -> None:
    head = Head.parse(f"Content-Encoding: {encoding}".encode())
    assert decode(head, pack(V1), "v1", BYTES_MAX) == Prediction("v1", {"predictions": [1]})


@pytest.mark.parametrize(
    ("encoding", "body", "why"),
    [
        ("gzip", gzip.compress(b" " * (BYTES_MAX + 1)), f"inflates to more than {BYTES_MAX} bytes"),
        ("gzip, gzip", gzip.compress(gzip.compress(b" " * (1 << 26))), "inflates to more than"),
        ("gzip", gzip.compress(V1)[:-9], "not whole gzip data"),
        ("gzip", b"plain", "not whole gzip data"),
        ("gzip", b"", "not whole gzip data"),
        ("br", b"x", "'br' is not read"),
        ("gzip, gzip, gzip", b"x", "3 codings"),
    ],
)
def test_a_bomb_broken_data_or_an_unknown_coding_is_undecodable(encoding: str, body: bytes, why: str) -> None:
    said = decode(Head.parse(f"content-encoding: {encoding}".encode()), body, "v1", BYTES_MAX)
    assert isinstance(said, Undecodable)
    assert why in said.why


def test_a_body_above_the_bound_is_undecodable() -> None:
    assert isinstance(decode(Head(), b" " * (BYTES_MAX + 1), "json", BYTES_MAX), Undecodable)


def test_deep_nesting_is_undecodable_and_does_not_end_the_process() -> None:
    assert decode(Head(), b"[" * 60_000, "json", BYTES_MAX) == Undecodable("not JSON: nested too deeply")


def test_header_names_are_found_in_any_case_and_bad_lines_are_passed_over() -> None:
    head = Head.parse(b"no colon here\r\n: empty\r\nX-A:  1 \r\nx-a: 2\r\n\r\n")
    assert head.text("x-a") == "1"
    assert head.text("x-b") == ""


HEADS = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda coding, length: (
            f"content-encoding: {coding}\r\ninference-header-content-length: {length}".encode()
        ),
        st.sampled_from(["gzip", "deflate", "br", "identity", ""]),
        st.sampled_from(["", "0", "2", "9" * 12, "-1"]),
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["outputs", "name", "datatype", "shape", "data", "predictions", "parameters", "id"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@given(
    head=HEADS,
    body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()),
    forced=st.sampled_from(["auto", "v2", "v1", "json"]),
    target=st.text(max_size=20),
)
def test_any_bytes_are_a_prediction_or_undecodable(
    head: bytes, body: bytes, forced: Any, target: str
) -> None:
    fields = Head.parse(head)
    protocol = detect(forced, target, fields, body, BYTES_MAX)
    assert isinstance(decode(fields, body, protocol, BYTES_MAX), Prediction | Undecodable)
