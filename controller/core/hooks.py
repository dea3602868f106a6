"""Hooks and notifications in a decision: asked when everything else allows the move, answered, told after the fact.

`before-*` hooks hold starts, increases and the promotion until they are answered; on the way back to a version that
was stable, and by a rollback, they are not asked. A person's `promote` goes past them, which the record says.
"""

from dataclasses import replace
from typing import Final

from controller.core import draft as drafts
from controller.core.draft import Draft
from controller.core.effects import (
    Answer,
    Asked,
    Effect,
    Hook,
    HookAt,
    Kind,
    OnFail,
    effect_id,
)
from controller.core.plan import attempt_of
from controller.core.spec import FULL, VersionSpec
from controller.core.status import Candidate, Event, Reason, Status, Track, VersionRef
from controller.core.steps import Step

WANTED_MAX: Final = 12
"""With so many effects under way no further notification is added; hooks always are."""

SETTLED_MAX: Final = 24
SENTENCE_MAX: Final = 200
NOTIFY_TIMEOUT_S: Final = 10.0
NOTIFY_RETRIES: Final = 5

AFTER: Final = {Reason.PROMOTED: HookAt.AFTER_PROMOTION, Reason.ROLLED_BACK: HookAt.AFTER_ROLLBACK}
NEWS: Final = tuple(reason for reason in Reason if reason not in (Reason.NOTIFICATION_FAILED, Reason.BUG))
"""What can be notified; a notification that failed would only make another one."""


def kebab(reason: Reason) -> str:
    """`RolledBack` as people write it: `rolled-back`."""
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in reason.value).removeprefix("-")


def settle(draft: Draft) -> None:
    """Take in what became of the effects that are wanted."""
    outcomes = {outcome.id: outcome for outcome in draft.observed.effects}
    for asked in draft.status.effects.asked:
        outcome = outcomes.get(asked.id)
        if outcome is None or asked.answer is not Answer.WANTED:
            continue
        answer = Answer.SUCCEEDED if outcome.is_success else Answer.FAILED
        message = outcome.message[:SENTENCE_MAX]
        _replace(draft, replace(asked, answer=answer, message=message, effect=None))
        if answer is Answer.FAILED:
            is_hook = asked.effect is not None and asked.effect.kind is Kind.HOOK
            reason = Reason.HOOK_FAILED if is_hook else Reason.NOTIFICATION_FAILED
            what = "hook" if is_hook else "the notification to"
            draft.tell(reason, f"{what} {asked.name} ({asked.type}) failed: {message}")


# --- before a start -----------------------------------------------------------------------------------------------


def unanswered_start(draft: Draft, target: VersionSpec, track: Track) -> str | None:
    """The hook that was asked before this trial and has not said yes; None when none holds it."""
    return None if track is Track.RETURN else _first_no(draft, _starting(draft, target))


def ask_start(draft: Draft, target: VersionSpec, track: Track) -> bool:
    """Ask the hooks before this trial that were not asked yet; True if there was one."""
    if track is Track.RETURN:
        return False
    sentence = f"{target.name} is about to start"
    attempt = attempt_of(draft.status.failed, target.identity)
    candidate = Candidate(target.name, target.identity, attempt)
    return _ask(draft, _starting(draft, target), candidate, 0, sentence)


def _starting(draft: Draft, target: VersionSpec) -> dict[str, Hook]:
    trial = draft.status.effects.trials + 1
    attempt = attempt_of(draft.status.failed, target.identity)
    return {
        _id(draft, hook, trial, target.identity, attempt, "start"): hook
        for hook in draft.spec.hooks
        if hook.at is HookAt.BEFORE_START
    }


# --- before traffic, an increase, the promotion -------------------------------------------------------------------


def unanswered(draft: Draft, candidate: Candidate, step: Step | None) -> str | None:
    """The hook that was asked before this step (None: the promotion) and has not said yes; None when none holds it."""
    return None if candidate.track is Track.RETURN else _first_no(draft, _moving(draft, candidate, step))


def ask(draft: Draft, candidate: Candidate, step: Step | None) -> bool:
    """Ask the hooks before this step (None: the promotion) that were not asked yet; True if there was one."""
    if candidate.track is Track.RETURN:
        return False
    weight = FULL if step is None else step.weight
    what = "is about to be promoted" if step is None else f"is about to enter {step.title}"
    return _ask(draft, _moving(draft, candidate, step), candidate, weight, f"{candidate.name} {what}")


