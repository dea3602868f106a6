"""What people read of a rollout: pure functions from what is stored and seen to JSON.

Names are camelCase, times RFC 3339 in UTC, durations seconds, shares both as people write them (`"5%"`) and in
basis points. Nothing is shown that is not known: what is unknown is null or left out, never guessed.
"""

from collections.abc import Iterable, Sequence

from controller.api import traffic
from controller.api.conditions import conditions
from controller.api.shown import Json, Seen, instant, share
from controller.core import explain
from controller.core.analysis import forecast as forecasts
from controller.core.analysis.arithmetic import arithmetic as arithmetic_of
from controller.core.analysis.forecast import StepForecast, Traffic
from controller.core.analysis.state import FRESH, decode_state
from controller.core.checks import CheckResult, Verdict
from controller.core.effects import Asked
from controller.core.spec import Spec
from controller.core.status import DecisionRecord, Event, Failed, Outcome, Retiring, Status, Track
from controller.core.steps import compile_stages, stage_count
from controller.ports import Stored


def summary(seen: Seen) -> Json:
    """What a list says of one rollout: a part of `full`, at the same paths."""
    return {**_names(seen.stored), "spec": _spec(seen.spec), "status": _place(seen)}


def full(seen: Seen, decisions: Iterable[DecisionRecord]) -> Json:
    """All that is known of one rollout."""
    return {
        **summary(seen),
        "status": {**_place(seen), **_details(seen)},
        "routers": traffic.routers(seen.stored.status, seen.routers, seen.now),
        "decisions": [decision(record) for record in decisions],
    }


def explanation(seen: Seen, decisions: Sequence[DecisionRecord]) -> Json:
    """Why the rollout is where it is (the last decision), what is missing for the next step, what would roll it back."""
    status = seen.stored.status
    is_trial = status.candidate is not None
    return {
        **_names(seen.stored),
        "phase": status.phase.value,
        "message": status.message,
        "stage": _stage(seen),
        "why": _last_of(decisions, status),
        "waitingFor": status.waiting_for or None,
        "unmet": list(status.unmet),
        "checks": [check(result) for result in seen.stored.results] if is_trial else [],
        "next": _next(seen),
        "rollsBack": list(explain.would_roll_back(seen.spec, status.candidate))
        if seen.spec is not None and status.candidate is not None and status.candidate.failed is None
        else [],
    }


def arithmetic(seen: Seen) -> Json:
    """The arithmetic of each check of the rollout, with the verdict it led to; of the candidate, if there is one."""
    candidate, spec = seen.stored.status.candidate, seen.spec
    said = {result.check: result.text for result in seen.stored.results if not result.rival}
    state = decode_state(seen.stored.analysis) if candidate is not None else FRESH
    checks = spec.checks if spec is not None else ()
    alpha = spec.policy.alpha if spec is not None else 0.0
    return {
        **_names(seen.stored),
        "candidate": candidate.name if candidate is not None else None,
        "checks": [
            {
                "name": one.name,
                "text": said.get(one.name) if candidate is not None else None,
                "terms": [
                    {"name": term.name, "text": term.text}
                    for term in arithmetic_of(one, checks, state, alpha)
                ],
            }
            for one in checks
        ],
    }


def _last_of(decisions: Sequence[DecisionRecord], status: Status) -> Json | None:
    """The latest decision about the candidate; without one, the latest of all."""
    name = status.candidate.name if status.candidate is not None else ""
    found = next((record for record in decisions if record.version == name), None)
    chosen = found or (decisions[0] if decisions else None)
    return None if chosen is None else decision(chosen)


def forecast(spec: Spec | None, traffic: Traffic, track: Track = Track.STAGES, done: int = 0) -> Json:
    """What each step needs if the candidate is as good as stable; seconds are null where that is not known.

    `done` steps are over, and are left out.
    """
    steps = forecasts.forecast(spec, traffic, track, done) if spec else ()
    rate = traffic.requests_per_s
    return {
        "requestsPerSecond": None if rate is None else round(rate, 2),
        "steps": [_foretold(step) for step in steps],
        "faster": list(forecasts.faster(spec, traffic, track)) if spec else [],
    }


