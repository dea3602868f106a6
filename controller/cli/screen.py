"""Tables and pages on standard output: a console that is as wide as it must be when nobody looks at it."""

import click
from rich.console import Console, RenderableType

from controller.cli.output import WIDE


def console() -> Console:
    """Standard output for tables."""
    made = Console(highlight=False, emoji=False, markup=False)
    if made.is_terminal:
        return made
    return Console(highlight=False, emoji=False, markup=False, width=WIDE, color_system=None)


def show(what: RenderableType) -> None:
    """Print a table or page; without a terminal, plain lines without trailing spaces."""
    screen = console()
    if screen.is_terminal:
        screen.print(what)
        return
    with screen.capture() as captured:
        screen.print(what)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
