"""From what users write to what the core thinks with: strategies, defaults, identities, policies."""

from typing import Any

import pytest

from controller.core import checks as core_checks
from controller.core import spec as core
from controller.crd import Parsed, parse, to_core
from controller.crd.convert import identities
from controller.crd.warmups import requests_in
from headgate.wire import plan
from tests.controller.crd.specs import (
    AGREE,
    ERRORS,
    GPU,
    LATENCY,
    REDO,
    SLO,
    Document,
    changed,
    flipping,
    sound,
)


def converted(document: Document) -> core.Spec:
    found = to_core(document, 7)
    assert isinstance(found, core.Spec), found
    return found


def with_strategy(strategy: Any, *checks: Document) -> core.Spec:
    return converted(changed(lambda spec: spec.update(strategy=strategy, checks=list(checks))))


def without_checks(strategy: Any) -> core.Spec:
    return converted(changed(lambda spec: (spec.update(strategy=strategy), spec.pop("checks"))))


def test_stages_are_converted_in_order_with_the_checks_that_can_conclude_in_each() -> None:
    assert converted(sound()).stages == (
        core.ShadowStage(sample_ppm=500_000, duration_s=600.0, min_pairs=500, checks=("agree",)),
        core.CanaryStage(weights=(500, 2500), every_s=60.0, checks=("errors", "slo", "latency", "redo")),
        core.PauseStage(),
        core.FullStage(bake_s=600.0, checks=("slo",)),
    )


def test_the_canary_short_form_is_a_canary_and_full() -> None:
    spec = with_strategy(
        {"canary": {"weights": ["1%", "50%"], "every": "2m", "advance": "onPass", "maxStay": "1h"}},
        ERRORS,
        SLO,
    )
    assert spec.stages == (
        core.CanaryStage((100, 5000), 120.0, ("errors", "slo"), core.Advance.ON_PASS, 3600.0),
        core.FullStage(checks=("slo",)),
    )


def test_steps_with_times_of_their_own_are_as_many_canary_stages_as_there_are_times() -> None:
    steps = [
        {"weight": "1%", "every": "5m"},
        {"weight": "5%", "every": "1m"},
        {"weight": "25%", "every": "1m"},
        {"weight": "50%"},
    ]
    spec = with_strategy({"canary": {"steps": steps}}, ERRORS)
    assert spec.stages == (
        core.CanaryStage((100,), 300.0, ("errors",)),
        core.CanaryStage((500, 2500, 5000), 60.0, ("errors",)),
        core.FullStage(),
    )


def test_the_blue_green_short_form_is_a_flip() -> None:
    spec = converted(flipping(before={"checks": ["agree", "redo"]}, maxStay="2h"))
    assert spec.stages == (
        core.FlipStage(
            preview_ppm=1_000_000, before=("agree", "redo"), bake_s=600.0, after=("slo",), max_stay_s=7200.0
        ),
    )


def test_the_shadow_short_form_waits_for_a_person_before_anyone_sees_an_answer() -> None:
    spec = with_strategy({"shadow": {"sample": "10%", "duration": "1h", "minPairs": 1000}}, AGREE, SLO)
    assert spec.stages == (
        core.ShadowStage(100_000, 3600.0, 1000, ("agree",)),
        core.PauseStage(),
        core.FullStage(checks=("slo",)),
    )


def test_named_checks_are_taken_as_they_are_and_none_means_none() -> None:
    spec = with_strategy({"canary": {"weights": ["5%"], "checks": ["slo", "errors"]}}, ERRORS, SLO)
    assert isinstance(spec.stages[0], core.CanaryStage)
    assert spec.stages[0].checks == ("slo", "errors")
    none = with_strategy({"canary": {"weights": ["5%"]}})
    assert none.checks == ()
    assert [stage.checks for stage in none.stages if isinstance(stage, core.CanaryStage)] == [()]


