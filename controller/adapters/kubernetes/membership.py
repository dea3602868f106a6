"""Router pods that are gone count no more: whoever replaces one need not tell us to forget it.

A router counts until it is known to be gone, for a silent one may still serve an old share. That it is gone is known
here by its pod: its id is the pod's name, and there is no pod of that name, or all of its containers ended. A pod on a
lost node is still there, and holds what it held until the cluster gives it up.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from controller.adapters.kubernetes.raw import text
from controller.core.status import RouterObserved
from controller.errors import ControllerError
from headgate.log import Log

LOOK_S: Final = 10.0
SILENT_S: Final = 60.0
"""A router that is silent for less may be one whose pod the copy does not have yet."""

FRESH_S: Final = 60.0
"""A copy of the pods that is older says nothing of who is gone."""

_ENDED: Final = frozenset({"Succeeded", "Failed"})

Object = Mapping[str, Any]


class Pods(Protocol):
    """The copy of the pods: `Reflector`."""

    @property
    def is_synced(self) -> bool: ...

    @property
    def last_heard_s(self) -> float: ...

    def get(self, key: str) -> Object | None: ...


class Members(Protocol):
    """Who counts: `RouterRegistry`."""

    def observed(self, key: str) -> Sequence[RouterObserved]: ...

    async def forget(self, key: str, router: str) -> bool: ...


class Membership:
    """Forgets router pods that are gone. `now` gives Unix seconds.

    `are_pods`: every router signs in as a pod, so one without a pod is gone. Otherwise (somebody shares a token) only one
    that was seen as a pod in this life of the controller.
    """

    def __init__(
        self,
        members: Members,
        pods: Pods,
        keys: Callable[[], Sequence[str]],
        now: Callable[[], float],
        log: Log,
        *,
        are_pods: bool,
    ) -> None:
        self._members = members
        self._pods = pods
        self._keys = keys
        self._now = now
        self._log = log
        self._are_pods = are_pods
        self._began_at = now()
        self._seen: set[str] = set()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except ControllerError as error:
                self._log.warning("a router that is gone still counts", why=str(error))

    async def look(self) -> None:
        """Forget whoever is gone. ControllerError: that could not be written; the next look does it."""
        if not self._pods.is_synced or self._pods.last_heard_s > FRESH_S:
            return
        here: set[str] = set()
        for key in self._keys():
            namespace = key.partition("/")[0]
            for router in self._members.observed(key):
                pod = f"{namespace}/{router.id}"
                if self._is_there(pod):
                    here.add(pod)
                elif (self._are_pods or pod in self._seen) and self._is_silent(router):
                    await self._members.forget(key, router.id)
                    self._log.info("a router's pod is gone", rollout=key, router=router.id)
                elif pod in self._seen:
                    here.add(pod)
        self._seen = here

    def _is_there(self, pod: str) -> bool:
        found = self._pods.get(pod)
        return found is not None and text(found, "status", "phase") not in _ENDED

    def _is_silent(self, router: RouterObserved) -> bool:
        """Was it not heard for so long, or since this controller began?"""
        return self._now() - max(router.seen_at, self._began_at) > SILENT_S
