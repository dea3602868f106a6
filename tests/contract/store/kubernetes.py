"""A `KubernetesStore` for the contract suite, with people beside it who write rollouts and actions with their own hands."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from controller.adapters.kubernetes.api import path_of
from controller.adapters.kubernetes.events import Events
from controller.adapters.kubernetes.store import GROUP, VERSION, KubernetesStore
from controller.api import view
from controller.api.shown import Seen
from controller.core.status import Action
from controller.ports import Recorded, Stored
from headgate.log import Log


def shown(stored: Stored, next_at: float | None) -> dict[str, Any]:
    """What people read where no router has said anything yet."""
    return view.full(Seen(stored, None, (), time.time(), next_at), ())


def store_over(api: Any, rollouts: Any, actions: Any, **more: Any) -> KubernetesStore:
    """The store on these; it leads."""
    log = Log("test")

    def leads() -> bool:
        return True

    given = {
        "events": Events(api, instance="test", is_leader=leads, now=time.time, log=log),
        "compiled": lambda stored: "nobody asks",
        "shown": shown,
        "transitions": lambda: 0,
        "is_leader": leads,
        "now": time.time,
        "log": log,
        **more,
    }
    return KubernetesStore(api, rollouts, actions, **given)


LABEL = "suite"
"""What people write here has this label, with the prefix as its value."""


class People:
    """What the suite asks of a store, done as on a cluster: by the store, or by people on the API server.

    Rollouts live in namespaces whose names begin with `prefix`. `settled(holds)` waits until the copies show what was
    done; actions are named by the suite, and known by their UID beyond it.
    """

    def __init__(
        self,
        store: KubernetesStore,
        api: Any,
        settled: Callable[[Callable[[], bool]], Awaitable[None]],
        prefix: str = "",
    ) -> None:
        self._store = store
        self._api = api
        self._settled = settled
        self._prefix = prefix
        self._labels = {LABEL: prefix.strip("-")}
        self._uids: dict[str, str] = {}
        self._asked_at: dict[str, float] = {}
        self._asked: list[dict[str, Any]] = []

    def keys(self) -> tuple[str, ...]:
        return tuple(key.removeprefix(self._prefix) for key in self._store.keys())  # noqa: SIM118

    def load(self, key: str) -> Stored | None:
        stored = self._store.load(self._prefix + key)
        return None if stored is None else replace(stored, key=key, document=self._outside(stored.document))

    async def acquire_epoch(self, at_least: int) -> int:
        return await self._store.acquire_epoch(at_least)

    async def put_document(self, key: str, document: Mapping[str, Any]) -> Stored | None:
        self._asked.insert(0, dict(document))
        namespace, name = (self._prefix + key).split("/")
        before = self._store.load(self._prefix + key)
        if before is None:
            metadata = {**document["metadata"], "namespace": namespace, "labels": self._labels}
            path = path_of(GROUP, VERSION, "modelrollouts", namespace)
            await self._api.create(path, {**document, "metadata": metadata})
        elif before.document["spec"] != document["spec"]:
            path = path_of(GROUP, VERSION, "modelrollouts", namespace, name)
            await self._api.merge_patch(path, {"spec": document["spec"]})

        def is_there() -> bool:
            seen = self._store.load(self._prefix + key)
            return seen is not None and _holds(seen.document["spec"], document["spec"])

        await self._settled(is_there)
        return self.load(key)

    async def mark_deleting(self, key: str) -> bool:
        if self._store.load(self._prefix + key) is None:
            return False
        namespace, name = (self._prefix + key).split("/")
        await self._api.delete(path_of(GROUP, VERSION, "modelrollouts", namespace, name))

        def is_deleting() -> bool:
            seen = self._store.load(self._prefix + key)
            return seen is None or seen.deleting

        await self._settled(is_deleting)
        return True

    async def delete(self, key: str) -> None:
        if await self.mark_deleting(key):
            await self._store.delete(self._prefix + key)
            await self._settled(lambda: self._store.load(self._prefix + key) is None)

    async def record(self, key: str, recorded: Recorded) -> None:
        answers = tuple(
            replace(answer, id=self._uids.get(answer.id, answer.id)) for answer in recorded.decision.actions
        )
        decision = replace(recorded.decision, actions=answers)
        await self._store.record(self._prefix + key, replace(recorded, decision=decision))

    async def add_action(self, key: str, action: Action) -> None:
        namespace, name = (self._prefix + key).split("/")
        if action.id in self._uids:
            return  # a name is taken once: the API server refuses the second
        asked = {
            "rollout": name,
            "action": action.verb.value,
            "version": action.version,
            "reason": action.reason,
        }
        made = await self._api.create(
            path_of(GROUP, VERSION, "rolloutactions", namespace),
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": "RolloutAction",
                "metadata": {"name": f"{name}-{action.id}", "namespace": namespace, "labels": self._labels},
                "spec": {**asked, "requestedBy": action.actor},
            },
        )
        self._uids[action.id] = made["metadata"]["uid"]
        self._asked_at[action.id] = action.at  # there, it is when the object was created
        await self._settled(lambda: self._is_known(key, action.id))

    def pending_actions(self, key: str) -> tuple[Action, ...]:
        names = {uid: name for name, uid in self._uids.items()}
        found = self._store.pending_actions(self._prefix + key)
        named = [replace(action, id=names[action.id]) for action in found]
        return tuple(replace(action, at=self._asked_at[action.id]) for action in named)

    def action_result(self, action_id: str) -> tuple[bool, str] | None:
        return self._store.action_result(self._uids.get(action_id, action_id))

    def records(self, key: str, limit: int) -> tuple[Any, ...]:
        return self._store.records(self._prefix + key, limit)

    def events(self, key: str, limit: int) -> tuple[Any, ...]:
        return self._store.events(self._prefix + key, limit)

    def members(self, key: str) -> tuple[str, ...]:
        return self._store.members(self._prefix + key)

    async def add_member(self, key: str, router: str) -> None:
        await self._store.add_member(self._prefix + key, router)

    async def forget_member(self, key: str, router: str) -> bool:
        return await self._store.forget_member(self._prefix + key, router)

    def _is_known(self, key: str, name: str) -> bool:
        return any(action.id == name for action in self.pending_actions(key))

    def _outside(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document without the API server's defaults: what the suite never wrote."""
        metadata = document["metadata"]
        outside = {"name": metadata["name"], "namespace": metadata["namespace"].removeprefix(self._prefix)}
        asked = next(one for one in self._asked if one["metadata"]["name"] == outside["name"])
        return {**document, "metadata": outside, "spec": _pruned(document["spec"], asked["spec"])}


def _pruned(found: Any, like: Any) -> Any:
    """What was found, without fields that the other does not have."""
    if isinstance(found, dict) and isinstance(like, dict):
        return {name: _pruned(value, like[name]) for name, value in found.items() if name in like}
    if isinstance(found, list) and isinstance(like, list):
        return [_pruned(*pair) for pair in zip(found, like, strict=True)]
    return found


def _holds(found: Any, wanted: Any) -> bool:
    """Is all that is wanted there? The API server adds its defaults."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(name in found and _holds(found[name], value) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(found) == len(wanted) and all(map(_holds, found, wanted))
    return bool(found == wanted)


async def until(holds: Callable[[], bool], within_s: float = 30.0) -> None:
    """Wait for it; TimeoutError if it does not come."""
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)
