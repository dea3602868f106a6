"""Rollouts through the API: what may be stored, what is refused and how, and what a status says."""

import threading
from dataclasses import replace
from typing import Any

import httpx
import pytest

from controller.core.checks import CheckResult, Lack, Verdict
from controller.core.status import (
    Candidate,
    DecisionRecord,
    Event,
    Phase,
    Reason,
    Retiring,
    Status,
    VersionRef,
)
from headgate.wire.plan import SlotRange
from tests.controller.api.served import KEY, Api, plan, rollout, until
from tests.controller.at_once import at_once

PATH = f"/v1/rollouts/{KEY}"


def on_trial(api: Api, **more: Any) -> Status:
    """A status of the stored rollout: v2 at 5 % by plan 4 of epoch 1, v1 stable."""
    spec = api.deps.spec_of(api.store.load(KEY))  # type: ignore[arg-type]
    assert spec is not None
    one, two = spec.versions
    status = Status(
        observed_generation=spec.generation,
        phase=Phase.PROGRESSING,
        message="v2 at 5 %, stage 1 of 2, waiting for 7 s more of canary 5 %",
        waiting_for="7 s more of canary 5 %",
        stable=VersionRef("v1", one.identity),
        is_stable_proven=True,
        candidate=Candidate("v2", two.identity, issued_generation=4, step_s=3.0, acknowledged_at=1_000.0),
        slots=(SlotRange(0, 9_500, "v1"), SlotRange(9_500, 10_000, "v2")),
        epoch=1,
        generation=4,
        recent_weights=((3, 0), (4, 500)),
    )
    return replace(status, **more)


def test_a_document_is_created_configured_and_left_alone(api: Api) -> None:
    first = api.apply(rollout())
    assert (first.status_code, first.json()) == (
        201,
        {"rollout": KEY, "generation": 1, "outcome": "created"},
    )
    assert api.apply(rollout()).json()["outcome"] == "unchanged"
    assert api.woken == [KEY]
    changed = api.apply(rollout(target="v2"))
    assert (changed.status_code, changed.json()["outcome"]) == (200, "configured")
    assert changed.json()["generation"] == 2
    assert api.woken == [KEY, KEY]
    assert api.client.get(PATH).json()["document"]["spec"]["target"] == "v2"


@pytest.mark.parametrize(
    ("spec", "path", "rule"),
    [
        ({"target": "v9"}, "spec.target", "known-version"),
        ({"colour": "red"}, "spec.colour", "unknown-field"),
        (
            {"strategy": {"canary": {"weights": ["500%"], "every": "1s"}}},
            "spec.strategy.canary.weights[0]",
            "",
        ),
        (
            {
                "checks": [
                    {"name": "x", "max": "1%", "prometheus": {"provider": "p", "events": "a", "total": "b"}}
                ]
            },
            "spec.checks[0].prometheus.provider",
            "known-provider",
        ),
        ({"initialStable": None}, "spec.initialStable", "initial-stable"),
    ],
)
def test_a_bad_document_is_refused_with_its_faults_and_nothing_is_stored(
    api: Api, spec: dict[str, Any], path: str, rule: str
) -> None:
    answer = api.apply(rollout(**spec))
    assert answer.status_code == 422
    faults = answer.json()["error"]["faults"]
    assert path in [fault["path"] for fault in faults]
    assert rule in [fault["rule"] for fault in faults] or not rule
    assert all(fault["message"] for fault in faults)
    assert api.store.keys() == ()
    assert api.woken == []


def test_stable_cannot_be_redefined_under_its_name(api: Api) -> None:
    api.apply(rollout())
    api.decide(on_trial(api))
    versions = [
        {"name": "v1", "url": "http://127.0.0.1:9999"},
        {"name": "v2", "url": "http://127.0.0.1:9002"},
    ]
    answer = api.apply(rollout(versions=versions))
    assert answer.status_code == 422
    assert answer.json()["error"]["faults"][0]["rule"] == "stable-redefined"
    assert api.store.load(KEY).generation == 1  # type: ignore[union-attr]


