"""What users write, field by field: every field typed, bounded, and nothing unknown let through.

Names are camelCase in YAML and snake_case here. Values are already read into numbers (seconds, fractions, basis
points; see `quantities`). What spans several fields is not here but in `rules`. `planned` on a model names fields
of the design that this version does not have yet, so that the refusal can say so instead of guessing a typo.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from controller.core.hooks import NEWS, kebab
from controller.crd.cel import shape, validation
from controller.crd.quantities import BasisPoints, Duration, Milliseconds, Percent, PerMillion, Points, Size
from controller.crd.times import Cron, Minutes, Moment, Zone

API_VERSION: Final = "headgate.dev/v1alpha1"
KIND: Final = "ModelRollout"
BASE_DIR: Final = "headgate.dev/base-dir"
"""Annotation: the absolute folder that the relative paths of `process:` versions start from; local mode sets it to
the spec file's own folder."""


ANY: Final[dict[str, Any]] = {"x-kubernetes-preserve-unknown-fields": True}
"""In the schema: not of one type only, so that the API server checks the fields it knows and keeps the rest."""


class Model(BaseModel):
    """What all parts share: strict types, immutable, camelCase, unknown fields refused; a null is an absent field."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, alias_generator=to_camel, allow_inf_nan=False
    )
    planned: ClassVar[Mapping[str, str]] = {}
    null_is_default: ClassVar[bool] = False
    """Is a field with nothing behind it there, with its defaults, rather than absent?"""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = {field.alias or name for name, field in cls.model_fields.items()}
            return {name: value for name, value in data.items() if value is not None or name not in known}
        return data


@dataclass(frozen=True, slots=True)
class Shaped:
    """A text of this pattern, or a refusal that says in words what would be right; `characters_max` 0: bounded elsewhere."""

    pattern: str
    sentence: str
    characters_max: int = 0

    def read(self, text: str) -> str:
        """The text itself; PydanticCustomError when it has another form."""
        if re.fullmatch(self.pattern, text) is None:
            raise PydanticCustomError(
                "pattern", "{shown} {sentence}", {"shown": repr(text)[:80], "sentence": self.sentence}
            )
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        bound = {"maxLength": self.characters_max} if self.characters_max else {}
        return handler(schema) | bound | shape(self.pattern, self.sentence)


def _matches(pattern: str, sentence: str, at_most: int = 0) -> Shaped:
    return Shaped(pattern, sentence, at_most)


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


VERSION_NAME: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
Name = Annotated[
    str, _matches(VERSION_NAME, "is not a name: lower-case letters, digits and -, at most 63, such as v8", 63)
]
ObjectName = Annotated[
    str,
    _matches(
        r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?",
        "is not the name of a Kubernetes object: lower-case letters, digits, - and ., at most 253",
        253,
    ),
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
        r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}",
        "is not the name of an HTTP header, such as x-headgate-version",
        64,
    ),
]
KeySource = Annotated[
    str,
    _matches(
        r"(header|cookie|query):[A-Za-z0-9._-]{1,64}",
        "is not a place for a key: write header:NAME, cookie:NAME or query:NAME",
        71,
    ),
]
_PORT: Final = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
Url = Annotated[
    str,
    Field(
        max_length=1024,
        json_schema_extra=shape(
            rf"https?://([^/?#@:\s\[\]]+|\[[0-9A-Fa-f:.]+\])(:({_PORT}))?(/[^?#\s]*)?",
            "it is not a model's address: write http:// or https://, host, port and path, without user, query or "
            "fragment",
            rule="url",
            is_secret=True,
        ),
    ),
    AfterValidator(_url),
]
_PORT_NAME: Final = r"[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?"
_PORT_SENTENCE: Final = "is not a port: write its number (1 to 65535) or its name, such as http"


def _port(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65_536
    is_name = isinstance(value, str) and re.fullmatch(_PORT_NAME, value) is not None
    if not is_number and not is_name:
        raise PydanticCustomError(
            "port", "{shown} {sentence}", {"shown": repr(value)[:80], "sentence": _PORT_SENTENCE}
        )
    return value


Port = Annotated[
    int | str,
    BeforeValidator(_port),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "maxLength": 15,
            "x-kubernetes-validations": [
                validation(
                    "port",
                    f'type(self) == int ? self > 0 && self < 65536 : self.matches("^{_PORT_NAME}$")',
                    f"it {_PORT_SENTENCE}",
                )
            ],
        }
    ),
]
HostName = Annotated[
    str,
    _matches(
        r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
        "is not a host name, such as models.example.com or *.example.com",
        253,
    ),
]
PortNumber = Annotated[int, Field(ge=1, le=65_535)]
LabelText = Annotated[str, Field(max_length=253)]
PodLabel = Annotated[str, Field(max_length=63)]
CheckName = Name
CheckNames = Annotated[list[CheckName], Field(max_length=32)]
Text = Annotated[str, Field(max_length=4096)]


# Versions: what serves


class HttpGet(Model):
    """A request that a ready model server answers with 2xx or 3xx."""

    path: Path
    """Where the server says whether it is ready, such as /v2/health/ready."""
    host: (
        Annotated[str, _matches(r"[A-Za-z0-9.:\[\]_-]{1,253}", "is not a value of the Host header", 253)]
        | None
    ) = None
    """The Host header of the request, where the server asks for a certain one."""


class Readiness(Model):
    """When a version may get traffic: `httpGet` every `period`; after `failures` in a row it is unready again."""

    http_get: HttpGet
    """The request that is made; 2xx and 3xx mean ready."""
    period: Annotated[float, Duration("100ms", "5m")] = 1.0
    """Time from one request to the next."""
    timeout: Annotated[float, Duration("50ms", "1m")] = 1.0
    """An answer later than this counts as a failure."""
    failures: Annotated[int, Field(ge=1, le=100)] = 3
    """So many failures in a row make a ready version unready."""


class Process(Model):
    """A model server that local mode starts; `{port}` and `{python}` in `command` and `env` are filled in."""

    command: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(min_length=1, max_length=128)]
    """Program and arguments; {port} is the port to listen on, {python} the interpreter that runs Headgate."""
    env: Annotated[
        dict[
            Annotated[str, _matches(r"[A-Za-z_][A-Za-z0-9_]{0,127}", "is not the name of a variable", 128)],
            Text,
        ],
        Field(max_length=64),
    ] = {}
    """Environment variables of the process; {port} and {python} are filled in here, too."""
    readiness: Readiness
    """How to tell that the process can answer."""
    stop_grace: Annotated[float, Duration("0s", "10m")] = 10.0
    """Time between the request to stop (SIGTERM) and the end (SIGKILL)."""


class Rewrite(Model):
    """How a request changes on its way to this version: another path, and (copies only) other body fields."""

    path: Path | None = None
    """The path to ask this version at, instead of the one the client asked for."""
    body: Annotated[dict[Pointer, JsonValue], Field(max_length=32)] = {}
    """Fields of a copied JSON body to replace, by JSON pointer: {/model: fraud-8}. Copies (shadows) only."""


class ServicePort(Model):
    """A Service in the rollout's namespace, and one of its ports."""

    name: Name
    """Name of the Service, such as fraud-v8."""
    port: Port
    """Number or name of one of its ports, as the Service has it: 8080 or http."""


