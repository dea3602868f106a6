"""Puts the local controller together: one process that owns the store, reconciles, serves the API and minds routers.

`up` runs until SIGTERM or SIGINT and then stops what it started, in order: reconciling, the API, routers (they
drain), model servers. Killed at any instant it leaves routers and model servers running; the next `up` on the same
state folder takes them over and goes on where the last decision was recorded.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from controller.adapters.effects import HttpEffects
from controller.adapters.processes import LocalWorkloads
from controller.adapters.processes.router import RouterCommand, RouterFailed, RouterProcess
from controller.adapters.prometheus.counters import PrometheusCounters
from controller.adapters.routers import RouterRegistry
from controller.adapters.sqlite import SqliteStore
from controller.adapters.warmup import Warmer
from controller.adapters.warmup.recorded import recorded_in
from controller.api.access import SharedToken
from controller.api.app import create_app
from controller.api.deps import Changes, Deps
from controller.api.server import api_server, listen
from controller.core.status import Decision
from controller.crd import Parsed, Refused, changes, parse
from controller.crd.compiler import Compiler
from controller.crd.places import Place
from controller.errors import ControllerError
from controller.ports import Compiled, Stored
from controller.reconcile.gather import Gatherer
from controller.reconcile.loop import Loop
from controller.reconcile.queue import WorkQueue
from controller.reconcile.reconciler import Reconciler
from controller.settings import LocalSettings
from controller.telemetry import Metrics
from headgate.files import replace_file
from headgate.log import Log

ENDPOINT_FILE: Final = "endpoint.json"
APPLIED_FILE: Final = "applied.json"
RECORDS: Final = "records"
"""In a router's folder: its comparison records, JSON Lines."""
ROUTERS_S: Final = 0.5
"""How often rollouts that came or went are looked for."""

ROUTER_AGAIN_S: Final = 5.0
"""A router that could not be started is tried again after this."""

TOKEN_FILE: Final = "token"  # noqa: S105  (a file's name)


class CannotStart(Exception):
    """`up` cannot begin; the text says what is wrong and what to do."""


@dataclass(slots=True)
class Local:
    """All parts of a running local controller."""

    settings: LocalSettings
    store: SqliteStore
    registry: RouterRegistry
    workloads: LocalWorkloads
    warmer: Warmer
    counters: PrometheusCounters
    gatherer: Gatherer
    effects: HttpEffects
    queue: WorkQueue
    loop: Loop
    deps: Deps
    log: Log
    api_port: int
    token_path: Path
    routers: dict[str, RouterProcess] = field(default_factory=dict)
    primary: str | None = None
    """The rollout whose router serves where the settings say."""


def up(settings: LocalSettings, announce: Callable[[str], None]) -> int:
    """Run controller and routers until told to stop: 0 after a stop in order, 1 if it could not start.

    `announce` gets the lines a person should read.
    """
    try:
        return asyncio.run(_run(settings, announce))
    except (CannotStart, ControllerError, RouterFailed) as error:
        print(f"headgate up: {error}", file=sys.stderr)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"headgate up: {where}{error.strerror or error}: make room or choose another --state",
            file=sys.stderr,
        )
    return 1


async def _run(settings: LocalSettings, announce: Callable[[str], None]) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    local, listener = await _build(settings)
    server = api_server(create_app(local.deps))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    looping = minding = None
    try:
        await local.workloads.start(local.store.keys())
        looping = asyncio.create_task(local.loop.run())
        keys = local.store.keys()
        for key in keys:
            local.queue.add(key)
        await _start_routers(local)
        _write_endpoint(local)
        _announce(local, announce)
        minding = asyncio.create_task(_mind_routers(local))
        await _until_stopped(stop, serving, looping, minding)
    finally:
        await _stop(local, looping, minding)
        local.deps.changes.close()
        local.registry.close()
        server.should_exit = True
        await serving
        local.store.close()
    return 0


