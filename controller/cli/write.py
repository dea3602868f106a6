"""The verbs that read files of rollouts: apply, lint."""

from pathlib import Path
from typing import Any

import click

from controller.cli import files
from controller.cli.client import Client
from controller.cli.failures import FAILED, end
from controller.cli.lines import foretold
from controller.cli.options import api_options, output_option
from controller.cli.output import print_data
from controller.core.steps import compile_stages
from controller.crd import Parsed, Refused, to_core

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
@click.option(
    "--force-conflicts", "force", is_flag=True, help="On a cluster: the files win where others wrote a field."
)
@output_option("text", "json", "yaml")
@api_options
def apply(client: Client, paths: tuple[Path, ...], force: bool, output: str) -> None:
    """Create rollouts, or change them to what the files say. Everything is checked before anything is changed.

    On a cluster this is `kubectl apply --server-side`, and what the API server refuses is said as `headgate lint` does.

    \b
      headgate apply -f rollout.yaml
      headgate apply -f fraud.yaml -f search.yaml
      kustomize build . | headgate apply -f -
    """
    sound = files.sound(paths, client.placed)
    answers = [client.apply(rollout.key, rollout.document, force=force) for rollout in sound]
    if output != "text":
        print_data({"items": answers}, output)
        return
    for answer in answers:
        click.echo(f"{answer['rollout']} {answer['outcome']}")
        if answer["outcome"] != "unchanged":
            for line in foretold(client, answer["rollout"]):
                click.echo(f"  {line}")


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
