"""What a cluster says, as the command says it: objects as the API's view, refusals as sentences; and which world is meant."""

from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from controller.adapters.kubernetes import status as written
from controller.adapters.kubernetes.errors import ApiError, error_of
from controller.adapters.kubernetes.status import Kept
from controller.api import view
from controller.api.shown import Seen
from controller.cli import objects, refusals
from controller.cli.act import _taken_off
from controller.cli.local import LocalClient
from controller.cli.waiting import Reached
from controller.cli.where import Said, client_for
from controller.core.slots import all_to
from controller.core.status import ActionResult, Phase, Retiring, Status, VersionRef
from controller.crd import to_core
from headgate.cli import PLUGIN, as_plugin, root
from tests.controller.api.served import rollout

Json = dict[str, Any]

SERVES = Status(
    observed_generation=3,
    phase=Phase.HEALTHY,
    message="v1 serves everything",
    stable=VersionRef("v1", "one"),
    slots=all_to("v1"),
    epoch=1,
    generation=7,
)
LEFT = Retiring("v2", "two", since_generation=7, drain_s=60.0, warm_s=0.0)


def found(status: Status, kept: Kept | None = None, **fields: Any) -> Json:
    """The object as the controller writes it; `fields` are those of its status that differ."""
    document = {**rollout(), "metadata": {"name": "fraud", "namespace": "ml"}}
    kept = kept or Kept(status)
    spec = to_core(document, 3)
    assert not isinstance(spec, tuple)
    stored = objects.stored({**document, "status": {"state": written.encode(kept)}})
    shown = view.full(Seen(stored, spec, (), 0.0), ())  # type: ignore[arg-type]  # it is sound
    told = written.told(shown, {}, [], 0.0)
    state = {"state": written.encode(kept), "routers": ["r1", "r2"]}
    metadata = {
        **document["metadata"],
        "uid": "u",
        "generation": 3,
        "resourceVersion": "9",
        "finalizers": ["x"],
    }
    return {**document, "metadata": metadata, "status": {**told, **state, **fields}}


def with_left(acknowledged: str | None, **fields: Any) -> Json:
    """v2 was taken off, and this much of that is acknowledged."""
    status = msgspec.structs.replace(Kept(SERVES)).status
    left = Status(**{name: getattr(status, name) for name in status.__slots__} | {"retiring": (LEFT,)})
    weights = {"desired": "0%"} | ({"acknowledged": acknowledged} if acknowledged is not None else {})
    return found(left, weights=weights, **fields)


def condition(reason: str, message: str = "", status: str = "False") -> list[Json]:
    return [{"type": "TrafficSynced", "status": status, "reason": reason, "message": message}]


@pytest.mark.parametrize(("acknowledged", "is_reached"), [("0%", True), ("0%-5%", False), (None, False)])
def test_a_version_has_left_only_when_every_router_said_so(
    acknowledged: str | None, is_reached: bool
) -> None:
    shown = objects.full(with_left(acknowledged, conditions=condition("NotAcknowledged", "not yet: r2")), 0.0)
    assert (_taken_off("v2")(shown) == Reached()) is is_reached
    assert [router["synced"] for router in shown["routers"]] == [None, False]


def test_a_route_that_has_not_acknowledged_is_not_nobody() -> None:
    quiet = with_left(None, routers=[], conditions=condition("NotAcknowledged"))
    assert _taken_off("v2")(objects.full(quiet, 0.0)) is None
    quiet["spec"]["traffic"] = {"httpRoute": {"name": "public"}}
    shown = objects.full(quiet, 0.0)
    assert _taken_off("v2")(shown) is None
    assert [router["id"] for router in shown["routers"]] == ["httproute/public"]


def test_where_no_router_counts_nobody_is_waited_for() -> None:
    alone = with_left(None, routers=[], conditions=condition("NoRouter", status="Unknown"))
    assert _taken_off("v2")(objects.full(alone, 0.0)) == Reached()


def test_an_object_that_nobody_looked_at_says_so() -> None:
    fresh = {key: value for key, value in found(SERVES).items() if key != "status"}
    shown = objects.full(fresh, 0.0)
    assert shown["status"]["message"] == "the controller has not looked at it yet"
    assert shown["spec"]["target"] == "v1"
    assert objects.summary(fresh, 0.0)["status"]["stableVersion"] is None


def test_where_the_memory_cannot_be_read_what_was_written_for_people_is_shown() -> None:
    broken = found(SERVES, state="no base64!")
    shown = objects.full(broken, 0.0)
    assert (shown["status"]["phase"], shown["status"]["stableVersion"]) == ("Healthy", "v1")


def test_an_answer_is_found_in_the_rollout_by_who_may_read_no_actions() -> None:
    kept = Kept(SERVES, answers=(ActionResult("uid-1", False, "v9 is not on trial"),))
    assert objects.answered(found(SERVES, kept), "uid-1") == (False, "v9 is not on trial")
    assert objects.answered(found(SERVES, kept), "uid-2") is None


def refused(status: int, message: str, causes: list[Json] | None = None) -> ApiError:
    return error_of("POST /apis/headgate.dev/v1alpha1/x", status, "Forbidden", message, None, causes or ())


