"""How a verb ends other than well: what went wrong, with which object, what to do; and the exit codes.

0: done. 1: refused or failed. 2: timed out. 130: a person stopped waiting (Ctrl-C); what was asked for stands.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

import click

from headgate.cli import PLUGIN, as_plugin

DONE: Final = 0
FAILED: Final = 1
TIMED_OUT: Final = 2
INTERRUPTED: Final = 130


class Failure(click.ClickException):
    """Ends the verb with exit code 1 and says what, then what to do about it."""

    exit_code = FAILED

    def __init__(self, what: str, do: str = "", faults: Iterable[str] = ()) -> None:
        super().__init__(what)
        self.do = do
        self.faults = tuple(faults)
        self._is_plugin = is_plugin()  # now: it is shown when the command has ended

    def format_message(self) -> str:
        """What, the faults one a line, and what to do."""
        lines = [self.message, *(f"  {fault}" for fault in self.faults)]
        text = "\n".join([*lines, f"  → {self.do}"] if self.do else lines)
        return as_plugin(text) if self._is_plugin else text


class Away(Failure):
    """The controller cannot be reached (now)."""


def refusal(error: Mapping[str, Any]) -> Failure:
    """What the API said in `{"what", "object", "do", "faults"}`."""
    faults = [f"{fault['path']}: {fault['message']} ({fault['rule']})" for fault in error.get("faults", ())]
    return Failure(str(error.get("what")), str(error.get("do") or ""), faults)


def is_plugin() -> bool:
    """Was the command called as `kubectl headgate`?"""
    context = click.get_current_context(silent=True)
    return context is not None and context.find_root().info_name == PLUGIN


def end(code: int) -> NoReturn:
    """End the verb with this exit code."""
    click.get_current_context().exit(code)
