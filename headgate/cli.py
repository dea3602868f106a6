"""The front door of the command: finds its verbs through the entry-point group `headgate.commands`.

Each entry is one verb, named as it is typed; one named `router forget` is the verb `forget` of the group `router`.
A verb's module is imported when that verb is asked for and not before: a rollback must not wait until everything that
the other verbs need is loaded. So this module imports neither side, and a side that is not installed has no verbs.
"""

import sys
from importlib.metadata import EntryPoint, entry_points
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


class Verbs(click.Group):
    """The verbs of every installed side, in alphabetical order, each loaded when it is asked for."""

    def __init__(self, found: dict[str, EntryPoint]) -> None:
        super().__init__(name="headgate", help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
        self._found = found

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the verbs; loads none."""
        return sorted(name for name in self._found if " " not in name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name with the verbs below it; None if there is none."""
        if " " in cmd_name or cmd_name not in self._found:
            return None
        command: click.Command = self._found[cmd_name].load()
        if isinstance(command, click.Group):
            for name, entry in self._found.items():
                group, _, verb = name.partition(" ")
                if verb and group == cmd_name:
                    command.add_command(entry.load(), verb)
        return command


def root() -> Verbs:
    """The whole command. Entry points are read now, once."""
    return Verbs({entry.name: entry for entry in entry_points(group=GROUP)})


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
