"""RolloutActions: what people asked, read from their objects, and the answers written to them.

An action without a final phase waits for a decision. It is known by its object's UID, so that one deleted and created
again under its name is another. Who asked is `spec.requestedBy`, which admission holds true.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.adapters.kubernetes.api import Api, path_of
from controller.adapters.kubernetes.errors import Conflict, NotFound
from controller.adapters.kubernetes.mirror import version_of
from controller.adapters.kubernetes.reflector import Reflector
from controller.adapters.kubernetes.status import instant, seconds
from controller.core.status import Action, ActionResult, Verb

GROUP: Final = "headgate.dev"
VERSION: Final = "v1alpha1"
PLURAL: Final = "rolloutactions"
TIMEOUT_S: Final = 5.0

BY_ROLLOUT: Final = "rollout"
BY_UID: Final = "uid"

ACCEPTED: Final = "Accepted"
DONE: Final = "Done"
REFUSED: Final = "Refused"
FINAL: Final = frozenset({ACCEPTED, DONE, REFUSED})

KEPT_MAX: Final = 50
"""Answered actions of one rollout that are kept; older ones are deleted."""

MESSAGE_MAX: Final = 1024


def _of_rollout(action: Mapping[str, Any]) -> list[str]:
    rollout = _spec(action).get("rollout")
    return [f"{action['metadata']['namespace']}/{rollout}"] if isinstance(rollout, str) else []


INDEX: Final[Mapping[str, Callable[[Mapping[str, Any]], Sequence[str]]]] = {
    BY_ROLLOUT: _of_rollout,
    BY_UID: lambda action: [action["metadata"]["uid"]],
}
"""What the reflector looks actions up by: the rollout they are for, and their UID."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The actions of a rollout that wait for a decision, and the answers to those that can only be refused."""

    actions: tuple[Action, ...]
    refused: tuple[ActionResult, ...]


class Actions:
    """The RolloutActions in the reflector's copy. `is_leader` is asked before every write."""

    def __init__(
        self, api: Api, copy: Reflector, *, demand_leader: Callable[[], None], now: Callable[[], float]
    ) -> None:
        self._api = api
        self._copy = copy
        self._demand_leader = demand_leader
        self._now = now

    def waiting(self, key: str) -> Waiting:
        """What people asked of this rollout and nobody answered, oldest first."""
        found = [read_action(action) for action in self._of(key) if phase_of(action) not in FINAL]
        return Waiting(
            tuple(one for one in found if isinstance(one, Action)),
            tuple(one for one in found if isinstance(one, ActionResult)),
        )

    def result(self, uid: str) -> tuple[bool, str] | None:
        """(accepted?, message) of an answered action; None while it waits, or if there is none."""
        for action in self._copy.indexed(BY_UID, uid):
            if (phase := phase_of(action)) in FINAL:
                return phase != REFUSED, str(_status(action).get("message", ""))
        return None

    def unfinished(self, key: str) -> Sequence[str]:
        """UIDs of the accepted actions whose effect was still to come."""
        return [action["metadata"]["uid"] for action in self._of(key) if phase_of(action) == ACCEPTED]

    async def answer(self, answer: ActionResult, *, is_rolling_back: bool) -> None:
        """Write the answer to the action, if there is one without. A rollback is Done when the traffic has left."""
        for action in self._copy.indexed(BY_UID, answer.id):
            if phase_of(action) not in FINAL:
                is_under_way = is_rolling_back and _spec(action).get("action") == Verb.ROLLBACK
                accepted = ACCEPTED if is_under_way else DONE
                await self._say(action, accepted if answer.is_accepted else REFUSED, answer.message)

    async def finish(self, uid: str) -> None:
        """What the accepted action asked for has happened."""
        for action in self._copy.indexed(BY_UID, uid):
            if phase_of(action) == ACCEPTED:
                await self._say(action, DONE, str(_status(action).get("message", "")))

    async def prune(self, key: str) -> None:
        """Delete the oldest answered actions beyond KEPT_MAX."""
        answered = [action for action in self._of(key) if phase_of(action) in FINAL]
        await self._delete(answered[: max(len(answered) - KEPT_MAX, 0)])

    async def forget(self, key: str) -> None:
        """The rollout goes, and what was asked of it with it: another of its name shall not be asked the same."""
        await self._delete(self._of(key))

    async def _delete(self, actions: Iterable[Mapping[str, Any]]) -> None:
        for action in actions:
            self._demand_leader()
            try:
                await self._api.delete(_path(action), uid=action["metadata"]["uid"], timeout_s=TIMEOUT_S)
            except NotFound:
                continue
            except Conflict:
                if await self._is_there(action):
                    raise

    async def _is_there(self, action: Mapping[str, Any]) -> bool:
        """Is it this very object that the API server has, and not another of its name?"""
        try:
            found = await self._api.get(_path(action), timeout_s=TIMEOUT_S)
        except NotFound:
            return False
        return bool(found["metadata"]["uid"] == action["metadata"]["uid"])

    async def _say(self, action: Mapping[str, Any], phase: str, message: str) -> None:
        said = {"phase": phase, "message": message[:MESSAGE_MAX], "at": instant(self._now())}
        await self._patch(action, {"status": said})

    async def _patch(self, action: Mapping[str, Any], body: dict[str, Any]) -> None:
        """Patch the status of this very object, by its UID, unless it is gone."""
        self._demand_leader()
        patch = {**body, "metadata": {"uid": action["metadata"]["uid"]}}
        try:
            answer = await self._api.merge_patch(_path(action, "status"), patch, timeout_s=TIMEOUT_S)
        except (NotFound, Conflict):
            return  # it is gone, or another has its name
        self._copy.put(answer)

    def _of(self, key: str) -> Sequence[Mapping[str, Any]]:
        return sorted(self._copy.indexed(BY_ROLLOUT, key), key=_age)


