"""One reconcile of one rollout, in six verbs: needs, observe, judge, decide, apply, record.

Only `judge` and `decide` are clever, and they are pure. What is decided is recorded before it is applied, so an
increase is never in force without its record; a decrease whose record cannot be written (a full disk) is applied all
the same, and carried in memory until it can.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from controller.core.analysis.inputs import Arms
from controller.core.analysis.state import FRESH, decode_state, encode_state
from controller.core.checks import Check, CheckResult
from controller.core.invariants import violations
from controller.core.machine import checks_needed, decide
from controller.core.spec import Spec
from controller.core.status import (
    Action,
    ActionResult,
    Decision,
    Event,
    Observed,
    Phase,
    Reason,
    Status,
    VersionObserved,
)
from controller.core.warming import subject
from controller.errors import NotLeader, NotSeenYet, StoreConflict, StoreRefused, StoreUnavailable
from controller.ports import (
    Compiled,
    Direct,
    Effects,
    Entrance,
    Recorded,
    Routers,
    Store,
    Stored,
    Warmth,
    Workloads,
)
from controller.reconcile.gather import Gatherer, Wanted
from controller.reconcile.trial import Judged, Measured, judge_trial, on_trial
from controller.telemetry import Metrics
from headgate.log import Log

STORE_BACKOFF_S: Final = 2.0
"""A store that cannot be written is tried again this soon: meanwhile only decreases are in force."""

SEEN_S: Final = 1.0
"""What was not seen yet is looked at again so soon, should nobody tell before."""

LEAVING_S: Final = 1.0
"""What keeps a rollout that shall go from going is looked at so often."""

DIRECT: Final = Direct()


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing to do until something happens."""


