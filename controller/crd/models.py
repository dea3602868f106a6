"""What users write, field by field: every field typed, bounded, and nothing unknown let through.

Names are camelCase in YAML and snake_case here. Values are already read into numbers (seconds, fractions, basis
points; see `quantities`). What spans several fields is not here but in `rules`. `planned` on a model names fields
of the design that this version does not have yet, so that the refusal can say so instead of guessing a typo.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from controller.core.hooks import NEWS, kebab
from controller.crd.quantities import BasisPoints, Duration, Milliseconds, Percent, PerMillion, Points, Size
from controller.crd.times import Cron, Minutes, Moment, Zone

API_VERSION: Final = "headgate.dev/v1alpha1"
KIND: Final = "ModelRollout"
BASE_DIR: Final = "headgate.dev/base-dir"
"""Annotation: the absolute folder that the relative paths of `process:` versions start from; local mode sets it to
the spec file's own folder."""


class Model(BaseModel):
    """What all parts share: strict types, immutable, camelCase, unknown fields refused; a null is an absent field."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, alias_generator=to_camel, allow_inf_nan=False
    )
    planned: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            return {name: value for name, value in data.items() if value is not None}
        return data


def _matches(pattern: str, sentence: str) -> AfterValidator:
    """A string of this pattern, or a refusal that says in words what would be right."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise PydanticCustomError(
                "pattern", "{shown} {sentence}", {"shown": repr(text)[:80], "sentence": sentence}
            )
        return text

    return AfterValidator(check)


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise PydanticCustomError(
            "url", "{shown} is not a URL: {why}", {"shown": repr(text)[:80], "why": str(error)}
        ) from None
    sound = parts.scheme in ("http", "https") and parts.hostname and port != 0
    if (
        not sound
        or parts.username is not None
        or parts.query
        or parts.fragment
        or not text.isprintable()
        or " " in text
    ):
        raise PydanticCustomError(
            "url",
            "{shown} is not a model's address: write http:// or https://, host, port and path, without user, query or fragment",
            {"shown": repr(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())[:80]},
        )
    return text


def _happening(text: str) -> str:
    known = [kebab(reason) for reason in NEWS]
    if text not in known:
        raise PydanticCustomError(
            "choice", "{shown} is none of {known}", {"shown": repr(text)[:80], "known": ", ".join(known)}
        )
    return text


_LABEL: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
Name = Annotated[
    str, _matches(_LABEL, "is not a name: lower-case letters, digits and -, at most 63, such as v8")
]
Path = Annotated[
    str, Field(max_length=1024), _matches(r"/[!-~]*", "is not a path: start it with /, without spaces")
]
PathGlob = Annotated[
    str,
    Field(max_length=256),
    _matches(r"/[!-~]*", "is not a path: start it with /, such as /v2/models/*/infer"),
]
Pointer = Annotated[
    str,
    Field(max_length=256),
    _matches(r"(/.*)?", "is not a JSON pointer: start it with /, such as /outputs/0"),
]
HeaderName = Annotated[
    str,
    _matches(
        r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", "is not the name of an HTTP header, such as x-headgate-version"
    ),
]
KeySource = Annotated[
    str,
    _matches(
        r"(header|cookie|query):[A-Za-z0-9._-]{1,64}",
        "is not a place for a key: write header:NAME, cookie:NAME or query:NAME",
    ),
]
CheckName = Name
CheckNames = Annotated[list[CheckName], Field(max_length=32)]
Text = Annotated[str, Field(max_length=4096)]


# Versions: what serves


class HttpGet(Model):
    """A request that a ready model server answers with 2xx or 3xx."""

    path: Path
    host: (
        Annotated[str, _matches(r"[A-Za-z0-9.:\[\]_-]{1,253}", "is not a value of the Host header")] | None
    ) = None


class Readiness(Model):
    """When a version may get traffic: `httpGet` every `period`; after `failures` in a row it is unready again."""

    http_get: HttpGet
    period: Annotated[float, Duration("100ms", "5m")] = 1.0
    timeout: Annotated[float, Duration("50ms", "1m")] = 1.0
    failures: Annotated[int, Field(ge=1, le=100)] = 3


class Process(Model):
    """A model server that local mode starts; `{port}` and `{python}` in `command` and `env` are filled in."""

    command: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(min_length=1, max_length=128)]
    env: Annotated[
        dict[
            Annotated[str, _matches(r"[A-Za-z_][A-Za-z0-9_]{0,127}", "is not the name of a variable")], Text
        ],
        Field(max_length=64),
    ] = {}
    readiness: Readiness
    stop_grace: Annotated[float, Duration("0s", "10m")] = 10.0


