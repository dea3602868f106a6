"""What the outside is asked or told: hooks and notifications as values with an identity.

An effect is wanted once for each occurrence, stored with the status, run by an adapter after that was recorded, and
its outcome recorded in turn. Its id is derived from what it is for, so that the same occurrence is the same effect
after any crash: on the wire it may come twice, but then with the same id.
"""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final


class HookAt(StrEnum):
    """When a hook is run. What comes before something holds it until it is answered; what comes after holds nothing."""

    BEFORE_START = "before-start"
    BEFORE_TRAFFIC = "before-traffic"
    BEFORE_INCREASE = "before-increase"
    BEFORE_PROMOTION = "before-promotion"
    AFTER_PROMOTION = "after-promotion"
    AFTER_ROLLBACK = "after-rollback"


class OnFail(StrEnum):
    """What the last failure of a hook does: hold what it was asked before, or roll the candidate back."""

    HOLD = "hold"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Hook:
    """A request to `url`, each try within `timeout_s`, at most 1 + `retries` tries."""

    name: str
    at: HookAt
    url: str
    timeout_s: float = 10.0
    retries: int = 3
    on_fail: OnFail = OnFail.HOLD


@dataclass(frozen=True, slots=True)
class Notification:
    """Tell the administrator's sink `to` of events whose reasons, in kebab case, are in `on`."""

    to: str
    on: tuple[str, ...]


class Kind(StrEnum):
    """Whom an effect is for: the URL of a hook, or a sink by its name."""

    HOOK = "hook"
    NOTIFICATION = "notification"


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing to ask or tell. `to` is a URL or a sink's name; `type` is the hook's moment or the event's reason.

    `weight` is the share after what is about to be done or was done, in basis points; `at` Unix seconds.
    """

    id: str
    kind: Kind
    name: str
    to: str
    type: str
    at: float
    version: str
    identity: str
    attempt: int
    stable: str
    weight: int
    sentence: str
    timeout_s: float = 10.0
    retries: int = 3


class Answer(StrEnum):
    """How far an effect is."""

    WANTED = "wanted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Asked:
    """An effect as the status remembers it; the effect itself only while it is wanted. `trial`: which one it was for."""

    id: str
    name: str
    type: str
    trial: int
    answer: Answer = Answer.WANTED
    message: str = ""
    effect: Effect | None = None
    is_fatal: bool = False


@dataclass(frozen=True, slots=True)
class EffectOutcome:
    """What became of an effect: 2xx, or why not after all tries."""

    id: str
    is_success: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Effects:
    """What the status remembers of effects.

    `life` tells this rollout from an earlier one of its name, `trials` counts trials, `told` what was told after the
    fact: together they number the occurrences.
    """

    life: int = 0
    trials: int = 0
    told: int = 0
    asked: tuple[Asked, ...] = ()


NOTHING_ASKED: Final = Effects()


def effect_id(*parts: object) -> str:
    """A name for the occurrence that the parts describe; equal parts have equal names."""
    return blake2b("|".join(map(str, parts)).encode(), digest_size=16).hexdigest()