class Version(Model):
    """One version by name: a `service`, an `inferenceService` or a `url` that is there, or (not on clusters) a `process` to start."""

    planned: ClassVar[Mapping[str, str]] = {
        "auth": "credentials for a version come with TLS to upstreams",
    }
    name: Name
    """What people call it, such as v8. Part of no identity: what serves is."""
    url: Url | None = None
    """A model server that is there already, such as http://fraud-v8.models.svc:8080."""
    service: ServicePort | None = None
    """On a cluster: the Service in front of this version alone; requests go to its ready pods."""
    deployment: ObjectName | None = None
    """On a cluster: the Deployment behind service, so that a crash loop is seen and said. It is never changed."""
    inference_service: ObjectName | None = None
    """On a cluster: the InferenceService of KServe that is this version; it says where it is and whether it is ready."""
    process: Process | None = None
    """A model server that local mode starts on this machine. Not for clusters."""
    readiness: Readiness | None = None
    """How to tell that the server behind url can answer; without it, that a connection can be made."""
    digest: (
        Annotated[
            str, _matches(r"sha256:[0-9a-f]{64}", "is not a digest: write sha256: and 64 hex digits", 71)
        ]
        | None
    ) = None
    """Digest of the model itself (sha256:…), so that another model at the same place is another version."""
    rewrite: Rewrite | None = None
    """Another path or model name than the client's, for this version only."""


class Container(Model):
    """One container of a pod, as Kubernetes has it; Headgate looks at its name and image only."""

    model_config = ConfigDict(extra="allow")

    name: Name
    """What the container is called."""
    image: Annotated[str, Field(min_length=1, max_length=1024)]
    """What it is started from."""


class PodSpec(Model):
    """What runs in a pod, as Kubernetes has it."""

    model_config = ConfigDict(extra="allow")

    containers: Annotated[list[Container], Field(min_length=1, max_length=32)]
    """The containers of a pod."""


class PodMetadata(Model):
    """Labels and annotations of the pods; the label headgate.dev/version says what the version is called."""

    model_config = ConfigDict(extra="allow")

    labels: Annotated[dict[LabelText, PodLabel], Field(max_length=64)] = {}
    """Labels of the pods. With headgate.dev/version: v8 the version is called v8, else after its hash."""


class PodTemplate(Model):
    """The pods of a managed rollout, as in a Deployment."""

    model_config = ConfigDict(extra="allow")

    metadata: PodMetadata = PodMetadata()
    """Labels and annotations of the pods."""
    spec: PodSpec
    """What runs in them."""


# Stages: how traffic moves

AdvanceName = Literal["unlessFail", "onPass"]
Weight = Annotated[int, BasisPoints("0.01%", "100%")]
Sample = Annotated[int, PerMillion("0%", "100%")]
StageTime = Annotated[float, Duration("0s", "30d")]
MaxStay = Annotated[float, Duration("1s", "90d")]


TakePart = Annotated[list[Name], Field(min_length=1, max_length=4)]


