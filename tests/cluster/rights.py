"""What a user of the testbed may do by now."""

from typing import Any

from tests.cluster.testbed.cluster import Testbed


def is_granted(cluster: Testbed, namespace: str, user: str, rule: dict[str, Any]) -> bool:
    """Does the authorizer, which hears of Roles a moment later, grant the first verb of the rule by now?"""
    resource, _, subresource = rule["resources"][0].partition("/")
    wanted = {
        "namespace": namespace,
        "group": rule["apiGroups"][0],
        "resource": resource,
        "subresource": subresource,
        "verb": rule["verbs"][0],
        "name": rule.get("resourceNames", [""])[0],
    }
    answer = cluster.client(user).post(
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        json={"spec": {"resourceAttributes": wanted}},
    )
    return bool(answer.json()["status"]["allowed"])
