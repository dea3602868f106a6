"""The world at its worst: what is read is old, routers go back, refuse and never answer, leaders die between two writes.

It adds to `World` what may go wrong, and the invariants that need to remember what was before.
"""

import re
from collections import deque
from dataclasses import dataclass, field, replace

from controller.core import slots, steps
from controller.core.checks import AtMost, Check, CheckResult, Lack, NoSlower, NoWorse, Verdict, Within
from controller.core.explain import would_roll_back
from controller.core.machine import decide
from controller.core.spec import FULL, OnInconclusive, WorldDrift
from controller.core.status import Action, Candidate, Decision, Observed, Phase, Rival, Status, Verb
from controller.core.steps import Gate
from headgate.wire.plan import NOTHING_APPLIED, Guard, Overrides, RoutePlan
from tests.properties.world import NAMES, Router, World


@dataclass
class RoughWorld(World):
    """`World` with more faults. A reading may be as old as READINGS reconciles."""

    readings: deque[Observed] = field(default_factory=lambda: deque(maxlen=6))
    reading: Observed | None = None
    errors: dict[str, str] = field(default_factory=dict)
    is_shared: bool = False
    old_plans: deque[RoutePlan] = field(default_factory=lambda: deque(maxlen=8))
    is_route_unread: bool = False
    """Is it not known now whether somebody changed what routers serve by?"""
    rewound: set[str] = field(default_factory=set)
    highest: dict[tuple[str, int], int] = field(default_factory=dict)
    """The largest share that may still be published of a try that failed, by identity and attempt."""

    # --- what may go wrong ----------------------------------------------------------------------------------------

    def routers_misbehave(self) -> None:
        """A router refuses the plan, is well again, comes back with an older plan, or with none at all."""
        name = self.choose.pick(sorted(self.routers))
        router = self.routers[name]
        match self.choose.pick(("refuses", "is well", "is well", "is well", "goes back", "is new")):
            case "refuses":
                self.errors[name] = "version v9 has no endpoint"
                self.seen["fault: a router refuses the plan"] += 1
            case "goes back" if self.old_plans:
                router.plan = self.choose.pick(tuple(self.old_plans))
                router.applied = router.plan.triple
                self.rewound.add(name)
                self.seen["fault: a router comes back with an older plan"] += 1
            case "is new":
                router.plan, router.applied, router.seen_at = None, NOTHING_APPLIED, 0.0
                self.seen["fault: a router starts without a plan"] += 1
            case _:
                self.errors.pop(name, None)

    def versions_come_and_go(self) -> None:
        """A version that is not stable is taken out of the spec, or all are in it again."""
        stable = self.stored.stable
        gone = self.choose.pick([v.name for v in self.spec.versions])
        if self._missing():
            self._bring_back()
        elif stable is None or gone != stable.name:
            versions = tuple(v for v in self.spec.versions if v.name != gone)
            self.spec = replace(self.spec, versions=versions, generation=self.spec.generation + 1)
            self.seen["fault: a version leaves the spec"] += 1

    def a_restore_brings_nonsense(self) -> None:
        """The stored status is one that no decision made: strange shares, too large a share, a candidate that is stable."""
        status = self.stored
        stable, candidate = status.stable, status.candidate
        if stable is None:
            return
        match self.choose.pick(("strangers", "too much", "itself", "a rival too much", "a rival itself")):
            case "strangers":
                self.stored = replace(status, slots=slots.all_to("v9"))
            case "too much" if candidate is not None and candidate.issued_generation and not candidate.failed:
                more = slots.with_weight(slots.all_to(stable.name), stable.name, candidate.name, FULL)
                self.stored = replace(status, slots=more)
            case "a rival too much" if status.rivals and (rival := status.rivals[0]).was_issued:
                more = slots.with_weight(slots.all_to(stable.name), stable.name, rival.name, FULL)
                self.stored = replace(status, slots=more)
            case "a rival itself" if candidate is not None:
                self.stored = replace(status, rivals=(Rival(stable.name, stable.identity), *status.rivals))
            case "itself" if candidate is None:
                self.stored = replace(status, candidate=Candidate(stable.name, stable.identity))
        self.seen["fault: a restore brings nonsense"] += self.stored is not status
        self._decide_on_what_was_restored()

    def a_restore_takes_from_rivals(self) -> None:
        """The stored status has a rival in its stage without the share of it; perhaps stable is away just then, or it is
        not known any more which hooks were asked."""
        status = self.stored
        stable, candidate = status.stable, status.candidate
        if stable is None or candidate is None or not any(rival.was_issued for rival in status.rivals):
            return
        mine = slots.weight_of(status.slots, candidate.name)
        alone = slots.with_weight(slots.all_to(stable.name), stable.name, candidate.name, mine)
        self.stored = replace(status, slots=alone)
        self.seen["fault: a restore takes from rivals"] += 1
        self._all_do_their_part()
        match self.choose.pick(("stable is away", "nothing was asked", "")):
            case "stable is away":
                self.replicas[stable.identity] = 0
            case "nothing was asked":
                self.stored = replace(self.stored, effects=replace(status.effects, asked=()))
        self._decide_on_what_was_restored()

    def _decide_on_what_was_restored(self) -> None:
        decision = self._decide(self.stored)
        self._record(self.stored, decision)
        self.published = decision.plan
        self._bring_to(decision)

    def first_version_struggles(self) -> None:
        """How a world may begin: the first version cannot start, crashes, comes up, and no router has asked for its plan yet,
        then one refuses it; between two looks a controller knows of none of that."""
        first = self.spec.version("v1")
        if first is None:
            return
        self.routers["r0"].seen_at = 0.0
        self.controller_reconciles()
        self.troubled.add(first.identity)
        for unread in (set(), {first.identity}, set()):
            self.unread = unread
            self.controller_reconciles()
        self.troubled.clear()
        self.looping.add(first.identity)
        self.controller_reconciles()
        self.looping.clear()
        self.replicas[first.identity] = 1
        self.controller_reconciles()
        self.routers["r0"].seen_at = self.now
        for error in ("HTTPRoute a is somebody else's", ""):
            self.errors = {"r0": error} if error else {}
            for self.is_route_unread in (False, True, False):
                self.controller_reconciles()
        self.asks(Verb.UNDO, first.name)
        self.controller_reconciles()

    def person_meets_the_moment(self) -> None:
        """Somebody asks for just what the present step is about, or about to refuse, and it is decided at once."""
        candidate = self.stored.candidate
        if candidate is None:
            return
        compiled = steps.steps_of(self.spec, candidate.track)
        present = steps.at(compiled, candidate.step).stage + 1
        verb = self.choose.pick((Verb.PROMOTE, Verb.SKIP_STAGE, Verb.SKIP_STAGE, Verb.APPROVE, Verb.APPROVE))
        if steps.at(compiled, candidate.step).gate is Gate.APPROVAL and self.choose.pick((True, True, False)):
            verb = Verb.APPROVE
        if verb is Verb.PROMOTE and self.choose.pick((True, False)):
            self.evidence["errors"] = self.evidence["slo"] = (Verdict.FAIL, Lack.NONE, False)
        action = Action(f"a{self._next()}", verb, candidate.name, "ann", at=self.now)
        if self.choose.pick((True,) + (False,) * 4):
            for more in (Verb.PAUSE, Verb.PAUSE, Verb.RESUME):
                self.asks(more, candidate.name)
        stage, roles = (
            self.choose.pick((0, present, present, present + 1)),
            self.choose.pick(((), ("owner",))),
        )
        self.actions.append(replace(action, stage=stage, roles=roles))
        self.controller_reconciles()

    def nothing_comes_of_it(self) -> None:
        """For a minute nothing is measured, or nothing is proven, or stable itself burns, and people wait."""
        checks = [check.name for check in self.spec.checks]
        kind = self.choose.pick((Lack.NO_DATA, Lack.UNDECIDED, Lack.UNDECIDED, Lack.NONE))
        if kind is Lack.NONE:
            self.is_shared = True
        else:
            self.evidence = dict.fromkeys(checks, (Verdict.INCONCLUSIVE, kind, False))
        self.seen[f"fault: a minute of {kind or 'drift'}"] += 1
        onward, drift = self.choose.pick(tuple(OnInconclusive)), self.choose.pick(tuple(WorldDrift))
        policy = replace(self.spec.policy, on_inconclusive=onward, on_no_data=onward, world_drift=drift)
        policy = replace(policy, no_data_timeout_s=15.0, max_duration_s=self.choose.pick((30.0, 300.0)))
        self.spec = replace(self.spec, policy=policy, generation=self.spec.generation + 1)
        for _ in range(self.choose.pick((20, 60))):
            self.kind_second()
        self.is_shared = False
        self.readings.clear()  # nobody reads what was a minute ago, and 64 actions back

    def stable_loses_its_endpoints(self) -> None:
        """Stable has no ready endpoint, and in the same second the evidence turns against the candidate."""
        if self.stored.stable is None:
            return
        self.replicas[self.stored.stable.identity] = 0
        if self.choose.pick((True, False)):
            self.evidence["errors"] = self.evidence["slo"] = (Verdict.FAIL, Lack.NONE, False)
        self.seen["fault: stable loses its endpoints"] += 1
        for _ in range(3):
            self.controller_reconciles()
        candidate = self.stored.candidate
        if candidate is not None and candidate.failed is not None:
            self.asks(Verb.PROMOTE, candidate.name)
            self.controller_reconciles()

    def spec_is_edited(self) -> None:
        """As in `World`; and sometimes what the world there leaves alone: limits, drift, overrides, capacity."""
        super().spec_is_edited()
        spec = self.spec
        match self.choose.pick(("checks", "overrides", "drift", "capacity", *("nothing",) * 6)):
            case "checks":
                limits = self.choose.pick(
                    ((AtMost(0.01),), (NoWorse(), AtMost(0.1)), (NoSlower(), NoWorse(), Within(most=1.0)))
                )
                checks = tuple(replace(c, limit=limits[n % len(limits)]) for n, c in enumerate(spec.checks))
                self.spec = replace(spec, checks=checks)
            case "overrides":
                overrides = self.choose.pick((None, Overrides("x-version", ("v2", "v3"))))
                self.spec = replace(spec, traffic=replace(spec.traffic, overrides=overrides))
            case "drift":
                drift, guard = self.choose.pick(tuple(WorldDrift)), self.choose.pick((None, Guard()))
                self.spec = replace(spec, policy=replace(spec.policy, world_drift=drift, guard=guard))
            case "capacity":
                drain_s = self.choose.pick((0.0, 3.0))
                self.spec = replace(spec, capacity=replace(spec.capacity, drain_s=drain_s))

    def time_passes(self) -> None:
        """Time passes; sooner or later somebody notices that a version is missing, or that a router refuses."""
        super().time_passes()
        if self.choose.pick((True,) + (False,) * 9):
            self.errors.clear()
            self._bring_back()

    def _missing(self) -> list[str]:
        return sorted(set(NAMES) - {v.name for v in self.spec.versions})

    def _bring_back(self) -> None:
        """The versions that are missing are in the spec again, as other builds."""
        first = self.spec.versions[0]
        back = tuple(replace(first, name=name, identity=f"{name}-{self._next()}") for name in self._missing())
        if back:
            versions = (*self.spec.versions, *back)
            self.spec = replace(self.spec, versions=versions, generation=self.spec.generation + 1)

    def controller_reconciles(self) -> None:
        """A reconcile on what is, or on what was some time ago; afterwards the same reading changes nothing more."""
        fresh = self._fresh()
        self.readings.append(fresh)
        is_old = self.choose.pick((False,) * 5 + (True,))
        self.reading = self.choose.pick(tuple(self.readings)) if is_old else fresh
        self.reading = replace(self.reading, epoch=self.epoch)
        self.seen["fault: an old reading"] += is_old
        if self.published is not None:
            self.old_plans.append(self.published)
        before, published = self.stored, self.published
        try:
            super().controller_reconciles()
        finally:
            self.reading = None
        if self.published is not published:
            self._check_failed_only_fall()
        if self.stored is not before:
            self._check_rest()

    def a_leader_dies_after_a_decrease(self) -> None:
        """A decrease is published before its record is written, and then the leader dies: nothing of it is remembered."""
        decision = self._decide(self.stored)
        if decision.plan is None or self.published is None or not _only_falls(self.published, decision):
            return
        self.published = decision.plan
        self.epoch += 1
        self.seen["fault: dies between publishing and recording"] += 1

    def router_applies(self) -> None:
        """One router takes the published plan; one that refuses does not."""
        name = self.choose.pick(sorted(self.routers))
        router, plan = self.routers[name], self.published
        if plan is None or router.is_gone or name in self.errors:
            return
        if (plan.epoch, plan.generation) < (router.applied.epoch, router.applied.generation):
            return
        router.plan, router.applied, router.seen_at = plan, plan.triple, self.now
        self.rewound.discard(name)

    # --- a kind world ---------------------------------------------------------------------------------------------

    def turn_kind(self) -> None:
        super().turn_kind()
        self.errors.clear()
        self.reading, self.is_shared = None, False
        self._bring_back()

    def second_without_candidate_and_evidence(self, dead: str) -> None:
        """A second in which routers and stable do their part, nothing is measured, and that version is dead."""
        self.now += 1.0
        self.evidence.clear()
        decision = self._decide(self.stored)
        self._record(self.stored, decision)
        self.published = decision.plan
        self._bring_to(decision)
        self._all_do_their_part()
        self.replicas[dead] = 0

    def _all_do_their_part(self) -> None:
        """Every version is ready, and every router runs what is published."""
        self._all_ready()
        self.errors.clear()
        for router in self.routers.values():
            router.seen_at, router.is_gone, router.pinned = self.now, False, None
            if self.published is not None:
                router.plan, router.applied = self.published, self.published.triple

    def asks(self, verb: Verb, version: str) -> None:
        """A person asks for it."""
        self.actions.append(Action(f"a{self._next()}", verb, version, "ann", "because", self.now))

    # --- what must hold -------------------------------------------------------------------------------------------

    def check(self) -> None:
        super().check()
        self._check_running()

    def _check_running(self) -> None:
        """I7: what any router sends traffic to is stable, on trial, or still retiring; unless the router went back."""
        if not self.stored.is_stable_proven:
            return
        known = self._must_run()
        for name, router in self.routers.items():
            if router.plan is None or name in self.rewound or router.applied.epoch != self.stored.epoch:
                continue
            weights = router.plan.weights()
            for version in router.plan.versions:
                assert not weights[version.name] or version.identity in known, (
                    name,
                    version.name,
                    self.stored,
                )

    def _check_failed_only_fall(self) -> None:
        """I3, on what is published: the share of a try that failed never rises again."""
        plan = self.published
        if plan is None:
            return
        weights = plan.weights()
        matched = plan.match.weights() if plan.match is not None else {}
        for failed in self.stored.failed:
            key = (failed.identity, failed.attempt)
            names = [v.name for v in plan.versions if v.identity == failed.identity]
            share = sum(weights[name] + matched.get(name, 0) for name in names)
            is_stable = self.stored.stable is not None and self.stored.stable.identity == failed.identity
            if not failed.is_latched or is_stable:
                self.highest.pop(key, None)
                continue
            assert share <= self.highest.get(key, FULL), (failed, share)
            self.highest[key] = share

    def _check_rest(self) -> None:
        """I8: at rest a decision on the same reading changes nothing but the time of looking."""
        status = self.stored
        warm = [r.warm_until for r in status.retiring]
        if status.candidate is not None or any(at is None or at <= self.now + 1 for at in warm):
            return
        first = self._calm(status, self.now)
        second = self._calm(first.status, self.now)
        if first.status.candidate is not None or first.events or first.records:
            return
        assert replace(second.status, clock_at=0.0) == replace(first.status, clock_at=0.0)
        assert not second.records
        assert not second.events
        self.seen["invariant: at rest nothing changes"] += 1

    def _calm(self, status: Status, now: float) -> Decision:
        return decide(self.spec, status, replace(self._fresh(), actions=()), (), now)

    # --- how ------------------------------------------------------------------------------------------------------

    def _is_ours(self, router: Router) -> bool:
        return router.id not in self.rewound

    def _observed(self) -> Observed:
        return self.reading if self.reading is not None else self._fresh()

    def _result(self, check: Check) -> CheckResult:
        return replace(super()._result(check), is_shared=self.is_shared)

    def _fresh(self) -> Observed:
        """What is; a router that starts without a plan has not asked for one yet."""
        seen = super()._observed()
        asked = (r for r in seen.routers if self.routers[r.id].plan is not None or r.seen_at)
        override = None if self.is_route_unread else ""
        routers = tuple(replace(r, error=self.errors.get(r.id, ""), override=override) for r in asked)
        return replace(seen, routers=routers)

    def _next(self) -> int:
        self.serial += 1
        return self.serial

    def _record(self, before: Status, decision: Decision) -> None:
        verbs = {action.id: action.verb for action in self._observed().actions}
        for answer in decision.actions:
            if not answer.is_accepted:
                verb = verbs.get(answer.id, Verb.PROMOTE)
                self.seen[f"refusal: {verb}: {_pattern(answer.message)}"] += 1
        was = before.candidate.track if before.candidate else "none"
        super()._record(before, decision)
        if decision.status.candidate is not None:
            assert would_roll_back(self.spec, decision.status.candidate) is not None
        now = decision.status.candidate.track if decision.status.candidate else "none"
        if was != now:
            self.seen[f"transition: {was} to {now}"] += 1
        if before.phase != decision.status.phase:
            self.seen[f"transition: {before.phase} to {decision.status.phase}"] += 1
        for answer in decision.actions:
            taken = "accepted" if answer.is_accepted else "refused"
            self.seen[f"verb: {verbs.get(answer.id, Verb.PROMOTE)} {taken}"] += 1
        if decision.status.phase is Phase.STALLED:
            self.seen[f"stalled: {_pattern(decision.status.message)}"] += 1


def _only_falls(published: RoutePlan, decision: Decision) -> bool:
    """Does the decision take from a version that is not stable, and give to none?"""
    after = decision.status
    if after.stable is None or decision.plan is None or after.stable.name != published.stable:
        return False
    before = published.weights()
    others = {name for name in before if name != published.stable}
    fell = any(slots.weight_of(after.slots, name) < before[name] for name in others)
    return fell and all(
        slots.weight_of(after.slots, v.name) <= before.get(v.name, 0) for v in decision.plan.versions[1:]
    )


def _pattern(sentence: str) -> str:
    """The sentence without what differs each time: names of versions, stages and people, numbers."""
    bare = re.sub(r"\bv\d\b", "V", sentence.split(":")[0])
    return re.sub(r"\d+(\.\d+)?", "N", bare)[:60]
