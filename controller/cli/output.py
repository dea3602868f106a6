"""Printing: JSON and YAML for programs, and a console that is as wide as it must be when nobody looks at it."""

import json
from datetime import datetime
from functools import cache
from typing import Any, Final

import click
import yaml
from rich.console import Console, RenderableType

WIDE: Final = 4096
"""Columns of a console that is no terminal: nothing is folded or cut for a program."""


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


def print_data(data: Any, output: str, *, compact: bool = False) -> None:
    """Print as `json` (one line if `compact`) or `yaml` (one document of many if `compact`)."""
    if output == "json":
        click.echo(json.dumps(data, ensure_ascii=False, indent=None if compact else 2))
        return
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=WIDE)
    click.echo(("---\n" if compact else "") + text, nl=False)


@cache
def parsed(instant: str) -> datetime:
    """An RFC 3339 instant of the API in the local time zone."""
    return datetime.fromisoformat(instant).astimezone()


def clock(instant: str | None) -> str:
    """An instant as a local time of the day, `-` for none."""
    return f"{parsed(instant):%H:%M:%S}" if instant else "-"


def stamp(instant: str | None) -> str:
    """An instant as local date and time, `-` for none."""
    return f"{parsed(instant):%Y-%m-%d %H:%M:%S}" if instant else "-"


def weight(weights: dict[str, Any] | None) -> str:
    """`5%` when every router does what is desired; else what they do, and what they shall: `0–5% of 25%`."""
    if weights is None:
        return "-"
    desired, acknowledged = weights["desired"], weights["acknowledged"]
    low, high = acknowledged["low"], acknowledged["high"]
    if low == high == desired and not acknowledged["unknown"]:
        return str(desired["percent"])
    if low is None or acknowledged["unknown"]:
        return f"? → {desired['percent']}"
    span = low["percent"] if low == high else f"{low['percent'].rstrip('%')}–{high['percent']}"
    return f"{span} → {desired['percent']}"
