"""Traffic moved by a gateway: the controller writes plans into HTTPRoutes, and reads from their status what is in force.

To the reconciler a route is one more router: what it runs, when it was heard, what is wrong. `Accepted` by a gateway
says that it will be so, not that it is, so a plan counts as run only a settle time after that. A route that somebody
else changed is not fought over: it is an error that holds every increase; only a plan that gives stable more than the
route does is written all the same.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from controller.adapters.kubernetes import httproute
from controller.adapters.kubernetes.api import LIST_BYTES_MAX, Api, path_of
from controller.adapters.kubernetes.errors import ApiError, NotFound
from controller.adapters.kubernetes.httproute import GROUP, PLURAL, Wanted
from controller.adapters.kubernetes.objects import Owner
from controller.adapters.kubernetes.raw import items, text
from controller.adapters.kubernetes.reflector import Reflector
from controller.adapters.routers import RouterRegistry
from controller.core.analysis.dispersion import Dispersion
from controller.core.status import RouterObserved
from headgate.log import Log
from headgate.wire.plan import NOTHING_APPLIED, Applied, RoutePlan
from headgate.wire.telemetry import Telemetry

SETTLE_S: Final = 5.0
"""How long after its acceptance a route counts as what the gateway does."""

TAKEN_S: Final = 10.0
"""How long a gateway may take to say anything of a route that was written, before that is a fault."""

REFUSED_S: Final = 10.0
"""So often a route is looked at again that we may not write: what keeps us from it may be another object."""

AGAIN_S: Final = 2.0
"""A write that failed is tried again so soon."""

TAKE_BACK: Final = (
    f"put them back, or remove its annotation {httproute.PLAN} and Headgate writes its own again"
)


@dataclass(slots=True)
class _Route:
    """One rollout's route: the plan it shall carry, the one it was seen to run, and what is wrong."""

    asked: Wanted
    plan: RoutePlan | None = None
    applied: Applied = NOTHING_APPLIED
    accepted: Applied | None = None
    accepted_at: float = 0.0
    refused: str = ""
    again: asyncio.TimerHandle | None = None
    heard_at: float = 0.0
    unread_since: float | None = None


