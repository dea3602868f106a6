"""Open Inference / KServe V2: output tensors as JSON, or as binary behind the JSON.

Binary tensors follow the extension of the protocol: `parameters.binary_data_size` bytes each, little-endian, in the
order of the outputs; BYTES elements with a 4-byte length before each.
"""

import math
import struct
from typing import Any, Final

from router.core.protocols.body import Body, Unreadable

ELEMENTS_MAX: Final = 1_000_000
OUTPUTS_MAX: Final = 256

_FORMATS: Final = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
_FLOATS: Final = frozenset({"FP16", "FP32", "FP64", "BF16"})
_KINDS: Final[dict[str, frozenset[type]]] = {"BOOL": frozenset({bool, int}), "BYTES": frozenset({str})}
_WHOLE: Final[frozenset[type]] = frozenset({int})
_DATATYPES: Final = frozenset(_FORMATS) | {"BYTES", "BF16"}


def looks_like(value: Any) -> bool:
    """Whether a document has the shape of a V2 answer."""
    outputs = value.get("outputs") if isinstance(value, dict) else None
    return isinstance(outputs, list) and all(
        isinstance(output, dict) and {"name", "datatype", "shape"} <= output.keys() for output in outputs
    )


def canonical(body: Body) -> dict[str, Any]:
    """Output name → `{"datatype", "shape", "data"}`, `data` flat. Unreadable for anything that is not sound V2."""
    outputs = body.document.get("outputs") if isinstance(body.document, dict) else None
    if not isinstance(outputs, list):
        raise Unreadable("V2: the answer has no list `outputs`")
    if len(outputs) > OUTPUTS_MAX:
        raise Unreadable(f"V2: {len(outputs)} outputs, at most {OUTPUTS_MAX} are read")
    tensors: dict[str, Any] = {}
    offset = 0
    for index, output in enumerate(outputs):
        name, tensor, used = _output(output, f"outputs/{index}", body.tail[offset:] if body.tail else b"")
        if name in tensors:
            raise Unreadable(f"V2: outputs/{index} has the name of an earlier output")
        tensors[name] = tensor
        offset += used
    return tensors


def _output(output: Any, where: str, tail: bytes) -> tuple[str, dict[str, Any], int]:
    """The name of one output, its tensor, and how many bytes of the tail it took."""
    if not isinstance(output, dict) or not isinstance(output.get("name"), str):
        raise Unreadable(f"V2: {where} is no object with a name")
    datatype = output.get("datatype")
    if not isinstance(datatype, str) or datatype not in _DATATYPES:
        raise Unreadable(f"V2: {where}/datatype is none of the protocol's")
    shape = _shape(output.get("shape"), where)
    size = _binary_size(output.get("parameters"), where)
    if size is None:
        data = _flat(output.get("data"), datatype, where)
    else:
        data = _binary(tail, size, datatype, math.prod(shape), where)
    if len(data) != math.prod(shape):
        raise Unreadable(f"V2: {where} has {len(data)} values where its shape says {math.prod(shape)}")
    return output["name"], {"datatype": datatype, "shape": shape, "data": data}, size or 0


def _shape(shape: Any, where: str) -> list[int]:
    if not isinstance(shape, list) or len(shape) > 16:
        raise Unreadable(f"V2: {where}/shape is no list of at most 16 sizes")
    if any(type(size) is not int or not 0 <= size <= ELEMENTS_MAX for size in shape):
        raise Unreadable(f"V2: {where}/shape has a size that is no whole number up to {ELEMENTS_MAX}")
    if math.prod(shape) > ELEMENTS_MAX:
        raise Unreadable(f"V2: {where} has more than {ELEMENTS_MAX} values")
    return shape


def _flat(data: Any, datatype: str, where: str) -> list[Any]:
    """The values of nested or flat JSON data, row-major."""
    if not isinstance(data, list):
        raise Unreadable(f"V2: {where} has neither `data` nor `parameters.binary_data_size`")
    depth = 0
    while any(isinstance(value, list) for value in data):
        depth += 1
        if depth > 16 or not all(isinstance(value, list) for value in data):
            raise Unreadable(f"V2: {where}/data is not nested evenly")
        data = [inner for value in data for inner in value]
        if len(data) > ELEMENTS_MAX:
            raise Unreadable(f"V2: {where} has more than {ELEMENTS_MAX} values")
    return _typed(data, datatype, where)


def _typed(data: list[Any], datatype: str, where: str) -> list[Any]:
    kinds = set(map(type, data))
    if datatype in _FLOATS:
        if not kinds <= {int, float, type(None)}:
            raise Unreadable(f"V2: {where}/data is not all numbers")
        return [math.nan if value is None else value for value in data] if type(None) in kinds else data
    if not kinds <= _KINDS.get(datatype, _WHOLE):
        raise Unreadable(f"V2: {where}/data is not all {datatype}")
    return data


def _binary_size(parameters: Any, where: str) -> int | None:
    if not isinstance(parameters, dict) or "binary_data_size" not in parameters:
        return None
    size = parameters["binary_data_size"]
    if type(size) is not int or size < 0:
        raise Unreadable(f"V2: {where}/parameters/binary_data_size is no length")
    return size


def _binary(tail: bytes, size: int, datatype: str, count: int, where: str) -> list[Any]:
    if size > len(tail):
        raise Unreadable(f"V2: {where} says {size} binary bytes, {len(tail)} are left")
    raw = tail[:size]
    if datatype == "BYTES":
        return _texts(raw, where)
    if datatype == "BF16":
        return _bfloats(raw, where)
    form = struct.Struct(f"<{count}{_FORMATS[datatype]}")
    if form.size != size:
        raise Unreadable(f"V2: {where} says {size} binary bytes where its shape needs {form.size}")
    return list(form.unpack(raw))


def _bfloats(raw: bytes, where: str) -> list[Any]:
    """A bfloat16 is the upper half of a 32-bit float."""
    if len(raw) % 2:
        raise Unreadable(f"V2: {where} has half a BF16 at its end")
    return [struct.unpack("<f", b"\0\0" + raw[at : at + 2])[0] for at in range(0, len(raw), 2)]


def _texts(raw: bytes, where: str) -> list[Any]:
    found: list[Any] = []
    at = 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 4], "little")
        if at + 4 + length > len(raw):
            raise Unreadable(f"V2: {where} has a BYTES element that ends after its data")
        found.append(raw[at + 4 : at + 4 + length].decode("utf-8", "backslashreplace"))
        at += 4 + length
    return found
