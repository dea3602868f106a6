"""What the verbs that run a controller are told: where to listen, and what rollouts may name and reach."""

import functools
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from headgate.reach import Reach, networks

if TYPE_CHECKING:
    from controller.crd.providers import Provider


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
        if self._is_loopback_only and not is_loopback(host):
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


def provider_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which metric providers there are; the command gets them by name, as `providers`."""

    @click.option(
        "--prometheus",
        type=NamedUrlType("main=http://127.0.0.1:9090"),
        multiple=True,
        help="A Prometheus that checks may name. May be given again.",
    )
    @click.option(
        "--providers",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A file of them, with credentials, authorities and limits: see docs/providers.md.",
    )
    @functools.wraps(command)
    def with_providers(prometheus: tuple[tuple[str, str], ...], providers: Path | None, **more: Any) -> Any:
        return command(providers=_providers(prometheus, providers), **more)

    return with_providers


def _providers(named: tuple[tuple[str, str], ...], path: Path | None) -> "dict[str, Provider]":
    """All of them; click's usage error with everything that is wrong with the file."""
    from controller.crd import Refused  # here, because a rollback must not wait for it
    from controller.crd.providers import Provider, read_providers

    found = {} if path is None else read_providers(path)
    if isinstance(found, Refused):
        told = "".join(f"\n  {fault}" for fault in found.faults)
        raise click.BadParameter(f"{path} is not accepted:{told}", param_hint="'--providers'")
    for name, url in named:
        if name in found:
            raise click.BadParameter(f"{name} is there twice", param_hint="'--prometheus'")
        found = {**found, name: Provider(url=url)}
    return dict(found)


sink_option = click.option(
    "--sink",
    "sinks",
    type=NamedUrlType("chat=https://chat.example/hook"),
    multiple=True,
    help="Where notifications that name it are posted. May be given again.",
)
hook_option = click.option(
    "--allow-hook",
    "allowed_hooks",
    type=UrlPrefixType(),
    multiple=True,
    help="Let hooks reach URLs that begin so, even on this machine or inside the cluster. May be given again.",
)
address_option = click.option(
    "--allow-address",
    metavar="NETWORK",
    multiple=True,
    callback=lambda ctx, param, value: _reach(value),
    help="Ask versions there whether they are ready, and warm them up, although it is a network that is refused: "
    "loopback, link-local, a cloud's metadata, unspecified, multicast. May be given again.",
)


def _reach(texts: tuple[str, ...]) -> Reach:
    """Special addresses but these are not asked; click's usage error for what is no network."""
    try:
        return Reach(networks(texts), "--allow-address")
    except ValueError as error:
        raise click.BadParameter(f"{error}; a network such as 127.0.0.0/8") from error


def is_loopback(host: str) -> bool:
    """Does only this machine reach the address?"""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
