"""A rollout's status in its object: what people and their tools read, and beside it what the core remembers, packed.

Both are made from one decision and written in one request. What people read comes from the view that the API shows, so
that `kubectl` and `headgate status` say the same words; what the core remembers is for nobody else, and never read from
the former. All of it together stays under `BYTES_MAX`: what is told is shortened before what is remembered, and of
that only sentences about the past.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from controller.core.checks import CheckResult
from controller.core.status import ActionResult, DecisionRecord, Phase, Reason, Status
from controller.crd.published import CHECKS_MAX, DECISIONS_MAX, HISTORY_MAX

Json = dict[str, Any]

BYTES_MAX: Final = 32 * 1024
"""The whole status, as JSON."""

UNPACKED_BYTES_MAX: Final = 4 * 1024 * 1024
"""What a packed field may unfold to."""

TEXT_MAX: Final = 1024
SHORT_MAX: Final = 200
WORD_MAX: Final = 253

FIELDS: Final = (
    "observedGeneration", "phase", "message", "waitingFor", "strategy", "stage", "verdict", "weights",
    "targetVersion", "stableVersion", "candidateVersion", "samples", "checks", "nextActionAt", "conditions", "history",
    "decisions", "routers", "state", "evidence",
)  # fmt: skip
"""What this module writes; `replicas` and `selector` are somebody else's."""


class Kept(msgspec.Struct, frozen=True):
    """What the controller remembers of a rollout, and is read back after every crash.

    `answers` are those whose actions may not say so yet. `target` is what a decision made of `spec.target`, to be
    written while the spec still has `generation`.
    """

    status: Status
    results: tuple[CheckResult, ...] = ()
    answers: tuple[ActionResult, ...] = ()
    target: str = ""
    generation: int = 0


class Unreadable(Exception):
    """A packed field is not what this release or an earlier one wrote."""


def pack(content: bytes) -> str:
    """The bytes as text for a field: base64 of zlib; "" for none."""
    return base64.b64encode(zlib.compress(content, 6)).decode() if content else ""


def unpack(text: object) -> bytes:
    """What `pack` was given; Unreadable for anything else."""
    if text is None or text == "":
        return b""
    if not isinstance(text, str):
        raise Unreadable(f"it is no text but {type(text).__name__}")
    try:
        unfolding = zlib.decompressobj()
        content = unfolding.decompress(base64.b64decode(text, validate=True), UNPACKED_BYTES_MAX)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise Unreadable(str(error)) from error
    if not unfolding.eof:
        raise Unreadable("it is cut off, or too large")
    return content


def encode(kept: Kept) -> str:
    """What is remembered, as text for `status.state`."""
    return pack(msgspec.json.encode(kept))


def decode(state: object) -> Kept:
    """What `encode` was given; a fresh one for none. Unknown fields are passed over, missing ones have their defaults."""
    if state is None or state == "":
        return Kept(Status())
    content = unpack(state)
    try:
        return msgspec.json.decode(content, type=Kept)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def told(shown: Json, before: Mapping[str, Any], decisions: Sequence[Json], now: float) -> Json:
    """What people read, from the API's view of the rollout; conditions keep the time of their last change in `before`."""
    status, spec = shown["status"], shown["spec"] or {}
    generation = status["observedGeneration"]
    return _without_nulls(
        {
            "observedGeneration": generation,
            "phase": status["phase"],
            "message": _cut(status["message"]),
            "waitingFor": _cut(status["waitingFor"]),
            "strategy": _cut(spec.get("strategy"), 64),
            "stage": _stage(status["stage"]),
            "verdict": status["verdict"],
            "weights": _weights(status["weights"]),
            "targetVersion": spec.get("target"),
            "stableVersion": status["stableVersion"],
            "candidateVersion": status["candidateVersion"],
            "samples": None if status["samples"] is None else str(status["samples"]),
            "checks": [_check(check) for check in status["checks"][:CHECKS_MAX]],
            "nextActionAt": status["nextActionAt"],
            "conditions": _conditions(status["conditions"], before, generation, now),
            "history": [_outcome(outcome) for outcome in reversed(status["history"][-HISTORY_MAX:])],
            "decisions": list(decisions[:DECISIONS_MAX]),
        }
    )


