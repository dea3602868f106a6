"""The `Workloads` port on a cluster: what is seen of each version, wherever it comes from, and what shall run of it.

A version is brought (a Service, a URL), or made from the rollout's pod template. One version that cannot be read, or whose objects are wrong, is told of in its
own message; everything is read from copies that watches keep, so nothing here waits for the API server at rest.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from controller.adapters.kubernetes import adopted
from controller.adapters.kubernetes.adoption import Adoptions
from controller.adapters.kubernetes.api import Api
from controller.adapters.kubernetes.brought import Brought
from controller.adapters.kubernetes.copies import Copies, Looked
from controller.adapters.kubernetes.entrance import Entrances
from controller.adapters.kubernetes.inference import Inference
from controller.adapters.kubernetes.managed import Managed, Release, nothing_else
from controller.adapters.kubernetes.objects import owner_of
from controller.adapters.kubernetes.raw import key_of, mapping, number, text
from controller.adapters.kubernetes.reflector import Reflector
from controller.adapters.kubernetes.secrets import Secrets, Unreadable
from controller.adapters.kubernetes.urls import Urls
from controller.adapters.processes.version import UrlVersion, at_url
from controller.core.status import VersionObserved, Workload
from controller.crd.faults import Fault
from controller.crd.models import Version
from controller.crd.revisions import TRACKED_SECRETS, Revision
from controller.errors import StoreUnavailable
from headgate.log import Log
from headgate.reach import Reach

Source = Brought | Inference | UrlVersion | str
"""Where a version that is not made by us comes from; a sentence when it is none that a cluster can serve."""

Json = dict[str, Any]
Object = Mapping[str, Any]
Documents = Mapping[str, Mapping[str, Any]]


class KubernetesWorkloads:
    """Versions of the rollouts in `namespace` (None: in all).

    `rollout(key)` gives the ModelRollout as the API server has it, to own what is made. `reach` says where a URL that is
    asked may lead. `on_change(key)` is called, on the event loop, whenever `observe` or `revisions` would answer
    differently. `release` is as of `Managed`; `adopting(deployment)` gives the ModelRollouts that ask for it. `run` keeps
    the copies, and has to be running; `close` at the end.
    """

    def __init__(
        self,
        api: Api,
        *,
        namespace: str | None,
        rollout: Callable[[str], Object | None],
        reach: Reach,
        on_change: Callable[[str], None],
        log: Log,
        release: Release = nothing_else,
        adopting: Callable[[str], Iterable[Object]] = lambda deployment: (),
    ) -> None:
        self._copies = Copies(api, namespace, on_change, log)
        self._urls = Urls(reach, on_change, log)
        self._secrets = Secrets(api, on_change, log)
        self._managed = Managed(api, self._copies, self._secrets, release)
        self._adoptions = Adoptions(api, self._copies, self._means)
        self.entrance = Entrances(api, self._copies, self._adoptions, rollout, on_change, log)
        self._rollout = rollout
        self._adopting = adopting
        self._holders: dict[str, str] = {}
        self._on_change = on_change

    async def run(self) -> None:
        """Keep up with the cluster until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._copies.run())
            group.create_task(self._secrets.run())

    async def close(self) -> None:
        """Ask no URL any more. Everything that serves goes on serving."""
        await self._urls.close()

    @property
    def pods(self) -> Reflector:
        """The copy of all pods that this controller looks after."""
        return self._copies.pods

    def revisions(self, key: str, document: Object) -> tuple[Revision, ...] | Fault:
        """The versions of a rollout with a pod template, or with that of a Deployment, the present one first, or why
        there is none; () for any other rollout.

        StoreUnavailable while the cluster has not been read: what is not known would be taken for new.
        """
        template, port = mapping(document, "spec", "template"), number(document, "spec", "port")
        reference = text(document, "spec", "workloadRef", "name")
        if not reference and not (template and port):
            return ()
        if not self._copies.has_what_is_made:
            raise StoreUnavailable(f"{key}: the objects of its versions have not been read yet")
        try:
            return (
                self._of_deployment(key, reference, port)
                if reference
                else self._managed.revisions(key, template, port)
            )
        except Unreadable as error:
            return Fault(
                f"spec.template.metadata.annotations[{TRACKED_SECRETS}]", "tracked-secrets", str(error)
            )

    def _of_deployment(self, key: str, name: str, port: int) -> tuple[Revision, ...] | Fault:
        """With a Deployment that is there no more, the versions that are kept, the last target first."""
        found = self._copies.deployments.get(f"{key.partition('/')[0]}/{name}")
        target = text(self._rollout(key), "status", "targetVersion")
        kept = self._managed.kept(key, target) if found is None else ()
        if kept:
            return kept
        pods = adopted.pods_of(found, key, name, port)
        why = pods if isinstance(pods, str) else self._held(key, found)
        if isinstance(pods, str) or why:
            return Fault("spec.workloadRef", "workload", why)
        return self._managed.revisions(key, pods.template, pods.port)

    def _held(self, key: str, found: Object | None) -> str:
        """Who else has the Deployment, in words; "" if the rollout may have it."""
        name = key_of(found)
        holder = adopted.holder_of(found or {}, self._adopting(name), self._holders.get(name, ""))
        self._holders[name] = holder
        return "" if holder in ("", key) else adopted.held(f"Deployment {name}", holder)

    async def retargeted(self, key: str, spec: Object, version: str) -> Json:
        """The merge patch of the rollout's spec that makes the version the target: its pod template, if it has one.

        Nothing if the version is kept no more. Of an adopted Deployment it is the template that is written back.
        """
        if "workloadRef" in spec:
            kept = self._managed.kept(key, version)
            name = f"{key.partition('/')[0]}/{text(spec, 'workloadRef', 'name')}"
            if kept:
                await self._adoptions.retarget(name, kept[0].template)
            return {}
        if "template" not in spec:
            return {"target": version}
        return self._managed.retargeted(key, spec, version)

    def _means(self, key: str, found: Object) -> str:
        """The identity of the version that a Deployment's template means for the rollout; "" if it means none."""
        port = number(self._rollout(key), "spec", "port")
        pods = adopted.pods_of(found, key, text(found, "metadata", "name"), port)
        if isinstance(pods, str):
            return ""
        try:
            return self._managed.revisions(key, pods.template, pods.port)[0].identity
        except Unreadable:
            return ""

    async def observe(self, key: str, documents: Documents) -> Mapping[str, VersionObserved]:
        """What is seen of each version; StoreUnavailable while the cluster has never been read."""
        made = {identity: document for identity, document in documents.items() if "template" in document}
        sources = _sources(key, documents)
        if made or any(isinstance(source, Brought | Inference) for source in sources.values()):
            await self._copies.wait_synced()
        if any(isinstance(source, Inference) for source in sources.values()):
            await self._copies.inference_services.wait_read()
        seen, looked = dict[str, VersionObserved](), list[Looked]()
        for identity, document in made.items():
            seen[identity], more = self._managed.observed(key, identity, document)
            looked += more
        if made:
            looked += self._managed.looked(key)
        for identity, source in sources.items():
            if isinstance(source, Brought | Inference):
                seen[identity], more = source.observed(self._copies)
                looked += more
            elif isinstance(source, str):
                seen[identity] = VersionObserved(message=source)
        self._copies.looks(key, (*looked, *self.entrance.looked(key)))
        for identity, source in sources.items():
            if isinstance(source, UrlVersion):
                seen[identity] = self._urls.observed((key, identity), source)
        return seen

    async def apply(self, key: str, documents: Documents, running: Mapping[str, Workload]) -> None:
        sources = _sources(key, documents)
        self._urls.apply(
            key,
            (
                (identity, source)
                for identity, source in sources.items()
                if identity in running and isinstance(source, UrlVersion)
            ),
        )

        made = {identity: document for identity, document in documents.items() if "template" in document}
        rollout = self._rollout(key)
        if rollout is None:
            return
        owner = owner_of(rollout)
        is_left = owner.is_deleting and not running
        if (made or is_left) and await self._managed.apply(owner, made, running):
            self._on_change(key)

    def forget(self, key: str) -> None:
        """There is no such rollout any more."""
        self._managed.forget(key)
        self.entrance.forget(key)
        self._urls.forget(key)
        self._holders = {name: holder for name, holder in self._holders.items() if holder != key}
        self._copies.looks(key, ())


def _sources(key: str, documents: Documents) -> dict[str, Source]:
    """Where each version comes from that is not made by us, by identity."""
    return {
        identity: read_source(key, document)
        for identity, document in documents.items()
        if "template" not in document
    }


def read_source(key: str, document: Mapping[str, Any]) -> Source:
    """Where the version of the rollout `namespace/name` that the user wrote as `document` comes from."""
    fields = {name: value for name, value in document.items() if name != "baseDir"}
    try:
        version = Version.model_validate(fields)
    except ValidationError as error:
        return f"version {fields.get('name')!r} cannot be read: {error.errors()[0]['msg']}"
    namespace = key.partition("/")[0]
    if version.service is not None:
        return Brought(namespace, version.service.name, version.service.port, version.deployment or "")
    if version.inference_service is not None:
        return Inference(namespace, version.inference_service)
    if version.url is not None:
        return at_url(version.name, version.url, version.readiness)
    return f"version {version.name} is a process, which only `headgate up` starts: write service, inferenceService or url"