def test_a_document_of_another_name_than_its_address_is_refused(api: Api) -> None:
    answer = api.client.put("/v1/rollouts/ml/other", json=rollout())
    assert answer.status_code == 400
    assert answer.json()["error"]["what"] == "the document is ml/fraud, the address says ml/other"


def test_setting_the_target_edits_the_stored_document(api: Api) -> None:
    api.apply(rollout())
    answer = api.client.post(f"{PATH}/target", json={"version": "v2"})
    assert answer.json() == {"rollout": KEY, "generation": 2, "outcome": "configured"}
    assert api.client.post(f"{PATH}/target", json={"version": "v2"}).json()["outcome"] == "unchanged"
    assert api.client.get(PATH).json()["document"]["spec"]["target"] == "v2"


def test_a_target_that_is_not_there_is_refused_with_the_versions_there_are(api: Api) -> None:
    api.apply(rollout())
    answer = api.client.post(f"{PATH}/target", json={"version": "v9"})
    assert answer.status_code == 422
    assert "v1, v2" in answer.json()["error"]["do"]
    assert api.client.post(f"{PATH}/target", json={}).status_code == 400


@pytest.mark.parametrize("path", ["", "/status", "/events", "/decisions", "/routers"])
def test_an_unknown_rollout_is_404_with_the_names_there_are(api: Api, path: str) -> None:
    api.apply(rollout("other"))
    answer = api.client.get(PATH + path)
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "what": "there is no rollout ml/fraud",
        "object": "ml/fraud",
        "do": "rollouts there are: ml/other",
    }


def test_a_name_that_cannot_be_one_is_400(api: Api) -> None:
    answer = api.client.get("/v1/rollouts/ml/Fraud_1/status")
    assert (answer.status_code, answer.json()["error"]["object"]) == (400, "name")


def test_deleting_asks_for_it_and_an_apply_meanwhile_is_refused(api: Api) -> None:
    api.apply(rollout())
    assert api.client.delete(PATH).status_code == 202
    assert api.woken == [KEY, KEY]
    assert api.client.get(f"{PATH}/status").json()["deleting"] is True
    answer = api.apply(rollout(target="v2"))
    assert answer.status_code == 409
    assert api.client.delete("/v1/rollouts/ml/nothing").status_code == 404


def test_a_status_says_where_the_candidate_is_and_what_the_routers_acknowledged(api: Api) -> None:
    api.apply(rollout(target="v2"))
    api.decide(on_trial(api))
    for router, applied in [("r1", "1.4.0"), ("r2", "1.3.0"), ("r3", "9.4.0")]:
        api.client.get(f"/v1/routes/{KEY}", params={"router": router, "applied": applied, "wait": 0})
    shown = api.client.get(f"{PATH}/status").json()
    status = shown["status"]
    assert status["phase"] == "Progressing"
    assert status["waitingFor"] == "7 s more of canary 5 %"
    assert status["stage"]["title"] == "canary 5 %"
    assert (status["stage"]["index"], status["stage"]["of"]) == (1, 2)
    assert status["weights"] == {
        "version": "v2",
        "desired": {"percent": "5%", "basisPoints": 500},
        "acknowledged": {
            "low": {"percent": "0%", "basisPoints": 0},
            "high": {"percent": "5%", "basisPoints": 500},
            "unknown": ["r3"],
        },
    }
    assert [router["synced"] for router in shown["routers"]] == [True, False, False]
    assert [(v["name"], v["role"], v["weight"]["percent"]) for v in status["versions"]] == [
        ("v1", "stable", "95%"),
        ("v2", "candidate", "5%"),
    ]
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert conditions["TrafficSynced"] == "False"
    assert (conditions["Ready"], conditions["Reconciling"], conditions["Stalled"]) == (
        "False",
        "True",
        "False",
    )