def decision(record: DecisionRecord) -> Json:
    """One change of a share, as people read it."""
    written = {
        "at": instant(record.at),
        "reason": record.reason.value,
        "version": record.version,
        "weightBefore": _percent(record.weight_before),
        "weightAfter": _percent(record.weight_after),
        "stage": _cut(record.stage, SHORT_MAX) or None,
        "message": _cut(record.sentence),
        "epoch": record.epoch,
        "generation": record.generation,
        "actor": _cut(record.actor, WORD_MAX) or None,
    }
    return _without_nulls(written)


def record_of(written: object) -> DecisionRecord | None:
    """The record that `decision` was given, without what its checks said; None for anything else."""
    if not isinstance(written, Mapping):
        return None
    try:
        return DecisionRecord(
            at=seconds(written["at"]),
            reason=Reason(written["reason"]),
            version=str(written["version"]),
            weight_before=_basis_points(written["weightBefore"]),
            weight_after=_basis_points(written["weightAfter"]),
            stage=str(written.get("stage", "")),
            sentence=str(written["message"]),
            epoch=int(written["epoch"]),
            generation=int(written["generation"]),
            actor=str(written.get("actor", "")),
        )
    except (KeyError, TypeError, ValueError):
        return None


def place_of(fields: Mapping[str, Any], fault: str) -> Status:
    """What is still known of a rollout whose packed state cannot be used: only what the last word about it was."""
    phase, generation = fields.get("phase"), fields.get("observedGeneration")
    return Status(
        phase=Phase(phase) if phase in list(Phase) else Phase.STALLED,
        message=fault if phase is None else str(fields.get("message", "")),
        observed_generation=generation if isinstance(generation, int) else 0,
    )


def fitted(fields: Json, kept: Kept, evidence: bytes) -> tuple[Json, bool]:
    """The whole status under BYTES_MAX, and whether the evidence found its place in it.

    In this order go: older decisions, long sentences of what is told, all but the latest of it, the evidence (the
    analysis then starts anew after a crash, which holds), and long sentences of what is remembered.
    """
    body = {**fields, "state": encode(kept), "evidence": pack(evidence)}
    for shorten in _SHORTER:
        if size(body) <= BYTES_MAX:
            break
        body = shorten(body)
    if size(body) > BYTES_MAX:
        body = {**body, "state": encode(_terse(kept))}
    return body, not evidence or bool(body["evidence"])


def size(body: Mapping[str, Any]) -> int:
    """Bytes of the status as the API server stores it."""
    return len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))


def patch_of(body: Json) -> Json:
    """The status as a merge patch: what is not said any more goes, also what routers had acknowledged of another plan."""
    weights = body.get("weights")
    said = {**body, "weights": {"acknowledged": None, **weights}} if weights else body
    return {**dict.fromkeys(FIELDS), **said}


def gist(fields: Mapping[str, Any]) -> Json:
    """What of a status is worth a write of its own: not texts, times and counts, which change all the time."""
    conditions = fields.get("conditions") or []
    return {
        **{
            name: fields.get(name)
            for name in ("phase", "weights", "stableVersion", "candidateVersion", "stage", "verdict")
        },
        "conditions": [(one.get("type"), one.get("status"), one.get("reason")) for one in conditions],
    }


