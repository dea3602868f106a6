"""`headgate up`: controller and router on this machine."""

from collections.abc import Mapping
from pathlib import Path

import click

from controller.cli import files
from controller.cli.failures import end
from controller.cli.options import state_option
from controller.cli.serving import AddressType, hook_option, provider_options, sink_option
from controller.cli.where import STATE_DEFAULT
from controller.crd.providers import Provider
from controller.settings import LocalSettings


@click.command()
@click.option(
    "-f",
    "--file",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A file of rollouts to apply at start. May be given again. Without one, those of the state folder go on.",
)
@state_option(STATE_DEFAULT)
@click.option(
    "--listen",
    type=AddressType(is_loopback_only=False),
    default="127.0.0.1:8080",
    show_default=True,
    help="Where the router takes the models' traffic; port 0 lets the kernel choose.",
)
@click.option(
    "--api",
    type=AddressType(is_loopback_only=True),
    default="127.0.0.1:0",
    show_default=True,
    help="Where the controller's API listens, on loopback; port 0 lets the kernel choose, and is kept.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="The router's worker processes.",
)
@provider_options
@sink_option
@hook_option
@click.option("--no-router", is_flag=True, help="Start the controller only; run `headgate router` yourself.")
def up(
    paths: tuple[Path, ...],
    state: Path,
    listen: str,
    api: str,
    workers: int,
    providers: Mapping[str, Provider],
    sinks: tuple[tuple[str, str], ...],
    allowed_hooks: tuple[str, ...],
    no_router: bool,
) -> None:
    """Run controller and router on this machine, in the foreground, until Ctrl-C.

    What was decided is kept in the state folder: started again, it goes on where it was.

    \b
      headgate up -f rollout.yaml
      headgate up -f rollout.yaml --listen :8000 --prometheus main=http://127.0.0.1:9090

    \b
    In another terminal:
      headgate get -w
      headgate set-target fraud v8
    """
    settings = LocalSettings(
        rollouts=tuple(files.sound(paths)),
        state_dir=state,
        router_listen=listen,
        api_listen=api,
        workers=workers,
        providers=providers,
        sinks=dict(sinks),
        allowed_hooks=allowed_hooks,
        start_router=not no_router,
    )
    from controller.wiring import up as run  # here, because only this verb needs the whole controller

    end(run(settings, click.echo))
