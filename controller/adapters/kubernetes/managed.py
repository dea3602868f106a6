"""Versions of a rollout with a pod template: one Deployment and one Service each, brought to what a decision says.

Everything is compared with the copies first and written only where it differs, so that nothing is written at rest. What
somebody else changed is told of and left as it is. Every version is kept as a ControllerRevision before anything else of it
is made; of those that do not run any more only the last few.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from controller.adapters.kubernetes import objects
from controller.adapters.kubernetes.api import MANAGER, Api, path_of
from controller.adapters.kubernetes.brought import Brought
from controller.adapters.kubernetes.copies import CONFIG_MAPS, Copies, Looked
from controller.adapters.kubernetes.drift import differences, managers
from controller.adapters.kubernetes.errors import ApiError, Conflict, Fenced, Forbidden, Invalid, NotFound
from controller.adapters.kubernetes.objects import Json, Owner, name_of
from controller.adapters.kubernetes.raw import key_of, number, text
from controller.adapters.kubernetes.secrets import TRACKED_MAX, Secrets, Unread, Unreadable
from controller.adapters.kubernetes.store import GROUP, PLURAL, VERSION
from controller.core.status import VersionObserved, Workload
from controller.crd.revisions import (
    Revision,
    all_of,
    config_maps_of,
    digests_in,
    merge_patch,
    revision_of,
    secrets_of,
    without_digests,
)
from controller.errors import NotLeader, StoreUnavailable

DELETED_MAX: Final = 64
KEPT_MAX: Final = 12
"""Versions that are kept besides those that run: more than a rollback window holds."""

_PLURALS: Final[Mapping[str, tuple[str, str, str]]] = {
    "Deployment": ("apps", "v1", "deployments"),
    "ControllerRevision": ("apps", "v1", "controllerrevisions"),
    "Service": ("", "v1", "services"),
    "ConfigMap": ("", "v1", "configmaps"),
}
_REPLICAS: Final = "spec.replicas"
Release = Callable[[Owner], Awaitable[None]]
_WHO: Final = re.compile(r'conflict with "([^"]+)"')


@dataclass(slots=True)
class _Notes:
    """What is known of one rollout besides its objects, by version identity.

    `faults` and `overridden` (by kind; none of a version that was never looked at) are told; `asked` says who changed
    an object of which resourceVersion; `deleted` are UIDs that the copies may still have; `used` the ConfigMaps of
    the present template, `secrets` what is wrong with its tracked Secrets.
    """

    faults: dict[str, str] = field(default_factory=dict)
    overridden: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    deleted: dict[str, None] = field(default_factory=dict)
    used: frozenset[str] = frozenset()
    secrets: str = ""

    def keep(self, running: Collection[str]) -> None:
        """Forget what was told of versions that do not run any more."""
        self.faults = {identity: said for identity, said in self.faults.items() if identity in running}
        self.overridden = {
            identity: said for identity, said in self.overridden.items() if identity in running
        }

    def said(self) -> tuple[object, object]:
        """What is told now."""
        return dict(self.faults), {identity: dict(told) for identity, told in self.overridden.items()}


class Managed:
    """Reads and writes the objects of versions. One call of `apply` at a time for each rollout.

    `release` lets what else was made for a rollout stay when that goes, and raises an ApiError if it cannot.
    """

    def __init__(self, api: Api, copies: Copies, secrets: Secrets, release: Release) -> None:
        self._api = api
        self._copies = copies
        self._secrets = secrets
        self._release = release
        self._kinds = {
            "Deployment": copies.deployments,
            "Service": copies.services,
            "ConfigMap": copies.config_maps,
            "ControllerRevision": copies.revisions,
        }
        self._notes: dict[str, _Notes] = {}

    def revisions(self, key: str, template: Mapping[str, Any], port: int) -> tuple[Revision, ...]:
        """The versions of the rollout: what the template means now, first, and those that are kept.

        Unread or Unreadable: it tracks a Secret of which nothing was ever known.
        """
        namespace, _, name = key.partition("/")
        tracked: dict[str, Mapping[str, Any]] = {}
        used_ones = self._of(key).used = frozenset(config_maps_of(template))
        for used in used_ones:
            found = self._copies.config_maps.get(f"{namespace}/{used}")
            if found is not None and text(found, "metadata", "labels", objects.TRACK_LABEL) == "true":
                tracked[used] = found
        read = (objects.revision(found) for found in self._copies.of_rollout(self._copies.revisions, key))
        kept = [one for one in read if one is not None]
        digests = self._digests(key, secrets_of(template), kept)
        return all_of(revision_of(name, template, port, tracked, digests), kept)

    def _digests(self, key: str, names: tuple[str, ...], kept: list[Revision]) -> dict[str, str]:
        """The digests of these Secrets; of one that cannot be read now the last known, for that makes no new version."""
        if len(names) > TRACKED_MAX:
            raise Unreadable(f"it names {len(names)} Secrets: at most {TRACKED_MAX} are tracked")
        namespace = key.partition("/")[0]
        last = digests_in(max(kept, key=lambda one: one.number).template) if kept else {}
        self._secrets.track(key, names)
        found, troubles = dict[str, str](), list[str]()
        for name in names:
            try:
                found[name] = self._secrets.digest(f"{namespace}/{name}")
            except (Unread, Unreadable) as error:
                if name not in last:
                    raise
                found[name] = last[name]
                troubles += [str(error)] if isinstance(error, Unreadable) else []
        self._of(key).secrets = "; ".join(troubles)
        return found

    def retargeted(self, key: str, spec: Mapping[str, Any], version: str) -> Json:
        """The merge patch of the spec by which the version's template is the present one again; {} if it is kept no more."""
        kept = (objects.revision(found) for found in self._copies.of_rollout(self._copies.revisions, key))
        for one in kept:
            if one is not None and one.name == version:
                wanted = without_digests(one.template)
                patch = {"template": merge_patch(spec.get("template"), wanted), "port": one.port}
                return {name: value for name, value in patch.items() if value not in ({}, spec.get(name))}
        return {}

    def kept(self, key: str, first: str) -> tuple[Revision, ...]:
        """The versions that are kept, the one of the name `first` before the others; () if that is not among them."""
        read = (objects.revision(found) for found in self._copies.of_rollout(self._copies.revisions, key))
        known = [one for one in read if one is not None]
        if all(one.name != first for one in known):
            return ()
        return tuple(sorted(known, key=lambda one: (one.name != first, -one.number)))

    def looked(self, key: str) -> tuple[Looked, ...]:
        """The ConfigMaps that the present template of the rollout uses."""
        namespace = key.partition("/")[0]
        return tuple((CONFIG_MAPS, f"{namespace}/{name}") for name in sorted(self._of(key).used))

    def observed(
        self, key: str, identity: str, document: Mapping[str, Any]
    ) -> tuple[VersionObserved, tuple[Looked, ...]]:
        """What is seen of a version, and the objects that this depends on."""
        namespace, _, rollout = key.partition("/")
        name = name_of(rollout, document["name"])
        version = Brought(namespace, name, document["port"], name, is_made=True)
        seen, looked = version.observed(self._copies)
        notes = self._of(key)
        fault = notes.faults.get(identity, "")
        deployment = self._copies.deployments.get(f"{namespace}/{name}")
        if deployment is None or objects.identity_of(deployment) != identity:
            message = fault or "it is not running"
            trouble = fault if identity in notes.overridden else None
            return VersionObserved(message=message, replicas=0, trouble=trouble), looked
        ready = min(number(deployment, "status", "readyReplicas"), len(seen.endpoints))
        known = notes.overridden.get(identity)
        override = None if known is None else "; ".join(known.values())
        told = "; ".join(filter(None, [seen.message, fault, override, notes.secrets]))
        return _with(seen, told, ready, fault, override), looked

    async def apply(
        self, owner: Owner, documents: Mapping[str, Mapping[str, Any]], running: Mapping[str, Workload]
    ) -> bool:
        """Bring the versions to what shall run; did what is told of them change? StoreUnavailable if the API server does
        not answer, NotLeader if nothing may be written."""
        before = self._of(owner.key).said()
        try:
            if owner.is_deleting and not running:
                await self._let_go(owner)
            else:
                for identity in sorted(set(running) & set(documents)):
                    await self._ensure(owner, identity, documents[identity], running[identity])
                self._of(owner.key).keep(running)
                await self._remove(owner, running)
                await self._tell_autoscalers(owner, running, documents)
        except Fenced as error:
            raise NotLeader(str(error)) from error
        except ApiError as error:
            raise StoreUnavailable(f"{owner.key}: {error}; it is tried again") from error
        return before != self._of(owner.key).said()

    def forget(self, key: str) -> None:
        """There is no such rollout any more."""
        self._notes.pop(key, None)
        self._secrets.track(key, ())

    def _of(self, key: str) -> "_Notes":
        return self._notes.setdefault(key, _Notes())

    async def _tell_autoscalers(
        self, owner: Owner, running: Mapping[str, Workload], documents: Collection[str]
    ) -> None:
        """Write what the `scale` subresource shows: how many pods there shall be, and how they are found."""
        wanted = {
            "replicas": sum(running[identity].replicas for identity in running if identity in documents),
            "selector": f"{objects.ROLLOUT_LABEL}={owner.name}",
        }
        if owner.scale != wanted:
            path = path_of(GROUP, VERSION, PLURAL, owner.namespace, owner.name, "status")
            await self._api.merge_patch(path, {"metadata": {"uid": owner.uid}, "status": wanted})

    async def _ensure(
        self, owner: Owner, identity: str, document: Mapping[str, Any], workload: Workload
    ) -> None:
        notes = self._of(owner.key)
        before = notes.overridden.get(identity)
        notes.overridden[identity] = {}
        try:
            await self._keep(owner, identity, document)
            for copy, content in document.get("configMaps", {}).items():
                made = objects.config_map(owner, copy, document["name"], identity, content)
                if self._copies.config_maps.get(key_of(made)) is None:
                    await self._create(made, owner)
            await self._put(identity, objects.service(owner, identity, document), owner)
            await self._put(identity, objects.deployment(owner, identity, document, workload), owner)
        except (Invalid, Forbidden, Conflict, NotFound) as error:
            notes.faults[identity] = f"{document['name']} cannot be made as it is written: {error}"
        except ApiError:
            notes.overridden[identity] = before or {}
            raise
        else:
            notes.faults.pop(identity, None)

    async def _keep(self, owner: Owner, identity: str, document: Mapping[str, Any]) -> None:
        """Write down what the version is made of, once."""
        kept = self._copies.of_rollout(self._copies.revisions, owner.key)
        if any(objects.identity_of(found) == identity for found in kept):
            return
        last = max((number(found, "revision") for found in kept), default=0)
        await self._create(objects.controller_revision(owner, identity, document, last + 1), owner)

    async def _create(self, made: Json, owner: Owner) -> None:
        """Create it; if it is there already, it must be ours and of this version."""
        copy = self._kinds[made["kind"]]
        try:
            copy.put(await self._api.create(_path(made).rpartition("/")[0], made))
        except Conflict:
            found = await self._api.get(_path(made))
            if not owner.may_have(found) or objects.identity_of(found) != objects.identity_of(made):
                raise
            copy.put(found)

    async def _put(self, identity: str, wanted: Json, owner: Owner) -> None:
        """Have the object as wanted, but for what somebody else changed."""
        copy = self._kinds[wanted["kind"]]
        found = copy.get(key_of(wanted))
        if found is not None and not owner.may_have(found):
            raise Conflict(f"{wanted['kind']} {key_of(wanted)} belongs to somebody else: rename the rollout")
        if found is not None:
            drift = differences(objects.essence(wanted), found)
            if not drift:
                return
            if _written(found) == _written(wanted):
                await self._tell(owner, identity, wanted, found, drift)
                return
        try:
            copy.put(await self._api.apply(_path(wanted), wanted, force=False))
        except Conflict as error:
            if _REPLICAS not in error.message:
                raise
            copy.put(await self._api.apply(_path(wanted), objects.without_replicas(wanted), force=False))
            who = _WHO.search(error.message)
            self._override(owner, identity, wanted, (_REPLICAS,), who[1] if who else "somebody")

    async def _tell(
        self, owner: Owner, identity: str, wanted: Json, found: Mapping[str, Any], drift: tuple[str, ...]
    ) -> None:
        """Say who changed it; that is asked live, once for each state of the object."""
        asked, state = self._of(owner.key).asked, (identity, wanted["kind"])
        version = text(found, "metadata", "resourceVersion")
        if asked.get(state, ("", ""))[0] != version:
            live = await self._api.get(_path(wanted))
            asked[state] = (version, managers(live, drift[0], MANAGER))
        self._override(owner, identity, wanted, drift, asked[state][1])

    def _override(self, owner: Owner, identity: str, wanted: Json, drift: tuple[str, ...], who: str) -> None:
        what = f"{wanted['kind']} {key_of(wanted)}"
        remedy = f"set back {' and '.join(drift)}, or change the rollout"
        self._of(owner.key).overridden.setdefault(identity, {})[wanted["kind"]] = (
            f"{what} was changed by {who} and is left so: {remedy}"
        )

    async def _remove(self, owner: Owner, running: Collection[str]) -> None:
        """Delete what belongs to versions that shall not run, and what is kept of versions long gone."""
        for kind in ("Deployment", "Service"):
            for found in self._copies.of_rollout(self._kinds[kind], owner.key):
                if objects.identity_of(found) and objects.identity_of(found) not in running:
                    await self._delete(owner, kind, found)
        kept = [
            found
            for found in self._copies.of_rollout(self._copies.revisions, owner.key)
            if objects.identity_of(found) not in running
        ]
        for found in sorted(kept, key=lambda found: -number(found, "revision"))[KEPT_MAX:]:
            await self._delete(owner, "ControllerRevision", found)
        used = {
            used
            for found in self._copies.of_rollout(self._copies.revisions, owner.key)
            if (one := objects.revision(found)) is not None
            for used in config_maps_of(one.template)
        }
        for found in self._copies.of_rollout(self._copies.config_maps, owner.key):
            if text(found, "metadata", "name") not in used:
                await self._delete(owner, "ConfigMap", found)

    async def _delete(self, owner: Owner, kind: str, found: Mapping[str, Any]) -> None:
        uid = text(found, "metadata", "uid")
        deleted = self._of(owner.key).deleted
        if uid in deleted or text(found, "metadata", "deletionTimestamp") or not owner.may_have(found):
            return
        try:
            await self._api.delete(_path({**found, "kind": kind}), uid=uid)
        except (NotFound, Conflict):
            return  # it is gone, or another one by now
        deleted[uid] = None
        if len(deleted) > DELETED_MAX:
            del deleted[next(iter(deleted))]

    async def _let_go(self, owner: Owner) -> None:
        """The rollout goes: what is ours goes with it as garbage, or stays and belongs to nobody."""
        if not owner.keeps:
            return
        if not self._copies.has_what_is_made:
            raise StoreUnavailable(f"{owner.key}: the objects that stay when it goes have not been read yet")
        await self._release(owner)
        for kind, copy in self._kinds.items():
            for found in self._copies.of_rollout(copy, owner.key):
                patch = owner.releasing(found)
                if patch is not None:
                    copy.put(await self._api.merge_patch(_path({**found, "kind": kind}), patch))


async def nothing_else(owner: Owner) -> None:
    """A `Release` where nothing but its versions is made for a rollout."""


def _with(
    seen: VersionObserved, message: str, replicas: int, fault: str, override: str | None
) -> VersionObserved:
    trouble = fault or seen.trouble
    return replace(
        seen,
        is_running=True,
        message=message,
        replicas=replicas,
        trouble=None if not trouble and override is None else trouble,
        override=override,
    )


def _written(found: Mapping[str, Any]) -> str:
    return text(found, "metadata", "annotations", objects.WRITTEN)


def _path(made: Json) -> str:
    group, version, plural = _PLURALS[made["kind"]]
    return path_of(group, version, plural, made["metadata"]["namespace"], made["metadata"]["name"])
