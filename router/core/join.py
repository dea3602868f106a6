"""One pair: what the live version and a shadow answered to the same request, joined into one outcome.

Every offered copy ends in exactly one of two ways: *compared* (`dropped` is empty) or *not compared*, for one reason
of `DROP_REASONS`. A pair of which a side failed is not compared; it is in the error table as well (`verdict` says
which side). So `offered = pairs + Σ dropped`, and the error table splits up part of the dropped.
"""

from dataclasses import dataclass
from typing import Literal

from headgate.wire.plan import Comparison
from router.core.compare import Compared, compare
from router.core.protocols import Head, Prediction, Undecodable, decode, detect

Verdict = Literal["agree", "soft", "disagree", "shadow_failed", "live_failed", "both_failed", "undecodable"]
Reason = Literal[
    "queue_full",
    "body_too_large",
    "timeout",
    "shadow_error",
    "undecodable",
    "client_cancelled",
    "method_not_safe",
    "live_error",
]
"""Why a pair was not compared; all of them are names of `headgate.wire.telemetry.DROP_REASONS`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a version answered. `status` is 0 where no whole answer came; `latency_s` is then the time it was waited for."""

    status: int
    latency_s: float = 0.0
    head: bytes = b""
    body: bytes = b""

    @property
    def succeeded(self) -> bool:
        """A 2xx: only such an answer says something about the input."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Refused:
    """No answer of a shadow: the reason to count, and a sentence for the record."""

    reason: Reason
    why: str
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a pair. `dropped` is empty for a compared pair, else why it was not compared."""

    verdict: Verdict | None
    dropped: Reason | None
    why: str = ""
    protocol: str = ""
    live: Prediction | None = None
    shadow: Prediction | None = None
    compared: Compared | None = None


def join(
    target: str, live: Answer, shadow: Answer | Refused, policy: Comparison, body_bytes_max: int
) -> Outcome:
    """The outcome of a pair; `target` is the path the client asked for. Total: any bytes give an outcome."""
    if isinstance(shadow, Refused) and shadow.reason not in ("timeout", "shadow_error"):
        return Outcome(None, shadow.reason, shadow.why)
    if isinstance(shadow, Refused) or not shadow.succeeded or not live.succeeded:
        return _failed(live, shadow)
    return _compared(target, live, shadow, policy, body_bytes_max)


def _failed(live: Answer, shadow: Answer | Refused) -> Outcome:
    is_down = isinstance(shadow, Refused) or not shadow.succeeded
    reason: Reason = shadow.reason if isinstance(shadow, Refused) else "shadow_error"
    said = shadow.why if isinstance(shadow, Refused) else f"the shadow answered {shadow.status}"
    if live.succeeded:
        return Outcome("shadow_failed", reason, said)
    answered = f"the live version answered {live.status}"
    if is_down:
        return Outcome("both_failed", "live_error", f"{answered}; {said}")
    return Outcome("live_failed", "live_error", answered)


def _compared(target: str, live: Answer, shadow: Answer, policy: Comparison, bytes_max: int) -> Outcome:
    head = Head.parse(live.head)
    protocol = detect(policy.protocol, target, head, live.body, bytes_max)
    mine = decode(head, live.body, protocol, bytes_max)
    theirs = decode(Head.parse(shadow.head), shadow.body, protocol, bytes_max)
    if isinstance(mine, Undecodable):
        return _unread(protocol, f"live answer: {mine.why}")
    if isinstance(theirs, Undecodable):
        return _unread(protocol, f"shadow's answer: {theirs.why}", live=mine)
    found = compare(mine, theirs, policy)
    if isinstance(found, Undecodable):
        return _unread(protocol, found.why, live=mine, shadow=theirs)
    return Outcome(found.verdict, None, "", protocol, mine, theirs, found)


def _unread(
    protocol: str, why: str, live: Prediction | None = None, shadow: Prediction | None = None
) -> Outcome:
    return Outcome("undecodable", "undecodable", why, protocol, live, shadow)
