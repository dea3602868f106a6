"""Actions through the API: kept once, decided by the reconciler, answered to who waits."""

import threading
from typing import Any

import httpx
import pytest

from controller.core.status import ActionResult, Status, Verb
from tests.controller.api.served import KEY, Api, rollout, until

PATH = f"/v1/rollouts/{KEY}/actions"


def act(api: Api, actor: str = "alice", **more: Any) -> httpx.Response:
    body = {"verb": "rollback", "version": "v2", "reason": "p99 doubled", **more}
    return api.client.post(PATH, json=body, headers={"x-headgate-actor": actor})


def test_an_action_is_kept_for_the_next_reconcile_with_who_asked_and_why(api: Api) -> None:
    api.apply(rollout())
    answer = act(api, id="a1")
    assert (answer.status_code, answer.json()) == (202, {"id": "a1"})
    (action,) = api.store.pending_actions(KEY)
    assert (action.verb, action.version, action.actor, action.reason) == (
        Verb.ROLLBACK,
        "v2",
        "local:alice",
        "p99 doubled",
    )
    assert api.woken == [KEY, KEY]


def test_an_action_may_name_a_stage_a_version_to_go_to_and_the_roles_its_person_claims(api: Api) -> None:
    api.apply(rollout())
    act(api, verb="undo", stage=2, to="v1", roles=["owner"])
    (action,) = api.store.pending_actions(KEY)
    assert (action.verb, action.stage, action.to, action.roles) == (Verb.UNDO, 2, "v1", ("owner",))
    assert act(api, verb="approve", roles="owner").status_code == 400


def test_the_same_id_twice_is_one_action_and_no_id_makes_one_each(api: Api) -> None:
    api.apply(rollout())
    for _ in range(2):
        act(api, id="a1")
    assert len(api.store.pending_actions(KEY)) == 1
    assert act(api).json()["id"] != act(api).json()["id"]
    assert len(api.store.pending_actions(KEY)) == 3


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("verb", {"verb": "explode"}),
        ("verb", {"verb": None}),
        ("verb", {"verb": ["rollback"]}),
        ("version", {"version": ""}),
        ("version", {"version": None}),
        ("version", {"version": "V2!"}),
        ("id", {"id": "a/b"}),
        ("id", {"id": 7}),
        ("stage", {"stage": "two"}),
        ("stage", {"stage": -1}),
        ("stage", {"stage": True}),
        ("to", {"to": "V 1"}),
    ],
)
def test_a_malformed_action_is_refused_by_the_name_of_the_field(
    api: Api, field: str, body: dict[str, Any]
) -> None:
    api.apply(rollout())
    answer = act(api, **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["object"] == field
    assert api.store.pending_actions(KEY) == ()


def test_an_actor_nobody_named_is_unknown(api: Api) -> None:
    api.apply(rollout())
    act(api, actor="")
    assert [action.actor for action in api.store.pending_actions(KEY)] == ["local:unknown"]


@pytest.mark.parametrize(("is_accepted", "state"), [(True, "Accepted"), (False, "Refused")])
def test_who_waits_for_the_answer_gets_it_when_it_is_decided(api: Api, is_accepted: bool, state: str) -> None:
    api.apply(rollout())
    act(api, id="a1")
    assert api.client.get(f"{PATH}/a1").json()["state"] == "Pending"
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(api.client.get(f"{PATH}/a1?wait=60")))
    thread.start()
    until(lambda: KEY in api.deps.changes._events)
    api.decide(Status(), actions=(ActionResult("a1", is_accepted, "because"),))
    thread.join(60)
    assert answers[0].json() == {"id": "a1", "state": state, "message": "because"}


def test_an_action_nobody_made_is_404(api: Api) -> None:
    api.apply(rollout())
    assert api.client.get(f"{PATH}/a9").status_code == 404


def test_more_pending_actions_than_are_kept_are_refused(api: Api) -> None:
    api.apply(rollout())
    codes = [act(api).status_code for _ in range(65)]
    assert codes == [202] * 64 + [429]


def test_an_action_on_no_rollout_is_404(api: Api) -> None:
    assert act(api).status_code == 404