@dataclass(frozen=True, slots=True)
class Again:
    """Reconcile again at this time (Unix seconds), or when something happens before. `is_early`: nothing was decided,
    since what that needs was not seen yet."""

    at: float
    is_early: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """The operating world failed: again after a back-off of at most `within_s`."""

    why: str
    within_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no such rollout any more."""


Outcome = Done | Again | Retry | Gone


@dataclass(slots=True)
class Ahead:
    """What was decided and applied, but could not be recorded yet: the next record that succeeds carries it."""

    decision: Decision
    analysis: bytes


class Reconciler:
    """Brings one rollout after another to what its spec, the evidence and its people ask for.

    `compile_document` gives what a stored document means, or the sentence that says why it means nothing.
    `on_recorded(key, decision)` is told of every decision once it is in force. `leads()`: does this controller lead
    now? Only then is anything in force before its record.
    """

    def __init__(
        self,
        *,
        store: Store,
        workloads: Workloads,
        warmth: Warmth,
        routers: Routers,
        gatherer: Gatherer,
        effects: Effects,
        compile_document: Callable[[Stored], Compiled | str],
        epoch: int,
        metrics: Metrics,
        now: Callable[[], float],
        on_recorded: Callable[[str, Decision | None], None],
        log: Log,
        entrance: Entrance = DIRECT,
        leads: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._entrance = entrance
        self._workloads = workloads
        self._warmth = warmth
        self._routers = routers
        self._gatherer = gatherer
        self._effects = effects
        self._compile = compile_document
        self._epoch = epoch
        self._metrics = metrics
        self._now = now
        self._on_recorded = on_recorded
        self._leads = leads
        self._log = log
        self._ahead: dict[str, Ahead] = {}
        self._leaving: set[str] = set()

    async def reconcile(self, key: str) -> Outcome:
        """Do all that one rollout needs now."""
        try:
            stored = self._store.load(key)
            if stored is None:
                return self._gone(key)
            compiled = stored.fault or self._compile(stored)
            if isinstance(compiled, str):
                return await self._stall(stored, compiled)
            return await self._reconcile(stored, compiled)
        except NotSeenYet:
            return Again(self._now() + SEEN_S, is_early=True)
        except StoreConflict:
            return Again(self._now())
        except NotLeader as error:
            return Retry(str(error), within_s=STORE_BACKOFF_S)
        except StoreRefused as error:
            return Retry(str(error))
        except StoreUnavailable as error:
            self._metrics.store_failed()
            return Retry(str(error), within_s=STORE_BACKOFF_S)

    async def _reconcile(self, stored: Stored, compiled: Compiled) -> Outcome:
        key, now = stored.key, self._now()
        if not stored.deleting:
            self._leaving.discard(key)
        elif key in self._leaving:
            return await self._let_go(key, compiled)
        ahead = self._ahead.get(key)
        before = ahead.decision.status if ahead else stored.status
        spec = _leaving(compiled.spec, before) if stored.deleting else compiled.spec
        if self._routers.epoch_seen() > self._epoch:
            self._epoch = await self._store.acquire_epoch(self._routers.epoch_seen())
        checks = checks_needed(spec, before)
        self._gatherer.want(key, _wanted(checks, before))
        observed = Observed(
            epoch=self._epoch,
            versions=self._with_warmth(spec, before, await self._workloads.observe(key, compiled.versions)),
            routers=self._routers.observed(key),
            actions=self._store.pending_actions(key),
            effects=self._effects.outcomes(key),
            entrance=self._entrance.observed(key),
        )
        analysis, judged = self._judge(stored, spec, before, checks, ahead, now)
        results = judged.everything
        decision = self._decide(stored, spec, before, observed, judged, now)
        broken = violations(spec, before, decision, observed)
        if broken:
            self._metrics.invariant_broken()
            self._log.error(
                "a decision broke an invariant and was not applied", rollout=key, why="; ".join(broken)
            )
            return Retry(f"invariant violated: {broken[0]}")
        if _is_news(before, decision, results, stored):
            decision = _carrying(ahead, decision)
            await self._record(stored, before, decision, analysis, results)
            self._tell(key, before, decision, observed.actions)
        if decision.plan is not None:
            self._routers.publish(decision.plan)
        self._effects.run(key, decision.effects)
        is_leaving = stored.deleting and _has_left(decision)
        is_led = await self._entrance.bring(
            key, decision.status, decision.plan, observed.routers, leaving=is_leaving
        )
        await self._workloads.apply(key, compiled.versions, decision.running)
        self._on_recorded(key, decision)
        if decision.target is not None:
            return Again(now)
        if is_leaving and not is_led:
            return Again(now + LEAVING_S)
        if is_leaving:
            self._leaving.add(key)
            return await self._let_go(key, compiled)
        return Done() if decision.requeue_at is None else Again(decision.requeue_at)

    def _decide(
        self, stored: Stored, spec: Spec, before: Status, observed: Observed, judged: Judged, now: float
    ) -> Decision:
        """What shall be. A rollout at rest stays under the epoch of its last record until there is something to record.

        So a new leader writes nothing about those that rest, and their routers keep the plan they have. Nothing of
        our own is out before a record with our epoch: a plan with the old one is theirs already, or is refused.
        """
        if _is_at_rest(before, observed):
            as_before = replace(observed, epoch=before.epoch)
            resting = decide(spec, before, as_before, judged.results, now, judged.rivals)
            if not _is_news(before, resting, judged.everything, stored):
                return resting
        return decide(spec, before, observed, judged.results, now, judged.rivals)

    async def _let_go(self, key: str, compiled: Compiled) -> Outcome:
        """Let nothing run for the rollout, and the rollout go; tried again as long as the store refuses.

        Between two tries nobody is looked after any more, so nothing is observed or published: a plan would have no
        endpoints, and routers keep the last one.
        """
        await self._workloads.apply(key, compiled.versions, {})
        await self._store.delete(key)
        return self._gone(key)

    def _with_warmth(
        self, spec: Spec, before: Status, versions: Mapping[str, VersionObserved]
    ) -> Mapping[str, VersionObserved]:
        """What is seen of the versions, one on trial also measured while its warmth matters."""
        warmup, cold = spec.warmup, subject(spec, before, versions)
        version = spec.version(cold.name) if cold is not None else None
        seen = versions.get(version.identity) if version is not None else None
        if warmup is None or version is None or seen is None:
            self._warmth.stop(spec.key)
            return versions
        return {**versions, version.identity: self._warmth.measure(spec.key, warmup, version, seen)}

    def _judge(
        self,
        stored: Stored,
        spec: Spec,
        before: Status,
        checks: tuple[Check, ...],
        ahead: Ahead | None,
        now: float,
    ) -> tuple[bytes, Judged]:
        """The verdicts on who is on trial in the present step, and the evidence to keep; empty without a candidate."""
        kept = ahead.analysis if ahead else stored.analysis
        if before.candidate is None or not checks:
            return (kept if before.candidate is not None else b""), Judged(FRESH)
        measured = Measured(
            tuple(self._routers.reports(stored.key)),
            {
                version.name: self._counts(stored.key, checks, before, version.name)
                for version in on_trial(before)
            },
            self._routers.usual(stored.key),
        )
        judged = judge_trial(spec, before, checks, decode_state(kept), measured, now)
        return encode_state(judged.state), judged

    def _counts(self, key: str, checks: tuple[Check, ...], before: Status, version: str) -> dict[str, Arms]:
        """What the providers last said of this version and of stable, by the check that asked."""
        if before.stable is None:
            return {}
        stable = before.stable.name
        return {
            check.name: Arms(
                candidate=self._gatherer.latest(key, (check.query, version)),
                stable=self._gatherer.latest(key, (check.query, stable)),
            )
            for check in checks
            if check.query is not None
        }

    async def _record(
        self,
        stored: Stored,
        before: Status,
        decision: Decision,
        analysis: bytes,
        results: tuple[CheckResult, ...],
    ) -> None:
        """Write the decision down; one that only takes share away is in force even if that fails.

        One that a person asked for is in force before: their wish is kept by the store, so whoever leads after a
        crash decides the same before any plan of theirs is out.
        """
        decreases = decision.plan is not None and _only_decreases(before, decision.status)
        if decreases and any(answer.is_accepted for answer in decision.actions) and self._leads():
            self._go_ahead(stored.key, decision, analysis)
        key = stored.key
        document = _retargeted(stored.document, decision.target) if decision.target is not None else None
        try:
            await self._store.record(key, Recorded(decision, analysis, results, document, stored.version))
        except StoreUnavailable:
            if decreases:
                self._go_ahead(key, decision, analysis)
            raise
        self._ahead.pop(key, None)

    def _go_ahead(self, key: str, decision: Decision, analysis: bytes) -> None:
        """Put the decision in force, and go on from it until a record carries it."""
        self._ahead[key] = Ahead(decision, analysis)
        if decision.plan is not None:
            self._routers.publish(decision.plan)

    def _tell(self, key: str, before: Status, decision: Decision, actions: tuple[Action, ...]) -> None:
        """Count and log what was decided: one line for each change."""
        for record in decision.records:
            self._metrics.decided(record.reason)
            self._log.info(
                "decision", rollout=key, reason=record.reason, version=record.version, why=record.sentence
            )
        verbs = {action.id: action.verb for action in actions}
        for answer in decision.actions:
            self._metrics.acted(verbs[answer.id], answer.is_accepted)
            self._log.info("action", rollout=key, accepted=answer.is_accepted, answer=answer.message)
        if decision.status.phase is not before.phase:
            self._log.info("phase", rollout=key, phase=decision.status.phase, why=decision.status.message)

    async def _stall(self, stored: Stored, why: str) -> Outcome:
        """The document means nothing to this release: say so, and leave everything else as it is.

        One that is being deleted may go if all traffic is on stable: there is nothing to bring back.
        """
        is_leaving = stored.deleting and not (
            stored.fault or stored.status.candidate or stored.status.retiring
        )
        if is_leaving and await self._entrance.bring(stored.key, stored.status, None, (), leaving=True):
            await self._workloads.apply(stored.key, {}, {})
            await self._store.delete(stored.key)
            return self._gone(stored.key)
        awaited = self._entrance.observed(stored.key) if is_leaving else None
        why = f"{why}; {awaited.message}" if awaited is not None else why
        status = replace(
            stored.status, phase=Phase.STALLED, message=why, observed_generation=stored.generation
        )
        answers = tuple(
            ActionResult(action.id, False, f"{stored.key} cannot act: {why}")
            for action in self._store.pending_actions(stored.key)
        )
        if status != stored.status or answers:
            is_news = (status.phase, status.message) != (stored.status.phase, stored.status.message)
            events = (Event(self._now(), Reason.STALLED, why),) if is_news else ()
            decision = Decision(status=status, plan=None, running={}, actions=answers, events=events)
            unread = Recorded(decision, stored.analysis, stored.results, version=stored.version)
            await self._store.record(stored.key, unread)
            self._log.error("the stored spec is not accepted", rollout=stored.key, why=why)
        return Again(self._now() + LEAVING_S) if is_leaving else Done()

    def _gone(self, key: str) -> Outcome:
        self._gatherer.want(key, frozenset())
        self._effects.run(key, ())
        self._warmth.stop(key)
        self._ahead.pop(key, None)
        self._leaving.discard(key)
        self._on_recorded(key, None)
        return Gone()


def _is_at_rest(before: Status, observed: Observed) -> bool:
    """Was the last record another leader's, is nobody on trial, and does no router run anything newer than its plan?"""
    recorded = (before.epoch, before.generation)
    return (
        0 < before.epoch < observed.epoch
        and before.candidate is None
        and all((router.applied.epoch, router.applied.generation) <= recorded for router in observed.routers)
    )


