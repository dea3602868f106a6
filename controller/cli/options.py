"""What several verbs take: where the controller is, which rollout, how to print, how long to wait."""

import functools
import getpass
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import click

from controller.cli.client import Client, Where
from controller.cli.failures import Failure
from controller.units import DURATION, DURATION_EXAMPLE, seconds

STATE_DEFAULT: Final = Path(".headgate")
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


def state_option(command: Command) -> Command:
    """`--state`: the folder of `headgate up`."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path),
        envvar="HEADGATE_STATE",
        default=STATE_DEFAULT,
        show_default="./.headgate",
        show_envvar=True,
        help="The folder in which `headgate up` keeps its state.",
    )(command)


def api_options(command: Command) -> Command:
    """Where the controller is; the command gets a `client`."""

    @state_option
    @click.option("--api", metavar="URL", help="The API's address, instead of what the state folder says.")
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The API's token.  [default: as the state folder says]",
    )
    @functools.wraps(command)
    def with_client(state: Path, api: str | None, token_file: Path | None, **more: Any) -> Any:
        return command(client=Client(Where(state, api, token_file)), **more)

    return with_client


def rollout_options(command: Command) -> Command:
    """`[NAME]` and `-n`; the command gets the `key`, `namespace/name`, of a rollout that exists. Goes under `api_options`."""

    @click.argument("name", required=False)
    @namespace_option
    @functools.wraps(command)
    def with_key(client: Client, name: str | None, namespace: str | None, **more: Any) -> Any:
        return command(client=client, key=find(client, name, namespace), **more)

    return with_key


def namespace_option(command: Command) -> Command:
    """`-n NAMESPACE`."""
    return click.option("-n", "--namespace", help="Look in this namespace only.")(command)


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


def actor() -> str:
    """The operating system's name of who runs this."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def find(client: Client, name: str | None, namespace: str | None) -> str:
    """The key of the one rollout that is meant; Failure, with the names there are, when it is not just one."""
    if name is not None and "/" in name:
        return name
    keys = [f"{item['namespace']}/{item['name']}" for item in client.rollouts()]
    return pick(keys, name, namespace)


def pick(keys: Iterable[str], name: str | None, namespace: str | None) -> str:
    """The one key of that name and namespace, where None means any."""
    known = sorted(keys)
    meant = [
        key
        for key in known
        if (namespace is None or key.split("/")[0] == namespace)
        and (name is None or key.split("/")[1] == name)
    ]
    if len(meant) == 1:
        return meant[0]
    if not known:
        raise Failure("there is no rollout yet", "make one with `headgate apply -f rollout.yaml`")
    wanted = f"rollout {name}" if name else "rollout"
    wanted += f" in namespace {namespace}" if namespace else ""
    if not meant:
        raise Failure(f"there is no {wanted}", f"rollouts there are: {', '.join(known[:16])}")
    raise Failure(f"there are {len(meant)} of them: which {wanted}?", f"name one of: {', '.join(meant[:16])}")
