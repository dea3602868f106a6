"""Which Headgate is meant: the controller that runs on this machine, or a cluster.

What is named counts: --context or --kubeconfig a cluster; --state, --api or HEADGATE_STATE this machine. Where
nothing is named, `kubectl headgate` means the cluster, and `headgate` this machine if a controller runs here, else the
cluster if there is one.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from controller.cli.client import Client
from controller.cli.failures import is_plugin
from controller.cli.local import LocalClient, Where

STATE_DEFAULT: Final = Path(".headgate")
KUBECONFIG_DEFAULT: Final = "~/.kube/config"
IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"


@dataclass(frozen=True, slots=True)
class Said:
    """What the caller said about it; None for what was not said."""

    state: Path | None = None
    api: str | None = None
    token_file: Path | None = None
    api_ca: Path | None = None
    context: str | None = None
    kubeconfig: str | None = None
    namespace: str | None = None
    is_everywhere: bool = False

    @property
    def is_of_this_machine(self) -> bool:
        """Was this machine's controller named?"""
        return self.state is not None or self.api is not None or self.token_file is not None

    @property
    def is_of_a_cluster(self) -> bool:
        """Was a cluster named?"""
        return self.context is not None or self.kubeconfig is not None


def client_for(said: Said) -> Client:
    """The client for what the caller said; click's usage error for a contradiction."""
    if said.is_of_a_cluster and said.is_of_this_machine:
        raise click.UsageError(
            "--context and --kubeconfig name a cluster, --state, --api and --token-file the controller of this "
            "machine: give one or the other"
        )
    if said.is_everywhere and said.namespace is not None:
        raise click.UsageError("-A looks in all namespaces, -n in one: give one or the other")
    return _cluster(said) if _means_cluster(said) else _local(said)


def _means_cluster(said: Said) -> bool:
    if said.is_of_this_machine or said.is_of_a_cluster:
        return said.is_of_a_cluster
    if is_plugin():
        return True
    return not (STATE_DEFAULT / "endpoint.json").exists() and _has_cluster()


def _has_cluster() -> bool:
    """Is there a kubeconfig, or is this a pod? Nothing is read: the official client does that."""
    paths = (os.environ.get("KUBECONFIG") or KUBECONFIG_DEFAULT).split(os.pathsep)
    return IN_CLUSTER in os.environ or any(Path(path).expanduser().is_file() for path in paths if path)


def _local(said: Said) -> Client:
    also = "" if said.is_of_this_machine else ", and there is no kubeconfig"
    where = Where(said.state or STATE_DEFAULT, said.api, said.token_file, also, said.api_ca)
    return LocalClient(where, said.namespace)


def _cluster(said: Said) -> Client:
    from controller.cli.cluster import connect  # here, because it needs all that a cluster needs

    return connect(said.context, said.kubeconfig, said.namespace, is_everywhere=said.is_everywhere)
