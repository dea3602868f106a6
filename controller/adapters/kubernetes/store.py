"""The store on Kubernetes: a rollout is a ModelRollout object, what is remembered of it the object's status.

One write for a decision, fenced by the `resourceVersion` that was read: what somebody else changed meanwhile makes the
reconciler decide anew, and the answer of our own write is in the copy before the next look. While a rollout
progresses only clocks and evidence move, every second; that is kept in memory and written every few seconds. A crash
loses no more than that, which is safe: clocks only hold back, and the evidence carries its own baselines, so
that what was counted since is counted when it is next looked at. At rest nothing is written.

Answers to actions, and a target that an `undo` changed, are part of the status that decided them, and carried to their
own objects afterwards, also by the next controller.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from controller.adapters.kubernetes import rebuild, status
from controller.adapters.kubernetes.actions import Actions
from controller.adapters.kubernetes.api import Api, path_of
from controller.adapters.kubernetes.errors import ApiError, Conflict, Fenced, Invalid
from controller.adapters.kubernetes.events import About, Events
from controller.adapters.kubernetes.reflector import Reflector
from controller.adapters.kubernetes.status import Kept, Unreadable
from controller.core.spec import Spec
from controller.core.status import Action, ActionResult, DecisionRecord, Event, Phase, Status
from controller.crd.published import DECISIONS_MAX
from controller.errors import (
    ControllerError,
    NotLeader,
    NotTakenHere,
    StoreConflict,
    StoreRefused,
    StoreUnavailable,
)
from controller.ports import Recorded, Stored
from headgate.log import Log

GROUP: Final = "headgate.dev"
VERSION: Final = "v1alpha1"
PLURAL: Final = "modelrollouts"
FINALIZER: Final = "headgate.dev/traffic"
SYNCED: Final = "TrafficSynced"

WRITE_EVERY_S: Final = 5.0
"""Clocks and evidence alone are written this often."""

QUIET_TIMES: Final = 12
"""So many times less often while nobody is on trial and people are told the same: then only what drains has clocks."""

SOON_S: Final = 2.0
LOOK_EVERY_S: Final = 0.5
TIMEOUT_S: Final = 5.0
RECORDS_MAX: Final = 50
EVENTS_MAX: Final = 50
MEMBER_TRIES: Final = 5
MEMBERS_AT_ONCE: Final = 4
"""So many first polls of routers are noted at once: a thousand that come together, as after an upgrade, would take all
threads to the API server, and the deadlines of decisions would pass in the queue behind them."""
PAST_MAX: Final = 10_000
ORPHAN_S: Final = 10.0
"""An action may be applied before its rollout; after this long its rollout does not come any more."""
MINE_MAX: Final = 16

_CLOCKS: Final = frozenset(
    {"step_s", "stage_s", "total_s", "waiting_s", "warming_s", "no_data_s", "elapsed_s"}
)
_MOVING: Final = frozenset({"clock_at", "message", "waiting_for", "unmet"})
"""What of a status may be lost in a crash: times that only hold back, and what is said about them. Not the epoch: its
first write is what shows a new leader whether its copy is the newest, before any plan of its own is out."""

Retargeted = Callable[[str, Mapping[str, Any], str], Awaitable[dict[str, Any]]]
"""The merge patch by which a version becomes the target, from the rollout's key, its spec and the version's name; what
is to be written for it elsewhere is."""


async def as_target(key: str, spec: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Where versions are named in the spec, so is the target."""
    return {"target": version}


Compile = Callable[[Stored], Spec | str]
"""What the rollout's document means, or the sentence that says why this release does not accept it."""

Shown = Callable[[Stored, float | None], dict[str, Any]]
"""The API's view of a rollout as it would be stored, and the next instant that matters."""


@dataclass(slots=True)
class _Known:
    """What is kept in memory of one rollout.

    `state` and `evidence` are the packed fields that `kept` and `analysis` were read from or written as; while the object
    has others, somebody else wrote and they are read anew; with a `fault`, also when the spec has another `generation`. `is_ahead`: there is more in memory than was written,
    `due_at` when it is to be written. `mine` are versions of the object that only our own side notes came after.
    """

    uid: str
    state: object
    evidence: object
    kept: Kept
    analysis: bytes
    fault: str = ""
    generation: int = 0
    is_ahead: bool = False
    due_at: float | None = None
    next_at: float | None = None
    mine: list[str] = field(default_factory=list)
    records: list[DecisionRecord] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    has_room: bool = True


