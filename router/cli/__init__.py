"""The router's verbs of the command: `router`, and those that read what its observer recorded."""

from collections.abc import Iterable

import click

from router.cli.report import report
from router.cli.router import router


def commands() -> Iterable[click.Command]:
    """Every verb of this side, for the front door."""
    return (router, report)
