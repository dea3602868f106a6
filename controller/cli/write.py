"""The verbs about what there is: apply, delete, lint for rollouts, forget for routers."""

import time
from pathlib import Path
from typing import Any, Final

import click

from controller.cli import files
from controller.cli.client import Client
from controller.cli.failures import FAILED, TIMED_OUT, end
from controller.cli.options import (
    api_options,
    find,
    namespace_option,
    output_option,
    rollout_options,
    timeout_option,
)
from controller.cli.output import print_data
from controller.core.steps import compile_stages
from controller.crd import Parsed, Refused, to_core

DELETED_AGAIN_S: Final = 0.2

Json = dict[str, Any]

file_option = click.option(
    "-f",
    "--file",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="A file of rollouts (YAML or JSON, several documents allowed); - for standard input. May be given again.",
)


@click.command()
@file_option
@output_option("text", "json", "yaml")
@api_options
def apply(client: Client, paths: tuple[Path, ...], output: str) -> None:
    """Create rollouts, or change them to what the files say. Everything is checked before anything is changed.

    \b
      headgate apply -f rollout.yaml
      headgate apply -f fraud.yaml -f search.yaml
      kustomize build . | headgate apply -f -
    """
    answers = [client.apply(rollout.key, rollout.document) for rollout in files.sound(paths)]
    if output != "text":
        print_data({"items": answers}, output)
        return
    for answer in answers:
        click.echo(f"{answer['rollout']} {answer['outcome']}")


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
    while wait and key in [f"{item['namespace']}/{item['name']}" for item in client.rollouts()]:
        if time.monotonic() > deadline:
            click.echo(f"{key} is not gone after {timeout_s:g} s; the deletion goes on", err=True)
            end(TIMED_OUT)
        time.sleep(DELETED_AGAIN_S)
    if wait:
        click.echo(f"{key} is gone")


@click.command("router forget")
@click.argument("router")
@click.option("--rollout", "name", help="The rollout it serves.  [default: the only one there is]")
@namespace_option
@api_options
def forget(client: Client, router: str, name: str | None, namespace: str | None) -> None:
    """Count ROUTER no more: it is gone for good, with its pod or machine.

    A router that is silent blocks every increase, because nobody knows what it does. One that is alive after all
    polls within seconds, and counts again.

    \b
      headgate status fraud                  names the routers, and when each was last heard
      headgate router forget host-1:8080 --rollout fraud
    """
    key = find(client, name, namespace)
    client.forget(key, router)
    click.echo(f"{key}: router {router} is forgotten")


@click.command()
@file_option
@output_option("text", "json", "yaml")
def lint(paths: tuple[Path, ...], output: str) -> None:
    """Check files of rollouts, without a controller: every fault with its line, or the steps that would be taken.

    \b
      headgate lint -f rollout.yaml
      headgate lint -f rollout.yaml -o json

    Exit codes: 0 all are sound, 1 something is wrong.
    """
    found = files.read(paths)
    if output == "text":
        for one in found:
            for line in one.lines() or [_sound_line(one)]:
                click.echo(line)
    else:
        print_data({"items": [_as_data(one) for one in found]}, output)
    if any(one.faults for one in found):
        end(FAILED)


def _sound_line(found: files.Found) -> str:
    key = found.parsed.key if isinstance(found.parsed, Parsed) else ""
    return f"{found.file}: {key} is sound: {' → '.join(_steps(found))}"


def _steps(found: files.Found) -> list[str]:
    """The titles of the steps a new version goes through."""
    if isinstance(found.parsed, Refused):
        return []
    spec = to_core(found.parsed.document, 1)
    return [] if isinstance(spec, Refused) else [step.title for step in compile_stages(spec.stages)]


def _as_data(found: files.Found) -> Json:
    return {
        "file": str(found.file),
        "rollout": found.parsed.key if isinstance(found.parsed, Parsed) else None,
        "steps": _steps(found),
        "faults": [
            {"line": found.line_of(fault), "path": fault.path, "rule": fault.rule, "message": fault.message}
            for fault in found.faults
        ],
    }
