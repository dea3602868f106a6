"""Finds the controller's API and calls it; every way this fails becomes a `Failure` that says what to do.

On the standard library's client, a connection for each call: a rollback is over before httpx would be imported.
"""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from controller.cli.failures import Away, Failure, refusal

CALL_TIMEOUT_S: Final = 10.0
CALL_TIMEOUT_LEAST_S: Final = 0.1
LONG_POLL_S: Final = 20.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Where:
    """Where the caller says the API is: an address with a token file, or the state folder of `headgate up`."""

    state: Path
    api: str | None = None
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300 or self.status == HTTPStatus.NOT_MODIFIED

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """The API as its methods. Looks for the API at each call: a restarted controller may have moved."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._deadline: float | None = None

    def give_up_after(self, seconds: float) -> None:
        """No call lasts longer than until then, whoever does not answer."""
        self._deadline = time.monotonic() + seconds

    def rollouts(self) -> list[Json]:
        """Every rollout, in one line's worth of fields."""
        items: list[Json] = self._call("GET", "/v1/rollouts")["items"]
        return items

    def status(self, key: str) -> Json:
        """All that is known of one rollout."""
        return self._call("GET", f"/v1/rollouts/{key}/status")

    def status_after(self, key: str, tag: str, wait_s: float) -> tuple[Json | None, str]:
        """The status and its tag when it is another than `tag`; (None, tag) when `wait_s` went by without a change."""
        wait_s = min(wait_s, LONG_POLL_S)
        answer = self._send(
            "GET",
            f"/v1/rollouts/{key}/status",
            params={"wait": f"{wait_s:.3f}"},
            headers={"if-none-match": tag},
            timeout=CALL_TIMEOUT_S + wait_s,
        )
        shown = None if answer.status == HTTPStatus.NOT_MODIFIED else answer.json()
        return shown, answer.headers["etag"]

    def listing(self, key: str, what: str, limit: int) -> list[Json]:
        """`events` or `decisions`, newest first."""
        items: list[Json] = self._call("GET", f"/v1/rollouts/{key}/{what}", params={"limit": str(limit)})[
            "items"
        ]
        return items

    def explanation(self, key: str) -> Json:
        """Why the rollout is where it is, what it waits for, what would roll it back."""
        return self._call("GET", f"/v1/rollouts/{key}/explanation")

    def forecast(self, key: str) -> Json:
        """How long each step of the rollout needs at the present request rate."""
        return self._call("GET", f"/v1/rollouts/{key}/forecast")

    def apply(self, key: str, document: Mapping[str, Any]) -> Json:
        """Make the rollout what the document says."""
        return self._call("PUT", f"/v1/rollouts/{key}", json=document)

    def set_target(self, key: str, version: str) -> Json:
        """Make another version the target."""
        return self._call("POST", f"/v1/rollouts/{key}/target", json={"version": version})

    def delete(self, key: str) -> Json:
        """Ask for the end of the rollout."""
        return self._call("DELETE", f"/v1/rollouts/{key}")

    def forget(self, key: str, router: str) -> Json:
        """This router is gone, and counts no more."""
        return self._call("DELETE", f"/v1/rollouts/{key}/routers/{quote(router, safe='')}")

    def act(self, key: str, actor: str, action: Json) -> str:
        """Ask for an action; its id."""
        headers = {"x-headgate-actor": actor.encode("latin-1", "replace").decode("latin-1")}
        kept: str = self._call("POST", f"/v1/rollouts/{key}/actions", json=action, headers=headers)["id"]
        return kept

    def answer(self, key: str, action_id: str, wait_s: float) -> Json:
        """What became of the action, as soon as it is decided or `wait_s` went by."""
        wait_s = min(wait_s, LONG_POLL_S)
        return self._call(
            "GET",
            f"/v1/rollouts/{key}/actions/{action_id}",
            params={"wait": f"{wait_s:.3f}"},
            timeout=CALL_TIMEOUT_S + wait_s,
        )

    def _call(self, method: str, path: str, **more: Any) -> Json:
        answer: Json = self._send(method, path, **more).json()
        return answer

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Mapping[str, Any] | None = None,
        timeout: float = CALL_TIMEOUT_S,
    ) -> _Answer:
        """The answer, if it is a good one; Away when there is none, Failure when it is a refusal."""
        url, token_file = _endpoint(self._where)
        base = _split(url)
        if self._deadline is not None:
            timeout = min(timeout, max(self._deadline - time.monotonic(), CALL_TIMEOUT_LEAST_S))
        asked = quote(f"{base.path.rstrip('/')}{path}", safe="/%") + (
            f"?{urlencode(params)}" if params else ""
        )
        sent = {"authorization": f"Bearer {_token(token_file)}", **(headers or {})}
        try:
            answer = _exchange(base, timeout, method, asked, sent, json)
        except (OSError, http.client.HTTPException) as error:
            raise Away(
                f"the controller at {url} does not answer: {str(error) or type(error).__name__}",
                "is `headgate up` still running? Its last lines say why not. When it burns, a router obeys directly: "
                f"`headgate router pin VERSION --run {self._where.state}/routers/NAMESPACE.NAME`",
            ) from error
        if answer.is_good:
            return answer
        raise _refused(f"{url}{asked}", answer)


def _split(url: str) -> SplitResult:
    """The address taken apart; Failure when it is none."""
    try:
        found = urlsplit(url)
        is_one = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise Failure(f"{url!r} is no address of an API", "write it like http://127.0.0.1:7000")
    return found


def _exchange(
    base: SplitResult,
    timeout_s: float,
    method: str,
    asked: str,
    headers: Mapping[str, str],
    data: Mapping[str, Any] | None,
) -> _Answer:
    """One request and its answer; no proxy sees the token, and no redirect is followed."""
    kind = http.client.HTTPSConnection if base.scheme == "https" else http.client.HTTPConnection
    connection = kind(base.hostname or "", base.port, timeout=timeout_s)
    body, more = None, {}
    if data is not None:
        body, more = json.dumps(data).encode(), {"content-type": "application/json"}
    try:
        connection.request(method, asked, body, {**headers, **more})
        answer = connection.getresponse()
        return _Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def _refused(url: str, answer: _Answer) -> Failure:
    try:
        return refusal(answer.json()["error"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return Failure(
            f"{url} answered {answer.status}, and not as a controller does",
            "check --api, or the state folder",
        )


def _endpoint(where: Where) -> tuple[str, Path]:
    """Where the API listens and the file of its token."""
    if where.api is not None:
        return where.api, where.token_file or where.state / "token"
    file = where.state / "endpoint.json"
    try:
        found = json.loads(file.read_text())
        return found["api"], where.token_file or Path(found["tokenFile"])
    except FileNotFoundError:
        raise Away(
            f"no controller runs with its state in {where.state}",
            "start one with `headgate up -f rollout.yaml`, or say where it is: --state DIR, or --api URL --token-file FILE",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(
            f"{file} cannot be read: {error}", "`headgate up` writes it anew at its start"
        ) from error


def _token(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise Failure(
            f"the token file {file} cannot be read: {error.strerror}",
            "run this as the user who runs `headgate up`, or name the file with --token-file",
        ) from error
