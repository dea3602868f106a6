"""The CRDs on a real API server: it refuses what lint refuses and takes what lint takes, by the same words."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from controller.core.spec import Spec
from controller.core.status import Status, VersionRef
from controller.crd import Fault, Refused, changes, load_documents, parse, to_core
from controller.crd.convert import identities
from controller.crd.forms import UNSEEN
from tests.cluster.kinds import install
from tests.cluster.testbed.cluster import Testbed
from tests.controller.crd.bad import bad_specs
from tests.controller.crd.specs import AGREE, ERRORS, LATENCY, REDO, SLO, Document, changed, sound

ROOT = Path(__file__).parents[2]
ROLLOUTS = "/apis/headgate.dev/v1alpha1/namespaces/{namespace}/modelrollouts"
BAD = {name: document for name, document in bad_specs() if "nan" not in repr(document)}  # JSON has no NaN


@pytest.fixture(scope="module")
def api(cluster: Testbed) -> httpx.Client:
    """The API server with the CRDs as they are committed."""
    install(cluster)
    return cluster.client()


def asked(api: httpx.Client, document: Document) -> httpx.Response:
    """What the API server would say to this rollout, in the namespace default."""
    return api.post(
        ROLLOUTS.format(namespace="default"),
        params={"dryRun": "All", "fieldValidation": "Strict"},
        json=document,
    )


OWN_WORDS: list[tuple[str, str]] = [
    (r"must be of type|Checked value must be", "type|unit|port"),
    (r"Required value", "required"),
    (r"Unsupported value", "choice"),
    (r"should be (greater|less) than or equal", "bounds"),
    (
        r"should have at (least|most) \d+ items|Too many|Too long|should be at least \d+ chars",
        "bounds|pattern",
    ),
    (r"should have at least 1 properties", "one-kind-a-stage"),
]
"""The API server's own words for what a schema says without CEL, and the rule by which lint refuses the same."""


def findings(answer: httpx.Response) -> Iterator[tuple[str, str, str]]:
    """(rules, path, message) for each thing that the API server says is wrong."""
    body = answer.json()
    unknown = re.findall(r'unknown field "([^"]+)"', body["message"])
    yield from (("unknown-field", path, body["message"]) for path in unknown)
    for cause in body.get("details", {}).get("causes", []):
        message, field = cause["message"], cause.get("field", "")
        named = re.search(r"\[([a-z-]+)\] (?:(\S+?): )?", message)
        if named is not None:
            rest = named[2] or ""
            yield named[1], field, message
            yield named[1], rest if rest.startswith("spec.") else f"{field}.{rest}", message
        for words, rules in OWN_WORDS:
            if re.search(words, message):
                yield rules, field, message


def says(answer: httpx.Response, fault: Fault) -> bool:
    """Does the API server name the same rule at the same field (or at the map whose key is at fault)?"""
    for rules, path, message in findings(answer):
        if fault.rule in rules.split("|"):
            left = fault.path.removeprefix(path)
            if not left or (left != fault.path and left.strip(".") in message):
                return True
    return False


def is_unseen(fault: Fault) -> bool:
    """Is it one of the few things that CEL cannot see?"""
    return fault.rule in UNSEEN or fault.path.startswith("spec.decision.guard")


def faults(document: Document) -> tuple[Fault, ...]:
    """What lint, and a first apply, have against it."""
    return changes(None, document, None)


@pytest.mark.parametrize("name", BAD)
def test_what_lint_refuses_the_api_server_refuses_by_the_same_rule_at_the_same_field(
    api: httpx.Client, name: str
) -> None:
    (fault,) = faults(BAD[name])
    answer = asked(api, BAD[name])
    if answer.is_success:
        assert is_unseen(fault), f"it was let through: {fault}"
    else:
        assert says(answer, fault), f"{fault}; and the API server: {answer.json()['message']}"


def test_what_is_left_to_the_controller_is_no_more_than_is_written_down(api: httpx.Client) -> None:
    through = {
        fault.rule
        for document in BAD.values()
        if asked(api, document).is_success
        for fault in faults(document)
    }
    assert through == {
        "cron-fires",
        "window-opens",
        "route-abilities",
        "take-over",
        "type",
        "bounds",
    }  # the last two are decision.guard's


FLIPPING = changed(
    lambda spec: spec.update(strategy={"blueGreen": {"preview": "10%", "bake": "10m"}}, checks=[AGREE, SLO])
)


