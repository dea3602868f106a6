"""The one table of bad specs: what people get wrong, by which rule and at which field it is refused.

Every door is held against it: `lint` (here), local mode (`tests/local`) and the API server (`tests/cluster`).
"""

from collections.abc import Callable, Iterator
from typing import Any

from tests.controller.crd.specs import AGREE, ERRORS, GPU, LATENCY, REDO, SLO, Document, changed

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


def by_gateway(*change: Change, **fields: Any) -> Change:
    """A rollout that a gateway carries, sound but for these changes and fields of its spec."""

    def apply(spec: Document) -> None:
        spec.update(
            versions=[
                {"name": name, "service": {"name": f"fraud-{name}", "port": 8080}} for name in ("v7", "v8")
            ],
            checks=[REDO],
            strategy={"canary": {"weights": ["5%"]}},
            traffic={"httpRoute": {"name": "fraud", "gateways": [{"name": "public"}]}},
        )
        spec.update(fields)
        for one in change:
            one(spec)

    return apply


INLINE: Document = {"from": "inline", "inline": [{"path": "/infer", "body": {}}]}


def warmup(requests: Document = INLINE, **fields: Any) -> Change:
    return lambda spec: spec.update(warmup={"requests": requests} | fields)


def recorded(capture: Document, **fields: Any) -> Change:
    return lambda spec: spec.update(capture=capture, warmup={"requests": {"from": "recorded"} | fields})


def matching(**fields: Any) -> Document:
    return {"match": {"headers": [{"name": "x-beta"}]} | fields}


POD: Document = {"spec": {"containers": [{"name": "model", "image": "model:8"}]}}


def managed(**fields: Any) -> Change:
    """A rollout with a pod template, sound but for these fields of its spec."""

    def apply(spec: Document) -> None:
        for name in ("versions", "target", "initialStable"):
            del spec[name]
        spec.update(template=POD, port=8080)
        spec.update(fields)
        for name in [name for name in fields if fields[name] is None]:
            del spec[name]

    return apply


def adopted(**fields: Any) -> Change:
    """A rollout of a Deployment that runs already, sound but for these fields of its spec."""
    return managed(template=None, port=None, workloadRef={"name": "fraud"}, **fields)


def taking_over(service: str, source: Document) -> Change:
    """The routers take the Service over; v7 comes from this source."""

    def apply(spec: Document) -> None:
        spec["versions"][0] = {"name": "v7"} | source
        spec.update(traffic={"router": {"takeOver": service}})

    return apply


SHADOW, CANARY, FULL, FLIP = {"shadow": {}}, {"canary": {"weights": ["5%"]}}, {"full": {}}, {"flip": {}}
PROCESS = {"command": ["serve", "{port}"], "readiness": {"httpGet": {"path": "/ready"}}}