def test_without_checks_a_candidate_still_has_to_be_no_worse_and_to_agree_where_copies_are_made() -> None:
    canary = without_checks({"canary": {"weights": ["5%"]}})
    errors = core_checks.Check("errors", core_checks.Metric.ERRORS, core_checks.NoWorse(1.2, 0.0002))
    agreement = core_checks.Check("agreement", core_checks.Metric.DISAGREEMENT, core_checks.AtMost(0.01))
    assert canary.checks == (errors,)
    assert without_checks({"shadow": {}}).checks == (agreement,)
    assert without_checks({"blueGreen": {"preview": "5%"}}).checks == (agreement,)
    assert without_checks({"blueGreen": {}}).checks == ()
    both = without_checks({"stages": [{"shadow": {}}, {"canary": {"weights": ["5%"]}}, {"full": {}}]})
    assert both.checks == (errors, agreement)


def test_checks_are_converted_with_their_limits() -> None:
    assert converted(sound()).checks == (
        core_checks.Check("errors", core_checks.Metric.ERRORS, core_checks.NoWorse(1.2, 0.0002)),
        core_checks.Check("slo", core_checks.Metric.ERRORS, core_checks.AtMost(0.01)),
        core_checks.Check("latency", core_checks.Metric.LATENCY, core_checks.NoSlower(0.99, 0.1)),
        core_checks.Check("agree", core_checks.Metric.DISAGREEMENT, core_checks.AtMost(0.01)),
        core_checks.Check(
            "redo",
            core_checks.Metric.PROMETHEUS,
            core_checks.NoWorse(1.5, 0.0002),
            query=core_checks.PrometheusQuery(
                "main", 'redo_total{version="{{version}}"}', 'search_total{version="{{version}}"}'
            ),
        ),
    )


@pytest.mark.parametrize(
    ("written", "limit"),
    [
        ({"noWorseThan": {"ratio": 2}}, core_checks.NoWorse(2.0, 0.0002)),
        ({"noWorseThan": {"plus": "0.5pp"}}, core_checks.NoWorse(1.0, 0.005)),
        ({"noWorseThan": {"ratio": 1, "plus": "0.1pp"}}, core_checks.NoWorse(1.0, 0.001)),
    ],
)
def test_half_a_tolerance_has_a_sensible_other_half(written: Document, limit: core_checks.NoWorse) -> None:
    spec = with_strategy(
        {"canary": {"weights": ["5%"]}}, {"name": "x", "metric": "requests.errors", **written}
    )
    assert spec.checks[0].limit == limit


@pytest.mark.parametrize(
    ("written", "quantile"), [("p50", 0.5), ("p90", 0.9), ("p99.9", 0.999), (None, 0.99)]
)
def test_quantiles_are_fractions(written: str | None, quantile: float) -> None:
    spec = with_strategy({"canary": {"weights": ["5%"]}}, {**LATENCY, "quantile": written})
    assert spec.checks[0].limit == core_checks.NoSlower(quantile, 0.1)


def test_the_rest_of_a_check_is_kept() -> None:
    flags = {"minRequests": 7, "weight": 2.5, "required": False, "dryRun": True, "perSlice": True}
    spec = with_strategy({"shadow": {}}, {**AGREE, **flags})
    assert spec.checks[0] == core_checks.Check(
        "agree",
        core_checks.Metric.DISAGREEMENT,
        core_checks.AtMost(0.01),
        min_requests=7,
        alpha_weight=2.5,
        required=False,
        dry_run=True,
        per_slice=True,
    )


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"protocol": "v2"}, ("/v2/models/*/infer",)),
        ({"protocol": "v1"}, ("/v1/models/*:predict",)),
        ({"protocol": "json"}, ()),
        ({}, ()),
        ({"protocol": "v2", "inferencePaths": ["/score"]}, ("/score",)),
        ({"protocol": "v2", "inferencePaths": []}, ()),
    ],
)
def test_the_inference_paths_follow_the_protocol_unless_they_are_named(
    fields: Document, paths: tuple[str]
) -> None:
    assert converted(changed(lambda spec: spec.update(fields))).traffic.counted_paths == paths


