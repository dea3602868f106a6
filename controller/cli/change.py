"""`headgate set image`: another image for a rollout whose pods are made from its template."""

import click

from controller.cli.client import Client
from controller.cli.lines import foretold
from controller.cli.options import api_options, output_option
from controller.cli.output import print_data


@click.group("set")
def group() -> None:
    """Change one thing of a rollout."""


@click.command("image")
@click.argument("name", metavar="ROLLOUT")
@click.argument("images", nargs=-1, required=True, metavar="CONTAINER=IMAGE...")
@output_option("text", "json", "yaml")
@api_options
def image(client: Client, name: str, images: tuple[str, ...], output: str) -> None:
    """Change images in a rollout's template: that is a new version, and starts a rollout through its stages.

    For rollouts of a cluster that have a template.

    \b
      headgate set image fraud model=registry.example/fraud:8
      headgate set image fraud model=registry.example/fraud:8 tokenizer=registry.example/tokens:3
    """
    key = client.find(name)
    answer = client.set_images(key, dict(_parted(text) for text in images))
    if output != "text":
        print_data(answer, output)
        return
    is_same = answer["outcome"] == "unchanged"
    click.echo(f"{key}: {', '.join(images)} {'is so already' if is_same else 'from now on'}")
    for line in [] if is_same else foretold(client, key):
        click.echo(f"  {line}")


def _parted(text: str) -> tuple[str, str]:
    container, sign, wanted = text.partition("=")
    if not (container and sign and wanted):
        raise click.UsageError(f"{text!r} is not CONTAINER=IMAGE, such as model=registry.example/fraud:8")
    return container, wanted