class Shadow(Model):
    """The candidate answers copies; users see stable only."""

    planned: ClassVar[Mapping[str, str]] = {
        "selfCheck": "the noise floor by self-replay is not there yet",
        "source": "shadowing a person is not there yet",
    }
    sample: Sample = 1_000_000
    """Which share of the live requests is copied to the candidate."""
    to: TakePart | None = None
    """Versions that answer copies here, such as [v8, v9], the target always among them; left out, the target alone."""
    duration: StageTime = 0.0
    """The stage lasts at least this long."""
    min_pairs: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    """The stage lasts until so many pairs of answers were compared."""
    checks: CheckNames | None = None
    """Names of the checks that must conclude here; left out, all that can."""
    advance: AdvanceName = "onPass"
    """onPass: every required check must pass. unlessFail: it is enough that none fails."""
    max_stay: MaxStay | None = None
    """After this long in the stage without a conclusion, decision.onInconclusive is done."""


class Step(Model):
    """One weight of a canary, with its own time."""

    weight: Weight
    """Share of the live traffic that the candidate gets in this step."""
    every: Annotated[float, Duration("0s", "30d")] = 60.0
    """Time at this weight, counted from when every router runs it."""


class Canary(Model):
    """The candidate gets rising shares of the live traffic: `weights` with one time, `steps` with their own, or `ramp: auto`.

    `riskBudget` of the automatic ramp: how many of all requests a step may cost, at worst.
    """

    weights: Annotated[list[Weight], Field(min_length=1, max_length=64)] | None = None
    """Rising shares of the live traffic, such as [1%, 5%, 25%]; 100% follows by itself as the stage full."""
    steps: Annotated[list[Step], Field(min_length=1, max_length=64)] | None = None
    """The same where each weight has a time of its own: [{weight: 1%, every: 10m}, {weight: 25%, every: 1h}]."""
    to: TakePart | None = None
    """Versions that get the weight, each as much, the target always among them (A/B/n); left out, the target alone."""
    every: Annotated[float, Duration("0s", "30d")] | None = None
    """Time at each of weights, counted from when every router runs it; 60s if left out."""
    checks: CheckNames | None = None
    """Names of the checks that watch this stage; left out, all that can conclude here."""
    advance: AdvanceName | None = None
    """unlessFail (default): a step ends with its time if nothing fails. onPass: each step needs every check to pass."""
    max_stay: MaxStay | None = None
    """After this long in the stage without a conclusion, decision.onInconclusive is done."""
    ramp: Literal["auto"] | None = None
    """auto: raise the weight as fast as the evidence allows; needs riskBudget."""
    risk_budget: Annotated[float, Percent("0.0001%", "10%")] | None = None
    """What a step of the automatic ramp may cost at worst, as a share of all requests, such as 0.1%."""


class Condition(Model):
    """One thing that must be true of a request: the header or cookie is there, and is, or begins with, a text."""

    name: Annotated[
        str,
        _matches(r"[A-Za-z0-9._-]{1,64}", "is not the name of a header or cookie, such as x-beta", 64),
    ]
    """Name of the header (its case does not matter) or cookie."""
    exact: Annotated[str, Field(max_length=1024)] | None = None
    """Its whole value."""
    prefix: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """What its value begins with. Without exact and prefix it is enough that it is there."""


class Match(Model):
    """A/B: only requests for which all of `headers` and `cookies` hold reach the candidate, for `duration`."""

    headers: Annotated[list[Condition], Field(min_length=1, max_length=8)] | None = None
    """What must be true of the headers, such as [{name: x-beta, exact: "1"}]."""
    cookies: Annotated[list[Condition], Field(min_length=1, max_length=8)] | None = None
    """What must be true of the cookies, such as [{name: group, prefix: b}]."""
    share: Weight = BasisPoints.parts
    """Which share of the matching requests the candidate gets. Below 100% stable gets the rest of them at random, so the two can be compared."""
    to: TakePart | None = None
    """Versions that get the share, each as much, the target always among them; left out, the target alone."""
    duration: StageTime = 0.0
    """The stage lasts at least this long."""
    checks: CheckNames | None = None
    """Names of the checks that must conclude here; left out, all that can."""
    advance: AdvanceName = "onPass"
    """onPass: every required check must pass. unlessFail: it is enough that none fails."""
    max_stay: MaxStay | None = None
    """After this long in the stage without a conclusion, decision.onInconclusive is done."""


class Approval(Model):
    """`quorum` different people must approve, each with one of `roles` if any are named; robots cannot."""

    roles: Annotated[list[Name], Field(min_length=1, max_length=16)] | None = None
    """Only people with one of these roles may approve; left out, whoever may use the verb approve."""
    quorum: Annotated[int, Field(ge=1, le=16)] = 1
    """So many different people must approve."""
    expires: Annotated[float, Duration("1s", "90d")] | None = None
    """How long to wait for them."""
    on_expire: Literal["abort", "hold"] | None = None
    """What happens when the time is over: abort (roll back) or hold. Needs expires."""


class PauseStage(Model):
    """Wait for `duration`, or for a person."""

    duration: Annotated[float, Duration("0s", "90d")] | None = None
    """How long to wait; left out, until a person resumes."""


