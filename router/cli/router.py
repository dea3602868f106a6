"""`headgate router`: runs a router, checks what it would run, and pins a version on one that runs."""

import os
import re
from pathlib import Path
from typing import Any, Final

import click

from headgate.wire.plan import Condition, RoutePlan
from router import tls, wiring
from router.cli import config
from router.cli.pins import pin, status, unpin
from router.cli.serving import serving_of, serving_options
from router.settings import DRAIN_S, Invalid, Settings, Where, parse_address, parse_where
from router.supervisor.handover import CannotTakeOver
from router.supervisor.rundir import CannotUse
from router.supervisor.sockets import Address, CannotListen, SocketPath

LISTEN: Final = "127.0.0.1:8080"
ADMIN: Final = "127.0.0.1:8081"

HELP = """Run a router: it splits live traffic between versions and copies some to shadows.

It gets its plan from a controller, keeps the last one on disk and serves on without the controller; or it serves a
plan from a file, with nobody else around.

\b
  headgate router --rollout ml/fraud --controller http://127.0.0.1:7000 \\
      --token-file run/token --listen 127.0.0.1:8080
  headgate router --plan plan.json --listen 127.0.0.1:8080 --workers 2

SIGTERM drains and stops. SIGHUP reads the plan file and the certificates again. Every option can also come from the
environment, --token-file as HEADGATE_ROUTER_TOKEN_FILE, or from the file of --config. When no controller can be reached and it burns:

\b
  headgate router pin v7 --run DIR       all traffic to v7 until `headgate router unpin --run DIR`
"""


class _Where(click.ParamType[Where]):
    """HOST:PORT or unix:PATH, parsed."""

    name = "HOST:PORT|unix:PATH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Where:
        if isinstance(value, Address | SocketPath):
            return value
        try:
            return parse_where(str(value))
        except Invalid as error:
            self.fail(str(error), param, ctx)


class _Mode(click.ParamType[int]):
    """Permissions as `chmod` takes them, in octal."""

    name = "OCTAL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if not re.fullmatch("[0-7]{3}", str(value)):
            self.fail(f"{value!r} is not three octal digits such as 660", param, ctx)
        return int(str(value), 8)


