"""A small world around `decide`: workloads, routers, evidence, people, and a controller that may die between two writes.

Everything random is asked of a `Chooser`, so that Hypothesis and a seeded simulator drive the same rules. After
every step the invariants of docs/reliability.md are checked on what the routers *run*, not only on what was decided.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from controller.core import capacity, slots, steps
from controller.core.checks import AtMost, Check, CheckResult, Lack, Metric, Verdict
from controller.core.effects import Effect, EffectOutcome, Hook, HookAt, Notification, OnFail
from controller.core.hooks import NEWS, kebab
from controller.core.invariants import violations
from controller.core.machine import checks_needed, decide
from controller.core.schedule import ALWAYS, Closed, Freeze, Recurring, Schedule, state
from controller.core.spec import (
    FULL,
    Advance,
    ApprovalStage,
    CanaryStage,
    Capacity,
    DecisionPolicy,
    FlipStage,
    FullStage,
    Match,
    MatchStage,
    OnExpire,
    OnInconclusive,
    PauseStage,
    RollbackWindow,
    ShadowStage,
    Spec,
    Stage,
    Supersede,
    VersionSpec,
    Warmup,
)
from controller.core.status import (
    Action,
    Candidate,
    Cause,
    Decision,
    EntranceObserved,
    Failed,
    Observed,
    Phase,
    Reason,
    Rival,
    RouterObserved,
    Status,
    Track,
    Trip,
    Verb,
    VersionObserved,
    Way,
    Workload,
)
from controller.core.warming import subject
from headgate.wire.plan import NOTHING_APPLIED, Applied, Condition, Endpoint, RoutePlan, faults

T = TypeVar("T")


class Chooser(Protocol):
    """Where every random choice of the world comes from."""

    def pick(self, choices: Sequence[T]) -> T: ...


BETA = Match((Condition("header:x-beta", exact="1"),))
HALF_OF_TESTERS = Match((Condition("cookie:group", prefix="t"), Condition("header:x-any")), 5000)

STRATEGIES: tuple[tuple[Stage, ...], ...] = (
    (FullStage(),),
    (CanaryStage((500, 2500, 5000), 3.0, ("errors",)), FullStage(2.0, ("slo",))),
    (
        ShadowStage(1_000_000, 2.0, 10, ("agree",)),
        CanaryStage((100, 5000), 2.0, ("errors", "slo"), Advance.ON_PASS),
        PauseStage(None),
        FullStage(2.0, ("slo",)),
    ),
    (
        ApprovalStage(("owner",), 2, 60.0, OnExpire.ABORT),
        CanaryStage((100, 1000, 5000), 2.0, ("errors", "slo"), risk_budget=0.001),
        FullStage(),
    ),
    (PauseStage(None), CanaryStage((2000,), 1.0), ApprovalStage(), FullStage(1.0)),
    (FlipStage(1_000_000, ("agree",), 3.0, ("slo",)),),
    (
        ShadowStage(500_000, 1.0, 0, ()),
        PauseStage(2.0),
        CanaryStage((1000,), 1.0, ("errors",), max_stay_s=30.0),
    ),
    (
        MatchStage(BETA, 2.0, ("slo",)),
        CanaryStage((500, 3000), 2.0, ("errors",), to=("v2", "v3", "v4")),
        FullStage(2.0, ("slo",)),
    ),
    (
        ShadowStage(500_000, 2.0, 0, ("agree",), to=("v1", "v2", "v3", "v4")),
        MatchStage(HALF_OF_TESTERS, 2.0, ("errors",), Advance.UNLESS_FAIL, to=("v3", "v2")),
        ApprovalStage(("owner",)),
        CanaryStage((1000, 3000), 2.0, ("errors",), to=("v3", "v4", "v1")),
        ShadowStage(1_000_000, 1.0, 0, ()),
        FlipStage(1_000_000, ("agree",), 2.0, ("slo",)),
    ),
)

CHECKS = (
    Check("errors", Metric.ERRORS, AtMost(0.01)),
    Check("slo", Metric.ERRORS, AtMost(0.02)),
    Check("agree", Metric.DISAGREEMENT, AtMost(0.01)),
    Check("watched", Metric.LATENCY, AtMost(0.5), required=False),
)

SCHEDULES = (
    ALWAYS,
    Schedule((Recurring("*/2 * * * *", 60.0),)),
    Schedule(freezes=(Freeze(Recurring("*/3 * * * *", 60.0), "every third minute"),)),
)

WARMUPS = (None, Warmup(stable_for_s=2.0, max_wait_s=15.0), Warmup(max_wait_s=120.0))

HOOKS = (
    (),
    tuple(Hook(at.value, at, "https://hooks.example") for at in HookAt),
    (
        Hook("strict", HookAt.BEFORE_INCREASE, "https://hooks.example/strict", on_fail=OnFail.ROLLBACK),
        Hook("loose", HookAt.BEFORE_INCREASE, "https://hooks.example/loose"),
        Hook("last", HookAt.BEFORE_PROMOTION, "https://hooks.example/last", on_fail=OnFail.ROLLBACK),
    ),
)
TOLD = (Notification("chat", tuple(kebab(reason) for reason in NEWS)),)

NAMES = ("v1", "v2", "v3", "v4")

CAPACITIES = (
    Capacity(4, 1, True, 1, drain_s=3.0, keep_stable_warm_s=20.0, progress_deadline_s=60.0),
    Capacity(4, 2, False, 1, drain_s=3.0, keep_stable_warm_s=20.0, progress_deadline_s=60.0),
    Capacity(9, 1, True, 2, drain_s=3.0, keep_stable_warm_s=20.0, progress_deadline_s=60.0),
    Capacity(1, 1, True, 1, drain_s=3.0, keep_stable_warm_s=20.0, progress_deadline_s=60.0),
)


@dataclass
class Router:
    """A router that applies plans when it likes; `applied` is what traffic sees."""

    id: str
    plan: RoutePlan | None = None
    applied: Applied = NOTHING_APPLIED
    seen_at: float = 0.0
    trips: tuple[Trip, ...] = ()
    pinned: str | None = None
    is_gone: bool = False


@dataclass
class World:
    """The world's state; every public method is one thing that may happen in it."""

    choose: Chooser
    spec: Spec
    now: float = 1_000_000.0
    stored: Status = field(default_factory=Status)
    published: RoutePlan | None = None
    running: Mapping[str, Workload] = field(default_factory=dict)
    replicas: Counter[str] = field(default_factory=Counter)
    """How many replicas of each version are ready, by identity."""
    is_counted: bool = True
    """Are the replicas the controller's to start and count?"""
    failing: set[str] = field(default_factory=set)
    """The identities whose checks fail while they are rivals."""
    looping: set[str] = field(default_factory=set)
    troubled: set[str] = field(default_factory=set)
    """The identities that a person has to mend before they can be ready; not known of those in `unread`."""
    unread: set[str] = field(default_factory=set)
    overridden: dict[str, str | None] = field(default_factory=dict)
    """What somebody changed by hand, by identity; None: that is not known now."""
    warm: set[str] = field(default_factory=set)
    routers: dict[str, Router] = field(default_factory=lambda: {"r0": Router("r0")})
    evidence: dict[str, tuple[Verdict, Lack, bool]] = field(default_factory=dict)
    pairs: int = 0
    epoch: int = 1
    actions: list[Action] = field(default_factory=list)
    answered: dict[str, bool] = field(default_factory=dict)
    serial: int = 0
    effects: dict[str, Effect] = field(default_factory=dict)
    """Everything that was ever asked, by its id."""
    outcomes: dict[str, EffectOutcome] = field(default_factory=dict)
    wanted: tuple[Effect, ...] = ()
    entrance: EntranceObserved | None = None
    culprits: set[tuple[str, int]] = field(default_factory=set)
    """The tries that something really went wrong with, by identity and attempt."""
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def ready(self) -> set[str]:
        """The versions with a ready endpoint."""
        return {identity for identity, count in self.replicas.items() if count}

    # --- what may happen ------------------------------------------------------------------------------------------

    def time_passes(self) -> None:
        """A tick, a few, or a jump of the clock, also backwards."""
        self.now += self.choose.pick((0.2,) + (1.0,) * 12 + (3.0, 3.0, 60.0, 7200.0, -30.0))
        for router in self.routers.values():
            if not router.is_gone:
                router.seen_at = self.now

    def workload_changes(self) -> None:
        """Replicas become ready one by one or all, die, become warm or cold, start or stop crash-looping."""
        identity = self.choose.pick([v.identity for v in self.spec.versions])
        match self.choose.pick(
            ("ready",) * 12
            + ("warm",) * 4
            + ("unready", "dies", "loops", "trouble", "hand", "unknown", "recovers", "recovers")
        ):
            case "ready" if identity in self.running:
                wanted = self.running[identity].replicas
                more = self.choose.pick((1, wanted))
                self.replicas[identity] = min(self.replicas[identity] + more, wanted)
            case "warm" if identity in self.ready:
                self.warm.add(identity)
            case "unready":
                self.replicas[identity] = 0
                self.warm.discard(identity)
            case "dies" if self.replicas[identity]:
                self.replicas[identity] -= 1
            case "loops" if identity in self.running:
                self.looping.add(identity)
                self.replicas[identity] = 0
            case "trouble":
                self.troubled.add(identity)
                self.replicas[identity] = 0
            case "hand":
                self.overridden[identity] = self.choose.pick(("replicas by ann", "image by bob"))
            case "unknown":
                self.overridden[identity] = None
                self.unread.add(identity)
            case _:
                self.looping.discard(identity)
                self.troubled.discard(identity)
                self.unread.discard(identity)
                self.overridden.pop(identity, None)

    def router_applies(self) -> None:
        """One router takes the published plan, whole, if it is not older than its own."""
        router = self.routers[self.choose.pick(sorted(self.routers))]
        plan = self.published
        if plan is None or router.is_gone or (plan.epoch, plan.generation) < router.applied[:2]:
            return
        router.plan, router.applied, router.seen_at = plan, plan.triple, self.now

    def routers_come_and_go(self) -> None:
        """A router joins, falls silent, comes back, trips its guard, or is pinned."""
        router = self.routers[self.choose.pick(sorted(self.routers))]
        match self.choose.pick(("join", "silent", "trip", "pin") + ("back", "unpin") * 8):
            case "join" if len(self.routers) < 3:
                self.routers[f"r{len(self.routers)}"] = Router(f"r{len(self.routers)}", seen_at=self.now)
            case "silent":
                router.is_gone = True
            case "trip" if self.stored.candidate is not None:
                tripped = self.choose.pick(self._on_trial())
                router.trips = (*router.trips, Trip(tripped.identity, tripped.attempt, "20 of 20 failed"))[
                    -4:
                ]
                self.seen["fault: guard trips"] += 1
            case "pin":
                router.pinned = self.choose.pick(NAMES)
            case "unpin":
                router.pinned = None
            case _:
                router.is_gone = False

    def evidence_changes(self) -> None:
        """A check gets another verdict, loses its data, or finds the candidate worse than stable."""
        name = self.choose.pick([check.name for check in CHECKS])
        self.evidence[name] = self.choose.pick(
            (
                *((Verdict.PASS, Lack.NONE, False),) * 20,
                (Verdict.FAIL, Lack.NONE, False),
                (Verdict.INCONCLUSIVE, Lack.UNDECIDED, False),
                (Verdict.INCONCLUSIVE, Lack.UNDECIDED, True),
                (Verdict.INCONCLUSIVE, Lack.NO_DATA, False),
            )
        )
        self.pairs = self.choose.pick((0, 5, 20))
        rivals = [rival.identity for rival in self.stored.rivals]
        fails = self.choose.pick((True,) + (False,) * 4)
        self.failing = {self.choose.pick(rivals)} if rivals and fails else set()

    def person_acts(self) -> None:
        """Somebody asks for something, for the right version or another."""
        self.serial += 1
        likely = self.choose.pick(self._on_trial()).name if self.stored.candidate else self.spec.target
        action = Action(
            id=f"a{self.serial}",
            verb=self.choose.pick((*Verb, Verb.RETRY, Verb.RESUME, Verb.RESUME)),
            version=self.choose.pick((likely, likely, likely, *NAMES)),
            actor=self.choose.pick(("ann", "bob")),
            reason="because",
            at=self.now,
            stage=self.choose.pick((0, 1, 1, 2, 2, 3, 4)),
            to=self.choose.pick(("", "", *NAMES)),
            roles=self.choose.pick(((), ("owner",), ("owner",))),
        )
        self.actions.append(action)

    def effect_ends(self) -> None:
        """One of the effects that are wanted succeeds, or fails for good."""
        if not self.wanted:
            return
        effect = self.choose.pick(self.wanted)
        is_success = self.choose.pick((True, True, True, False))
        self.outcomes[effect.id] = EffectOutcome(effect.id, is_success, "" if is_success else "500")
        self.seen[f"effect: {effect.kind} {'succeeds' if is_success else 'fails'}"] += 1

    def spec_is_edited(self) -> None:
        """Another target, other stages, another content of a version that is not stable, or paused."""
        spec = self.spec
        match self.choose.pick(
            ("target",) * 4
            + ("content",) * 4
            + ("stages", "stages", "policy", "capacity", "pause", "unpause", "unpause", "unpause")
        ):
            case "target":
                spec = replace(spec, target=self.choose.pick(NAMES))
            case "stages":
                spec = replace(spec, stages=self.choose.pick(STRATEGIES))
            case "capacity":
                spec = replace(spec, capacity=self.choose.pick(CAPACITIES))
                self.is_counted = self.choose.pick((True, True, True, False))
            case "content":
                spec = self._redefined(spec, self.choose.pick(NAMES))
            case "policy":
                onward = self.choose.pick(tuple(OnInconclusive))
                window = RollbackWindow(self.choose.pick((0, 1, 3)), self.choose.pick((10.0, 1e6)))
                spec = replace(spec, rollback_window=window, supersede=self.choose.pick(tuple(Supersede)))
                spec = replace(spec, schedule=self.choose.pick((ALWAYS, ALWAYS, ALWAYS, *SCHEDULES)))
                told = self.choose.pick(((), TOLD))
                spec = replace(spec, hooks=self.choose.pick(((), (), *HOOKS)), notifications=told)
                spec = replace(spec, warmup=self.choose.pick(WARMUPS))
                policy = DecisionPolicy(
                    on_inconclusive=onward, on_no_data=onward, no_data_timeout_s=20.0, max_duration_s=300.0
                )
                spec = replace(spec, policy=policy)
            case other:
                spec = replace(spec, paused=other == "pause")
        self.spec = replace(spec, generation=spec.generation + 1)

    def entrance_changes(self) -> None:
        """Users are led to the routers, past them, or elsewhere by somebody else; or nobody asks for that any more."""
        way, is_stuck = self.choose.pick(tuple(Way)), self.choose.pick((False, True))
        seen = EntranceObserved(self.choose.pick(("Service a", "Service b")), way, True, "as it is", is_stuck)
        self.entrance = self.choose.pick((None, seen, seen, seen))

    def somebody_deploys(self) -> None:
        """At rest, another version becomes the target, one that failed as a new build."""
        if self.stored.phase not in (Phase.HEALTHY, Phase.ROLLED_BACK):
            return
        name = self.choose.pick(NAMES)
        if any(failed.name == name for failed in self.stored.failed):
            self.spec = self._redefined(self.spec, name)
        self.spec = replace(self.spec, target=name, generation=self.spec.generation + 1)

    def controller_reconciles(self) -> None:
        """One reconcile, which may die before its record is written, or before what was recorded is applied."""
        before = self.stored
        decision = self._decide(before)
        broken = violations(self.spec, before, decision, self._observed())
        assert not broken, broken
        crash = self.choose.pick(
            (None,) * 30 + ("before the record", "before publishing", "before workloads")
        )
        if crash:
            self.seen[f"fault: dies {crash}"] += 1
            self.epoch += 1
        if crash == "before the record":
            return
        self._record(before, decision)
        if crash == "before publishing":
            return
        self.published = decision.plan
        self._run(decision)
        if crash == "before workloads":
            return
        self._bring_to(decision)

    # --- a kind world, for liveness -------------------------------------------------------------------------------

    def turn_kind(self) -> None:
        """From now on nothing goes wrong: routers live, everything passes, nobody interferes."""
        self.evidence = {check.name: (Verdict.PASS, Lack.NONE, False) for check in CHECKS}
        self.pairs, self.actions, self.looping, self.failing = 1000, [], set(), set()
        self.spec = replace(self.spec, paused=False, policy=DecisionPolicy(), schedule=ALWAYS)
        if self.entrance is not None:
            self.entrance = replace(self.entrance, way=Way.LED, message="", is_stuck=False)
        self._mend()
        for router in self.routers.values():
            router.is_gone, router.pinned, router.trips = False, None, ()

    def _mend(self) -> None:
        """People take back what they did, and do what only they can do."""
        self.troubled, self.unread, self.overridden = set(), set(), {}

    def kind_second(self) -> None:
        """One second in which everybody does their part; a pause that waits for a person is resumed."""
        self.now += 1.0
        candidate = self.stored.candidate
        if candidate is not None and self.stored.phase is Phase.PAUSED:
            self.serial += 1
            self.actions.append(Action(f"a{self.serial}", Verb.RESUME, candidate.name, "ann", "", self.now))
        if candidate is not None and "approval" in self.stored.message:
            for actor in ("ann", "bob"):
                self.serial += 1
                self.actions.append(
                    Action(
                        f"a{self.serial}", Verb.APPROVE, candidate.name, actor, "", self.now, roles=("owner",)
                    )
                )
        decision = self._decide(self.stored)
        self._record(self.stored, decision)
        self.published = decision.plan
        self._bring_to(decision)
        self._run(decision)
        for effect in self.wanted:
            self.outcomes[effect.id] = EffectOutcome(effect.id, True)
        self._all_ready()
        for router in self.routers.values():
            router.seen_at = self.now
            if self.published is not None:
                router.plan, router.applied = self.published, self.published.triple
        self.check()

    def a_kind_while(self) -> None:
        """Some seconds in which nothing goes wrong but for what is wrong already, one rival perhaps; for the long ways."""
        self.evidence = {check.name: (Verdict.PASS, Lack.NONE, False) for check in CHECKS}
        self.pairs = 1000
        self.entrance = None
        self._mend()
        for router in self.routers.values():
            router.is_gone, router.pinned = False, None
        late = self.choose.pick((None, *(rival.identity for rival in self.stored.rivals)))
        for _ in range(self.choose.pick((3, 8, 15))):
            self.kind_second()
            if late is not None and late in self.replicas:
                self.replicas[late] = 1

    # --- what must hold -------------------------------------------------------------------------------------------

    def check(self) -> None:
        """The invariants on what routers run."""
        candidate = self.stored.candidate
        for router in self.routers.values():
            if router.plan is None:
                continue
            assert not faults(router.plan), faults(router.plan)
            weights = router.plan.weights()
            assert sum(weights.values()) == FULL
            self._check_capacity(router, weights)
        if candidate is not None:
            allowed = steps.at(steps.steps_of(self.spec, candidate.track), candidate.step).weight
            if steps.digest(steps.steps_of(self.spec, candidate.track)) == candidate.steps_digest:
                assert slots.weight_of(self.stored.slots, candidate.name) <= allowed

    def _check_capacity(self, router: Router, weights: dict[str, int]) -> None:
        """I7: what an acknowledged plan sends traffic to is kept running, unless a person or a crash took it away."""
        if router.plan is None or router.is_gone or self.published is None:
            return
        if router.applied != self.published.triple:
            return
        for version in router.plan.versions:
            if weights[version.name]:
                assert version.identity in self._must_run(), (version.name, self.stored.phase)

    def _must_run(self) -> set[str]:
        status = self.stored
        refs = [status.stable, *self._on_trial(), *status.retiring]
        return {ref.identity for ref in refs if ref is not None}

    def _on_trial(self) -> tuple[Candidate | Rival, ...]:
        """The candidate and who takes part beside it."""
        status = self.stored
        return () if status.candidate is None else (status.candidate, *status.rivals)

    # --- how ------------------------------------------------------------------------------------------------------

    def _decide(self, status: Status) -> Decision:
        results = tuple(self._result(check) for check in checks_needed(self.spec, status))
        for result in results:
            self.seen[f"evidence: {result.verdict} {result.lack}".strip()] += 1
        judged = {rival.identity: self._rival_results(rival) for rival in status.rivals}
        return decide(self.spec, status, self._observed(), results, self.now, judged)

    def _rival_results(self, rival: Rival) -> tuple[CheckResult, ...]:
        """What the first check says of a rival: nothing, or Fail."""
        verdict = Verdict.FAIL if rival.identity in self.failing else Verdict.INCONCLUSIVE
        return (replace(self._result(CHECKS[0]), verdict=verdict, text=f"{verdict} of a rival"),)

    def _result(self, check: Check) -> CheckResult:
        verdict, lack, holding = self.evidence.get(check.name, (Verdict.INCONCLUSIVE, Lack.NO_DATA, False))
        return CheckResult(
            check.name,
            verdict,
            lack,
            f"{verdict}",
            is_fresh=lack is not Lack.NO_DATA,
            is_holding=holding,
            required=check.required,
            dry_run=check.dry_run,
            samples=self.pairs,
            high=self.choose.pick((None, -0.01, 0.0, 0.001, 0.3)),
        )

    def _observed(self) -> Observed:
        versions = self._seen()
        measured = subject(self.spec, self.stored, versions)
        if measured is not None and measured.identity in self.warm & self.ready & set(versions):
            versions[measured.identity] = replace(versions[measured.identity], is_warm=True, warmth="fast")
        routers = tuple(
            RouterObserved(r.id, r.applied, r.seen_at, "", r.trips, r.pinned) for r in self.routers.values()
        )
        outcomes = tuple(self.outcomes.values())
        return Observed(self.epoch, versions, routers, tuple(self.actions), outcomes, self.entrance)

    def _trouble(self, identity: str) -> str | None:
        if identity in self.unread:
            return None
        return "its image is missing" if identity in self.troubled else ""

    def _seen(self) -> dict[str, VersionObserved]:
        """What is seen of the versions; only the one that is measured is known to be warm."""
        return {
            version.identity: VersionObserved(
                endpoints=(Endpoint("127.0.0.1", 8000 + index),) if version.identity in self.ready else (),
                is_running=version.identity in self.running,
                is_crash_looping=version.identity in self.looping,
                message="as the world has it",
                trouble=self._trouble(version.identity),
                override=self.overridden.get(version.identity, ""),
                replicas=self.replicas[version.identity] if self.is_counted else None,
            )
            for index, version in enumerate(self.spec.versions)
        }

    def _record(self, before: Status, decision: Decision) -> None:
        after = decision.status
        self._check_latched(before, after)
        self._check_causes(before, decision)
        self._check_schedule(decision)
        self._check_hooks(before, decision)
        self._check_warmth(before, decision)
        self._check_raised_beside_stable(before, decision)
        self._check_rivals(before, decision)
        self._check_matched(decision)
        self._check_restarts(before, decision)
        self.stored = after
        for result in decision.actions:
            assert result.id not in self.answered, "an action was handled twice"
            self.answered[result.id] = result.is_accepted
            self.seen[f"action: {'accepted' if result.is_accepted else 'refused'}"] += 1
        self.actions = [action for action in self.actions if action.id not in self.answered]
        if decision.target is not None:
            self.spec = replace(self.spec, target=decision.target, generation=self.spec.generation + 1)
        self.seen[f"phase: {after.phase}"] += 1
        for record in decision.records:
            self.seen[f"record: {record.reason}"] += 1
        for event in decision.events:
            self.seen[f"event: {event.reason}"] += 1
        self.seen["capacity: waited for"] += any("replicas that" in missing for missing in after.unmet)
        if after.candidate is not None:
            step = steps.at(steps.steps_of(self.spec, after.candidate.track), after.candidate.step)
            self.seen[f"step: {step.kind} {step.gate}"] += 1
            self.seen[f"track: {after.candidate.track}"] += 1
        for failed in after.failed:
            if failed not in before.failed and failed.is_latched:
                self.seen[f"failed: {failed.cause}"] += 1
        if after.phase is Phase.ROLLED_BACK:
            assert after.candidate is None

    def _bring_to(self, decision: Decision) -> None:
        """Workloads shrink at once and grow when they like; asked for is what the routers' traffic needs (I7)."""
        self._check_replicas(decision)
        for identity, workload in decision.running.items():
            before = self.running.get(identity)
            change = workload.replicas - before.replicas if before else 0
            if change:
                self.seen[f"capacity: {'grows' if change > 0 else 'shrinks'}"] += 1
        self.running = decision.running
        wanted = {identity: workload.replicas for identity, workload in self.running.items()}
        self.replicas = Counter({i: min(n, wanted.get(i, 0)) for i, n in self.replicas.items()})

    def _all_ready(self) -> None:
        """Every version has all the replicas that are asked for."""
        self.replicas = Counter({i: workload.replicas for i, workload in self.running.items()})

    def _check_replicas(self, decision: Decision) -> None:
        """I7, on what routers run, older plans too: whoever gets requests or copies has the replicas for them."""
        if not self.stored.is_stable_proven:
            return
        for router in self.routers.values():
            if router.plan is None or not self._is_ours(router):
                continue
            for version, load in _loads(router.plan).items():
                workload = decision.running.get(version)
                assert workload is not None, (router.id, version, load)
                least = capacity.needed(self.spec, load)
                assert workload.replicas >= least, (router.id, version, load, workload, self.stored)

    def _is_ours(self, router: Router) -> bool:
        """Does the router run what this controller's line of leaders gave it, one plan after the other?"""
        return True

    def _check_raised_beside_stable(self, before: Status, decision: Decision) -> None:
        """I4: nothing rises without a stable to go back to, but on the way back, or everything by a person's word."""
        stable = before.stable
        seen = self._observed().versions.get(stable.identity) if stable is not None else None
        if stable != decision.status.stable or (seen is not None and seen.endpoints):
            return
        for record in decision.records:
            if record.reason is Reason.WEIGHT_RAISED:
                is_forward = record.weight_after == FULL and bool(record.actor)
                assert is_forward or self._is_way_back(decision), record
                self.seen["stable gone: rolls forward"] += is_forward

    def _check_rivals(self, before: Status, decision: Decision) -> None:
        """A rival has at most the candidate's share when it is raised; its failure is its own; a failed one is gone."""
        after, candidate = decision.status, decision.status.candidate
        failed = {f.identity for f in after.failed if f.is_latched}
        assert not failed & {rival.identity for rival in after.rivals}
        shares = {record.version: record.weight_after for record in decision.records}
        for record in decision.records:
            raised = record.reason is Reason.WEIGHT_RAISED
            if raised and record.version in {rival.name for rival in after.rivals}:
                assert candidate is not None
                assert shares[record.version] <= slots.weight_of(after.slots, candidate.name), record
                self.seen["rival: raised"] += 1
        known = {f.identity for f in before.failed if f.is_latched}
        for rival in before.rivals:
            if rival.identity not in failed - known:
                continue
            cause = next(f.cause for f in after.failed if f.identity == rival.identity)
            self.seen[f"rival: {cause}"] += 1
            self._check_untouched(before, decision)
        self.seen["rival: tries again"] += any(r.attempt > 1 and r.was_issued for r in after.rivals)
        self.seen["rival: two of them"] += len([r for r in after.rivals if r.was_issued]) > 1

    def _check_untouched(self, before: Status, decision: Decision) -> None:
        """The candidate goes on although a rival failed, unless its own failure, a person or the spec ended it, too."""
        was, now = before.candidate, decision.status.candidate
        assert was is not None
        if now is not None and now.identity == was.identity:
            self.seen["rival: fails alone"] += 1
            return
        ended = (Reason.SUPERSEDED, Reason.CANCELLED, Reason.PROMOTED, Reason.STARTED)
        own = was.failed is not None or any(
            f.identity == was.identity and f not in before.failed for f in decision.status.failed
        )
        assert own or any(event.reason in ended for event in decision.events), decision.events

    def _check_matched(self, decision: Decision) -> None:
        """I1 and I14: requests that match go to who has the present step's traffic, with its share; copies likewise."""
        plan, candidate = decision.plan, decision.status.candidate
        if plan is None:
            return
        step = None
        if candidate is not None and candidate.issued_generation:
            step = steps.at(steps.steps_of(self.spec, candidate.track), candidate.step)
        allowed = {} if candidate is None or step is None else {candidate.identity: candidate.name}
        if step is not None:
            allowed |= {r.identity: r.name for r in decision.status.rivals if r.name in step.rivals}
        copied = {shadow.version for shadow in plan.shadows}
        assert copied <= set(allowed.values()), copied
        assert (plan.match is None) == (step is None or step.match is None)
        if plan.match is None or step is None or step.match is None:
            return
        assert plan.match.conditions == step.match.conditions
        shares = plan.match.weights()
        assert sum(shares.values()) == FULL
        assert set(shares) <= {plan.stable, *allowed.values()}, shares
        assert all(share <= step.match.share for name, share in shares.items() if name != plan.stable)
        self.seen[f"match: {len(shares)} versions"] += 1

    def _check_restarts(self, before: Status, decision: Decision) -> None:
        """I16: a restart that was accepted counts once, and nothing else counts."""
        was, now = dict(before.restarts), dict(decision.status.restarts)
        verbs = {action.id: action.verb for action in self._observed().actions}
        accepted = sum(a.is_accepted and verbs[a.id] is Verb.RESTART for a in decision.actions)
        counted = sum(max(count - was.get(identity, 0), 0) for identity, count in now.items())
        assert counted <= accepted, (was, now)
        assert set(now) <= set(decision.running)
        assert all(decision.running[identity].restarts == count for identity, count in now.items())
        if set(was) <= set(decision.running):
            gone = any(i not in decision.running for i in was)
            assert counted == accepted or gone, (was, now, accepted)
        self.seen["restart: counted"] += counted

    def _run(self, decision: Decision) -> None:
        """The adapter runs what is wanted; it lost what it knew of all else."""
        for effect in decision.effects:
            assert self.effects.setdefault(effect.id, effect) == _again(effect, self.effects[effect.id])
        self.wanted = decision.effects
        ids = {effect.id for effect in decision.effects}
        assert len(ids) == len(decision.effects)
        self.outcomes = {id_: outcome for id_, outcome in self.outcomes.items() if id_ in ids}

    def _check_hooks(self, before: Status, decision: Decision) -> None:
        """A robot's raise and promotion come after every hook before it said yes."""
        known = {asked.id: asked for asked in (*before.effects.asked, *decision.status.effects.asked)}
        for record in decision.records:
            by_person = "passed it" in record.sentence or "though" in record.sentence
            by_person = by_person or self._is_way_back(decision)
            if by_person or record.reason not in (Reason.WEIGHT_RAISED, Reason.PROMOTED):
                continue
            is_raise = record.reason is Reason.WEIGHT_RAISED
            moment = HookAt.BEFORE_INCREASE if is_raise else HookAt.BEFORE_PROMOTION
            wanted = {hook.name for hook in self.spec.hooks if hook.at is moment}
            trial = decision.status.effects.trials
            said_yes = {a.name for a in known.values() if a.trial == trial and a.answer == "succeeded"}
            assert wanted <= said_yes, (record.sentence, known)
            self.seen["hook: waited for"] += len(wanted)

    def _check_schedule(self, decision: Decision) -> None:
        """Outside the schedule nothing starts, rises or is promoted, unless a person said so or it is a way back."""
        if not isinstance(state(self.spec.schedule, self.now), Closed):
            return
        self.seen["schedule: closed"] += 1
        for event in decision.events:
            if event.reason is Reason.STARTED:
                unheld = ("lets it in", "is the first version", "with one flip", "again, to replace")
                assert any(words in event.message for words in unheld), event.message
        for record in decision.records:
            if record.reason in (Reason.WEIGHT_RAISED, Reason.PROMOTED):
                self.seen["schedule: overruled"] += 1
                assert "though" in record.sentence or self._is_way_back(decision), record.sentence

    def _check_warmth(self, before: Status, decision: Decision) -> None:
        """I4: with a warm-up, no candidate gets its first traffic or more of it while cold, before maxWait is over."""
        candidate, warmup = decision.status.candidate, self.spec.warmup
        if candidate is None or warmup is None or candidate.track is Track.RETURN:
            return
        is_cold = candidate.identity not in self.warm & self.ready
        was_on = before.candidate is not None and before.candidate.identity == candidate.identity
        begins = candidate.issued_generation != 0 and not (
            was_on and before.candidate is not None and before.candidate.issued_generation
        )
        now_has = slots.weight_of(decision.status.slots, candidate.name)
        had = slots.weight_of(before.slots, candidate.name) if was_on else 0
        if not is_cold:
            return
        self.seen["warmth: cold candidate"] += 1
        if begins or now_has > had:
            self.seen["warmth: goes on cold"] += 1
            assert candidate.warming_s >= warmup.max_wait_s, (had, now_has, candidate)

    def _is_way_back(self, decision: Decision) -> bool:
        """Is what moved, also if it was just promoted, a version that was stable before?"""
        candidate = decision.status.candidate or self.stored.candidate
        return candidate is not None and candidate.track is Track.RETURN

    def _check_latched(self, before: Status, after: Status) -> None:
        """I3: a version that failed is never on trial again, and never stable again, without a retry."""
        failed = {f.identity for f in before.failed if f.is_latched} & {
            f.identity for f in after.failed if f.is_latched
        }
        if after.candidate is not None and after.candidate.identity in failed:
            assert after.candidate.failed is not None
        if after.stable is not None and before.stable != after.stable:
            assert after.stable.identity not in failed

    def _check_causes(self, before: Status, decision: Decision) -> None:
        """Nothing fails without a reason: what is said to have gone wrong did so in what was read."""
        known = {(f.identity, f.attempt) for f in before.failed if f.is_latched}
        for failed in decision.status.failed:
            if failed.is_latched and (failed.identity, failed.attempt) not in known:
                assert self._is_true(before, decision, failed), failed
                self.culprits.add((failed.identity, failed.attempt))

    def _is_true(self, before: Status, decision: Decision, failed: Failed) -> bool:
        """Did what this failure is blamed on really happen?"""
        seen, policy = self._observed(), self.spec.policy
        version = seen.versions.get(failed.identity, VersionObserved())
        verdicts = {verdict for verdict, _, _ in self.evidence.values()}
        match failed.cause:
            case Cause.CHECK_FAILED:
                return Verdict.FAIL in verdicts or failed.identity in self.failing
            case Cause.GUARD:
                trips = [trip for router in seen.routers for trip in router.trips]
                return any((t.identity, t.attempt) == (failed.identity, failed.attempt) for t in trips)
            case Cause.CRASH_LOOP:
                return version.is_crash_looping
            case Cause.PROGRESS_DEADLINE:
                return not version.endpoints
            case Cause.OPERATOR:
                asked = {(a.id, a.version) for a in seen.actions if a.verb is Verb.ROLLBACK}
                return any((a.id, failed.name) in asked for a in decision.actions if a.is_accepted)
            case Cause.HOOK_FAILED:
                return any(not outcome.is_success for outcome in seen.effects)
            case Cause.APPROVAL_EXPIRED:
                return any(s.on_expire is OnExpire.ABORT for s in self._steps_of(before) if s.expires_s)
            case Cause.NO_DATA:
                return policy.on_no_data is OnInconclusive.ROLLBACK
            case Cause.INCONCLUSIVE:
                return policy.on_inconclusive is OnInconclusive.ROLLBACK

    def _steps_of(self, status: Status) -> tuple[steps.Step, ...]:
        return () if status.candidate is None else steps.steps_of(self.spec, status.candidate.track)

    def _redefined(self, spec: Spec, name: str) -> Spec:
        status = self.stored
        used = [status.stable, *(past.ref for past in status.past), *status.retiring]
        if any(ref is not None and ref.name == name for ref in used):
            return spec
        self.serial += 1
        versions = tuple(
            replace(version, identity=f"{name}-{self.serial}") if version.name == name else version
            for version in spec.versions
        )
        return replace(spec, versions=versions)


def _loads(plan: RoutePlan) -> dict[str, int]:
    """The most requests that each version gets by this plan, copies among them, in basis points, by identity."""
    weights = plan.weights()
    matched = plan.match.weights() if plan.match is not None else {}
    copies = {shadow.version: -(-shadow.sample // 100) for shadow in plan.shadows}
    found = {
        version.identity: max(every.get(version.name, 0) for every in (weights, matched, copies))
        for version in plan.versions
    }
    return {identity: load for identity, load in found.items() if load}


def _again(effect: Effect, before: Effect) -> Effect:
    """The effect as it would be, had it been asked then, and before an edit of the stages: its id depends on neither."""
    return replace(effect, at=before.at, sentence=before.sentence)


def first_spec() -> Spec:
    """Four versions, v1 the first stable, all strategies to be tried."""
    return Spec(
        key="default/fraud",
        generation=1,
        target="v1",
        versions=tuple(VersionSpec(name, f"{name}-0") for name in NAMES),
        stages=STRATEGIES[1],
        initial_stable="v1",
        checks=CHECKS,
        capacity=CAPACITIES[0],
    )
