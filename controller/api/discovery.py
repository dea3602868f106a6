"""What routers ask and say: the plan by long poll, telemetry; and who of them counts.

The wire is defined in `headgate.wire`; `headgate.wire.VERSION` is announced with every answer, and a router that
announces the versions it reads (same header, comma-separated) is refused when there is none in common.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.requests import ClientDisconnect

from controller.api import traffic
from controller.api.addressed import Found, Key
from controller.api.deps import Given
from controller.api.problems import Problem
from controller.api.security import demand_route, read_body
from controller.ports import Unwelcome
from headgate.wire import READS, VERSION
from headgate.wire.codec import BYTES_MAX, Malformed, decode_telemetry, encode
from headgate.wire.plan import NOTHING_APPLIED, Applied

WIRE_HEADER: Final = "x-headgate-wire"
WAIT_S_MAX: Final = 60.0
ERROR_CHARACTERS_MAX: Final = 1024

STATUS_OF: Final = {
    Unwelcome.UNKNOWN_ROLLOUT: 404,
    Unwelcome.UNKNOWN_ROUTER: 409,
    Unwelcome.TOO_MANY_ROUTERS: 409,
    Unwelcome.OLDER: 409,
}

router = APIRouter()

RouterName = Annotated[
    str, Query(alias="router", min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:-]+$")
]


@router.get("/v1/routes/{namespace}/{name}")
async def poll(
    request: Request,
    deps: Given,
    key: Key,
    router_id: RouterName,
    applied: str = str(NOTHING_APPLIED),
    error: str = "",
    wait: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 30.0,
    wire: Annotated[str, Header(alias=WIRE_HEADER)] = "",
) -> Response:
    """200 with the RoutePlan as soon as it differs from `applied`, 304 after `wait` seconds (at most 60)."""
    _check_wire(wire)
    says = _applied(applied)
    headers = {WIRE_HEADER: ", ".join(map(str, READS)), "cache-control": "no-store"}
    if await is_gone(request):
        return Response(status_code=304, headers=headers)
    answer = await deps.routers.poll(
        key, router_id, says, error[:ERROR_CHARACTERS_MAX], min(wait, WAIT_S_MAX)
    )
    match answer:
        case None:
            return Response(status_code=304, headers=headers)
        case Unwelcome():
            raise _unwelcome(answer, key, router_id)
        case plan:
            return Response(encode(plan), media_type="application/json", headers=headers)


@router.post("/v1/telemetry", status_code=204)
async def report(deps: Given, request: Request) -> Response:
    """Take one router's report; 204, or 409 for one that is older than what is known."""
    try:
        telemetry = decode_telemetry(await read_body(request, BYTES_MAX))
    except Malformed as malformed:
        raise Problem(
            400, str(malformed), about="body", do=f"send telemetry of wire version {VERSION}"
        ) from malformed
    await demand_route(request, deps, telemetry.rollout)
    unwelcome = deps.routers.report(telemetry)
    if unwelcome is not None:
        raise _unwelcome(unwelcome, telemetry.rollout, telemetry.router)
    return Response(status_code=204, headers={WIRE_HEADER: ", ".join(map(str, READS))})


@router.get("/v1/rollouts/{namespace}/{name}/routers")
async def routers(deps: Given, stored: Found) -> dict[str, Any]:
    """Every router that counts, what it runs and when it was last heard."""
    return {"items": traffic.routers(stored.status, deps.routers.observed(stored.key), deps.now())}


@router.delete("/v1/rollouts/{namespace}/{name}/routers/{router_id}")
async def forget(deps: Given, stored: Found, router_id: str) -> dict[str, Any]:
    """This router is gone: it counts no more. One that is alive polls, and counts, again."""
    key = stored.key
    known = [seen.id for seen in deps.routers.observed(key)]
    if not await deps.routers.forget(key, router_id):
        raise Problem(
            404,
            f"{key} has no router {router_id[:128]}",
            about=f"{key} router {router_id[:128]}",
            do=f"its routers are {', '.join(known[:16])}" if known else "it has no routers",
        )
    return {"forgotten": router_id}


async def is_gone(request: Request) -> bool:
    """Whether the client hung up already: it has said something else since, which may have been heard before this."""
    try:
        await request.body()
    except ClientDisconnect:  # before we had even read that it says nothing
        return True
    return await request.is_disconnected()


def _applied(text: str) -> Applied:
    try:
        return Applied.parse(text)
    except ValueError as error:
        raise Problem(400, str(error), about="applied", do="name what the router runs, or 0.0.0") from error


def _check_wire(announced: str) -> None:
    """A router that says which wire versions it reads must read ours; one that says nothing is taken at its word."""
    versions = {part.strip() for part in announced.split(",") if part.strip()}
    if versions and str(VERSION) not in versions:
        raise Problem(
            406,
            f"this controller writes wire version {VERSION}, the router reads {announced[:64]}",
            about=WIRE_HEADER,
            do="run a router and a controller at most two releases apart",
        )


def _unwelcome(why: Unwelcome, key: str, router_id: str) -> Problem:
    do = {
        Unwelcome.UNKNOWN_ROLLOUT: "apply the rollout first; a router keeps the plan it has",
        Unwelcome.UNKNOWN_ROUTER: f"poll /v1/routes/{key} first",
        Unwelcome.TOO_MANY_ROUTERS: "forget routers that are gone: `headgate router forget ID`",
        Unwelcome.OLDER: "go on with newer reports; nothing is lost, counters are cumulative",
    }[why]
    return Problem(STATUS_OF[why], why.value, about=f"{key} router {router_id}", do=do)