class Gate(Model):
    """The checks on one side of a flip."""

    checks: CheckNames | None = None
    """Names of the checks that run here; left out, all that can conclude here."""


class Flip(Model):
    """Blue-green: one write moves everything, after `before` and watched by `after`."""

    preview: Sample = 0
    """Which share of the live requests is copied to the candidate before the flip, so that checks can compare."""
    before: Gate = Gate()
    """Checks that must pass before all traffic moves."""
    bake: StageTime = 0.0
    """How long the flip is watched before the candidate becomes stable."""
    after: Gate = Gate()
    """Checks that can flip back."""
    max_stay: MaxStay | None = None
    """After this long in the stage without a conclusion, decision.onInconclusive is done."""


class Full(Model):
    """All traffic, watched for `bake`; then the candidate is the new stable."""

    bake: StageTime = 0.0
    """How long 100 % is watched before the candidate becomes stable."""
    checks: CheckNames | None = None
    """Names of the checks that run here; left out, all that can conclude without stable's traffic."""
    max_stay: MaxStay | None = None
    """After this long in the stage without a conclusion, decision.onInconclusive is done."""


class Stage(Model):
    """One stage: exactly one of these. `- full:` with nothing behind it is a stage with its defaults."""

    null_is_default = True
    planned: ClassVar[Mapping[str, str]] = {
        "assist": "assistance is not there yet",
        "partial": "partial automation is not there yet",
    }
    shadow: Shadow | None = None
    """Users see stable only; the candidate answers copies, and what both said is compared."""
    canary: Canary | None = None
    """The candidate gets rising shares of the live traffic."""
    match: Match | None = None
    """A/B: only requests with certain headers or cookies reach the candidate."""
    approval: Approval | None = None
    """People must approve; robots cannot."""
    pause: PauseStage | None = None
    """Wait, for a time or for a person."""
    flip: Flip | None = None
    """Blue-green: one write moves all traffic, checked before and after."""
    full: Full | None = None
    """All traffic on the candidate, watched; then it is the new stable."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            return {name: {} if value is None else value for name, value in data.items()}
        return data


class Strategy(Model):
    """Exactly one of three short forms, or the stages they stand for."""

    canary: Canary | None = None
    """Rising shares of the live traffic, then all of it: {weights: [1%, 5%, 25%], every: 60s}."""
    blue_green: Flip | None = None
    """All traffic in one write, checked before and after: {preview: 10%, bake: 10m}."""
    shadow: Shadow | None = None
    """Copies only; a person then promotes: {sample: 100%, minPairs: 1000}."""
    stages: Annotated[list[Stage], Field(min_length=1, max_length=16)] | None = None
    """The general form: stages one after another, of which the short forms are abbreviations."""


# What a request is, and how answers are compared


class Identity(Model):
    """Where the key that makes a user sticky is found."""

    key: KeySource
    """Where a request says who asks: header:NAME, cookie:NAME or query:NAME. The same user stays on the same version."""
    fallback: Annotated[list[KeySource], Field(max_length=7)] = []
    """Where to look next when key is absent, in order; without any key a request is placed at random."""


class Overrides(Model):
    """A header by which testers reach a version directly; `allow` defaults to every version."""

    header: HeaderName
    """A request with this header, whose value is a version's name, goes to that version."""
    allow: Annotated[list[Name], Field(max_length=16)] | None = None
    """Versions that can be reached so; left out, every one."""


class Task(Model):
    """What the model answers, so that answers can be compared."""

    type: Literal["classification", "regression", "json"] = "json"
    """What the answers are: a class with scores, a number, or any JSON."""
    label: Annotated[str, Field(max_length=256)] = ""
    """JSON pointer to the class (or the number) in an answer, where the protocol does not say it."""
    scores: Annotated[str, Field(max_length=256)] = ""
    """JSON pointer to the scores in an answer, where the protocol does not say it."""


class Tolerance(Model):
    """Numbers closer than this are equal; `fields` names paths that differ by design."""

    rel: Annotated[float, Field(ge=0, le=1e6)] = 1e-5
    """Numbers that differ by less than this fraction of the larger are equal."""
    abs: Annotated[float, Field(ge=0, le=1e12)] = 1e-8
    """Numbers that differ by less than this are equal."""
    fields: Annotated[dict[Pointer, Literal["ignore"]], Field(max_length=64)] = {}
    """JSON pointers of fields that differ by design, such as {/timestamp: ignore}."""


Confidence = Annotated[float, Field(ge=0, le=1)]


class Bands(Model):
    """The confidences between which a changed label is a soft disagreement."""

    boundary: Annotated[list[Confidence], Field(min_length=2, max_length=2)] = [0.51, 0.71]
    """[low, high]: a label that changed while the confidence was between them is a soft disagreement."""


class Compare(Model):
    """When two answers disagree. `maxRelativeDelta` is for regression."""

    planned: ClassVar[Mapping[str, str]] = {
        "topK": "ranking is not there yet",
        "costly": "costly directions are not there yet",
    }
    tolerance: Tolerance = Tolerance()
    """When two numbers count as equal."""
    bands: Bands = Bands()
    """When a changed label is only a soft disagreement."""
    max_relative_delta: Annotated[float, Percent("0%", "100000%")] = 0.05
    """Regression: predictions that differ by more than this disagree."""


