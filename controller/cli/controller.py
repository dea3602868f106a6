"""`headgate controller`: the controller of a cluster, in the foreground."""

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from controller.cli.failures import end
from controller.cli.options import DurationType
from controller.cli.serving import (
    AddressType,
    address_option,
    hook_option,
    is_loopback,
    provider_options,
    sink_option,
)
from controller.crd.providers import Provider
from controller.settings import ClusterSettings
from headgate.reach import Reach

LEASE_S_MIN = 2
LEASE_S_MAX = 600
_FILE = click.Path(path_type=Path, dir_okay=False)
_DNS = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
NAME_CHARS_MAX = 253


class NameType(click.ParamType[str]):
    """A DNS name in small letters, or an IP address."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name; click's usage error for anything else."""
        text = str(value)
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            if len(text) > NAME_CHARS_MAX or not _DNS.fullmatch(text):
                self.fail(f"{text!r} is no DNS name and no address, such as headgate.example", param, ctx)
            return text


@click.command(context_settings={"auto_envvar_prefix": "HEADGATE_CONTROLLER"})
@click.option(
    "--kubeconfig",
    envvar="KUBECONFIG",
    metavar="PATH",
    help="How to reach the cluster.  [default: ~/.kube/config, or the pod's own service account]",
)
@click.option("--context", metavar="NAME", help="A context of the kubeconfig.  [default: the current one]")
@click.option(
    "-n",
    "--namespace",
    metavar="NAME",
    help="Look after rollouts in this namespace.  [default: the context's, or the pod's own]",
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Look after the rollouts of all namespaces.")
@click.option(
    "--home",
    metavar="NAME",
    help="The namespace of this controller's own Lease, Service and Secret headgate-tls.  [default: as --namespace]",
)
@click.option(
    "--api",
    type=AddressType(is_loopback_only=False),
    default="127.0.0.1:7000",
    show_default=True,
    help="Where routers and people reach this controller; port 0 lets the kernel choose.",
)
@click.option(
    "--tls/--no-tls",
    "is_tls",
    default=None,
    help="Serve by HTTPS.  [default: unless --api is a loopback address]",
)
@click.option(
    "--tls-cert",
    type=_FILE,
    help="Serve with this certificate (PEM, with its chain), read again when it changes.  [default: one of an "
    "authority of the controller's own, kept in the Secret headgate-tls and published as ConfigMap headgate-ca]",
)
@click.option("--tls-key", type=_FILE, help="The private key of --tls-cert.")
@click.option(
    "--api-name",
    "api_names",
    type=NameType(),
    multiple=True,
    help="A further DNS name or address that routers reach this controller by, for its own certificate. May be given "
    "again.",
)
@click.option(
    "--token-file",
    type=_FILE,
    help="A token that may do everything; routers may bring it in place of their ServiceAccount's own.",
)
@click.option(
    "--leader-election/--no-leader-election",
    default=True,
    show_default=True,
    help="Without it, see to it yourself that there is one controller only.",
)
@click.option(
    "--lease",
    "lease_s",
    type=DurationType(),
    default="15s",
    show_default=True,
    help=f"How long leadership lasts without being renewed, {LEASE_S_MIN} to {LEASE_S_MAX} s: after a crash of the "
    "leader another takes over so much later.",
)
@provider_options
@sink_option
@hook_option
@address_option
def controller(
    kubeconfig: str | None,
    context: str | None,
    namespace: str | None,
    all_namespaces: bool,
    home: str | None,
    api: str,
    is_tls: bool | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    api_names: tuple[str, ...],
    token_file: Path | None,
    leader_election: bool,
    lease_s: float,
    providers: Mapping[str, Provider],
    sinks: tuple[tuple[str, str], ...],
    allowed_hooks: tuple[str, ...],
    allow_address: Reach,
) -> None:
    """Run the controller of a Kubernetes cluster, in the foreground, until SIGTERM.

    Rollouts are applied with kubectl. What was decided is kept in each rollout's status: started again, here or
    anywhere, it goes on where it was.

    \b
      headgate controller --context staging -n ml
    """
    if not LEASE_S_MIN <= lease_s <= LEASE_S_MAX:
        raise click.BadParameter(
            f"{lease_s:g}s is out of bounds: from {LEASE_S_MIN}s to {LEASE_S_MAX}s", param_hint="'--lease'"
        )
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together: give both or neither")
    if is_tls is False and tls_cert is not None:
        raise click.UsageError("--no-tls serves in clear, --tls-cert does not: give one or the other")
    settings = ClusterSettings(
        kubeconfig=kubeconfig,
        context=context,
        namespace=namespace,
        all_namespaces=all_namespaces,
        home=home,
        api_listen=api,
        is_tls=not is_loopback(api.rpartition(":")[0]) or tls_cert is not None if is_tls is None else is_tls,
        tls_cert=tls_cert,
        tls_key=tls_key,
        api_names=api_names,
        token_file=token_file,
        leader_election=leader_election,
        lease_s=lease_s,
        providers=providers,
        sinks=dict(sinks),
        allowed_hooks=allowed_hooks,
        reach=allow_address,
    )
    from controller.cluster_wiring import run  # here, because only this verb needs the whole controller

    end(run(settings, click.echo))