def test_a_version_that_left_is_acknowledged_at_zero_only_when_the_router_runs_the_plan_that_took_it(
    api: Api,
) -> None:
    api.apply(rollout(target="v2"))
    trial = on_trial(api)
    gone = Retiring("v2", trial.candidate.identity, since_generation=5, drain_s=60.0, warm_s=0.0)  # type: ignore[union-attr]
    everything = (SlotRange(0, 10_000, "v1"),)
    api.decide(replace(trial, candidate=None, retiring=(gone,), slots=everything, generation=5))
    seen = []
    for applied in ("1.4.0", "1.5.0"):
        api.client.get(f"/v1/routes/{KEY}", params={"router": "r1", "applied": applied, "wait": 0})
        weights = api.client.get(f"{PATH}/status").json()["status"]["weights"]
        assert weights["desired"]["basisPoints"] == 0
        seen.append((weights["acknowledged"]["high"], weights["acknowledged"]["unknown"]))
    assert seen == [(None, ["r1"]), ({"percent": "0%", "basisPoints": 0}, [])]


def test_checks_events_and_decisions_are_shown_as_recorded(api: Api) -> None:
    api.apply(rollout(target="v2"))
    result = CheckResult(
        check="errors",
        verdict=Verdict.INCONCLUSIVE,
        lack=Lack.NO_DATA,
        text="no request yet",
        estimate=0.02,
        samples=12,
    )
    record = DecisionRecord(
        at=1_700_000_000.5,
        reason=Reason.WEIGHT_RAISED,
        version="v2",
        weight_before=0,
        weight_after=500,
        stage="canary 5 %",
        sentence="v2 from 0 % to 5 %",
        epoch=1,
        generation=4,
        checks=(result,),
    )
    told = Event(1_700_000_000.5, Reason.WEIGHT_RAISED, "v2 from 0 % to 5 %")
    api.decide(on_trial(api), (result,), records=(record,), events=(told,))
    shown = api.client.get(f"{PATH}/status").json()
    (check,) = shown["status"]["checks"]
    assert (check["verdict"], check["lack"], check["samples"]) == ("Inconclusive", "NoData", 12)
    assert shown["status"]["verdict"] == "Inconclusive"
    (condition,) = [c for c in shown["status"]["conditions"] if c["type"] == "AnalysisHealthy"]
    assert (condition["status"], condition["message"]) == ("False", "errors: no request yet")
    (decision,) = api.client.get(f"{PATH}/decisions").json()["items"]
    assert shown["decisions"] == [decision]
    assert decision["at"] == "2023-11-14T22:13:20.500Z"
    assert decision["weightAfter"] == {"percent": "5%", "basisPoints": 500}
    assert api.client.get(f"{PATH}/events").json()["items"] == [
        {"at": "2023-11-14T22:13:20.500Z", "reason": "WeightRaised", "message": "v2 from 0 % to 5 %"}
    ]


def test_a_list_is_part_of_what_the_status_says(api: Api) -> None:
    api.apply(rollout(target="v2"))
    api.apply(rollout("other"))
    api.decide(on_trial(api))
    (item,) = [
        item
        for item in api.client.get("/v1/rollouts?namespace=ml").json()["items"]
        if item["name"] == "fraud"
    ]
    full = api.client.get(f"{PATH}/status").json()
    assert item["spec"] == full["spec"]
    assert item["status"].items() <= full["status"].items()
    assert len(api.client.get("/v1/rollouts").json()["items"]) == 2
    assert api.client.get("/v1/rollouts?namespace=none").json()["items"] == []


