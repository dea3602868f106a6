"""The RoutePlan: all that a router needs to serve a rollout, whole, with nobody else around.

A plan is applied whole or refused whole. `(epoch, generation, endpoints_revision)` names what a router runs:
`epoch` fences off ex-leaders, `generation` moves with every change that clocks and acknowledgement refer to, and
`endpoints_revision` with pods that come and go, which reset nothing.
"""

import re
from typing import Annotated, Any, Final, Literal, NamedTuple

from msgspec import Meta, Struct

SLOTS: Final = 10_000
"""How many slots the live traffic is divided into; one slot is one basis point of weight."""

# Every pattern ends in `(?!\n)$`: Python's `$` alone also matches before a line end, JSON Schema's does not.
Name = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(?!\n)$")]
RolloutKey = Annotated[str, Meta(min_length=3, max_length=127, pattern=r"^[a-z0-9.-]+/[a-z0-9.-]+(?!\n)$")]
Identity = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+(?!\n)$")]
Text = Annotated[str, Meta(max_length=1024)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Slot = Annotated[int, Meta(ge=0, le=SLOTS)]
PartsPerMillion = Annotated[int, Meta(ge=0, le=1_000_000)]
Milliseconds = Annotated[int, Meta(ge=1, le=86_400_000)]
Role = Literal["stable", "candidate", "retired"]
Pointer = Annotated[str, Meta(max_length=256, pattern=r"^(/.*)?(?!\n)$")]
HeaderName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9!#$%&'*+.^_`|~-]+(?!\n)$")]

_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_COOKIE_VALUE: Final = re.compile(r'[^;"]*')


class Applied(NamedTuple):
    """What a router runs: the triple that acknowledges a plan."""

    epoch: int
    generation: int
    endpoints_revision: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.generation}.{self.endpoints_revision}"

    @classmethod
    def parse(cls, text: str) -> "Applied":
        """The triple written as `EPOCH.GENERATION.ENDPOINTS`; ValueError for anything else."""
        parts = text.split(".")
        if len(parts) != 3 or not all(
            part.isascii() and part.isdigit() and len(part) <= 18 for part in parts
        ):
            raise ValueError(f"applied {text[:64]!r} is not EPOCH.GENERATION.ENDPOINTS, three whole numbers")
        return cls(int(parts[0]), int(parts[1]), int(parts[2]))


NOTHING_APPLIED: Final = Applied(0, 0, 0)
"""What a router that has no plan yet says it runs."""


class _Message(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """What all parts of a plan share: immutable, camelCase, and an unknown field refuses the plan."""


class Endpoint(_Message, frozen=True):
    """One ready address of a version."""

    host: Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:%-]+(?!\n)$")]
    port: Annotated[int, Meta(ge=1, le=65_535)]
    tls: bool = False


class Rewrite(_Message, frozen=True):
    """How a request changes on its way to one version: another path, and (shadows only) other body fields."""

    path: Annotated[str, Meta(max_length=2048, pattern=r"^/[!-~]*(?!\n)$")] | None = None
    body: dict[Pointer, Any] = {}


class PlanVersion(_Message, frozen=True):
    """One version a router may send requests to.

    `identity` is the hash of what serves; counters are kept by it, never by name. `attempt` counts the tries of a
    version that had failed: a guard trip binds one `(identity, attempt)` and ends with a plan that names another.
    """

    name: Name
    identity: Identity
    role: Role
    endpoints: Annotated[tuple[Endpoint, ...], Meta(max_length=1024)] = ()
    base_path: Annotated[str, Meta(max_length=1024, pattern=r"^(/[!-~]*)?(?!\n)$")] = ""
    attempt: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    rewrite: Rewrite | None = None


class SlotRange(_Message, frozen=True):
    """Slots `start <= slot < end` belong to `version`."""

    start: Slot
    end: Slot
    version: Name


class Shadow(_Message, frozen=True):
    """A version that answers copies of `sample` requests per million; what it says is compared, never served."""

    version: Name
    sample: PartsPerMillion
    timeout_ms: Milliseconds = 10_000
    concurrency_max: Annotated[int, Meta(ge=1, le=4096)] = 64


class IdentityKey(_Message, frozen=True):
    """Where the key that makes a user sticky is found, first match wins: `header:x-user-id`, `cookie:sid`, `query:user`."""

    sources: Annotated[
        tuple[
            Annotated[str, Meta(max_length=80, pattern=r"^(header|cookie|query):[A-Za-z0-9._-]+(?!\n)$")], ...
        ],
        Meta(max_length=8),
    ] = ()


class Overrides(_Message, frozen=True):
    """A header by which testers reach a version directly, and the versions it may name."""

    header: HeaderName
    allow: Annotated[tuple[Name, ...], Meta(max_length=16)]