class Rewrite(Model):
    """How a request changes on its way to this version: another path, and (copies only) other body fields."""

    path: Path | None = None
    body: Annotated[dict[Pointer, JsonValue], Field(max_length=32)] = {}


class Version(Model):
    """One version by name: a `process` to start or a `url` that is there."""

    planned: ClassVar[Mapping[str, str]] = {
        "service": "a Kubernetes Service needs the Kubernetes controller",
        "deployment": "a Deployment needs the Kubernetes controller",
        "auth": "credentials for a version come with TLS to upstreams",
    }
    name: Name
    url: Annotated[str, Field(max_length=1024), AfterValidator(_url)] | None = None
    process: Process | None = None
    readiness: Readiness | None = None
    digest: (
        Annotated[str, _matches(r"sha256:[0-9a-f]{64}", "is not a digest: write sha256: and 64 hex digits")]
        | None
    ) = None
    rewrite: Rewrite | None = None


# Stages: how traffic moves

AdvanceName = Literal["unlessFail", "onPass"]
Weight = Annotated[int, BasisPoints("0.01%", "100%")]
Sample = Annotated[int, PerMillion("0%", "100%")]
StageTime = Annotated[float, Duration("0s", "30d")]
MaxStay = Annotated[float, Duration("1s", "90d")]


class Shadow(Model):
    """The candidate answers copies; users see stable only."""

    planned: ClassVar[Mapping[str, str]] = {
        "to": "several shadows at once are not there yet",
        "selfCheck": "the noise floor by self-replay is not there yet",
        "source": "shadowing a person is not there yet",
    }
    sample: Sample = 1_000_000
    duration: StageTime = 0.0
    min_pairs: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    checks: CheckNames | None = None
    advance: AdvanceName = "onPass"
    max_stay: MaxStay | None = None


class Step(Model):
    """One weight of a canary, with its own time."""

    weight: Weight
    every: Annotated[float, Duration("0s", "30d")] = 60.0


class Canary(Model):
    """The candidate gets rising shares of the live traffic: `weights` with one time, `steps` with their own, or `ramp: auto`.

    `riskBudget` of the automatic ramp: how many of all requests a step may cost, at worst.
    """

    weights: Annotated[list[Weight], Field(min_length=1, max_length=64)] | None = None
    steps: Annotated[list[Step], Field(min_length=1, max_length=64)] | None = None
    every: Annotated[float, Duration("0s", "30d")] | None = None
    checks: CheckNames | None = None
    advance: AdvanceName | None = None
    max_stay: MaxStay | None = None
    ramp: Literal["auto"] | None = None
    risk_budget: Annotated[float, Percent("0.0001%", "10%")] | None = None


class Approval(Model):
    """`quorum` different people must approve, each with one of `roles` if any are named; robots cannot."""

    roles: Annotated[list[Name], Field(min_length=1, max_length=16)] | None = None
    quorum: Annotated[int, Field(ge=1, le=16)] = 1
    expires: Annotated[float, Duration("1s", "90d")] | None = None
    on_expire: Literal["abort", "hold"] | None = None


class PauseStage(Model):
    """Wait for `duration`, or for a person."""

    duration: Annotated[float, Duration("0s", "90d")] | None = None


class Gate(Model):
    """The checks on one side of a flip."""

    checks: CheckNames | None = None


class Flip(Model):
    """Blue-green: one write moves everything, after `before` and watched by `after`."""

    preview: Sample = 0
    before: Gate = Gate()
    bake: StageTime = 0.0
    after: Gate = Gate()
    max_stay: MaxStay | None = None


class Full(Model):
    """All traffic, watched for `bake`; then the candidate is the new stable."""

    bake: StageTime = 0.0
    checks: CheckNames | None = None
    max_stay: MaxStay | None = None


class Stage(Model):
    """One stage: exactly one of these. `- full:` with nothing behind it is a stage with its defaults."""

    planned: ClassVar[Mapping[str, str]] = {
        "match": "A/B by request is not there yet",
        "assist": "assistance is not there yet",
        "partial": "partial automation is not there yet",
    }
    shadow: Shadow | None = None
    canary: Canary | None = None
    approval: Approval | None = None
    pause: PauseStage | None = None
    flip: Flip | None = None
    full: Full | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            return {name: {} if value is None else value for name, value in data.items()}
        return data


