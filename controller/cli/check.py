"""`headgate check`: what stands behind the verdict of a check."""

from collections.abc import Iterator
from typing import Any

import click

from controller.cli.client import Client
from controller.cli.failures import Failure
from controller.cli.options import api_options, output_option, rollout_options
from controller.cli.output import print_data

Json = dict[str, Any]


@click.group("check")
def group() -> None:
    """Look behind the verdict of a check."""


@click.command()
@output_option("text", "json", "yaml")
@click.option("--check", "names", multiple=True, help="Only this check. May be given again.")
@api_options
@rollout_options
def explain(client: Client, key: str, names: tuple[str, ...], output: str) -> None:
    """Print the arithmetic of a rollout's checks, with the numbers put in.

    What was counted, how much evidence that is, how much a verdict needs, and what lowers it on purpose; the formulas are in
    docs/analysis.md.

    \b
      headgate check explain fraud
      headgate check explain fraud --check errors
    """
    told = client.arithmetic(key)
    known = [check["name"] for check in told["checks"]]
    for name in names:
        if name not in known:
            raise Failure(f"{key} has no check {name}", f"it has {', '.join(known) or 'none'}")
    chosen = [check for check in told["checks"] if not names or check["name"] in names]
    if output == "text":
        click.echo("\n".join(_lines(key, told["candidate"], chosen)))
    else:
        print_data({**told, "checks": chosen}, output)


def _lines(key: str, candidate: str | None, checks: list[Json]) -> Iterator[str]:
    yield f"{key}  {f'{candidate} is on trial' if candidate else 'nobody is on trial: what each check will ask'}"
    for check in checks:
        yield from ("", f"{check['name']}  {check['text']}" if check["text"] else check["name"])
        width = max(len(term["name"]) for term in check["terms"])
        yield from (f"  {term['name']:{width}}  {term['text']}" for term in check["terms"])
    if not checks:
        yield "  it has no checks"
