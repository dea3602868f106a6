"""Rollouts as people ask for them: apply, delete, set the target, and read where they are and why."""

import asyncio
import copy
import json
from hashlib import blake2b
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from controller.api import view
from controller.api.addressed import Found, Key, unknown_rollout
from controller.api.deps import Deps, Given
from controller.api.problems import Problem
from controller.api.security import ACTION_BYTES_MAX, DOCUMENT_BYTES_MAX, read_object
from controller.api.shown import Json, Seen
from controller.core.analysis import forecast as forecasts
from controller.core.status import Track
from controller.crd import Fault, Refused, changes, parse
from controller.crd.places import Place
from controller.ports import Stored

WAIT_S_MAX: Final = 60.0
LOOK_AGAIN_S: Final = 1.0
"""Who waits for a change looks at least this often: that a router fell silent is told by nobody."""

DECISIONS_IN_STATUS: Final = 5
EXPLAINED_MAX: Final = 32
"""So many of the latest decisions are looked through for the candidate's own."""

router = APIRouter()

Limit = Annotated[int, Query(ge=1, le=1000)]
Wait = Annotated[float, Query(ge=0, allow_inf_nan=False)]


@router.get("/v1/rollouts")
async def listed(deps: Given, namespace: str | None = None) -> dict[str, Any]:
    """Every rollout (of one namespace) by name, in one line's worth of fields each."""
    keys = deps.store.keys()
    deps.compiler.keep(keys)
    wanted = [key for key in keys if namespace is None or key.startswith(f"{namespace}/")]
    found = [stored for key in sorted(wanted) if (stored := deps.store.load(key)) is not None]
    return {"items": [view.summary(_seen(deps, stored)) for stored in found]}


@router.get("/v1/rollouts/{namespace}/{name}")
async def document(stored: Found) -> dict[str, Any]:
    """What the user wrote, and the generation it has."""
    return {"generation": stored.generation, "deleting": stored.deleting, "document": dict(stored.document)}


@router.put("/v1/rollouts/{namespace}/{name}")
async def apply(deps: Given, key: Key, request: Request) -> JSONResponse:
    """Make the rollout what the document says; 422 with every fault, and nothing stored, if it may not be."""
    document = await read_object(request, DOCUMENT_BYTES_MAX)
    wanted = parse(document, providers=deps.providers, sinks=deps.sinks, place=Place.MACHINE)
    if isinstance(wanted, Refused):
        raise _faulty(key, wanted.faults)
    if wanted.key != key:
        raise Problem(
            400,
            f"the document is {wanted.key}, the address says {key}",
            about="metadata.name",
            do="let both name the same rollout",
        )
    return await _stored(deps, key, wanted.document)


@router.post("/v1/rollouts/{namespace}/{name}/target")
async def set_target(deps: Given, stored: Found, request: Request) -> JSONResponse:
    """Make another version the target: what starts a rollout, or calls one off."""
    body = await read_object(request, ACTION_BYTES_MAX)
    version = body.get("version")
    if not isinstance(version, str):
        raise Problem(
            400, "version: the name of a version is missing", about="version", do='send {"version": …}'
        )
    edited = copy.deepcopy(dict(stored.document))
    names = [written["name"] for written in edited["spec"]["versions"]]
    if version not in names:
        raise Problem(
            422,
            f"{stored.key} has no version {version[:128]}",
            about=f"{stored.key} version {version[:128]}",
            do=f"versions there are: {', '.join(names)}; a new one is added with `headgate apply`",
        )
    edited["spec"]["target"] = version
    wanted = parse(edited)
    if isinstance(wanted, Refused):
        raise _faulty(stored.key, wanted.faults)
    return await _stored(deps, stored.key, wanted.document)


@router.delete("/v1/rollouts/{namespace}/{name}")
async def delete(deps: Given, key: Key) -> JSONResponse:
    """Ask for the end of the rollout: traffic back to stable, then everything that is its own goes."""
    if not await deps.store.mark_deleting(key):
        raise unknown_rollout(deps, key)
    _tell(deps, key)
    return JSONResponse({"deleting": key}, status_code=202)