def test_what_is_not_written_has_the_defaults_of_the_core_and_the_wire() -> None:
    spec = converted(sound())
    assert (spec.key, spec.generation, spec.target, spec.initial_stable) == ("default/fraud", 7, "v8", "v7")
    assert spec.policy == core.DecisionPolicy()
    assert spec.capacity == core.Capacity()
    assert spec.traffic == core.TrafficPolicy(
        limits=plan.Limits(), capture=plan.Capture(), comparison=plan.Comparison()
    )
    assert spec.paused is False


def test_policies_are_converted_in_their_units() -> None:
    spec = converted(
        changed(
            lambda spec: spec.update(
                decision={
                    "alpha": "0.5%",
                    "onInconclusive": "promote",
                    "onNoData": "rollback",
                    "noDataTimeout": "5m",
                    "maxDuration": "2d",
                    "guard": {
                        "errors": "50%",
                        "times": 3,
                        "atLeast": 5,
                        "window": "1500ms",
                        "aloneErrors": "90%",
                    },
                },
                capacity={"drain": "5s", "keepStableWarm": "0s", "progressDeadline": "2m"},
                identity={"key": "header:x-user-id", "fallback": ["cookie:sid"]},
                overrides={"header": "X-Version"},
                task={"type": "classification", "label": "label", "scores": "/scores"},
                compare={
                    "tolerance": {"rel": 0.1, "abs": 1, "fields": {"/ts": "ignore"}},
                    "bands": {"boundary": [0.4, 0.6]},
                    "maxRelativeDelta": "10%",
                },
                capture={
                    "store": "redacted",
                    "keep": {"agreements": "5%"},
                    "redact": [{"path": "/ssn", "how": "drop"}],
                    "maxBodyBytes": "1Mi",
                    "maxRecordsBytes": "1Gi",
                },
                limits={"firstByteTimeout": "5s", "maxHeaderBytes": "8Ki"},
                paused=True,
            )
        )
    )
    assert spec.policy == core.DecisionPolicy(
        alpha=0.005,
        on_inconclusive=core.OnInconclusive.PROMOTE,
        on_no_data=core.OnInconclusive.ROLLBACK,
        no_data_timeout_s=300.0,
        max_duration_s=172_800.0,
        guard=plan.Guard(error_ratio=0.5, times=3.0, at_least=5, window_ms=1500, alone_error_ratio=0.9),
    )
    assert spec.capacity == core.Capacity(drain_s=5.0, keep_stable_warm_s=0.0, progress_deadline_s=120.0)
    assert spec.paused
    traffic = spec.traffic
    assert traffic.identity.sources == ("header:x-user-id", "cookie:sid")
    assert traffic.overrides == plan.Overrides(header="x-version", allow=("v7", "v8"))
    assert traffic.limits == plan.Limits(first_byte_timeout_ms=5000, header_bytes_max=8192)
    assert traffic.capture == plan.Capture(
        store="redacted",
        keep_agreements=50_000,
        redact=(plan.RedactRule(path="/ssn", how="drop"),),
        body_bytes_max=2**20,
        records_bytes_max=2**30,
    )
    assert traffic.comparison == plan.Comparison(
        task="classification",
        label="label",
        scores="/scores",
        relative_tolerance=0.1,
        absolute_tolerance=1.0,
        relative_delta_max=0.1,
        boundary=(0.4, 0.6),
        ignore=("/ts",),
    )


# Versions


def test_a_url_brings_its_base_path_and_a_rewrite_goes_along() -> None:
    spec = converted(
        changed(
            lambda spec: spec["versions"][0].update(
                url="http://127.0.0.1:9000/a/b/",
                rewrite={"path": "/v2/models/x/infer", "body": {"/model": "x"}},
            )
        )
    )
    assert spec.versions[0].base_path == "/a/b"
    assert spec.versions[0].rewrite == plan.Rewrite(path="/v2/models/x/infer", body={"/model": "x"})
    assert (spec.versions[1].base_path, spec.versions[1].rewrite) == ("", None)


