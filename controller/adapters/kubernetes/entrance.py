"""The `Entrance` port on a cluster: the existing Service of `traffic.router.takeOver`, led to the routers and back.

What is to be done is decided on the copies, and then once more on what is read live: the Service, whose
`resourceVersion` the one write names, and the pods it shall lead to, of which some must be ready. A Service that
somebody led elsewhere is not fought over. On the way back the Service leads to where it did before, unless only a
version that is not stable answers there: then to the pods of stable's own Service.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from controller.adapters.kubernetes import endpoints, takeover
from controller.adapters.kubernetes.api import LIST_BYTES_MAX, MANAGER, Api, path_of
from controller.adapters.kubernetes.copies import BY_NAMESPACE, BY_TAKER, PODS, SERVICES, Copies, Looked
from controller.adapters.kubernetes.drift import managers
from controller.adapters.kubernetes.errors import ApiError, Conflict, Fenced, NotFound
from controller.adapters.kubernetes.objects import ROLLOUT_LABEL
from controller.adapters.kubernetes.raw import items, key_of, mapping, number, text
from controller.adapters.kubernetes.takeover import Destination, Stay
from controller.core.status import EntranceObserved, RouterObserved, Status, Way
from controller.crd.revisions import VERSION_LABEL
from controller.errors import NotLeader
from headgate.log import Log
from headgate.wire.plan import RoutePlan

SETTLE_S: Final = 2.0
"""How long after the EndpointSlices say so every node is taken to know where a Service leads."""

AGAIN_S: Final = 2.0
"""What was refused, or waits for what nobody tells of, is tried again so soon."""

Object = Mapping[str, Any]


@dataclass(slots=True)
class _Notes:
    """What is known of one rollout besides its objects.

    `said` and `is_stuck`: why its Service is not as it shall be. `led` is the UID of the Service that was seen to lead
    to the routers, `who` changed it at which resourceVersion. `left` are Services that were given back, each with
    where it leads now, and since when its EndpointSlices say so (0: not yet).
    """

    said: str = ""
    is_stuck: bool = False
    led: str = ""
    who: tuple[str, str] = ("", "")
    left: dict[str, tuple[Destination, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the rollout asks for: the Service by name ("": none), and what becomes of the rollout's own pods."""

    key: str
    name: str
    spec: Object
    is_leaving: bool
    stable: str

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]

    @property
    def rollout(self) -> str:
        return self.key.partition("/")[2]

    @property
    def service(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class _Waits(Exception):
    """Why nothing is written now."""


class Entrances:
    """Implements `Entrance`. `rollout(key)` gives the ModelRollout as the API server has it; `on_change(key)` is called
    when `observed` or `bring` would answer differently."""

    def __init__(
        self,
        api: Api,
        copies: Copies,
        rollout: Callable[[str], Object | None],
        on_change: Callable[[str], None],
        log: Log,
    ) -> None:
        self._api = api
        self._copies = copies
        self._rollout = rollout
        self._on_change = on_change
        self._log = log
        self._notes: dict[str, _Notes] = {}

    def looked(self, key: str) -> tuple[Looked, ...]:
        """The objects that this depends on: the Services, and while one of them is to change, the pods."""
        concerned = self._concerned(key)
        if not concerned:
            return ()
        services = tuple((SERVICES, name) for name in concerned)
        notes = self._notes.get(key)
        waits = notes is not None and (notes.said or notes.left)
        return (*services, (PODS, key.partition("/")[0])) if waits else services

    def observed(self, key: str) -> EntranceObserved | None:
        asked, notes = self._asked(key, is_leaving=False), self._of(key)
        concerned = self._concerned(key)
        if not concerned:
            return None
        name = asked.service if asked is not None and asked.name else concerned[0]
        if not self._copies.services.is_synced:
            return EntranceObserved(f"Service {name}", Way.UNKNOWN, message=f"Service {name} is not read yet")
        found = self._copies.services.get(name)
        is_wanted = bool(asked and asked.name) and not self._is_deleting(key)
        way = self._way(key, found) if found is not None else Way.PAST
        if way is Way.CHANGED and not is_wanted:
            way = Way.PAST  # its changer's, once our note is off it
        if way is Way.CHANGED and not notes.said:
            way = Way.UNKNOWN  # until it is known who did it
        return EntranceObserved(f"Service {name}", way, is_wanted, notes.said, notes.is_stuck)

    async def bring(
        self,
        key: str,
        status: Status,
        plan: RoutePlan | None,
        routers: Sequence[RouterObserved],
        leaving: bool,
    ) -> bool:
        asked, notes = self._asked(key, leaving, status), self._of(key)
        if asked is None or (not self._concerned(key) and not notes.left):
            return True
        if not self._copies.services.is_synced:
            return not (asked.name or status.entrance)
        before = (notes.said, notes.is_stuck)
        notes.said, notes.is_stuck = "", False
        try:
            await self._give_back(asked, notes)
            if asked.name:
                await self._take(asked, notes, status, plan, routers)
        except _Waits as why:
            notes.said = str(why)
        except Fenced as error:
            raise NotLeader(str(error)) from error
        except Conflict:
            self._again(key, 0.0)  # somebody else wrote: it is looked at anew
        except ApiError as error:
            notes.said = f"it is tried again: {error}"
            self._again(key, AGAIN_S)
        if before != (notes.said, notes.is_stuck):
            self._on_change(key)
        return not notes.said and self._is_known(asked, notes)

    def forget(self, key: str) -> None:
        """There is no such rollout any more."""
        self._notes.pop(key, None)

    # --- what is asked for, and what is --------------------------------------------------------------------------

    def _of(self, key: str) -> _Notes:
        return self._notes.setdefault(key, _Notes())

    def _asked(self, key: str, is_leaving: bool, status: Status | None = None) -> _Asked | None:
        rollout = self._rollout(key)
        if rollout is None:
            return None
        spec = mapping(rollout, "spec")
        name = "" if is_leaving else text(spec, "traffic", "router", "takeOver")
        stable = status.stable.name if status is not None and status.stable is not None else ""
        return _Asked(key, name, spec, is_leaving, stable)

    def _is_deleting(self, key: str) -> bool:
        return bool(text(self._rollout(key), "metadata", "deletionTimestamp"))

    def _concerned(self, key: str) -> tuple[str, ...]:
        """The Services, `namespace/name`: the one that is asked for, and those that carry the rollout's note."""
        taken = takeover.names(self._copies.services.indexed(BY_TAKER, key))
        name = text(self._rollout(key), "spec", "traffic", "router", "takeOver")
        asked = f"{key.partition('/')[0]}/{name}"
        return (asked, *(one for one in taken if one != asked)) if name else taken

    def _way(self, key: str, found: Object) -> Way:
        """As `takeover.way_of`; one that led to the routers, and lost our note as well, was changed, too."""
        way = takeover.way_of(found, key)
        uid, notes = text(found, "metadata", "uid"), self._of(key)
        if way is Way.LED:
            notes.led = uid
        return Way.CHANGED if way is Way.PAST and notes.led == uid else way

    # --- to the routers ------------------------------------------------------------------------------------------

    async def _take(
        self,
        asked: _Asked,
        notes: _Notes,
        status: Status,
        plan: RoutePlan | None,
        routers: Sequence[RouterObserved],
    ) -> None:
        found = self._copies.services.get(asked.service)
        way = self._way(asked.key, found) if found is not None else Way.PAST
        if way is Way.LED:
            return
        if found is not None and way is Way.CHANGED:
            raise _Waits(await self._changed(asked, notes, found))
        why = takeover.unfit(found, asked.key, asked.name)
        if why:
            notes.is_stuck = True
            raise _Waits(why)
        if not self._copies.pods.is_synced:
            raise _Waits(f"Service {asked.service} is not taken over yet: pods are not read yet")
        what, to = f"Service {asked.service} is not taken over yet", takeover.routers_of(asked.rollout)
        why_not = _unproven(status, plan) or (
            takeover.not_ready(self._pods(asked.namespace), to, routers, plan) if plan is not None else ""
        )
        if why_not:
            raise _Waits(f"{what}: {why_not}")
        live = await self._live(asked.service)
        if takeover.way_of(live, asked.key) is not Way.PAST or takeover.unfit(live, asked.key, asked.name):
            raise Conflict(f"{what}: it was changed just now")
        if not takeover.reached(await self._live_pods(asked.namespace, to), to):
            raise _Waits(f"{what}: no router pod is ready")
        await self._write(asked, live, takeover.taking(live, asked.key))
        self._log.info("a Service is taken over", rollout=asked.key, service=asked.service)

    async def _changed(self, asked: _Asked, notes: _Notes, found: Object) -> str:
        """Who led it elsewhere, asked live once for each state of it."""
        version = text(found, "metadata", "resourceVersion")
        if notes.who[0] != version:
            live = await self._live(asked.service)
            notes.who = (version, managers(live, "spec.selector", MANAGER))
        to = takeover.routers_of(asked.rollout)
        return (
            f"Service {asked.service} was changed by {notes.who[1]}, leads to {takeover.destination_of(found)} and "
            f"past the routers, and is left so: set its selector to {to} and its targetPort to {to.port}, "
            "or take takeOver out of the rollout, and write it again later"
        )

    # --- and back ------------------------------------------------------------------------------------------------

    async def _give_back(self, asked: _Asked, notes: _Notes) -> None:
        for found in self._copies.services.indexed(BY_TAKER, asked.key):
            if text(found, "metadata", "name") != asked.name:
                await self._give(asked, notes, key_of(found))
        if not asked.name:
            notes.led = ""

    async def _give(self, asked: _Asked, notes: _Notes, service: str) -> None:
        try:
            live = await self._live(service)
        except NotFound:
            return
        note = takeover.note_of(live)
        if note is None or note.by != asked.key:
            return
        if takeover.way_of(live, asked.key) is not Way.LED:
            await self._write(asked, live, takeover.letting(live))
            return
        what = f"Service {service} is not given back yet"
        to = await self._back(asked, what, note.before)
        await self._write(asked, live, takeover.giving(live, to))
        notes.left[service] = (to, 0.0)
        self._log.info("a Service is given back", rollout=asked.key, service=service, to=str(to))

    async def _back(self, asked: _Asked, what: str, before: Destination) -> Destination:
        """Where it shall lead; _Waits while nobody is ready there."""
        stay = Stay(asked.rollout, asked.stable, asked.is_leaving and not _keeps(asked.spec))
        there = takeover.reached(await self._live_pods(asked.namespace, before), before)
        stable = self._stable(asked)
        if stable is None:
            why = stay.trouble(there)
            if why:
                raise _Waits(
                    f"{what}: it led to {before} before, and {why}: make them ready, "
                    "or write its selector as you want it"
                )
            return before
        serving = takeover.reached(await self._live_pods(asked.namespace, stable), stable)
        if not serving:
            raise _Waits(f"{what}: {asked.stable} is stable, and none of its pods ({stable}) is ready")
        known = {text(pod, "metadata", "uid") for pod in serving}
        is_same = there and all(text(pod, "metadata", "uid") in known for pod in there)
        return before if is_same else stable

    def _stable(self, asked: _Asked) -> Destination | None:
        """The pods of stable that are there with and without the rollout; None where it has no such pods."""
        versions = [one for one in items(asked.spec, "versions") if text(one, "name") == asked.stable]
        if versions:
            name = text(versions[0], "service", "name")
            service = self._copies.services.get(f"{asked.namespace}/{name}")
            port = mapping(versions[0], "service").get("port")
            found = takeover.destination_of(service, port) if service is not None else None
            return found if found is not None and found.selector and found.port else None
        if asked.is_leaving and _keeps(asked.spec) and asked.stable:
            labels = {ROLLOUT_LABEL: asked.rollout, VERSION_LABEL: asked.stable}
            return Destination(labels, asked.spec.get("port", 0))
        return None

    def _is_known(self, asked: _Asked, notes: _Notes) -> bool:
        """Does everybody know where the Services that were given back lead now? Asked again until it is so."""
        now = asyncio.get_running_loop().time()
        for service, (to, since) in tuple(notes.left.items()):
            if since and now - since >= SETTLE_S:
                del notes.left[service]
            elif not since and self._is_published(asked.namespace, service, to):
                notes.left[service] = (to, now)
                self._again(asked.key, SETTLE_S)
        return not notes.left

    def _is_published(self, namespace: str, service: str, to: Destination) -> bool:
        """Do its EndpointSlices lead to those pods and nowhere else?"""
        found = self._copies.services.get(service)
        if found is None:
            return True  # nobody is led anywhere
        port = number(items(found, "spec", "ports")[0], "port")
        told = endpoints.published(found, self._copies.slices_of(service), service, port)
        ready = {endpoint.host for endpoint in told.endpoints}
        return bool(ready) and ready <= takeover.addresses(takeover.reached(self._pods(namespace), to))

    # --- reading and writing -------------------------------------------------------------------------------------

    def _pods(self, namespace: str) -> tuple[Object, ...]:
        return self._copies.pods.indexed(BY_NAMESPACE, namespace)

    async def _live(self, service: str) -> dict[str, Any]:
        return await self._api.get(path_of("", "v1", SERVICES, *service.split("/")))

    async def _live_pods(self, namespace: str, to: Destination) -> list[Object]:
        path, params = path_of("", "v1", PODS, namespace), {"labelSelector": str(to)}
        return items(await self._api.get(path, params, body_bytes_max=LIST_BYTES_MAX), "items")

    async def _write(self, asked: _Asked, live: Object, patch: Mapping[str, Any]) -> None:
        path = path_of("", "v1", SERVICES, asked.namespace, text(live, "metadata", "name"))
        self._copies.services.put(await self._api.merge_patch(path, patch))

    def _again(self, key: str, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._on_change, key)


def _keeps(spec: Object) -> bool:
    return text(spec, "deletionPolicy") == "Orphan"


def _unproven(status: Status, plan: RoutePlan | None) -> str:
    """Why the routers could not serve yet."""
    if plan is None or status.stable is None or not status.is_stable_proven:
        return "no version serves through the routers"
    serving = next((version for version in plan.versions if version.name == plan.stable), None)
    return "" if serving is not None and serving.endpoints else f"{plan.stable} has no ready endpoint"