@router.get("/v1/rollouts/{namespace}/{name}/status")
async def status(
    deps: Given,
    stored: Found,
    wait: Wait = 0.0,
    if_none_match: Annotated[str, Header()] = "",
) -> Response:
    """Where the rollout is. With `If-None-Match`, answers when that changes, 304 after `wait` seconds (at most 60)."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(wait, WAIT_S_MAX)
    while True:
        shown = _full(deps, stored)
        tag = _tag(shown)
        if tag != if_none_match:
            return JSONResponse(shown, headers={"etag": tag, "cache-control": "no-store"})
        left_s = deadline - loop.time()
        if left_s <= 0:
            return Response(status_code=304, headers={"etag": tag})
        await deps.changes.wait(stored.key, min(left_s, LOOK_AGAIN_S))
        if deps.changes.is_closed:
            deadline = loop.time()
        again = deps.store.load(stored.key)
        if again is None:
            raise unknown_rollout(deps, stored.key)
        stored = again


@router.get("/v1/rollouts/{namespace}/{name}/explanation")
async def explanation(deps: Given, stored: Found) -> dict[str, Any]:
    """Why the rollout is where it is, what is missing for its next step, and what would roll it back."""
    return view.explanation(_seen(deps, stored), deps.store.records(stored.key, EXPLAINED_MAX))


@router.get("/v1/rollouts/{namespace}/{name}/arithmetic")
async def calculated(deps: Given, stored: Found) -> dict[str, Any]:
    """What stands behind the verdict of each check, with the numbers put in."""
    return view.arithmetic(_seen(deps, stored))


@router.get("/v1/rollouts/{namespace}/{name}/forecast")
async def foretold(deps: Given, stored: Found) -> dict[str, Any]:
    """How long each step needs at the present request rate, what is slow, and what would make it faster."""
    spec, status = deps.spec_of(stored), stored.status
    rate = deps.routers.requests_per_s(stored.key)
    traffic = forecasts.present(tuple(deps.routers.reports(stored.key)), status.stable, rate)
    track = status.candidate.track if status.candidate else Track.STAGES
    # Tens of milliseconds of arithmetic, in a thread: nobody's plan or rollback waits for it.
    done = status.candidate.step if status.candidate and status.candidate.issued_generation else 0
    return await asyncio.to_thread(view.forecast, spec, traffic, track, done)


@router.get("/v1/rollouts/{namespace}/{name}/events")
async def events(deps: Given, stored: Found, limit: Limit = 50) -> dict[str, Any]:
    """What happened, newest first."""
    return {"items": [view.event(told) for told in deps.store.events(stored.key, limit)]}


@router.get("/v1/rollouts/{namespace}/{name}/decisions")
async def decisions(deps: Given, stored: Found, limit: Limit = 50) -> dict[str, Any]:
    """Every change of a share with what was known then, newest first."""
    return {"items": [view.decision(record) for record in deps.store.records(stored.key, limit)]}


async def _stored(deps: Deps, key: str, wanted: dict[str, Any]) -> JSONResponse:
    """Store a sound document unless what is there forbids it, and say whether anything changed."""
    old = deps.store.load(key)
    if old is not None and old.deleting:
        raise Problem(409, f"{key} is being deleted", about=key, do="apply it again when it is gone")
    faults = changes(None if old is None else old.document, wanted, None if old is None else old.status)
    if faults:
        raise _faulty(key, faults)
    new = await deps.store.put_document(key, wanted)
    outcome = "created" if old is None else "unchanged" if new.generation == old.generation else "configured"
    if outcome != "unchanged":
        _tell(deps, key)
    answer = {"rollout": key, "generation": new.generation, "outcome": outcome}
    return JSONResponse(answer, status_code=201 if old is None else 200)


def _tell(deps: Deps, key: str) -> None:
    deps.wake(key)
    deps.changes.notify(key)


def _faulty(key: str, faults: tuple[Fault, ...]) -> Problem:
    listed = [{"path": fault.path, "rule": fault.rule, "message": fault.message} for fault in faults]
    count = "one thing is" if len(faults) == 1 else f"{len(faults)} things are"
    return Problem(
        422,
        f"{count} wrong with {key}; nothing was changed",
        about=key,
        do="mend the fields named; `headgate lint -f FILE` shows the same without a controller",
        faults=listed,
    )


def _seen(deps: Deps, stored: Stored) -> Seen:
    return Seen(
        stored=stored,
        spec=deps.spec_of(stored),
        routers=deps.routers.observed(stored.key),
        now=deps.now(),
        next_action_at=deps.next_action_at(stored.key),
    )


def _full(deps: Deps, stored: Stored) -> Json:
    return view.full(_seen(deps, stored), deps.store.records(stored.key, DECISIONS_IN_STATUS))


def _tag(shown: Json) -> str:
    """A name for what is shown, apart from when routers were last heard, which is always news."""
    routers = [{**router, "seenAt": None, "ageSeconds": None} for router in shown["routers"]]
    text = json.dumps({**shown, "routers": routers}, sort_keys=True)
    return f'"{blake2b(text.encode(), digest_size=12).hexdigest()}"'