class Keep(Model):
    """Which share of the pairs is kept as records."""

    disagreements: Sample = 1_000_000
    """Share of the pairs that disagree to keep."""
    agreements: Sample = 10_000
    """Share of the pairs that agree to keep."""


class Redaction(Model):
    """What happens to one field before anything is stored."""

    path: Pointer
    """JSON pointer to the field, in requests and in answers; * stands for any one name or index."""
    how: Literal["drop", "hash", "mask", "bucket"]
    """drop: leave it out. hash: a keyed hash. mask: its form only. bucket: a number's order of magnitude."""


class Capture(Model):
    """What of the compared pairs is kept, and how much."""

    planned: ClassVar[Mapping[str, str]] = {
        "retention": "records are bounded by maxRecordsBytes, not yet by age"
    }
    store: Literal["none", "redacted", "full"] = "none"
    """none: figures only. redacted: bodies without what redact names. full: bodies as they were."""
    keep: Keep = Keep()
    """Which share of the pairs is kept."""
    redact: Annotated[list[Redaction], Field(max_length=64)] = []
    """Fields to hide before anything is written; with store: redacted and none named, every value is masked."""
    max_body_bytes: Annotated[int, Size("0", "64Mi")] = 8 * 2**20
    """Bodies larger than this are not compared."""
    max_records_bytes: Annotated[int, Size("64Ki", "1Ti")] = 256 * 2**20
    """Space that the records may take; the oldest go first."""


# Evidence


class Prometheus(Model):
    """Two cumulative counters of one version, or one value of it, as PromQL with `{{version}}` in it."""

    provider: Name
    """Name of a Prometheus that the administrator configured."""
    events: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """PromQL of a counter of what is bad, with {{version}} where the version's name goes."""
    total: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """PromQL of a counter of all that could have been bad, with {{version}} where the version's name goes."""
    value: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """Instead of the two: PromQL of any one value, with {{version}} where the version's name goes; its limit is within."""


class NoWorseThan(Model):
    """What is tolerated against stable: `ratio` and `plus` for shares, `slower` for latency."""

    planned: ClassVar[Mapping[str, str]] = {"minus": "measures where more is better are not there yet"}
    ratio: Annotated[float, Field(ge=1, le=1000)] | None = None
    """The candidate's share may be so many times stable's."""
    plus: Annotated[float, Points("0pp", "100pp")] | None = None
    """And so many percentage points more, such as 0.02pp."""
    slower: Annotated[float, Percent("0.1%", "10000%")] | None = None
    """The candidate's quantile may be so much slower than stable's, such as 10%."""


class Within(Model):
    """Fixed bounds of a value, in its own unit; a bound itself is inside."""

    min: Annotated[float, Field(ge=-1e15, le=1e15)] | None = None
    """The least it may be."""
    max: Annotated[float, Field(ge=-1e15, le=1e15)] | None = None
    """The most it may be."""


class Failures(Model):
    """How many measurements must be beyond the bounds before the check fails. A value is measured each 15 s."""

    of: Annotated[int, Field(ge=1, le=100)] = 5
    """So many of the last measurements are looked at; before there are as many in a step, the check does not pass."""
    at: Annotated[int, Field(ge=1, le=100)] = 3
    """When so many of them are beyond, the check fails."""


class Check(Model):
    """One question the evidence must answer."""

    planned: ClassVar[Mapping[str, str]] = {
        "excessOverNoise": "the noise floor is not there yet; widen max",
        "onFail": "a check that only holds is not there yet; use required: false",
        "labels": "outcomes are not there yet",
        "job": "jobs are not there yet",
        "webhook": "webhooks are not there yet",
        "slices": "slices are not there yet",
        "watch": "write required: false for a check that only watches",
    }
    name: CheckName
    """What stages call it by."""
    metric: Literal["requests.errors", "requests.latency", "shadow.disagreement"] | None = None
    """What the routers themselves measure: errors, latency, or how often the answers disagree."""
    prometheus: Prometheus | None = None
    """Two counters or a value of a Prometheus, instead of metric."""
    no_worse_than: NoWorseThan | None = None
    """The limit, against stable."""
    max: Annotated[float, Percent("0.0001%", "100%")] | None = None
    """The limit, for the candidate alone, such as 1%."""
    within: Within | None = None
    """The limit of prometheus.value: fixed bounds."""
    failures: Failures | None = None
    """How often a value may be beyond its bounds; 3 of 5 fail if left out."""
    quantile: (
        Annotated[
            str, _matches(r"p[0-9]{1,2}(\.[0-9]{1,3})?", "is not a quantile: write p50, p99 or p99.9", 8)
        ]
        | None
    ) = None
    """Which latency is compared: p50 to p99.9; p99 if left out."""
    min_requests: Annotated[int, Field(ge=1, le=100_000_000)] = 50
    """With fewer than this in a step there is no verdict."""
    weight: Annotated[float, Field(ge=0.001, le=1000)] = 1.0
    """Share of the error budget decision.alpha that this check gets, relative to the others."""
    required: bool = True
    """false: it is shown and recorded, and decides nothing by passing."""
    dry_run: bool = False
    """true: it never fails a rollout; its verdict is shown as what would have been."""
    per_slice: bool = False
    """Count disagreements for each slice, too."""