def _is_news(before: Status, decision: Decision, results: tuple[CheckResult, ...], stored: Stored) -> bool:
    """Is there anything to write? At rest nothing but the time of the last look changes, and that is not worth it."""
    told = decision.records or decision.events or decision.actions
    same = replace(decision.status, clock_at=before.clock_at) == stored.status
    return bool(told) or not same or results != stored.results


def _wanted(checks: tuple[Check, ...], status: Status) -> frozenset[Wanted]:
    """The queries the checks need: each for who is on trial and for stable."""
    if status.candidate is None or status.stable is None:
        return frozenset()
    names = (*(version.name for version in on_trial(status)), status.stable.name)
    return frozenset((check.query, name) for check in checks if check.query is not None for name in names)


def _only_decreases(before: Status, after: Status) -> bool:
    """Does this take what it gets from a version that was on trial, and give nothing to any other but stable?"""
    was, now = before.candidate, after.candidate
    if was is None or not was.issued_generation or after.stable != before.stable:
        return False
    if now is None:
        return True
    as_before = (was.identity, was.attempt, was.issued_generation)
    if (now.identity, now.attempt, now.issued_generation) != as_before:
        return False
    left = set(before.rivals) - set(after.rivals)
    return any(rival.was_issued for rival in left) and set(after.rivals) <= set(before.rivals)


def _carrying(ahead: Ahead | None, decision: Decision) -> Decision:
    """The decision with what an earlier one said and could not write: its records, events and answers."""
    if ahead is None:
        return decision
    return replace(
        decision,
        records=(*ahead.decision.records, *decision.records),
        events=(*ahead.decision.events, *decision.events),
        actions=(*ahead.decision.actions, *decision.actions),
    )


def _retargeted(document: Mapping[str, Any], target: str) -> dict[str, Any]:
    """The document with another target, as `undo` asks."""
    return {**document, "spec": {**document["spec"], "target": target}}


def _leaving(spec: Spec, status: Status) -> Spec:
    """A rollout that is being deleted has its stable version as target: all traffic goes there first."""
    return replace(spec, target=status.stable.name) if status.stable is not None else spec


def _has_left(decision: Decision) -> bool:
    """Is nothing but stable involved any more?"""
    status = decision.status
    draining = [r for r in status.retiring if r.warm_until is None]
    return status.candidate is None and not draining
