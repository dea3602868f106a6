"""What people ask a rollout to do. An action is kept, decided by the next reconcile, and its answer can be waited for."""

import asyncio
import re
import uuid
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse

from controller.api.addressed import Found
from controller.api.deps import Deps, Given
from controller.api.problems import Problem
from controller.api.security import ACTION_BYTES_MAX, read_object
from controller.core.status import Action, Verb
from controller.errors import StoreUnavailable

WAIT_S_MAX: Final = 60.0
REASON_CHARACTERS_MAX: Final = 1024
STAGE_MAX: Final = 1000
ROLES_MAX: Final = 16
PENDING_MAX: Final = 64
"""Actions of one rollout that may wait for a decision at once."""

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_ACTOR: Final = re.compile(r"[^\x00-\x1f\x7f]{1,128}")

router = APIRouter()


@router.post("/v1/rollouts/{namespace}/{name}/actions", status_code=202)
async def act(
    deps: Given, stored: Found, request: Request, x_headgate_actor: Annotated[str, Header()] = ""
) -> dict[str, str]:
    """Keep the action; 202 with its id. The same id again is the same action.

    Locally whoever holds the token is the operator; `x-headgate-actor` is who they say they are, and recorded as
    `local:NAME` to show that nobody proved it. Roles are claimed likewise.
    """
    body = await read_object(request, ACTION_BYTES_MAX)
    action = Action(
        id=_text(body, "id", _ID, default=uuid.uuid4().hex),
        verb=_verb(body),
        version=_text(body, "version", _NAME),
        actor=_actor(x_headgate_actor),
        reason=str(body.get("reason") or "")[:REASON_CHARACTERS_MAX],
        at=deps.now(),
        stage=_stage(body),
        to=_text(body, "to", _NAME) if body.get("to") else "",
        roles=_roles(body),
    )
    if len(deps.store.pending_actions(stored.key)) >= PENDING_MAX:
        raise Problem(
            429,
            f"{PENDING_MAX} actions of {stored.key} wait already",
            about=stored.key,
            do="ask again in a moment",
        )
    try:
        await deps.store.add_action(stored.key, action)
    except ValueError as error:
        raise Problem(409, str(error), about=action.id, do="leave id out, or choose another") from error
    except StoreUnavailable as error:
        raise Problem(
            503,
            str(error),
            about=f"{stored.key} {action.verb} of {action.version}",
            do="it was not kept; until the store can be written, traffic is moved at the router itself: "
            "`headgate router pin VERSION --run DIR`",
        ) from error
    deps.wake(stored.key)
    return {"id": action.id}


@router.get("/v1/rollouts/{namespace}/{name}/actions/{action_id}")
async def answer(
    deps: Given,
    stored: Found,
    action_id: str,
    wait: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 0.0,
) -> JSONResponse:
    """What became of it: Pending, Accepted or Refused, and why; answers when decided, at the latest after `wait` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(wait, WAIT_S_MAX)
    while True:
        shown = _shown(deps, stored.key, action_id)
        left_s = deadline - loop.time()
        if shown["state"] != "Pending" or left_s <= 0 or deps.changes.is_closed:
            return JSONResponse(shown, headers={"cache-control": "no-store"})
        await deps.changes.wait(stored.key, min(left_s, 1.0))


def _shown(deps: Deps, key: str, action_id: str) -> dict[str, Any]:
    decided = deps.store.action_result(action_id)
    if decided is not None:
        is_accepted, message = decided
        return {"id": action_id, "state": "Accepted" if is_accepted else "Refused", "message": message}
    if any(pending.id == action_id for pending in deps.store.pending_actions(key)):
        return {"id": action_id, "state": "Pending", "message": "the next reconcile decides it"}
    raise Problem(
        404,
        f"{key} has no action {action_id[:64]}",
        about=f"{key} action {action_id[:64]}",
        do="ask for one that was made lately: answers are not kept for ever",
    )


def _verb(body: dict[str, Any]) -> Verb:
    verbs = [verb.value for verb in Verb]
    if body.get("verb") not in verbs:
        raise Problem(
            400,
            f"verb: {str(body.get('verb'))[:64]!r} is not an action",
            about="verb",
            do=f"one of {', '.join(verbs)}",
        )
    return Verb(body["verb"])


def _stage(body: dict[str, Any]) -> int:
    """The stage that is meant, counted from 1; 0 where none is named."""
    value = body.get("stage") or 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= STAGE_MAX:
        raise Problem(
            400, f"stage: {str(value)[:64]!r} is not a stage", about="stage", do="send its number, from 1"
        )
    return value


def _roles(body: dict[str, Any]) -> tuple[str, ...]:
    """The roles the person claims. Locally nobody can prove one; a cluster's API server vouches for them instead."""
    value = body.get("roles", [])
    if not isinstance(value, list) or len(value) > ROLES_MAX:
        raise Problem(400, "roles: not a list of names", about="roles", do=f"send at most {ROLES_MAX} names")
    return tuple(_text({"role": role}, "role", _NAME) for role in value)


def _text(body: dict[str, Any], field: str, pattern: re.Pattern[str], default: str | None = None) -> str:
    value = body.get(field, default)
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise Problem(
            400,
            f"{field}: {str(value)[:64]!r} is not {'an id' if field == 'id' else 'a version'}",
            about=field,
            do=f"send a {field} of the form {pattern.pattern}",
        )
    return value


def _actor(claimed: str) -> str:
    name = claimed.strip()
    return f"local:{name}" if _ACTOR.fullmatch(name) else "local:unknown"