class KubernetesStore:
    """The `Store` over the reflector's copy of ModelRollouts; `run` carries out what may wait a moment.

    `transitions` gives how often the lease changed hands, `is_leader` whether this controller may write. `shown` is
    asked for what people shall read, `retargeted` for what in the spec makes a version the target.
    """

    def __init__(
        self,
        api: Api,
        rollouts: Reflector,
        actions: Reflector,
        *,
        events: Events,
        compiled: Compile,
        shown: Shown,
        transitions: Callable[[], int],
        is_leader: Callable[[], bool],
        now: Callable[[], float],
        log: Log,
        write_every_s: float = WRITE_EVERY_S,
        retargeted: Retargeted = as_target,
    ) -> None:
        self._api = api
        self._retargeted = retargeted
        self._rollouts = rollouts
        self._actions = Actions(api, actions, demand_leader=self._demand_leader, now=now)
        self._events = events
        self._compiled = compiled
        self._shown = shown
        self._transitions = transitions
        self._is_leader = is_leader
        self._now = now
        self._log = log
        self._write_every_s = write_every_s
        self._known: dict[str, _Known] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._answers: dict[str, tuple[str, ActionResult]] = {}
        self._finished: dict[str, str] = {}
        self._failing: set[str] = set()
        self._orphans: dict[str, float] = {}
        self._past: dict[str, int] = {}
        self._epoch = 0
        self._news = asyncio.Event()
        self._members_turn = asyncio.Semaphore(MEMBERS_AT_ONCE)

    # What the reconciler reads.

    def keys(self) -> tuple[str, ...]:
        known = self._rollouts.keys()
        return tuple(sorted(key for key in known if self._find(key) is not None))

    def load(self, key: str) -> Stored | None:
        found = self._find(key)
        if found is None:
            if self._actions.waiting(key).actions:
                self._orphans.setdefault(key, self._now())
            self._forget(key)
            return None
        return self._stored(key, found, self._know(key, found))

    def pending_actions(self, key: str) -> tuple[Action, ...]:
        stored = self.load(key)
        if stored is None:
            return ()
        waiting = self._actions.waiting(key)
        for refusal in waiting.refused:
            self._owe(key, refusal)
        handled = set(stored.status.handled)
        for action in waiting.actions:
            if action.id in handled and action.id not in self._answers:
                self._owe(key, ActionResult(action.id, True, "it was handled: see the rollout's history"))
        return tuple(action for action in waiting.actions if action.id not in self._answers)

    def action_result(self, action_id: str) -> tuple[bool, str] | None:
        owed = self._answers.get(action_id)
        if owed is not None:
            return owed[1].is_accepted, owed[1].message
        return self._actions.result(action_id)

    def records(self, key: str, limit: int) -> tuple[DecisionRecord, ...]:
        """Newest first; those of an earlier life of the controller without what their checks said."""
        found = self._find(key)
        if found is None:
            return ()
        told = self._know(key, found).records
        written = (status.record_of(one) for one in _list(_status(found).get("decisions")))
        since = status.instant(told[-1].at) if told else None
        earlier = [
            one for one in written if one is not None and (since is None or status.instant(one.at) < since)
        ]
        return (*told, *earlier)[:limit]

    def events(self, key: str, limit: int) -> tuple[Event, ...]:
        """Those of this life of the controller, newest first; the API server has the others."""
        found = self._find(key)
        return () if found is None else tuple(self._know(key, found).events[:limit])

    def members(self, key: str) -> tuple[str, ...]:
        found = self._find(key)
        return () if found is None else tuple(sorted(_routers(found)))

    # What the reconciler writes.

    async def acquire_epoch(self, at_least: int) -> int:
        """1 + the largest of the lease's transitions, `at_least`, and what any status or this life has seen."""
        self._demand_leader()
        stored = [found.status.epoch for key in self.keys() if (found := self.load(key)) is not None]
        self._epoch = 1 + max(self._transitions(), at_least, self._epoch, *stored, 0)
        return self._epoch

    async def record(self, key: str, recorded: Recorded) -> None:
        async with self._lock(key):
            found = self._find(key)
            if found is None:
                raise KeyError(key)
            known = self._know(key, found)
            self._demand_same(key, found, known, recorded.version)
            if self._may_wait(known, recorded):
                self._keep(known, recorded)
                return
            with self._translated(key):
                try:
                    if FINALIZER not in _finalizers(found) and not _is_deleting(found):
                        found = await self._add_finalizer(found)
                    await self._decide(key, found, known, recorded)
                except Invalid:  # as a whole: what a person wrote may not stand beside what we write
                    self._events.tell(_about(found), recorded.decision.events, is_lasting=True)
                    raise

    async def delete(self, key: str) -> None:
        """Let the object go: nothing of ours is in its way any more."""
        async with self._lock(key):
            found = self._find(key)
            if found is None:
                return
            finalizers = [name for name in _finalizers(found) if name != FINALIZER]
            known = self._known.get(key)
            if known is not None:
                self._remember_numbers(key, known)
            with self._translated(key):
                await self._actions.forget(key)
                await self._patch(found, {"metadata": {"finalizers": finalizers}}, "")
            self._known.pop(key, None)

    async def put_document(self, key: str, document: Mapping[str, Any]) -> Stored:
        raise NotTakenHere(f"{key}: on Kubernetes a rollout is written with `kubectl apply`")

    async def mark_deleting(self, key: str) -> bool:
        raise NotTakenHere(f"{key}: on Kubernetes a rollout is deleted with `kubectl delete modelrollout`")

    async def add_action(self, key: str, action: Action) -> None:
        raise NotTakenHere(f"{key}: on Kubernetes an action is a RolloutAction that its author creates")

    async def add_member(self, key: str, router: str) -> None:
        await self._change_members(key, lambda members: members if router in members else [*members, router])

    async def forget_member(self, key: str, router: str) -> bool:
        was_member = router in self.members(key)
        await self._change_members(key, lambda members: [name for name in members if name != router])
        return was_member

    # What may wait a moment.

    def look_again(self, key: str, next_at: float | None) -> None:
        """After every look: what people read may be out of date though nothing was decided; it is written soon if so."""
        found = self._find(key)
        known = self._known.get(key)
        if found is None or known is None or known.fault:
            return
        if known.kept.status.phase is not Phase.ROLLING_BACK:
            self._finished.update(dict.fromkeys(self._actions.unfinished(key), key))
        if known.due_at is not None and not _is_awaited(found):
            return
        known.next_at = next_at
        outdated = self._outdated(key, found, known)
        if "weights" in outdated and not _drains_soon(known.kept.status):
            known.due_at = self._now()  # people wait for what routers acknowledge
        elif outdated and known.due_at is None:
            known.due_at = self._now() + self._write_every_s

    async def run(self) -> None:
        """Write what is due, answer actions, carry out changed targets; for ever."""
        while True:
            try:
                await self._catch_up()
            except Exception as error:  # noqa: BLE001  the outermost frame: one rollout's bug stops no other
                trace = traceback.format_exc(limit=-4)
                self._log.error("writing in the background failed", why=repr(error), traceback=trace)
            self._news.clear()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def flush(self) -> None:
        """Write all that is only in memory, now; what cannot be written is lost, as in a crash."""
        for known in self._known.values():
            known.due_at = self._now() if known.is_ahead else known.due_at
        await self._catch_up()

    async def _catch_up(self) -> None:
        if not self._is_leader():
            return
        now = self._now()
        self._answer_orphans(now)
        for uid, (key, answer) in list(self._answers.items()):
            await self._quietly(key, self._answer(key, uid, answer))
        for uid, key in list(self._finished.items()):
            await self._quietly(key, self._finish(key, uid))
        for key in [
            key for key, known in self._known.items() if known.due_at is not None and known.due_at <= now
        ]:
            await self._quietly(key, self._write_due(key))

    def _answer_orphans(self, now: float) -> None:
        """Refuse what was asked of a rollout that does not exist, once it surely is not about to."""
        for key, since in list(self._orphans.items()):
            is_there = self._find(key) is not None
            if not is_there and now - since >= ORPHAN_S:
                for action in self._actions.waiting(key).actions:
                    self._owe(key, ActionResult(action.id, False, f"there is no rollout {key}"))
            if is_there or now - since >= ORPHAN_S:
                del self._orphans[key]

    async def _quietly(self, key: str, writing: Any) -> None:
        """A write that can wait may fail: it is tried again, or its reason has gone. Said once, not at every try."""
        try:
            await writing
        except StoreConflict:
            return
        except ControllerError as error:
            if key not in self._failing:
                self._log.warning("not written yet, tried again", rollout=key, why=str(error))
            self._failing.add(key)
        else:
            self._failing.discard(key)

    async def _write_due(self, key: str) -> None:
        async with self._lock(key):
            found, known = self._find(key), self._known.get(key)
            if known is None:
                return
            if found is None or self._know(key, found) is not known or known.fault:
                known.due_at = None
                return
            known.due_at = self._now() + self._write_every_s
            with self._translated(key):
                if known.kept.target:
                    await self._retarget(key, found, known)
                elif known.is_ahead or self._outdated(key, found, known):
                    await self._write(key, found, known, known.kept, known.analysis)
                else:
                    known.due_at = None

    async def _answer(self, key: str, uid: str, answer: ActionResult) -> None:
        known = self._known.get(key)
        with self._translated(key):
            is_rolling_back = known is not None and known.kept.status.phase is Phase.ROLLING_BACK
            await self._actions.answer(answer, is_rolling_back=is_rolling_back)
            await self._actions.prune(key)
        self._answers.pop(uid, None)

    async def _finish(self, key: str, uid: str) -> None:
        with self._translated(key):
            await self._actions.finish(uid)
        self._finished.pop(uid, None)

    # How it is done.

    def _find(self, key: str) -> Mapping[str, Any] | None:
        """The object; None also for one that is being deleted and waits for us no more."""
        found = self._rollouts.get(key)
        return None if found is None or _has_left(found) else found

    def _lock(self, key: str) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    def _know(self, key: str, found: Mapping[str, Any]) -> _Known:
        """What is known of the rollout, read anew when its packed fields are not those we read or wrote last."""
        fields, uid = _status(found), found["metadata"]["uid"]
        state, evidence = fields.get("state"), fields.get("evidence")
        known = self._known.get(key)
        is_mended = known is not None and known.fault and known.generation != _generation(found)
        is_same = known is not None and (known.uid, known.state, known.evidence) == (uid, state, evidence)
        if known is not None and is_same and not is_mended:
            return known
        fresh = self._read(
            key, found, state, evidence, known if known is not None and known.uid == uid else None
        )
        if known is not None and known.uid != uid:
            self._remember_numbers(key, known)
        self._known[key] = fresh
        for answer in fresh.kept.answers:
            if self._actions.result(answer.id) is None:
                self._owe(key, answer)
        if fresh.kept.target:
            fresh.due_at = self._now()
        return fresh

    def _read(
        self, key: str, found: Mapping[str, Any], state: object, evidence: object, before: _Known | None
    ) -> _Known:
        uid = found["metadata"]["uid"]
        told = ([], []) if before is None else (before.records, before.events)
        try:
            kept, fault = status.decode(state), ""
            is_lost = not state and "stableVersion" in _status(found)
        except Unreadable as error:
            kept, fault = Kept(Status()), f"status.state cannot be read: {error}"
            is_lost = True
        if is_lost:
            kept, fault = self._recovered(key, found, before, fault or "status.state is gone")
        if not state and not is_lost:
            kept = Kept(Status(generation=self._past.get(key, 0)))
        try:
            analysis = status.unpack(evidence)
        except Unreadable as error:
            analysis = b"unreadable"  # which the analysis finds damaged, drops and says so
            self._log.warning("stored evidence cannot be read", rollout=key, why=str(error))
        return _Known(
            uid,
            state,
            evidence,
            kept,
            analysis,
            fault,
            _generation(found),
            records=told[0],
            events=told[1],
        )

    def _recovered(
        self, key: str, found: Mapping[str, Any], before: _Known | None, why: str
    ) -> tuple[Kept, str]:
        """What to go on from when the packed state is damaged or gone: our own memory of it, or stable alone."""
        if before is not None and not before.fault:
            self._log.warning(
                "the stored state was changed by somebody else, ours is kept", rollout=key, why=why
            )
            return before.kept, ""
        rebuilt = rebuild.from_fields(
            self._compiled(_stored_as(key, found)), _status(found), why, self._past.get(key, 0), self._now()
        )
        if isinstance(rebuilt, Status):
            self._log.error("the stored state is lost, all goes back to stable", rollout=key, why=why)
            return Kept(rebuilt), ""
        self._log.error("the stored state is lost", rollout=key, why=rebuilt)
        return Kept(status.place_of(_status(found), rebuilt)), rebuilt

    def _stored(self, key: str, found: Mapping[str, Any], known: _Known) -> Stored:
        return Stored(
            key=key,
            document=_document(found),
            generation=_generation(found),
            status=known.kept.status,
            analysis=known.analysis,
            results=known.kept.results,
            deleting=_is_deleting(found),
            version=_version(found),
            fault=known.fault,
        )

    def _demand_leader(self) -> None:
        if not self._is_leader():
            raise NotLeader("this controller leads no more: nothing is written")

    def _demand_same(self, key: str, found: Mapping[str, Any], known: _Known, version: str) -> None:
        """StoreConflict unless the object is the one that was decided on, or only our own notes came after it."""
        self._demand_leader()
        if version and version != _version(found) and version not in known.mine:
            raise StoreConflict(f"{key} was changed meanwhile")

    def _may_wait(self, known: _Known, recorded: Recorded) -> bool:
        """Do only clocks, texts and evidence differ from what is there? Then a crash loses nothing that was decided."""
        decision = recorded.decision
        if decision.records or decision.events or decision.actions or recorded.document is not None:
            return False
        if known.fault or not known.state:
            return False
        return _settled(known.kept.status) == _settled(decision.status)

    def _keep(self, known: _Known, recorded: Recorded) -> None:
        after = recorded.decision.status
        is_quiet = after.candidate is None and after.message == known.kept.status.message
        known.kept = msgspec.structs.replace(
            known.kept, status=recorded.decision.status, results=recorded.results
        )
        known.analysis = recorded.analysis
        known.next_at = recorded.decision.requeue_at
        known.is_ahead = True
        due_at = self._now() + self._write_every_s * (QUIET_TIMES if is_quiet else 1)
        known.due_at = due_at if known.due_at is None else min(known.due_at, due_at)

    async def _decide(self, key: str, found: Mapping[str, Any], known: _Known, recorded: Recorded) -> None:
        """Write the decision, then let its answers and events go their way."""
        decision = recorded.decision
        owed = [answer for of, answer in self._answers.values() if of == key]
        kept = Kept(
            decision.status,
            recorded.results,
            (*owed, *decision.actions),
            _target(recorded.document) or known.kept.target,
            _generation(found) if recorded.document is not None else known.kept.generation,
        )
        known.next_at = decision.requeue_at
        records = [*reversed(decision.records), *known.records][:RECORDS_MAX]
        found = await self._write(key, found, known, kept, recorded.analysis, records)
        for answer in decision.actions:
            self._owe(key, answer)
        if kept.target:
            await self._retarget(key, found, known)
        known.events = [*reversed(decision.events), *known.events][:EVENTS_MAX]
        self._events.tell(_about(found), decision.events)

    async def _write(
        self,
        key: str,
        found: Mapping[str, Any],
        known: _Known,
        kept: Kept,
        analysis: bytes,
        records: list[DecisionRecord] | None = None,
    ) -> Mapping[str, Any]:
        """Write the status whole, fenced; what is known is then what is written."""
        known.records, before = records if records is not None else known.records, known.records
        told = self._told(key, found, known, kept)
        told = told if records is None else self._patient(told, found)
        if known.fault:
            body = {name: value for name, value in told.items() if name in ("phase", "message", "conditions")}
            body["observedGeneration"] = kept.status.observed_generation
        else:
            fitted, has_room = status.fitted(told, kept, analysis)
            self._say_room(key, known, has_room)
            body = status.patch_of(fitted)
        try:
            answer = await self._patch(found, {"status": body}, "status")
        except BaseException:
            known.records = before
            raise
        written = _status(answer)
        known.state, known.evidence = written.get("state"), written.get("evidence")
        known.kept, known.analysis = kept, analysis
        known.is_ahead, known.due_at = False, None
        known.mine = [*known.mine, _version(found)][-MINE_MAX:] if records is None else []
        return answer

    def _told(self, key: str, found: Mapping[str, Any], known: _Known, kept: Kept) -> dict[str, Any]:
        """What people shall read of the rollout, were this kept of it."""
        would = replace(
            self._stored(key, found, known), status=kept.status, results=kept.results, analysis=b""
        )
        decisions = [status.decision(one) for one in self.records(key, DECISIONS_MAX)]
        told = status.told(self._shown(would, known.next_at), _status(found), decisions, self._now())
        return {**told, **_strategy(found), "routers": _routers(found)}

    def _outdated(self, key: str, found: Mapping[str, Any], known: _Known) -> frozenset[str]:
        """In which fields people read something else than what they should, texts and counts apart."""
        wanted, there = status.gist(self._told(key, found, known, known.kept)), status.gist(_status(found))
        return frozenset(name for name in wanted if wanted[name] != there[name])

    def _patient(self, told: dict[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """The same with routers in sync if they were: a plan that is about to be sent is not late yet.

        Whether they followed is looked at again (`look_again`); what share they acknowledged is said as it is.
        """
        before = {one["type"]: one for one in _list(_status(found).get("conditions"))}
        synced = before.get(SYNCED)
        if synced is None or synced["status"] != "True":
            return told
        conditions = [synced if one["type"] == SYNCED else one for one in told["conditions"]]
        return {**told, "conditions": conditions}

    def _say_room(self, key: str, known: _Known, has_room: bool) -> None:
        if known.has_room and not has_room:
            self._log.warning(
                "the evidence is too large to be stored", rollout=key, do="a restart collects it anew"
            )
        known.has_room = has_room

    async def _retarget(self, key: str, found: Mapping[str, Any], known: _Known) -> None:
        """Make `spec.target` what a decision asked for, unless somebody edited the spec since."""
        target, generation = known.kept.target, known.kept.generation
        known.kept = msgspec.structs.replace(known.kept, target="", generation=0)
        spec = found.get("spec")
        if _generation(found) == generation and isinstance(spec, Mapping) and spec.get("target") != target:
            try:
                patch = await self._retargeted(key, spec, target)
                if patch:
                    await self._patch(found, {"spec": patch}, "")
            except BaseException:
                known.kept = msgspec.structs.replace(known.kept, target=target, generation=generation)
                known.due_at = self._now()
                raise

    async def _add_finalizer(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._patch(found, {"metadata": {"finalizers": [*_finalizers(found), FINALIZER]}}, "")

    async def _change_members(self, key: str, change: Callable[[list[str]], list[str]]) -> None:
        """Write who counts now. Nobody decides on it alone, so another writer is no reason to ask anybody again."""
        for tries in range(MEMBER_TRIES):
            async with self._members_turn, self._lock(key):
                found = self._find(key)
                if found is None or (members := change(_routers(found))) == _routers(found):
                    return
                try:
                    with self._translated(key):
                        answer = await self._patch(found, {"status": {"routers": members}}, "status")
                except StoreConflict:
                    if tries == MEMBER_TRIES - 1:
                        raise StoreUnavailable(f"{key}: too many others write to it; ask again") from None
                    continue
                known = self._know(key, answer)
                known.mine = [*known.mine, _version(found)][-MINE_MAX:]
                return

    async def _patch(
        self, found: Mapping[str, Any], body: dict[str, Any], subresource: str
    ) -> Mapping[str, Any]:
        """Change this very object as it was read, and have the answer in the copy."""
        self._demand_leader()
        known_as = {"uid": found["metadata"]["uid"], "resourceVersion": _version(found)}
        patch = {**body, "metadata": {**body.get("metadata", {}), **known_as}}
        try:
            answer = await self._api.merge_patch(_path(found, subresource), patch, timeout_s=TIMEOUT_S)
        except Conflict:
            # Read what is there now: deciding anew on the same old copy would meet the same refusal.
            self._rollouts.put(await self._api.get(_path(found), timeout_s=TIMEOUT_S))
            raise
        self._rollouts.put(answer)
        return answer

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """The API server's refusals as ours."""
        try:
            yield
        except Conflict as error:
            raise StoreConflict(f"{key} was changed meanwhile: {error}") from error
        except Fenced as error:
            raise NotLeader(str(error)) from error
        except Invalid as error:
            raise StoreRefused(f"{key}: the API server takes no word about it: {str(error)[:500]}") from error
        except ApiError as error:
            raise StoreUnavailable(f"{key}: {error}; it is tried again") from error

    def _owe(self, key: str, answer: ActionResult) -> None:
        self._answers.setdefault(answer.id, (key, answer))
        self._news.set()

    def _forget(self, key: str) -> None:
        known = self._known.pop(key, None)
        if known is not None:
            self._remember_numbers(key, known)
        self._locks.pop(key, None)

    def _remember_numbers(self, key: str, known: _Known) -> None:
        """Routers that still run the last plan of this rollout would refuse a lower number of the same epoch."""
        self._past[key] = known.kept.status.generation
        while len(self._past) > PAST_MAX:
            self._past.pop(next(iter(self._past)))


def _settled(value: object) -> object:
    """The status without what may be lost."""
    built = msgspec.to_builtins(value)
    return _without_clocks({name: inner for name, inner in built.items() if name not in _MOVING})


def _without_clocks(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_clocks(inner) for name, inner in value.items() if name not in _CLOCKS}
    if isinstance(value, (list, tuple)):
        return [_without_clocks(inner) for inner in value]
    return value


def _status(found: Mapping[str, Any]) -> Mapping[str, Any]:
    fields = found.get("status")
    return fields if isinstance(fields, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _drains_soon(state: Status) -> bool:
    """Is what was taken off gone in a moment? Then that is written, and says this too."""
    left = [leaving for leaving in state.retiring if leaving.warm_until is None]
    return bool(left) and state.candidate is None and all(one.drain_s <= SOON_S for one in left)


def _is_awaited(found: Mapping[str, Any]) -> bool:
    """Does it still say that routers are to acknowledge a share?"""
    weights = _status(found).get("weights") or {}
    return weights.get("acknowledged") != weights.get("desired")


def _routers(found: Mapping[str, Any]) -> list[str]:
    return [name for name in _list(_status(found).get("routers")) if isinstance(name, str)]


def _finalizers(found: Mapping[str, Any]) -> list[str]:
    return _list(found["metadata"].get("finalizers"))


def _is_deleting(found: Mapping[str, Any]) -> bool:
    return found["metadata"].get("deletionTimestamp") is not None


def _has_left(found: Mapping[str, Any]) -> bool:
    """Is it as good as gone: being deleted, and not held back by us?"""
    return _is_deleting(found) and FINALIZER not in _finalizers(found)


def _generation(found: Mapping[str, Any]) -> int:
    generation = found["metadata"].get("generation")
    return generation if isinstance(generation, int) else 0


def _version(found: Mapping[str, Any]) -> str:
    return str(found["metadata"]["resourceVersion"])


def _target(document: Mapping[str, Any] | None) -> str:
    """The target a decision changes the spec to; "" if it changes nothing."""
    return "" if document is None else str(document["spec"]["target"])


def _document(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the user wrote: without status, and without what servers note in metadata."""
    metadata = found["metadata"]
    written = {name: metadata[name] for name in ("name", "namespace", "annotations") if name in metadata}
    return {
        "apiVersion": found.get("apiVersion"),
        "kind": found.get("kind"),
        "metadata": written,
        "spec": found.get("spec"),
    }


def _strategy(found: Mapping[str, Any]) -> dict[str, Any]:
    """The strategy by the name under which it was written; nothing where none was."""
    spec = found.get("spec")
    written = spec.get("strategy") if isinstance(spec, Mapping) else None
    return {"strategy": next(iter(written))} if isinstance(written, Mapping) and written else {}


def _stored_as(key: str, found: Mapping[str, Any]) -> Stored:
    """The rollout as if nothing were remembered of it."""
    return Stored(key, _document(found), _generation(found), Status(), b"", ())


def _about(found: Mapping[str, Any]) -> About:
    metadata = found["metadata"]
    return About(metadata["namespace"], metadata["name"], metadata["uid"])


def _path(found: Mapping[str, Any], subresource: str = "") -> str:
    metadata = found["metadata"]
    return path_of(GROUP, VERSION, PLURAL, metadata["namespace"], metadata["name"], subresource)
