"""`headgate controller`: the controller of a cluster, in the foreground."""

from pathlib import Path

import click

from controller.cli.failures import end
from controller.cli.options import DurationType
from controller.cli.serving import AddressType, hook_option, provider_option, sink_option
from controller.settings import ClusterSettings

LEASE_S_MIN = 2
LEASE_S_MAX = 600


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
    "--api",
    type=AddressType(is_loopback_only=False),
    default="127.0.0.1:7000",
    show_default=True,
    help="Where routers and people reach this controller; port 0 lets the kernel choose.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
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
@provider_option
@sink_option
@hook_option
def controller(
    kubeconfig: str | None,
    context: str | None,
    namespace: str | None,
    all_namespaces: bool,
    api: str,
    token_file: Path | None,
    leader_election: bool,
    lease_s: float,
    providers: tuple[tuple[str, str], ...],
    sinks: tuple[tuple[str, str], ...],
    allowed_hooks: tuple[str, ...],
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
    settings = ClusterSettings(
        kubeconfig=kubeconfig,
        context=context,
        namespace=namespace,
        all_namespaces=all_namespaces,
        api_listen=api,
        token_file=token_file,
        leader_election=leader_election,
        lease_s=lease_s,
        providers=dict(providers),
        sinks=dict(sinks),
        allowed_hooks=allowed_hooks,
    )
    from controller.cluster_wiring import run  # here, because only this verb needs the whole controller

    end(run(settings, click.echo))