def identity_of(index: int, document: Document) -> str:
    parsed = parse(document)
    assert isinstance(parsed, Parsed), parsed
    return identities(parsed.rollout)[document["spec"]["versions"][index]["name"]]


def test_identities_never_change_between_releases() -> None:
    """Another hash would make every stable version an unproven one: these values are for ever."""
    assert identity_of(0, sound()) == "ae6d7ca64e4d3f7b91ee"
    assert identity_of(1, sound()) == PROCESS_IDENTITY


PROCESS_IDENTITY = "af22981a562fcbbc392c"


def versions(index: int, **fields: Any) -> Document:
    return changed(lambda spec: spec["versions"][index].update(fields))


def process(**fields: Any) -> Document:
    return changed(lambda spec: spec["versions"][1]["process"].update(fields))


@pytest.mark.parametrize(
    "document",
    [
        versions(1, name="other"),
        changed(lambda spec: spec["versions"].reverse()),
        process(env={}),
        process(stopGrace="42s"),
        process(readiness={"httpGet": {"path": "/v2/health/ready"}, "period": "1000ms"}),
        changed(lambda spec: spec.update(checks=[ERRORS, SLO, LATENCY, AGREE, REDO], paused=True)),
    ],
)
def test_what_does_not_change_what_serves_keeps_the_identity(document: Document) -> None:
    if document["spec"]["versions"][1]["name"] == "other":
        document["spec"]["target"] = "other"
    index = next(i for i, version in enumerate(document["spec"]["versions"]) if "process" in version)
    assert identity_of(index, document) == identity_of(1, sound())


def elsewhere() -> Document:
    document = sound()
    document["metadata"]["annotations"]["headgate.dev/base-dir"] = "/srv/others"
    return document


@pytest.mark.parametrize(
    "document",
    [
        process(command=["{python}", "other.py", "--port", "{port}"]),
        process(env={"A": "1"}),
        process(readiness={"httpGet": {"path": "/other"}}),
        versions(1, digest="sha256:" + "0" * 64),
        versions(1, rewrite={"path": "/x"}),
        elsewhere(),
    ],
)
def test_whatever_serves_otherwise_is_another_version(document: Document) -> None:
    assert identity_of(1, document) != identity_of(1, sound())
    assert len(identity_of(1, document)) == 20


def test_the_automatic_ramp_has_its_own_weights_and_a_risk_budget() -> None:
    spec = with_strategy({"canary": {"ramp": "auto", "riskBudget": "0.1%"}}, ERRORS)
    assert spec.stages[0] == core.CanaryStage(
        core.AUTO_WEIGHTS, core.AUTO_EVERY_S, ("errors",), risk_budget=0.001
    )


def test_an_approval_names_who_how_many_and_until_when() -> None:
    written = {"roles": ["owner"], "quorum": 2, "expires": "4h", "onExpire": "abort"}
    spec = with_strategy({"stages": [{"approval": written}, {"full": {}}]})
    assert spec.stages[0] == core.ApprovalStage(("owner",), 2, 14_400.0, core.OnExpire.ABORT)


def test_the_rollback_window_is_a_week_and_three_versions_unless_written() -> None:
    assert converted(sound()).rollback_window == core.RollbackWindow(3, 604_800.0)
    spec = converted(changed(lambda spec: spec.update(rollbackWindow={"versions": 1, "within": "1h"})))
    assert spec.rollback_window == core.RollbackWindow(1, 3600.0)


def test_without_a_warmup_nothing_is_warmed_up() -> None:
    assert converted(sound()).warmup is None


def test_a_warmup_of_inline_requests_sends_them_as_json() -> None:
    request = {"path": "/infer", "body": {"x": [1, 2.5, "é"]}, "headers": {"X-Tenant": "a"}}
    written = {
        "requests": {"from": "inline", "inline": [request], "count": 20, "concurrency": 2},
        "until": {"p95": "20ms", "stableFor": "5s"},
        "maxWait": "1m",
    }
    warmup = converted(changed(lambda spec: spec.update(warmup=written))).warmup
    sent = core.WarmRequest("/infer", '{"x":[1,2.5,"é"]}'.encode(), (("x-tenant", "a"),))
    assert warmup == core.Warmup((sent,), "", 20, 2, 0.02, 5.0, 60.0)


