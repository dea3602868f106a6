"""The front door of the command: finds its verbs through the entry-point group `headgate.commands`.

Each entry is one verb, named as it is typed; one named `router forget` is the verb `forget` of the group `router`.
A verb's module is imported when that verb is asked for and not before: a rollback must not wait until everything that
the other verbs need is loaded. So this module imports neither side, and a side that is not installed has no verbs.
"""

import copy
import re
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Final

import click

GROUP: Final = "headgate.commands"
NAME: Final = "headgate"
PLUGIN: Final = "kubectl headgate"
"""What it is called when kubectl runs it, as the program `kubectl-headgate`."""

HELP = """Takes a new version of an ML model into production without hurting anyone.

\b
  headgate up -f rollout.yaml          controller and router on this machine
  headgate get -w                      watch every rollout
  headgate set-target fraud v8         start a rollout to v8
  headgate status fraud                where it is, what it waits for, and why
  headgate rollback fraud              all traffic back to stable, now

What it is about: this machine if `headgate up` runs here (--state, --api), else the cluster that kubectl would ask
(--context, -n, -A). `kubectl headgate` is the same command, and means the cluster.

Exit codes: 0 done, 1 refused or failed, 2 timed out.
"""
PLUGIN_HELP: Final = """Takes a new version of an ML model into production without hurting anyone.

\b
  kubectl headgate apply -f rollout.yaml       create a rollout, or change it
  kubectl headgate get -w                      watch every rollout of the namespace
  kubectl headgate set-target fraud v8         start a rollout to v8
  kubectl headgate status fraud                where it is, what it waits for, and why
  kubectl headgate rollback fraud              all traffic back to stable, now

What it is about: the cluster of kubectl's current context and its namespace (--context, --kubeconfig, -n, -A), with
your own rights there.

Exit codes: 0 done, 1 refused or failed, 2 timed out.
"""


class Verbs(click.Group):
    """The verbs of every installed side, in alphabetical order, each loaded when it is asked for."""

    def __init__(self, found: dict[str, EntryPoint], name: str = NAME) -> None:
        super().__init__(
            name=name,
            help=PLUGIN_HELP if name == PLUGIN else HELP,
            params=_kubectl_options() if name == PLUGIN else None,
            context_settings={"help_option_names": ["-h", "--help"]},
        )
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
        return _renamed(command) if self.name == PLUGIN else command


def root(name: str = NAME) -> Verbs:
    """The whole command, as `headgate` or `kubectl headgate`. Entry points are read now, once."""
    return Verbs({entry.name: entry for entry in entry_points(group=GROUP)}, name)


def _kubectl_options() -> list[click.Parameter]:
    """What people write before the verb, as they do with kubectl's own; each verb takes the same after it."""
    return [
        click.Option(["-n", "--namespace"], help="Look in this namespace only."),
        click.Option(
            ["-A", "--all-namespaces", "is_everywhere"], is_flag=True, help="Look in all namespaces."
        ),
        click.Option(["--context"], help="The context of the kubeconfig."),
        click.Option(["--kubeconfig"], help="The kubeconfig."),
    ]


def as_plugin(text: str) -> str:
    """The text with the command called as kubectl does; `headgate up` is of this machine, whoever asks."""
    return re.sub(r"(?<![-\w./])(?<!kubectl )headgate (?=[a-z])(?!up\b)", f"{PLUGIN} ", text)


def _renamed(command: click.Command) -> click.Command:
    """The verb, and those below it, with help that shows how it was called."""
    renamed = copy.copy(command)
    renamed.help = as_plugin(command.help or "")
    renamed.params = [copy.copy(param) for param in command.params]
    for option in renamed.params:
        if isinstance(option, click.Option) and option.help:
            option.help = as_plugin(option.help)
    if isinstance(command, click.Group) and isinstance(renamed, click.Group):
        renamed.commands = {name: _renamed(below) for name, below in command.commands.items()}
    return renamed


def main() -> None:
    """Run the command as `headgate`."""
    _run(NAME)


def plugin() -> None:
    """Run the command as `kubectl headgate`."""
    _run(PLUGIN)


def _run(name: str) -> None:
    """Run the command; click's usage errors exit with 1, because 2 means timed out."""
    try:
        code = root(name).main(prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(1)
    except click.Abort:
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
