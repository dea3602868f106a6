"""Puts the controller of a cluster together: copies of the API server's objects, leadership, and the same reconciler.

What differs from local mode is the store, who may write, and where versions come from; core, registry of routers, API
and loop are the same parts. One replica leads; the others keep their copies warm and wait. A leader that leads no
more stops writing at once and ends, and is started anew by whoever runs it: nothing of what it had in hand lives on.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from controller.adapters.effects import HttpEffects
from controller.adapters.kubernetes.access import ClusterAccess
from controller.adapters.kubernetes.actions import FINAL, INDEX, phase_of
from controller.adapters.kubernetes.actions import PLURAL as ACTIONS
from controller.adapters.kubernetes.api import Api, Misconfigured, Settings, path_of
from controller.adapters.kubernetes.events import Events
from controller.adapters.kubernetes.gateway import Gateways, Routers
from controller.adapters.kubernetes.httproute import Wanted, wanted
from controller.adapters.kubernetes.leases import Elector, Timing
from controller.adapters.kubernetes.membership import Membership
from controller.adapters.kubernetes.raw import key_of
from controller.adapters.kubernetes.reflector import Reflector
from controller.adapters.kubernetes.store import GROUP, VERSION, KubernetesStore
from controller.adapters.kubernetes.store import PLURAL as ROLLOUTS
from controller.adapters.kubernetes.warmrequests import WarmRequests
from controller.adapters.kubernetes.wishes import by_adopted
from controller.adapters.kubernetes.workloads import KubernetesWorkloads
from controller.adapters.prometheus.counters import PrometheusCounters
from controller.adapters.routers import RouterRegistry
from controller.adapters.warmup import Warmer
from controller.api import view
from controller.api.access import SharedToken
from controller.api.app import create_app
from controller.api.deps import Changes, Deps
from controller.api.security import LOOPBACK_NAMES
from controller.api.server import ApiServer, api_server, listen
from controller.api.shown import Seen
from controller.api.standby import Front, standby_app
from controller.core.spec import Spec
from controller.core.status import Decision, Status
from controller.crd import Refused
from controller.crd.compiler import Compiler
from controller.errors import ControllerError
from controller.ports import Compiled, Stored
from controller.reconcile.gather import Gatherer
from controller.reconcile.loop import Loop
from controller.reconcile.queue import WorkQueue
from controller.reconcile.reconciler import Reconciler
from controller.settings import ClusterSettings
from controller.telemetry import Metrics
from headgate.log import Log

if TYPE_CHECKING:
    from controller.adapters.kubernetes.serving import Serving

LEASE: Final = "headgate-controller"
EVERYWHERE: Final = ("", "0.0.0.0", "::")  # noqa: S104  a comparison

BY_ADOPTED: Final = "adopted"
"""Index of the rollouts: the Deployment that each of them asks for."""

SYNC_S: Final = 30.0
"""How long the first lists may take before that is said, again and again."""

Object = Mapping[str, Any]


class Leadership(Protocol):
    """Who may write, in this order: `acquire`, `lead`, `release` (see `Elector`)."""

    @property
    def transitions(self) -> int: ...

    @property
    def leader_address(self) -> str: ...

    def is_leader(self) -> bool: ...

    def is_following(self) -> bool: ...

    async def acquire(self) -> int: ...

    async def lead(self, on_lost: Callable[[str], None]) -> None: ...

    async def release(self) -> None: ...


class Alone:
    """The only controller there is: somebody else sees to that."""

    transitions = 0
    leader_address = ""

    def is_leader(self) -> bool:
        return True

    def is_following(self) -> bool:
        return False

    async def acquire(self) -> int:
        return self.transitions

    async def lead(self, on_lost: Callable[[str], None]) -> None:
        await asyncio.Event().wait()

    async def release(self) -> None:
        return


@dataclass(slots=True)
class Cluster:
    """All parts of a running controller."""

    settings: ClusterSettings
    api: Api
    rollouts: Reflector
    actions: Reflector
    workloads: KubernetesWorkloads
    leadership: Leadership
    serving: "Serving | None"
    compiler: Compiler
    store: KubernetesStore
    events: Events
    registry: RouterRegistry
    gateways: Gateways
    routers: Routers
    queue: WorkQueue
    changes: Changes
    metrics: Metrics
    log: Log


def run(settings: ClusterSettings, announce: Callable[[str], None]) -> int:
    """Run the controller until told to stop: 0 after a stop in order, 1 if it could not start or leads no more.

    `announce` gets the lines a person should read.
    """
    try:
        return asyncio.run(serve_cluster(settings, announce))
    except Misconfigured as error:
        print(f"headgate controller: {error}", file=sys.stderr)
    except ControllerError as error:
        print(f"headgate controller: {error}", file=sys.stderr)
    except OSError as error:
        print(f"headgate controller: {error}: choose another with --api or --token-file", file=sys.stderr)
    return 1


async def serve_cluster(settings: ClusterSettings, announce: Callable[[str], None]) -> int:
    """Watch, wait until this one leads, reconcile; until SIGTERM, SIGINT, or another one leads."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    async with AsyncExitStack() as stack:
        cluster = _connect(settings)
        stack.push_async_callback(cluster.api.close)
        host, _, port = settings.api_listen.rpartition(":")
        listener = listen(host, int(port))
        has_synced = asyncio.Event()
        front = Front(
            standby_app(
                lambda: "this controller does not lead",
                leader=lambda: cluster.leadership.leader_address,
                follows=lambda: has_synced.is_set() and cluster.leadership.is_following(),
            )
        )
        serving_tls = cluster.serving
        server = api_server(front, serving_tls.tls.context if serving_tls is not None else None)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stack.push_async_callback(_closed, cluster, server, serving)
        stack.push_async_callback(cluster.workloads.close)
        if serving_tls is not None:
            stack.push_async_callback(_ended, asyncio.create_task(serving_tls.run()))
        for part in (cluster.rollouts.run(), cluster.actions.run(), cluster.workloads.run()):
            stack.push_async_callback(_ended, asyncio.create_task(part))
        if not await _first(stopping, _synced(cluster)):
            return 0
        has_synced.set()
        _settle_memory()
        stack.push_async_callback(cluster.leadership.release)
        if not await _first(stopping, cluster.leadership.acquire()):
            return 0
        leading = asyncio.create_task(cluster.leadership.lead(lambda why: None))
        stack.push_async_callback(_ended, leading)
        scheme = "http" if serving_tls is None else "https"
        announced = f"API at {scheme}://{host}:{listener.getsockname()[1]}"
        return await _serve(
            cluster, (stopping, leading, serving), front, stack, lambda text: announce(f"{announced}, {text}")
        )


