"""A rollout in one line, for those who watch it without a screen of tables."""

import re
from typing import Any

import click

from controller.cli.client import Client
from controller.cli.failures import Failure

Json = dict[str, Any]


class Reporter:
    """Prints the line of a rollout when it changed; not for a countdown, nor for more of the same evidence."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, shown: Json) -> None:
        line = summary_line(shown)
        if gist(line) != self._last:
            self._last = gist(line)
            click.echo(line)


def foretold(client: Client, key: str) -> list[str]:
    """How long each step takes; nothing if the controller cannot tell: what was asked of it stands all the same."""
    try:
        return step_lines(client.forecast(key))
    except Failure:
        return []


def step_lines(forecast: Json) -> list[str]:
    """A line for each step that is to come, with its slow check, and below them what would make the slowest faster."""
    steps = [str(step["sentence"]) for step in forecast["steps"]]
    return steps + [f"  faster: {way}" for way in forecast["faster"]]


def silent(_: Json) -> None:
    """Reports nothing: for programs, which get data at the end."""


def summary_line(shown: Json) -> str:
    """Phase and message, in one line."""
    return f"{shown['namespace']}/{shown['name']}  {shown['status']['phase']}  {shown['status']['message']}"


def brief(sentence: str) -> str:
    """The sentence without its evidence, which comes after a semicolon."""
    return sentence.partition(";")[0]


def gist(sentence: str) -> str:
    """What stays the same while nothing but the time goes on: to tell a change from a countdown."""
    return re.sub(r"\b[0-9]+ s more\b", "some s more", brief(sentence))