class Condition(_Message, frozen=True):
    """One thing that must be true of a request: the header or cookie is there, and is or begins with a text.

    `source` is `header:NAME` (in any case) or `cookie:NAME`. With neither `exact` nor `prefix` it only must be there,
    be it empty. Of a header that comes several times, any of its lines, each taken whole, may be the one; of a
    cookie, the first of that name.
    """

    source: Annotated[str, Meta(max_length=80, pattern=r"^(header|cookie):[A-Za-z0-9._-]+(?!\n)$")]
    exact: Annotated[str, Meta(max_length=1024)] | None = None
    prefix: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None


class Match(_Message, frozen=True):
    """Requests for which all `conditions` hold are split by these `slots` in place of the plan's.

    `slots` covers 0 … 10,000 as the plan's do. Where it leaves stable a share, the split is random among the
    matching, so the versions can be compared in it; matched requests are counted apart from the others either way.
    """

    conditions: Annotated[tuple[Condition, ...], Meta(min_length=1, max_length=8)]
    slots: Annotated[tuple[SlotRange, ...], Meta(min_length=1, max_length=256)]

    def weights(self) -> dict[str, int]:
        """The share in basis points, among the matching requests, of each version that has one."""
        return _widths(self.slots)


class Guard(_Message, frozen=True):
    """When a router takes the candidate's share away by itself.

    Within `window_ms`: at least `at_least` failures, more than `error_ratio` of the candidate's requests failed, and
    more than `times` the stable's ratio. Where stable has no traffic: more than `alone_error_ratio`, `at_least`
    failures, and a stable that has an endpoint to go back to.
    """

    error_ratio: Annotated[float, Meta(gt=0, lt=1)] = 0.2
    times: Annotated[float, Meta(ge=1, le=1000)] = 10.0
    at_least: Annotated[int, Meta(ge=1, le=1_000_000)] = 20
    window_ms: Milliseconds = 10_000
    alone_error_ratio: Annotated[float, Meta(gt=0, lt=1)] = 0.5


class Limits(_Message, frozen=True):
    """Deadlines and bounds of the live path."""

    header_timeout_ms: Milliseconds = 10_000
    connect_timeout_ms: Milliseconds = 1_000
    first_byte_timeout_ms: Milliseconds = 30_000
    body_idle_timeout_ms: Milliseconds = 30_000
    request_timeout_ms: Milliseconds = 60_000
    client_idle_timeout_ms: Milliseconds = 75_000
    drain_ms: Milliseconds = 30_000
    header_bytes_max: Annotated[int, Meta(ge=1024, le=1_048_576)] = 65_536
    connections_per_endpoint_max: Annotated[int, Meta(ge=1, le=65_536)] = 512
    requests_per_version_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    slow_start_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 10_000


class RedactRule(_Message, frozen=True):
    """What happens to one field before anything is stored or sent."""

    path: Pointer
    how: Literal["drop", "hash", "mask", "bucket"]


class Capture(_Message, frozen=True):
    """What the observer keeps: which pairs, how much of them, and what is redacted first."""

    store: Literal["none", "redacted", "full"] = "none"
    keep_disagreements: PartsPerMillion = 1_000_000
    keep_agreements: PartsPerMillion = 10_000
    redact: Annotated[tuple[RedactRule, ...], Meta(max_length=64)] = ()
    body_bytes_max: Annotated[int, Meta(ge=0, le=67_108_864)] = 8_388_608
    records_bytes_max: Annotated[int, Meta(ge=65_536, le=2**40)] = 268_435_456


class Comparison(_Message, frozen=True):
    """How two answers are compared.

    `label` and `scores` are JSON pointers into the canonical prediction or, for Open Inference V2, names of output
    tensors. `boundary` is the band of confidence in which (and below which) a changed label is a soft disagreement. `ignore` names
    paths that differ by design.
    """

    protocol: Literal["auto", "v2", "v1", "json"] = "auto"
    task: Literal["classification", "regression", "json"] = "json"
    label: Annotated[str, Meta(max_length=256)] = ""
    scores: Annotated[str, Meta(max_length=256)] = ""
    relative_tolerance: Annotated[float, Meta(ge=0, le=1e6)] = 1e-5
    absolute_tolerance: Annotated[float, Meta(ge=0, le=1e12)] = 1e-8
    relative_delta_max: Annotated[float, Meta(ge=0, le=1e6)] = 0.05
    boundary: tuple[float, float] = (0.51, 0.71)
    ignore: Annotated[tuple[Pointer, ...], Meta(max_length=64)] = ()


