"""The rules of `rules` once more, in CEL: what the API server itself refuses, by the same names and at the same fields.

Keyed by rule, so that the table stays one; a test holds both against one list of broken specs. CEL sees no annotations,
knows no calendar and no time zones, and cannot look into JSON that may be anything: `UNSEEN` says which rules, or
which part of one, that leaves to the controller, which then says it in the object's status.

`self` is the model a form stands at, after the API server has filled in the defaults; but where `{}` is itself a
default, it also holds that against the rules, before.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from controller.core.spec import AUTO_EVERY_S, AUTO_WEIGHTS
from controller.crd.cel import first, formatted, number, seconds, text, whole
from controller.crd.models import VERSION_NAME
from controller.crd.revisions import VERSION_LABEL
from controller.crd.routes import ROUTERS_ONLY
from controller.crd.table import D, Form, Rule
from controller.crd.takeovers import LOOP
from controller.crd.warmups import SENDERS_OWN

_STAGES: Final = "self.strategy.stages"
_IS_MADE: Final = "(has(self.template) || has(self.workloadRef))"
_KINDS: Final = ("shadow", "match", "canary", "approval", "pause", "flip", "full")


def _one_of(*names: str) -> str:
    return f"[{', '.join(f'has(self.{name})' for name in names)}].exists_one(x, x)"


def _at_most_one_of(*names: str) -> str:
    return f"[{', '.join(f'has(self.{name})' for name in names)}].filter(x, x).size() <= 1"


def _twice(items: str, name: str) -> str:
    """Is there another with the same name among the items before the i-th, `v`?"""
    return f"{items}.exists(j, w, j < i && w.{name} == v.{name})"


def _unique(on: str, items: str, path: str, name: str = "name") -> Form:
    """No two items have the same name; the second one is at fault."""
    sound = f"self.{items}.all(v, self.{items}.exists_one(w, w.{name} == v.{name}))"
    said = formatted(f"{path}[%d].{name}: %s", "i", f"v.{name}")
    return Form(
        on,
        f"!has(self.{items}) || {sound}",
        "%s is there twice: give one of them another name",
        (first(f"self.{items}", _twice(f"self.{items}", name), said),),
    )


def _named_once(on: str, field: str) -> Form:
    """A list of names that names each once."""
    items = f"self.{field}"
    said = formatted(f"{field}[%d]: %s", "i", "v")
    return Form(
        on,
        f"!has({items}) || {items}.all(v, {items}.exists_one(w, w == v))",
        "%s is named twice: leave one out",
        (first(items, f"{items}.exists(j, w, j < i && w == v)", said),),
    )


def _by_route(holds: str, says: str, *arguments: str, path: str = "") -> Form:
    """What must hold of a rollout whose traffic a gateway moves."""
    is_ours = "!has(self.traffic) || !has(self.traffic.httpRoute)"
    return Form("RolloutSpec", f"{is_ours} || ({holds})", says, arguments, path)


# Places where stages name something


@dataclass(frozen=True, slots=True)
class _Names:
    """One list of names in a stage (`s`) or a short form: `there` says whether it is, `list` is it, `path` its field below the stage."""

    there: str
    list: str
    path: str


def _names_at(root: str, fields: tuple[str, ...]) -> _Names:
    """The list that these fields lead to."""
    paths = [".".join(fields[: i + 1]) for i in range(len(fields))]
    there = " && ".join(f"has({root}.{path})" for path in paths)
    return _Names(there, f"{root}.{paths[-1]}", paths[-1])


def _in_stages(fields: tuple[str, ...], bad: str, sentence: str, where: str = "") -> Form:
    """No name `n` in this list of a stage `s` is `bad`; asked only of stages that are `where`."""
    at = _names_at("s", fields)
    there = f"{at.there} && {where}" if where else at.there
    said = formatted(f"spec.strategy.stages[%d].{at.path}[%d]: %s", "i", "j", "n")
    inner = first(at.list, bad, said, index="j", item="n")
    return Form(
        "RolloutSpec",
        f"!has({_STAGES}) || {_STAGES}.all(s, !({there} && {at.list}.exists(n, {bad})))",
        sentence,
        (first(_STAGES, f"{there} && {at.list}.exists(n, {bad})", inner, item="s"),),
    )


def _in_short(fields: tuple[str, ...], bad: str, sentence: str, where: str = "") -> Form:
    """The same for the short forms of a strategy."""
    at = _names_at("self.strategy", fields)
    there = f"{at.there} && {where}" if where else at.there
    said = formatted(f"spec.strategy.{at.path}[%d]: %s", "j", "n")
    return Form(
        "RolloutSpec",
        f"!({there} && {at.list}.exists(n, {bad}))",
        sentence,
        (first(at.list, bad, said, index="j", item="n"),),
    )


# Places where checks run (`stages.gates` in CEL)


@dataclass(frozen=True, slots=True)
class _No:
    """Why a check `c` that is `check` can say nothing at a gate of the stage `s`, wherever that is `where`."""

    check: str
    why: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class _Gate:
    """One place: the fields that lead to its list of names, and which checks are out of place there."""

    fields: tuple[str, ...]
    has_copies: bool
    refusals: tuple[_No, ...]


_IS_DISAGREEMENT: Final = '(has(c.metric) && c.metric == "shadow.disagreement")'
_NO_COPIES: Final = _No(
    _IS_DISAGREEMENT,
    "no copies are compared here: name it in a shadow stage, or in a flip's before with a preview",
)
_COMPARES: Final = f"(!has(c.max) && !has(c.within) && !{_IS_DISAGREEMENT})"
_NOTHING_TO_COMPARE: Final = "stable has no traffic here to compare with: use a check with max"
_ALONE: Final = (_NO_COPIES, _No(_COMPARES, _NOTHING_TO_COMPARE))


def _copies(share: str) -> tuple[_No, ...]:
    return (
        _No(
            f"(has(c.metric) && !{_IS_DISAGREEMENT})",
            "the candidate answers no users here: use shadow.disagreement, or a prometheus check",
        ),
        _No(
            _IS_DISAGREEMENT,
            "no copies are made here: set sample (or preview) above 0%%",
            f"{number(share)} == 0.0",
        ),
    )


_MATCHED: Final = (
    _NO_COPIES,
    _No(
        "(has(c.prometheus) && !has(c.max) && !has(c.within))",
        "its counters hold all of stable's requests, not only those that match: use max, or requests.errors",
    ),
    _No(
        f"({_COMPARES} && !has(c.prometheus))",
        _NOTHING_TO_COMPARE,
        f"{number('s.match.share')} * (has(s.match.to) ? double(size(s.match.to)) : 1.0) >= 100.0",
    ),
)
_STAGE_GATES: Final = (
    _Gate(("shadow", "checks"), True, _copies("s.shadow.sample")),
    _Gate(("match", "checks"), False, _MATCHED),
    _Gate(("canary", "checks"), False, (_NO_COPIES,)),
    _Gate(("flip", "before", "checks"), True, _copies("s.flip.preview")),
    _Gate(("flip", "after", "checks"), False, _ALONE),
    _Gate(("full", "checks"), False, _ALONE),
)
_SHORT_GATES: Final = (
    _Gate(("shadow", "checks"), True, _copies("s.shadow.sample")),
    _Gate(("canary", "checks"), False, (_NO_COPIES,)),
    _Gate(("blueGreen", "before", "checks"), True, _copies("s.blueGreen.preview")),
    _Gate(("blueGreen", "after", "checks"), False, _ALONE),
)


def _conclude() -> Iterator[Form]:
    bad = "(has(self.checks) && self.checks.exists(c, c.name == n && {}))"
    for gates, make in ((_STAGE_GATES, _in_stages), (_SHORT_GATES, _in_short)):
        for gate in gates:
            for no in gate.refusals:
                where = no.where if gates is _STAGE_GATES else no.where.replace("s.", "self.strategy.")
                yield make(gate.fields, bad.format(no.check), f"%s can never conclude here: {no.why}", where)


def _concludes(gate: _Gate, root: str) -> str:
    """CEL: can the check `c` say anything at this gate of the stage, or the short form, `root`?"""
    wheres = ((no.check, no.where.replace("s.", f"{root}.")) for no in gate.refusals)
    return " && ".join(f"!({check} && {where})" if where else f"!{check}" for check, where in wheres)


def _runs(gate: _Gate, root: str) -> str:
    """CEL: does the check `c` run at this gate of the stage, or the short form, `root`?"""
    at = _names_at(root, gate.fields)
    *before, _ = at.there.split(" && ")
    default = _concludes(gate, root) + (f" && {_IS_DISAGREEMENT}" if gate.has_copies else "")
    named = f"has({at.list}) ? c.name in {at.list} : ({default})"
    return f"({' && '.join(before)} && ({named}))"


def _runs_somewhere() -> str:
    """CEL: does the check `c` run at all? Short forms that end in `full` by themselves have its gate, too."""
    stages = " || ".join(_runs(gate, "s") for gate in _STAGE_GATES)
    short = " || ".join(_runs(gate, "self.strategy") for gate in _SHORT_GATES)
    full = f"((has(self.strategy.canary) || has(self.strategy.shadow)) && has(c.max) && !{_IS_DISAGREEMENT})"
    return f"(has({_STAGES}) ? {_STAGES}.exists(s, {stages}) : ({short} || {full}))"


# Strategy

_RANKS: Final = (("shadow", 0), ("match", 1), ("canary", 2), ("flip", 3), ("full", 4))


def _rank(stage: str) -> str:
    """CEL: how far the stage takes traffic; -1 for those that take none anywhere."""
    return "(" + "".join(f"has({stage}.{kind}) ? {rank} : " for kind, rank in _RANKS) + "-1)"


def _kind(stage: str) -> str:
    return "(" + "".join(f'has({stage}.{kind}) ? "{kind}" : ' for kind, _ in _RANKS) + '"")'


_TOO_LATE: Final = "self.stages.exists(j, t, j < i && {before} > {own})"
_AGAIN: Final = "({own} >= 3 && self.stages.exists(j, t, j < i && {before} == {own}))"


def _stage_order() -> Iterator[Form]:
    names = {"own": _rank("v"), "before": _rank("t")}
    late, again = _TOO_LATE.format(**names), _AGAIN.format(**names)
    said = formatted("stages[%d].%s: ", "i", _kind("v"))
    for wrong, sentence in (
        (
            f"({_rank('v')} >= 0 && {late})",
            "it would take the candidate's traffic back: put it earlier, or leave it out",
        ),
        (f"({again} && !{late})", "a second one: all traffic is there already; leave one out"),
    ):
        yield Form(
            "Strategy",
            f"!has(self.stages) || self.stages.all(i, v, !{wrong})",
            f"%s{sentence}",
            (first("self.stages", wrong, said),),
        )


def _rising(field: str, weight: str) -> Form:
    """Inside one canary. `weight` is the share of the item `v`."""
    items = f"self.{field}"
    before = number(weight.replace("v", f"{items}[i - 1]", 1))
    wrong = f"i > 0 && {number(weight)} <= {before}"
    at = f"{field}[%d]" + weight.removeprefix("v")
    return Form(
        "Canary",
        f"!has({items}) || {items}.all(i, v, !({wrong}))",
        "%s: weights only rise, so that no user moves back and forth",
        (first(items, wrong, formatted(f"{at}: %s is not more than what comes before", "i", weight)),),
    )


def _rising_on(field: str, weight: str) -> Form:
    """From one canary to the next: it may begin with the weight at which the last one ended. Both are stages."""
    begins = f"v.canary.{field}[0]{weight}"
    last = {other: f"t.canary.{other}[size(t.canary.{other}) - 1]" for other in ("weights", "steps")}
    higher = " || ".join(
        f"(has(t.canary.{other}) && size(t.canary.{other}) > 0 && {number(last[other] + part)} > {number(begins)})"
        for other, part in (("weights", ""), ("steps", ".weight"))
    )
    wrong = (
        f"has(v.canary) && has(v.canary.{field}) && "
        f"self.stages.exists(j, t, j < i && has(t.canary) && ({higher}))"
    )
    said = formatted(f"stages[%d].canary.{field}[0]{weight}: %s", "i", begins)
    return Form(
        "Strategy",
        f"!has(self.stages) || self.stages.all(i, v, !({wrong}))",
        "%s is less than what comes before: weights only rise, so that no user moves back and forth",
        (first("self.stages", wrong, said),),
    )


def _below_full(field: str, weight: str) -> Form:
    items = f"self.{field}"
    wrong = f"{number(weight)} >= 100.0"
    at = f"{field}[%d]" + weight.removeprefix("v")
    return Form(
        "Canary",
        f"!has({items}) || {items}.all(v, !({wrong}))",
        "%s: 100%% leaves stable nothing to compare with: end the weights below it; the stage full follows",
        (first(items, wrong, formatted(at, "i")),),
    )


_LEAST_S: Final = {
    "shadow": seconds("{}.duration"),
    "match": seconds("{}.duration"),
    "pause": f"(has({{}}.duration) ? {seconds('{}.duration')} : 0.0)",
    "flip": seconds("{}.bake"),
    "full": seconds("{}.bake"),
    "canary": (
        f"((has({{}}.ramp) ? {len(AUTO_WEIGHTS) * AUTO_EVERY_S} : 0.0)"
        f" + (has({{}}.weights) ? double(size({{}}.weights)) * (has({{}}.every) ? {seconds('{}.every')} : 60.0) : 0.0)"
        f" + (has({{}}.steps) ? {{}}.steps.map(x, {seconds('x.every')}).sum() : 0.0))"
    ),
}
"""CEL: the seconds that a stage of this kind lasts at least; `{}` is the stage."""


def _least_s(root: str, kind: str, name: str = "") -> str:
    path = f"{root}.{name or kind}"
    return f"(has({path}) ? {_LEAST_S[kind].replace('{}', path)} : 0.0)"


def _whole_s() -> str:
    stages = " + ".join(_least_s("s", kind) for kind in _LEAST_S)
    short = " + ".join(
        _least_s("self.strategy", kind, name)
        for kind, name in (("canary", ""), ("shadow", ""), ("flip", "blueGreen"))
    )
    return f"(has({_STAGES}) ? {_STAGES}.map(s, {stages}).sum() : {short})"


# Versions


def _same(field: str) -> str:
    """CEL: do the versions `v` and `w` have the same in this field, or both nothing?"""
    guards = [field[:i] for i, sign in enumerate(field) if sign == "."]
    there = [" && ".join(f"has({root}.{path})" for path in (*guards, field)) for root in ("v", "w")]
    return f"(({there[0]}) == ({there[1]}) && (!({there[0]}) || v.{field} == w.{field}))"


_WHAT_SERVES: Final = (
    "url",
    "service.name",
    "service.port",
    "inferenceService",
    "process.command",
    "process.env",
    "process.readiness",
    "readiness",
    "digest",
    "rewrite.path",
)
_SERVES_THE_SAME: Final = " && ".join(
    ["!has(v.rewrite) && !has(w.rewrite) && v.name != w.name", *map(_same, _WHAT_SERVES[:-1])]
)

# Times

_NO_DATE: Final = (
    r"^[0-9]{4}-(00|1[3-9]|[2-9][0-9])|^[0-9]{4}-[0-9]{2}-(00|3[2-9]|[4-9][0-9])|^[0-9]{4}-(02-3[01]|(04|06|09|11)-31)"
    r"|^[0-9]{2}([02468][1-35-79]|[13579][013-57-9])-02-29|T(2[4-9]|[3-9][0-9]):|T[0-9]{2}:[6-9]"
)
_OFFSET: Final = "(Z|[+-][0-9]{2}:[0-9]{2})$"


def _is_date(moment: str) -> str:
    return f"!{moment}.matches({text(_NO_DATE)})"


def _has_offset(moment: str) -> str:
    return f"({moment}.size() > 10 && {moment}.substring(10).matches({text(_OFFSET)}))"


def _instant(moment: str) -> str:
    """CEL: a sound moment as a timestamp, one without offset as if it were UTC."""
    time = f'({moment}.size() > 10 ? {moment}.substring(11, 16) : "00:00")'
    offset = f'({_has_offset(moment)} ? {moment}.substring(10).find({text(_OFFSET)}) : "Z")'
    return f'timestamp({moment}.substring(0, 10) + "T" + {time} + ":00" + {offset})'


_FIXED: Final = "has(self.from) && has(self.until) && !has(self.cron) && !has(self.__for__)"
_RECURRING: Final = "has(self.cron) && has(self.__for__) && !has(self.from) && !has(self.until)"
_COMPARABLE: Final = (
    f"({_FIXED}) && {_is_date('self.from')} && {_is_date('self.until')}"
    f" && {_has_offset('self.from')} == {_has_offset('self.until')}"
)


# Checks

_IS_LATENCY: Final = '(has(self.metric) && self.metric == "requests.latency")'
_IS_VALUE: Final = "(has(self.prometheus) && has(self.prometheus.value))"
_QUANTILE: Final = number("self.quantile")
_NO_SUCH_CHECK: Final = (
    '!(has(self.checks) ? self.checks.exists(c, c.name == n) : n in ["errors", "agreement"])'
)
_NO_SUCH_VERSION: Final = "%s is not among spec.versions: name one of them, or add it"
_VERSION_NAMES: Final = "(has(self.versions) && self.versions.exists(v, v.name == {}))"
_RECORDED: Final = 'has(self.warmup) && self.warmup.requests.from == "recorded"'
_OWN: Final = f"[{', '.join(text(name) for name in sorted(SENDERS_OWN))}]"

FORMS: Final[Mapping[str, tuple[Form, ...]]] = {
    "one-source": (
        Form(
            "Version",
            _one_of("url", "service", "inferenceService", "process"),
            "version %s needs exactly one thing that serves it: write service, inferenceService, url or process",
            ("self.name",),
        ),
        Form(
            "Version",
            "!has(self.deployment) || has(self.service)",
            "it is looked at for the Service in front of it: write service: {name: %s, port: 8080}",
            ("self.name",),
            path=".deployment",
        ),
    ),
    "readiness-place": (
        Form(
            "Version",
            "!has(self.process) || !has(self.readiness)",
            "readiness of a process is written inside process; here it is for a url",
            path=".readiness",
        ),
        Form(
            "Version",
            "!has(self.service) || !has(self.readiness)",
            "a Service has its pods' readinessProbe: write it in the pod template; here it is for a url",
            path=".readiness",
        ),
        Form(
            "Version",
            "!has(self.inferenceService) || !has(self.readiness)",
            "an InferenceService says itself whether it is ready; here it is for a url",
            path=".readiness",
        ),
    ),
    "one-way": (
        Form(
            "RolloutSpec",
            "has(self.template) || has(self.versions) || has(self.workloadRef)",
            "it says not what serves: write versions and target, or template and port, or workloadRef",
        ),
        Form(
            "RolloutSpec",
            "!has(self.workloadRef) || !(has(self.template) || has(self.versions))",
            "workloadRef and %s are both there: write one of them",
            ("has(self.template) ? 'template' : 'versions'",),
            path=".workloadRef",
        ),
        Form(
            "RolloutSpec",
            "!has(self.template) || !has(self.versions)",
            "template and versions are both there: write one of them",
            path=".template",
        ),
    ),
    "required": (
        Form(
            "RolloutSpec",
            "!has(self.versions) || has(self.target)",
            "it is missing: write the name of the version that shall serve everything",
            path=".target",
        ),
        Form(
            "RolloutSpec",
            "has(self.template) || has(self.workloadRef) || !has(self.port)",
            "it is for the pods of template: leave it out",
            path=".port",
        ),
        Form(
            "RolloutSpec",
            "!has(self.template) || has(self.versions) || has(self.port)",
            "it is missing: write the port that the pods of template serve at, such as 8080",
            path=".port",
        ),
        Form(
            "RolloutSpec",
            f"!{_IS_MADE} || has(self.versions) || !has(self.target)",
            "the template is the target: leave it out",
            path=".target",
        ),
        Form(
            "RolloutSpec",
            f"!{_IS_MADE} || has(self.versions) || !has(self.initialStable)",
            "the first template is stable once it serves: leave it out",
            path=".initialStable",
        ),
    ),
    "version-label": (
        Form(
            "PodMetadata",
            f"!has(self.labels) || !({text(VERSION_LABEL)} in self.labels)"
            f" || {whole(f'self.labels[{text(VERSION_LABEL)}]', VERSION_NAME)}",
            "headgate.dev/version: %s is not a name of a version: lower-case letters, digits and -, such as v8",
            (f"self.labels[{text(VERSION_LABEL)}]",),
            path=".labels",
        ),
    ),
    "unique-version-names": (_unique("RolloutSpec", "versions", "spec.versions"),),
    "unique-versions": (
        Form(
            "RolloutSpec",
            f"!has(self.versions) || self.versions.all(i, v, !self.versions.exists(j, w, j < i && {_SERVES_THE_SAME}))",
            "%s serves the very same as another, so nothing could tell them apart: leave one out, or give one a digest of its own",
            (
                first(
                    "self.versions",
                    f"self.versions.exists(j, w, j < i && {_SERVES_THE_SAME})",
                    formatted("spec.versions[%d]: %s", "i", "v.name"),
                ),
            ),
        ),
    ),
    "port-placeholder": (
        Form(
            "Process",
            'self.command.exists(x, x.contains("{port}"))'
            ' || (has(self.env) && self.env.exists(x, self.env[x].contains("{port}")))',
            'it names no {port}: the port is chosen when the process starts; hand it over in command or env, such as --port, "{port}"',
            path=".command",
        ),
    ),
    "known-version": (
        Form(
            "RolloutSpec",
            f"!has(self.target) || !has(self.versions) || {_VERSION_NAMES.format('self.target')}",
            _NO_SUCH_VERSION,
            ("self.target",),
            path=".target",
        ),
        Form(
            "RolloutSpec",
            f"!has(self.initialStable) || !has(self.versions) || {_VERSION_NAMES.format('self.initialStable')}",
            _NO_SUCH_VERSION,
            ("self.initialStable",),
            path=".initialStable",
        ),
        Form(
            "RolloutSpec",
            f"!has(self.overrides) || !has(self.overrides.allow) || self.overrides.allow.all(n, {_VERSION_NAMES.format('n')})",
            _NO_SUCH_VERSION,
            (
                first(
                    "self.overrides.allow",
                    f"!{_VERSION_NAMES.format('n')}",
                    formatted("spec.overrides.allow[%d]: %s", "i", "n"),
                    item="n",
                ),
            ),
        ),
        *(
            make((kind, "to"), f"!{_VERSION_NAMES.format('n')}", _NO_SUCH_VERSION)
            for make, kinds in (
                (_in_stages, ("shadow", "match", "canary")),
                (_in_short, ("shadow", "canary")),
            )
            for kind in kinds
        ),
    ),
    "one-strategy": (
        Form(
            "Strategy",
            _one_of("canary", "blueGreen", "shadow", "stages"),
            "write exactly one of canary, blueGreen, shadow, stages; several in a row are written as stages",
        ),
    ),
    "one-kind-a-stage": (
        Form(
            "Stage",
            _at_most_one_of(*_KINDS),
            f"a stage is exactly one of {', '.join(_KINDS)}",
        ),
    ),
    "canary-form": (
        Form(
            "Canary",
            _one_of("weights", "steps", "ramp"),
            "write one of weights: [5%, 25%] with every: 60s, steps: [{weight: 5%, every: 60s}], or ramp: auto with riskBudget: 0.1%",
        ),
        Form(
            "Canary",
            f"!{_one_of('weights', 'steps', 'ramp')} || has(self.ramp) == has(self.riskBudget)",
            "ramp: auto and riskBudget: 0.1% go together",
        ),
        Form(
            "Canary",
            "!has(self.ramp) || !has(self.riskBudget) || has(self.weights) || has(self.steps)"
            " || !(has(self.every) || has(self.advance))",
            "the automatic ramp has its own time and its own rule: leave every and advance out",
        ),
        Form(
            "Canary",
            "!has(self.steps) || !has(self.every) || has(self.weights) || has(self.ramp)",
            "steps have a time of their own: write every in each step",
            path=".every",
        ),
    ),
    "weights-rise": (
        _rising("weights", "v"),
        _rising("steps", "v.weight"),
        _rising_on("weights", ""),
        _rising_on("steps", ".weight"),
    ),
    "weights-below-full": (_below_full("weights", "v"), _below_full("steps", "v.weight")),
    "stage-order": tuple(_stage_order()),
    "stages-end": (
        Form(
            "Strategy",
            "!has(self.stages) || self.stages.all(i, v, i < size(self.stages) - 1 || "
            "!(has(v.shadow) || has(v.match) || has(v.canary) || has(v.approval) || has(v.pause)))",
            "stages[%d]: the rollout would never end: the last stage is full or flip; add - full: {}",
            ("size(self.stages) - 1",),
        ),
    ),
    "match-form": (
        Form(
            "Match",
            "has(self.headers) || has(self.cookies)",
            'it matches everything: write headers: [{name: x-beta, exact: "1"}], or cookies',
        ),
        Form(
            "Match",
            "(has(self.headers) ? size(self.headers) : 0) + (has(self.cookies) ? size(self.cookies) : 0) <= 8",
            "at most 8 conditions, headers and cookies together",
        ),
        Form(
            "Condition",
            "!has(self.exact) || !has(self.prefix)",
            "exact and prefix are both there: write one of them",
        ),
    ),
    "to-named-once": tuple(_named_once(on, "to") for on in ("Shadow", "Match", "Canary")),
    "shares-fit": (
        Form(
            "Canary",
            "!has(self.ramp) || !has(self.to) || size(self.to) <= 1",
            "the automatic ramp is for the target alone: write weights, or leave to out",
            path=".to",
        ),
        *(
            Form(
                "Canary",
                f"!has(self.to) || size(self.to) <= 1 || !has(self.{field}) || self.{field}.all(v, {number(share)} * double(size(self.to)) <= 100.0)",
                "%s with so many versions is more than all",
                (
                    first(
                        f"self.{field}",
                        f"{number(share)} * double(size(self.to)) > 100.0",
                        formatted(f"{field}[%d]{share.removeprefix('v')}: %s each", "i", share),
                    ),
                ),
            )
            for field, share in (("weights", "v"), ("steps", "v.weight"))
        ),
        Form(
            "Match",
            f"!has(self.to) || size(self.to) <= 1 || {number('self.share')} * double(size(self.to)) <= 100.0",
            "%d versions with %s each are more than all",
            ("size(self.to)", "self.share"),
            path=".share",
        ),
    ),
    "replicas-fit": (
        Form(
            "RolloutSpec",
            "self.capacity.minReplicas <= self.replicas",
            "%d is more than spec.replicas (%d): lower it, or raise replicas",
            ("self.capacity.minReplicas", "self.replicas"),
            path=".capacity.minReplicas",
        ),
    ),
    "approval-expiry": (
        Form(
            "Approval",
            "!has(self.onExpire) || has(self.expires)",
            "it never expires: write expires: 4h, or leave onExpire out",
            path=".onExpire",
        ),
    ),
    "pairs-need-copies": (
        Form(
            "Shadow",
            f"{number('self.sample')} > 0.0 || self.minPairs == 0",
            "with sample 0% no pair is ever compared: raise sample, or leave it out",
            path=".minPairs",
        ),
        Form(
            "Shadow",
            f"{number('self.sample')} > 0.0 || self.minPairs > 0",
            "0% copies nothing: raise it, or leave the stage out",
            path=".sample",
        ),
    ),
    "max-duration": (
        Form(
            "RolloutSpec",
            f"{_whole_s()} <= {seconds('self.decision.maxDuration')}",
            "the stages alone last longer than maxDuration (%s): raise it, or shorten them",
            ("self.decision.maxDuration",),
            path=".decision.maxDuration",
        ),
    ),
    "unique-check-names": (_unique("RolloutSpec", "checks", "spec.checks"),),
    "check-source": (
        Form(
            "Check",
            "has(self.metric) != has(self.prometheus)",
            "check %s needs one source: write metric, or prometheus with events and total",
            ("self.name",),
        ),
        Form(
            "Prometheus",
            "has(self.value) ? !has(self.events) && !has(self.total) : has(self.events) && has(self.total)",
            "it needs events and total, or value alone",
        ),
    ),
    "check-limit": (
        Form(
            "Check",
            "[has(self.noWorseThan), has(self.max), has(self.within)].filter(there, there).size() == 1",
            "check %s needs one limit: noWorseThan (against stable), max (the candidate alone), or within (a value)",
            ("self.name",),
        ),
        Form(
            "Within",
            "has(self.min) || has(self.max)",
            "it bounds nothing: write max, or min, or both",
        ),
        Form(
            "Within",
            "!has(self.min) || !has(self.max) || self.min <= self.max",
            "it is upside down: min must not be above max",
        ),
        Form(
            "Failures",
            "self.at <= self.of",
            "so many can never fail: at must not be above of",
        ),
        Form(
            "NoWorseThan",
            "has(self.ratio) || has(self.plus) || has(self.slower)",
            "it tolerates nothing: write ratio and plus, or slower for latency",
        ),
        Form(
            "NoWorseThan",
            f"!has(self.plus) || {number('self.plus')} > 0.0 || (has(self.ratio) && self.ratio > 1.0)",
            "no version can be proven so good: even an equal one is only ever shown to be nearly so; write ratio: 1.2, or plus: 0.02pp",
        ),
    ),
    "limit-fits-metric": (
        Form(
            "Check",
            f"!{_IS_VALUE} || has(self.within)",
            "a value has no chance to be reckoned with: write within: {max: 0.9}",
        ),
        Form(
            "Check",
            f"{_IS_VALUE} || !has(self.within)",
            "it is for prometheus.value: write max or noWorseThan here",
            path=".within",
        ),
        Form(
            "Check",
            "has(self.within) || !has(self.failures)",
            "it is for a value: what is counted needs no such rule; leave it out",
            path=".failures",
        ),
        Form(
            "Check",
            f"!{_IS_LATENCY} || (!has(self.max) && (!has(self.noWorseThan) || has(self.noWorseThan.slower)))",
            "requests.latency is compared with stable's: write noWorseThan: {slower: 10%}",
        ),
        Form(
            "Check",
            f"{_IS_LATENCY} || !has(self.noWorseThan) || !has(self.noWorseThan.slower)",
            "slower is for requests.latency: write ratio and plus here",
            path=".noWorseThan.slower",
        ),
        Form(
            "Check",
            f"!{_IS_LATENCY} || !has(self.noWorseThan) || (!has(self.noWorseThan.ratio) && !has(self.noWorseThan.plus))",
            "ratio and plus are for shares of requests: write slower alone",
            path=".noWorseThan",
        ),
        Form(
            "Check",
            '!has(self.noWorseThan) || !has(self.metric) || self.metric != "shadow.disagreement"',
            "stable has no disagreement of its own to compare with: write max: 1%",
            path=".noWorseThan",
        ),
    ),
    "quantile": (
        Form(
            "Check",
            f"!has(self.quantile) || {_IS_LATENCY}",
            "only requests.latency has a quantile: leave it out",
            path=".quantile",
        ),
        Form(
            "Check",
            f"!has(self.quantile) || !{_IS_LATENCY} || ({_QUANTILE} >= 50.0 && {_QUANTILE} <= 99.9)",
            "%s is out of bounds: from p50 to p99.9",
            ("self.quantile",),
            path=".quantile",
        ),
    ),
    "per-slice": (
        Form(
            "Check",
            '!self.perSlice || (has(self.metric) && self.metric == "shadow.disagreement")',
            "only shadow.disagreement is counted by slice: leave it out",
            path=".perSlice",
        ),
    ),
    "query-version": tuple(
        Form(
            "Prometheus",
            f'!has(self.{field}) || self.{field}.contains("{{{{version}}}}")',
            'it does not say which version it counts: put {{version}} into a label, such as version="{{version}}"',
            path=f".{field}",
        )
        for field in ("events", "total", "value")
    ),
    "known-check": tuple(
        make(gate.fields, _NO_SUCH_CHECK, "%s is not among spec.checks")
        for make, gates in ((_in_stages, _STAGE_GATES), (_in_short, _SHORT_GATES))
        for gate in gates
    ),
    "check-named-once": tuple(
        _named_once(on, "checks") for on in ("Shadow", "Match", "Canary", "Gate", "Full")
    ),
    "check-cannot-conclude": tuple(_conclude()),
    "check-never-runs": (
        Form(
            "RolloutSpec",
            f"!has(self.checks) || self.checks.all(c, {_runs_somewhere()})",
            "%s runs in no stage, so it would protect nobody",
            (
                first(
                    "self.checks",
                    f"!{_runs_somewhere()}",
                    formatted("spec.checks[%d]: check %s", "i", "c.name"),
                    item="c",
                ),
            ),
        ),
    ),
    "band-order": (
        Form(
            "Bands",
            "!has(self.boundary) || size(self.boundary) != 2 || self.boundary[0] <= self.boundary[1]",
            "it is upside down: the lower confidence comes first",
            path=".boundary",
        ),
    ),
    "no-data-timeout": (
        Form(
            "Decision",
            f'!has(self.onNoData) || self.onNoData != "rollback" || {seconds("self.noDataTimeout")} <= {seconds("self.maxDuration")}',
            "%s is longer than maxDuration (%s), so onNoData would never be done: shorten it",
            ("self.noDataTimeout", "self.maxDuration"),
            path=".noDataTimeout",
        ),
    ),
    "freeze-form": (
        Form(
            "Freeze",
            f"({_FIXED}) || ({_RECURRING})",
            "a freeze is from and until, or cron and for: write one of these pairs",
        ),
        *(
            Form(
                "Freeze",
                f"!({_FIXED}) || {_is_date(f'self.{name}')}",
                "%s is no time of any calendar",
                (f"self.{name}",),
                path=f".{name}",
            )
            for name in ("from", "until")
        ),
    ),
    "freeze-order": (
        Form(
            "Freeze",
            f"!({_COMPARABLE}) || {_instant('self.until')} > {_instant('self.from')}",
            "%s is not after from (%s): swap them",
            ("self.until", "self.from"),
            path=".until",
        ),
        Form(
            "Freeze",
            f'!({_COMPARABLE}) || {_instant("self.until")} - {_instant("self.from")} <= duration("8784h")',
            "it lasts longer than a year: write paused: true instead",
            path=".until",
        ),
    ),
    "unique-hook-names": (_unique("RolloutSpec", "hooks", "spec.hooks"),),
    "hook-on-fail": (
        Form(
            "Hook",
            '!has(self.onFail) || !self.at.startsWith("after-")',
            "%s is told, nothing waits for it: leave onFail out",
            ("self.at",),
            path=".onFail",
        ),
        Form(
            "Hook",
            '!has(self.onFail) || self.onFail != "rollback" || self.at != "before-start"',
            "before-start there is nothing to roll back: write hold",
            path=".onFail",
        ),
    ),
    "warmup-requests": (
        Form(
            "WarmRequests",
            'self.from != "inline" || has(self.inline)',
            "no request is there to send: write inline: [{path: /…, body: {…}}]",
            path=".inline",
        ),
        Form(
            "WarmRequests",
            'self.from != "inline" || !has(self.path)',
            "each request of inline has a path of its own: leave this one out",
            path=".path",
        ),
        Form(
            "WarmRequests",
            'self.from != "recorded" || !has(self.inline)',
            "recorded requests are sent, not these: write from: inline, or leave it out",
            path=".inline",
        ),
        Form(
            "WarmRequests",
            'self.from != "recorded" || has(self.path)',
            "records keep a request's body, not its path: write where they are sent, /…",
            path=".path",
        ),
        Form(
            "WarmRequests",
            'self.from != "configMap" || has(self.configMap)',
            "it says not which: write configMap: {name: …}",
            path=".configMap",
        ),
        Form(
            "WarmRequests",
            'self.from == "configMap" || !has(self.configMap)',
            "it is for from: configMap: write that, or leave it out",
            path=".configMap",
        ),
        Form(
            "WarmRequests",
            'self.from != "configMap" || !has(self.inline)',
            "those of the ConfigMap are sent, not these: write from: inline, or leave it out",
            path=".inline",
        ),
        Form(
            "WarmRequests",
            'self.from != "configMap" || !has(self.path)',
            "each request of the ConfigMap has a path of its own: leave this one out",
            path=".path",
        ),
        Form(
            "RolloutSpec",
            f'!({_RECORDED}) || self.capture.store != "none"',
            "nothing is recorded while capture.store is none: write capture: {store: full}, or from: inline",
            path=".warmup.requests.from",
        ),
        Form(
            "RolloutSpec",
            f'!({_RECORDED}) || self.capture.store != "redacted" || (has(self.capture.redact) && size(self.capture.redact) > 0)',
            "capture.store: redacted without capture.redact masks every value, and no model answers such requests: say in capture.redact what to hide, or write from: inline",
            path=".warmup.requests.from",
        ),
        Form(
            "WarmRequest",
            f"!has(self.headers) || self.headers.all(k, !(k.lowerAscii() in {_OWN}))",
            "headers.%s: it says how a request is sent and is written by the sender: leave it out",
            (f"self.headers.filter(k, k.lowerAscii() in {_OWN})[0]",),
        ),
    ),
    "warmup-times": (
        Form(
            "RolloutSpec",
            f"!has(self.warmup) || {seconds('self.warmup.until.stableFor')} <= {seconds('self.warmup.maxWait')}",
            "%s is longer than maxWait (%s), so nothing would ever be proven warm: shorten it",
            ("self.warmup.until.stableFor", "self.warmup.maxWait"),
            path=".warmup.until.stableFor",
        ),
        Form(
            "RolloutSpec",
            f"!has(self.warmup) || {seconds('self.warmup.until.stableFor')} > {seconds('self.warmup.maxWait')}"
            f" || {seconds('self.warmup.maxWait')} <= {seconds('self.decision.maxDuration')}",
            "%s is longer than decision.maxDuration (%s), which the whole rollout may last: shorten it",
            ("self.warmup.maxWait", "self.decision.maxDuration"),
            path=".warmup.maxWait",
        ),
    ),
    "traffic-form": (
        Form(
            "Traffic",
            "!(has(self.router) && has(self.httpRoute))",
            "router and httpRoute are both there: write one of them",
        ),
        Form(
            "HttpRoute",
            "has(self.rules) || has(self.gateways)",
            "say which gateways carry it: gateways: [{name: public}]; or, of a route that is there already, "
            "which rules are Headgate's: rules: [model]",
        ),
        Form(
            "HttpRoute",
            "!has(self.rules) || !(has(self.gateways) || has(self.hostnames))",
            "the route with these rules has its own gateways and hostnames: leave them out here",
            path=".rules",
        ),
    ),
    "route-versions": (
        _by_route(
            "!has(self.template)",
            "an HTTPRoute names Services: write versions, each with its service",
            path=".template",
        ),
        _by_route(
            "!has(self.workloadRef)",
            "an HTTPRoute names Services: write versions, each with its service",
            path=".workloadRef",
        ),
        _by_route(
            "!has(self.versions) || self.versions.all(v, has(v.service))",
            "%s",
            first(
                "self.versions",
                "!has(v.service)",
                formatted(
                    "spec.versions[%d]: an HTTPRoute names Services: write service for version %s",
                    "i",
                    "v.name",
                ),
            ),
        ),
        _by_route(
            "!has(self.versions) || self.versions.all(v, !has(v.service) || type(v.service.port) == int)",
            "%s",
            first(
                "self.versions",
                "has(v.service) && type(v.service.port) != int",
                formatted(
                    "spec.versions[%d].service.port: an HTTPRoute names ports by their number: write it", "i"
                ),
            ),
        ),
    ),
    "route-evidence": (
        _by_route(
            "has(self.checks)",
            "left out, they are what routers measure, and a gateway tells nothing: write prometheus checks, or []",
            path=".checks",
        ),
        _by_route(
            "!has(self.checks) || self.checks.all(v, !has(v.metric))",
            "%s",
            first(
                "self.checks",
                "has(v.metric)",
                formatted(
                    "spec.checks[%d].metric: routers measure it, and a gateway tells nothing: use prometheus",
                    "i",
                ),
            ),
        ),
    ),
    "route-abilities": (
        _by_route("!has(self.identity)", ROUTERS_ONLY, path=".identity"),
        _by_route("!has(self.overrides)", ROUTERS_ONLY, path=".overrides"),
        _by_route(
            "!has(self.versions) || self.versions.all(v, !has(v.rewrite))",
            "%s",
            first(
                "self.versions",
                "has(v.rewrite)",
                formatted(f"spec.versions[%d].rewrite: {ROUTERS_ONLY}", "i"),
            ),
        ),
    ),
    "take-over": (
        Form(
            "RolloutSpec",
            "!has(self.traffic) || !has(self.traffic.router) || !has(self.traffic.router.takeOver)"
            " || !has(self.versions) || self.versions.all(v, !has(v.service) || v.service.name != self.traffic.router.takeOver)",
            "%s",
            (
                first(
                    "self.versions",
                    "has(v.service) && v.service.name == self.traffic.router.takeOver",
                    formatted(f"spec.versions[%d].service.name: {LOOP}", "i"),
                ),
            ),
        ),
    ),
}

_STABLE: Final = (
    "has(oldSelf.status) && has(oldSelf.status.stableVersion) && has(oldSelf.spec.versions) && has(self.spec.versions)"
    " && self.spec.versions != oldSelf.spec.versions"
)
_IS_STABLE: Final = "v.name == oldSelf.status.stableVersion"
_REDEFINED: Final = f"{_IS_STABLE} && oldSelf.spec.versions.exists(w, w.name == v.name && !({' && '.join(map(_same, _WHAT_SERVES))}))"

CHANGES: Final[Mapping[str, Form]] = {
    "initial-stable": Form(
        "RolloutSpec",
        "oldSelf.hasValue() || !has(self.versions) || size(self.versions) == 1 || has(self.initialStable)",
        "the first apply names several versions: say which one is proven and serves now, so that nothing becomes stable unproved",
        path=".initialStable",
        is_of_creation=True,
    ),
    "stable-removed": Form(
        "ModelRollout",
        f'!({_STABLE}) || oldSelf.status.stableVersion == "" || self.spec.versions.exists(v, {_IS_STABLE})',
        "%s is stable and serves: keep it in versions until another version is promoted",
        ("oldSelf.status.stableVersion",),
        path=".spec.versions",
    ),
    "stable-redefined": Form(
        "ModelRollout",
        f"!({_STABLE}) || !self.spec.versions.exists(v, {_REDEFINED})",
        "%s is stable, and what it serves would change under its name: leave it as it was, add the change as a new version and set target to it",
        (first("self.spec.versions", _REDEFINED, formatted("spec.versions[%d]: %s", "i", "v.name")),),
    ),
}
"""What may not become of what is there (`parse.changes`). ModelRollout is the whole object; a rewrite's body is unseen."""

