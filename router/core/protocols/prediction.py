"""The two things an answer can turn out to be."""

from dataclasses import dataclass
from typing import Any, Literal

Protocol = Literal["v2", "v1", "json"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model said, in one shape for each protocol.

    `value` is plain JSON data (floats may be NaN or infinite). `v2`: output name → `{"datatype", "shape", "data"}`
    with `data` flat in row-major order. `v1`: `{"predictions": …}`. `json`: the document without what differs by
    design.
    """

    protocol: Protocol
    value: Any


@dataclass(frozen=True, slots=True)
class Undecodable:
    """An answer that could not be read. `why` is one sentence and quotes nothing of the payload."""

    why: str