class Strategy(Model):
    """Exactly one of three short forms, or the stages they stand for."""

    canary: Canary | None = None
    blue_green: Flip | None = None
    shadow: Shadow | None = None
    stages: Annotated[list[Stage], Field(min_length=1, max_length=32)] | None = None


# What a request is, and how answers are compared


class Identity(Model):
    """Where the key that makes a user sticky is found."""

    key: KeySource
    fallback: Annotated[list[KeySource], Field(max_length=7)] = []


class Overrides(Model):
    """A header by which testers reach a version directly; `allow` defaults to every version."""

    header: HeaderName
    allow: Annotated[list[Name], Field(max_length=16)] | None = None


class Task(Model):
    """What the model answers, so that answers can be compared."""

    type: Literal["classification", "regression", "json"] = "json"
    label: Annotated[str, Field(max_length=256)] = ""
    scores: Annotated[str, Field(max_length=256)] = ""


class Tolerance(Model):
    """Numbers closer than this are equal; `fields` names paths that differ by design."""

    rel: Annotated[float, Field(ge=0, le=1e6)] = 1e-5
    abs: Annotated[float, Field(ge=0, le=1e12)] = 1e-8
    fields: Annotated[dict[Pointer, Literal["ignore"]], Field(max_length=64)] = {}


Confidence = Annotated[float, Field(ge=0, le=1)]


class Bands(Model):
    """The confidences between which a changed label is a soft disagreement."""

    boundary: Annotated[list[Confidence], Field(min_length=2, max_length=2)] = [0.51, 0.71]


class Compare(Model):
    """When two answers disagree. `maxRelativeDelta` is for regression."""

    planned: ClassVar[Mapping[str, str]] = {
        "topK": "ranking is not there yet",
        "costly": "costly directions are not there yet",
    }
    tolerance: Tolerance = Tolerance()
    bands: Bands = Bands()
    max_relative_delta: Annotated[float, Percent("0%", "100000%")] = 0.05


class Keep(Model):
    """Which share of the pairs is kept as records."""

    disagreements: Sample = 1_000_000
    agreements: Sample = 10_000


class Redaction(Model):
    """What happens to one field before anything is stored."""

    path: Pointer
    how: Literal["drop", "hash", "mask", "bucket"]


class Capture(Model):
    """What of the compared pairs is kept, and how much."""

    planned: ClassVar[Mapping[str, str]] = {
        "retention": "records are bounded by maxRecordsBytes, not yet by age"
    }
    store: Literal["none", "redacted", "full"] = "none"
    keep: Keep = Keep()
    redact: Annotated[list[Redaction], Field(max_length=64)] = []
    max_body_bytes: Annotated[int, Size("0", "64Mi")] = 8 * 2**20
    max_records_bytes: Annotated[int, Size("64Ki", "1Ti")] = 256 * 2**20


# Evidence


class Prometheus(Model):
    """Two cumulative counters of one version, as PromQL with `{{version}}` in it."""

    planned: ClassVar[Mapping[str, str]] = {"value": "gauges are not there yet; write events and total"}
    provider: Name
    events: Annotated[str, Field(min_length=1, max_length=4096)]
    total: Annotated[str, Field(min_length=1, max_length=4096)]


class NoWorseThan(Model):
    """What is tolerated against stable: `ratio` and `plus` for shares, `slower` for latency."""

    planned: ClassVar[Mapping[str, str]] = {"minus": "measures where more is better are not there yet"}
    ratio: Annotated[float, Field(ge=1, le=1000)] | None = None
    plus: Annotated[float, Points("0pp", "100pp")] | None = None
    slower: Annotated[float, Percent("0.1%", "10000%")] | None = None


class Check(Model):
    """One question the evidence must answer."""

    planned: ClassVar[Mapping[str, str]] = {
        "excessOverNoise": "the noise floor is not there yet; widen max",
        "onFail": "a check that only holds is not there yet; use required: false",
        "labels": "outcomes are not there yet",
        "failures": "N-of-M is not there yet; use max",
        "job": "jobs are not there yet",
        "webhook": "webhooks are not there yet",
        "slices": "slices are not there yet",
        "watch": "write required: false for a check that only watches",
    }
    name: CheckName
    metric: Literal["requests.errors", "requests.latency", "shadow.disagreement"] | None = None
    prometheus: Prometheus | None = None
    no_worse_than: NoWorseThan | None = None
    max: Annotated[float, Percent("0.0001%", "100%")] | None = None
    quantile: (
        Annotated[str, _matches(r"p[0-9]{1,2}(\.[0-9]{1,3})?", "is not a quantile: write p50, p99 or p99.9")]
        | None
    ) = None
    min_requests: Annotated[int, Field(ge=1, le=100_000_000)] = 50
    weight: Annotated[float, Field(ge=0.001, le=1000)] = 1.0
    required: bool = True
    dry_run: bool = False
    per_slice: bool = False