def test_a_warmup_of_recorded_requests_says_where_they_are_sent() -> None:
    written = {"requests": {"from": "recorded", "path": "/v2/models/fraud/infer"}}
    spec = converted(changed(lambda spec: spec.update(warmup=written, capture={"store": "full"})))
    assert spec.warmup == core.Warmup(recorded_path="/v2/models/fraud/infer")


def test_a_warmup_from_a_config_map_names_it_and_what_it_holds_is_read_like_inline() -> None:
    written = {"requests": {"from": "configMap", "configMap": {"name": "fraud-warmup"}}}
    spec = converted(changed(lambda spec: spec.update(warmup=written)))
    assert spec.warmup == core.Warmup(config_map=("fraud-warmup", "requests.json"))
    sent = (core.WarmRequest("/infer", b'{"x":1}', (("x-tenant", "a"),)),)
    assert requests_in('[{"path": "/infer", "body": {"x": 1}, "headers": {"X-Tenant": "a"}}]') == sent


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no JSON", "Invalid JSON"),
        ("{}", "valid array"),
        ("[]", "at least 1 item"),
        ('[{"path": "/x"}]', "[0].body: Field required"),
        ('[{"path": "/x", "body": 1, "more": 2}]', "[0].more"),
        ('[{"path": "/x", "body": 1, "headers": {"Host": "x"}}]', "[0].headers.Host"),
        ("[" + ",".join(['{"path": "/x", "body": 1}'] * 1001) + "]", "at most 1000 items"),
    ],
)
def test_what_a_config_map_holds_that_cannot_be_sent_is_named(text: str, said: str) -> None:
    found = requests_in(text)
    assert isinstance(found, str)
    assert said in found


def test_a_match_stage_is_converted_with_its_conditions_and_who_takes_part() -> None:
    document = changed(
        lambda spec: spec["strategy"]["stages"].insert(
            1,
            {
                "match": {
                    "headers": [{"name": "X-Beta", "exact": "1"}],
                    "cookies": [{"name": "group", "prefix": "b"}, {"name": "seen"}],
                    "share": "50%",
                    "to": ["v8"],
                    "duration": "1h",
                    "checks": ["errors"],
                }
            },
        )
    )
    assert converted(document).stages[1] == core.MatchStage(
        match=core.Match(
            (
                plan.Condition("header:x-beta", exact="1"),
                plan.Condition("cookie:group", prefix="b"),
                plan.Condition("cookie:seen"),
            ),
            5000,
        ),
        duration_s=3600.0,
        checks=("errors",),
        to=("v8",),
    )


def test_replicas_are_converted_with_how_they_follow_the_weight() -> None:
    document = changed(
        lambda spec: spec.update(
            replicas=6, capacity={"maxSurge": 2, "scaleWithWeight": True, "minReplicas": 3}
        )
    )
    capacity = converted(document).capacity
    assert (capacity.replicas, capacity.max_surge, capacity.min_replicas) == (6, 2, 3)
    assert capacity.scale_with_weight


def test_a_value_is_judged_by_bounds_and_three_of_five_if_nothing_else_is_said() -> None:
    of_two = {**GPU, "name": "two", "failures": {"of": 2, "at": 1}, "within": {"min": 0.2}}
    spec = with_strategy({"canary": {"weights": ["5%"]}}, ERRORS, GPU, of_two)
    gpu, two = spec.checks[1], spec.checks[2]
    query = core_checks.GaugeQuery("main", 'avg(gpu{version="{{version}}"})')
    assert (gpu.metric, gpu.query) == (core_checks.Metric.GAUGE, query)
    assert gpu.limit == core_checks.Within(most=0.9, of=5, at=3)
    assert two.limit == core_checks.Within(least=0.2, of=2, at=1)