class Guard(Model):
    """When a router takes the candidate's share away by itself."""

    errors: Annotated[float, Percent("0.1%", "99%")] = 0.2
    """The guard trips when the candidate's share of errors is above this, and above `times` stable's."""
    times: Annotated[float, Field(ge=1, le=1000)] = 10.0
    """And above so many times stable's share."""
    at_least: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """And when there are at least so many errors in the window."""
    window: Annotated[int, Milliseconds("1s", "10m")] = 10_000
    """The time over which is counted."""
    alone_errors: Annotated[float, Percent("0.1%", "99%")] = 0.5
    """The share that trips where stable has no traffic to compare with."""


def _guard(value: Any) -> Any:
    """`off` is no guard; YAML 1.1 readers make it False."""
    return None if value == "off" or value is False else value


class Decision(Model):
    """Permissions the user writes down. `guard: off` leaves the routers without one."""

    alpha: Annotated[float, Percent("0.0001%", "20%")] = 0.01
    """How often, at most, a version that is fine may be rolled back by chance."""
    on_inconclusive: Literal["hold", "rollback", "promote"] = "hold"
    """What is done when nothing is proven by the end of maxStay or maxDuration."""
    on_no_data: Literal["hold", "rollback"] = "hold"
    """What is done when a required check has had no data for noDataTimeout."""
    no_data_timeout: Annotated[float, Duration("1s", "30d")] = 3600.0
    """How long a required check may be without data before onNoData is done."""
    max_duration: Annotated[float, Duration("1s", "90d")] = 86_400.0
    """How long a rollout may take; then onInconclusive is done."""
    world_drift: Literal["pause", "hold"] = "pause"
    """What is done when stable got worse as well, so that the candidate is not to blame."""
    guard: Annotated[Guard | None, BeforeValidator(_guard), Field(json_schema_extra=ANY)] = Guard()
    """When a router takes the candidate off the traffic by itself, within a second. off: never."""


class Capacity(Model):
    """How much of a version runs, and how versions come and go."""

    max_surge: Annotated[int, Field(ge=1, le=100)] = 1
    """So many replicas more than spec.replicas may run while the action restart replaces them."""
    scale_with_weight: bool = False
    """true: a candidate runs as many replicas as its share of the traffic needs, in this and the next step; stable stays whole."""
    min_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """The fewest replicas of a candidate whose replicas follow its share."""
    drain: Annotated[float, Duration("0s", "1d")] = 60.0
    """How long requests under way may finish on a version whose traffic was taken away."""
    keep_stable_warm: Annotated[float, Duration("0s", "30d")] = 86_400.0
    """How long the version that was stable before is kept running, so that going back is one flip."""
    progress_deadline: Annotated[float, Duration("1s", "1d")] = 600.0
    """A version that is not ready after this long has failed."""


class Limits(Model):
    """Deadlines and bounds of the live path."""

    header_timeout: Annotated[int, Milliseconds("1ms", "1h")] = 10_000
    """Time for a client to send the head of its request."""
    connect_timeout: Annotated[int, Milliseconds("1ms", "1h")] = 1_000
    """Time to connect to a model server."""
    first_byte_timeout: Annotated[int, Milliseconds("1ms", "1d")] = 30_000
    """Time from the request to the first byte of the answer."""
    body_idle_timeout: Annotated[int, Milliseconds("1ms", "1d")] = 30_000
    """Longest silence inside a body."""
    request_timeout: Annotated[int, Milliseconds("1ms", "1d")] = 60_000
    """Time for a request and its answer altogether."""
    client_idle_timeout: Annotated[int, Milliseconds("1ms", "1d")] = 75_000
    """How long an idle connection of a client is kept."""
    drain: Annotated[int, Milliseconds("1ms", "1d")] = 30_000
    """How long a stopping router lets requests finish."""
    max_header_bytes: Annotated[int, Size("1Ki", "1Mi")] = 65_536
    """Largest head of a request."""
    max_connections_per_endpoint: Annotated[int, Field(ge=1, le=65_536)] = 512
    """Connections that one router opens to one endpoint at most."""
    max_requests_per_version: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Requests that one router's worker has under way at one version at most; more go to stable, or get 503."""
    slow_start: Annotated[int, Milliseconds("0s", "1h")] = 10_000
    """How long an endpoint that is new, or came back, takes less than its share; 0s gives it all at once."""


# The object


class RollbackWindow(Model):
    """Going back to one of the last `versions` that were stable, `within` this time, skips every stage."""

    versions: Annotated[int, Field(ge=0, le=8)] = 3
    """So many of the versions that were stable before can be gone back to without stages."""
    within: Annotated[float, Duration("0s", "90d")] = 604_800.0
    """For so long after each ceased to be stable."""


