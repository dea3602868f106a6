"""Adopted Deployments on a cluster: their pods go when users reach the rollout's own, and come back before users do.

A pod of theirs goes only while every Service that selects it has a ready pod of somebody else, read live; and no more
of them than the rollout has ready pods in their place. Who changes their number by hand meanwhile is not fought.
"""

from collections.abc import Callable, Mapping
from typing import Any

from controller.adapters.kubernetes import adopted, takeover
from controller.adapters.kubernetes.adopted import Note, ScaleDown
from controller.adapters.kubernetes.api import LIST_BYTES_MAX, MANAGER, Api, path_of
from controller.adapters.kubernetes.copies import BY_ADOPTER, DEPLOYMENTS, PODS, SERVICES, Copies
from controller.adapters.kubernetes.drift import managers
from controller.adapters.kubernetes.errors import NotFound
from controller.adapters.kubernetes.objects import name_of
from controller.adapters.kubernetes.pods import by_deployment
from controller.adapters.kubernetes.raw import items, key_of, mapping, number
from controller.adapters.kubernetes.wishes import Waits, Wish
from controller.crd.revisions import merge_patch

Object = Mapping[str, Any]


class Adoptions:
    """Reads and writes the Deployments that rollouts adopt.

    `means(key, deployment)` gives the identity of the version that its template means for the rollout, "" if none.
    """

    def __init__(self, api: Api, copies: Copies, means: Callable[[str, Object], str]) -> None:
        self._api = api
        self._copies = copies
        self._means = means

    def noted(self, key: str) -> tuple[str, ...]:
        """The Deployments, `namespace/name`, that carry the rollout's note."""
        return takeover.names(self._copies.deployments.indexed(BY_ADOPTER, key))

    # --- down ----------------------------------------------------------------------------------------------------

    async def scale_down(self, wish: Wish, is_led: bool) -> None:
        """Let go of the pods that are not needed any more, now that users reach others (`is_led`); Waits while they
        are, or somebody else decides."""
        found = self._copies.deployments.get(wish.deployment)
        if found is None:
            raise Waits(
                f"there is no Deployment {wish.deployment} any more: its last template stays the target"
            )
        had, left = _counted(found)
        if left != adopted.replicas_of(found):
            raise Waits(await self._changed(wish, left))
        if wish.scale_down is ScaleDown.NEVER or left == 0:
            return
        ready = self._ready(wish)
        to = adopted.needed(wish.scale_down, had, left, ready)
        if to < left and is_led:
            to = await self._scale(wish, to)
        if to:
            raise Waits(self._until(wish, had, to, ready, is_led))

    def _ready(self, wish: Wish) -> int:
        """How many pods of stable are ready, of those that the rollout has made."""
        if wish.stable is None:
            return 0
        name = f"{wish.namespace}/{name_of(wish.rollout, wish.stable.name)}"
        return number(self._copies.deployments.get(name), "status", "readyReplicas")

    def _until(self, wish: Wish, had: int, left: int, ready: int, is_led: bool) -> str:
        told = f"Deployment {wish.deployment} has {left} of its {had} pods"
        if not is_led:
            return f"{told} until users reach those of the rollout"
        wanted = number(wish.spec, "replicas") or 1
        if wanted < had:
            return f"{told} as long as replicas is {wanted}: write replicas: {had}, or scale it to {wanted} yourself"
        return f"{told} until {had} of the rollout are ready in their place ({ready} are)"

    async def _changed(self, wish: Wish, left: int) -> str:
        live = await self._live(wish.deployment)
        who = managers(live, "spec.replicas", MANAGER)
        return (
            f"Deployment {wish.deployment} was scaled to {adopted.replicas_of(live)} by {who} and is left so: "
            f"scale it to {left}, or remove its annotation {adopted.NOTE} and Headgate goes on from there"
        )

    async def _scale(self, wish: Wish, to: int) -> int:
        """Have it `to` pods, if that leaves nobody without any; how many it has now."""
        live = await self._live(wish.deployment)
        had, left = _counted(live)
        if left != adopted.replicas_of(live):
            return left
        await self._demand_others(wish, live)
        await self._write(live, adopted.scaling(live, wish.key, had, to))
        return to

    async def _demand_others(self, wish: Wish, live: Object) -> None:
        """Waits unless every Service that leads to its pods leads to a ready one of somebody else, too."""
        found = await self._all(PODS, wish.namespace)
        own = [pod for pod in found if key_of(live) in by_deployment(pod)]
        others = [pod for pod in found if pod not in own]
        for service in await self._all(SERVICES, wish.namespace):
            to = takeover.destination_of(service)
            if to.selector and takeover.reached(own, to) and not takeover.reached(others, to):
                raise Waits(
                    f"Deployment {key_of(live)} keeps its pods: Service {key_of(service)} leads to them alone; "
                    "lead it to the rollout's (traffic.router.takeOver), or delete it"
                )

    async def _all(self, plural: str, namespace: str) -> list[Object]:
        """The collection as it is now."""
        path = path_of("", "v1", plural, namespace)
        return items(await self._api.get(path, body_bytes_max=LIST_BYTES_MAX), "items")

    # --- and up --------------------------------------------------------------------------------------------------

    async def restore(self, wish: Wish) -> None:
        """Give every Deployment that is adopted no more its pods back; Waits until they are ready."""
        for name in self._given_up(wish):
            await self._restore(wish, name)

    async def release(self, wish: Wish) -> None:
        """Take our note off them, last of all."""
        for name in self._given_up(wish):
            live = await self._find(name)
            if live is not None and adopted.note_of(live) is not None:
                await self._write(live, adopted.releasing(live))

    def _given_up(self, wish: Wish) -> list[str]:
        return [name for name in self.noted(wish.key) if name != wish.deployment]

    async def _restore(self, wish: Wish, name: str) -> None:
        live = await self._find(name)
        note = adopted.note_of(live) if live is not None else None
        if live is None or note is None or (wish.is_leaving and wish.keeps):
            return
        if adopted.replicas_of(live) == note.left != note.had:
            self._demand_stable(wish, name, live)
            live = await self._write(live, adopted.scaling(live, wish.key, note.had, note.had))
        if not adopted.is_whole(live) and adopted.replicas_of(live):
            wanted, ready = adopted.replicas_of(live), number(live, "status", "readyReplicas")
            raise Waits(f"Deployment {name} is to have its pods back first: {ready} of {wanted} are ready")

    def _demand_stable(self, wish: Wish, name: str, live: Object) -> None:
        """Its pods would be of its present template, which must be the one that serves."""
        if wish.stable is None or self._means(wish.key, live) == wish.stable.identity:
            return
        namespace, _, deployment = name.partition("/")
        raise Waits(
            f"Deployment {name} does not get its pods back: its template is not that of {wish.stable.name}, which is "
            f"stable; set it back (kubectl -n {namespace} rollout undo deployment/{deployment}), or write "
            "deletionPolicy: Orphan",
            is_stuck=True,
        )

    async def retarget(self, name: str, template: Object) -> None:
        """Write an earlier template back into the Deployment `namespace/name`, if it is there."""
        live = await self._find(name)
        if live is not None:
            as_read = {field: mapping(live, "metadata").get(field) for field in ("uid", "resourceVersion")}
            patch = merge_patch(mapping(live, "spec", "template"), template)
            await self._write(live, {"metadata": as_read, "spec": {"template": patch}})

    # --- reading and writing -------------------------------------------------------------------------------------

    async def _live(self, name: str) -> dict[str, Any]:
        return await self._api.get(path_of("apps", "v1", DEPLOYMENTS, *name.split("/")))

    async def _find(self, name: str) -> dict[str, Any] | None:
        try:
            return await self._live(name)
        except NotFound:
            return None

    async def _write(self, live: Object, patch: Mapping[str, Any]) -> dict[str, Any]:
        path = path_of("apps", "v1", DEPLOYMENTS, *key_of(live).split("/"))
        written = await self._api.merge_patch(path, patch)
        self._copies.deployments.put(written)
        return written


def _counted(found: Object) -> tuple[int, int]:
    """How many pods it had before the rollout, and how many it was left."""
    replicas = adopted.replicas_of(found)
    note = adopted.note_of(found) or Note("", replicas, replicas)
    return note.had, note.left