def skipped(draft: Draft, candidate: Candidate, step: Step | None) -> str | None:
    """What a person who makes this move goes past, if anything; None if every hook has said yes."""
    known = {asked.id: asked for asked in draft.status.effects.asked}
    for asked in known.values():
        is_of_trial = asked.trial == draft.status.effects.trials and asked.type.startswith("before-")
        if is_of_trial and asked.answer is not Answer.SUCCEEDED:
            return _said(asked)
    hooks = _moving(draft, candidate, step)
    return next((f"hook {hook.name} was not asked" for id_, hook in hooks.items() if id_ not in known), None)


def fatal(draft: Draft, candidate: Candidate) -> str | None:
    """The hook of this trial that failed and whose failure rolls back, in words."""
    trial = draft.status.effects.trials
    for asked in draft.status.effects.asked:
        is_of_trial = asked.trial == trial and asked.type != HookAt.BEFORE_START
        if asked.is_fatal and asked.answer is Answer.FAILED and is_of_trial:
            return f"{asked.name} ({asked.type}): {asked.message}"
    return None


def _moving(draft: Draft, candidate: Candidate, step: Step | None) -> dict[str, Hook]:
    """The hooks that come before this move, by the id of the effect."""
    moments = {}
    if step is None:
        moments[HookAt.BEFORE_PROMOTION] = "promotion"
    elif candidate.issued_generation == 0:
        moments[HookAt.BEFORE_TRAFFIC] = "traffic"
    if step is not None and drafts.gains(draft, candidate, step):
        moments[HookAt.BEFORE_INCREASE] = _increase(candidate, step)
    trial = draft.status.effects.trials
    return {
        _id(draft, hook, trial, candidate.identity, candidate.attempt, moments[hook.at]): hook
        for hook in draft.spec.hooks
        if hook.at in moments
    }


def beside(draft: Draft, candidate: Candidate, step: Step) -> str | None:
    """The hook before this increase that has not said yes, for who takes part beside the candidate; None when all have."""
    known = {asked.id: asked for asked in draft.status.effects.asked}
    trial, occurrence = draft.status.effects.trials, _increase(candidate, step)
    for hook in draft.spec.hooks:
        if hook.at is not HookAt.BEFORE_INCREASE:
            continue
        asked = known.get(_id(draft, hook, trial, candidate.identity, candidate.attempt, occurrence))
        if asked is None:
            return f"hook {hook.name} was not asked"
        if asked.answer is not Answer.SUCCEEDED:
            return _said(asked)
    return None


def _increase(candidate: Candidate, step: Step) -> str:
    """A name for the increase to this step, in this trial."""
    return f"{candidate.steps_digest}|{step.stage}|{step.title}"


# --- after the fact -----------------------------------------------------------------------------------------------


def announce(draft: Draft, before: Status) -> None:
    """Want what shall be told of this decision's events: `after-*` hooks and notifications; then forget old answers."""
    for event in draft.events:
        for hook in draft.spec.hooks:
            if AFTER.get(event.reason) is hook.at:
                _want(draft, _told(draft, before, event, hook.name, hook))
        for notification in draft.spec.notifications:
            if kebab(event.reason) in notification.on and len(wanted(draft.status)) < WANTED_MAX:
                _want(draft, _told(draft, before, event, notification.to, None))
    _forget(draft)


def _forget(draft: Draft) -> None:
    """Keep the latest answers, and of what was asked before something only what may still come."""
    effects = draft.status.effects
    settled = [asked for asked in effects.asked if asked.answer is not Answer.WANTED][-SETTLED_MAX:]
    open_ = [asked for asked in effects.asked if asked.answer is Answer.WANTED and _may_come(draft, asked)]
    if len(settled) + len(open_) < len(effects.asked):
        draft.status = replace(draft.status, effects=replace(effects, asked=(*settled, *open_)))


def _may_come(draft: Draft, asked: Asked) -> bool:
    """Is what was asked before something still about to be; of what came after, always."""
    status, effect = draft.status, asked.effect
    if effect is None or not effect.type.startswith("before-"):
        return effect is not None
    if effect.type == HookAt.BEFORE_START:
        names = (draft.spec.target, *status.queue)
        identities = [version.identity for version in draft.spec.versions if version.name in names]
        return (
            status.candidate is None and asked.trial > status.effects.trials and effect.identity in identities
        )
    of_trial = status.candidate is not None and asked.trial == status.effects.trials
    return of_trial and status.candidate is not None and effect.identity == status.candidate.identity


def wanted(status: Status) -> tuple[Effect, ...]:
    """All effects that are to be run, or run already and not known to have ended."""
    return tuple(asked.effect for asked in status.effects.asked if asked.effect is not None)


