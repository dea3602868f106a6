"""The verbs that read: get, status, events, history."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import click
from rich.console import RenderableType
from rich.live import Live

from controller.cli import tables
from controller.cli.client import Client
from controller.cli.failures import DONE, FAILED, TIMED_OUT, Away, end
from controller.cli.lines import Reporter, gist, silent, summary_line
from controller.cli.options import api_options, output_option, rollout_options, timeout_option
from controller.cli.output import print_data
from controller.cli.screen import console, show
from controller.cli.waiting import (
    GOALS,
    RECONNECT_S,
    Goal,
    Hopeless,
    Reached,
    changes,
    healthy,
    wait_for,
)

FOREVER: Final = float("inf")

Json = dict[str, Any]


@click.command()
@click.argument("name", required=False)
@click.option("-w", "--watch", is_flag=True, help="Go on, and print every change.")
@output_option("table", "wide", "json", "yaml")
@api_options
def get(client: Client, name: str | None, watch: bool, output: str) -> None:
    """List rollouts: where each is, what it waits for.

    \b
      headgate get                     all of them (of a cluster: those of the context's namespace)
      headgate get -A                  those of all namespaces
      headgate get -w                  watch them live
      headgate get fraud -o json       everything known of one, as JSON
      headgate get fraud -w -o json    one line of JSON for each change
    """
    if name is not None:
        key = client.find(name)
        source = changes(client, key, FOREVER) if watch else iter([client.status(key)])
        _show(([shown] for shown in source), output, is_watch=watch, is_one=True)
    else:
        _show(_lists(client, is_watch=watch), output, is_watch=watch, is_one=False)


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Go on, and show every change.")
@click.option(
    "--exit-status",
    is_flag=True,
    help="Exit 0 if the target is stable and all is well, 1 if it was rolled back or is stalled, 2 if it is under way.",
)
@click.option(
    "--wait-for", type=click.Choice(list(GOALS)), help="Wait until it is that; 1 if it cannot be any more."
)
@timeout_option("10m", "with --wait-for")
@output_option("text", "json", "yaml")
@api_options
@rollout_options
def status(
    client: Client,
    key: str,
    watch: bool,
    exit_status: bool,
    wait_for: str | None,
    timeout_s: float,
    output: str,
) -> None:
    """Show where a rollout is, what it waits for, and why.

    \b
      headgate status fraud                              versions, checks, routers, last decisions
      headgate status fraud -w                           live
      headgate status fraud --wait-for promoted --timeout 30m
      headgate status fraud --exit-status                for scripts: 0 well, 1 failed, 2 under way
    """
    if wait_for is not None:
        _wait(client, key, GOALS[wait_for], timeout_s, output)
    source = changes(client, key, FOREVER) if watch else iter([_foretold(client, key)])
    shown = _show_pages(source, output, is_watch=watch)
    if exit_status:
        end(_exit_code(shown))


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@output_option("table", "json", "yaml")
@api_options
@rollout_options
def events(client: Client, key: str, limit: int, output: str) -> None:
    """Show what happened to a rollout, oldest first.

    \b
      headgate events fraud --limit 10
    """
    _print_list(client.listing(key, "events", limit), tables.events, output)


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@output_option("table", "json", "yaml")
@api_options
@rollout_options
def history(client: Client, key: str, limit: int, output: str) -> None:
    """Show every decision about a rollout's traffic: what changed, by whom, and on which evidence; oldest first.

    \b
      headgate history fraud
      headgate history fraud -o yaml     with the checks as they were at that moment
    """
    _print_list(client.listing(key, "decisions", limit), tables.decisions, output)


def _foretold(client: Client, key: str) -> Json:
    """The status with the forecast of its steps, which is not part of what a watch waits for."""
    return {**client.status(key), "forecast": client.forecast(key)}


def _lists(client: Client, *, is_watch: bool) -> Iterator[list[Json]]:
    """The list of rollouts now, and again and again when watching."""
    is_known = is_away = False
    while True:
        try:
            items = client.rollouts_again() if is_known else client.rollouts()
            is_known, is_away = True, False
            yield items
        except Away as away:
            if not (is_watch and is_known):
                raise
            if not is_away:
                click.echo(f"{away.message}; trying again", err=True)
            is_away = True
            time.sleep(RECONNECT_S)
        if not is_watch:
            return


def _show(source: Iterator[list[Json]], output: str, *, is_watch: bool, is_one: bool) -> None:
    if output in ("json", "yaml"):
        _show_data(source, output, is_watch=is_watch, is_one=is_one)
        return
    is_wide = output == "wide"
    screen = console()
    if is_watch and screen.is_terminal:
        _show_live(tables.rollouts(items, is_wide=is_wide) for items in source)
    elif is_watch:
        show_lines(source, is_wide=is_wide)
    else:
        items = next(source)
        if items:
            show(tables.rollouts(items, is_wide=is_wide))
        else:
            click.echo("No rollout. Make one with `headgate apply -f rollout.yaml`.", err=True)


def _show_data(source: Iterator[list[Json]], output: str, *, is_watch: bool, is_one: bool) -> None:
    """All at once, or a document for each rollout that changed."""
    last: dict[str, Json] = {}
    for items in source:
        if not is_watch:
            print_data(items[0] if is_one else {"items": items}, output)
            return
        for item in items:
            key = f"{item['namespace']}/{item['name']}"
            if last.get(key) != item:
                last[key] = item
                print_data(item, output, compact=True)


def show_lines(source: Iterator[list[Json]], *, is_wide: bool) -> None:
    """A line for each rollout whose line changed, under one header, in columns that stay where they are."""
    columns = tables.WIDE_COLUMNS if is_wide else tables.COLUMNS
    widths = [max(len(column), 12) for column in columns]
    last: dict[str, tuple[str, ...]] = {}
    click.echo(_line(columns, widths))
    for items in source:
        for item in items:
            key, cells = f"{item['namespace']}/{item['name']}", tables.row(item, is_wide=is_wide)
            told = (*cells[:-1], gist(cells[-1]))
            if last.get(key) != told:
                last[key] = told
                click.echo(_line(cells, widths))


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _show_live(frames: Iterator[RenderableType]) -> None:
    """Redraw in place until Ctrl-C."""
    try:
        with Live(console=console(), auto_refresh=False) as live:
            for frame in frames:
                live.update(frame, refresh=True)
    except KeyboardInterrupt:
        return


def _show_pages(source: Iterator[Json], output: str, *, is_watch: bool) -> Json:
    """The page, live in a terminal, else one line for each new message; the last status seen."""
    seen = _Last()
    noted = seen.passing(source)
    screen = console()
    if output in ("json", "yaml"):
        _show_data(([shown] for shown in noted), output, is_watch=is_watch, is_one=True)
    elif is_watch and screen.is_terminal:
        _show_live(tables.page(shown) for shown in noted)
    elif is_watch:
        _show_messages(noted)
    else:
        show(tables.page(next(noted)))
    return seen.shown


class _Last:
    """Remembers the last status that passed by."""

    def __init__(self) -> None:
        self.shown: Json = {}

    def passing(self, source: Iterator[Json]) -> Iterator[Json]:
        for shown in source:
            self.shown = shown
            yield shown


def _show_messages(source: Iterator[Json]) -> None:
    report = Reporter()
    for shown in source:
        report(shown)


def _wait(client: Client, key: str, goal: Goal, timeout_s: float, output: str) -> None:
    """Wait, show what there is then, and end with the code that says how it went."""
    verdict, shown = wait_for(client, key, goal, timeout_s, Reporter() if output == "text" else silent)
    if output == "text":
        click.echo(summary_line(shown))
    else:
        print_data(shown, output)
    match verdict:
        case Reached():
            end(DONE)
        case Hopeless():
            end(FAILED)
        case None:
            click.echo(f"timed out after {timeout_s:g} s", err=True)
            end(TIMED_OUT)


def _exit_code(shown: Json) -> int:
    if healthy(shown) == Reached():
        return DONE
    return FAILED if shown["status"]["phase"] in ("RolledBack", "Stalled") else TIMED_OUT


def _print_list(items: list[Json], table: Callable[[list[Json]], RenderableType], output: str) -> None:
    """Oldest first for people, as a log is read; newest first for programs, as the API says it."""
    if output in ("json", "yaml"):
        print_data({"items": items}, output)
    elif items:
        show(table(items[::-1]))
    else:
        click.echo("Nothing yet.", err=True)
