"""`headgate plan`: how long a rollout will take, from its file alone."""

from pathlib import Path
from typing import Any

import click

from controller.api import view
from controller.cli import files
from controller.cli.failures import Failure
from controller.cli.options import output_option
from controller.cli.output import print_data
from controller.cli.write import file_option
from controller.core.analysis.forecast import Traffic
from controller.crd import Parsed, Refused, to_core

Json = dict[str, Any]


class ShareType(click.ParamType[float]):
    """A share of requests, `0.4%`; the value is a fraction."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """A fraction; click's usage error for anything else."""
        if isinstance(value, float):
            return value
        try:
            share = float(value.removesuffix("%")) / 100 if value.endswith("%") else -1.0
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            self.fail(f"{value!r} is no share of requests: write it like 0.4%", param, ctx)
        return share


@click.command()
@file_option
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True, max=1e7),
    help="Requests/s of all the traffic.  [default: not known; counts only]",
)
@click.option(
    "--errors",
    type=ShareType(),
    default="0%",
    show_default=True,
    help="The share of them that fails at stable.",
)
@output_option("text", "json", "yaml")
def plan(paths: tuple[Path, ...], rate: float | None, errors: float, output: str) -> None:
    """Tell how long each step of a rollout needs, without a controller.

    For a candidate that is as good as stable: what is better passes sooner, what is worse never.

    \b
      headgate plan -f rollout.yaml --rate 120
      headgate plan -f rollout.yaml --rate 120 --errors 0.4%
    """
    items = [_foretold(rollout, Traffic(rate, errors)) for rollout in files.sound(paths)]
    if output != "text":
        print_data({"items": items}, output)
        return
    for item in items:
        click.echo(item["rollout"])
        for step in item["steps"]:
            click.echo(f"  {step['sentence']}")
        for way in item["faster"]:
            click.echo(f"  faster: {way}")


def _foretold(rollout: Parsed, traffic: Traffic) -> Json:
    spec = to_core(rollout.document, 1)
    if isinstance(spec, Refused):
        raise Failure(
            f"{rollout.key} is not one this release accepts", "see `headgate lint`", map(str, spec.faults)
        )
    return {"rollout": rollout.key, **view.forecast(spec, traffic)}
