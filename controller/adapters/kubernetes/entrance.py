"""The `Entrance` port on a cluster: what was there before the rollout, led to it and back.

That is the existing Service of `traffic.router.takeOver`, and with it the Deployment of `workloadRef` (`adoption`), whose
pods go after users were led away from them, and are back before users are.

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
from controller.adapters.kubernetes.adoption import Adoptions
from controller.adapters.kubernetes.api import LIST_BYTES_MAX, MANAGER, Api, path_of
from controller.adapters.kubernetes.copies import (
    BY_NAMESPACE,
    BY_TAKER,
    DEPLOYMENTS,
    PODS,
    SERVICES,
    Copies,
    Looked,
)
from controller.adapters.kubernetes.drift import managers
from controller.adapters.kubernetes.errors import ApiError, Conflict, Fenced, NotFound
from controller.adapters.kubernetes.objects import ROLLOUT_LABEL
from controller.adapters.kubernetes.raw import items, key_of, mapping, number, text
from controller.adapters.kubernetes.takeover import Destination, Stay
from controller.adapters.kubernetes.wishes import Waits, Wish, adopted, taken_over, wish_of
from controller.core.status import EntranceObserved, RouterObserved, Status, Way
from controller.crd.revisions import VERSION_LABEL
from controller.errors import NotLeader
from headgate.log import Log
from headgate.wire.plan import RoutePlan

SETTLE_S: Final = 2.0
"""How long after the EndpointSlices say so every node is taken to know where a Service leads."""

ANEW_S: Final = 0.1
"""What somebody else wrote meanwhile is looked at anew so soon: their write is on its way here."""

AGAIN_S: Final = 2.0
"""What was refused is tried again so soon."""

LATER_S: Final = 10.0
"""What waits for something that nobody may tell of is looked at again so soon."""

Object = Mapping[str, Any]


@dataclass(slots=True)
class _Notes:
    """What is known of one rollout besides its objects.

    `said` and `is_stuck`: why its Service or its Deployment is not as it shall be. `led` is the UID of the Service that
    was seen to lead to the routers, `settled` the same once everybody knew, `who` changed it at which resourceVersion.
    `left` are Services that were led elsewhere just now, each with where, and since when its EndpointSlices say so (0:
    not yet). `past` is the UID of the Service of which everybody knows that it leads past the routers. `timer`: when it is
    looked at again.
    """

    said: str = ""
    is_stuck: bool = False
    led: str = ""
    settled: str = ""
    who: tuple[str, str] = ("", "")
    left: dict[str, tuple[Destination, float]] = field(default_factory=dict)
    past: str = ""
    timer: asyncio.TimerHandle | None = None


class Entrances:
    """Implements `Entrance`. `rollout(key)` gives the ModelRollout as the API server has it; `on_change(key)` is called
    when `observed` or `bring` would answer differently."""

    def __init__(
        self,
        api: Api,
        copies: Copies,
        adoptions: Adoptions,
        rollout: Callable[[str], Object | None],
        on_change: Callable[[str], None],
        log: Log,
    ) -> None:
        self._api = api
        self._copies = copies
        self._adoptions = adoptions
        self._rollout = rollout
        self._on_change = on_change
        self._log = log
        self._notes: dict[str, _Notes] = {}

    def looked(self, key: str) -> tuple[Looked, ...]:
        """The objects that this depends on; while one of them is to change, also the pods."""
        services, deployments = self._services(key), self._deployments(key)
        if not services and not deployments:
            return ()
        found = [(SERVICES, name) for name in services] + [(DEPLOYMENTS, name) for name in deployments]
        notes = self._of(key)
        return (*found, (PODS, key.partition("/")[0])) if notes.said or notes.left else tuple(found)

    def observed(self, key: str) -> EntranceObserved | None:
        services, deployments, notes = self._services(key), self._deployments(key), self._of(key)
        if not services:
            what = f"Deployment {deployments[0]}" if deployments else ""
            return EntranceObserved(what, Way.PAST, False, notes.said, notes.is_stuck) if what else None
        what = f"Service {services[0]}"
        if not self._copies.services.is_synced:
            return EntranceObserved(what, Way.UNKNOWN, message=f"{what} is not read yet")
        is_wanted = services[0] == self._asked(key) and not self._is_deleting(key)
        found = self._copies.services.get(services[0])
        way = self._way(key, found) if found is not None else Way.PAST
        if way is Way.CHANGED and not is_wanted:
            way = Way.PAST  # its changer's, once our note is off it
        if way is Way.CHANGED and not notes.said:
            way = Way.UNKNOWN  # until it is known who did it
        return EntranceObserved(what, way, is_wanted, notes.said, notes.is_stuck)

    async def bring(
        self,
        key: str,
        status: Status,
        plan: RoutePlan | None,
        routers: Sequence[RouterObserved],
        leaving: bool,
    ) -> bool:
        rollout, notes = self._rollout(key), self._of(key)
        if rollout is None or not (self._services(key) or self._deployments(key) or notes.left):
            return True
        wish = wish_of(rollout, status, is_leaving=leaving)
        if not (self._copies.services.is_synced and self._copies.deployments.is_synced):
            return not (wish.service or wish.deployment or status.entrance)
        before = (notes.said, notes.is_stuck)
        notes.said, notes.is_stuck = "", False
        try:
            await self._bring(wish, notes, status, plan, routers)
        except Waits as why:
            notes.said, notes.is_stuck = str(why), why.is_stuck
            self._again(key, LATER_S)
        except Fenced as error:
            raise NotLeader(str(error)) from error
        except Conflict:
            self._again(key, ANEW_S)
            return False  # somebody else wrote: it is looked at anew
        except ApiError as error:
            notes.said = f"it is tried again: {error}"
            self._again(key, AGAIN_S)
        if before != (notes.said, notes.is_stuck):
            self._on_change(key)
        return not notes.said and not notes.left

    async def _bring(
        self,
        wish: Wish,
        notes: _Notes,
        status: Status,
        plan: RoutePlan | None,
        routers: Sequence[RouterObserved],
    ) -> None:
        """First those back that are needed on the way back, then the way, then away with those that are not needed."""
        await self._adoptions.restore(wish)
        await self._give_back(wish, notes)
        if wish.is_leaving:
            self._leave(wish, notes)
        if wish.service:
            await self._take(wish, notes, status, plan, routers)
        self._settle(wish, notes)
        if not notes.left:
            await self._adoptions.release(wish)
        if wish.deployment:
            await self._adoptions.scale_down(wish, not notes.left and not _unproven(status, plan))

    def forget(self, key: str) -> None:
        """There is no such rollout any more."""
        notes = self._notes.pop(key, None)
        if notes is not None and notes.timer is not None:
            notes.timer.cancel()

    # --- what is asked for, and what is --------------------------------------------------------------------------

    def _of(self, key: str) -> _Notes:
        return self._notes.setdefault(key, _Notes())

    def _asked(self, key: str) -> str:
        """The Service that the rollout asks for, `namespace/name`; "" for none."""
        return taken_over(key, mapping(self._rollout(key), "spec"))

    def _is_deleting(self, key: str) -> bool:
        return bool(text(self._rollout(key), "metadata", "deletionTimestamp"))

    def _services(self, key: str) -> tuple[str, ...]:
        """The Services that matter: the one that is asked for first, and those that carry the rollout's note."""
        taken = takeover.names(self._copies.services.indexed(BY_TAKER, key))
        asked = self._asked(key)
        return (asked, *(one for one in taken if one != asked)) if asked else taken

    def _deployments(self, key: str) -> tuple[str, ...]:
        """The same of Deployments."""
        noted = self._adoptions.noted(key)
        asked = adopted(key, mapping(self._rollout(key), "spec"))
        return (asked, *(one for one in noted if one != asked)) if asked else noted

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
        wish: Wish,
        notes: _Notes,
        status: Status,
        plan: RoutePlan | None,
        routers: Sequence[RouterObserved],
    ) -> None:
        found = self._copies.services.get(wish.service)
        way = self._way(wish.key, found) if found is not None else Way.PAST
        if way is Way.LED:
            if notes.settled != text(found, "metadata", "uid"):
                notes.left.setdefault(wish.service, (takeover.routers_of(wish.rollout), 0.0))
            return
        if found is not None and way is Way.CHANGED:
            raise Waits(await self._changed(wish, notes, found))
        name = wish.service.partition("/")[2]
        why = takeover.unfit(found, wish.key, name)
        if why:
            raise Waits(why, is_stuck=True)
        if not self._copies.pods.is_synced:
            raise Waits(f"Service {wish.service} is not taken over yet: pods are not read yet")
        what, to = f"Service {wish.service} is not taken over yet", takeover.routers_of(wish.rollout)
        why_not = _unproven(status, plan) or (
            takeover.not_ready(self._pods(wish.namespace), to, routers, plan) if plan is not None else ""
        )
        if why_not:
            raise Waits(f"{what}: {why_not}")
        live = await self._live(wish.service)
        if takeover.way_of(live, wish.key) is not Way.PAST or takeover.unfit(live, wish.key, name):
            raise Conflict(f"{what}: it was changed just now")
        if not takeover.reached(await self._live_pods(wish.namespace, to), to):
            raise Waits(f"{what}: no router pod is ready")
        await self._write(wish, live, takeover.taking(live, wish.key))
        notes.left[wish.service] = (takeover.routers_of(wish.rollout), 0.0)
        self._log.info("a Service is taken over", rollout=wish.key, service=wish.service)

    async def _changed(self, wish: Wish, notes: _Notes, found: Object) -> str:
        """Who led it elsewhere, asked live once for each state of it."""
        version = text(found, "metadata", "resourceVersion")
        if notes.who[0] != version:
            live = await self._live(wish.service)
            notes.who = (version, managers(live, "spec.selector", MANAGER))
        to = takeover.routers_of(wish.rollout)
        return (
            f"Service {wish.service} was changed by {notes.who[1]}, leads to {takeover.destination_of(found)} and "
            f"past the routers, and is left so: set its selector to {to} and its targetPort to {to.port}, "
            "or take takeOver out of the rollout, and write it again later"
        )

    # --- and back ------------------------------------------------------------------------------------------------

    async def _give_back(self, wish: Wish, notes: _Notes) -> None:
        for found in self._copies.services.indexed(BY_TAKER, wish.key):
            if key_of(found) != wish.service:
                await self._give(wish, notes, key_of(found))
        if not wish.service:
            notes.led = ""

    def _leave(self, wish: Wish, notes: _Notes) -> None:
        """Before the rollout's pods go, everybody has to know; whoever gave the Service back may have died before that."""
        service = self._asked(wish.key)
        found = self._copies.services.get(service) if service else None
        if found is None or service in notes.left or notes.past == text(found, "metadata", "uid"):
            return
        is_fit = not takeover.unfit(found, wish.key, service.partition("/")[2])
        if is_fit and self._way(wish.key, found) is not Way.LED:
            notes.left[service] = (takeover.destination_of(found), 0.0)

    async def _give(self, wish: Wish, notes: _Notes, service: str) -> None:
        try:
            live = await self._live(service)
        except NotFound:
            return
        note = takeover.note_of(live)
        if note is None or note.by != wish.key:
            return
        if takeover.way_of(live, wish.key) is not Way.LED:
            await self._write(wish, live, takeover.letting(live))
            return
        what = f"Service {service} is not given back yet"
        to = await self._back(wish, what, note.before)
        await self._write(wish, live, takeover.giving(live, to))
        notes.left[service] = (to, 0.0)
        self._log.info("a Service is given back", rollout=wish.key, service=service, to=str(to))

    async def _back(self, wish: Wish, what: str, before: Destination) -> Destination:
        """Where it shall lead; Waits while nobody is ready there."""
        name = wish.stable.name if wish.stable is not None else ""
        stay = Stay(wish.rollout, name, wish.is_leaving and not wish.keeps)
        there = takeover.reached(await self._live_pods(wish.namespace, before), before)
        stable = self._stable(wish)
        if stable is None:
            why = stay.trouble(there)
            if why:
                raise Waits(
                    f"{what}: it led to {before} before, and {why}: make them ready, "
                    "or write its selector as you want it"
                )
            return before
        serving = takeover.reached(await self._live_pods(wish.namespace, stable), stable)
        if not serving:
            raise Waits(f"{what}: {name} is stable, and none of its pods ({stable}) is ready")
        known = {text(pod, "metadata", "uid") for pod in serving}
        is_same = there and all(text(pod, "metadata", "uid") in known for pod in there)
        return before if is_same else stable

    def _stable(self, wish: Wish) -> Destination | None:
        """The pods of stable that are there with and without the rollout; None where it has no such pods."""
        stable = wish.stable.name if wish.stable is not None else ""
        versions = [one for one in items(wish.spec, "versions") if text(one, "name") == stable]
        if versions:
            name = text(versions[0], "service", "name")
            service = self._copies.services.get(f"{wish.namespace}/{name}")
            port = mapping(versions[0], "service").get("port")
            found = takeover.destination_of(service, port) if service is not None else None
            return found if found is not None and found.selector and found.port else None
        if wish.is_leaving and wish.keeps and stable:
            labels = {ROLLOUT_LABEL: wish.rollout, VERSION_LABEL: stable}
            return Destination(labels, wish.spec.get("port", 0))
        return None

    def _settle(self, wish: Wish, notes: _Notes) -> None:
        """Note who is known by everybody to lead where it leads now; asked again until all are."""
        now = asyncio.get_running_loop().time()
        for service, (to, since) in tuple(notes.left.items()):
            if since and now - since >= SETTLE_S:
                del notes.left[service]
                uid = text(self._copies.services.get(service), "metadata", "uid")
                if service == wish.service:
                    notes.settled = uid
                else:
                    notes.past = uid
            elif not since and self._is_published(wish.namespace, service, to):
                notes.left[service] = (to, now)
                self._again(wish.key, SETTLE_S)

    def _is_published(self, namespace: str, service: str, to: Destination) -> bool:
        """Do its EndpointSlices lead to those pods and nowhere else? To nobody is as good where none of them is ready."""
        found = self._copies.services.get(service)
        if found is None:
            return True  # nobody is led anywhere
        port = number(items(found, "spec", "ports")[0], "port")
        told = endpoints.published(found, self._copies.slices_of(service), service, port)
        ready = {endpoint.host for endpoint in told.endpoints}
        there = takeover.addresses(takeover.reached(self._pods(namespace), to))
        return ready <= there and bool(ready) == bool(there)

    # --- reading and writing -------------------------------------------------------------------------------------

    def _pods(self, namespace: str) -> tuple[Object, ...]:
        return self._copies.pods.indexed(BY_NAMESPACE, namespace)

    async def _live(self, service: str) -> dict[str, Any]:
        return await self._api.get(path_of("", "v1", SERVICES, *service.split("/")))

    async def _live_pods(self, namespace: str, to: Destination) -> list[Object]:
        path, params = path_of("", "v1", PODS, namespace), {"labelSelector": str(to)}
        return items(await self._api.get(path, params, body_bytes_max=LIST_BYTES_MAX), "items")

    async def _write(self, wish: Wish, live: Object, patch: Mapping[str, Any]) -> None:
        path = path_of("", "v1", SERVICES, wish.namespace, text(live, "metadata", "name"))
        self._copies.services.put(await self._api.merge_patch(path, patch))

    def _again(self, key: str, seconds: float) -> None:
        """Look again after so many seconds, or when that was to be done anyway if that is earlier."""
        notes, loop = self._of(key), asyncio.get_running_loop()
        if notes.timer is not None and notes.timer.when() <= loop.time() + seconds:
            return
        if notes.timer is not None:
            notes.timer.cancel()
        notes.timer = loop.call_later(seconds, self._due, key)

    def _due(self, key: str) -> None:
        self._of(key).timer = None
        self._on_change(key)


def _unproven(status: Status, plan: RoutePlan | None) -> str:
    """Why the routers could not serve yet."""
    if plan is None or status.stable is None or not status.is_stable_proven:
        return "no version serves through the routers"
    serving = next((version for version in plan.versions if version.name == plan.stable), None)
    return "" if serving is not None and serving.endpoints else f"{plan.stable} has no ready endpoint"