def test_who_waits_for_a_change_is_answered_by_a_decision_and_by_an_acknowledgement(api: Api) -> None:
    api.apply(rollout(target="v2"))
    answers: list[httpx.Response] = []

    def wait_for_change(tag: str) -> threading.Thread:
        headers = {"if-none-match": tag}
        thread = threading.Thread(
            target=lambda: answers.append(api.client.get(f"{PATH}/status?wait=60", headers=headers))
        )
        thread.start()
        return thread

    first = api.client.get(f"{PATH}/status")
    waiting = wait_for_change(first.headers["etag"])
    until(lambda: KEY in api.deps.changes._events)
    api.decide(on_trial(api))
    waiting.join(60)
    assert answers[0].json()["status"]["phase"] == "Progressing"
    waiting = wait_for_change(answers[0].headers["etag"])
    until(lambda: KEY in api.deps.changes._events)
    api.client.get(f"/v1/routes/{KEY}", params={"router": "r1", "applied": "1.4.0", "wait": 0})
    waiting.join(60)
    assert answers[1].json()["routers"][0]["applied"] == "1.4.0"


def test_who_waits_in_vain_is_told_so(api: Api) -> None:
    api.apply(rollout())
    tag = api.client.get(f"{PATH}/status").headers["etag"]
    answer = api.client.get(f"{PATH}/status?wait=0.2", headers={"if-none-match": tag})
    assert (answer.status_code, answer.headers["etag"]) == (304, tag)


def test_a_document_that_this_release_does_not_accept_is_shown_without_its_spec(api: Api) -> None:
    at_once(api.store.put_document(KEY, {"spec": "from another release"}))
    shown = api.client.get(f"{PATH}/status").json()
    assert shown["spec"] is None
    assert shown["status"]["stage"] is None


def test_metrics_have_every_phase_and_reason_from_the_start_and_the_weights(api: Api) -> None:
    api.apply(rollout(target="v2"))
    api.decide(on_trial(api))
    text = api.client.get("/metrics").text
    assert 'headgate_rollouts{phase="Progressing"} 1.0' in text
    assert 'headgate_rollouts{phase="Healthy"} 0.0' in text
    assert 'headgate_weight_ratio{rollout="ml/fraud",version="v2"} 0.05' in text
    assert 'headgate_decisions_total{reason="RollingBack"} 0.0' in text
    api.deps.metrics.reconciled("done", 0.004)
    api.deps.metrics.decided(Reason.ROLLING_BACK)
    text = api.client.get("/metrics").text
    assert 'headgate_reconcile_seconds_bucket{le="0.005",outcome="done"} 1.0' in text
    assert 'headgate_decisions_total{reason="RollingBack"} 1.0' in text


def test_the_plan_a_router_waits_for_does_not_hold_up_other_requests(api: Api) -> None:
    api.apply(rollout())
    api.publish(plan(1))
    waiting = threading.Thread(
        target=lambda: api.client.get(
            f"/v1/routes/{KEY}", params={"router": "r1", "applied": "1.1.0", "wait": 60}
        )
    )
    waiting.start()
    until(lambda: "r1" in api.store.members(KEY))
    assert api.client.get("/healthz").status_code == 200
    api.publish(plan(2))
    waiting.join(60)


def test_a_store_that_cannot_be_written_is_503_and_nothing_is_half_done(api: Api) -> None:
    """A full disk, as SQLite says it: no page may be added."""
    api.apply(rollout())
    api.store._db.execute("PRAGMA max_page_count = 1")
    codes = []
    while 503 not in codes and len(codes) < 60:
        action = {"verb": "pause", "version": "v2", "id": f"a{len(codes)}", "reason": "x" * 1024}
        answer = api.client.post(f"{PATH}/actions", json=action)
        codes.append(answer.status_code)
    assert codes == [*[202] * (len(codes) - 1), 503]
    assert "headgate router pin VERSION --run DIR" in answer.json()["error"]["do"]
    applied = [api.apply(rollout(f"r{number}")) for number in range(40)]
    assert applied[-1].status_code == 503
    assert applied[-1].json()["error"]["do"].startswith("nothing was changed; ask again")
    assert len(api.store.pending_actions(KEY)) == len(codes) - 1
    assert api.client.get(f"{PATH}/status").status_code == 200