def instant(at: float) -> str:
    """Unix seconds as RFC 3339 in UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(written: str) -> float:
    """Unix seconds of an RFC 3339 instant; ValueError for anything else."""
    return datetime.fromisoformat(written).timestamp()


def _without_nulls(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def _cut(text: str | None, characters: int = TEXT_MAX) -> str | None:
    return text if text is None or len(text) <= characters else text[: characters - 1] + "…"


def _percent(basis_points: int) -> str:
    return f"{basis_points / 100:g}%"


def _basis_points(percent: str) -> int:
    return round(float(percent.removesuffix("%")) * 100)


def _stage(stage: Json | None) -> str | None:
    return None if stage is None else _cut(f"{stage['index']}/{stage['of']} {stage['title']}", SHORT_MAX)


def _weights(weights: Json | None) -> Json | None:
    """Desired and acknowledged share of who is on trial: an interval where routers differ, none while one is not known."""
    if weights is None:
        return None
    low, high = weights["acknowledged"]["low"], weights["acknowledged"]["high"]
    written: Json = {"desired": weights["desired"]["percent"]}
    if low is not None and high is not None and not weights["acknowledged"]["unknown"]:
        ends = (low["percent"], high["percent"])
        written["acknowledged"] = ends[0] if ends[0] == ends[1] else "-".join(ends)
    return written


def _check(check: Json) -> Json:
    fields = {
        "name": check["name"],
        "verdict": check["verdict"],
        "estimate": check["estimate"],
        "reference": check["reference"],
        "low": check["interval"]["low"],
        "high": check["interval"]["high"],
        "bound": check["tolerated"],
        "samples": check["samples"],
        "text": _cut(check["text"]),
    }
    return _without_nulls(fields)


def _outcome(outcome: Json) -> Json:
    actor = _cut(outcome["actor"], WORD_MAX)
    return _without_nulls({**outcome, "message": _cut(outcome["message"]), "actor": actor})


def _conditions(wanted: list[Json], before: Mapping[str, Any], generation: int, now: float) -> list[Json]:
    known = before.get("conditions")
    earlier = {
        one.get("type"): one for one in (known if isinstance(known, list) else []) if isinstance(one, Mapping)
    }
    return [_condition(one, earlier.get(one["type"], {}), generation, now) for one in wanted]


def _condition(wanted: Json, before: Mapping[str, Any], generation: int, now: float) -> Json:
    is_same = before.get("status") == wanted["status"] and isinstance(before.get("lastTransitionTime"), str)
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        **wanted,
        "message": _cut(wanted["message"]),
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if is_same else at,
    }


def _fewer_decisions(body: Json) -> Json:
    return {**body, "decisions": body["decisions"][:5]}


def _shorter_texts(body: Json) -> Json:
    def cut(items: list[Json], name: str) -> list[Json]:
        return [{**item, name: _cut(item.get(name), SHORT_MAX)} for item in items]

    return {
        **body,
        "history": cut(body["history"], "message"),
        "checks": cut(body["checks"], "text"),
        "decisions": cut(body["decisions"], "message"),
        "conditions": cut(body["conditions"], "message"),
    }


def _without_evidence(body: Json) -> Json:
    return {**body, "evidence": ""}


def _latest_only(body: Json) -> Json:
    return {
        **body,
        "decisions": body["decisions"][:1],
        "history": body["history"][:3],
        "checks": body["checks"][:8],
    }


_SHORTER: Final[tuple[Callable[[Json], Json], ...]] = (
    _fewer_decisions,
    _shorter_texts,
    _latest_only,
    _without_evidence,
)


def _terse(kept: Kept) -> Kept:
    """The same with short sentences about the past: what they explain is decided."""
    status = kept.status

    def short(text: str) -> str:
        return _cut(text, SHORT_MAX) or ""

    return msgspec.structs.replace(
        kept,
        status=replace(
            status,
            failed=tuple(replace(failed, message=short(failed.message)) for failed in status.failed),
            history=tuple(replace(past, message=short(past.message)) for past in status.history[-5:]),
            unmet=(),
        ),
        results=tuple(replace(result, text=short(result.text)) for result in kept.results),
        answers=kept.answers[-8:],
    )