class Window(Model):
    """When the robot may raise shares and promote: from each time that `cron` names in `tz`, `for` that long."""

    cron: Cron
    """When it opens: minute, hour, day of month, month, day of week, such as 0 9 * * MON-THU."""
    for_: Annotated[float, Minutes("1m", "31d"), Field(alias="for")]
    """How long it stays open, in whole minutes."""
    tz: Zone = "UTC"
    """Time zone that cron is meant in, such as Europe/Berlin."""


class Freeze(Model):
    """When it may not, whatever the windows say: `from` one moment `until` another, or `cron` and `for`."""

    from_: Annotated[Moment | None, Field(alias="from")] = None
    """First moment, such as 2026-12-24T18:00 (in tz) or 2026-12-24T18:00+01:00."""
    until: Moment | None = None
    """First moment after it."""
    cron: Cron | None = None
    """When a freeze that comes again begins, such as 0 16 * * FRI."""
    for_: Annotated[Annotated[float, Minutes("1m", "31d")] | None, Field(alias="for")] = None
    """How long a freeze that comes again lasts, in whole minutes."""
    tz: Zone = "UTC"
    """Time zone that cron, and moments without an offset, are meant in."""
    reason: Annotated[str, Field(max_length=256)] = ""
    """Why, in words; shown while it holds."""


class Schedule(Model):
    """When the robot may go forward, and what a new target does to a trial under way. A person may always."""

    windows: Annotated[list[Window], Field(max_length=16)] = []
    """When the robot may go forward; none: at any time."""
    freeze: Annotated[list[Freeze], Field(max_length=64)] = []
    """When it may not, whatever windows say."""
    supersede: Literal["replace", "finish", "queue"] = "replace"
    """A new target during a trial: replace it at once, finish it first, or queue behind it and its successors."""


class WarmRequest(Model):
    """A POST of `body` (JSON) to `path`, as a client would send it to the router."""

    path: Path
    """Where it is sent."""
    body: JsonValue
    """What is sent, as JSON."""
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
    """Headers of the request, beyond those that every request has."""


class WarmConfigMap(Model):
    """Requests in a ConfigMap of the rollout's namespace: JSON, a list as inline has it, of at most 1,000."""

    name: ObjectName
    """The ConfigMap."""
    key: Annotated[str, _matches(r"[-._a-zA-Z0-9]{1,253}", "is not a key of a ConfigMap", 253)] = (
        "requests.json"
    )
    """Which of its entries."""


class WarmRequests(Model):
    """What is sent: those of `inline` or `configMap` in turn, or the newest `count` recorded ones, to `path`; at least
    `count` in all."""

    from_: Annotated[Literal["inline", "recorded", "configMap"], Field(alias="from")]
    """inline: those written here. configMap: those in a ConfigMap, on a cluster. recorded: bodies of the newest kept pairs
    (see capture)."""
    inline: Annotated[list[WarmRequest], Field(min_length=1, max_length=64)] | None = None
    """The requests, sent in turn."""
    config_map: WarmConfigMap | None = None
    """Where the requests are, on a cluster; read when a version is warmed up."""
    path: Path | None = None
    """Where recorded bodies are sent."""
    count: Annotated[int, Field(ge=1, le=10_000)] = 200
    """So many requests are sent at least."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """So many at a time."""


class WarmUntil(Model):
    """When a version is warm: for `stableFor` its p95 was at most `p95`; without that, did not change."""

    p95: Annotated[float, Duration("1ms", "1m")] | None = None
    """The 95th percentile of the latency must be at most this."""
    stable_for: Annotated[float, Duration("1s", "1h")] = 30.0
    """For so long."""


class Warmup(Model):
    """A new version gets traffic, copies included, once it was measured warm, or `maxWait` is over."""

    requests: WarmRequests
    """What is sent to the new version before anybody meets it."""
    until: WarmUntil = WarmUntil()
    """When it is warm."""
    max_wait: Annotated[float, Duration("1s", "1d")] = 1200.0
    """After this long it gets traffic anyway, and the status says that it was not warm."""


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
    """What the status and the events call it."""
    at: Literal[
        "before-start",
        "before-traffic",
        "before-increase",
        "before-promotion",
        "after-promotion",
        "after-rollback",
    ]
    """When it is called."""
    url: HookUrl
    """Where the POST goes."""
    timeout: Annotated[float, Duration("100ms", "5m")] = 10.0
    """An answer later than this is a failure."""
    retries: Annotated[int, Field(ge=0, le=20)] = 3
    """So many further tries."""
    on_fail: Literal["hold", "rollback"] | None = None
    """What a no before something does: hold (default) or rollback. Only for before-…."""


Happening = Annotated[
    str,
    AfterValidator(_happening),
    WithJsonSchema({"type": "string", "enum": [kebab(reason) for reason in NEWS]}),
]


class Notification(Model):
    """Tell the administrator's sink `to` of what is in `on`."""

    on: Annotated[list[Happening], Field(min_length=1, max_length=32)]
    """What is told, such as paused, rolled-back, promoted."""
    to: Name
    """Name of a sink that the administrator configured."""


class GatewayRef(Model):
    """A Gateway that shall carry the route."""

    name: ObjectName
    """Name of the Gateway."""
    namespace: Name | None = None
    """Its namespace; left out, the rollout's."""
    section_name: Name | None = None
    """One of its listeners; left out, all."""