def good_specs() -> Iterator[tuple[str, Document]]:
    yield "sound", sound()
    yield "flipping", FLIPPING
    yield (
        "nothing behind full",
        changed(lambda spec: spec["strategy"]["stages"].__setitem__(3, {"full": None})),
    )
    for file in sorted((ROOT / "examples").glob("*/*.yaml")):
        yield from _documents(str(file.relative_to(ROOT)), file.read_text())
    for file in sorted([ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")]):
        for index, block in enumerate(re.findall(r"```yaml\n(.*?)```", file.read_text(), re.DOTALL)):
            if "kind: ModelRollout" in block:
                yield from _documents(f"{file.relative_to(ROOT)}-{index}", block)


def _documents(name: str, text: str) -> Iterator[tuple[str, Document]]:
    loaded = load_documents(text)
    assert isinstance(loaded, tuple), f"{name}: {loaded}"
    for document in loaded:
        if document.content.get("kind") == "ModelRollout":
            document.content["metadata"].pop("namespace", None)  # it is asked about in default
            yield f"{name}-{document.content['metadata']['name']}", document.content


GOOD = dict(good_specs())


@pytest.mark.parametrize("name", GOOD)
def test_a_good_spec_is_taken_and_means_the_same_with_the_servers_defaults(
    api: httpx.Client, name: str
) -> None:
    document = GOOD[name]
    answer = asked(api, document)
    assert answer.is_success, answer.text
    written = document | {"metadata": {"namespace": "default", **document["metadata"]}}
    read, wanted = to_core(answer.json(), 1), to_core(written, 1)
    assert isinstance(wanted, Spec), wanted
    assert read == wanted


def test_the_docs_have_rollouts_to_try() -> None:
    assert sum(name.startswith(("README.md", "docs/")) for name in GOOD) >= 1
    assert sum(name.startswith("examples/") for name in GOOD) >= 2


VALUES: Any = st.sampled_from(
    ["", "5%", "100%", "0%", "25.5%", "60s", "1h30m", "90d", "0s", "v7", "v8", "errors", "agree", "p99", "/x", "auto",
     "onPass", "unlessFail", "shadow.disagreement", "requests.latency", "rollback", "hold", "x"]
) | st.booleans() | st.integers(-1, 200) | st.sampled_from([{}, [], ["errors"], ["5%", "1%"], [{}]])  # fmt: skip
KEYS = st.sampled_from(
    ["sample", "checks", "to", "weights", "steps", "every", "advance", "duration", "maxStay", "minPairs", "full",
     "shadow", "canary", "flip", "pause", "approval", "match", "canary", "blueGreen", "metric", "max", "noWorseThan",
     "ratio", "plus", "slower", "quantile", "perSlice", "url", "readiness", "bake", "initialStable", "paused"]
)  # fmt: skip


@given(data=st.data())
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_spec_changed_anywhere_is_judged_alike_by_lint_and_by_the_api_server(
    api: httpx.Client, data: st.DataObject
) -> None:
    document = data.draw(st.sampled_from([sound(), FLIPPING]))
    document = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 2))):
        _change(document["spec"], data)
    agree(api, document)


