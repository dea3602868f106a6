"""What several verbs take: where the rollouts are, which one, how to print, how long to wait."""

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from controller.cli.client import Client
from controller.cli.failures import is_plugin
from controller.cli.where import Said, client_for
from controller.units import DURATION, DURATION_EXAMPLE, seconds

WAIT_S_MAX: Final = 7 * 86_400

Command = Callable[..., Any]


class DurationType(click.ParamType[float]):
    """A duration with its unit, at most 7 days; the value is seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; click's usage error if it is no duration."""
        if isinstance(value, float):
            return value
        if not re.fullmatch(DURATION, value):
            self.fail(f"{value!r} is not a duration: write {DURATION_EXAMPLE}", param, ctx)
        waited_s = float(seconds(value))
        if waited_s > WAIT_S_MAX:
            self.fail(f"{value} is out of bounds: from 0s to 7d", param, ctx)
        return waited_s


def state_option(default: Path | None = None) -> Callable[[Command], Command]:
    """`--state`: the folder of `headgate up`."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path),
        envvar="HEADGATE_STATE",
        default=default,
        show_default="./.headgate",
        show_envvar=True,
        help="The folder in which `headgate up` keeps its state.",
    )


def api_options(command: Command) -> Command:
    """Where the rollouts are; the command gets a `client`."""

    @state_option()
    @click.option("--api", metavar="URL", help="The address of the API of `headgate up`, or of a controller.")
    @click.option(
        "--api-ca",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Believe that API if its certificate is of an authority in this file (PEM).  [default: the machine's]",
    )
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The token of that API.  [default: as the state folder says]",
    )
    @click.option("--context", metavar="NAME", help="A cluster: this context of the kubeconfig.")
    @click.option("--kubeconfig", metavar="PATH", help="A cluster: the kubeconfig.  [default: as kubectl]")
    @click.option("-n", "--namespace", help="Look in this namespace only.  [cluster: the context's]")
    @click.option("-A", "--all-namespaces", "is_everywhere", is_flag=True, help="Look in all namespaces.")
    @functools.wraps(command)
    def with_client(**given: Any) -> Any:
        before = click.get_current_context().find_root().params
        names = [field.name for field in dataclasses.fields(Said)]
        said: dict[str, Any] = {name: given.pop(name) or before.get(name) for name in names}
        return command(client=client_for(_without_environment(Said(**said))), **given)

    return with_client


def _without_environment(said: Said) -> Said:
    """HEADGATE_STATE is for those who name nothing."""
    source = click.get_current_context().get_parameter_source("state")
    is_meant = source is ParameterSource.COMMANDLINE or not (is_plugin() or said.is_of_a_cluster)
    return said if is_meant else dataclasses.replace(said, state=None)


def rollout_options(command: Command) -> Command:
    """`[NAME]`; the command gets the `key`, `namespace/name`, of the rollout that is meant. Goes under `api_options`."""

    @click.argument("name", required=False)
    @functools.wraps(command)
    def with_key(client: Client, name: str | None, **more: Any) -> Any:
        return command(client=client, key=client.find(name), **more)

    return with_key


def output_option(*formats: str) -> Callable[[Command], Command]:
    """`-o`: the first format is the default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="How to print it.",
    )


def timeout_option(default: str, what: str) -> Callable[[Command], Command]:
    """`--timeout`, in seconds for the command."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=DurationType(),
        default=default,
        show_default=True,
        help=f"How long to wait {what}; then the exit code is 2.",
    )
