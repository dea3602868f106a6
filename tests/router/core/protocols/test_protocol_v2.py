"""Open Inference V2 answers, as JSON and as binary, sound and broken."""

import json
import math
import struct
from typing import Any

import pytest

from router.core.protocols import Head, Prediction, Undecodable, decode

BYTES_MAX = 1 << 20


def output(name: str = "y", datatype: str = "INT64", shape: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [1] if shape is None else shape, **more}


def read(*outputs: Any, tail: bytes = b"", **document: Any) -> Prediction | Undecodable:
    body = json.dumps({"outputs": list(outputs), **document}).encode()
    head = b"inference-header-content-length: %d" % len(body) if tail else b""
    return decode(Head.parse(head), body + tail, "v2", BYTES_MAX)


def test_outputs_are_kept_by_name_with_flat_data() -> None:
    said = read(
        output("label", shape=[2], data=[4, 7]),
        output("scores", "FP64", [2, 2], data=[[0.1, 0.9], [0.8, 0.2]]),
    )
    assert said == Prediction(
        "v2",
        {
            "label": {"datatype": "INT64", "shape": [2], "data": [4, 7]},
            "scores": {"datatype": "FP64", "shape": [2, 2], "data": [0.1, 0.9, 0.8, 0.2]},
        },
    )


def test_ids_and_model_versions_are_no_part_of_a_prediction() -> None:
    assert read(output(data=[1]), id="a", model_name="m", model_version="1") == read(
        output(data=[1]), id="b", model_name="n", model_version="2"
    )


def test_the_order_of_outputs_is_no_difference() -> None:
    a, b = output("a", data=[1]), output("b", data=[2])
    assert read(a, b) == read(b, a)


@pytest.mark.parametrize(
    ("datatype", "form", "values"),
    [
        ("BOOL", "<2?", [True, False]),
        ("UINT8", "<2B", [0, 255]),
        ("INT16", "<2h", [-2, 2]),
        ("INT64", "<2q", [-(2**62), 2**62]),
        ("UINT64", "<2Q", [0, 2**63]),
        ("FP16", "<2e", [0.5, -2.0]),
        ("FP32", "<2f", [0.25, 1.5]),
        ("FP64", "<2d", [1e300, -0.1]),
    ],
)
def test_binary_tensors_are_read(datatype: str, form: str, values: list[Any]) -> None:
    raw = struct.pack(form, *values)
    said = read(output(datatype=datatype, shape=[2], parameters={"binary_data_size": len(raw)}), tail=raw)
    assert isinstance(said, Prediction)
    assert said.value["y"]["data"] == values


def test_binary_texts_and_bfloats_are_read_one_after_the_other() -> None:
    texts = struct.pack("<I3sI2s", 3, b"cat", 2, b"ox")
    bfloats = struct.pack("<f", 1.5)[2:] + struct.pack("<f", -2.0)[2:]
    said = read(
        output("t", "BYTES", [2], parameters={"binary_data_size": len(texts)}),
        output("f", "BF16", [2], parameters={"binary_data_size": len(bfloats)}),
        tail=texts + bfloats,
    )
    assert isinstance(said, Prediction)
    assert said.value["t"]["data"] == ["cat", "ox"]
    assert said.value["f"]["data"] == [1.5, -2.0]


def test_a_null_among_floats_is_a_nan() -> None:
    said = read(output(datatype="FP32", shape=[2], data=[None, 1.0]))
    assert isinstance(said, Prediction)
    assert math.isnan(said.value["y"]["data"][0])


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (output(data=[1, 2]), "outputs/0 has 2 values where its shape says 1"),
        (output(datatype="INT63", data=[1]), "datatype"),
        (output(datatype=["INT64"], data=[1]), "datatype"),
        (output(shape="x", data=[1]), "shape"),
        (output(shape=[-1], data=[]), "shape"),
        (output(shape=[True], data=[1]), "shape"),
        (output(shape=[1000, 1000, 1000], data=[]), "more than"),
        (output(data="1"), "neither"),
        (output(), "neither"),
        (output(data=["1"]), "not all INT64"),
        (output(data=[1.5]), "not all INT64"),
        (output(datatype="FP32", data=["1"]), "not all numbers"),
        (output(datatype="FP32", data=[True]), "not all numbers"),
        (output(shape=[2], data=[[1], 2]), "not nested evenly"),
        (output(parameters={"binary_data_size": 8}), "0 are left"),
        (output(parameters={"binary_data_size": "8"}), "no length"),
        (output(parameters={"binary_data_size": True}), "no length"),
        ({"datatype": "INT64"}, "no object with a name"),
        ("x", "no object with a name"),
    ],
)
def test_an_unsound_output_is_undecodable_and_named(bad: Any, named: str) -> None:
    said = read(bad)
    assert isinstance(said, Undecodable)
    assert named in said.why


def test_binary_data_of_another_size_than_the_shape_is_undecodable() -> None:
    said = read(output(shape=[2], parameters={"binary_data_size": 8}), tail=b"\0" * 8)
    assert said == Undecodable("V2: outputs/0 says 8 binary bytes where its shape needs 16")


@pytest.mark.parametrize("raw", [b"\x05\0\0\0abc", b"\xff\xff\xff\xff", b"\0\0"])
def test_binary_texts_that_end_too_early_are_undecodable(raw: bytes) -> None:
    said = read(output(datatype="BYTES", shape=[1], parameters={"binary_data_size": len(raw)}), tail=raw)
    assert isinstance(said, Undecodable)


def test_two_outputs_of_one_name_are_undecodable() -> None:
    assert isinstance(read(output(data=[1]), output(data=[1])), Undecodable)


@pytest.mark.parametrize("length", [b"-1", b"x", b"99999", b"1" * 30, "²".encode("latin-1")])
def test_a_header_length_outside_the_body_is_undecodable(length: bytes) -> None:
    said = decode(Head.parse(b"Inference-Header-Content-Length: " + length), b"{}", "v2", BYTES_MAX)
    assert isinstance(said, Undecodable)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"error": "no such model"}', b'{"outputs": 3}', b"null"])
def test_an_answer_without_outputs_is_undecodable(body: bytes) -> None:
    assert isinstance(decode(Head(), body, "v2", BYTES_MAX), Undecodable)


def test_the_reason_quotes_nothing_of_the_payload() -> None:
    said = read(output("name-of-a-person", data=["secret"]))
    assert isinstance(said, Undecodable)
    assert "secret" not in said.why
    assert "person" not in said.why