class HttpRoute(Model):
    """A Gateway API HTTPRoute that moves the traffic: one of Headgate's own, or named rules of one that is there."""

    name: ObjectName
    """Name of the HTTPRoute, in the rollout's namespace."""
    gateways: Annotated[list[GatewayRef], Field(min_length=1, max_length=8)] | None = None
    """Gateways that carry the route that Headgate makes."""
    hostnames: Annotated[list[HostName], Field(max_length=16)] | None = None
    """Host names that the route that Headgate makes is for; left out, all."""
    rules: Annotated[list[Name], Field(min_length=1, max_length=16)] | None = None
    """Names of rules of a route that is there already: only their backends and mirrors are changed, nothing else of it."""


class RouterTraffic(Model):
    """Headgate's own routers."""

    take_over: Name | None = None
    """An existing Service that clients use already: it leads to the routers once all of them are ready, and back again
    when this is taken out or the rollout deleted. No version may be reached through it."""


class WorkloadRef(Model):
    """A Deployment that runs already, and keeps its pod template: any change of that is a new version of the rollout."""

    kind: Literal["Deployment"] = "Deployment"
    """What it is."""
    name: ObjectName
    """Name of the Deployment, in the rollout's namespace."""
    scale_down: Literal["progressively", "onSuccess", "never"] = "never"
    """When its own pods go, once users reach the rollout's: one by one, all when the first version serves, or never."""


class Traffic(Model):
    """Who moves the traffic: Headgate's routers (if nothing is said), or a gateway."""

    router: RouterTraffic | None = None
    """Headgate's own routers, which also count, compare and guard."""
    http_route: HttpRoute | None = None
    """A gateway, by an HTTPRoute. Only prometheus checks can see what happens there, and nothing is compared."""


class RolloutSpec(Model):
    """Everything the user asks for."""

    planned: ClassVar[Mapping[str, str]] = {
        "slices": "slices are not there yet",
        "match": "it is a stage: write it in strategy.stages",
    }
    target: Name | None = None
    """The version that shall end up serving everything; changing it starts a rollout. Goes with versions."""
    versions: Annotated[list[Version], Field(min_length=1, max_length=16)] = []
    """The versions there are, by name. Keep the stable one in until another is promoted."""
    template: PodTemplate | None = None
    """Instead of versions, on a cluster: the pods that serve. Any change of it is a new version and starts a rollout."""
    workload_ref: WorkloadRef | None = None
    """Instead of template, on a cluster: a Deployment that runs already, whose pods are replaced without a gap."""
    port: PortNumber | None = None
    """The port that the pods of template, or of workloadRef, serve at; of the latter the only one they have if left out."""
    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many processes (on a cluster: pods) of each version that Headgate runs; see capacity."""
    strategy: Strategy
    """How traffic moves to a new target: one of canary, blueGreen, shadow, or stages."""
    initial_stable: Name | None = None
    """The version that serves now, proven; needed when the first apply names several."""
    identity: Identity | None = None
    """What makes a user sticky; without it every request is placed at random."""
    overrides: Overrides | None = None
    """How testers reach a version directly."""
    protocol: Literal["auto", "v2", "v1", "json"] = "auto"
    """What the requests speak: Open Inference Protocol v2, TensorFlow Serving's v1, plain json; auto finds out."""
    inference_paths: Annotated[list[PathGlob], Field(max_length=32)] | None = None
    """Paths that count as inference, * for any one segment; left out, those of the protocol."""
    task: Task = Task()
    """What the model answers, so that answers can be compared."""
    compare: Compare = Compare()
    """When two answers disagree."""
    capture: Capture = Capture()
    """What of the compared pairs is kept."""
    checks: Annotated[list[Check], Field(max_length=32)] | None = None
    """The questions the evidence must answer; left out: errors, and agreement where copies are made. []: none."""
    decision: Decision = Decision()
    """What may be decided by whom, and how sure one must be."""
    capacity: Capacity = Capacity()
    """How versions come and go."""
    limits: Limits = Limits()
    """Deadlines and bounds of the live path."""
    rollback_window: RollbackWindow = RollbackWindow()
    """Which earlier versions can be gone back to without stages."""
    warmup: Warmup | None = None
    """Requests to send to a new version before it gets traffic."""
    schedule: Schedule = Schedule()
    """When the robot may go forward."""
    hooks: Annotated[list[Hook], Field(max_length=8)] = []
    """Whom to ask before, or tell after, something."""
    notifications: Annotated[list[Notification], Field(max_length=16)] = []
    """Whom to tell of what."""
    traffic: Traffic | None = None
    """Who moves the traffic; left out, Headgate's routers."""
    deletion_policy: Literal["Delete", "Orphan"] = "Delete"
    """What becomes of the pods of template, and of the HTTPRoute that Headgate made, when the rollout is deleted. Delete: they
    go with it, and who comes by the route gets 404. Orphan: they stay, with all traffic on stable, and belong to nobody."""
    paused: bool = False
    """true: the ramp stays where it is; checks go on, and a Fail still rolls back."""


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
