"""The front door: every verb is there, and none waits for what only the others need."""

import json
import subprocess
import sys

import click
import pytest

from headgate.cli import root

HEAVY = (
    "pydantic",
    "fastapi",
    "uvicorn",
    "httpx",
    "rich",
    "yaml",
    "msgspec",
    "controller.core",
    "controller.crd",
)
RUN = """
import json, sys
from headgate.cli import main
sys.argv = ["headgate", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
print(json.dumps([sorted(sys.modules)]))
"""


def loaded_by(*words: str) -> tuple[str, set[str]]:
    """What the command printed, and the modules it had loaded at its end."""
    done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=True)
    *said, modules = done.stdout.splitlines()
    return "\n".join(said), set(json.loads(modules)[0])


@pytest.mark.parametrize("words", [("version",), ("rollback", "--help"), ("rollback", "--state", "/nowhere")])
def test_a_rollback_waits_for_nothing_that_only_other_verbs_need(words: tuple[str, ...]) -> None:
    _, modules = loaded_by(*words)
    assert "click" in modules
    assert not modules.intersection(HEAVY)


def test_the_front_door_loads_no_verb_that_was_not_asked_for() -> None:
    said, modules = loaded_by("version")
    assert said.startswith("headgate ")
    assert not modules.intersection({"controller.cli.act", "controller.cli.write", "router.cli.router"})


def test_every_verb_that_is_listed_can_be_loaded() -> None:
    door = root()
    context = click.Context(door)
    for name in door.list_commands(context):
        command = door.get_command(context, name)
        assert command is not None
        assert command.name == name


def test_a_verb_of_one_side_may_stand_in_a_group_of_the_other() -> None:
    door = root()
    router = door.get_command(click.Context(door), "router")
    assert isinstance(router, click.Group)
    assert {"forget", "pin", "status", "unpin"} <= set(router.commands)


def test_a_verb_that_does_not_exist_is_a_usage_error() -> None:
    door = root()
    assert door.get_command(click.Context(door), "rollbakc") is None
    assert door.get_command(click.Context(door), "router forget") is None
