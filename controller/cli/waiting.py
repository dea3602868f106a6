"""Waiting for a rollout to become something, across restarts of the controller, and what is said meanwhile."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import click

from controller.cli.client import Client
from controller.cli.failures import Away

RECONNECT_S: Final = 0.5
"""How long to wait before a controller that went away is tried again."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reached:
    """It has come so far."""


@dataclass(frozen=True, slots=True)
class Hopeless:
    """It cannot come so far any more, and why."""

    why: str


Verdict = Reached | Hopeless | None
Goal = Callable[[Json], Verdict]


def changes(client: Client, key: str, deadline: float) -> Iterator[Json]:
    """The status now and at every change, until `deadline` (of `time.monotonic`); goes on when the controller is away."""
    tag, is_away = "", False
    while True:
        left_s = deadline - time.monotonic()
        if tag and left_s <= 0:
            return
        try:
            shown, tag = client.status_after(key, tag, max(left_s, 0.0) if tag else 0.0)
        except Away as away:
            if not tag or left_s <= 0:
                raise
            if not is_away:
                click.echo(f"{away.message}; trying again", err=True)
            is_away = True
            time.sleep(min(RECONNECT_S, max(left_s, 0.0)))
            continue
        is_away = False
        if shown is not None:
            yield shown


def wait_for(
    client: Client, key: str, goal: Goal, timeout_s: float, on_change: Callable[[Json], None]
) -> tuple[Verdict, Json]:
    """Watch until the goal says Reached or Hopeless, or None when the time is up; with the last status seen."""
    last: Json = {}
    for shown in changes(client, key, time.monotonic() + timeout_s):
        last = shown
        verdict = goal(shown)
        if verdict is not None:
            return verdict, shown
        on_change(shown)
    return None, last


def is_current(shown: Json) -> bool:
    """Whether the status is about the spec as it is now."""
    return bool(shown["status"]["observedGeneration"] == shown["generation"])


def healthy(shown: Json) -> Verdict:
    """The target is stable and nothing is going on."""
    if promoted(shown) == Reached() and shown["status"]["phase"] == "Healthy":
        return Reached()
    return _lost(shown)


def promoted(shown: Json) -> Verdict:
    """The target is stable."""
    status, spec = shown["status"], shown["spec"]
    is_there = (
        spec is not None and status["stableVersion"] == spec["target"] and not status["candidateVersion"]
    )
    return (
        Reached() if is_there and is_current(shown) and not is_failed(shown, spec["target"]) else _lost(shown)
    )


def rolled_back(shown: Json) -> Verdict:
    """The target was tried and rolled back, and no router sends it anything."""
    status = shown["status"]
    if not is_current(shown):
        return None
    if status["phase"] == "RolledBack":
        return Reached()
    is_promoted = (
        status["phase"] == "Healthy" and shown["spec"] and status["stableVersion"] == shown["spec"]["target"]
    )
    return Hopeless(status["message"]) if is_promoted else None


def is_failed(shown: Json, version: str) -> bool:
    """Whether this version was rolled back, and not given another try since."""
    return any(item["name"] == version and item["failed"] for item in shown["status"]["versions"])


def _lost(shown: Json) -> Verdict:
    """No promotion comes any more once it was rolled back."""
    if is_current(shown) and shown["status"]["phase"] == "RolledBack":
        return Hopeless(shown["status"]["message"])
    return None


GOALS: Final[dict[str, Goal]] = {"promoted": promoted, "rolled-back": rolled_back, "healthy": healthy}
"""What `--wait-for` may name."""
