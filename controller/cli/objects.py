"""What a ModelRollout object shows, as the API of the controller would say it: one view for both.

Most of it is the view of what the controller keeps in `status.state`. What routers do is known to the controller
alone: of that there is what it wrote for people, and what it did not write is not known here and not guessed.
"""

from collections.abc import Mapping
from typing import Any, Final

from controller.adapters.kubernetes import status as written
from controller.adapters.kubernetes.status import Kept, Unreadable
from controller.api import view
from controller.api.shown import Seen, share, share_or_none
from controller.core.analysis import forecast as forecasts
from controller.core.status import DecisionRecord, Retiring, Status, Track
from controller.crd import API_VERSION, KIND, Refused
from controller.crd.compiler import Compiler
from controller.crd.revisions import Revision
from controller.ports import Stored

DECISIONS_IN_STATUS: Final = 5
NOT_SEEN: Final = "the controller has not looked at it yet"

_AS_WRITTEN: Final = ("phase", "message", "stableVersion", "candidateVersion", "nextActionAt")
"""Fields of one shape in both, which hold even where the controller's memory cannot be read."""

SOMEBODY: Final = "whoever routes"
"""Where it is not known who they are, only that they have not acknowledged."""

_NOT_YET: Final = "not yet: "
"""What the condition TrafficSynced begins with when it names the routers that are late."""

Json = dict[str, Any]
Object = Mapping[str, Any]


def key_of(found: Object) -> str:
    """`namespace/name`."""
    return f"{found['metadata']['namespace']}/{found['metadata']['name']}"


def fields_of(found: Object) -> Mapping[str, Any]:
    """The status; empty while there is none. Where a route of a gateway stands for the routers, that one is named."""
    fields = _mapping(found.get("status"))
    traffic = _mapping(_mapping(found.get("spec")).get("traffic"))
    route = _mapping(traffic.get("httpRoute")).get("name")
    return {**fields, "routers": [f"httproute/{route}"]} if route else fields


def summary(found: Object, now: float) -> Json:
    """What a list says of one rollout."""
    shown = view.summary(_seen(found, now))
    return {**shown, "status": _place(shown["status"], fields_of(found))}


def full(found: Object, now: float) -> Json:
    """All that is known of one rollout."""
    seen, fields = _seen(found, now), fields_of(found)
    shown = view.full(seen, records(found, DECISIONS_IN_STATUS))
    place = _place(shown["status"], fields)
    details = {
        "versions": [_version(item, place["weights"], seen, fields) for item in place["versions"]],
        "conditions": fields.get("conditions") or place["conditions"],
    }
    return {**shown, "status": {**place, **details}, "routers": _routers(fields, place["weights"])}


def explanation(found: Object, now: float) -> Json:
    """Why the rollout is where it is, what it waits for, what would roll it back."""
    shown = view.explanation(_seen(found, now), records(found, 1))
    return _with_words(shown, fields_of(found))


def arithmetic(found: Object, now: float) -> Json:
    """What stands behind the verdict of each check, as it was at the last write."""
    return view.arithmetic(_seen(found, now))


def forecast(found: Object, now: float) -> Json:
    """What each step needs: requests only, for their rate is known to the controller alone."""
    seen = _seen(found, now)
    status = seen.stored.status
    track = status.candidate.track if status.candidate else Track.STAGES
    return view.forecast(seen.spec, forecasts.present((), status.stable, None), track)


def records(found: Object, limit: int) -> list[DecisionRecord]:
    """The last decisions, newest first."""
    told = fields_of(found).get("decisions") or []
    read = [written.record_of(one) for one in told]
    return [one for one in read if one is not None][:limit]


def answered(found: Object, uid: str) -> tuple[bool, str] | None:
    """(accepted?, message) of an action as the rollout itself has it; None while it waits for a decision."""
    kept = _kept(fields_of(found))[0]
    for answer in kept.answers:
        if answer.id == uid:
            return answer.is_accepted, answer.message
    return (True, "it is done") if uid in kept.status.handled else None


def document(found: Object) -> Json:
    """What people wrote of it: without status, and without what servers note in metadata."""
    metadata = found["metadata"]
    kept = {name: metadata[name] for name in ("name", "namespace", "annotations") if name in metadata}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": kept, "spec": found.get("spec")}


def stored(found: Object) -> Stored:
    """The rollout as the controller has it."""
    fields, metadata = fields_of(found), found["metadata"]
    kept, fault = _kept(fields)
    return Stored(
        key=key_of(found),
        document=document(found),
        generation=int(metadata.get("generation") or 0),
        status=kept.status,
        analysis=_analysis(fields),
        results=kept.results,
        deleting=metadata.get("deletionTimestamp") is not None,
        version=str(metadata.get("resourceVersion", "")),
        fault=fault,
    )


def _analysis(fields: Mapping[str, Any]) -> bytes:
    """The evidence; none where it cannot be read, which the controller drops and says, too."""
    try:
        return written.unpack(fields.get("evidence"))
    except Unreadable:
        return b""


def _seen(found: Object, now: float) -> Seen:
    one, fields = stored(found), fields_of(found)
    compiled = Compiler(lambda key, document: _revisions(one, fields)).compile(one)
    at = fields.get("nextActionAt")
    next_at = written.seconds(at) if isinstance(at, str) else None
    return Seen(one, None if isinstance(compiled, Refused) else compiled.spec, (), now, next_at)


