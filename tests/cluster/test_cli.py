"""The command as people type it, `kubectl headgate …`, on a real API server with a controller and a router."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.testbed.cluster import Testbed, wait_for
from tests.cluster.whole import NAME, Whole, install, rollout, until

pytestmark = pytest.mark.timeout(400)  # each test types many commands

MANIFESTS = Path(__file__).parents[2] / "manifests"
PROGRAMS = Path(sys.executable).parent
STAGES = [
    {"canary": {"weights": ["20%"], "every": "10m"}},
    {"pause": {}},
    {"approval": {}},
    {"canary": {"weights": ["40%", "50%"], "every": "10m"}},
    {"full": {}},
]


@pytest.fixture
def whole(cluster: Testbed, namespace: str, tmp_path: Path) -> Iterator[Whole]:
    install(cluster)
    with Whole(cluster, namespace, tmp_path) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def policy(cluster: Testbed) -> Iterator[None]:
    """The admission policy, once the API server enforces it."""
    install(cluster)
    file = str(MANIFESTS / "admission" / "rolloutactions.yaml")
    cluster.kubectl("apply", "--server-side", "--filename", file)
    lie = {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "RolloutAction",
        "metadata": {"name": "lie", "namespace": "default"},
        "spec": {"rollout": "x", "action": "pause", "version": "v1", "requestedBy": "nobody"},
    }
    wait_for(
        lambda: (
            cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=lie, check=False).returncode != 0
        ),
        "the policy is enforced",
    )
    yield
    cluster.kubectl("delete", "--filename", file)


def environment(whole: Whole, user: str, **more: str) -> dict[str, str]:
    """Of somebody whose kubeconfig names the namespace, and who has the command on the PATH."""
    return {
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(whole.folder),
        "KUBECONFIG": str(whole.cluster.kubeconfig(user, namespace=whole.namespace)),
        **more,
    }


def typed(
    whole: Whole, *words: str, user: str = "admin", stdin: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """What `words` do and say, with standard error in the same place."""
    return subprocess.run(
        words,
        env=environment(whole, user, **more),
        cwd=whole.folder,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )


def headgate(whole: Whole, *words: str, code: int = 0, user: str = "admin", stdin: str = "") -> str:
    """What `kubectl headgate WORDS` says, which ends with this code."""
    done = typed(whole, "kubectl", "headgate", *words, user=user, stdin=stdin)
    assert done.returncode == code, f"{words} ended with {done.returncode}: {done.stdout}\n{whole.says()}"
    return done.stdout


def role(whole: Whole, user: str, *rules: tuple[str, list[str]]) -> None:
    """The user may do these verbs with these resources of ours in the namespace, and nothing else."""
    made = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": user},
        "rules": [
            {"apiGroups": ["headgate.dev"], "resources": [what], "verbs": verbs} for what, verbs in rules
        ],
    }
    group = "rbac.authorization.k8s.io"
    bound = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": user},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": user},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    for one in (made, bound):
        whole.kubectl("apply", "--server-side", "--filename", "-", stdin=one)


def healthy(whole: Whole, **spec: Any) -> None:
    """v1 serves, v2 is there; applied with the command, followed by a router."""
    document = rollout([whole.model("v1"), whole.model("v2")], **spec)
    said = headgate(whole, "apply", "-f", "-", stdin=yaml.safe_dump(document))
    assert said.startswith(f"{whole.namespace}/{NAME} created\n")
    whole.phase_is("Healthy")
    until("the router counts", lambda: whole.status().get("routers") == ["r1"], 60.0, whole.says)


def on_trial(whole: Whole, **spec: Any) -> None:
    """v2 has its first share, acknowledged."""
    healthy(whole, **(spec or {"strategy": {"canary": {"weights": ["20%", "50%"], "every": "10m"}}}))
    assert f"{NAME}: v2 is the target now\n" in headgate(whole, "set-target", NAME, "v2")

    def has_share() -> bool:
        return whole.status().get("weights") == {"desired": "20%", "acknowledged": "20%"}

    until("v2 has a share", has_share, 60.0, whole.says)


def test_what_is_shown_is_the_page_of_local_mode(whole: Whole) -> None:
    on_trial(whole)
    key = f"{whole.namespace}/{NAME}"
    header, line = headgate(whole, "get").splitlines()
    assert header.split()[:5] == ["NAME", "STRATEGY", "PHASE", "STAGE", "WEIGHT"]
    assert line.split()[:7] == [key, "canary,full", "Progressing", "1/2", "canary", "20", "%"]
    assert " 20% " in line
    assert "SAMPLES" in headgate(whole, "get", "-o", "wide")
    assert key in headgate(whole, "get", "-A")
    (item,) = json.loads(headgate(whole, "get", "-o", "json"))["items"]
    one = yaml.safe_load(headgate(whole, "get", NAME, "-o", "yaml"))
    assert (item["status"]["candidateVersion"], one["status"]["stableVersion"]) == ("v2", "v1")
    assert one["status"]["weights"]["acknowledged"]["high"] == {"percent": "20%", "basisPoints": 2000}
    page = headgate(whole, "status", NAME)
    assert f"{key}  Progressing  stage 1/2: canary 20 %" in page
    assert "v2 20% desired, 20% acknowledged" in page
    for title in ("Versions", "Checks", "Routers", "Last decisions"):
        assert f"\n{title}\n" in page
    assert "r1" in page
    assert "v2 from 0% to 20%" in headgate(whole, "history") or "20%" in headgate(whole, "history")
    until("an event", lambda: "Started" in headgate(whole, "events") or "v2" in headgate(whole, "events"))
    explained = headgate(whole, "explain", NAME)
    assert "Why it is there" in explained
    assert "What would roll it back" in explained


def test_kubectl_itself_shows_the_columns_and_waits(whole: Whole) -> None:
    on_trial(whole)
    header, line = whole.kubectl("get", "mro").stdout.splitlines()
    assert header.split() == [
        "NAME", "STRATEGY", "PHASE", "STAGE", "WEIGHT", "STABLE", "CANDIDATE", "VERDICT", "WAITING-FOR", "AGE",
    ]  # fmt: skip
    cells = dict(zip(header.split()[:4], line.split(), strict=False))
    assert (cells["NAME"], cells["STRATEGY"], cells["PHASE"]) == (NAME, "canary", "Progressing")
    assert line[header.index("WEIGHT") :].split()[:3] == ["20%", "v1", "v2"]
    headgate(whole, "promote", "--full", "--reason", "seen enough")
    whole.kubectl("wait", "--for=condition=Ready", "--timeout=90s", f"mro/{NAME}")
    header, line = whole.kubectl("get", "mro").stdout.splitlines()
    assert line.split()[1:3] == ["canary", "Healthy"]
    assert line[header.index("STABLE") :].split()[0] == "v2"


def test_the_actions_do_what_they_do_in_local_mode(whole: Whole) -> None:
    key = f"{whole.namespace}/{NAME}"
    on_trial(whole, strategy={"stages": STAGES})
    assert headgate(whole, "pause", "-r", "lunch") == f"{key}: pause of v2 accepted\n"
    until("paused", lambda: "by admin" in headgate(whole, "status"))
    assert headgate(whole, "resume") == f"{key}: resume of v2 accepted\n"
    assert "v2 is not paused" in headgate(whole, "resume", code=1)
    assert headgate(whole, "promote") == f"{key}: promote of v2 accepted\n"
    until("the pause", lambda: (whole.status().get("stage") or "").startswith("2/5"), says=whole.says)
    assert headgate(whole, "skip-stage") == f"{key}: skip-stage of v2 accepted\n"
    until("the approval", lambda: (whole.status().get("stage") or "").startswith("3/5"), says=whole.says)
    assert headgate(whole, "approve", "-r", "looked") == f"{key}: approve of v2 accepted\n"
    until("the canary", lambda: (whole.status().get("stage") or "").startswith("4/5"), says=whole.says)
    assert "restart of v1" in headgate(whole, "restart", code=1)
    headgate(whole, "rollback", "-r", "p99 doubled")
    assert headgate(whole, "retry", "-r", "mended") == f"{key}: retry of v2 accepted\n"
    assert headgate(whole, "undo") == f"{key}: undo of v2 accepted\n"
    until("v1 is the target", lambda: whole.get("mro", NAME)["spec"]["target"] == "v1", says=whole.says)
    asked = json.loads(whole.kubectl("get", "mra", "--output", "json").stdout)["items"]
    assert {one["spec"]["requestedBy"] for one in asked} == {"admin"}


def test_a_rollback_waits_for_the_routers_and_says_how_it_went(whole: Whole) -> None:
    key = f"{whole.namespace}/{NAME}"
    on_trial(whole)
    first, last = headgate(whole, "rollback", NAME, "--reason", "p99 doubled").splitlines()
    assert first == f"{key}: rolling back v2, which has 20% of the traffic; v1 takes all of it"
    assert last.startswith(f"{key}: v2 has 0% of the traffic, acknowledged by the router, ")
    assert "p99 doubled" in whole.status()["message"]
    assert "was rolled back already" in headgate(whole, "rollback", NAME)
    assert headgate(whole, "status", "--exit-status", code=1)
    assert headgate(whole, "status", "--wait-for", "rolled-back")
    headgate(whole, "set-target", "v1")
    assert headgate(whole, "status", "--wait-for", "healthy")
    assert "nothing to roll back" in headgate(whole, "rollback", NAME, code=1)


def test_a_rollback_that_no_router_acknowledges_times_out_with_2_and_stands(whole: Whole) -> None:
    on_trial(whole)
    whole.router.kill()
    said = headgate(whole, "rollback", NAME, "--timeout", "4s", code=2)
    assert "The rollback stands, and goes on without you" in said
    assert whole.status()["phase"] == "RollingBack"
    assert whole.status()["weights"] == {"desired": "0%"}
    assert (
        "0%"
        not in whole.kubectl("get", "mro", "-o", "jsonpath={.items[*].status.weights.acknowledged}").stdout
    )


def test_without_a_controller_an_action_is_undecided_and_says_so(whole: Whole) -> None:
    on_trial(whole)
    whole.controller.stop()
    said = headgate(whole, "rollback", NAME, "--timeout", "1s", code=2)
    assert f"rollback of v2 on {whole.namespace}/{NAME} is not decided after 1 s; it stands" in said
    assert "look into the log of the controller" in said


def test_an_on_call_rolls_back_and_may_not_promote(whole: Whole, policy: None) -> None:
    on_trial(whole)
    key = f"{whole.namespace}/{NAME}"
    role(whole, "oncall", ("modelrollouts", ["get", "rollback"]), ("rolloutactions", ["create"]))
    refused = headgate(whole, "promote", NAME, user="oncall", code=1)
    assert refused.startswith(
        f"Error: oncall may not promote {NAME} in {whole.namespace}\n  → a Role needs the verb"
    )
    assert "kubectl auth can-i promote" in refused
    listed = headgate(whole, "get", user="oncall", code=1)
    assert f"oncall may not list modelrollouts in namespace {whole.namespace}" in listed
    assert "a Role needs the verb list on modelrollouts.headgate.dev" in listed
    last = headgate(whole, "rollback", NAME, "-r", "it burns", user="oncall").splitlines()[-1]
    assert last.startswith(f"{key}: v2 has 0% of the traffic, acknowledged by the router, ")
    assert "oncall" in whole.status()["message"]
    seen = {event["requestURI"].split("?")[0].rsplit("/", 1)[-1] for event in whole.cluster.audited("oncall")}
    assert "rolloutactions" in seen


def test_a_stage_that_asks_for_a_role_is_approved_by_who_may_use_it_and_by_nobody_else(
    whole: Whole, policy: None
) -> None:
    stages = [
        {"approval": {"roles": ["model-owner"]}},
        {"canary": {"weights": ["20%"], "every": "10m"}},
        {"full": {}},
    ]
    healthy(whole, strategy={"stages": stages})
    key = f"{whole.namespace}/{NAME}"
    whole.target("v2")
    until("the approval", lambda: (whole.status().get("stage") or "").startswith("1/3"), says=whole.says)
    rights = ("modelrollouts", ["get", "approve"]), ("rolloutactions", ["create", "get"])
    role(whole, "bob", *rights)
    role(whole, "alice", *rights, ("approvalroles", ["use"]))
    mine = ("approve", NAME, "--role", "model-owner", "-r", "looked")
    refused = headgate(whole, *mine, user="bob", code=1)
    assert f"bob does not hold every one of model-owner in {whole.namespace}" in refused
    assert "a Role needs the verb use on approvalroles of that name" in refused
    bare = headgate(whole, "approve", NAME, user="bob", code=1)
    assert "bob has none of the roles that may approve: model-owner" in bare
    assert (whole.status().get("stage") or "").startswith("1/3")
    assert headgate(whole, *mine, user="alice") == f"{key}: approve of v2 accepted\n"
    until("the canary", lambda: (whole.status().get("stage") or "").startswith("2/3"), says=whole.says)
    until(
        "it is told who did", lambda: "alice approves v2" in headgate(whole, "events", NAME), says=whole.says
    )


def test_who_may_nothing_is_told_which_right_is_missing(whole: Whole, policy: None) -> None:
    healthy(whole)
    said = headgate(whole, "status", NAME, user="alice", code=1)
    assert f"alice may not get modelrollouts in namespace {whole.namespace}" in said
    role(whole, "alice", ("modelrollouts", ["get", "pause"]))
    whole.target("v2")
    until("on trial", lambda: whole.status().get("candidateVersion") == "v2", says=whole.says)
    said = headgate(whole, "pause", NAME, user="alice", code=1)
    assert f"alice may not create rolloutactions in namespace {whole.namespace}" in said
    said = headgate(whole, "set-target", NAME, "v1", user="alice", code=1)
    assert "alice may not patch modelrollouts" in said


def test_files_are_applied_in_the_persons_own_name_and_conflicts_are_told_by_field(whole: Whole) -> None:
    healthy(whole)
    document = rollout([{**version} for version in whole.get("mro", NAME)["spec"]["versions"]])
    key = f"{whole.namespace}/{NAME}"

    def applied(*words: str, code: int = 0) -> str:
        return headgate(whole, "apply", "-f", "-", *words, code=code, stdin=yaml.safe_dump(document))

    assert applied() == f"{key} unchanged\n"
    shown = whole.kubectl("get", "mro", NAME, "--output", "json", "--show-managed-fields").stdout
    managers = {one["manager"] for one in json.loads(shown)["metadata"]["managedFields"]}
    assert "kubectl-headgate" in managers
    headgate(whole, "set-target", "v2")
    document["spec"]["target"] = "v2"
    assert applied() == f"{key} unchanged\n"
    document["spec"]["target"] = "v1"
    assert applied().startswith(f"{key} configured\n")
    whole.target("v2")
    conflict = applied(code=1)
    assert f"others wrote fields of {key} otherwise; nothing was changed" in conflict
    assert "spec.target: kubectl-patch wrote it (conflict)" in conflict
    assert applied("--force-conflicts").startswith(f"{key} configured\n")
    assert whole.get("mro", NAME)["spec"]["target"] == "v1"


def test_what_is_wrong_is_told_as_lint_tells_it(whole: Whole) -> None:
    healthy(whole)
    document = rollout([{**version} for version in whole.get("mro", NAME)["spec"]["versions"]], target="v9")
    text = yaml.safe_dump(document)
    linted = headgate(whole, "lint", "-f", "-", stdin=text, code=1)
    applied = headgate(whole, "apply", "-f", "-", stdin=text, code=1)
    assert "spec.target: " in linted
    assert linted.strip() in applied
    document["spec"]["target"] = "v1"
    document["spec"]["versions"][0]["url"] = "http://127.0.0.1:9"
    redefined = headgate(whole, "apply", "-f", "-", stdin=yaml.safe_dump(document), code=1)
    assert "spec.versions[0]: v1 is stable" in redefined
    assert "(stable-redefined)" in redefined
    elsewhere = {**document, "metadata": {"name": NAME, "namespace": "elsewhere"}}
    said = headgate(whole, "apply", "-f", "-", "-n", whole.namespace, stdin=yaml.safe_dump(elsewhere), code=1)
    assert "is in namespace elsewhere, and -n says" in said
    assert "seconds" in headgate(
        whole,
        "plan",
        "-f",
        "-",
        "-o",
        "json",
        stdin=yaml.safe_dump(rollout([{"name": "v1", "url": "http://x"}])),
    )


def test_a_watch_prints_a_line_for_each_change(whole: Whole) -> None:
    healthy(whole, strategy={"canary": {"weights": ["20%", "50%"], "every": "10m"}})
    watching = subprocess.Popen(
        ["kubectl", "headgate", "get", "-w"],
        env=environment(whole, "admin"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert watching.stdout is not None
    lines = [watching.stdout.readline() for _ in range(2)]
    assert "Healthy" in lines[-1]
    headgate(whole, "set-target", "v2")
    until("on trial", lambda: whole.status().get("candidateVersion") == "v2", says=whole.says)
    headgate(whole, "promote", "--full")
    assert "Healthy" in headgate(whole, "status", "--wait-for", "promoted", "--timeout", "90s")
    while "Healthy" not in lines[-1] or " v2 " not in lines[-1]:
        lines.append(watching.stdout.readline())
    watching.terminate()
    watching.communicate(timeout=60)
    assert any("Progressing" in line for line in lines)


def test_a_deleted_rollout_is_waited_for_and_then_not_there(whole: Whole) -> None:
    healthy(whole)
    key = f"{whole.namespace}/{NAME}"
    assert headgate(whole, "delete", NAME, "--wait") == f"{key} is being deleted\n{key} is gone\n"
    said = headgate(whole, "status", NAME, code=1)
    assert f"there is no rollout {NAME} in namespace {whole.namespace}" in said
    assert headgate(whole, "get").startswith("No rollout.")
    assert f"there is no rollout in namespace {whole.namespace}" in headgate(whole, "status", code=1)


def _synced(whole: Whole) -> str:
    conditions = {one["type"]: one for one in whole.status().get("conditions", [])}
    return str(conditions["TrafficSynced"]["reason"])


def test_a_router_that_is_gone_is_forgotten(whole: Whole) -> None:
    healthy(whole)
    assert "its routers are r1" in headgate(whole, "router", "forget", "r9", code=1)
    whole.router.kill()
    said = headgate(whole, "router", "forget", "r1", "--rollout", NAME)
    assert said == f"{whole.namespace}/{NAME}: router r1 is forgotten\n"
    assert not whole.status().get("routers")
    until("nobody waits for it", lambda: _synced(whole) == "NoRouter", 60.0, whole.says)


def test_an_image_is_set_in_the_template_and_only_there(
    cluster: Testbed, namespace: str, tmp_path: Path
) -> None:
    install(cluster)
    whole = Whole(cluster, namespace, tmp_path)  # nothing is started: only the spec changes
    containers = [{"name": "tokens", "image": "tokens:1"}, {"name": "model", "image": "model:1"}]
    document = rollout([])
    for name in ("target", "initialStable", "versions"):
        del document["spec"][name]
    document["spec"] |= {"template": {"spec": {"containers": containers}}, "port": 8080}
    key = f"{namespace}/{NAME}"
    assert headgate(whole, "apply", "-f", "-", stdin=yaml.safe_dump(document)).startswith(f"{key} created\n")
    assert headgate(whole, "set", "image", NAME, "model=model:2").startswith(
        f"{key}: model=model:2 from now on\n"
    )
    assert headgate(whole, "set", "image", NAME, "model=model:2") == f"{key}: model=model:2 is so already\n"
    images = [one["image"] for one in whole.get("mro", NAME)["spec"]["template"]["spec"]["containers"]]
    assert images == ["tokens:1", "model:2"]
    unknown = headgate(whole, "set", "image", NAME, "modle=model:3", code=1)
    assert "has no container modle" in unknown
    assert "containers there are: tokens, model" in unknown
    assert "`kubectl headgate set image`" in headgate(whole, "set-target", NAME, "v2", code=1)
    assert "the controller has not looked at it yet" in headgate(whole, "status", NAME)


def test_which_cluster_or_machine_is_meant(whole: Whole) -> None:
    healthy(whole)
    assert "Healthy" in typed(whole, "headgate", "get").stdout, (
        "a kubeconfig, and no controller of this machine"
    )
    local = typed(whole, "headgate", "get", HEADGATE_STATE=str(whole.folder / "nowhere"))
    assert "no controller runs with its state in" in local.stdout
    assert "for a cluster --context NAME" in local.stdout
    named = typed(whole, "headgate", "get", "--context", "testbed", HEADGATE_STATE=str(whole.folder))
    assert "Healthy" in named.stdout
    assert "Healthy" in typed(whole, "kubectl", "headgate", "get", HEADGATE_STATE=str(whole.folder)).stdout
    unknown = typed(whole, "headgate", "get", "--context", "prod")
    assert unknown.returncode == 1
    assert "prod" in unknown.stdout
    both = typed(whole, "headgate", "get", "--context", "testbed", "--api", "http://127.0.0.1:1")
    assert "give one or the other" in both.stdout
    assert headgate(whole, "get", "-n", "kube-system").startswith("No rollout.")
    assert headgate(whole, "-n", "kube-system", "get").startswith("No rollout.")
