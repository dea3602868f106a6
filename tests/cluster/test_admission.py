"""Who may ask for what: the admission policy on a real API server, with Roles as an administrator would write them."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cluster.kinds import MANIFESTS, install
from tests.cluster.rights import is_granted
from tests.cluster.testbed.cluster import Testbed, wait_for

ACTIONS = "/apis/headgate.dev/v1alpha1/namespaces/{}/rolloutactions"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/{}"


def role(cluster: Testbed, namespace: str, name: str, user: str, rules: list[dict[str, Any]]) -> None:
    admin = cluster.client()
    admin.post(
        RBAC.format(namespace, "roles"),
        json={"metadata": {"name": name}, "rules": rules},
    ).raise_for_status()
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    admin.post(RBAC.format(namespace, "rolebindings"), json=binding).raise_for_status()
    wait_for(lambda: is_granted(cluster, namespace, user, rules[-1]), f"the authorizer knows {name}")


def may(*verbs: str, names: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Create actions, and these verbs on rollouts (of these names, if any are given)."""
    on_rollouts: dict[str, Any] = {
        "apiGroups": ["headgate.dev"],
        "resources": ["modelrollouts"],
        "verbs": list(verbs),
    }
    if names:
        on_rollouts["resourceNames"] = list(names)
    create = {"apiGroups": ["headgate.dev"], "resources": ["rolloutactions"], "verbs": ["create"]}
    return [on_rollouts, create]


_numbers = itertools.count(1)


def ask(
    cluster: Testbed,
    user: str,
    namespace: str,
    action: str,
    *,
    rollout: str = "fraud",
    by: str = "",
    **more: Any,
) -> httpx.Response:
    """Create an action as the user; `by` is what it says of who asks."""
    document = {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "RolloutAction",
        "metadata": {"name": f"{rollout}-{next(_numbers)}"},
        "spec": {
            "rollout": rollout,
            "action": action,
            "version": "v8",
            "requestedBy": by or user,
            "reason": "p99 doubled",
            **more,
        },
    }
    return cluster.client(user).post(ACTIONS.format(namespace), json=document)


@pytest.fixture(scope="module")
def policy(cluster: Testbed) -> Iterator[None]:
    """The CRDs and the policy, once the API server enforces it."""
    install(cluster, "admission")
    wait_for(
        lambda: ask(cluster, "admin", "default", "rollback", by="nobody").status_code == 403,
        "the policy is enforced",
    )
    yield
    cluster.kubectl("delete", "--kustomize", str(MANIFESTS / "admission"))


@pytest.fixture
def oncall(cluster: Testbed, policy: None, namespace: str) -> str:
    """A namespace in which the user `oncall` may roll back, and no more."""
    role(cluster, namespace, "on-call", "oncall", may("get", "rollback"))
    return namespace


def test_an_on_call_may_roll_back(cluster: Testbed, oncall: str) -> None:
    answer = ask(cluster, "oncall", oncall, "rollback")
    assert answer.status_code == 201, answer.text
    assert answer.json()["spec"]["requestedBy"] == "oncall"


@pytest.mark.parametrize(
    "action", ["promote", "promote-full", "approve", "pause", "retry", "undo", "restart"]
)
def test_an_on_call_may_not_do_what_the_role_does_not_name(
    cluster: Testbed, oncall: str, action: str
) -> None:
    answer = ask(cluster, "oncall", oncall, action)
    assert answer.status_code == 403
    assert (
        f"[may-act] spec.action: oncall may not {action} fraud in {oncall}: a Role needs the verb {action} "
        f"on modelrollouts (kubectl auth can-i {action} modelrollouts/fraud -n {oncall})"
    ) in answer.json()["message"]


def test_nobody_asks_under_another_name(cluster: Testbed, oncall: str) -> None:
    answer = ask(cluster, "oncall", oncall, "rollback", by="alice")
    assert answer.status_code == 403
    assert (
        "[requested-by] spec.requestedBy: it says alice, and the request is oncall's: write oncall"
        in answer.json()["message"]
    )


def test_not_even_an_administrator_does(cluster: Testbed, policy: None, namespace: str) -> None:
    assert ask(cluster, "admin", namespace, "rollback", by="oncall").status_code == 403
    assert ask(cluster, "admin", namespace, "promote").status_code == 201


def test_a_role_may_name_the_rollout(cluster: Testbed, policy: None, namespace: str) -> None:
    role(cluster, namespace, "owner", "alice", may("get", "promote", names=("fraud",)))
    assert ask(cluster, "alice", namespace, "promote").status_code == 201
    refused = ask(cluster, "alice", namespace, "promote", rollout="churn")
    assert refused.status_code == 403
    assert "may not promote churn" in refused.json()["message"]


def test_a_role_of_one_namespace_says_nothing_in_another(cluster: Testbed, oncall: str) -> None:
    refused = ask(cluster, "oncall", "default", "rollback")
    assert refused.status_code == 403  # by RBAC: there it may not even create an action


def test_a_person_approves_only_in_roles_they_hold(cluster: Testbed, policy: None, namespace: str) -> None:
    holds = {
        "apiGroups": ["headgate.dev"],
        "resources": ["approvalroles"],
        "resourceNames": ["model-owner"],
        "verbs": ["use"],
    }
    role(cluster, namespace, "approver", "bob", [*may("get", "approve"), holds])
    assert ask(cluster, "bob", namespace, "approve", stage=2, roles=["model-owner"]).status_code == 201
    assert ask(cluster, "bob", namespace, "approve", stage=2).status_code == 201
    refused = ask(cluster, "bob", namespace, "approve", stage=2, roles=["model-owner", "risk"])
    assert refused.status_code == 403
    assert (
        f"[holds-role] spec.roles: bob does not hold every one of model-owner, risk in {namespace}"
        in refused.json()["message"]
    )


def test_a_changed_status_is_no_new_request(cluster: Testbed, policy: None, namespace: str) -> None:
    """The controller answers in the status of somebody else's action."""
    name = ask(cluster, "admin", namespace, "rollback").json()["metadata"]["name"]
    status = {
        "apiGroups": ["headgate.dev"],
        "resources": ["rolloutactions/status"],
        "verbs": ["get", "patch"],
    }
    role(cluster, namespace, "controller", "controller", [status])
    answer = cluster.client("controller").patch(
        f"{ACTIONS.format(namespace)}/{name}/status",
        json={"status": {"phase": "Done", "message": "rolled back", "at": "2026-01-02T03:04:05Z"}},
        headers={"content-type": "application/merge-patch+json"},
    )
    assert answer.status_code == 200, answer.text