async def _build(settings: LocalSettings) -> tuple[Local, Any]:
    state = settings.state_dir
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"state folder {state}: {error.strerror}: choose another with --state") from error
    log = Log("controller")
    store = SqliteStore(state / "headgate.db")
    queue, changes_, compiler = WorkQueue(), Changes(), Compiler()
    registry = RouterRegistry(store, time.time, on_change=lambda key: _wake(queue, changes_, key))
    metrics = Metrics(lambda: _statuses(store))
    workloads = LocalWorkloads(state, folder=Path.cwd(), on_change=queue.add)
    warmer = Warmer(
        lambda key, warmup: recorded_in(_run_folder(settings, key) / RECORDS, warmup), queue.add, log
    )
    counters = PrometheusCounters(settings.providers)
    gatherer = Gatherer(counters, queue.add)
    effects = HttpEffects(sinks=settings.sinks, allowed=settings.allowed_hooks, on_news=queue.add, log=log)
    next_at: dict[str, float | None] = {}

    def on_recorded(key: str, decision: Decision | None) -> None:
        if decision is None:
            registry.drop(key)
            next_at.pop(key, None)
        else:
            next_at[key] = decision.requeue_at
        changes_.notify(key)

    reconciler = Reconciler(
        store=store,
        workloads=workloads,
        warmth=warmer,
        routers=registry,
        gatherer=gatherer,
        effects=effects,
        compile_document=lambda stored: _compiled(compiler, stored),
        epoch=await store.acquire_epoch(0),
        metrics=metrics,
        now=time.time,
        on_recorded=on_recorded,
        log=log,
        leads=lambda: True,  # nobody else has the store
    )
    loop = Loop(reconciler, queue, metrics, time.time, log)
    await _apply(settings, store)
    listener = _listen(settings)
    token_path = state / TOKEN_FILE
    deps = Deps(
        store=store,
        routers=registry,
        changes=changes_,
        wake=lambda key: queue.add(key, urgent=True),
        now=time.time,
        access=SharedToken(_token(token_path)),
        metrics=metrics,
        next_action_at=next_at.get,
        is_ready=lambda: loop.has_seen(store.keys()),
        providers=frozenset(settings.providers),
        sinks=frozenset(settings.sinks),
        compiler=compiler,
    )
    port = int(listener.getsockname()[1])
    local = Local(
        settings,
        store,
        registry,
        workloads,
        warmer,
        counters,
        gatherer,
        effects,
        queue,
        loop,
        deps,
        log,
        port,
        token_path,
    )
    return local, listener


def _wake(queue: WorkQueue, changes_: Changes, key: str) -> None:
    queue.add(key, urgent=True)
    changes_.notify(key)


def _statuses(store: SqliteStore) -> list[tuple[str, Any]]:
    keys = store.keys()
    found = ((key, store.load(key)) for key in keys)
    return [(key, stored.status) for key, stored in found if stored is not None]


def _compiled(compiler: Compiler, stored: Stored) -> Compiled | str:
    found = compiler.compile(stored)
    return str(found) if isinstance(found, Refused) else found


async def _apply(settings: LocalSettings, store: SqliteStore) -> None:
    """Store the rollouts that `up` was given, all or none.

    One that is what the last `up` was given is left alone: a restart undoes no `set-target` made in between.
    """
    note = settings.state_dir / APPLIED_FILE
    applied = _read_json(note)
    wanted = [rollout for rollout in settings.rollouts if _is_new(rollout, applied, store)]
    for rollout in wanted:
        known = store.load(rollout.key)
        parsed = parse(
            rollout.document,
            providers=frozenset(settings.providers),
            sinks=frozenset(settings.sinks),
            place=Place.MACHINE,
        )
        faults = changes(known.document if known else None, rollout.document, known.status if known else None)
        faults += parsed.faults if isinstance(parsed, Refused) else ()
        if faults:
            raise CannotStart(f"{rollout.key}: " + "; ".join(map(str, faults)))
    for rollout in wanted:
        await store.put_document(rollout.key, rollout.document)
    _write_json(note, applied | {rollout.key: _digest(rollout) for rollout in wanted})


def _is_new(rollout: Parsed, applied: Mapping[str, Any], store: SqliteStore) -> bool:
    return store.load(rollout.key) is None or applied.get(rollout.key) != _digest(rollout)


def _digest(rollout: Parsed) -> str:
    return blake2b(
        json.dumps(rollout.document, sort_keys=True, default=str).encode(), digest_size=16
    ).hexdigest()


def _listen(settings: LocalSettings) -> Any:
    """The API's listening socket: where it was last time if any port would do, so that routers find it again."""
    host, _, port = settings.api_listen.rpartition(":")
    before = _read_json(settings.state_dir / ENDPOINT_FILE).get("apiPort")
    if port == "0" and isinstance(before, int):
        try:
            return listen(host, before)
        except OSError:
            before = None  # somebody else has it now: any other will do
    try:
        return listen(host, int(port))
    except OSError as error:
        raise CannotStart(f"{error}: stop what uses it, or choose another with --api") from error


