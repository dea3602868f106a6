"""The front door of the command: finds its verbs through the entry-point group `headgate.commands`.

Each side registers a function that returns its click commands, so this module imports neither of them. Entry
points are read once, at start; a side that is not installed simply has no verbs.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from typing import Final

import click

GROUP: Final = "headgate.commands"

HELP = """Takes a new version of an ML model into production without hurting anyone.

\b
  headgate up -f rollout.yaml          controller and router on this machine
  headgate get -w                      watch every rollout
  headgate set-target fraud v8         start a rollout to v8
  headgate status fraud                where it is, what it waits for, and why
  headgate rollback fraud              all traffic back to stable, now

Exit codes: 0 done, 1 refused or failed, 2 timed out.
"""


def root() -> click.Group:
    """The whole command with the verbs of every installed side, in alphabetical order."""
    group = click.Group(name="headgate", help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
    commands = list(_registered())
    for command in commands:
        if " " not in str(command.name):
            group.add_command(command)
    for command in commands:
        parent, _, verb = str(command.name).partition(" ")
        under = group.commands.get(parent)
        if verb and isinstance(under, click.Group):
            under.add_command(command, verb)
    return group


def _registered() -> Iterator[click.Command]:
    """Every side's commands. One named `router forget` is the verb `forget` of the other side's group `router`."""
    for entry in sorted(entry_points(group=GROUP), key=lambda found: found.name):
        commands: Callable[[], Iterable[click.Command]] = entry.load()
        yield from commands()


def main() -> None:
    """Run the command; click's usage errors exit with 1, because 2 means timed out."""
    try:
        code = root().main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(1)
    except click.Abort:
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