async def _serve(
    cluster: Cluster,
    ends: tuple[asyncio.Task[Any], ...],
    front: Front,
    stack: AsyncExitStack,
    announce: Callable[[str], None],
) -> int:
    """Lead: everything that decides and writes, until the first of `ends`, a stop (0), or another one of them, such as
    the loss of the lease (1)."""
    settings, store, queue, log = cluster.settings, cluster.store, cluster.queue, cluster.log
    for part in (store.run(), cluster.events.run(), cluster.gateways.run()):
        stack.push_async_callback(_ended, asyncio.create_task(part))
    if cluster.serving is not None:
        stack.push_async_callback(_ended, asyncio.create_task(cluster.serving.lead()))
    membership = Membership(
        cluster.registry,
        cluster.workloads.pods,
        store.keys,
        time.time,
        log,
        are_pods=settings.token_file is None,
    )
    stack.push_async_callback(_ended, asyncio.create_task(membership.run()))
    stack.push_async_callback(store.flush)
    counters = PrometheusCounters(settings.providers)
    stack.push_async_callback(counters.close)
    effects = HttpEffects(sinks=settings.sinks, allowed=settings.allowed_hooks, on_news=queue.add, log=log)
    stack.push_async_callback(effects.close)
    gatherer = Gatherer(counters, queue.add)
    stack.push_async_callback(gatherer.close)
    warmer = Warmer(WarmRequests(cluster.api).found, queue.add, log, settings.reach)
    stack.push_async_callback(warmer.close)
    compiler, next_at = cluster.compiler, dict[str, float | None]()

    def on_recorded(key: str, decision: Decision | None) -> None:
        if decision is None:
            cluster.registry.drop(key)
            cluster.gateways.drop(key)
            cluster.workloads.forget(key)
            next_at.pop(key, None)
        else:
            next_at[key] = decision.requeue_at
            store.look_again(key, decision.requeue_at)
        cluster.changes.notify(key)

    epoch = await store.acquire_epoch(0)
    reconciler = Reconciler(
        store=store,
        workloads=cluster.workloads,
        warmth=warmer,
        routers=cluster.routers,
        entrance=cluster.workloads.entrance,
        gatherer=gatherer,
        effects=effects,
        compile_document=lambda stored: _compiled(compiler, stored),
        epoch=epoch,
        metrics=cluster.metrics,
        now=time.time,
        on_recorded=on_recorded,
        log=log,
        leads=cluster.leadership.is_leader,
    )
    loop = Loop(reconciler, queue, cluster.metrics, time.time, log)
    deps = Deps(
        store=store,
        routers=cluster.registry,
        changes=cluster.changes,
        wake=lambda key: queue.add(key, urgent=True),
        now=time.time,
        access=ClusterAccess(cluster.api, _shared(settings.token_file)),
        metrics=cluster.metrics,
        next_action_at=next_at.get,
        is_ready=lambda: loop.has_seen(store.keys()),
        providers=frozenset(settings.providers),
        sinks=frozenset(settings.sinks),
        is_loopback=settings.api_listen.rpartition(":")[0] in LOOPBACK_NAMES,
        compiler=compiler,
    )
    front.app = create_app(deps)
    looping = asyncio.create_task(loop.run())
    stack.push_async_callback(_finished, queue, looping)
    for key in store.keys():  # noqa: SIM118  # a port, not a mapping
        queue.add(key)
    announce(f"leading with epoch {epoch}")
    done, _ = await asyncio.wait({*ends, looping}, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return 0 if ends[0] in done else 1


def _connect(settings: ClusterSettings) -> Cluster:
    """The parts that every replica has, also one that does not lead; nothing is sent yet."""
    log = Log("controller")
    home = settings.home or settings.namespace
    api = Api.connect(Settings(context=settings.context, kubeconfig=settings.kubeconfig, namespace=home))
    leadership: Leadership = _elector(api, settings, log) if settings.leader_election else Alone()
    namespace = None if settings.all_namespaces else settings.namespace or api.namespace
    queue, changes = WorkQueue(), Changes()
    writer = api.fenced(leadership.is_leader)
    serving = _serving(settings, api, writer, namespace, lambda: _namespaces(rollouts), log)

    def on_rollout(key: str, before: Object | None, after: Object | None) -> None:
        if _matters(before, after):
            queue.add(key, urgent=True)
        for other in _waiting(rollouts, before, after):
            queue.add(other)
        if struck := _struck(before, after):
            registry.struck(key, struck)
        if serving is not None and (before is None or after is None):
            serving.look()
        changes.notify(key)

    def on_action(key: str, before: Object | None, after: Object | None) -> None:
        if after is not None and phase_of(after) not in FINAL:
            for rollout in INDEX["rollout"](after):
                queue.add(rollout, urgent=True)

    def wanted_route(key: str) -> Wanted | None:
        found = rollouts.get(key)
        return None if found is None else wanted(found)

    rollouts = Reflector(
        api, path_of(GROUP, VERSION, ROLLOUTS, namespace), on_rollout, log=log, index={BY_ADOPTED: by_adopted}
    )
    actions = Reflector(api, path_of(GROUP, VERSION, ACTIONS, namespace), on_action, log=log, index=INDEX)
    gateways = Gateways(writer, namespace, queue.add, time.time, log, wanted=wanted_route)
    workloads = KubernetesWorkloads(
        writer,
        namespace=namespace,
        rollout=rollouts.get,
        reach=settings.reach,
        on_change=queue.add,
        release=gateways.release,
        adopting=partial(rollouts.indexed, BY_ADOPTED),
        log=log,
    )
    compiler = Compiler(workloads.revisions)
    instance = os.environ.get("POD_NAME") or socket.gethostname()
    events = Events(writer, instance=instance, is_leader=leadership.is_leader, now=time.time, log=log)

    def compiled(stored: Stored) -> Spec | str:
        found = compiler.compile(stored)
        return str(found) if isinstance(found, Refused) else found.spec

    def shown(stored: Stored, next_at: float | None) -> dict[str, Any]:
        spec = compiled(stored)
        known = None if isinstance(spec, str) else spec
        return view.full(Seen(stored, known, routers.observed(stored.key), time.time(), next_at), ())

    store = KubernetesStore(
        writer,
        rollouts,
        actions,
        events=events,
        compiled=compiled,
        shown=shown,
        retargeted=workloads.retargeted,
        transitions=lambda: leadership.transitions,
        is_leader=leadership.is_leader,
        now=time.time,
        log=log,
    )

    def on_router(key: str) -> None:
        queue.add(key, urgent=True)
        changes.notify(key)

    registry = RouterRegistry(store, time.time, on_router)
    routers = Routers(registry, gateways, wanted_route)
    metrics = Metrics(lambda: _statuses(store))
    return Cluster(
        settings,
        api,
        rollouts,
        actions,
        workloads,
        leadership,
        serving,
        compiler,
        store,
        events,
        registry,
        gateways,
        routers,
        queue,
        changes,
        metrics,
        log,
    )


def _struck(before: Object | None, after: Object | None) -> set[str]:
    """The routers that counted, and of which the object says now that they do not; none where all of its status is lost."""
    was, now = ((found or {}).get("status") or {} for found in (before, after))
    return set(was.get("routers") or ()) - set(now.get("routers") or ()) if "state" in now else set()


def _elector(api: Api, settings: ClusterSettings, log: Log) -> Elector:
    """The elector with the parts of a lease in the proportion that Kubernetes itself uses: 15, 10 and 2 seconds."""
    lease_s = settings.lease_s
    timing = Timing(lease_s, lease_s * 10 / 15, lease_s * 2 / 15)
    return Elector(api, LEASE, log, address=address_of(settings, os.environ.get("POD_IP", "")), timing=timing)


def address_of(settings: ClusterSettings, pod_ip: str) -> str:
    """Where other replicas send those who ask them and not the leader; "" if that cannot be known beforehand."""
    host, _, port = settings.api_listen.rpartition(":")
    if host.strip("[]") in EVERYWHERE:
        host = f"[{pod_ip}]" if ":" in pod_ip else pod_ip
    return f"http{'s' * settings.is_tls}://{host}:{port}" if host and port != "0" else ""


def _serving(
    settings: ClusterSettings,
    api: Api,
    writer: Api,
    namespace: str | None,
    namespaces: Callable[[], frozenset[str]],
    log: Log,
) -> "Serving | None":
    """The TLS of the API; None where it is served in clear."""
    if not settings.is_tls:
        return None
    from controller.adapters.kubernetes.serving import CertificateOf, Serving, names_of  # not needed in clear

    cert, key = settings.tls_cert, settings.tls_key
    return Serving(
        api,
        writer,
        namespace=namespace,
        names=names_of(api.namespace, settings.api_listen.rpartition(":")[0], settings.api_names),
        files=CertificateOf(cert, key) if cert is not None and key is not None else None,
        namespaces=namespaces,
        now=time.time,
        log=log,
    )


def _namespaces(rollouts: Reflector) -> frozenset[str]:
    """Where there are rollouts."""
    return frozenset(key.partition("/")[0] for key in rollouts.keys())  # noqa: SIM118  no mapping


def _matters(before: Object | None, after: Object | None) -> bool:
    """Did anybody but us write? Our own notes in the status are known here already."""
    if before is None or after is None:
        return True
    told = ("uid", "generation", "deletionTimestamp", "annotations", "finalizers")
    return any(before["metadata"].get(name) != after["metadata"].get(name) for name in told)


def _waiting(rollouts: Reflector, before: Object | None, after: Object | None) -> Iterator[str]:
    """The rollouts that may have the Deployment now which this one adopted and does not any more."""
    for deployment in set(by_adopted(before or {})) - set(by_adopted(after or {})):
        yield from map(key_of, rollouts.indexed(BY_ADOPTED, deployment))


async def _synced(cluster: Cluster) -> None:
    """Until both collections were read once; nothing may be decided on half of them."""
    while True:
        try:
            async with asyncio.timeout(SYNC_S):
                await cluster.rollouts.wait_synced()
                await cluster.actions.wait_synced()
                return
        except TimeoutError:
            cluster.log.warning("still waiting for the API server's rollouts and actions")


def _settle_memory() -> None:
    """What was read so far stays: let the collector of cycles not go through all of it again and again, in the way of
    everything else on the loop."""
    gc.collect()
    gc.freeze()


async def _first(stopping: asyncio.Task[Any], waiting: Any) -> bool:
    """Wait for it; False if the controller is stopped before."""
    task = asyncio.ensure_future(waiting)
    await asyncio.wait({stopping, task}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        await _ended(task)
        return False
    task.result()
    return True


async def _ended(task: asyncio.Future[Any]) -> None:
    """End what runs for ever."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _finished(queue: WorkQueue, looping: asyncio.Task[None]) -> None:
    """Let reconciles under way come to their end, and begin none."""
    queue.close()
    await asyncio.gather(looping, return_exceptions=True)


async def _closed(cluster: Cluster, server: ApiServer, serving: asyncio.Task[None]) -> None:
    """Answer the long polls and close the API."""
    cluster.changes.close()
    cluster.registry.close()
    server.should_exit = True
    await asyncio.gather(serving, return_exceptions=True)


def _statuses(store: KubernetesStore) -> list[tuple[str, Status]]:
    keys = store.keys()
    found = ((key, store.load(key)) for key in keys)
    return [(key, stored.status) for key, stored in found if stored is not None]


def _compiled(compiler: Compiler, stored: Stored) -> Compiled | str:
    found = compiler.compile(stored)
    return str(found) if isinstance(found, Refused) else found


def _shared(path: Path | None) -> Callable[[str], bool]:
    """Which tokens may do everything: the one in the file, if there is one."""
    if path is None:
        return lambda token: False
    token = path.read_text().strip()
    if not token:
        raise OSError(f"{path} is empty")
    return SharedToken(token).is_right
