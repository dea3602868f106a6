"""What an API server refuses or fails to do, named by what the caller can do about it.

ApiError
├── NotFound        404: there is no such object, or the server does not know its kind
├── Conflict        409: somebody else wrote, or it exists already: read again, decide again
├── Gone            410: this version is too old to go on from: list again
├── Forbidden       401, 403: a person must grant something
├── Invalid         400, 413, 415, 422: this body will never be taken
├── Unavailable     no answer, no usable answer, 408, 429 or 5xx: keep what is known, try again later
├── Fenced          nothing was sent, because this process may not write any more
└── Misconfigured   there is no way to reach a cluster: a person must act, the text says how
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

TEXT_CHARS_MAX: Final = 1000
RETRY_AFTER_S_MAX: Final = 3600.0
CAUSES_MAX: Final = 64


class ApiError(Exception):
    """A call that did not do what was asked. `status` is 0 where no answer came; `reason` the server's one word, such as
    AlreadyExists; `retry_after_s` what the server asked for, at most an hour; `causes` what it names one by one, each
    with a `message` and mostly the `field` it is about. The text names the call."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        retry_after_s: float | None = None,
        causes: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.message = " ".join(message.split())[:TEXT_CHARS_MAX]
        self.status = status
        self.reason = reason
        self.causes = tuple(causes[:CAUSES_MAX])
        self.retry_after_s = (
            None if retry_after_s is None else min(max(retry_after_s, 0.0), RETRY_AFTER_S_MAX)
        )
        super().__init__(self.message)


class NotFound(ApiError):
    """404."""


class Conflict(ApiError):
    """409."""


class Gone(ApiError):
    """410."""


class Forbidden(ApiError):
    """401 or 403."""


class Invalid(ApiError):
    """400, 413, 415 or 422."""


class Unavailable(ApiError):
    """No answer in time, none that can be used, or a server that cannot serve now. A write may have happened."""


class TooLarge(Unavailable):
    """The answer is longer than is read."""


class Fenced(ApiError):
    """Not sent: this process leads no more."""


class Misconfigured(ApiError):
    """No cluster to talk to."""


_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    410: Gone,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: Unavailable,
}


def error_of(
    call: str,
    status: int,
    reason: str,
    message: str,
    retry_after_s: float | None = None,
    causes: Sequence[Mapping[str, Any]] = (),
) -> ApiError:
    """The error for an answer that is no success; `call` is the method and the path."""
    kind = _BY_STATUS.get(status, Unavailable if status >= 500 else ApiError)
    text = f"{call}: {status} {reason or 'error'}" + (f": {message}" if message else "")
    return kind(text, status=status, reason=reason, retry_after_s=retry_after_s, causes=causes)
