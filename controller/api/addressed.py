"""The rollout that a path names, and what is said when there is none of that name."""

from typing import Annotated

from fastapi import Depends, Path

from controller.api.deps import Deps, Given
from controller.api.problems import Problem
from controller.ports import Stored

_Part = Annotated[str, Path(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]


def _key(namespace: _Part, name: _Part) -> str:
    return f"{namespace}/{name}"


Key = Annotated[str, Depends(_key)]
"""`namespace/name` of the path; 400 naming the part that cannot be a name."""


def unknown_rollout(deps: Deps, key: str) -> Problem:
    """404 with the names there are."""
    names = deps.store.keys()
    shown = ", ".join(names[:16]) + (f" and {len(names) - 16} more" if len(names) > 16 else "")
    return Problem(
        404,
        f"there is no rollout {key}",
        about=key,
        do=f"rollouts there are: {shown}" if names else "there is none yet: `headgate apply -f rollout.yaml`",
    )


def _found(deps: Given, key: Key) -> Stored:
    stored = deps.store.load(key)
    if stored is None:
        raise unknown_rollout(deps, key)
    return stored


Found = Annotated[Stored, Depends(_found)]
"""The rollout of the path as stored; 404 with the names there are."""