NAMES = st.lists(st.sampled_from(["errors", "slo", "latency", "agree", "redo", "oops"]), max_size=3)
SHARES = st.sampled_from(["0%", "1%", "5%", "5.00%", "25%", "60%", "100%"])
TIMES = st.sampled_from(["0s", "60s", "1m30s", "12h", "0.5d", "2d"])
TO = st.lists(st.sampled_from(["v7", "v8", "v9"]), min_size=1, max_size=2)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    """A mapping with any of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


STEPS = st.lists(some(every=TIMES) | st.fixed_dictionaries({"weight": SHARES}), min_size=1, max_size=2)
KINDS = {
    "shadow": some(sample=SHARES, duration=TIMES, minPairs=st.integers(0, 1), checks=NAMES, to=TO),
    "canary": some(
        weights=st.lists(SHARES, min_size=1, max_size=3), steps=STEPS, every=TIMES, checks=NAMES, to=TO
    ),
    "match": some(headers=st.just([{"name": "x-beta", "exact": "1"}]), share=SHARES, checks=NAMES, to=TO),
    "approval": some(expires=TIMES, onExpire=st.just("abort")),
    "pause": some(duration=TIMES),
    "flip": some(preview=SHARES, bake=TIMES, before=some(checks=NAMES), after=some(checks=NAMES)),
    "full": some(bake=TIMES, checks=NAMES),
}
STAGES = st.lists(
    st.one_of(*(st.fixed_dictionaries({kind: fields}) for kind, fields in KINDS.items())),
    min_size=1,
    max_size=4,
)
STRATEGIES = st.one_of(
    st.fixed_dictionaries({"stages": STAGES}),
    st.fixed_dictionaries({"stages": STAGES.map(lambda stages: [*stages, {"full": {}}])}),
    *(
        st.fixed_dictionaries({name: KINDS[kind]})
        for name, kind in (("canary", "canary"), ("shadow", "shadow"), ("blueGreen", "flip"))
    ),
)
CHECKS = st.lists(st.sampled_from([ERRORS, SLO, LATENCY, AGREE, REDO]), max_size=3)


@given(
    strategy=STRATEGIES,
    checks=CHECKS | st.none(),
    decision=some(maxDuration=TIMES, noDataTimeout=TIMES, onNoData=st.just("rollback")),
)
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_strategy_with_any_checks_is_judged_alike_by_lint_and_by_the_api_server(
    api: httpx.Client, strategy: Document, checks: list[Document] | None, decision: Document
) -> None:
    agree(api, changed(lambda spec: spec.update(strategy=strategy, checks=checks, decision=decision)))


def agree(api: httpx.Client, document: Document) -> None:
    """Lint and the API server both take the document, or both refuse it (but for what CEL cannot see)."""
    found = faults(document)
    answer = asked(api, document)
    assert answer.status_code < 500, answer.text
    event("taken" if answer.is_success else "refused")
    if not answer.is_success:
        assert found, (
            f"lint takes {json.dumps(document['spec'])}, and the API server: {answer.json()['message']}"
        )
    elif found:
        assert all(is_unseen(fault) for fault in found), f"let through: {[str(fault) for fault in found]}"


def _change(spec: Any, data: st.DataObject) -> None:
    """Put some value at some place of the spec."""
    place = spec
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        inner = [key for key in keys if isinstance(place[key], (dict, list)) and place[key]]
        if not inner or data.draw(st.booleans()):
            break
        place = place[data.draw(st.sampled_from(inner))]
    if isinstance(place, dict):
        key = data.draw(KEYS | st.sampled_from(list(place)))
        place[key] = copy.deepcopy(data.draw(VALUES | st.none() if key in place else VALUES))
    else:
        place[data.draw(st.integers(0, len(place) - 1))] = copy.deepcopy(data.draw(VALUES))


# What the definitions give to those who read


@pytest.fixture
def rollout(api: httpx.Client, namespace: str) -> str:
    """A rollout that is there; its path."""
    path = ROLLOUTS.format(namespace=namespace)
    api.post(path, json=sound()).raise_for_status()
    return f"{path}/fraud"


def test_explain_teaches(cluster: Testbed, api: httpx.Client) -> None:
    said = " ".join(cluster.kubectl("explain", "mro.spec.strategy.canary").stdout.split())
    assert "Rising shares of the live traffic, then all of it: {weights: [1%, 5%, 25%], every: 60s}." in said
    assert "enum: unlessFail, onPass" in said
    assert "riskBudget" in said
    status = " ".join(cluster.kubectl("explain", "modelrollout.status.weights").stdout.split())
    assert "What the routers do, such as 5%, or 0%-5% while they differ." in status


def test_the_columns_say_where_a_rollout_is(
    cluster: Testbed, api: httpx.Client, namespace: str, rollout: str
) -> None:
    status = {
        "strategy": "canary",
        "phase": "Progressing",
        "stage": "2/4 canary",
        "weights": {"desired": "25%", "acknowledged": "5%-25%"},
        "stableVersion": "v7",
        "candidateVersion": "v8",
        "verdict": "Inconclusive",
        "waitingFor": "more requests",
        "samples": "120/500",
        "nextActionAt": "2026-01-02T03:04:05Z",
    }
    api.patch(
        f"{rollout}/status",
        json={"status": status},
        headers={"content-type": "application/merge-patch+json"},
    ).raise_for_status()
    header, row = cluster.kubectl("-n", namespace, "get", "mro").stdout.splitlines()
    assert header.split() == (
        [
            "NAME",
            "STRATEGY",
            "PHASE",
            "STAGE",
            "WEIGHT",
            "STABLE",
            "CANDIDATE",
            "VERDICT",
            "WAITING-FOR",
            "AGE",
        ]
    )
    assert re.split(r"\s{2,}", row)[:9] == [
        "fraud", "canary", "Progressing", "2/4 canary", "5%-25%", "v7", "v8", "Inconclusive", "more requests",
    ]  # fmt: skip
    wide, row = cluster.kubectl("-n", namespace, "get", "headgate", "-o", "wide").stdout.splitlines()
    assert wide.split()[-3:] == ["SAMPLES", "NEXT", "AGE"]
    assert "120/500" in row


def test_status_is_written_by_its_own_door_only(api: httpx.Client, rollout: str) -> None:
    merge = {"content-type": "application/merge-patch+json"}
    api.patch(rollout, json={"status": {"phase": "Healthy"}}, headers=merge).raise_for_status()
    assert "status" not in api.get(rollout).json()
    api.patch(f"{rollout}/status", json={"spec": {"target": "v7"}}, headers=merge).raise_for_status()
    assert api.get(rollout).json()["spec"]["target"] == "v8"


def test_an_autoscaler_reads_and_writes_the_replicas(
    cluster: Testbed, api: httpx.Client, namespace: str, rollout: str
) -> None:
    cluster.kubectl("-n", namespace, "scale", "mro/fraud", "--replicas=3")
    assert api.get(rollout).json()["spec"]["replicas"] == 3
    assert api.get(f"{rollout}/scale").json()["spec"]["replicas"] == 3


def test_what_was_asked_cannot_be_changed(api: httpx.Client, namespace: str) -> None:
    path = f"/apis/headgate.dev/v1alpha1/namespaces/{namespace}/rolloutactions"
    action = {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "RolloutAction",
        "metadata": {"name": "one"},
        "spec": {"rollout": "fraud", "action": "rollback", "version": "v8", "requestedBy": "admin"},
    }
    api.post(path, json=action).raise_for_status()
    refused = api.patch(
        f"{path}/one",
        json={"spec": {"version": "v7"}},
        headers={"content-type": "application/merge-patch+json"},
    )
    assert refused.status_code == 422
    assert "[immutable] what was asked is asked: make another action" in refused.json()["message"]


def test_a_name_too_long_for_a_label_is_refused(api: httpx.Client) -> None:
    document = sound()
    document["metadata"]["name"] = "x" * 64
    assert "metadata.name" in asked(api, document).json()["message"]


# What may not become of what is there


def stable(api: httpx.Client, rollout: str, version: str = "v7") -> Document:
    """The controller says which version is stable; the object as it is then."""
    answer = api.patch(
        f"{rollout}/status",
        json={"status": {"stableVersion": version}},
        headers={"content-type": "application/merge-patch+json"},
    )
    answer.raise_for_status()
    return dict(answer.json())


def test_a_first_apply_of_several_versions_must_say_which_is_stable(api: httpx.Client) -> None:
    document = changed(lambda spec: spec.pop("initialStable"))
    (fault,) = changes(None, document, None)
    answer = asked(api, document)
    assert answer.status_code == 422
    assert says(answer, fault), answer.text


def test_later_it_need_not_say_so(api: httpx.Client, rollout: str) -> None:
    document = stable(api, rollout)
    del document["spec"]["initialStable"]
    assert api.put(rollout, json=document).is_success


CHANGED: list[tuple[str, Callable[[Document], Any]]] = [
    ("another address", lambda spec: spec["versions"][0].update(url="http://127.0.0.1:9001/fraud")),
    ("another digest", lambda spec: spec["versions"][0].update(digest=f"sha256:{'0' * 64}")),
    ("another path", lambda spec: spec["versions"][0].update(rewrite={"path": "/v2/models/x/infer"})),
    ("taken out", lambda spec: (spec["versions"].pop(0), spec.pop("initialStable"))),
]


@pytest.mark.parametrize(("what", "change"), CHANGED, ids=[what for what, _ in CHANGED])
def test_what_is_stable_is_neither_redefined_nor_taken_out(
    api: httpx.Client, rollout: str, what: str, change: Callable[[Document], Any]
) -> None:
    document = stable(api, rollout)
    name = VersionRef("v7", version_identities(document)["v7"])
    change(document["spec"])
    (fault,) = changes(document, document, Status(stable=name))
    answer = api.put(rollout, json=document)
    assert answer.status_code == 422, f"{what} was let through"
    assert says(answer, fault), answer.text


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["versions"].append({"name": "v9", "url": "http://127.0.0.1:9009"}),
        lambda spec: spec["versions"].reverse(),
        lambda spec: spec["versions"][1]["process"]["command"].append("--more"),
        lambda spec: spec.update(target="v7"),
        lambda spec: spec["versions"][0].update(readiness=None),
    ],
    ids=["another version", "another order", "the candidate", "the target", "nothing"],
)
def test_all_else_may_change(api: httpx.Client, rollout: str, change: Callable[[Document], Any]) -> None:
    document = stable(api, rollout)
    change(document["spec"])
    answer = api.put(rollout, json=document)
    assert answer.is_success, answer.text


def version_identities(document: Document) -> dict[str, str]:
    parsed = parse(document)
    assert not isinstance(parsed, Refused), parsed
    return identities(parsed.rollout)