class Gateways:
    """The HTTPRoutes of all rollouts that ask for one, which `wanted(key)` says. `on_change(key)` when something of a route
    changed; `now`: Unix seconds.

    The collection is read from the first such rollout on: a cluster without the Gateway API is no fault without one.
    """

    def __init__(
        self,
        api: Api,
        namespace: str | None,
        on_change: Callable[[str], None],
        now: Callable[[], float],
        log: Log,
        *,
        wanted: Callable[[str], Wanted | None],
        settle_s: float = SETTLE_S,
        taken_s: float = TAKEN_S,
    ) -> None:
        self._api = api
        self._on_change = on_change
        self._now = now
        self._log = log
        self._wanted = wanted
        self._settle_s = settle_s
        self._taken_s = taken_s
        self._routes: dict[str, _Route] = {}
        self._of_object: dict[str, set[str]] = {}
        self._asked = asyncio.Event()
        self._dirty: asyncio.Queue[str] = asyncio.Queue()
        self._writing = asyncio.Lock()
        path = path_of(GROUP, "v1", PLURAL, namespace)
        self._copy = Reflector(api, path, self._changed, log=log)

    def publish(self, plan: RoutePlan, asked: Wanted) -> None:
        """From now on the route shall carry this plan; idempotent."""
        route = self._route(asked)
        if route.plan is None or route.plan.triple != plan.triple:
            route.plan = plan
            self._dirty.put_nowait(asked.key)

    def observed(self, asked: Wanted) -> RouterObserved:
        """The route as a router: what it runs, and why it does not run what it shall."""
        route = self._route(asked)
        found = self._copy.get(_object_key(asked))
        error = self._look(route, found)
        is_others = found is not None and self._is_others(asked, found)
        changed = None if found is None else "" if is_others else self._overridden(route, found)
        if self._copy.is_synced and self._copy.trouble is None:
            route.heard_at = self._now()
        return RouterObserved(
            id=f"httproute/{asked.name}",
            applied=route.applied,
            seen_at=route.heard_at,
            error=error or changed or "",
            override=changed if self._copy.is_synced and route.plan is not None else None,
        )

    def drop(self, key: str) -> None:
        """There is no such rollout any more."""
        route = self._routes.pop(key, None)
        if route is not None:
            self._let_go(route.asked)

    async def release(self, owner: Owner) -> None:
        """Let the routes of a rollout that goes stay, as they are and nobody's; an ApiError if that cannot be written."""
        path = path_of(GROUP, "v1", PLURAL, owner.namespace)
        async with self._writing:  # a write that is under way would give the reference back
            route = self._routes.get(owner.key)
            if route is not None:
                route.asked = replace(route.asked, stays=True)
            try:
                listed = await self._api.get(path, body_bytes_max=LIST_BYTES_MAX)
            except NotFound:
                return  # a cluster without the Gateway API
            for found in items(listed, "items"):
                patch = owner.releasing(found)
                if patch is not None:
                    await self._api.merge_patch(f"{path}/{text(found, 'metadata', 'name')}", patch)

    async def run(self) -> None:
        """Write what is to be written, until cancelled."""
        await self._asked.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._copy.run())
            while True:
                key = await self._dirty.get()
                route = self._routes.get(key)
                if route is not None and route.plan is not None:
                    async with self._writing:
                        await self._write(route, route.plan)
                    self._on_change(key)

    # --- reading --------------------------------------------------------------------------------------------------

    def _look(self, route: _Route, found: Mapping[str, Any] | None) -> str:
        """Note what the route runs now; in words why it is not what it shall be, "" if it is or is about to be."""
        plan = route.plan
        if plan is None or found is None or self._is_others(route.asked, found):
            return route.refused
        if self._overridden(route, found):
            return ""
        carried = httproute.carried(found)
        if carried != Applied(plan.epoch, plan.generation, 0):
            return route.refused
        why_not = httproute.not_accepted(found)
        is_unread = why_not is not None and why_not.startswith(httproute.NOT_TAKEN)
        if not is_unread:
            route.unread_since = None
        if why_not is not None:
            route.accepted = None
            is_early = "not looked at" in why_not or (is_unread and self._is_early(route))
            return "" if is_early else why_not
        self._settle(route, plan)
        return ""

    def _is_early(self, route: _Route) -> bool:
        """Was the route written so lately that no gateway need have read it?"""
        if route.unread_since is None:
            route.unread_since = self._now()
            asyncio.get_running_loop().call_later(self._taken_s, self._on_change, route.asked.key)
        return self._now() - route.unread_since < self._taken_s

    def _overridden(self, route: _Route, found: Mapping[str, Any]) -> str:
        """What somebody else made of the route, and how it becomes ours again; "" if nobody changed it."""
        overridden = httproute.override(found, route.asked.rules)
        return "" if overridden is None else f"{overridden}; {TAKE_BACK}"

    def _settle(self, route: _Route, plan: RoutePlan) -> None:
        """A plan that the gateways accepted is run once the settle time is over."""
        numbers = Applied(plan.epoch, plan.generation, 0)
        if route.accepted != numbers:
            route.accepted, route.accepted_at = numbers, self._now()
            asyncio.get_running_loop().call_later(self._settle_s, self._on_change, route.asked.key)
        if self._now() - route.accepted_at >= self._settle_s:
            route.applied = plan.triple

    def _changed(self, key: str, before: object, after: object) -> None:
        for rollout in self._of_object.get(key, ()):
            self._dirty.put_nowait(rollout)

    def _route(self, asked: Wanted) -> _Route:
        known = self._routes.get(asked.key)
        if known is None:
            known = self._routes[asked.key] = _Route(asked)
            self._asked.set()
        if known.asked != asked:
            self._let_go(known.asked)
            known.asked = asked
            self._dirty.put_nowait(asked.key)
        self._of_object.setdefault(_object_key(asked), set()).add(asked.key)
        return known

    def _let_go(self, asked: Wanted) -> None:
        """This rollout is not told of that route any more."""
        told = self._of_object.get(_object_key(asked), set())
        told.discard(asked.key)
        if not told:
            self._of_object.pop(_object_key(asked), None)

    def _is_others(self, asked: Wanted, found: Mapping[str, Any]) -> bool:
        """Is the route somebody else's; of one that is not ours to own, does another rollout move its traffic?"""
        if not asked.rules:
            return not _is_ours(found, asked)
        namespace, _, name = asked.key.partition("/")
        mover = httproute.moved_by(found)
        if mover in ("", name):
            return False
        other = self._wanted(f"{namespace}/{mover}")
        return other is not None and other.name == asked.name

    # --- writing --------------------------------------------------------------------------------------------------

    async def _write(self, route: _Route, plan: RoutePlan) -> None:
        if not self._copy.is_synced:
            await self._copy.wait_synced()
        found = self._copy.get(_object_key(route.asked))
        is_ours = found is not None and not self._is_others(route.asked, found)
        if found is not None and is_ours and self._is_left_alone(route, plan, found):
            return
        before, again_s = route.refused, REFUSED_S
        try:
            route.refused = await self._send(route.asked, plan, found)
        except ApiError as error:
            route.refused, again_s = f"HTTPRoute {route.asked.name} was not written: {error}", AGAIN_S
        if route.again is not None:
            route.again.cancel()
        if route.refused:
            later = asyncio.get_running_loop().call_later
            route.again = later(again_s, self._dirty.put_nowait, route.asked.key)
        if route.refused not in ("", before):
            self._log.warning("the route is not written", rollout=route.asked.key, why=route.refused)

    def _is_left_alone(self, route: _Route, plan: RoutePlan, found: Mapping[str, Any]) -> bool:
        """Does the route carry this plan already, or is it somebody else's by now, and stable not short of anything?"""
        rules, carried = route.asked.rules, httproute.carried(found)
        if httproute.override(found, rules) is None:
            return carried == Applied(plan.epoch, plan.generation, 0)
        if carried is not None and carried.generation == plan.generation:
            return True  # the very plan that somebody changed
        stable = route.asked.backends.get(plan.stable)
        name = f"{stable.service}:{stable.port}" if stable is not None else ""
        there = httproute.taken_from_stable(httproute.weights_of(found, rules), name)
        return 10_000 - plan.weights().get(plan.stable, 0) >= there

    async def _send(self, asked: Wanted, plan: RoutePlan, found: Mapping[str, Any] | None) -> str:
        """Write the plan; in words why it was not, "" if it was."""
        namespace = asked.key.partition("/")[0]
        path = path_of(GROUP, "v1", PLURAL, namespace, asked.name)
        missing = [version.name for version in plan.versions if version.name not in asked.backends]
        if plan.stable in missing:
            return f"version {plan.stable} has no Service that a route could name: write service, with the port's number"
        if asked.rules:
            return await self._change(asked, plan, path)
        if found is not None and not _is_ours(found, asked):
            return (
                f"HTTPRoute {asked.name} is there already and not this rollout's: give another name, "
                "or write rules to let Headgate change only those of it"
            )
        self._copy.put(await self._api.apply(path, httproute.owned(plan, asked)))
        return ""

    async def _change(self, asked: Wanted, plan: RoutePlan, path: str) -> str:
        """Only our rules of somebody else's route, read live: it is written whole, so nobody's change may be lost."""
        try:
            live = await self._api.get(path)
        except NotFound:
            return f"there is no HTTPRoute {asked.name}: make it, or leave rules out and Headgate makes one"
        if self._is_others(asked, live):
            return (
                f"rollout {httproute.moved_by(live)} moves the traffic of HTTPRoute {asked.name} already: give one of the two a route of "
                "its own"
            )
        body = httproute.changed(plan, asked, live)
        if isinstance(body, str):
            return body
        self._copy.put(await self._api.replace(path, body))
        return ""