def _token(path: Path) -> str:
    """The operator's token, made at the first start and kept; only its owner may read it."""
    try:
        found = path.read_text().strip()
    except FileNotFoundError:
        found = ""
    if not found:
        found = secrets.token_urlsafe(32)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(found + "\n")
    path.chmod(0o600)
    return found


async def _start_routers(local: Local) -> None:
    """A router for each rollout there is; RouterFailed for the first that cannot be started."""
    keys = local.store.keys()
    for key in keys if local.settings.start_router else ():
        await _start_router(local, key)


async def _mind_routers(local: Local) -> None:
    """From now on start the router of a rollout that comes, and stop that of one that goes."""
    failed_at: dict[str, float] = {}
    while local.settings.start_router:
        await asyncio.sleep(ROUTERS_S)
        keys = local.store.keys()
        for key in [key for key in local.routers if key not in keys]:
            await local.routers.pop(key).close(stop=True)
            _write_endpoint(local)
        for key in [key for key in keys if key not in local.routers]:
            if time.monotonic() - failed_at.get(key, -ROUTER_AGAIN_S) < ROUTER_AGAIN_S:
                continue
            try:
                await _start_router(local, key)
            except (RouterFailed, OSError) as error:
                failed_at[key] = time.monotonic()
                local.routers.pop(key, None)
                local.log.warning("router not started", rollout=key, why=str(error))


async def _start_router(local: Local, key: str) -> None:
    """The first rollout's router serves where the settings say, and keeps that place; the others on free ports."""
    before = _read_json(local.settings.state_dir / ENDPOINT_FILE)
    if local.primary is None:
        known = local.store.load(str(before.get("primary"))) is not None
        local.primary = str(before["primary"]) if known else key
    listen_at = local.settings.router_listen
    if key != local.primary:
        listen_at = f"{listen_at.rpartition(':')[0]}:0"
    command = RouterCommand(
        rollout=key,
        run=_run_folder(local.settings, key),
        controller=f"http://127.0.0.1:{local.api_port}",
        token_file=local.token_path.absolute(),
        listen=listen_at,
        admin="127.0.0.1:0",
        workers=local.settings.workers,
    )
    served = (before.get("routers") or {}).get(key)
    router = RouterProcess(command, local.log, lambda ready: _write_endpoint(local), served)
    local.routers[key] = router
    await router.start()


def _run_folder(settings: LocalSettings, key: str) -> Path:
    """Where the router of this rollout keeps its files, the comparison records among them."""
    return settings.state_dir.absolute() / "routers" / key.replace("/", ".")


def _write_endpoint(local: Local) -> None:
    """Say where everything is, for the other verbs and for people, by rename."""
    routers = {key: dict(router.ready) for key, router in local.routers.items()}
    first = routers.get(local.primary or "", {}).get("listen")
    content = {
        "api": f"http://127.0.0.1:{local.api_port}",
        "apiPort": local.api_port,
        "router": f"http://{first}" if first else None,
        "routers": routers,
        "primary": local.primary,
        "tokenFile": str(local.token_path.absolute()),
        "pid": os.getpid(),
    }
    _write_json(local.settings.state_dir / ENDPOINT_FILE, content)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    replace_file(path, (json.dumps(content, indent=2) + "\n").encode())


def _read_json(path: Path) -> dict[str, Any]:
    """What the file holds; nothing if it is not there, or no object."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _announce(local: Local, announce: Callable[[str], None]) -> None:
    for key, router in local.routers.items():
        announce(
            f"{key}: clients at http://{router.ready.get('listen')}, router at http://{router.ready.get('admin')}"
        )
    announce(
        f"API at http://127.0.0.1:{local.api_port}, state in {local.settings.state_dir}; Ctrl-C stops everything"
    )


async def _until_stopped(stop: asyncio.Event, *parts: asyncio.Task[None]) -> None:
    """Wait for a signal; a part that fails ends everything, with its error."""
    stopped = asyncio.create_task(stop.wait())
    waiting = {stopped, *parts}
    while not stopped.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopped}:
            task.result()


async def _stop(local: Local, *parts: asyncio.Task[None] | None) -> None:
    """Stop reconciling, drain the routers, then stop the model servers they no longer use."""
    local.queue.close()
    looping, minding = parts
    if minding is not None:
        minding.cancel()
    await asyncio.gather(*(task for task in (looping, minding) if task is not None), return_exceptions=True)
    await asyncio.gather(*(router.close(stop=True) for router in local.routers.values()))
    await local.warmer.close()
    await local.gatherer.close()
    await local.effects.close()
    await local.counters.close()
    await local.workloads.close(stop_processes=True)