BROKEN: list[tuple[str, Change, str, str]] = [
    ("one-way", managed(template=None, port=None), "spec", "write versions and target, or"),
    ("one-way", lambda spec: spec.update(template=POD, port=80), "spec.template", "both there"),
    (
        "one-way",
        managed(workloadRef={"name": "fraud"}),
        "spec.workloadRef",
        "workloadRef and template are both there",
    ),
    (
        "one-way",
        lambda spec: spec.update(workloadRef={"name": "fraud"}),
        "spec.workloadRef",
        "workloadRef and versions are both there",
    ),
    ("required", adopted(target="v8"), "spec.target", "the template is the target"),
    ("required", adopted(initialStable="v8"), "spec.initialStable", "leave it out"),
    ("required", lambda spec: spec.pop("target"), "spec.target", "it is missing: write the name"),
    ("required", lambda spec: spec.update(port=8080), "spec.port", "leave it out"),
    ("required", managed(port=None), "spec.port", "it is missing: write the port"),
    ("required", managed(target="v8"), "spec.target", "the template is the target"),
    ("required", managed(initialStable="v8"), "spec.initialStable", "leave it out"),
    (
        "version-label",
        managed(template=POD | {"metadata": {"labels": {"headgate.dev/version": "v8.1"}}}),
        "spec.template.metadata.labels",
        "is not a name of a version",
    ),
    ("one-source", versions(0, process=PROCESS), "spec.versions[0]", "has both url and process"),
    (
        "one-source",
        lambda spec: spec["versions"][0].pop("url"),
        "spec.versions[0]",
        "write service, inferenceService, url or process",
    ),
    (
        "one-source",
        versions(0, service={"name": "fraud-v7", "port": 8080}),
        "spec.versions[0]",
        "has both url and service",
    ),
    (
        "one-source",
        versions(0, inferenceService="fraud-v7"),
        "spec.versions[0]",
        "has both url and inferenceService",
    ),
    (
        "readiness-place",
        lambda spec: spec["versions"].__setitem__(
            0,
            {"name": "v7", "inferenceService": "a", "readiness": {"httpGet": {"path": "/ready"}}},
        ),
        "spec.versions[0].readiness",
        "says itself whether it is ready",
    ),
    (
        "one-source",
        versions(0, deployment="fraud-v7"),
        "spec.versions[0].deployment",
        "write service: {name: v7, port: 8080}",
    ),
    (
        "readiness-place",
        lambda spec: spec["versions"].__setitem__(
            0,
            {
                "name": "v7",
                "service": {"name": "a", "port": "http"},
                "readiness": {"httpGet": {"path": "/ready"}},
            },
        ),
        "spec.versions[0].readiness",
        "its pods' readinessProbe",
    ),
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
        checks(ERRORS, SLO | {"name": "tight", "max": None, "noWorseThan": {"plus": "0pp"}}),
        "spec.checks[1].noWorseThan",
        "no version can be proven so good",
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
    (
        "check-source",
        checks({**GPU, "prometheus": {**GPU["prometheus"], "total": REDO["prometheus"]["total"]}}),
        "spec.checks[0].prometheus",
        "events and total, or value alone",
    ),
    (
        "check-source",
        checks({**REDO, "prometheus": {"provider": "main", "total": REDO["prometheus"]["total"]}}),
        "spec.checks[0].prometheus",
        "events and total, or value alone",
    ),
    ("check-limit", checks({**GPU, "max": "1%"}), "spec.checks[0]", "needs one limit"),
    ("check-limit", checks({**GPU, "within": {}}), "spec.checks[0].within", "it bounds nothing"),
    (
        "check-limit",
        checks({**GPU, "within": {"min": 2, "max": 1.5}}),
        "spec.checks[0].within",
        "upside down",
    ),
    (
        "check-limit",
        checks({**GPU, "failures": {"of": 3, "at": 4}}),
        "spec.checks[0].failures",
        "at must not be above of",
    ),
    (
        "limit-fits-metric",
        checks({"name": "gpu", "prometheus": GPU["prometheus"], "max": "1%"}),
        "spec.checks[0]",
        "write within: {max: 0.9}",
    ),
    (
        "limit-fits-metric",
        checks({"name": "errors", "metric": "requests.errors", "within": {"max": 1}}),
        "spec.checks[0].within",
        "it is for prometheus.value",
    ),
    ("limit-fits-metric", checks({**ERRORS, "failures": {}}), "spec.checks[0].failures", "leave it out"),
    (
        "query-version",
        checks({**GPU, "prometheus": {"provider": "main", "value": "avg(gpu)"}}),
        "spec.checks[0].prometheus.value",
        "put {{version}} into a label",
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
    ("warmup-requests", warmup({"from": "configMap"}), "spec.warmup.requests.configMap", "it says not which"),
    (
        "warmup-requests",
        warmup(INLINE | {"configMap": {"name": "a"}}),
        "spec.warmup.requests.configMap",
        "it is for from: configMap",
    ),
    (
        "warmup-requests",
        warmup({"from": "configMap", "configMap": {"name": "a"}, "path": "/x"}),
        "spec.warmup.requests.path",
        "a path of its own",
    ),
    (
        "warmup-requests",
        warmup({"from": "configMap", "configMap": {"name": "a"}, "inline": [{"path": "/x", "body": 1}]}),
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
    (
        "traffic-form",
        by_gateway(traffic={"router": {}, "httpRoute": {"name": "fraud", "rules": ["model"]}}),
        "spec.traffic",
        "write one of them",
    ),
    (
        "traffic-form",
        by_gateway(traffic={"httpRoute": {"name": "fraud"}}),
        "spec.traffic.httpRoute",
        "say which gateways carry it",
    ),
    (
        "traffic-form",
        by_gateway(traffic={"httpRoute": {"name": "fraud", "rules": ["model"], "hostnames": ["a.example"]}}),
        "spec.traffic.httpRoute.rules",
        "leave them out here",
    ),
    (
        "route-versions",
        by_gateway(managed()),
        "spec.template",
        "write versions, each with its service",
    ),
    (
        "route-versions",
        by_gateway(lambda spec: spec["versions"][1].update(service=None, url="http://127.0.0.1:1")),
        "spec.versions[1]",
        "write service for version v8",
    ),
    (
        "route-versions",
        by_gateway(lambda spec: spec["versions"][1]["service"].update(port="http")),
        "spec.versions[1].service.port",
        "by their number",
    ),
    ("route-evidence", by_gateway(checks=[REDO, ERRORS]), "spec.checks[1].metric", "use prometheus"),
    ("route-evidence", by_gateway(checks=None), "spec.checks", "write prometheus checks, or []"),
    (
        "route-abilities",
        by_gateway(identity={"key": "header:x-user-id"}),
        "spec.identity",
        "only Headgate's routers",
    ),
    (
        "route-abilities",
        by_gateway(overrides={"header": "x-version"}),
        "spec.overrides",
        "only Headgate's routers",
    ),
    (
        "route-abilities",
        by_gateway(lambda spec: spec["versions"][0].update(rewrite={"path": "/v2"})),
        "spec.versions[0].rewrite",
        "only Headgate's routers",
    ),
    (
        "route-abilities",
        by_gateway(strategy={"stages": [{"shadow": {"minPairs": 5, "checks": []}}, CANARY, FULL]}),
        "spec.strategy.stages[0].shadow.minPairs",
        "only Headgate's routers",
    ),
    (
        "route-abilities",
        by_gateway(strategy={"stages": [matching(checks=[]), CANARY, FULL]}),
        "spec.strategy.stages[0].match.headers[0]",
        "write exact",
    ),
    (
        "route-abilities",
        by_gateway(
            strategy={"stages": [{"match": {"cookies": [{"name": "a"}], "checks": []}}, CANARY, FULL]}
        ),
        "spec.strategy.stages[0].match.cookies",
        "only Headgate's routers",
    ),
    (
        "take-over",
        taking_over("fraud", {"service": {"name": "fraud", "port": 80}}),
        "spec.versions[0].service.name",
        "round in a circle",
    ),
    (
        "take-over",
        taking_over("fraud", {"url": "http://fraud.default.svc:80"}),
        "spec.versions[0].url",
        "round in a circle",
    ),
]
"""What breaks a rule of the table: the rule, the change to a sound spec, the field, and words of the refusal."""


def put(path: str, value: Any) -> Document:
    """The sound rollout with `value` at a dotted path below spec."""

    def change(spec: Any) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            spec = spec.setdefault(part, {}) if isinstance(part, str) else spec[part]
        spec[last] = value

    return changed(change)


UNKNOWN = [
    ("strategy.stages.1.canary.weigths", "did you mean weights?"),
    ("strategy.stages.1.canary.minpairs", "there is no such field; here one can write weights, steps, to"),
    ("strategy.stages.0.shadow.min_pairs", "did you mean minPairs?"),
    ("strategy.bluegreen", "did you mean blueGreen?"),
    ("versions.1.process.readiness.httpget", "did you mean httpGet?"),
    ("checks.0.noWorseThan.rato", "did you mean ratio?"),
    ("Target", "did you mean target?"),
    ("slices", "this version of Headgate does not know it: slices are not there yet"),
    ("match", "it is a stage: write it in strategy.stages"),
    ("strategy.stages.1.match.header", "did you mean headers?"),
    ("versions.0.auth", "come with TLS to upstreams"),
    ("checks.0.watch", "write required: false"),
]
"""Fields that are not there: the field in dots, and words of the refusal."""

WRONG: list[tuple[str, Any, str, str]] = [
    ("target", None, "required", "it is missing"),
    ("target", 8, "type", "8 is not a text"),
    ("target", "v8!", "pattern", "is not a name"),
    ("target", "v8\n", "pattern", "is not a name"),
    ("target", "v" * 64, "pattern", "is not a name"),
    ("versions", {}, "type", "is not a list"),
    ("versions", [], "bounds", "there are 0 of them: at least 1"),
    ("versions.0.url", "ftp://x", "url", "write http:// or https://"),
    ("versions.0.url", "http://user:hunter2@x/", "url", "without user"),
    ("versions.0.url", "http://x/?a=b", "url", "without user, query"),
    ("versions.0.url", "http://x:99999/", "url", "is not a URL"),
    ("versions.0.url", "http:///x", "url", "write http://"),
    ("versions.0.service", {"name": "A", "port": 1}, "pattern", "lower-case letters"),
    ("versions.0.service", {"name": "a", "port": 0}, "port", "0 is not a port"),
    ("versions.0.service", {"name": "a", "port": True}, "port", "True is not a port"),
    ("versions.0.service", {"name": "a", "port": "HTTP"}, "port", "or its name, such as http"),
    ("versions.0.service", {"name": "a"}, "required", "it is missing"),
    ("versions.0.deployment", "-x", "pattern", "is not the name of a Kubernetes object"),
    ("versions.0.url", "http://x/a b", "url", "write http://"),
    ("versions.0.digest", "sha256:abc", "pattern", "64 hex digits"),
    ("versions.1.process.command", "serve.py", "type", "'serve.py' is not a list"),
    ("versions.1.process.env", {"A B": "x"}, "pattern", "is not the name of a variable"),
    ("versions.1.process.readiness", None, "required", "it is missing"),
    ("versions.1.process.readiness.httpGet.path", "ready", "pattern", "start it with /"),
    ("strategy", None, "required", "it is missing"),
    ("strategy.stages.1.canary.weights.1", "120%", "bounds", "120% is out of bounds: from 0.01% to 100%"),
    ("strategy.stages.1.canary.weights.1", 25, "unit", "25 is not a percentage"),
    ("strategy.stages.1.canary.every", "5%", "unit", "'5%' is not a duration"),
    ("strategy.stages.1.canary.advance", "always", "choice", "none of 'unlessFail' or 'onPass'"),
    ("strategy.stages.0.shadow.minPairs", "500", "type", "'500' is not a whole number"),
    ("strategy.stages.0.shadow.minPairs", -1, "bounds", "-1 is out of bounds: at least 0"),
    ("strategy.stages.0.shadow.minPairs", 1.5, "type", "1.5 is not a whole number"),
    ("strategy.stages.0.shadow.minPairs", True, "type", "True is not a whole number"),
    ("decision.alpha", "0%", "bounds", "0% is out of bounds"),
    ("decision.onNoData", "promote", "choice", "'promote' is none of 'hold' or 'rollback'"),
    ("decision.guard", "on", "type", "'on' is not a mapping"),
    ("decision.guard", {"errors": "100%"}, "bounds", "100% is out of bounds"),
    ("capture.maxBodyBytes", "8MB", "unit", "is not a size"),
    ("compare.tolerance.rel", float("nan"), "bounds", "not a finite number"),
    ("compare.tolerance.rel", "1e-5", "type", "'1e-5' is not a number"),
    ("identity", {"key": "body:/user"}, "pattern", "write header:NAME"),
    ("protocol", "grpc", "choice", "'grpc' is none of 'auto', 'v2', 'v1' or 'json'"),
    ("paused", "yes", "type", "'yes' is not true or false"),
    ("checks.0.metric", "requests.error", "choice", "'requests.error' is none of 'requests.errors'"),
    ("checks.0.minRequests", 0, "bounds", "at least 1"),
    ("checks.0.noWorseThan.ratio", 0.9, "bounds", "at least 1"),
    ("checks.0.noWorseThan.plus", "0.02%", "unit", "such as 0.02pp"),
    ("checks.1.max", "0%", "bounds", "out of bounds"),
    ("checks.4.prometheus.provider", None, "required", "it is missing"),
]
"""Values that a field does not take: the field in dots, the value, the rule, and words of the refusal."""


def bad_specs() -> Iterator[tuple[str, Document]]:
    """Each bad spec with a name of its own."""
    for index, (rule, change, path, _) in enumerate(BROKEN):
        yield f"{index}-{rule}-{path}", changed(change)
    for path, _ in UNKNOWN:
        yield f"unknown-field-{path}", put(path, {})
    for index, (path, value, rule, _) in enumerate(WRONG):
        yield f"{index}-{rule}-{path}", put(path, value)