class Routers:
    """Implements `ports.Routers`: a gateway where the rollout asks for one, our routers elsewhere."""

    def __init__(
        self, registry: RouterRegistry, gateways: Gateways, wanted: Callable[[str], Wanted | None]
    ) -> None:
        self._registry = registry
        self._gateways = gateways
        self._wanted = wanted

    def publish(self, plan: RoutePlan) -> None:
        """Offer this plan to whoever carries the rollout's traffic."""
        asked = self._wanted(plan.rollout)
        if asked is None:
            self._registry.publish(plan)
        else:
            self._gateways.publish(plan, asked)

    def observed(self, key: str) -> tuple[RouterObserved, ...]:
        """Every router that counts; of a gateway one, the route."""
        asked = self._wanted(key)
        return self._registry.observed(key) if asked is None else (self._gateways.observed(asked),)

    def reports(self, key: str) -> Sequence[Telemetry]:
        """What our routers counted; a gateway reports nothing to us."""
        return self._registry.reports(key)

    def usual(self, key: str) -> Dispersion:
        """As our routers count; not known of a gateway."""
        return self._registry.usual(key)

    def requests_per_s(self, key: str) -> float | None:
        """As our routers count; not known of a gateway."""
        return self._registry.requests_per_s(key)

    def epoch_seen(self) -> int:
        """The highest epoch any router said it runs."""
        return self._registry.epoch_seen()


def _object_key(asked: Wanted) -> str:
    return f"{asked.key.partition('/')[0]}/{asked.name}"


def _is_ours(found: Mapping[str, Any], asked: Wanted) -> bool:
    namespace, _, name = asked.key.partition("/")
    return Owner(namespace, name, asked.uid).may_have(found)
