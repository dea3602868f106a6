"""What went wrong, as every error of the API says it: `{"error": {"what", "object", "do"}}`.

`what` is a sentence, `object` names the rollout, router, action or field it is about, `do` says what helps.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from controller.errors import NotLeader, NotTakenHere, StoreUnavailable


class Problem(Exception):
    """Ends a request with `status` and a body that says what, which object, and what to do."""

    def __init__(
        self,
        status: int,
        what: str,
        *,
        about: str = "",
        do: str = "",
        faults: Sequence[Mapping[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.about = about
        self.do = do
        self.faults = faults
        self.headers = headers

    def response(self) -> JSONResponse:
        """The answer that says so."""
        error: dict[str, Any] = {"what": self.what, "object": self.about, "do": self.do}
        if self.faults is not None:
            error["faults"] = list(self.faults)
        headers = {"cache-control": "no-store", **(self.headers or {})}
        return JSONResponse({"error": error}, status_code=self.status, headers=headers)


def install(app: FastAPI) -> None:
    """Make every error of this app speak that way."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(StoreUnavailable, _unavailable)
    app.add_exception_handler(NotLeader, _unavailable)
    app.add_exception_handler(NotTakenHere, _not_taken)
    app.add_exception_handler(Exception, _crash)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    return cast(Problem, error).response()


async def _validation(request: Request, error: Exception) -> JSONResponse:
    """A query or path parameter that is not what it must be: 400 that names the first one."""
    fault = cast(RequestValidationError, error).errors()[0]
    field = ".".join(str(part) for part in fault["loc"][1:])
    return Problem(
        400, f"{field}: {fault['msg']}", about=field, do=f"correct {field} and ask again"
    ).response()


async def _http(request: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses: no such path, no such method."""
    refused = cast(HTTPException, error)
    return Problem(
        refused.status_code,
        f"{request.method} is not offered here" if refused.status_code == 405 else str(refused.detail),
        about=request.url.path,
        do="see docs/api.md for the paths there are" if refused.status_code in (404, 405) else "",
        headers=refused.headers,
    ).response()


async def _unavailable(request: Request, error: Exception) -> JSONResponse:
    """The store could not be read or written now: nothing was half-done."""
    return Problem(
        503,
        str(error),
        about=request.url.path,
        do="nothing was changed; ask again when that is mended",
        headers={"retry-after": "1"},
    ).response()


async def _not_taken(request: Request, error: Exception) -> JSONResponse:
    """People write that themselves, where their own rights count."""
    return Problem(403, str(error), about=request.url.path, do="do it with your own credentials").response()


async def _crash(request: Request, error: Exception) -> JSONResponse:
    """A fault of ours; the traceback goes to the log, not to the client."""
    return Problem(
        500,
        f"the controller failed to answer: {type(error).__name__}",
        about=request.url.path,
        do="look into the controller's log; the rollout itself is not touched by this",
    ).response()
