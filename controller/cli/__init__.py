"""The verbs that speak to the controller's API, and those that need none (up, lint, version)."""

from collections.abc import Iterable

import click

from controller.cli import act, read, up, write


def commands() -> Iterable[click.Command]:
    """Every verb of the controller's side, for the front door of the command."""
    return (
        up.up,
        write.apply,
        write.delete,
        write.lint,
        write.forget,
        read.get,
        read.status,
        read.events,
        read.history,
        read.version,
        act.rollback,
        act.promote,
        act.pause,
        act.resume,
        act.retry,
        act.approve,
        act.skip_stage,
        act.undo,
        act.set_target,
    )
