"""`headgate up`: controller and router on this machine."""

import ipaddress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from controller.cli import files
from controller.cli.failures import end
from controller.cli.options import state_option
from controller.cli.where import STATE_DEFAULT
from controller.settings import LocalSettings


class AddressType(click.ParamType[str]):
    """`HOST:PORT` of this machine, `:PORT` for loopback; port 0 lets the kernel choose."""

    name = "host:port"

    def __init__(self, *, is_loopback_only: bool) -> None:
        self._is_loopback_only = is_loopback_only

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """HOST:PORT; click's usage error for anything else."""
        host, _, port = str(value).rpartition(":")
        host = host.strip("[]") or "127.0.0.1"
        if not port.isascii() or not port.isdigit() or int(port) > 65_535:
            self.fail(f"{value!r} is not HOST:PORT, such as 127.0.0.1:8080", param, ctx)
        if self._is_loopback_only and not _is_loopback(host):
            self.fail(f"{host} is not a loopback address: the local API is for this machine only", param, ctx)
        return f"{host}:{port}"


class NamedUrlType(click.ParamType[tuple[str, str]]):
    """`NAME=URL`, such as of a Prometheus."""

    name = "name=url"

    def __init__(self, example: str) -> None:
        self._example = example

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """(name, base URL); click's usage error for anything else."""
        if isinstance(value, tuple):
            return value
        name, _, url = str(value).partition("=")
        parts = urlsplit(url)
        if not name or parts.scheme not in ("http", "https") or not parts.hostname:
            self.fail(f"{value!r} is not NAME=URL, such as {self._example}", param, ctx)
        return name, url.rstrip("/")


class UrlPrefixType(click.ParamType[str]):
    """The beginning of URLs: scheme, host, and perhaps port and path."""

    name = "url-prefix"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The prefix; click's usage error for anything else."""
        parts = urlsplit(str(value))
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            self.fail(
                f"{value!r} is not the beginning of a URL, such as http://127.0.0.1:9000/hooks", param, ctx
            )
        return str(value)


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
@click.option(
    "--prometheus",
    "providers",
    type=NamedUrlType("main=http://127.0.0.1:9090"),
    multiple=True,
    help="A Prometheus that checks may name. May be given again.",
)
@click.option(
    "--sink",
    "sinks",
    type=NamedUrlType("chat=https://chat.example/hook"),
    multiple=True,
    help="Where notifications that name it are posted. May be given again.",
)
@click.option(
    "--allow-hook",
    "allowed_hooks",
    type=UrlPrefixType(),
    multiple=True,
    help="Let hooks reach URLs that begin so, even on this machine. May be given again.",
)
@click.option("--no-router", is_flag=True, help="Start the controller only; run `headgate router` yourself.")
def up(
    paths: tuple[Path, ...],
    state: Path,
    listen: str,
    api: str,
    workers: int,
    providers: tuple[tuple[str, str], ...],
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
        providers=dict(providers),
        sinks=dict(sinks),
        allowed_hooks=allowed_hooks,
        start_router=not no_router,
    )
    from controller.wiring import up as run  # here, because only this verb needs the whole controller

    end(run(settings, click.echo))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
