"""Versions of a managed rollout: each is a pod template, known by the hash of all that its pods are made from.

The template is taken as it is written, except that a ConfigMap whose content is tracked is named by a copy that never
changes. So a change of its content is another template, and going back finds the content as it was.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

VERSION_LABEL: Final = "headgate.dev/version"
"""On a pod template: what its version is called. On every pod of ours: which version it is of."""

TRACKED_SECRETS: Final = "headgate.dev/track-secrets"
"""On a pod template, by people: the names of Secrets, with commas, whose content is part of the version."""

DIGESTS: Final = "headgate.dev/secret-digests"
"""On a pod template, by us: `NAME=DIGEST`, with commas, of these. It makes another content another template."""

NAME_MAX: Final = 63


@dataclass(frozen=True, slots=True)
class Revision:
    """One version of a managed rollout. `number` counts from 1 in the order in which they came, 0: not kept yet.

    `config_maps` are the copies that its template names, with what shall be in them, as far as that is known.
    """

    name: str
    identity: str
    template: Mapping[str, Any]
    port: int
    number: int = 0
    config_maps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """What the `Workloads` port is given of it."""
        return {
            "name": self.name,
            "template": self.template,
            "port": self.port,
            "configMaps": self.config_maps,
        }


def revision_of(
    rollout: str,
    template: Mapping[str, Any],
    port: int,
    tracked: Mapping[str, Mapping[str, Any]],
    secrets: Mapping[str, str] | None = None,
) -> Revision:
    """The version that the template means now. `tracked`: ConfigMaps by name whose content is part of it; `secrets`:
    digests of such Secrets by name."""
    copies: dict[str, Mapping[str, Any]] = {}
    names: dict[str, str] = {}
    for name in sorted(set(config_maps_of(template)) & set(tracked)):
        content = {part: tracked[name][part] for part in ("data", "binaryData") if part in tracked[name]}
        names[name] = bounded(rollout, name, _hash(content)[:10])
        copies[names[name]] = content
    written = _digested(_without_nulls(_renamed(template, names)), secrets or {})
    identity = _hash({"template": written, "port": port})[:20]
    asked = (written.get("metadata") or {}).get("labels") or {}
    return Revision(asked.get(VERSION_LABEL) or f"v-{identity[:8]}", identity, written, port, 0, copies)


def all_of(current: Revision, kept: Iterable[Revision]) -> tuple[Revision, ...]:
    """The current version first, then the kept ones, newest first; a name belongs to the one that had it first."""
    others = sorted(kept, key=lambda revision: -revision.number)
    for revision in others:
        if revision.identity == current.identity:
            known = Revision(
                revision.name,
                current.identity,
                current.template,
                current.port,
                revision.number,
                current.config_maps,
            )
            return (known, *(other for other in others if other is not revision))
    if any(revision.name == current.name for revision in others):
        named = f"{current.name[: NAME_MAX - 7]}-{current.identity[:6]}"
        return (
            Revision(named, current.identity, current.template, current.port, 0, current.config_maps),
            *others,
        )
    return (current, *others)


def bounded(*parts: str) -> str:
    """The parts as one name of at most 63 characters: cut where it is too long, and then told apart by a hash."""
    name = "-".join(parts)
    if len(name) <= NAME_MAX:
        return name
    return f"{name[: NAME_MAX - 9].rstrip('-.')}-{_hash(name)[:8]}"


def merge_patch(before: Any, after: Any) -> Any:
    """The RFC 7386 merge patch that makes `after` of `before`."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return after
    changed = {
        name: merge_patch(before[name], value) if name in before else value
        for name, value in after.items()
        if name not in before or before[name] != value
    }
    return {**dict.fromkeys(name for name in before if name not in after), **changed}


def config_maps_of(template: Mapping[str, Any]) -> Iterator[str]:
    """The names of the ConfigMaps that the template's containers and volumes refer to."""
    for reference, field_name in _references(template):
        if isinstance(reference.get(field_name), str):
            yield reference[field_name]


def secrets_of(template: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the Secrets whose content the template asks to be part of its version."""
    names = _annotations(template).get(TRACKED_SECRETS)
    found = names.split(",") if isinstance(names, str) else []
    return tuple(sorted({name.strip() for name in found if name.strip()}))


def digests_in(template: Mapping[str, Any]) -> dict[str, str]:
    """The digests of tracked Secrets, by name, that are part of a kept template."""
    kept = _annotations(template).get(DIGESTS)
    pairs = (pair.partition("=") for pair in kept.split(",")) if isinstance(kept, str) else ()
    return {name: digest for name, _, digest in pairs if name and digest}


def without_digests(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """The template as a person would write it: a Secret's content is not brought back with it."""
    if DIGESTS not in _annotations(template):
        return template
    rest = {name: value for name, value in _annotations(template).items() if name != DIGESTS}
    return {**template, "metadata": {**template["metadata"], "annotations": rest}}


def _digested(template: dict[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    """The template with these digests, and no others."""
    if not secrets:
        return dict(without_digests(template))
    said = ",".join(f"{name}={digest}" for name, digest in sorted(secrets.items()))
    annotations = {**_annotations(template), DIGESTS: said}
    return {**template, "metadata": {**(template.get("metadata") or {}), "annotations": annotations}}


def _annotations(template: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = template.get("metadata")
    found = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _references(template: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each mapping that names a ConfigMap, and the field that does: envFrom, env, volumes and projected volumes."""
    spec = template.get("spec")
    if not isinstance(spec, Mapping):
        return
    containers = [*_list(spec, "initContainers"), *_list(spec, "containers")]
    found = [source.get("configMapRef") for one in containers for source in _list(one, "envFrom")]
    for variable in (variable for one in containers for variable in _list(one, "env")):
        value = variable.get("valueFrom")
        found.append(value.get("configMapKeyRef") if isinstance(value, Mapping) else None)
    for volume in _list(spec, "volumes"):
        found.append(volume.get("configMap"))
        projected = volume.get("projected")
        found += [source.get("configMap") for source in _list(projected, "sources")]
    yield from ((one, "name") for one in found if isinstance(one, Mapping))


def _renamed(template: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The template with other names for these ConfigMaps."""
    copied: dict[str, Any] = json.loads(json.dumps(template))
    for reference, field_name in _references(copied):
        if isinstance(reference, dict):
            reference[field_name] = names.get(reference.get(field_name, ""), reference.get(field_name))
    return copied


def _list(value: object, name: str) -> list[Mapping[str, Any]]:
    found = value.get(name) if isinstance(value, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _without_nulls(value: Any) -> Any:
    """A null field is an absent one, as for the API server."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
