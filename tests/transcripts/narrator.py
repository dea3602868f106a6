"""Runs a transcript: reads the left column as input, decides, and writes both columns anew.

A line's left column is one thing that happens (see `Narrator` for the words); the right column is what was decided
after it. `wait 10s` lets time pass a second at a time. A transcript is right when rewriting changes nothing; run
the tests with UPDATE_TRANSCRIPTS=1 to write the new text, and review the diff like any other change of behaviour.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

from controller.core.checks import AtMost, Check, CheckResult, Lack, Metric, Verdict
from controller.core.effects import EffectOutcome, Hook, HookAt, Notification, OnFail
from controller.core.invariants import violations
from controller.core.machine import checks_needed, decide
from controller.core.schedule import Fixed, Freeze, Recurring, Schedule
from controller.core.spec import (
    AUTO_EVERY_S,
    AUTO_WEIGHTS,
    FULL,
    ApprovalStage,
    CanaryStage,
    Capacity,
    FlipStage,
    FullStage,
    Match,
    MatchStage,
    OnExpire,
    PauseStage,
    RollbackWindow,
    ShadowStage,
    Spec,
    Stage,
    Supersede,
    VersionSpec,
    Warmup,
    WorldDrift,
)
from controller.core.status import (
    Action,
    Decision,
    Observed,
    Reason,
    RouterObserved,
    Status,
    Trip,
    Verb,
    VersionObserved,
)
from controller.core.steps import percent
from headgate.wire.plan import NOTHING_APPLIED, Applied, Condition, Endpoint, RoutePlan

LEFT = 50
NOT_READY = VersionObserved(is_running=True, message="its probe fails")

SAID = {
    "Pass": (Verdict.PASS, Lack.NONE, False),
    "Fail": (Verdict.FAIL, Lack.NONE, False),
    "undecided": (Verdict.INCONCLUSIVE, Lack.UNDECIDED, False),
    "holds": (Verdict.INCONCLUSIVE, Lack.UNDECIDED, True),
    "shared": (Verdict.INCONCLUSIVE, Lack.UNDECIDED, True),
    "nothing": (Verdict.INCONCLUSIVE, Lack.NO_DATA, False),
}


def stage(words: str) -> Stage:
    """`shadow 5s 100 pairs`, `canary 5% 50% every 10s`, `ramp budget 0.1%`, `approval 2 of owner within 60s else abort`,
    `match 10s of x-beta`, `match 10s 50% of x-beta`, `pause`, `pause 5s`, `flip bake 10s`, `full bake 5s`.

    After `shadow`, `canary` and `match`, ` with v3 v4` names who takes part beside the target.
    """
    words, _, beside = words.partition(" with ")
    to = tuple(beside.split())
    kind, *rest = words.split()
    seconds = [float(word[:-1]) for word in rest if re.fullmatch(r"\d+s", word)]
    match kind:
        case "shadow":
            pairs = int(rest[rest.index("pairs") - 1]) if "pairs" in rest else 0
            return ShadowStage(1_000_000, seconds[0], pairs, ("agree",), to=to)
        case "canary":
            weights = tuple(int(float(word[:-1]) * 100) for word in rest if word.endswith("%"))
            return CanaryStage(weights, seconds[0], ("errors",), to=to)
        case "match":
            share = next((int(float(word[:-1]) * 100) for word in rest if word.endswith("%")), FULL)
            return MatchStage(
                Match((Condition(f"header:{rest[-1]}"),), share), seconds[0], ("errors",), to=to
            )
        case "approval":
            roles = tuple(word for word in rest if not re.fullmatch(r"\d+s?|of|within|or|else|abort", word))
            quorum = next((int(word) for word in rest if word.isdigit()), 1)
            on_expire = OnExpire.ABORT if "abort" in rest else OnExpire.HOLD
            return ApprovalStage(roles, quorum, seconds[0] if seconds else None, on_expire)
        case "ramp":
            return CanaryStage(AUTO_WEIGHTS, AUTO_EVERY_S, ("errors",), risk_budget=float(rest[1][:-1]) / 100)
        case "pause":
            return PauseStage(seconds[0] if seconds else None)
        case "flip":
            before = ("agree",) if "preview" in rest else ()
            return FlipStage(1_000_000 if before else 0, before, seconds[0] if seconds else 0.0, ("slo",))
        case _:
            return FullStage(seconds[0] if seconds else 0.0, ("slo",) if seconds else ())


@dataclass
class Narrator:
    """The world of one transcript."""

    now: float = 1000.0
    epoch: int = 1
    status: Status = field(default_factory=Status)
    spec: Spec = field(
        default_factory=lambda: Spec(
            key="default/fraud",
            generation=1,
            target="v1",
            versions=tuple(VersionSpec(f"v{n}", f"id-v{n}") for n in range(1, 5)),
            initial_stable="v1",
            checks=(
                Check("errors", Metric.ERRORS, AtMost(0.01)),
                Check("slo", Metric.ERRORS, AtMost(0.02)),
                Check("agree", Metric.DISAGREEMENT, AtMost(0.01)),
            ),
            capacity=Capacity(drain_s=5.0, keep_stable_warm_s=3600.0, progress_deadline_s=30.0),
        )
    )
    versions: dict[str, VersionObserved] = field(default_factory=dict)
    routers: dict[str, RouterObserved] = field(default_factory=lambda: {"r1": RouterObserved("r1")})
    silent: set[str] = field(default_factory=set)
    results: dict[str, str] = field(default_factory=dict)
    of_rivals: dict[tuple[str, str], str] = field(default_factory=dict)
    """What each check says of each version that takes part beside the target; nothing yet where nothing is told."""
    pairs: int = 0
    high: float | None = None
    actions: list[Action] = field(default_factory=list)
    serial: int = 0
    restarts_always: bool = False
    requeue_at: float | None = None
    outcomes: dict[str, EffectOutcome] = field(default_factory=dict)
    sent: dict[str, str] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    """What was last told of replicas, copies and matching requests, by its subject."""

    def tell(self, line: str) -> list[str]:
        """Do what the line says and decide; what is worth telling of the decision, a line each."""
        waited = re.fullmatch(r"wait (\d+)s", line)
        if waited:
            told: list[str] = []
            for _ in range(int(waited[1])):
                self.now += 1.0
                told += self._decide()
            return told
        for pattern, handle in self._words():
            found = re.fullmatch(pattern, line)
            if found:
                handle(*found.groups(default=""))
                return self._decide()
        raise AssertionError(f"the narrator does not know the words of {line!r}")

    def _words(self) -> Iterable[tuple[str, Callable[..., None]]]:
        return (
            (r"stages: (.+)", self._stages),
            (r"target (v\d)", lambda name: self._edit(target=name)),
            (r"spec paused", lambda: self._edit(paused=True)),
            (r"world drift: (pause|hold)", self._drift),
            (r"spec not paused", lambda: self._edit(paused=False)),
            (r"drain (\d+)s, warm (\d+)s", self._capacity),
            (r"(\d+) replicas(, in proportion to the weight)?", self._replicas),
            (r"(v\d) has (\d) replicas? ready", self._counted),
            (r"(errors|slo|agree) says? (\w+) of (v\d)", self._says_of),
            (r"(v\d) ready", self._ready),
            (r"warm-up: p95 of at most (\d+) ms for (\d+)s, (\d+)s at most", self._warmup),
            (r"(v\d) (is warm|warms up), its p95 is (\d+) ms", self._warms),
            (r"(v\d) not ready", lambda name: self._seen(name, NOT_READY)),
            (r"(v\d) crashes", self._crashes),
            (r"(r\d) runs the plan", self._applies),
            (r"routers run the plan", lambda: [self._applies(name) for name in self.routers]),
            (r"(r\d) joins", self._joins),
            (r"(r\d) falls silent", self.silent.add),
            (r"(r\d) is back", self.silent.discard),
            (r"(r\d) trips its guard(?: of (v\d))?", self._trips),
            (r"(r\d) is pinned to (v\d)", lambda name, version: self._router(name, pinned=version)),
            (r"(r\d) is unpinned", lambda name: self._router(name, pinned=None)),
            (
                r"(errors|slo|agree) says? (Pass|Fail|undecided|holds|shared|nothing)",
                self.results.__setitem__,
            ),
            (r"(\d+) pairs compared", lambda count: setattr(self, "pairs", int(count))),
            (r"supersede: (replace|finish|queue)", lambda how: self._edit(supersede=Supersede(how))),
            (r"rollback window: (\d+) versions, (\d+)s", self._window),
            (r"the upper bound of errors is (.+) %", lambda bound: setattr(self, "high", float(bound) / 100)),
            (r"(ann|bob): approve (v\d) as (\w+)", self._approves),
            (r"(ann|bob): skip-stage (\d) of (v\d)", self._skips),
            (r"(ann|bob): undo (v\d)(?: to (v\d))?", self._undoes),
            (r"(ann|bob): ([a-z-]+) (v\d)(?:, (.+))?", self._acts),
            (r"the controller restarts", self._restarts),
            (r"it is (.+)", self._at),
            (r"hook (\w+): (before-\w+|after-\w+)(, or rollback)?", self._hooks),
            (r"notify (\w+): (.+)", self._notifies),
            (r"hook (\w+) says yes", lambda name: self._answers(name, "")),
            (r"hook (\w+) fails: (.+)", self._answers),
            (r"window: (.+) for (\d+)h (\S+)", self._opens),
            (r"frozen from (.+) to (.+): (.+)", self._freezes),
        )

    def _stages(self, text: str) -> None:
        self._edit(stages=tuple(stage(words.strip()) for words in text.split(",")))

    def _edit(self, **changes: object) -> None:
        self.spec = replace(self.spec, generation=self.spec.generation + 1, **changes)  # type: ignore[arg-type]

    def _capacity(self, drain: str, warm: str) -> None:
        capacity = replace(self.spec.capacity, drain_s=float(drain), keep_stable_warm_s=float(warm))
        self._edit(capacity=capacity)

    def _replicas(self, replicas: str, scaled: str) -> None:
        self._edit(
            capacity=replace(self.spec.capacity, replicas=int(replicas), scale_with_weight=bool(scaled))
        )

    def _counted(self, name: str, count: str) -> None:
        self._ready(name)
        self.versions[f"id-{name}"] = replace(self.versions[f"id-{name}"], replicas=int(count))

    def _says_of(self, check: str, word: str, name: str) -> None:
        self.of_rivals[name, check] = word

    def _seen(self, name: str, seen: VersionObserved) -> None:
        self.versions[f"id-{name}"] = seen

    def _ready(self, name: str) -> None:
        self._seen(name, VersionObserved((Endpoint("127.0.0.1", 8000 + int(name[1:])),), is_running=True))

    def _warmup(self, p95: str, stable: str, longest: str) -> None:
        warmup = Warmup(p95_s=float(p95) / 1000, stable_for_s=float(stable), max_wait_s=float(longest))
        self._edit(warmup=warmup)

    def _warms(self, name: str, how: str, p95: str) -> None:
        seen, warmup = self.versions[f"id-{name}"], self.spec.warmup
        assert warmup is not None
        assert warmup.p95_s is not None
        words = f"p95 {p95} ms of at most {warmup.p95_s * 1000:g} ms"
        self._seen(name, replace(seen, is_warm=how == "is warm", warmth=words))

    def _crashes(self, name: str) -> None:
        self._seen(name, VersionObserved(is_crash_looping=True, message="exited with status 3 three times"))

    def _router(self, name: str, **changes: object) -> None:
        self.routers[name] = replace(self.routers[name], **changes)  # type: ignore[arg-type]

    def _applies(self, name: str) -> None:
        status = self.status
        self._router(name, applied=Applied(status.epoch, status.generation, status.endpoints_revision))

    def _joins(self, name: str) -> None:
        self.routers[name] = RouterObserved(name, NOTHING_APPLIED)

    def _trips(self, name: str, of: str) -> None:
        every = (self.status.candidate, *self.status.rivals)
        version = next(one for one in every if one is not None and of in ("", one.name))
        trip = Trip(version.identity, version.attempt, f"{version.name} failed 20 of 31 requests")
        self._router(name, trips=(trip,))

    def _acts(self, actor: str, verb: str, version: str, reason: str) -> None:
        self._act(Verb(verb), version, actor, reason=reason)

    def _approves(self, actor: str, version: str, role: str) -> None:
        self._act(Verb.APPROVE, version, actor, roles=(role,))

    def _skips(self, actor: str, stage_number: str, version: str) -> None:
        self._act(Verb.SKIP_STAGE, version, actor, stage=int(stage_number))

    def _undoes(self, actor: str, version: str, to: str) -> None:
        self._act(Verb.UNDO, version, actor, to=to)

    def _act(
        self,
        verb: Verb,
        version: str,
        actor: str,
        *,
        reason: str = "",
        stage: int = 0,
        to: str = "",
        roles: tuple[str, ...] = (),
    ) -> None:
        self.serial += 1
        action = Action(f"a{self.serial}", verb, version, actor, reason, self.now, stage, to, roles)
        self.actions.append(action)

    def _drift(self, how: str) -> None:
        self._edit(policy=replace(self.spec.policy, world_drift=WorldDrift(how)))

    def _window(self, versions: str, seconds: str) -> None:
        self._edit(rollback_window=RollbackWindow(int(versions), float(seconds)))

    def _at(self, text: str) -> None:
        self.now = _utc(text)

    def _hooks(self, name: str, at: str, rollback: str) -> None:
        on_fail = OnFail.ROLLBACK if rollback else OnFail.HOLD
        hook = Hook(name, HookAt(at), f"https://hooks.example/{name}", on_fail=on_fail)
        self._edit(hooks=(*self.spec.hooks, hook))

    def _notifies(self, name: str, on: str) -> None:
        self._edit(notifications=(*self.spec.notifications, Notification(name, tuple(on.split()))))

    def _answers(self, name: str, why: str) -> None:
        """The latest effect of that name ends."""
        id_ = next(id_ for id_, of in reversed(self.sent.items()) if of == name)
        self.outcomes[id_] = EffectOutcome(id_, not why, why)

    def _opens(self, cron: str, hours: str, zone: str) -> None:
        window = Recurring(cron, float(hours) * 3600, ZoneInfo(zone), zone)
        self._edit(schedule=Schedule((window,), self.spec.schedule.freezes))

    def _freezes(self, start: str, end: str, reason: str) -> None:
        freeze = Freeze(Fixed(_utc(start), _utc(end)), reason)
        self._edit(schedule=Schedule(self.spec.schedule.windows, (freeze,)))

    def _restarts(self) -> None:
        self.epoch += 1
        self.status = restarted(self.status)

    def _decide(self) -> list[str]:
        if self.restarts_always:
            self.status = restarted(self.status)
        before = self.status
        results = tuple(self._result(check) for check in checks_needed(self.spec, before))
        routers = tuple(
            replace(router, seen_at=0.0 if router.id in self.silent else self.now)
            for router in self.routers.values()
        )
        effects = tuple(self.outcomes.values())
        observed = Observed(self.epoch, self.versions, routers, tuple(self.actions), effects)
        of_rivals = {
            rival.identity: tuple(
                self._result(check, self.of_rivals[rival.name, check.name])
                for check in checks_needed(self.spec, before)
                if (rival.name, check.name) in self.of_rivals
            )
            for rival in before.rivals
            if rival.was_issued
        }
        decision = decide(self.spec, before, observed, results, self.now, of_rivals)
        assert not violations(self.spec, before, decision, observed)
        answered = {answer.id for answer in decision.actions}
        self.actions = [action for action in self.actions if action.id not in answered]
        self.status, self.requeue_at = decision.status, decision.requeue_at
        if decision.target is not None:
            self._edit(target=decision.target)
        told = [
            f"{event.reason}: {event.message}"
            for event in decision.events
            if event.reason is not Reason.STALLED
        ]
        for effect in decision.effects:
            if effect.id not in self.sent:
                self.sent[effect.id] = effect.name
                told.append(f"→ {effect.kind} {effect.name}, {effect.type}: {effect.sentence}")
        told += self._carried_out(decision)
        told += [f"answer: {answer.message}" for answer in decision.actions if answer.is_accepted]
        if decision.status.phase != before.phase or _steady(decision.status.message) != _steady(
            before.message
        ):
            told.append(f"[{decision.status.phase}] {decision.status.message}")
        return told

    def _carried_out(self, decision: Decision) -> list[str]:
        """What changes besides shares: who gets copies and matching requests, how many replicas run."""
        now = {} if decision.plan is None else dict(_splits(decision.plan, "copies" in self.known))
        if self.spec.capacity.replicas > 1 or self.status.restarts:
            for identity, workload in decision.running.items():
                again = f", none older than restart {workload.restarts}" if workload.restarts else ""
                count = f"{workload.replicas} replica{'s' * (workload.replicas > 1)}"
                now[identity.removeprefix("id-")] = f"runs {count}{again}"
            gone = self.known.keys() - now.keys() - NOBODY.keys()
            now |= dict.fromkeys(sorted(gone), "is stopped")
        changed = [f"→ {name}: {text}" for name, text in now.items() if self.known.get(name) != text]
        over = [f"→ {name}: {NOBODY[name]}" for name in self.known if name not in now]
        self.known = {name: text for name, text in now.items() if text != "is stopped"}
        return changed + over

    def _result(self, check: Check, said: str = "") -> CheckResult:
        word = said or self.results.get(check.name, "nothing")
        verdict, lack, holding = SAID[word]
        fresh = lack is not Lack.NO_DATA
        return CheckResult(
            check.name,
            verdict,
            lack,
            f"it says {word}",
            is_fresh=fresh,
            is_holding=holding,
            samples=self.pairs,
            is_shared=word == "shared",
            high=self.high,
        )


NOBODY = {"those that match": "served like all others again", "copies": "to nobody"}


def _splits(plan: RoutePlan, were_copied: bool) -> Iterable[tuple[str, str]]:
    """Who gets matching requests, and copies where several versions do or did, in words."""
    if plan.match is not None:
        shares = sorted(plan.match.weights().items(), reverse=True)
        yield "those that match", ", ".join(f"{percent(share)} to {name}" for name, share in shares)
    if len(plan.shadows) > 1 or (plan.shadows and were_copied):
        names = " and ".join(shadow.version for shadow in plan.shadows)
        yield "copies", f"{percent(plan.shadows[0].sample // 100)} of the requests to {names}"


def _utc(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp()


def restarted(status: Status) -> Status:
    """The status as a controller finds it after a restart: only what was stored."""
    return msgspec.json.decode(msgspec.json.encode(status), type=Status)


def _steady(message: str) -> str:
    """The message without its counting-down numbers, so that only what changed is told."""
    return re.sub(r"\d+ s more", "s more", message)


def rewrite(text: str, narrator: Narrator | None = None) -> str:
    """The transcript with its right column as decided now."""
    narrator = narrator or Narrator()
    lines: list[str] = []
    for line in text.splitlines():
        left = line.split("│")[0].strip()
        if line.startswith("#") or not line.strip():
            lines.append(line)
            continue
        if not left:
            continue
        told = narrator.tell(left) or [""]
        lines.append(f"{left:<{LEFT}} │ {told[0]}".rstrip())
        lines += [f"{'':<{LEFT}} │ {more}" for more in told[1:]]
    return "\n".join(lines) + "\n"
