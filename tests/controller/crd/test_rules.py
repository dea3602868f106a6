"""Every rule of the table: what breaks it is refused with field, rule and remedy, and nothing else is."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.crd import Fault, Refused, parse
from controller.crd.rules import RULES
from tests.controller.crd.specs import AGREE, ERRORS, LATENCY, REDO, SLO, Document, changed, flipping, sound

Change = Callable[[Document], Any]


def stages(*found: Document) -> Change:
    return lambda spec: spec["strategy"].update(stages=list(found))


def checks(*found: Document) -> Change:
    return lambda spec: spec.update(checks=list(found), strategy={"canary": {"weights": ["5%"]}})


def canary(**fields: Any) -> Change:
    return lambda spec: spec.update(strategy={"canary": fields}, checks=[ERRORS])


def hooks(*found: Document) -> Change:
    named = [{"name": "gate", "url": "https://hooks.example/gate", **hook} for hook in found]
    return lambda spec: spec.update(hooks=named)


def freeze(**fields: str) -> Change:
    return lambda spec: spec.update(schedule={"freeze": [fields]})


def versions(index: int, **fields: Any) -> Change:
    return lambda spec: spec["versions"][index].update(fields)


INLINE: Document = {"from": "inline", "inline": [{"path": "/infer", "body": {}}]}


def warmup(requests: Document = INLINE, **fields: Any) -> Change:
    return lambda spec: spec.update(warmup={"requests": requests} | fields)


def recorded(capture: Document, **fields: Any) -> Change:
    return lambda spec: spec.update(capture=capture, warmup={"requests": {"from": "recorded"} | fields})


def matching(**fields: Any) -> Document:
    return {"match": {"headers": [{"name": "x-beta"}]} | fields}


SHADOW, CANARY, FULL, FLIP = {"shadow": {}}, {"canary": {"weights": ["5%"]}}, {"full": {}}, {"flip": {}}
PROCESS = {"command": ["serve", "{port}"], "readiness": {"httpGet": {"path": "/ready"}}}

BROKEN: list[tuple[str, Change, str, str]] = [
    ("one-source", versions(0, process=PROCESS), "spec.versions[0]", "has both url and process"),
    ("one-source", lambda spec: spec["versions"][0].pop("url"), "spec.versions[0]", "write url or process"),
    (
        "readiness-place",
        versions(1, readiness={"httpGet": {"path": "/ready"}}),
        "spec.versions[1].readiness",
        "inside process",
    ),
    (
        "unique-version-names",
        lambda spec: spec["versions"].append({"name": "v7", "url": "http://127.0.0.1:1"}),
        "spec.versions[2].name",
        "also the name of versions[0]",
    ),
    (
        "unique-versions",
        lambda spec: spec["versions"].append({"name": "v9", "url": "http://127.0.0.1:9000/fraud"}),
        "spec.versions[2]",
        "the very same as v7",
    ),
    (
        "port-placeholder",
        lambda spec: spec["versions"][1]["process"].update(command=["serve", "--port", "80"]),
        "spec.versions[1].process.command",
        "names no {port}",
    ),
    (
        "known-version",
        lambda spec: spec.update(target="v9"),
        "spec.target",
        "v9 is not among spec.versions (v7, v8)",
    ),
    ("known-version", lambda spec: spec.update(initialStable="v9"), "spec.initialStable", "v9 is not among"),
    (
        "known-version",
        lambda spec: spec.update(overrides={"header": "x-version", "allow": ["v8", "v9"]}),
        "spec.overrides.allow[1]",
        "v9 is not among",
    ),
    (
        "one-strategy",
        lambda spec: spec["strategy"].update(canary={"weights": ["5%"]}),
        "spec.strategy",
        "canary and stages are both there",
    ),
    (
        "one-strategy",
        lambda spec: spec.update(strategy={}, checks=[]),
        "spec.strategy",
        "write one of canary, blueGreen",
    ),
    (
        "one-kind-a-stage",
        stages(SHADOW, {}, CANARY, FULL),
        "spec.strategy.stages[1]",
        "this one says nothing",
    ),
    (
        "one-kind-a-stage",
        stages(SHADOW, {**CANARY, "pause": {}}, FULL),
        "spec.strategy.stages[1]",
        "this one has canary and pause",
    ),
    ("canary-form", canary(), "spec.strategy.canary", "write one of weights"),
    ("canary-form", canary(ramp="auto"), "spec.strategy.canary", "go together"),
    ("canary-form", canary(weights=["5%"], riskBudget="0.1%"), "spec.strategy.canary", "go together"),
    (
        "canary-form",
        canary(ramp="auto", riskBudget="0.1%", every="5s"),
        "spec.strategy.canary",
        "has its own time",
    ),
    (
        "approval-expiry",
        stages(SHADOW, {"approval": {"onExpire": "abort"}}, CANARY, FULL),
        "spec.strategy.stages[1].approval.onExpire",
        "it never expires",
    ),
    (
        "match-form",
        stages(SHADOW, {"match": {}}, CANARY, FULL),
        "spec.strategy.stages[1].match",
        "matches everything",
    ),
    (
        "match-form",
        stages(
            SHADOW,
            matching(headers=[{"name": f"x-{i}"} for i in range(5)], cookies=[{"name": "a"}] * 4),
            CANARY,
            FULL,
        ),
        "spec.strategy.stages[1].match",
        "at most 8",
    ),
    (
        "match-form",
        stages(SHADOW, matching(cookies=[{"name": "group", "exact": "b", "prefix": "b"}]), CANARY, FULL),
        "spec.strategy.stages[1].match.cookies[0]",
        "write one of them",
    ),
    (
        "stage-order",
        stages(SHADOW, CANARY, matching(), FULL),
        "spec.strategy.stages[2].match",
        "match after canary",
    ),
    (
        "to-named-once",
        stages({"shadow": {"to": ["v8", "v8"]}}, CANARY, FULL),
        "spec.strategy.stages[0].shadow.to[1]",
        "named twice",
    ),
    (
        "known-version",
        stages({"shadow": {"to": ["v8", "v99"]}}, CANARY, FULL),
        "spec.strategy.stages[0].shadow.to[1]",
        "v99 is not among spec.versions",
    ),
    (
        "shares-fit",
        stages(SHADOW, {"canary": {"weights": ["5%", "60%"], "to": ["v7", "v8"]}}, FULL),
        "spec.strategy.stages[1].canary.weights[1]",
        "at most 50%",
    ),
    (
        "shares-fit",
        stages(SHADOW, {"canary": {"ramp": "auto", "riskBudget": "0.1%", "to": ["v7", "v8"]}}, FULL),
        "spec.strategy.stages[1].canary.to",
        "for the target alone",
    ),
    (
        "shares-fit",
        stages(SHADOW, matching(share="75%", to=["v7", "v8"]), CANARY, FULL),
        "spec.strategy.stages[1].match.share",
        "at most 50%",
    ),
    (
        "replicas-fit",
        lambda spec: spec.update(replicas=2, capacity={"scaleWithWeight": True, "minReplicas": 3}),
        "spec.capacity.minReplicas",
        "more than spec.replicas (2)",
    ),
    (
        "check-cannot-conclude",
        stages(SHADOW, matching(checks=["errors"]), CANARY, FULL),
        "spec.strategy.stages[1].match.checks[0]",
        "stable has no traffic here",
    ),
    (
        "canary-form",
        canary(weights=["5%"], steps=[{"weight": "9%"}]),
        "spec.strategy.canary",
        "write one of weights",
    ),
    (
        "canary-form",
        canary(steps=[{"weight": "9%"}], every="60s"),
        "spec.strategy.canary.every",
        "steps have a time of their own",
    ),
    (
        "weights-rise",
        canary(weights=["5%", "25%", "10%"]),
        "spec.strategy.canary.weights[2]",
        "falls to 10% after 25%",
    ),
    ("weights-rise", canary(weights=["5%", "5%"]), "spec.strategy.canary.weights[1]", "repeats 5% after 5%"),
    (
        "weights-rise",
        canary(steps=[{"weight": "9%"}, {"weight": "8%"}]),
        "spec.strategy.canary.steps[1].weight",
        "falls to 8% after 9%",
    ),
    (
        "weights-rise",
        stages(
            SHADOW,
            {"canary": {"weights": ["5%", "25%"]}},
            {"pause": {}},
            {"canary": {"weights": ["5%"]}},
            FULL,
        ),
        "spec.strategy.stages[3].canary.weights[0]",
        "falls to 5% after 25%",
    ),
    (
        "weights-below-full",
        canary(weights=["50%", "100%"]),
        "spec.strategy.canary.weights[1]",
        "the stage full follows",
    ),
    (
        "stage-order",
        stages(SHADOW, FLIP, CANARY, FULL),
        "spec.strategy.stages[2].canary",
        "canary after flip",
    ),
    ("stage-order", stages(SHADOW, CANARY, FULL, FULL), "spec.strategy.stages[3].full", "a second full"),
    (
        "stage-order",
        stages(SHADOW, CANARY, SHADOW, FULL),
        "spec.strategy.stages[2].shadow",
        "shadow after canary",
    ),
    ("stage-order", stages(SHADOW, CANARY, FLIP, FLIP), "spec.strategy.stages[3].flip", "a second flip"),
    ("stages-end", stages(SHADOW, CANARY), "spec.strategy.stages[1]", "would never end"),
    ("stages-end", stages(SHADOW, CANARY, {"pause": {}}), "spec.strategy.stages[2]", "add - full: {}"),
    (
        "pairs-need-copies",
        stages({"shadow": {"sample": "0%", "minPairs": 5, "checks": []}}, SHADOW, CANARY, FULL),
        "spec.strategy.stages[0].shadow.minPairs",
        "no pair is ever compared",
    ),
    (
        "pairs-need-copies",
        stages({"shadow": {"sample": "0%"}}, SHADOW, CANARY, FULL),
        "spec.strategy.stages[0].shadow.sample",
        "0% copies nothing",
    ),
    (
        "max-duration",
        lambda spec: spec.update(decision={"maxDuration": "10m"}),
        "spec.decision.maxDuration",
        "the stages alone last 1320s, longer than maxDuration (600s)",
    ),
    (
        "no-data-timeout",
        lambda spec: spec.update(decision={"onNoData": "rollback", "noDataTimeout": "2d"}),
        "spec.decision.noDataTimeout",
        "would never be done",
    ),
    (
        "unique-check-names",
        checks(ERRORS, SLO, {**LATENCY, "name": "errors"}),
        "spec.checks[2].name",
        "errors is there twice",
    ),
    ("check-source", checks(ERRORS, {"name": "x", "max": "1%"}), "spec.checks[1]", "needs one source"),
    (
        "check-source",
        checks(ERRORS, {**REDO, "metric": "requests.errors"}),
        "spec.checks[1]",
        "needs one source",
    ),
    (
        "check-limit",
        checks(ERRORS, {"name": "x", "metric": "requests.errors"}),
        "spec.checks[1]",
        "needs one limit",
    ),
    ("check-limit", checks({**ERRORS, "max": "1%"}), "spec.checks[0]", "needs one limit"),
    (
        "check-limit",
        checks({**ERRORS, "noWorseThan": {}}),
        "spec.checks[0].noWorseThan",
        "it tolerates nothing",
    ),
    (
        "limit-fits-metric",
        checks({"name": "x", "metric": "requests.latency", "max": "1%"}),
        "spec.checks[0]",
        "noWorseThan: {slower: 10%}",
    ),
    (
        "limit-fits-metric",
        checks({**ERRORS, "noWorseThan": {"slower": "10%"}}),
        "spec.checks[0].noWorseThan.slower",
        "slower is for requests.latency",
    ),
    (
        "limit-fits-metric",
        checks({**LATENCY, "noWorseThan": {"slower": "10%", "ratio": 2}}),
        "spec.checks[0].noWorseThan",
        "write slower alone",
    ),
    (
        "limit-fits-metric",
        lambda spec: spec["checks"].append(
            {"name": "x", "metric": "shadow.disagreement", "noWorseThan": {"ratio": 2}}
        ),
        "spec.checks[5].noWorseThan",
        "write max: 1%",
    ),
    ("quantile", checks({**ERRORS, "quantile": "p99"}), "spec.checks[0].quantile", "leave it out"),
    ("quantile", checks({**LATENCY, "quantile": "p49"}), "spec.checks[0].quantile", "from p50 to p99.9"),
    ("quantile", checks({**LATENCY, "quantile": "p99.99"}), "spec.checks[0].quantile", "from p50 to p99.9"),
    (
        "per-slice",
        checks({**ERRORS, "perSlice": True}),
        "spec.checks[0].perSlice",
        "only shadow.disagreement",
    ),
    (
        "query-version",
        checks({**REDO, "prometheus": {**REDO["prometheus"], "total": "search_total"}}),
        "spec.checks[0].prometheus.total",
        "put {{version}} into a label",
    ),
    (
        "known-check",
        stages(
            SHADOW,
            {"canary": {"weights": ["5%"], "checks": ["errors", "latency", "redo", "slo", "oops"]}},
            FULL,
        ),
        "spec.strategy.stages[1].canary.checks[4]",
        "oops is not among spec.checks (errors, slo, latency, agree, redo)",
    ),
    (
        "check-named-once",
        stages({"shadow": {"checks": ["agree", "agree"]}}, CANARY, FULL),
        "spec.strategy.stages[0].shadow.checks[1]",
        "named twice",
    ),
    (
        "check-cannot-conclude",
        stages(SHADOW, CANARY, {"full": {"checks": ["slo", "errors"]}}),
        "spec.strategy.stages[2].full.checks[1]",
        "stable has no traffic here to compare with: use a check with max",
    ),
    (
        "check-cannot-conclude",
        stages(SHADOW, CANARY, {"full": {"checks": ["latency"]}}),
        "spec.strategy.stages[2].full.checks[0]",
        "leave it out here",
    ),
    (
        "check-cannot-conclude",
        stages({"shadow": {"checks": ["errors", "agree"]}}, CANARY, FULL),
        "spec.strategy.stages[0].shadow.checks[0]",
        "the candidate answers no users here: use shadow.disagreement",
    ),
    (
        "check-cannot-conclude",
        stages(
            SHADOW, {"canary": {"weights": ["5%"], "checks": ["agree", "errors", "latency", "redo"]}}, FULL
        ),
        "spec.strategy.stages[1].canary.checks[0]",
        "name it in a shadow stage",
    ),
    (
        "check-never-runs",
        checks(ERRORS, AGREE),
        "spec.checks[1]",
        "check agree runs in no stage, so it would protect nobody",
    ),
    (
        "band-order",
        lambda spec: spec.update(compare={"bands": {"boundary": [0.8, 0.5]}}),
        "spec.compare.bands.boundary",
        "upside down",
    ),
    (
        "cron-fires",
        lambda spec: spec.update(schedule={"windows": [{"cron": "0 0 31 2 *", "for": "6h"}]}),
        "spec.schedule.windows[0].cron",
        "names a day that no month has",
    ),
    (
        "cron-fires",
        lambda spec: spec.update(schedule={"freeze": [{"cron": "0 0 30 FEB *", "for": "6h"}]}),
        "spec.schedule.freeze[0].cron",
        "names a day that no month has",
    ),
    ("freeze-form", freeze(cron="0 0 * * *"), "spec.schedule.freeze[0]", "write one of these pairs"),
    ("freeze-form", freeze(), "spec.schedule.freeze[0]", "write one of these pairs"),
    (
        "freeze-form",
        freeze(**{"from": "2026-02-30", "until": "2026-03-01"}),
        "spec.schedule.freeze[0].from",
        "no time of any calendar",
    ),
    (
        "freeze-order",
        freeze(**{"from": "2026-12-24", "until": "2026-12-24"}),
        "spec.schedule.freeze[0].until",
        "not after from",
    ),
    (
        "freeze-order",
        freeze(**{"from": "2026-12-24", "until": "2028-12-24"}),
        "spec.schedule.freeze[0].until",
        "longer than a year",
    ),
    (
        "window-opens",
        lambda spec: spec.update(
            schedule={
                "windows": [{"cron": "0 9 * * *", "for": "6h"}],
                "freeze": [{"cron": "0 8 * * *", "for": "8h"}],
            }
        ),
        "spec.schedule.freeze",
        "cover every window",
    ),
    ("warmup-requests", warmup({"from": "inline"}), "spec.warmup.requests.inline", "no request is there"),
    ("warmup-requests", warmup(INLINE | {"path": "/x"}), "spec.warmup.requests.path", "a path of its own"),
    (
        "warmup-requests",
        warmup({"from": "inline", "inline": [{"path": "/x", "body": 1, "headers": {"Host": "x"}}]}),
        "spec.warmup.requests.inline[0].headers.Host",
        "written by the sender",
    ),
    (
        "warmup-requests",
        recorded({"store": "full"}),
        "spec.warmup.requests.path",
        "write where they are sent",
    ),
    (
        "warmup-requests",
        recorded({"store": "full"}, path="/x", inline=[{"path": "/x", "body": 1}]),
        "spec.warmup.requests.inline",
        "not these",
    ),
    (
        "warmup-requests",
        recorded({"store": "none"}, path="/x"),
        "spec.warmup.requests.from",
        "nothing is recorded while capture.store is none",
    ),
    (
        "warmup-requests",
        recorded({"store": "redacted"}, path="/x"),
        "spec.warmup.requests.from",
        "masks every value",
    ),
    (
        "warmup-times",
        warmup(until={"stableFor": "3m"}, maxWait="2m"),
        "spec.warmup.until.stableFor",
        "180s is longer than maxWait (120s)",
    ),
    (
        "warmup-times",
        lambda spec: spec.update(
            warmup={"requests": INLINE, "maxWait": "2h"}, decision={"maxDuration": "1h"}
        ),
        "spec.warmup.maxWait",
        "7200s is longer than decision.maxDuration (3600s)",
    ),
    (
        "unique-hook-names",
        hooks({"at": "before-start"}, {"at": "after-rollback"}),
        "spec.hooks[1].name",
        "gate is there twice",
    ),
    (
        "hook-on-fail",
        hooks({"at": "after-promotion", "onFail": "hold"}),
        "spec.hooks[0].onFail",
        "nothing waits for it",
    ),
    (
        "hook-on-fail",
        hooks({"at": "before-start", "onFail": "rollback"}),
        "spec.hooks[0].onFail",
        "nothing to roll back",
    ),
]


def faults(document: Document) -> tuple[Fault, ...]:
    parsed = parse(document)
    return parsed.faults if isinstance(parsed, Refused) else ()


def test_the_sound_rollout_has_no_fault() -> None:
    assert faults(sound()) == ()


@pytest.mark.parametrize(
    ("rule", "change", "path", "sentence"), BROKEN, ids=[f"{b[0]}-{b[2]}" for b in BROKEN]
)
def test_what_breaks_a_rule_is_refused_by_that_rule_alone(
    rule: str, change: Change, path: str, sentence: str
) -> None:
    found = faults(changed(change))
    assert [(fault.rule, fault.path) for fault in found] == [(rule, path)], found
    assert sentence in found[0].message


def test_every_rule_of_the_table_is_tried() -> None:
    assert {rule.name for rule in RULES} == {rule for rule, *_ in BROKEN} | {"base-dir"}
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_a_base_dir_must_be_absolute() -> None:
    document = sound()
    document["metadata"]["annotations"]["headgate.dev/base-dir"] = "specs"
    (fault,) = faults(document)
    assert (fault.rule, fault.path) == ("base-dir", "metadata.annotations[headgate.dev/base-dir]")


BEFORE_AND_AFTER: list[tuple[Document, str, str]] = [
    ({"before": {"checks": ["slo"]}}, "before.checks[0]", "the candidate answers no users here"),
    ({"after": {"checks": ["redo", "slo"]}}, "after.checks[0]", "use a check with max"),
    ({"after": {"checks": ["agree", "slo"]}}, "after.checks[0]", "or in a flip's before with a preview"),
    (
        {"preview": "0%", "before": {"checks": ["agree"]}},
        "before.checks[0]",
        "set sample (or preview) above 0%",
    ),
]


@pytest.mark.parametrize(("parts", "path", "sentence"), BEFORE_AND_AFTER)
def test_a_check_on_the_wrong_side_of_a_flip_is_refused(parts: Document, path: str, sentence: str) -> None:
    found = [fault for fault in faults(flipping(**parts)) if fault.rule == "check-cannot-conclude"]
    assert [fault.path for fault in found] == [f"spec.strategy.blueGreen.{path}"]
    assert sentence in found[0].message


def test_a_comparative_check_that_only_a_flip_could_run_protects_nobody() -> None:
    document = changed(lambda spec: spec.update(strategy={"blueGreen": {}}, checks=[ERRORS, SLO]))
    (fault,) = faults(document)
    assert (fault.rule, fault.path) == ("check-never-runs", "spec.checks[0]")
    assert "use a check with max" in fault.message


def test_all_faults_are_listed_at_once() -> None:
    found = faults(
        changed(
            lambda spec: (
                spec.update(target="v9"),
                spec["strategy"]["stages"].pop(),
                spec["checks"].append(ERRORS),
            )
        )
    )
    assert {fault.rule for fault in found} == {"known-version", "stages-end", "unique-check-names"}


def test_a_later_canary_may_begin_where_the_one_before_ended() -> None:
    document = changed(stages(SHADOW, CANARY, {"pause": {}}, {"canary": {"weights": ["5%", "50%"]}}, FULL))
    assert faults(document) == ()
