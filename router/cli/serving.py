"""The options of `headgate router` that its workers serve by: TLS, the PROXY protocol, limits, what they say and log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from headgate.reach import Reach, networks
from router import tls
from router.proxy.options import CONNECTIONS_MAX, Options, Senders, senders
from router.settings import Invalid

_FILE: Final = click.Path(dir_okay=False, path_type=Path)

_OPTIONS: Final = (
    click.option(
        "--tls-cert",
        type=_FILE,
        multiple=True,
        help="Speak TLS on all TCP addresses, with this certificate and its chain (PEM). Repeatable: the first is for"
        " clients that name no server, each of the others for the names in it.",
    ),
    click.option(
        "--tls-key", type=_FILE, multiple=True, help="The key of each --tls-cert, in the same order."
    ),
    click.option(
        "--tls-client-ca", type=_FILE, help="Let in only clients with a certificate of these authorities."
    ),
    click.option(
        "--tls-min",
        type=click.Choice(list(tls.VERSIONS)),
        default=tls.TLS_1_2,
        show_default=True,
        help="The oldest version of TLS that clients may speak.",
    ),
    click.option(
        "--upstream-ca",
        type=_FILE,
        help="Verify model servers by these authorities alone. [default: the system's]",
    ),
    click.option(
        "--upstream-cert", type=_FILE, help="The certificate shown to model servers that ask for one."
    ),
    click.option("--upstream-key", type=_FILE, help="Its key."),
    click.option(
        "--upstream-allow",
        metavar="NETWORK",
        multiple=True,
        help="Ask model servers there although it is a network that is refused: loopback (unless plan or controller are"
        " on this machine), link-local, a cloud's metadata, multicast. Repeatable.",
    ),
    click.option(
        "--proxy-protocol-from",
        metavar="NETWORK",
        multiple=True,
        help="Every connection begins with a PROXY protocol header, and comes from this network (or `unix`:"
        " any Unix socket); others are closed. Repeatable.",
    ),
    click.option(
        "--connections-max",
        type=click.IntRange(1, 1_000_000),
        default=CONNECTIONS_MAX,
        show_default=True,
        help="Clients' connections to one worker; more get 503.",
    ),
    click.option(
        "--version-header/--no-version-header",
        default=True,
        show_default=True,
        help="Name the version that answered, in x-headgate-version.",
    ),
    click.option(
        "--server-timing/--no-server-timing",
        default=False,
        show_default=True,
        help="Say in Server-Timing how long the model server and the router took.",
    ),
    click.option(
        "--access-log",
        metavar="FILE",
        help="One JSON line for each sampled request; `-` is stderr. [default: off]",
    ),
    click.option(
        "--access-log-sample",
        type=click.FloatRange(0, 1, min_open=True),
        default=1.0,
        show_default=True,
        help="The share of requests that get a line.",
    ),
)


def serving_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def serving_of(given: dict[str, Any]) -> tuple[Options, str | None]:
    """Takes these options out of all that were given: what workers are told, and where the access log goes."""
    access_log = given.pop("access_log")
    share = given.pop("access_log_sample")
    found = Options(
        server_tls=_server(
            given.pop("tls_cert"), given.pop("tls_key"), given.pop("tls_client_ca"), given.pop("tls_min")
        ),
        upstream_tls=_client(given.pop("upstream_ca"), given.pop("upstream_cert"), given.pop("upstream_key")),
        senders=_senders(given.pop("proxy_protocol_from")),
        connections_max=given.pop("connections_max"),
        access_log=share if access_log else 0.0,
        names_version=given.pop("version_header"),
        tells_timing=given.pop("server_timing"),
        reach=_reach(given.pop("upstream_allow")),
    )
    return found, access_log


def _server(
    certificates: tuple[Path, ...], keys: tuple[Path, ...], client_ca: Path | None, oldest: str
) -> tls.Server | None:
    if len(certificates) != len(keys):
        raise Invalid(f"--tls-cert and --tls-key: {len(certificates)} and {len(keys)}, they go in pairs")
    if not certificates:
        if client_ca is not None:
            raise Invalid(f"--tls-client-ca {client_ca}: means nothing without --tls-cert and --tls-key")
        return None
    pairs = zip(map(Path.absolute, certificates), map(Path.absolute, keys), strict=True)
    return tls.Server(
        tuple(tls.Pair(*pair) for pair in pairs), client_ca.absolute() if client_ca else None, oldest
    )


def _client(ca: Path | None, certificate: Path | None, key: Path | None) -> tls.Client:
    if (certificate is None) != (key is None):
        raise Invalid("--upstream-cert and --upstream-key: one is given without the other")
    pair = tls.Pair(certificate.absolute(), key.absolute()) if certificate and key else None
    return tls.Client(ca.absolute() if ca else None, pair)


def _senders(texts: tuple[str, ...]) -> Senders:
    try:
        return senders(texts)
    except ValueError as error:
        raise Invalid(f"--proxy-protocol-from: {error}; a network such as 10.0.0.0/8, or unix") from error


def _reach(texts: tuple[str, ...]) -> Reach:
    try:
        return Reach(networks(texts))
    except ValueError as error:
        raise Invalid(f"--upstream-allow: {error}; a network such as 169.254.7.0/24") from error
