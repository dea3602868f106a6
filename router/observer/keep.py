"""Which pairs are kept, and the record of one: built redacted, so that nothing else ever reaches the log."""

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

import msgspec

from headgate.pointer import segments
from headgate.redaction import Unredactable, covers, label, redact
from headgate.wire.plan import Capture, PlanVersion, RedactRule, RoutePlan
from headgate.wire.record import ComparisonRecord, Side
from router.core.channel import Copy
from router.core.compare import Compared
from router.core.join import Answer, Outcome, Refused
from router.core.protocols import Head, Prediction, document

PAYLOAD_BYTES_MAX: Final = 128 * 1024
"""A request or prediction whose JSON is longer is left out of its record, which then says so."""

_EVERYTHING: Final = (RedactRule("", "mask"),)
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Kept:
    """All that a record is made of."""

    copy: Copy
    plan: RoutePlan
    shadow: PlanVersion
    outcome: Outcome
    answer: Answer | Refused


def is_kept(outcome: Outcome, request_id: str, capture: Capture) -> bool:
    """Whether this pair gets a record: by its request id, so that every observer chooses the same ones."""
    if outcome.verdict is None:
        return False
    share = capture.keep_agreements if outcome.verdict == "agree" else capture.keep_disagreements
    return share > 0 and _place(request_id) < share


def with_labels_redacted(outcome: Outcome, plan: RoutePlan, key: bytes) -> Outcome:
    """The outcome whose labels are fit to be counted and kept: changed where a rule covers the field they are from."""
    rules, compared = plan.capture.redact, outcome.compared
    if not rules or compared is None or not compared.rows:
        return outcome
    where = plan.comparison.label or "label"
    rows = tuple(
        replace(row, live=label(row.live, where, rules, key), shadow=label(row.shadow, where, rules, key))
        for row in compared.rows
    )
    return replace(outcome, compared=replace(compared, rows=rows))


def line_of(kept: Kept, key: bytes) -> bytes:
    """The pair's line in the log, with its line end. Unredactable if its payload must not be stored."""
    try:
        return msgspec.json.encode(record_of(kept, key)) + b"\n"
    except (ValueError, RecursionError) as error:
        raise Unredactable(f"not to be written: {type(error).__name__}") from None


def record_of(kept: Kept, key: bytes) -> ComparisonRecord:
    """The pair's record under `plan.capture`; `key` is the secret of hashes. Unredactable as `redact`.

    Of a batch, the label and direction are those of the first row that disagrees, else of the first row.
    """
    copy, plan, outcome = kept.copy, kept.plan, kept.outcome
    compared = outcome.compared or Compared("agree")
    payload = _Payload(plan.capture, rules_of(plan.capture), key)
    row = next((row for row in compared.rows if row.disagrees), compared.rows[0] if compared.rows else None)
    return ComparisonRecord(
        at=copy.at,
        rollout=plan.rollout,
        stage=plan.stage,
        generation=copy.generation,
        request_id=copy.request_id[:256],
        protocol=outcome.protocol,
        task=plan.comparison.task,
        live=_live(copy, payload.prediction(outcome.live, row.live if row else None), compared),
        shadow=_shadow(kept, payload.prediction(outcome.shadow, row.shadow if row else None), compared),
        verdict=outcome.verdict or "undecodable",
        request=payload.request(copy),
        why="; ".join(filter(None, [outcome.why, *payload.left_out]))[:1024],
        measures=compared.measures,
        paths=tuple(_cut(path, plan.capture.redact) for path in compared.paths),
        direction=row.direction if row and row.disagrees else None,
        slices={"class": row.live} if row else {},
    )


def rules_of(capture: Capture) -> tuple[RedactRule, ...]:
    """The rules in force: those of the plan; `redacted` without any masks every value, as its name promises."""
    if capture.store == "redacted" and not capture.redact:
        return _EVERYTHING
    return capture.redact


class _Payload:
    """What of the payload goes into a record, and what was left out and why."""

    def __init__(self, capture: Capture, rules: tuple[RedactRule, ...], key: bytes) -> None:
        self._capture = capture
        self._rules = rules
        self._key = key
        self.left_out: list[str] = []

    def request(self, copy: Copy) -> Any:
        """The request's document, redacted; None where nothing is stored or it is no JSON."""
        if self._capture.store == "none" or not copy.request_body:
            return None
        said = document(Head.parse(copy.request_head), copy.request_body, self._capture.body_bytes_max)
        if not isinstance(said, Prediction):
            self.left_out.append(f"request not stored: {said.why}")
            return None
        return self._bounded("request", redact(said.value, self._rules, self._key))

    def prediction(self, said: Prediction | None, shown: str | None) -> Any:
        """One side's prediction, redacted; where payloads are not stored, its label alone."""
        if said is None:
            return None
        if self._capture.store == "none":
            return shown
        return self._bounded("prediction", redact(said.value, self._rules, self._key))

    def _bounded(self, what: str, value: Any) -> Any:
        try:
            size = len(msgspec.json.encode(value))
        except (ValueError, RecursionError) as error:
            raise Unredactable(f"{what} not to be written: {type(error).__name__}") from None
        if size <= PAYLOAD_BYTES_MAX:
            return value
        self.left_out.append(f"{what} of {size} bytes not stored, at most {PAYLOAD_BYTES_MAX} are")
        return None


def _live(copy: Copy, prediction: Any, compared: Compared) -> Side:
    return Side(
        version=copy.live,
        identity=copy.live_identity,
        status=copy.status,
        latency_ms=round(copy.latency_s * 1000, 3),
        body_bytes=len(copy.answer_body),
        prediction=prediction,
        confidence=compared.live_confidence,
    )


def _shadow(kept: Kept, prediction: Any, compared: Compared) -> Side:
    answer = kept.answer
    return Side(
        version=kept.shadow.name,
        identity=kept.shadow.identity,
        status=answer.status if isinstance(answer, Answer) else 0,
        latency_ms=round(answer.latency_s * 1000, 3),
        body_bytes=len(answer.body) if isinstance(answer, Answer) else 0,
        prediction=prediction,
        confidence=compared.shadow_confidence,
    )


def _cut(path: str, rules: tuple[RedactRule, ...]) -> str:
    """A differing path, cut where a rule begins: below it, names are content too."""
    for rule in rules:
        if rule.path and covers(segments(rule.path), segments(path)):
            depth = len(segments(rule.path))
            path = "/".join(path.split("/")[: depth + 1])
    return path


def _place(request_id: str) -> int:
    """Where in 0 … 999,999 a request id falls; independent of the hashes that split and sample."""
    digest = blake2b(request_id.encode("utf-8", "replace"), digest_size=8, person=b"headgate-keep").digest()
    return int.from_bytes(digest, "big") % _MILLION
