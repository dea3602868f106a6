"""The comparison record: one JSON line for each kept pair, already redacted when it is built."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from headgate.wire.plan import Name, RolloutKey, Text


class _Message(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Immutable and camelCase; unknown fields are for newer readers and are passed over."""


class Side(_Message, frozen=True, kw_only=True):
    """One version's answer; `identity` is the hash of what served under that name.

    `prediction` is canonical (see the protocol adapters) and redacted; None if not stored.
    """

    version: Name
    identity: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9._-]*(?!\n)$")] = ""
    status: Annotated[int, Meta(ge=0, le=999)]
    latency_ms: Annotated[float, Meta(ge=0)]
    body_bytes: Annotated[int, Meta(ge=0)] = 0
    prediction: Any = None
    confidence: float | None = None


class ComparisonRecord(_Message, frozen=True, kw_only=True, omit_defaults=False):
    """What two versions said to the same request.

    `verdict`: `agree`, `soft` (differs inside the boundary band), `disagree`, `shadow_failed`, `live_failed`,
    `both_failed`, `undecodable` (never called equal). `measures` are the comparator's numbers by name,
    `paths` the JSON pointers that differ, `direction` a label change `from->to`, `slices` name → value.
    """

    wire: Literal[1] = 1
    at: float
    rollout: RolloutKey
    stage: Text = ""
    generation: Annotated[int, Meta(ge=0)] = 0
    request_id: Annotated[str, Meta(max_length=256)] = ""
    protocol: str = ""
    task: str = ""
    live: Side
    shadow: Side
    verdict: Literal[
        "agree", "soft", "disagree", "shadow_failed", "live_failed", "both_failed", "undecodable"
    ]
    why: Text = ""
    measures: dict[str, float] = {}
    paths: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    direction: str | None = None
    slices: dict[str, str] = {}
    request: Any = None