def _foretold(step: StepForecast) -> Json:
    return {
        "title": step.title,
        "seconds": step.seconds,
        "ownSeconds": step.own_s,
        "slow": step.is_slow,
        "slowCheck": step.slow or None,
        "sentence": step.sentence,
        "checks": [
            {
                "name": one.check,
                "requests": one.requests,
                "seconds": one.seconds,
                "proves": one.proves or None,
                "why": one.why or None,
                "possible": one.is_possible,
            }
            for one in step.checks
        ],
    }


def check(result: CheckResult) -> Json:
    """One check: what was measured, what is tolerated, what it says. Ratios are fractions of requests or pairs."""
    return {
        "name": result.check,
        "rival": result.rival or None,
        "verdict": result.verdict.value,
        "lack": result.lack.value or None,
        "estimate": result.estimate,
        "reference": result.reference,
        "interval": {"low": result.low, "high": result.high},
        "tolerated": result.bound,
        "samples": result.samples,
        "referenceSamples": result.reference_samples,
        "windowSeconds": result.window_s,
        "fresh": result.is_fresh,
        "holding": result.is_holding,
        "required": result.required,
        "dryRun": result.dry_run,
        "text": result.text,
    }


def decision(record: DecisionRecord) -> Json:
    """One change of a share, with what was known."""
    return {
        "at": instant(record.at),
        "reason": record.reason.value,
        "version": record.version,
        "weightBefore": share(record.weight_before),
        "weightAfter": share(record.weight_after),
        "stage": record.stage or None,
        "sentence": record.sentence,
        "actor": record.actor or None,
        "epoch": record.epoch,
        "generation": record.generation,
        "unmet": list(record.unmet),
        "checks": [check(result) for result in record.checks],
    }


def event(told: Event) -> Json:
    """One event, with a reason of the closed list."""
    return {"at": instant(told.at), "reason": told.reason.value, "message": told.message}


def _names(stored: Stored) -> Json:
    namespace, _, name = stored.key.partition("/")
    return {
        "name": name,
        "namespace": namespace,
        "generation": stored.generation,
        "deleting": stored.deleting,
    }


def _spec(spec: Spec | None) -> Json | None:
    if spec is None:
        return None
    compiled = compile_stages(spec.stages)
    return {
        "target": spec.target,
        "versions": [version.name for version in spec.versions],
        "strategy": ",".join(dict.fromkeys(step.kind for step in compiled)),
        "steps": [step.title for step in compiled],
        "checks": [check.name for check in spec.checks],
        "paused": spec.paused,
    }


def _place(seen: Seen) -> Json:
    """Where the rollout is, in one line's worth of fields."""
    status, results = seen.stored.status, seen.results
    is_trial = status.candidate is not None
    return {
        "phase": status.phase.value,
        "message": status.message,
        "waitingFor": status.waiting_for or None,
        "nextActionAt": instant(seen.next_action_at),
        "stage": _stage(seen),
        "weights": traffic.weights(status, seen.routers),
        "stableVersion": status.stable.name if status.stable else None,
        "candidateVersion": status.candidate.name if status.candidate else None,
        "rivals": [rival.name for rival in status.rivals],
        "verdict": _verdict(results) if is_trial else None,
        "samples": _samples(results) if is_trial else None,
    }


def _details(seen: Seen) -> Json:
    status = seen.stored.status
    return {
        "observedGeneration": status.observed_generation,
        "previousVersion": status.previous.name if status.previous else None,
        "attempt": status.candidate.attempt if status.candidate else None,
        "versions": _versions(seen),
        "failed": [_failed(failed) for failed in status.failed],
        "paused": _paused(status),
        "checks": [check(result) for result in seen.stored.results],
        "effects": [_effect(asked) for asked in status.effects.asked],
        "conditions": conditions(seen),
        "plan": {
            "epoch": status.epoch,
            "generation": status.generation,
            "endpointsRevision": status.endpoints_revision,
            "because": status.because,
        },
        "history": [_outcome(outcome) for outcome in status.history],
    }