class Guard(Model):
    """When a router takes the candidate's share away by itself."""

    errors: Annotated[float, Percent("0.1%", "99%")] = 0.2
    times: Annotated[float, Field(ge=1, le=1000)] = 10.0
    at_least: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    window: Annotated[int, Milliseconds("1s", "10m")] = 10_000
    alone_errors: Annotated[float, Percent("0.1%", "99%")] = 0.5


def _guard(value: Any) -> Any:
    """`off` is no guard; YAML 1.1 readers make it False."""
    return None if value == "off" or value is False else value


class Decision(Model):
    """Permissions the user writes down. `guard: off` leaves the routers without one."""

    alpha: Annotated[float, Percent("0.0001%", "20%")] = 0.01
    on_inconclusive: Literal["hold", "rollback", "promote"] = "hold"
    on_no_data: Literal["hold", "rollback"] = "hold"
    no_data_timeout: Annotated[float, Duration("1s", "30d")] = 3600.0
    max_duration: Annotated[float, Duration("1s", "90d")] = 86_400.0
    world_drift: Literal["pause", "hold"] = "pause"
    guard: Annotated[Guard | None, BeforeValidator(_guard)] = Guard()


class Capacity(Model):
    """How versions come and go."""

    planned: ClassVar[Mapping[str, str]] = {
        "maxSurge": "replicas need the Kubernetes controller",
        "scaleWithWeight": "replicas need the Kubernetes controller",
        "minReplicas": "replicas need the Kubernetes controller",
    }
    drain: Annotated[float, Duration("0s", "1d")] = 60.0
    keep_stable_warm: Annotated[float, Duration("0s", "30d")] = 86_400.0
    progress_deadline: Annotated[float, Duration("1s", "1d")] = 600.0


class Limits(Model):
    """Deadlines and bounds of the live path."""

    header_timeout: Annotated[int, Milliseconds("1ms", "1h")] = 10_000
    connect_timeout: Annotated[int, Milliseconds("1ms", "1h")] = 1_000
    first_byte_timeout: Annotated[int, Milliseconds("1ms", "1d")] = 30_000
    body_idle_timeout: Annotated[int, Milliseconds("1ms", "1d")] = 30_000
    request_timeout: Annotated[int, Milliseconds("1ms", "1d")] = 60_000
    client_idle_timeout: Annotated[int, Milliseconds("1ms", "1d")] = 75_000
    drain: Annotated[int, Milliseconds("1ms", "1d")] = 30_000
    max_header_bytes: Annotated[int, Size("1Ki", "1Mi")] = 65_536
    max_connections_per_endpoint: Annotated[int, Field(ge=1, le=65_536)] = 512


# The object


class RollbackWindow(Model):
    """Going back to one of the last `versions` that were stable, `within` this time, skips every stage."""

    versions: Annotated[int, Field(ge=0, le=8)] = 3
    within: Annotated[float, Duration("0s", "90d")] = 604_800.0


class Window(Model):
    """When the robot may raise shares and promote: from each time that `cron` names in `tz`, `for` that long."""

    cron: Cron
    for_: Annotated[float, Minutes("1m", "31d"), Field(alias="for")]
    tz: Zone = "UTC"


class Freeze(Model):
    """When it may not, whatever the windows say: `from` one moment `until` another, or `cron` and `for`."""

    from_: Annotated[Moment | None, Field(alias="from")] = None
    until: Moment | None = None
    cron: Cron | None = None
    for_: Annotated[Annotated[float, Minutes("1m", "31d")] | None, Field(alias="for")] = None
    tz: Zone = "UTC"
    reason: Annotated[str, Field(max_length=256)] = ""


class Schedule(Model):
    """When the robot may go forward, and what a new target does to a trial under way. A person may always."""

    windows: Annotated[list[Window], Field(max_length=16)] = []
    freeze: Annotated[list[Freeze], Field(max_length=64)] = []
    supersede: Literal["replace", "finish", "queue"] = "replace"


class WarmRequest(Model):
    """A POST of `body` (JSON) to `path`, as a client would send it to the router."""

    path: Path
    body: JsonValue
    headers: Annotated[
        dict[
            HeaderName,
            Annotated[
                str,
                Field(max_length=1024),
                _matches(r"[ -~]*", "is not the value of an HTTP header: printable ASCII"),
            ],
        ],
        Field(max_length=16),
    ] = {}