class RoutePlan(_Message, frozen=True, kw_only=True, omit_defaults=False):
    """What one router shall do for one rollout.

    `slots` covers 0 … 10,000 without gap or overlap, in order. `salt` keys the identity hash and changes only while
    no candidate has weight. `because` is the reason of the last decrease, so that a new leader can adopt it.
    `counted_paths` are globs (`*` matches anything but `?`) of the inference paths: only those count towards a
    version's errors and are copied to shadows; empty means every path.
    """

    wire: Literal[1] = 1
    rollout: RolloutKey
    epoch: Count
    generation: Count
    endpoints_revision: Count = 0
    because: Text = ""
    stage: Text = ""
    salt: Annotated[str, Meta(min_length=1, max_length=64)]
    stable: Name
    versions: Annotated[tuple[PlanVersion, ...], Meta(min_length=1, max_length=16)]
    slots: Annotated[tuple[SlotRange, ...], Meta(min_length=1, max_length=256)]
    shadows: Annotated[tuple[Shadow, ...], Meta(max_length=4)] = ()
    identity: IdentityKey = IdentityKey()
    overrides: Overrides | None = None
    match: Match | None = None
    guard: Guard | None = Guard()
    limits: Limits = Limits()
    capture: Capture = Capture()
    comparison: Comparison = Comparison()
    counted_paths: Annotated[
        tuple[Annotated[str, Meta(max_length=256, pattern=r"^/[!-~]*(?!\n)$")], ...], Meta(max_length=32)
    ] = ()

    @property
    def triple(self) -> Applied:
        """What a router says it runs once it runs this plan."""
        return Applied(self.epoch, self.generation, self.endpoints_revision)

    def version(self, name: str) -> PlanVersion | None:
        """The version of that name, or None."""
        return next((version for version in self.versions if version.name == name), None)

    def weights(self) -> dict[str, int]:
        """Each version's live share in basis points; versions without a slot have 0."""
        return {version.name: 0 for version in self.versions} | _widths(self.slots)


def faults(plan: RoutePlan) -> tuple[str, ...]:
    """What is wrong with a well-typed plan, each fault one sentence naming its field; empty for a sound plan."""
    names = [version.name for version in plan.versions]
    found = [
        f"versions: {name} is there more than once"
        for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if plan.stable not in names:
        found.append(f"stable: {plan.stable} is not among versions")
    for index, shadow in enumerate(plan.shadows):
        if shadow.version not in names:
            found.append(f"shadows[{index}].version: {shadow.version} is not among versions")
    if plan.overrides is not None:
        found += [
            f"overrides.allow: {name} is not among versions"
            for name in plan.overrides.allow
            if name not in names
        ]
    known = set(names)
    matched = _match_faults(plan.match, known) if plan.match is not None else ()
    return (*found, *_comparison_faults(plan), *_slot_faults("slots", plan.slots, known), *matched)


def _comparison_faults(plan: RoutePlan) -> tuple[str, ...]:
    shadows = [shadow.version for shadow in plan.shadows]
    found = [
        f"shadows: {name} is there more than once"
        for name in sorted({n for n in shadows if shadows.count(n) > 1})
    ]
    low, high = plan.comparison.boundary
    if not 0 <= low <= high <= 1:
        found.append(f"comparison.boundary: {low:g} … {high:g} is no band between 0 and 1")
    return tuple(found)


def _match_faults(match: Match, names: set[str]) -> tuple[str, ...]:
    conditions = (
        fault
        for index, condition in enumerate(match.conditions)
        for fault in _condition_faults(f"match.conditions[{index}]", condition)
    )
    return (*conditions, *_slot_faults("match.slots", match.slots, names))


def _condition_faults(path: str, condition: Condition) -> tuple[str, ...]:
    """A condition that says two things, or that no request there is can fulfil."""
    if condition.exact is not None and condition.prefix is not None:
        return (f"{path}: exact and prefix are both given, a condition has one of them",)
    field, text = ("exact", condition.exact) if condition.exact is not None else ("prefix", condition.prefix)
    if text is None:
        return ()
    found: list[str] = []
    if text != (text.strip(" \t") if field == "exact" else text.lstrip(" \t")):
        found.append(f"{path}.{field}: {text[:64]!r} begins or ends with a blank, which no value does")
    if not _VALUE.fullmatch(text):
        found.append(f"{path}.{field}: {text[:64]!r} has control characters, which no value has")
    if condition.source.startswith("cookie:") and not _COOKIE_VALUE.fullmatch(text):
        found.append(f"{path}.{field}: {text[:64]!r} has a quote or semicolon, which no cookie has")
    return tuple(found)


def _widths(slots: tuple[SlotRange, ...]) -> dict[str, int]:
    """How many slots each owner has."""
    total: dict[str, int] = {}
    for owned in slots:
        total[owned.version] = total.get(owned.version, 0) + owned.end - owned.start
    return total


def _slot_faults(path: str, slots: tuple[SlotRange, ...], names: set[str]) -> tuple[str, ...]:
    found: list[str] = []
    reached = 0
    for index, owned in enumerate(slots):
        if owned.version not in names:
            found.append(f"{path}[{index}].version: {owned.version} is not among versions")
        if owned.start != reached:
            found.append(f"{path}[{index}].start: {owned.start} where {reached} must follow")
        if owned.end <= owned.start:
            found.append(f"{path}[{index}].end: {owned.end} is not after start {owned.start}")
        reached = owned.end
    if reached != SLOTS:
        found.append(f"{path}: they end at {reached} instead of {SLOTS}")
    return tuple(found)