UNSEEN: Final[Mapping[str, str]] = {
    "unique-versions": "versions with a rewrite (its body may be any JSON), and times that are equal but written otherwise",
    "base-dir": "an annotation: of metadata the API server shows a rule only the name",
    "one-kind-a-stage": "a stage with two kinds of which one has nothing behind it (null, which CEL takes for absent)",
    "stages-end": "a last stage with nothing behind it (null, which CEL takes for absent)",
    "known-check": "that errors or agreement, the checks of a rollout that writes none, run nowhere",
    "check-cannot-conclude": "the same for errors and agreement where the rollout writes no checks",
    "cron-fires": "a cron expression as days: CEL knows no calendar",
    "freeze-order": "from and until of which only one has an offset: CEL knows no time zones",
    "route-abilities": "what a stage of a rollout by httpRoute asks (minPairs, cookies, prefix): the rule would cost more than it may",
    "take-over": "a url that names the Service with its namespace, which rules of the spec are not shown",
    "window-opens": "windows and freezes as times of a year: CEL knows no calendar and no time zones",
}
"""What of a rule the API server cannot see, and why."""


def with_forms(rules: Iterable[Rule[D]]) -> tuple[Rule[D], ...]:
    """The rules, each with its forms in CEL and what those leave out."""
    return tuple(
        replace(rule, forms=FORMS.get(rule.name, ()), unseen=UNSEEN.get(rule.name, "")) for rule in rules
    )
