"""What a request is and which rule takes it, without any network."""

import pytest

from tests.faults.proxy.kube import WRITES, Asked, asked
from tests.faults.proxy.rules import (
    Active,
    Answer,
    DropEvents,
    Gone,
    Reset,
    Rule,
    Stale,
    conflicts_on_every_second_write,
)

APPS = "/apis/apps/v1/namespaces/ml/deployments"


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", APPS, Asked("list", "deployments", "apps", "ml")),
        ("GET", f"{APPS}/model", Asked("get", "deployments", "apps", "ml", "model")),
        ("GET", f"{APPS}?watch=1&allowWatchBookmarks=true", Asked("watch", "deployments", "apps", "ml")),
        ("GET", f"{APPS}?watch=false", Asked("list", "deployments", "apps", "ml")),
        ("GET", "/apis/apps/v1/deployments?watch=true", Asked("watch", "deployments", "apps")),
        ("PATCH", f"{APPS}/model/scale", Asked("patch", "deployments/scale", "apps", "ml", "model")),
        ("PUT", f"{APPS}/model/status", Asked("update", "deployments/status", "apps", "ml", "model")),
        ("POST", "/api/v1/namespaces/ml/events", Asked("create", "events", "", "ml")),
        ("DELETE", "/api/v1/namespaces/ml/pods/p-1", Asked("delete", "pods", "", "ml", "p-1")),
        ("DELETE", "/api/v1/namespaces/ml/pods", Asked("deletecollection", "pods", "", "ml")),
        ("GET", "/api/v1/namespaces/ml", Asked("get", "namespaces", "", "", "ml")),
        ("PUT", "/api/v1/namespaces/ml/finalize", Asked("update", "namespaces/finalize", "", "", "ml")),
        (
            "POST",
            "/apis/authentication.k8s.io/v1/tokenreviews",
            Asked("create", "tokenreviews", "authentication.k8s.io"),
        ),
        ("GET", "/apis/apps/v1", Asked("get")),
        ("GET", "/api", Asked("get")),
        ("GET", "/readyz?verbose", Asked("get")),
    ],
)
def test_a_request_is_read_as_the_api_server_reads_it(method: str, target: str, expected: Asked) -> None:
    assert asked(method, target) == expected


def taken(rule: Rule, *requests: Asked, agent: str = "headgate/0.1") -> list[bool]:
    active = Active(rule)
    return [active.takes(request, agent) for request in requests]


PATCHES = (Asked("patch", "deployments", "apps", "ml", "model"),) * 5


@pytest.mark.parametrize(
    ("rule", "hit"),
    [
        (Rule(Reset()), [1, 2, 3, 4, 5]),
        (Rule(Reset(), nth=3), [3]),
        (Rule(Reset(), every=2), [2, 4]),
        (Rule(Reset(), times=2), [1, 2]),
        (Rule(Reset(), every=2, times=1), [2]),
        (conflicts_on_every_second_write(), [2, 4]),
        (conflicts_on_every_second_write(besides=("deployments",)), []),
    ],
)
def test_which_of_five_equal_requests_meet_the_fault(rule: Rule, hit: list[int]) -> None:
    assert [number for number, met in enumerate(taken(rule, *PATCHES), 1) if met] == hit


@pytest.mark.parametrize(
    ("rule", "met"),
    [
        (Rule(Reset(), verbs=WRITES), True),
        (Rule(Reset(), verbs=("get", "list")), False),
        (Rule(Reset(), resources=("deployments",)), True),
        (Rule(Reset(), resources=("deployments/*",)), False),
        (Rule(Reset(), namespace="other"), False),
        (Rule(Reset(), name="model"), True),
        (Rule(Reset(), agent="headgate"), True),
        (Rule(Reset(), agent="kubectl"), False),
        (Rule(Gone()), False),
        (Rule(Stale()), False),
        (Rule(DropEvents()), False),
    ],
)
def test_a_rule_takes_what_it_names_and_nothing_else(rule: Rule, met: bool) -> None:
    assert taken(rule, PATCHES[0]) == [met]


def test_only_requests_that_match_are_counted() -> None:
    get, status = Asked("get", "pods"), Asked("patch", "pods/status")
    assert taken(Rule(Answer(500), resources=("pods/*",), nth=2), status, get, status) == [False, False, True]


def test_events_are_counted_by_type_in_the_watches_that_match() -> None:
    active = Active(Rule(DropEvents(), resources=("pods",), types=("MODIFIED",), nth=2))
    watch = Asked("watch", "pods")
    seen = [active.takes_event(watch, "", kind) for kind in ("ADDED", "MODIFIED", "BOOKMARK", "MODIFIED")]
    assert seen == [False, False, False, True]
    assert not active.takes_event(Asked("watch", "services"), "", "MODIFIED")
    assert (active.matched, active.applied) == (2, 1)


def test_a_rule_may_ask_what_the_body_says() -> None:
    active = Active(Rule(Reset(), says='"Promoted"', nth=1))
    patch = PATCHES[0]
    bodies = (b'{"reason":"WeightRaised"}', b'{"reason":"Promoted"}', b'{"reason":"Promoted"}')
    assert [active.takes(patch, "headgate/0.1", body) for body in bodies] == [False, True, False]
