"""KServe V1 and TF-Serving's row format: `{"predictions": …}`."""

from typing import Any

from router.core.protocols.body import Body, Unreadable


def looks_like(value: Any) -> bool:
    """Whether a document has the shape of a V1 answer."""
    return isinstance(value, dict) and isinstance(value.get("predictions"), list)


def canonical(body: Body) -> Any:
    """`{"predictions": …}` and nothing else. Unreadable without such a field."""
    if not isinstance(body.document, dict) or "predictions" not in body.document:
        raise Unreadable("V1: the answer has no field `predictions`")
    return {"predictions": body.document["predictions"]}
