"""`headgate version`: what is installed, and which wire it speaks."""

import platform
from importlib.metadata import version as installed

import click

from controller.cli.options import output_option
from controller.cli.output import print_data
from headgate.wire import READS, VERSION


@click.command()
@output_option("text", "json", "yaml")
def version(output: str) -> None:
    """Show the version of Headgate and of the wire it speaks."""
    shown = {
        "headgate": installed("headgate"),
        "wire": VERSION,
        "reads": list(READS),
        "python": platform.python_version(),
    }
    if output == "text":
        click.echo(f"headgate {shown['headgate']}, wire {shown['wire']}, Python {shown['python']}")
    else:
        print_data(shown, output)