@pytest.mark.parametrize(
    ("error", "what", "do"),
    [
        (
            refused(
                403,
                "x is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: [may-act] spec.action: ann "
                "may not promote fraud in ml: a Role needs the verb promote on modelrollouts",
            ),
            "ann may not promote fraud in ml",
            "a Role needs the verb promote on modelrollouts",
        ),
        (
            refused(
                403,
                'modelrollouts.headgate.dev is forbidden: User "ann" cannot list resource "modelrollouts" in API group '
                '"headgate.dev" in the namespace "ml"',
            ),
            "ann may not list modelrollouts in namespace ml",
            "`kubectl auth can-i list modelrollouts.headgate.dev -n ml`",
        ),
        (refused(401, "Unauthorized"), "the API server does not know who you are", "sign in again"),
        (
            refused(404, "the server could not find the requested resource"),
            "Headgate is not installed there",
            "manifests/crds",
        ),
        (
            refused(404, 'x "fraud" not found'),
            "there is no rollout fraud in namespace ml",
            "-n names another",
        ),
        (refused(503, "away"), "does not answer: away", "--context chooses another cluster"),
        (refused(409, "it exists"), "ml/fraud: the API server refused: it exists", ""),
    ],
)
def test_a_refusal_is_a_sentence_with_what_to_do(error: ApiError, what: str, do: str) -> None:
    failure = refusals.failure(error, "ml/fraud")
    assert what in failure.message
    assert do in failure.do


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        (
            {"field": "spec.target", "message": 'Invalid value: "v9": [known-version] v9 is none of v1'},
            "spec.target: v9 is none of v1 (known-version)",
        ),
        (
            {"field": "spec", "message": 'Invalid value: "object": [bounds] spec.checks[0]: too few'},
            "spec.checks[0]: too few (bounds)",
        ),
        ({"field": "spec.versions", "message": "Required value"}, "spec.versions: Required value (required)"),
        (
            {"field": "spec.replicas", "message": 'Invalid value: "x": must be of type integer: "string"'},
            'spec.replicas: must be of type integer: "string" (type)',
        ),
    ],
)
def test_what_the_api_server_finds_wrong_is_told_as_lint_tells_it(cause: Json, line: str) -> None:
    failure = refusals.failure(refused(422, "it is invalid", [cause]), "ml/fraud")
    assert failure.faults == (line,)
    assert "one thing is wrong with ml/fraud; nothing was changed" in failure.message


def test_a_field_that_is_not_there_is_told_by_its_path() -> None:
    failure = refusals.failure(refused(400, 'strict decoding error: unknown field "spec.tarjet"'), "ml/fraud")
    assert failure.faults == ("spec.tarjet: there is no such field (unknown-field)",)


def test_a_conflict_names_the_fields_and_who_wrote_them() -> None:
    cause = {"field": ".spec.target", "message": 'conflict with "kubectl-edit" using headgate.dev/v1alpha1'}
    error = refused(409, "conflict", [cause])
    assert refusals.owners(error) == {"kubectl-edit"}
    assert refusals.failure(error, "ml/fraud").faults == ("spec.target: kubectl-edit wrote it (conflict)",)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a controller, and no cluster anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "HEADGATE_STATE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def meant(said: Said, program: str = "headgate") -> str:
    """This machine, or the failure to reach a cluster."""
    with click.Context(root(), info_name=program):
        try:
            return "machine" if isinstance(client_for(said), LocalClient) else "cluster"
        except click.ClickException as error:
            return f"cluster: {error.format_message()}"


def test_without_any_trace_of_a_cluster_this_machine_is_meant(empty: Path) -> None:
    assert meant(Said()) == "machine"
    assert meant(Said(), PLUGIN).startswith("cluster: no cluster: there is no kubeconfig")
    assert meant(Said(context="prod")).startswith("cluster: no cluster")
    assert meant(Said(api="http://127.0.0.1:1"), PLUGIN) == "machine"


def test_a_controller_of_this_folder_goes_before_a_kubeconfig(empty: Path) -> None:
    (empty / ".kube").mkdir()
    (empty / ".kube" / "config").write_text("{}")
    assert meant(Said()).startswith("cluster: ")
    (empty / ".headgate").mkdir()
    (empty / ".headgate" / "endpoint.json").write_text("{}")
    assert meant(Said()) == "machine"
    assert meant(Said(), PLUGIN).startswith("cluster: ")


def test_two_worlds_at_once_are_a_usage_error(empty: Path) -> None:
    assert "give one or the other" in meant(Said(context="prod", state=empty))
    assert "give one or the other" in meant(Said(namespace="ml", is_everywhere=True))


def test_under_kubectl_the_help_says_what_to_type_there() -> None:
    door = root(PLUGIN)
    verb = door.get_command(click.Context(door), "rollback")
    assert verb is not None
    assert "kubectl headgate rollback fraud" in (verb.help or "")
    assert as_plugin("see `headgate status x`, `headgate up`, `kubectl headgate get`") == (
        "see `kubectl headgate status x`, `headgate up`, `kubectl headgate get`"
    )
    plain = root()
    again = plain.get_command(click.Context(plain), "rollback")
    assert again is not None
    assert "kubectl" not in (again.help or "")
    group = door.get_command(click.Context(door), "router")
    assert isinstance(group, click.Group)
    assert "kubectl headgate router forget" in (group.commands["forget"].help or "")