def _revisions(one: Stored, fields: Mapping[str, Any]) -> list[Revision]:
    """The versions of a rollout with pods of its own, as far as its status names them, the target first.

    None before the controller has looked at the template: what it means depends on other objects too.
    """
    spec = _mapping(one.document.get("spec"))
    template, target = _mapping(spec.get("template")), fields.get("targetVersion")
    is_made = template or spec.get("workloadRef")
    if not is_made or not isinstance(target, str) or fields.get("observedGeneration") != one.generation:
        return []
    known = _identities(one.status)
    names = [target, *(name for name in known if name != target)]
    return [Revision(name, known.get(name, ""), template, int(spec.get("port") or 0)) for name in names]


def _identities(status: Status) -> dict[str, str]:
    """Of every version that the status names, by name."""
    known = {was.ref.name: was.ref.identity for was in status.past}
    known |= {failed.name: failed.identity for failed in status.failed}
    known |= {left.name: left.identity for left in status.retiring}
    if status.candidate is not None:
        known[status.candidate.name] = status.candidate.identity
    if status.stable is not None:
        known[status.stable.name] = status.stable.identity
    return known


def _kept(fields: Mapping[str, Any]) -> tuple[Kept, str]:
    """What the controller remembers, and why that cannot be read."""
    try:
        return written.decode(fields.get("state")), ""
    except Unreadable as error:
        fault = f"status.state cannot be read: {error}"
        return Kept(written.place_of(fields, fault)), fault


def _with_words(shown: Json, fields: Mapping[str, Any]) -> Json:
    if "phase" not in fields:
        return {**shown, "message": NOT_SEEN}
    return {**shown, **{name: fields[name] for name in _AS_WRITTEN if name in fields and name in shown}}


def _place(status: Json, fields: Mapping[str, Any]) -> Json:
    return {**_with_words(status, fields), "weights": _weights(status["weights"], fields)}


def _weights(weights: Json | None, fields: Mapping[str, Any]) -> Json | None:
    """With what the routers acknowledged, where all of them are known."""
    if weights is None:
        return None
    ends = [_basis_points(end) for end in _ends(fields)]
    acknowledged = {
        "low": share_or_none(min(ends, default=None)),
        "high": share_or_none(max(ends, default=None)),
        "unknown": [] if ends else _unheard(fields),
    }
    return {**weights, "acknowledged": acknowledged}


def _ends(fields: Mapping[str, Any]) -> list[str]:
    """`0%-5%` as its ends."""
    text = _mapping(fields.get("weights")).get("acknowledged")
    return text.split("-") if isinstance(text, str) and text else []


def _basis_points(percent: str) -> int:
    return round(float(percent.removesuffix("%")) * 100)


def _version(item: Json, weights: Json | None, seen: Seen, fields: Mapping[str, Any]) -> Json:
    """With what is known of the routers' share of it."""
    if item["acknowledged"] is None:
        return item
    left = next((one for one in seen.stored.status.retiring if one.name == item["name"]), None)
    if left is not None and item["role"] == "retired" and _has_left(left):
        return {**item, "acknowledged": {"low": share(0), "high": share(0), "unknown": []}}
    if weights is not None and weights["version"] == item["name"]:
        return {**item, "acknowledged": weights["acknowledged"]}
    return {**item, "acknowledged": {"low": None, "high": None, "unknown": _unheard(fields)}}


def _has_left(left: Retiring) -> bool:
    """Its clock runs from when every router acknowledged that it has no traffic."""
    return left.elapsed_s > 0 or left.warm_until is not None


def _routers(fields: Mapping[str, Any], weights: Json | None) -> list[Json]:
    """The routers that count, of each what is known."""
    synced = _synced(fields, weights)
    return [
        {
            "id": name,
            "applied": None,
            "synced": synced.get(name),
            "candidateWeight": None,
            "seenAt": None,
            "ageSeconds": None,
            "silent": None,
            "error": None,
            "pinned": None,
            "trips": [],
        }
        for name in _names(fields)
    ]


def _synced(fields: Mapping[str, Any], weights: Json | None) -> dict[str, bool]:
    """Whether a router runs the present plan, for those of which the controller said it."""
    is_synced = _traffic_synced(fields).get("status") == "True"
    if is_synced and (weights is None or not weights["acknowledged"]["unknown"]):
        return dict.fromkeys(_names(fields), True)
    return dict.fromkeys(_late(fields), False)


def _unheard(fields: Mapping[str, Any]) -> list[str]:
    """Who has not acknowledged, as far as it is known: all where nobody was named; nobody where no router counts."""
    nobody = _traffic_synced(fields).get("reason") == "NoRouter"
    return _names(fields) or _late(fields) or ([] if nobody else [SOMEBODY])


def _late(fields: Mapping[str, Any]) -> list[str]:
    """Those that the controller named as late."""
    message = str(_traffic_synced(fields).get("message", ""))
    return message.removeprefix(_NOT_YET).split(", ") if message.startswith(_NOT_YET) else []


def _traffic_synced(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    conditions = [one for one in fields.get("conditions") or [] if one.get("type") == "TrafficSynced"]
    return conditions[0] if conditions else {}


def _names(fields: Mapping[str, Any]) -> list[str]:
    return [name for name in fields.get("routers") or [] if isinstance(name, str)]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
