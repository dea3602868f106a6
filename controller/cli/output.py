"""Printing: JSON and YAML for programs, instants and weights for people."""

import json
from datetime import datetime
from functools import cache
from typing import Any, Final

import click

WIDE: Final = 4096
"""Columns where nobody looks: nothing is folded or cut for a program."""


def print_data(data: Any, output: str, *, compact: bool = False) -> None:
    """Print as `json` (one line if `compact`) or `yaml` (one document of many if `compact`)."""
    if output == "json":
        click.echo(json.dumps(data, ensure_ascii=False, indent=None if compact else 2))
        return
    import yaml  # here, because few want YAML, and a rollback must not wait for it

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
