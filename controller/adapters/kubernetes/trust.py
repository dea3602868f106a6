"""Tells routers whom to believe: the controller's authorities, as a ConfigMap in every namespace that has rollouts.

Router pods mount it, so they need no right to read anything. The leader writes it where it is missing or says something
else, and takes it away with the last rollout; at rest nothing is written.
"""

import asyncio
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final

from controller.adapters.kubernetes.api import Api, ApiError, NotFound, path_of
from controller.adapters.kubernetes.backoff import Backoff
from controller.adapters.kubernetes.mirror import Object
from controller.adapters.kubernetes.raw import mapping, text
from controller.adapters.kubernetes.reflector import Reflector
from headgate.log import Log

CONFIG_MAP: Final = "headgate-ca"
KEY: Final = "ca.crt"
_LABELS: Final[Mapping[str, str]] = {"app.kubernetes.io/managed-by": "headgate"}


class Trust:
    """Publishes `bundle()` ("": not known yet) in `namespaces()`, out of `namespace` (None: of all).

    `look` says that one of these may have changed. `run` has to be running while this controller leads.
    """

    def __init__(
        self,
        api: Api,
        namespace: str | None,
        *,
        namespaces: Callable[[], frozenset[str]],
        bundle: Callable[[], str],
        log: Log,
    ) -> None:
        self._api = api
        self._namespaces = namespaces
        self._bundle = bundle
        self._log = log
        self._due = asyncio.Event()
        self._told: dict[str, str] = {}
        self._published = Reflector(
            api,
            path_of("", "v1", "configmaps", namespace),
            self._changed,
            params={"fieldSelector": f"metadata.name={CONFIG_MAP}"},
            log=log,
        )

    def look(self) -> None:
        """See soon whether what is published is still right."""
        self._due.set()

    async def run(self) -> None:
        """Keep the ConfigMaps right until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._published.run())
            group.create_task(self._keep())

    async def _keep(self) -> None:
        await self._published.wait_synced()
        backoff = Backoff()
        while True:
            if await self._all():
                backoff.succeeded()
                await self._due.wait()
            else:
                await asyncio.sleep(backoff.failed())
            self._due.clear()

    async def _all(self) -> bool:
        """Bring every namespace up to date; False if one is to be tried again."""
        try:
            wanted, bundle = self._namespaces(), self._bundle()
            there = {key.partition("/")[0] for key in self._published.keys()}  # noqa: SIM118  no mapping
            done = [await self._one(namespace, bundle) for namespace in sorted(wanted)] if bundle else []
            done += [await self._one(namespace, "") for namespace in sorted(there - wanted)]
            return all(done)
        except Exception as error:  # noqa: BLE001  the outermost frame: routers must hear of a new authority
            trace = traceback.format_exc(limit=-4)
            self._log.error("publishing authorities failed", why=repr(error), traceback=trace)
            return False

    async def _one(self, namespace: str, bundle: str) -> bool:
        """Have the bundle in the namespace, or with "" nothing of ours; False if that failed."""
        found = self._published.get(f"{namespace}/{CONFIG_MAP}")
        if found is not None and not _is_ours(found):
            if bundle and text(found, "data", KEY) != bundle:
                self._tell(
                    namespace, "it belongs to somebody else: rename it, or put the authorities into it"
                )
            return True
        try:
            if not bundle and found is not None:
                await self._delete(namespace, found)
            elif bundle and mapping(found, "data") != {KEY: bundle}:
                self._published.put(await self._api.apply(_path(namespace), _config_map(namespace, bundle)))
                self._log.info("authorities published", configmap=f"{namespace}/{CONFIG_MAP}")
        except ApiError as error:
            self._tell(namespace, str(error))
            return False
        self._told.pop(namespace, None)
        return True

    async def _delete(self, namespace: str, found: Object) -> None:
        try:
            await self._api.delete(_path(namespace), uid=text(found, "metadata", "uid"))
        except NotFound:
            return

    def _tell(self, namespace: str, why: str) -> None:
        if self._told.get(namespace) != why:
            self._told[namespace] = why
            self._log.error("authorities not published", configmap=f"{namespace}/{CONFIG_MAP}", why=why)

    def _changed(self, key: str, before: Object | None, after: Object | None) -> None:
        self._due.set()


def _is_ours(found: Object) -> bool:
    labels = mapping(found, "metadata", "labels")
    return all(labels.get(name) == value for name, value in _LABELS.items())


def _path(namespace: str) -> str:
    return path_of("", "v1", "configmaps", namespace, CONFIG_MAP)


def _config_map(namespace: str, bundle: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": namespace, "labels": dict(_LABELS)},
        "data": {KEY: bundle},
    }