def phase_of(action: Mapping[str, Any]) -> object:
    """The phase in the action's status; None while it has none."""
    return _status(action).get("phase")


def read_action(action: Mapping[str, Any]) -> Action | ActionResult:
    """The action as the core knows it; the refusal of one that this release does not understand."""
    metadata, spec = action["metadata"], _spec(action)
    verbs = [verb.value for verb in Verb]
    if spec.get("action") not in verbs:
        sentence = (
            f"spec.action: {str(spec.get('action'))[:64]!r} is not an action: write one of {', '.join(verbs)}"
        )
        return ActionResult(metadata["uid"], False, sentence)
    if not isinstance(spec.get("version"), str):
        return ActionResult(metadata["uid"], False, "spec.version: name the version that is meant")
    stage = spec.get("stage")
    return Action(
        id=metadata["uid"],
        verb=Verb(spec["action"]),
        version=spec["version"],
        actor=str(spec.get("requestedBy") or "unknown"),
        reason=str(spec.get("reason") or ""),
        at=seconds(metadata["creationTimestamp"]),
        stage=stage if isinstance(stage, int) and not isinstance(stage, bool) else 0,
        to=str(spec.get("to") or ""),
        roles=tuple(str(role) for role in spec.get("roles") or ()),
    )


def _spec(action: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = action.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def _status(action: Mapping[str, Any]) -> Mapping[str, Any]:
    status = action.get("status")
    return status if isinstance(status, Mapping) else {}


def _age(action: Mapping[str, Any]) -> tuple[str, int, str]:
    """What actions are ordered by: times are whole seconds, and the versions of those that wait tell more."""
    metadata = action["metadata"]
    return metadata["creationTimestamp"], version_of(action) or 0, metadata["name"]


def _path(action: Mapping[str, Any], subresource: str = "") -> str:
    metadata = action["metadata"]
    return path_of(GROUP, VERSION, PLURAL, metadata["namespace"], metadata["name"], subresource)