class _Address(click.ParamType[Address]):
    """HOST:PORT, parsed."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return parse_address(str(value))
        except Invalid as error:
            self.fail(str(error), param, ctx)


_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(
    name="router",
    help=HELP,
    invoke_without_command=True,
    context_settings={"auto_envvar_prefix": "HEADGATE_ROUTER", "help_option_names": ["-h", "--help"]},
)
@click.option(
    "--rollout", metavar="NAMESPACE/NAME", help="The rollout to serve; with --plan, the plan says it."
)
@click.option(
    "--controller",
    metavar="URL",
    multiple=True,
    help="Where the plan comes from. Repeatable: of several controllers the one that leads is found.",
)
@click.option(
    "--controller-ca",
    type=_FILE,
    help="Believe controllers whose certificate is of an authority in this file (PEM), read again when it changes. "
    "[default: the machine's authorities]",
)
@click.option(
    "--allow-plain-controller",
    "allows_plain_controller",
    is_flag=True,
    help="Let the token go out in clear, to an http:// controller beyond this machine.",
)
@click.option(
    "--token-file", type=_FILE, help="The file with the token that the controller knows this router by."
)
@click.option("--plan", type=_FILE, help="Serve this plan (JSON) instead of asking a controller.")
@click.option(
    "--listen",
    type=_Where(),
    multiple=True,
    default=(LISTEN,),
    show_default=True,
    help="Where clients come: HOST:PORT (port 0 takes a free one) or unix:PATH. Repeatable.",
)
@click.option(
    "--socket-mode",
    type=_Mode(),
    default="600",
    show_default=True,
    help="Who may connect to Unix sockets, as chmod takes it.",
)
@click.option(
    "--admin", type=_Address(), default=ADMIN, show_default=True, help="Health, metrics and statistics."
)
@click.option(
    "--workers",
    type=int,
    default=1,
    show_default=True,
    help="Processes that serve; one for each core to use.",
)
@click.option(
    "--run",
    type=_FOLDER,
    help="The run directory, one for each router. [default: in the user's state folder, by rollout]",
)
@click.option(
    "--id",
    "router_id",
    envvar="HEADGATE_ROUTER_ID",
    help="What the controller calls this router. [default: HOSTNAME:PORT]",
)
@click.option(
    "--controller-host",
    multiple=True,
    help="A further host the controller may send this router to (its leader). Repeatable.",
)
@click.option("--ready-file", type=_FILE, help="Written when the workers accept: addresses and pid, as JSON.")
@click.option(
    "--drain",
    type=click.FloatRange(0, 3600),
    default=DRAIN_S,
    show_default=True,
    help="Seconds that requests in flight may take to end at SIGTERM.",
)
@click.option(
    "--take-over",
    "takes_over",
    is_flag=True,
    help="Replace the router that runs in this run directory, if one does, without losing a request.",
)
@serving_options
@click.option(
    "--config",
    type=_FILE,
    is_eager=True,
    expose_value=False,
    callback=config.read,
    help="A TOML file with these options under their names; command line and environment go before it.",
)
@click.option("--check", is_flag=True, help="Check settings and plan, start nothing.")
@click.pass_context
def router(context: click.Context, /, check: bool, **given: Any) -> int | None:
    """Run a router; see HELP."""
    if context.invoked_subcommand is not None:
        return None
    if not given["plan"] and not given["controller"]:
        raise click.UsageError("say where the plan comes from: --controller URL or --plan FILE")
    try:
        settings = _settings(**given)
        if check:
            return _checked(settings)
        return wiring.run(settings)
    except (Invalid, CannotUse, CannotListen, CannotTakeOver) as error:
        raise click.ClickException(str(error)) from error


router.add_command(pin)
router.add_command(unpin)
router.add_command(status)


def _settings(
    rollout: str | None,
    run: Path | None,
    plan: Path | None,
    router_id: str | None,
    drain: float,
    controller: tuple[str, ...],
    controller_host: tuple[str, ...],
    **rest: Any,
) -> Settings:
    serving, access_log = serving_of(rest)
    if plan is not None:
        named = wiring.read_plan(plan).rollout
        if rollout not in (None, named):
            raise Invalid(f"--rollout {rollout}: the plan in {plan} is for {named}")
        rollout = named
    if rollout is None:
        raise Invalid("--rollout: which one shall this router serve? NAMESPACE/NAME, such as ml/fraud")
    return Settings(
        rollout=rollout,
        run=run or _default_run(rollout),
        plan=plan,
        router=router_id,
        drain_s=drain,
        serving=serving,
        access_log=access_log,
        controllers=controller,
        controller_hosts=controller_host,
        **rest,
    )


def _default_run(rollout: str) -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "headgate" / "routers" / rollout.replace("/", ".")


def _checked(settings: Settings) -> int:
    settings.check()
    click.echo(f"router: settings of {settings.rollout} are good, run directory {settings.run}")
    server = settings.serving.server_tls
    if server is not None:
        for pair in server.pairs:
            said = tls.shown(pair, server.context())
            click.echo(f"certificate for {', '.join(said.names)}, until {said.until}")
    if settings.plan is not None:
        click.echo(_described(wiring.read_plan(settings.plan)))
    return 0


def _described(plan: RoutePlan) -> str:
    weights = plan.weights()
    shares = ", ".join(
        f"{one.name} {weights[one.name] / 100:g} % ({len(one.endpoints)} endpoints)" for one in plan.versions
    )
    said = f"plan {plan.triple}: {shares}"
    if plan.match is None:
        return said
    matching = ", ".join(f"{name} {weight / 100:g} %" for name, weight in plan.match.weights().items())
    conditions = " and ".join(map(_condition, plan.match.conditions))
    return f"{said}\nrequests with {conditions}: {matching}"


def _condition(condition: Condition) -> str:
    if condition.exact is not None:
        return f"{condition.source} = {condition.exact!r}"
    return f"{condition.source} = {condition.prefix + '*'!r}" if condition.prefix else condition.source
