"""Copies of the cluster's objects that versions are made of, and who is told when one changes."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from controller.adapters.kubernetes import adopted, endpoints, inferenceservices, pods, takeover
from controller.adapters.kubernetes.api import Api, path_of
from controller.adapters.kubernetes.inferenceservices import InferenceServices
from controller.adapters.kubernetes.objects import ROLLOUT_LABEL, TRACK_LABEL
from controller.adapters.kubernetes.raw import mapping, text
from controller.adapters.kubernetes.reflector import Reflector
from controller.errors import StoreUnavailable
from headgate.log import Log

Object = Mapping[str, Any]
Looked = tuple[str, str]
"""A kind, and `namespace/name`; of pods only the namespace."""

SERVICES: Final = "services"
SLICES: Final = "endpointslices"
PODS: Final = "pods"
DEPLOYMENTS: Final = "deployments"
REVISIONS: Final = "controllerrevisions"
CONFIG_MAPS: Final = "configmaps"
INFERENCE_SERVICES: Final = inferenceservices.PLURAL

SYNC_S: Final = 3.0
"""A first list may keep a reconcile waiting for so long; then it is tried again later."""

BY_SERVICE: Final = "service"
BY_DEPLOYMENT: Final = "deployment"
BY_NAMESPACE: Final = "namespace"
BY_ROLLOUT: Final = "rollout"
BY_TAKER: Final = "taker"
BY_ADOPTER: Final = "adopter"


class Copies:
    """Services, EndpointSlices, pods and Deployments of one namespace, or of all (None), and of ControllerRevisions and
    ConfigMaps those with our labels.

    `on_change(key)` is called with each rollout that looked at an object (`looks`) which then changed.
    """

    def __init__(self, api: Api, namespace: str | None, on_change: Callable[[str], None], log: Log) -> None:
        self._on_change = on_change
        self._lookers: dict[Looked, set[str]] = {}
        self._looks: dict[str, frozenset[Looked]] = {}
        of_rollout = {BY_ROLLOUT: _rollout}

        def ours(path: str, kind: str, label: str) -> Reflector:
            """The copy of what the controller makes: only objects with this label."""
            labelled = {"labelSelector": label}
            return Reflector(api, path, self._told(kind, _itself), log=log, params=labelled, index=of_rollout)

        self.services = Reflector(
            api,
            path_of("", "v1", SERVICES, namespace),
            self._told(SERVICES, _itself),
            log=log,
            index={**of_rollout, BY_TAKER: takeover.by_taker},
        )
        self.slices = Reflector(
            api,
            path_of("discovery.k8s.io", "v1", SLICES, namespace),
            self._told(SERVICES, endpoints.by_service),
            log=log,
            index={BY_SERVICE: endpoints.by_service},
        )
        self.pods = Reflector(
            api,
            path_of("", "v1", PODS, namespace),
            self._told_of_pod,
            log=log,
            index={BY_DEPLOYMENT: pods.by_deployment, BY_NAMESPACE: pods.by_namespace},
        )
        self.deployments = Reflector(
            api,
            path_of("apps", "v1", DEPLOYMENTS, namespace),
            self._told(DEPLOYMENTS, _itself),
            log=log,
            index={**of_rollout, BY_ADOPTER: adopted.by_adopter},
        )
        self.revisions = ours(path_of("apps", "v1", REVISIONS, namespace), REVISIONS, ROLLOUT_LABEL)
        self.config_maps = ours(path_of("", "v1", CONFIG_MAPS, namespace), CONFIG_MAPS, TRACK_LABEL)
        self.inference_services = InferenceServices(
            api, namespace, self._told(INFERENCE_SERVICES, _itself), log
        )
        self._looked_at = (self.services, self.slices, self.deployments)
        self._made = (self.services, self.deployments, self.revisions, self.config_maps)

    async def run(self) -> None:
        """Keep them up to date until cancelled."""
        async with asyncio.TaskGroup() as group:
            for copy in (*self._looked_at, self.revisions, self.config_maps, self.pods):
                group.create_task(copy.run())
            group.create_task(self.inference_services.run())

    @property
    def has_what_is_made(self) -> bool:
        """Was everything read once that versions with a pod template are made of?"""
        return all(copy.is_synced for copy in self._made)

    async def wait_synced(self) -> None:
        """Until all that endpoints are made of was read once; StoreUnavailable if that takes long.

        Pods only say why something is not ready: without them, or the right to read them, everything else goes on.
        """
        needed = self._looked_at
        if all(copy.is_synced for copy in needed):
            return
        try:
            async with asyncio.timeout(SYNC_S):
                for copy in needed:
                    await copy.wait_synced()
        except TimeoutError:
            unread = [copy for copy in needed if not copy.is_synced]
            why = "; ".join(str(copy.trouble or f"{copy.path} is not read yet") for copy in unread)
            raise StoreUnavailable(f"what versions are made of cannot be read: {why}") from None

    def looks(self, key: str, objects: Iterable[Looked]) -> None:
        """The rollout is to be told of changes of these, and of no others."""
        wanted, before = frozenset(objects), self._looks.get(key, frozenset())
        for one in before - wanted:
            self._lookers[one].discard(key)
            if not self._lookers[one]:
                del self._lookers[one]
        for one in wanted - before:
            self._lookers.setdefault(one, set()).add(key)
        if wanted:
            self._looks[key] = wanted
        else:
            self._looks.pop(key, None)

    def of_rollout(self, copy: Reflector, key: str) -> tuple[Object, ...]:
        """The objects that carry the label of the rollout `namespace/name`."""
        return copy.indexed(BY_ROLLOUT, key)

    def pods_behind(self, deployment: str) -> tuple[Object, ...]:
        """The pods of the Deployment `namespace/name`."""
        return self.pods.indexed(BY_DEPLOYMENT, deployment)

    def pods_selected(self, service: Object) -> list[Object]:
        """The pods that a Service selects."""
        in_namespace = self.pods.indexed(BY_NAMESPACE, text(service, "metadata", "namespace"))
        return pods.selected(in_namespace, mapping(service, "spec", "selector"))

    def slices_of(self, service: str) -> tuple[Object, ...]:
        """The EndpointSlices of the Service `namespace/name`."""
        return self.slices.indexed(BY_SERVICE, service)

    def _told(
        self, kind: str, keys: Callable[[Object], Iterable[str]]
    ) -> Callable[[str, Object | None, Object | None], None]:
        def on_change(_: str, before: Object | None, after: Object | None) -> None:
            for obj in (before, after):
                for key in keys(obj) if obj is not None else ():
                    self._tell((kind, key))

        return on_change

    def _told_of_pod(self, _: str, before: Object | None, after: Object | None) -> None:
        """Whoever looks at its Deployment; and whoever looks for pods of a Service that has none ready."""
        pod = after or before
        if pod is None or (before is not None and after is not None and _same_pod(before, after)):
            return
        for deployment in pods.by_deployment(pod):
            self._tell((DEPLOYMENTS, deployment))
        self._tell((PODS, text(pod, "metadata", "namespace")))

    def _tell(self, what: Looked) -> None:
        for key in tuple(self._lookers.get(what, ())):
            self._on_change(key)


def _itself(obj: Object) -> Iterable[str]:
    yield f"{text(obj, 'metadata', 'namespace')}/{text(obj, 'metadata', 'name')}"


def _rollout(obj: Object) -> Iterable[str]:
    name = text(obj, "metadata", "labels", ROLLOUT_LABEL)
    if name:
        yield f"{text(obj, 'metadata', 'namespace')}/{name}"


def _same_pod(before: Object, after: Object) -> bool:
    """Does it say the same of its health?"""
    return before.get("status") == after.get("status") and all(
        before["metadata"].get(name) == after["metadata"].get(name)
        for name in ("labels", "deletionTimestamp")
    )
