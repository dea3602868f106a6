"""A store that forgets everything when the process ends; for tests of what only talks to a store."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controller.core.status import Action, ActionResult, DecisionRecord, Event, Status
from controller.ports import Recorded, Stored


class MemoryStore:
    def __init__(self) -> None:
        self.epoch = 0
        self._rollouts: dict[str, Stored] = {}
        self._actions: dict[str, dict[str, Action]] = {}
        self._results: dict[str, ActionResult] = {}
        self._records: dict[str, list[DecisionRecord]] = {}
        self._events: dict[str, list[Event]] = {}
        self._members: dict[str, list[str]] = {}
        self._past: dict[str, tuple[int, int]] = {}

    async def acquire_epoch(self, at_least: int) -> int:
        self.epoch = 1 + max(self.epoch, at_least)
        return self.epoch

    def keys(self) -> tuple[str, ...]:
        return tuple(sorted(self._rollouts))

    def load(self, key: str) -> Stored | None:
        return self._rollouts.get(key)

    async def put_document(self, key: str, document: Mapping[str, Any]) -> Stored:
        before = self._rollouts.get(key)
        if before is None:
            generation, plan_generation = self._past.get(key, (0, 0))
            self._rollouts[key] = Stored(
                key, document, generation + 1, Status(generation=plan_generation), b"", ()
            )
        elif before.document != document:
            self._rollouts[key] = replace(before, document=document, generation=before.generation + 1)
        return self._rollouts[key]

    async def mark_deleting(self, key: str) -> bool:
        if key not in self._rollouts:
            return False
        self._rollouts[key] = replace(self._rollouts[key], deleting=True)
        return True

    async def delete(self, key: str) -> None:
        if (gone := self._rollouts.get(key)) is not None:
            self._past[key] = (gone.generation, gone.status.generation)
        for table in (self._rollouts, self._actions, self._records, self._events, self._members):
            table.pop(key, None)

    async def record(self, key: str, recorded: Recorded) -> None:
        decision = recorded.decision
        stored = self._rollouts[key]
        self._rollouts[key] = replace(
            stored, status=decision.status, analysis=recorded.analysis, results=recorded.results
        )
        if recorded.document is not None:
            await self.put_document(key, recorded.document)
        self._records[key] = [*reversed(decision.records), *self._records.get(key, [])]
        self._events[key] = [*reversed(decision.events), *self._events.get(key, [])]
        for result in decision.actions:
            self._results[result.id] = result
            self._actions.get(key, {}).pop(result.id, None)

    async def add_action(self, key: str, action: Action) -> None:
        owners = [owner for owner, actions in self._actions.items() if action.id in actions and owner != key]
        if owners:
            raise ValueError(f"action {action.id} is of {owners[0]}: give this one an id of its own")
        if action.id not in self._results:
            self._actions.setdefault(key, {}).setdefault(action.id, action)

    def pending_actions(self, key: str) -> tuple[Action, ...]:
        return tuple(self._actions.get(key, {}).values())

    def action_result(self, action_id: str) -> tuple[bool, str] | None:
        result = self._results.get(action_id)
        return None if result is None else (result.is_accepted, result.message)

    def records(self, key: str, limit: int) -> tuple[DecisionRecord, ...]:
        return tuple(self._records.get(key, [])[:limit])

    def events(self, key: str, limit: int) -> tuple[Event, ...]:
        return tuple(self._events.get(key, [])[:limit])

    def members(self, key: str) -> tuple[str, ...]:
        return tuple(self._members.get(key, []))

    async def add_member(self, key: str, router: str) -> None:
        if router not in self._members.setdefault(key, []):
            self._members[key].append(router)

    async def forget_member(self, key: str, router: str) -> bool:
        if router not in self._members.get(key, []):
            return False
        self._members[key].remove(router)
        return True