def _stage(seen: Seen) -> Json | None:
    """Where the candidate is, counted from 1; None without a candidate."""
    candidate, step = seen.stored.status.candidate, seen.step
    if candidate is None or step is None:
        return None
    return {
        "index": step.stage + 1,
        "of": stage_count(seen.steps),
        "kind": step.kind,
        "title": step.title,
        "step": min(candidate.step, len(seen.steps) - 1) + 1,
        "steps": len(seen.steps),
        "gate": step.gate.value,
        "issued": candidate.issued_generation > 0,
        "acknowledgedAt": instant(candidate.acknowledged_at),
        "elapsedSeconds": round(candidate.step_s, 1),
        "minSeconds": step.min_s,
        "minPairs": step.min_pairs or None,
    }


def _next(seen: Seen) -> str | None:
    """What comes after the present step; None without a candidate."""
    candidate = seen.stored.status.candidate
    if candidate is None or not seen.steps or candidate.failed is not None:
        return None
    if candidate.issued_generation == 0:
        return seen.steps[0].title
    following = seen.steps[candidate.step + 1 :]
    return following[0].title if following else f"{candidate.name} becomes stable"


def _versions(seen: Seen) -> list[Json]:
    """Every version that is written or still has a role: its role, its share, and what routers acknowledged of it."""
    status = seen.stored.status
    shares = traffic.desired(status)
    latched = {failed.identity for failed in status.failed if failed.is_latched}
    leaving = {left.name: left for left in status.retiring}
    return [
        {
            "name": name,
            "identity": identity,
            "role": role,
            "weight": share(shares.get(name, 0)),
            "acknowledged": _acknowledged(seen, name, leaving.get(name)),
            "failed": identity in latched,
        }
        for name, (role, identity) in sorted(_roles(seen).items())
    ]


def _acknowledged(seen: Seen, name: str, left: Retiring | None) -> Json | None:
    candidate = seen.stored.status.candidate
    subject = candidate if candidate is not None and candidate.name == name else left
    return traffic.acknowledged(seen.stored.status, subject, seen.routers) if subject else None


def _roles(seen: Seen) -> dict[str, tuple[str | None, str]]:
    """Role (None: none at present) and identity by the name of the version."""
    status = seen.stored.status
    roles: dict[str, tuple[str | None, str]] = {}
    for version in seen.spec.versions if seen.spec else ():
        roles[version.name] = (None, version.identity)
    for left in status.retiring:
        roles[left.name] = ("retired", left.identity)
    if status.stable is not None:
        roles[status.stable.name] = ("stable", status.stable.identity)
    if status.candidate is not None:
        roles[status.candidate.name] = ("candidate", status.candidate.identity)
    for rival in status.rivals:
        roles[rival.name] = ("rival", rival.identity)
    return roles


def _verdict(results: Sequence[CheckResult]) -> str | None:
    """The verdict of the rollout: any Fail is Fail, all required Pass is Pass; None without required checks."""
    counted = [result for result in results if not result.dry_run]
    if any(result.verdict is Verdict.FAIL for result in counted):
        return Verdict.FAIL.value
    required = [result for result in counted if result.required]
    if not required:
        return None
    is_passed = all(result.verdict is Verdict.PASS for result in required)
    return (Verdict.PASS if is_passed else Verdict.INCONCLUSIVE).value


def _samples(results: Sequence[CheckResult]) -> int | None:
    """The samples of the required check that has fewest; None without one."""
    return min((result.samples for result in results if result.required), default=None)


def _paused(status: Status) -> Json | None:
    pause = status.paused
    return None if pause is None else {"by": pause.by, "reason": pause.reason, "at": instant(pause.at)}


def _effect(asked: Asked) -> Json:
    """One hook or notification that was asked for, and how far it is: wanted, succeeded or failed (and why)."""
    return {
        "name": asked.name,
        "type": asked.type,
        "state": asked.answer.value,
        "message": asked.message or None,
        "at": instant(asked.effect.at) if asked.effect is not None else None,
    }


def _failed(failed: Failed) -> Json:
    return {
        "version": failed.name,
        "identity": failed.identity,
        "attempt": failed.attempt,
        "cause": failed.cause.value,
        "message": failed.message,
        "at": instant(failed.at),
        "actor": failed.actor or None,
        "latched": failed.is_latched,
    }


def _outcome(outcome: Outcome) -> Json:
    return {
        "version": outcome.version,
        "identity": outcome.identity,
        "outcome": outcome.outcome,
        "message": outcome.message,
        "startedAt": instant(outcome.started_at),
        "endedAt": instant(outcome.ended_at),
        "actor": outcome.actor or None,
    }