def _told(draft: Draft, before: Status, event: Event, name: str, hook: Hook | None) -> Effect:
    effects = draft.status.effects
    draft.status = replace(draft.status, effects=replace(effects, told=effects.told + 1))
    ref, attempt = _subject(draft, before, event.reason)
    of = repr(hook) if hook is not None else name
    return Effect(
        id=effect_id(draft.spec.key, effects.life, ref.identity, attempt, of, event.reason, effects.told),
        kind=Kind.NOTIFICATION if hook is None else Kind.HOOK,
        name=name,
        to=name if hook is None else hook.url,
        type=kebab(event.reason) if hook is None else hook.at.value,
        at=event.at,
        version=ref.name,
        identity=ref.identity,
        attempt=attempt,
        stable=draft.status.stable.name if draft.status.stable else "",
        weight=drafts.weight_of(draft, ref.name),
        sentence=event.message[:SENTENCE_MAX],
        timeout_s=NOTIFY_TIMEOUT_S if hook is None else hook.timeout_s,
        retries=NOTIFY_RETRIES if hook is None else hook.retries,
    )


def _subject(draft: Draft, before: Status, reason: Reason) -> tuple[VersionRef, int]:
    """The version that an event is about, and its attempt."""
    after = draft.status
    if reason is Reason.ROLLED_BACK and after.failed:
        return VersionRef(after.failed[-1].name, after.failed[-1].identity), after.failed[-1].attempt
    has_ended = reason in (Reason.ROLLING_BACK, Reason.SUPERSEDED, Reason.CANCELLED, Reason.PROMOTED)
    first, second = (before, after) if has_ended else (after, before)
    candidate = first.candidate or second.candidate
    if candidate is not None:
        return VersionRef(candidate.name, candidate.identity), candidate.attempt
    stable = first.stable or second.stable or VersionRef(draft.spec.target, "")
    return stable, attempt_of(after.failed, stable.identity)


# --- how ----------------------------------------------------------------------------------------------------------


def _id(draft: Draft, hook: Hook, trial: int, identity: str, attempt: int, occurrence: str) -> str:
    """A hook that is edited is another one: so a mended URL is asked again."""
    life = draft.status.effects.life
    return effect_id(draft.spec.key, life, trial, identity, attempt, hook, occurrence)


def _first_no(draft: Draft, hooks: dict[str, Hook]) -> str | None:
    known = {asked.id: asked for asked in draft.status.effects.asked}
    answers = (known[id_] for id_ in hooks if id_ in known)
    no = next((asked for asked in answers if asked.answer is not Answer.SUCCEEDED), None)
    if no is None or no.answer is Answer.WANTED:
        return None if no is None else _said(no)
    return f"{_said(no)}; edit the hook and it is asked again, `headgate promote` goes past it"


def _said(asked: Asked) -> str:
    if asked.answer is Answer.WANTED:
        return f"hook {asked.name} has not answered yet"
    return f"hook {asked.name} failed: {asked.message}"


def _ask(draft: Draft, hooks: dict[str, Hook], about: Candidate, weight: int, sentence: str) -> bool:
    known = {asked.id for asked in draft.status.effects.asked}
    new = {id_: hook for id_, hook in hooks.items() if id_ not in known}
    for id_, hook in new.items():
        _want(draft, _asking(draft, id_, hook, about, weight, sentence), hook)
    return bool(new)


def _asking(draft: Draft, id_: str, hook: Hook, about: Candidate, weight: int, sentence: str) -> Effect:
    return Effect(
        id=id_,
        kind=Kind.HOOK,
        name=hook.name,
        to=hook.url,
        type=hook.at.value,
        at=draft.now,
        version=about.name,
        identity=about.identity,
        attempt=about.attempt,
        stable=draft.status.stable.name if draft.status.stable else "",
        weight=weight,
        sentence=sentence,
        timeout_s=hook.timeout_s,
        retries=hook.retries,
    )


def _want(draft: Draft, effect: Effect, hook: Hook | None = None) -> None:
    effects = draft.status.effects
    trial = effects.trials + (hook is not None and hook.at is HookAt.BEFORE_START)
    is_fatal = hook is not None and hook.on_fail is OnFail.ROLLBACK
    asked = Asked(effect.id, effect.name, effect.type, trial, effect=effect, is_fatal=is_fatal)
    draft.status = replace(draft.status, effects=replace(effects, asked=(*effects.asked, asked)))


def _replace(draft: Draft, asked: Asked) -> None:
    effects = draft.status.effects
    others = tuple(asked if known.id == asked.id else known for known in effects.asked)
    draft.status = replace(draft.status, effects=replace(effects, asked=others))
