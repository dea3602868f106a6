"""Plain JSON: the document itself, without what differs by design from one answer to the next."""

import re
from typing import Any, Final

from router.core.protocols.body import Body

BY_DESIGN: Final = frozenset(
    {"created", "created_at", "model_name", "model_version", "request_id", "requestId", "system_fingerprint"}
)
"""Top-level fields that name the exchange or the server and say nothing about the input."""

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")


def canonical(body: Body) -> Any:
    """The document without `BY_DESIGN`, and without a top-level `id` if that is a UUID.

    Any other `id` stays: it may be what the model recommends.
    """
    said = body.document
    if not isinstance(said, dict):
        return said
    return {
        name: value for name, value in said.items() if name not in BY_DESIGN and not _made_up(name, value)
    }


def _made_up(name: str, value: Any) -> bool:
    return name == "id" and isinstance(value, str) and _UUID.search(value) is not None
