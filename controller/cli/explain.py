"""`headgate explain`: where a rollout is and why, what it waits for, what comes then, what would end it."""

from collections.abc import Iterator
from typing import Any

import click

from controller.cli.client import Client
from controller.cli.options import api_options, output_option, rollout_options
from controller.cli.output import print_data, stamp

Json = dict[str, Any]


@click.command()
@output_option("text", "json", "yaml")
@api_options
@rollout_options
def explain(client: Client, key: str, output: str) -> None:
    """Explain a rollout: why it is where it is, what would move it on, and what would roll it back.

    \b
      headgate explain fraud
      headgate explain fraud -o json | jq -r '.unmet[]'
    """
    told = client.explanation(key)
    if output == "text":
        click.echo("\n".join(_lines(key, told)))
    else:
        print_data(told, output)


def _lines(key: str, told: Json) -> Iterator[str]:
    yield f"{key}  {told['phase']}"
    yield f"  {told['message']}"
    yield from _why(told["why"])
    yield from _ahead(told)
    if told["rollsBack"]:
        yield from ("", "What would roll it back")
        yield from (f"  - {what}" for what in told["rollsBack"])


def _why(decision: Json | None) -> Iterator[str]:
    """The last decision about its traffic, with what was known then."""
    if decision is None:
        return
    yield from ("", "Why it is there")
    yield f"  {decision['sentence']}"
    by = decision["actor"] or "the controller"
    numbers = f"epoch {decision['epoch']}, plan {decision['generation']}"
    yield f"  decided by {by} at {stamp(decision['at'])} ({numbers})"
    for check in decision["checks"]:
        window = f" [{check['windowSeconds']:.0f} s]" if check["windowSeconds"] else ""
        yield f"    {check['name']}: {check['text']}{window}"


def _ahead(told: Json) -> Iterator[str]:
    """What is missing, in order, with the checks as they are; and what comes then."""
    if told["unmet"]:
        yield from ("", "What is missing, in this order")
        yield from (f"  {number}. {what}" for number, what in enumerate(told["unmet"], start=1))
    elif told["waitingFor"]:
        yield from ("", f"It waits for {told['waitingFor']}.")
    if told["checks"]:
        yield from ("", "What the checks say now")
        for check in told["checks"]:
            about = f" ({check['rival']})" if check["rival"] else ""
            yield f"  {check['name']}{about}: {check['text']}"
    if told["next"]:
        yield from ("", f"Then: {told['next']}")
