"""The way in: a document becomes a rollout that every rule holds for, or the list of what is wrong with it."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from controller.core.spec import Spec
from controller.core.status import Status
from controller.crd import convert
from controller.crd.documents import DEPTH_MAX, NODES_MAX
from controller.crd.faults import Fault, Refused, from_pydantic
from controller.crd.models import API_VERSION, KIND, ModelRollout
from controller.crd.places import Place, misplaced
from controller.crd.rules import broken

_SERVER_METADATA: Final = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")
"""Written by servers, never by users: left out, so that what `get -o yaml` prints can be applied again."""

_NO_TEXT: Final = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A sound rollout. `document` is what to store: as the user wrote it, its namespace filled in, `status` left out."""

    key: str
    document: dict[str, Any]
    rollout: ModelRollout


def parse(
    document: object,
    *,
    providers: Collection[str] | None = None,
    sinks: Collection[str] | None = None,
    place: Place | None = None,
) -> Parsed | Refused:
    """The rollout, or every fault found. With `providers` and `sinks` (names in the configuration), checks and
    notifications must name one of them; with `place`, nothing may be in it that cannot run there."""
    if not isinstance(document, Mapping):
        return Refused((Fault("", "type", f"a rollout is a mapping, with apiVersion: {API_VERSION}"),))
    misfit = unfit(document)
    if misfit is not None:
        return Refused((misfit,))
    wanted = as_written(document)
    kind = wanted.get("kind")
    if kind != KIND:
        sentence = (
            f"{kind!r} is not a kind this command applies: {KIND}" if kind else f"it is missing: write {KIND}"
        )
        return Refused((Fault("kind", "kind", sentence),))
    try:
        rollout = ModelRollout.model_validate(wanted)
    except ValidationError as error:
        return Refused(from_pydantic(error, ModelRollout))
    faults = broken(rollout) + (() if providers is None else _unknown_providers(rollout, providers))
    faults += () if sinks is None else _unknown_sinks(rollout, sinks)
    faults = faults or (() if place is None else tuple(misplaced(rollout, place)))
    if faults:
        return Refused(faults)
    wanted["metadata"]["namespace"] = rollout.metadata.namespace
    return Parsed(rollout.key, wanted, rollout)


def unfit(document: object) -> Fault | None:
    """Why the document is no plain, bounded value; asked first, so that nothing later meets a text it cannot encode."""
    left: list[tuple[str, object, int]] = [("", document, 0)]
    seen = 0
    while left:
        path, value, depth = left.pop()
        seen += 1
        if seen > NODES_MAX:
            return Fault("", "size", f"it has more than {NODES_MAX} values")
        if depth > DEPTH_MAX:
            return Fault(path, "size", f"it is nested deeper than {DEPTH_MAX}")
        if isinstance(value, Mapping):
            left += [(path, name, depth + 1) for name in value]
            left += [(_within(path, name), inner, depth + 1) for name, inner in value.items()]
        elif isinstance(value, list):
            left += [(f"{path}[{index}]", inner, depth + 1) for index, inner in enumerate(value)]
        elif isinstance(value, str):
            if _NO_TEXT.search(value):
                return Fault(path, "text", "a text in it has a NUL or half a character (a lone surrogate)")
        elif not isinstance(value, (int, float, type(None))):
            return Fault(path, "type", f"{type(value).__name__} is not a value that JSON knows")
    return None


def _within(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def as_written(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without what servers add."""
    wanted = {name: value for name, value in document.items() if name != "status"}
    metadata = wanted.get("metadata")
    if isinstance(metadata, Mapping):
        wanted["metadata"] = {name: value for name, value in metadata.items() if name not in _SERVER_METADATA}
    return wanted


def _unknown_providers(rollout: ModelRollout, providers: Collection[str]) -> tuple[Fault, ...]:
    known = ", ".join(sorted(providers)) or "none is configured"
    return tuple(
        Fault(
            f"spec.checks[{index}].prometheus.provider",
            "known-provider",
            f"{check.prometheus.provider} is not a provider this controller was started with ({known})",
        )
        for index, check in enumerate(rollout.spec.checks or ())
        if check.prometheus is not None and check.prometheus.provider not in providers
    )


def _unknown_sinks(rollout: ModelRollout, sinks: Collection[str]) -> tuple[Fault, ...]:
    known = ", ".join(sorted(sinks)) or "none is configured"
    return tuple(
        Fault(
            f"spec.notifications[{index}].to",
            "known-sink",
            f"{told.to} is not a sink this controller was started with ({known}): --sink {told.to}=URL adds it",
        )
        for index, told in enumerate(rollout.spec.notifications)
        if told.to not in sinks
    )


def to_core(document: Mapping[str, Any], generation: int) -> Spec | Refused:
    """The stored document as the core thinks of it; Refused when this release no longer accepts it."""
    parsed = parse(document)
    return parsed if isinstance(parsed, Refused) else convert.spec_of(parsed.rollout, generation)


def version_documents(document: Mapping[str, Any]) -> dict[str, dict[str, Any]] | Refused:
    """Each version as the user wrote it by identity, as the `Workloads` port wants it."""
    parsed = parse(document)
    return (
        parsed if isinstance(parsed, Refused) else convert.version_documents(parsed.rollout, parsed.document)
    )


def changes(
    old: Mapping[str, Any] | None, new: Mapping[str, Any], status: Status | None
) -> tuple[Fault, ...]:
    """What is wrong with `new` (already sound by itself) given what is there: None and None for a first apply."""
    parsed = parse(new)
    if isinstance(parsed, Refused):
        return parsed.faults
    stable = None if status is None else status.stable
    if stable is None:
        return () if old is not None else _creation(parsed.rollout)
    return _stable_kept(parsed.rollout, stable.name, stable.identity)


def _creation(rollout: ModelRollout) -> tuple[Fault, ...]:
    spec = rollout.spec
    if len(spec.versions) < 2 or spec.initial_stable is not None:
        return ()
    names = ", ".join(version.name for version in spec.versions if version.name != spec.target)
    return (
        Fault(
            "spec.initialStable",
            "initial-stable",
            f"the first apply names several versions: say which one is proven and serves now (such as {names}), "
            "so that nothing becomes stable unproved",
        ),
    )


def _stable_kept(rollout: ModelRollout, name: str, identity: str) -> tuple[Fault, ...]:
    if not rollout.spec.versions:
        return ()
    known = convert.identities(rollout)
    index = next((i for i, version in enumerate(rollout.spec.versions) if version.name == name), None)
    if index is None:
        return (
            Fault(
                "spec.versions",
                "stable-removed",
                f"{name} is stable and serves: keep it in versions until another version is promoted",
            ),
        )
    if known[name] != identity:
        return (
            Fault(
                f"spec.versions[{index}]",
                "stable-redefined",
                f"{name} is stable, and what it serves would change under its name: leave {name} as it was, add the "
                f"change as a new version (such as {name}-2) and set target to it",
            ),
        )
    return ()