class WarmRequests(Model):
    """What is sent: the `inline` ones in turn, or the newest `count` recorded ones, to `path`; at least `count` in all."""

    planned: ClassVar[Mapping[str, str]] = {
        "configMap": "requests from a ConfigMap need the Kubernetes controller; write from: inline"
    }
    from_: Annotated[Literal["inline", "recorded"], Field(alias="from")]
    inline: Annotated[list[WarmRequest], Field(min_length=1, max_length=64)] | None = None
    path: Path | None = None
    count: Annotated[int, Field(ge=1, le=10_000)] = 200
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4


class WarmUntil(Model):
    """When a version is warm: for `stableFor` its p95 was at most `p95`; without that, did not change."""

    p95: Annotated[float, Duration("1ms", "1m")] | None = None
    stable_for: Annotated[float, Duration("1s", "1h")] = 30.0


class Warmup(Model):
    """A new version gets traffic, copies included, once it was measured warm, or `maxWait` is over."""

    requests: WarmRequests
    until: WarmUntil = WarmUntil()
    max_wait: Annotated[float, Duration("1s", "1d")] = 1200.0


HookUrl = Annotated[
    str,
    Field(max_length=2048),
    _matches(
        r"https?://[A-Za-z0-9.\[\]:-]{1,253}(/[!-\"$-~]*)?",
        "is not a hook's URL: write https://, host and path, without user, fragment and blanks",
    ),
]


class Hook(Model):
    """A POST to `url` before or after something; what comes before waits for its 2xx, `onFail` says what a no does."""

    planned: ClassVar[Mapping[str, str]] = {"job": "jobs need the Kubernetes controller; write url"}
    name: Name
    at: Literal[
        "before-start",
        "before-traffic",
        "before-increase",
        "before-promotion",
        "after-promotion",
        "after-rollback",
    ]
    url: HookUrl
    timeout: Annotated[float, Duration("100ms", "5m")] = 10.0
    retries: Annotated[int, Field(ge=0, le=20)] = 3
    on_fail: Literal["hold", "rollback"] | None = None


Happening = Annotated[str, AfterValidator(_happening)]


class Notification(Model):
    """Tell the administrator's sink `to` of what is in `on`."""

    on: Annotated[list[Happening], Field(min_length=1, max_length=32)]
    to: Name


class RolloutSpec(Model):
    """Everything the user asks for."""

    planned: ClassVar[Mapping[str, str]] = {
        "replicas": "managed pods need the Kubernetes controller; write versions",
        "port": "managed pods need the Kubernetes controller; write versions",
        "template": "managed pods need the Kubernetes controller; write versions",
        "workloadRef": "adopting a Deployment needs the Kubernetes controller; write versions",
        "slices": "slices are not there yet",
        "deletionPolicy": "it needs the Kubernetes controller",
        "traffic": "there is one data plane as yet, our router",
        "match": "A/B by request is not there yet",
    }
    target: Name
    versions: Annotated[list[Version], Field(min_length=1, max_length=16)]
    strategy: Strategy
    initial_stable: Name | None = None
    identity: Identity | None = None
    overrides: Overrides | None = None
    protocol: Literal["auto", "v2", "v1", "json"] = "auto"
    inference_paths: Annotated[list[PathGlob], Field(max_length=32)] | None = None
    task: Task = Task()
    compare: Compare = Compare()
    capture: Capture = Capture()
    checks: Annotated[list[Check], Field(max_length=32)] | None = None
    decision: Decision = Decision()
    capacity: Capacity = Capacity()
    limits: Limits = Limits()
    rollback_window: RollbackWindow = RollbackWindow()
    warmup: Warmup | None = None
    schedule: Schedule = Schedule()
    hooks: Annotated[list[Hook], Field(max_length=8)] = []
    notifications: Annotated[list[Notification], Field(max_length=16)] = []
    paused: bool = False


LabelText = Annotated[str, Field(max_length=253)]


class Metadata(Model):
    """Who the rollout is."""

    name: Name
    namespace: Name = "default"
    labels: Annotated[dict[LabelText, LabelText], Field(max_length=64)] = {}
    annotations: Annotated[
        dict[LabelText, Annotated[str, Field(max_length=16_384)]], Field(max_length=64)
    ] = {}


class ModelRollout(Model):
    """One rollout as the user wrote it."""

    api_version: Literal["headgate.dev/v1alpha1"]
    kind: Literal["ModelRollout"]
    metadata: Metadata
    spec: RolloutSpec

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
