"""Rollouts and actions made known to the API server, as the committed manifests define them."""

from pathlib import Path

from tests.cluster.testbed.cluster import Testbed, wait_for

MANIFESTS = Path(__file__).parents[2] / "manifests"


def install(cluster: Testbed, *folders: str) -> None:
    """Apply the CRDs and further folders of the manifests; back when kubectl knows the kinds by their short names."""
    for folder in ("crds", *folders):
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "--kustomize", str(MANIFESTS / folder))
    # Not `kubectl wait`: of a definition so new that it has no conditions yet, it only complains.
    wait_for(
        lambda: all(_is_established(cluster, kind) for kind in ("modelrollouts", "rolloutactions")),
        "rollouts and actions are served",
    )
    wait_for(
        lambda: all(_is_known(cluster, name) for name in ("mro", "mra")), "kubectl knows the kinds by name"
    )


def _is_established(cluster: Testbed, kind: str) -> bool:
    query = 'jsonpath={.status.conditions[?(@.type=="Established")].status}'
    return cluster.kubectl("get", f"crd/{kind}.headgate.dev", "-o", query).stdout == "True"


def _is_known(cluster: Testbed, name: str) -> bool:
    return cluster.kubectl("explain", f"{name}.spec", check=False).returncode == 0
