"""The verbs that end something: delete for rollouts, forget for routers."""

import time
from typing import Final

import click

from controller.cli.client import Client
from controller.cli.failures import TIMED_OUT, end
from controller.cli.options import api_options, rollout_options, timeout_option

DELETED_AGAIN_S: Final = 0.2


@click.command()
@click.option("--wait", is_flag=True, help="Wait until it is gone.")
@timeout_option("5m", "with --wait")
@api_options
@rollout_options
def delete(client: Client, key: str, wait: bool, timeout_s: float) -> None:
    """Delete a rollout: all its traffic goes to stable first, then what it started is stopped.

    Routers keep the last plan they have.

    \b
      headgate delete fraud --wait
    """
    client.delete(key)
    click.echo(f"{key} is being deleted")
    deadline = time.monotonic() + timeout_s
    while wait and client.exists(key):
        if time.monotonic() > deadline:
            click.echo(f"{key} is not gone after {timeout_s:g} s; the deletion goes on", err=True)
            end(TIMED_OUT)
        time.sleep(DELETED_AGAIN_S)
    if wait:
        click.echo(f"{key} is gone")


@click.command("router forget")
@click.argument("router")
@click.option("--rollout", "name", help="The rollout it serves.  [default: the only one there is]")
@api_options
def forget(client: Client, router: str, name: str | None) -> None:
    """Count ROUTER no more: it is gone for good, with its pod or machine.

    A router that is silent blocks every increase, because nobody knows what it does. One that is alive after all
    polls within seconds, and counts again.

    \b
      headgate status fraud                  names the routers, and when each was last heard
      headgate router forget host-1:8080 --rollout fraud
    """
    key = client.find(name)
    client.forget(key, router)
    click.echo(f"{key}: router {router} is forgotten")
