"""`headgate adopt`: a rollout for a Deployment that runs already, and every write of that beforehand."""

from pathlib import Path

import click

from controller.cli import adopting, files
from controller.cli.client import Client
from controller.cli.failures import Failure
from controller.cli.options import api_options, output_option
from controller.cli.output import print_data
from controller.crd import Refused, parse


@click.command()
@click.argument("deployment", required=False)
@click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(path_type=Path),
    help="A file with the rollout, whose workloadRef names the Deployment, in place of one with a usual strategy.",
)
@click.option("--name", help="What the rollout is called.  [default: as the Deployment]")
@click.option(
    "--service", help="The Service that clients use, to take over.  [default: the only one of its pods]"
)
@click.option("--port", type=click.IntRange(1, 65_535), help="The pods' port.  [default: the only one]")
@click.option(
    "--scale-down",
    type=click.Choice(["progressively", "onSuccess", "never"]),
    default="onSuccess",
    show_default=True,
    help="When the Deployment's own pods go.",
)
@click.option("--plan", "is_plan", is_flag=True, help="Only tell every write; change nothing.")
@output_option("text", "json", "yaml")
@api_options
def adopt(
    client: Client,
    deployment: str | None,
    path: Path | None,
    name: str | None,
    service: str | None,
    port: int | None,
    scale_down: str,
    is_plan: bool,
    output: str,
) -> None:
    """Make a rollout of a DEPLOYMENT that runs already on a cluster, without a moment in which nobody answers.

    Its pod template becomes the first version, in pods of the rollout. When those serve, and the routers are ready,
    the Service in front is led to the routers in one write; then the old pods go. Deleting the rollout does it backwards.

    \b
      kubectl headgate adopt fraud --plan        every write: object, field, before → after
      kubectl headgate adopt fraud
      kubectl headgate adopt -f rollout.yaml --plan
    """
    if (deployment is None) == (path is None):
        raise click.UsageError("name a DEPLOYMENT, or a file with its rollout: -f rollout.yaml")
    if path is not None:
        (written,) = files.sound([path], client.placed)
        if written.rollout.spec.workload_ref is None:
            raise Failure(f"{written.key} adopts nothing", "write spec.workloadRef, or use `headgate apply`")
        document, key = written.document, written.key
        found = client.workload(key, written.rollout.spec.workload_ref.name)
    else:
        found = client.workload(name or str(deployment), str(deployment))
        key = found.key
        document = adopting.rollout_of(found, adopting.in_front(found, service), scale_down, port)
        checked = parse(document)
        if isinstance(checked, Refused):
            raise Failure(
                f"{key} cannot be made", "write a file, and give it with -f", map(str, checked.faults)
            )
    planned = adopting.writes(found, document)
    answer = None if is_plan else client.apply(key, document, force=False)
    hints = adopting.hints(found, document)
    if output != "text":
        outcome = "planned" if answer is None else answer["outcome"]
        items = [adopting.as_data(write) for write in planned]
        print_data({"rollout": key, "outcome": outcome, "writes": items, "hints": list(hints)}, output)
        return
    for number, write in enumerate(planned, 1):
        click.echo(f"{number}. {write.verb} {write.what}: by {write.by}, {write.when}")
        for field in write.fields:
            click.echo(f"     {field.path}: {_shown(field.before)} → {_shown(field.after)}")
    for hint in hints:
        click.echo(f"note: {hint}")
    click.echo("nothing was changed" if answer is None else f"{key} {answer['outcome']}")


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
