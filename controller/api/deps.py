"""What the API is given, and how a route gets at it: ports and callables, nothing global."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import Depends, FastAPI, Request

from controller.core.spec import Spec
from controller.crd import Refused
from controller.crd.compiler import Compiler
from controller.ports import Access, Discovery, Routers, Store, Stored
from controller.telemetry import Metrics


class Registry(Routers, Discovery, Protocol):
    """Both sides of the registry of routers."""


class Changes:
    """Tells waiting requests that something about a rollout changed: a decision, an acknowledgement, an edit."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}
        self.is_closed = False

    def notify(self, key: str) -> None:
        """Everybody who waits for this rollout looks again now."""
        event = self._events.pop(key, None)
        if event is not None:
            event.set()

    async def wait(self, key: str, seconds: float) -> None:
        """Until `notify(key)`, at most `seconds`; not at all once closed."""
        if self.is_closed:
            return
        event = self._events.setdefault(key, asyncio.Event())
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """End all waiting, now and from now on: the controller is going down."""
        self.is_closed = True
        for key in tuple(self._events):
            self.notify(key)


@dataclass(frozen=True, slots=True)
class Deps:
    """What `create_app` is given.

    `wake(key)` asks for a reconcile now. `now` gives Unix seconds. `next_action_at(key)` is the instant the last
    decision named, None if it named none. `is_ready` is False until every rollout was reconciled once. `providers`
    are the names of the metric providers that checks may use, `sinks` of those that notifications may; None: any name is
    taken. `is_loopback`: only this machine is answered.
    """

    store: Store
    routers: Registry
    changes: Changes
    wake: Callable[[str], None]
    now: Callable[[], float]
    access: Access
    metrics: Metrics
    next_action_at: Callable[[str], float | None] = lambda key: None
    is_ready: Callable[[], bool] = lambda: True
    providers: frozenset[str] | None = None
    sinks: frozenset[str] | None = None
    is_loopback: bool = True
    compiler: Compiler = field(default_factory=Compiler)

    def spec_of(self, stored: Stored) -> Spec | None:
        """The spec as the core thinks of it; None when this release does not accept the stored document."""
        compiled = self.compiler.compile(stored)
        return None if isinstance(compiled, Refused) else compiled.spec


def provide(app: FastAPI, deps: Deps) -> None:
    """Give the app its dependencies."""
    app.state.deps = deps


async def _given(request: Request) -> Deps:
    # A coroutine, for FastAPI runs what is none in a thread: a quarter of what a router's report costs.
    deps: Deps = request.app.state.deps
    return deps


Given = Annotated[Deps, Depends(_given)]
"""The dependencies of the app that serves the request."""
