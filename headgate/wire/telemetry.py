"""Telemetry: what a router counted, sent each second; cumulative, so that a lost report loses nothing.

All counters grow from `started_at` of one `boot` (one life of the router's supervisor) and never go back within
it, also when workers restart. Who reads them takes differences per `(router, boot)`.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from headgate.wire.plan import Count, Identity, Name, RolloutKey, Text

RouterId = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:-]+(?!\n)$")]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
Histogram = Annotated[tuple[Count, ...], Meta(max_length=512)]
Triple = Annotated[str, Meta(max_length=64, pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(?!\n)$")]

IN_FLIGHT_AGES_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Lower bounds of `in_flight_ages`: how many requests are in flight for at least that long."""

DROP_REASONS: Final = (
    "sampled_out",
    "queue_full",
    "body_too_large",
    "timeout",
    "shadow_error",
    "undecodable",
    "client_cancelled",
    "method_not_safe",
    "redaction_failed",
    "live_error",
    "record_log_full",
)
"""Why a copy was not compared, or a record not kept; the keys of `ShadowCounters.dropped`."""


class _Message(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What all parts share: immutable and camelCase; unknown fields are for newer readers and are passed over."""


class Outcomes(_Message, frozen=True):
    """Requests of one version by how they ended, and how long the answered ones took.

    `requests` counts ended requests on the counted paths; `failed` those among them that are an error of the
    version: 5xx, no connection, a broken one, or a time-out (also when another version then saved the request).
    `client_closed` (499) and `status_4xx` are counted apart and never failures. `latency` counts by the buckets of
    `headgate.histogram`, from the request's first byte to the answer's last, of requests that were answered.
    """

    requests: Count = 0
    failed: Count = 0
    status_2xx: Count = 0
    status_3xx: Count = 0
    status_4xx: Count = 0
    status_5xx: Count = 0
    no_connection: Count = 0
    broken: Count = 0
    timeout: Count = 0
    client_closed: Count = 0
    latency: Histogram = ()


class VersionCounters(_Message, frozen=True, kw_only=True):
    """What one router counted for one version.

    `picked` holds the requests that the split chose for it; `matched` those that the split among the matching
    requests chose (see `plan.Match`); `selected` those that came by override (the self-selected, kept out of every
    comparison); `half` the part of `picked` whose hash fell into the first half,
    from which over-dispersion is estimated.
    """

    version: Name
    identity: Identity
    attempt: Annotated[int, Meta(ge=1)] = 1
    picked: Outcomes = Outcomes()
    matched: Outcomes = Outcomes()
    selected: Outcomes = Outcomes()
    half: Outcomes = Outcomes()
    other: Count = 0
    saved_by_stable: Count = 0
    retries: Count = 0
    ejections: Count = 0
    bytes_in: Count = 0
    bytes_out: Count = 0
    in_flight: Count = 0
    in_flight_ages: Annotated[tuple[Count, ...], Meta(max_length=16)] = ()


class SliceCounters(_Message, frozen=True):
    """Compared pairs of one slice, and those that disagreed."""

    pairs: Count = 0
    disagreements: Count = 0


class ShadowCounters(_Message, frozen=True, kw_only=True):
    """What the observer counted for one shadow against one live version.

    `pairs` were compared; `disagreements` differ beyond the comparison's bound, `soft` of them only inside the
    boundary band. A copy is compared or dropped for one reason; a failed side is in the error table as well:
    observed copies = `pairs` + their `dropped`, without `sampled_out`, `record_log_full` and `redaction_failed`,
    which cost no comparison. The error table: `shadow_failed` means the shadow alone failed, `live_failed` the live one alone.
    `self_pairs` and `self_disagreements` come from replays to the live version itself (the noise floor).
    """

    shadow: Name
    shadow_identity: Identity
    live: Name
    live_identity: Identity
    offered: Count = 0
    pairs: Count = 0
    disagreements: Count = 0
    soft: Count = 0
    both_failed: Count = 0
    shadow_failed: Count = 0
    live_failed: Count = 0
    self_pairs: Count = 0
    self_disagreements: Count = 0
    dropped: dict[str, Count] = {}
    slices: Annotated[dict[str, SliceCounters], Meta(max_length=256)] = {}
    directions: Annotated[dict[str, Count], Meta(max_length=1024)] = {}
    live_latency: Histogram = ()
    shadow_latency: Histogram = ()


class GuardTrip(_Message, frozen=True, kw_only=True):
    """The router took this version's share away by itself."""

    version: Name
    identity: Identity
    attempt: Annotated[int, Meta(ge=1)]
    at: Seconds
    failed: Count
    requests: Count
    stable_failed: Count
    stable_requests: Count


class Worker(_Message, frozen=True, kw_only=True):
    """One live worker and what it runs."""

    index: Annotated[int, Meta(ge=0, le=255)]
    pid: Count
    started_at: Seconds
    applied: Triple


class Telemetry(_Message, frozen=True, kw_only=True, omit_defaults=False):
    """One router's report for one rollout; `at` and `started_at` are Unix seconds on the router's clock."""

    wire: Literal[1] = 1
    rollout: RolloutKey
    router: RouterId
    boot: Annotated[str, Meta(min_length=1, max_length=64)]
    started_at: Seconds
    at: Seconds
    applied: Triple
    error: Text = ""
    pinned: Name | None = None
    versions: Annotated[tuple[VersionCounters, ...], Meta(max_length=64)] = ()
    shadows: Annotated[tuple[ShadowCounters, ...], Meta(max_length=16)] = ()
    trips: Annotated[tuple[GuardTrip, ...], Meta(max_length=64)] = ()
    workers: Annotated[tuple[Worker, ...], Meta(max_length=256)] = ()
