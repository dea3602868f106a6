"""The API of `headgate up` as the verbs' `Client`: finds it and calls it; what fails says what to do.

On the standard library's client, a connection for each call: a rollback is over before httpx would be imported.
"""

import getpass
import http.client
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from controller.cli.failures import Away, Failure, refusal
from controller.cli.lookup import pick
from controller.cli.serving import is_loopback

if TYPE_CHECKING:
    from controller.cli.adopting import Found  # of clusters only

CALL_TIMEOUT_S: Final = 10.0
CALL_TIMEOUT_LEAST_S: Final = 0.1
LONG_POLL_S: Final = 20.0
LIST_AGAIN_S: Final = 0.5

TRIES: Final = 8
"""So often a controller is asked that says another one leads: behind a Service each connection may reach another."""


Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Where:
    """Where the caller says the API is: an address with a token file, or the state folder of `headgate up`.

    `also_tried` says what else was looked for, if anything; `ca_file` holds the authorities that its certificate may be
    of, None: those of the machine.
    """

    state: Path
    api: str | None = None
    token_file: Path | None = None
    also_tried: str = ""
    ca_file: Path | None = None


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


class LocalClient:
    """The API as its methods. Looks for the API at each call: a restarted controller may have moved.

    `namespace` is the only one that is looked at, None for all.
    """

    log_hint = "look into the log of `headgate up`"

    def __init__(self, where: Where, namespace: str | None = None) -> None:
        self._where = where
        self._namespace = namespace
        self._deadline: float | None = None

    def give_up_after(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def find(self, name: str | None) -> str:
        if name is not None and "/" in name:
            return name
        return pick(self._keys(), name, self._namespace)

    def exists(self, key: str) -> bool:
        return key in self._keys()

    def rollouts(self) -> list[Json]:
        items: list[Json] = self._call("GET", "/v1/rollouts")["items"]
        return [item for item in items if self._namespace in (None, item["namespace"])]

    def rollouts_again(self) -> list[Json]:
        time.sleep(LIST_AGAIN_S)
        return self.rollouts()

    def status(self, key: str) -> Json:
        return self._call("GET", f"/v1/rollouts/{key}/status")

    def status_after(self, key: str, tag: str, wait_s: float) -> tuple[Json | None, str]:
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
        items: list[Json] = self._call("GET", f"/v1/rollouts/{key}/{what}", params={"limit": str(limit)})[
            "items"
        ]
        return items

    def explanation(self, key: str) -> Json:
        return self._call("GET", f"/v1/rollouts/{key}/explanation")

    def arithmetic(self, key: str) -> Json:
        return self._call("GET", f"/v1/rollouts/{key}/arithmetic")

    def forecast(self, key: str) -> Json:
        return self._call("GET", f"/v1/rollouts/{key}/forecast")

    def placed(self, content: Json, folder: Path) -> Json:
        """With the folder its processes start in, where it names none itself."""
        from controller.cli.files import with_base  # here, because a rollback must not wait for it

        return with_base(content, folder)

    def apply(self, key: str, document: Mapping[str, Any], *, force: bool) -> Json:
        """Nobody else writes here: `force` changes nothing."""
        return self._call("PUT", f"/v1/rollouts/{key}", json=document)

    def set_target(self, key: str, version: str) -> Json:
        return self._call("POST", f"/v1/rollouts/{key}/target", json={"version": version})

    def set_images(self, key: str, images: Mapping[str, str]) -> Json:
        raise Failure(
            f"{key} has no containers: on this machine versions are processes and URLs",
            "write a new version and `headgate apply` it; for a rollout of a cluster name it with --context",
        )

    def workload(self, rollout: str, deployment: str) -> "Found":
        raise Failure(
            f"there are no Deployments on this machine, so {deployment} cannot be adopted",
            "name a cluster: --context NAME, or call it as `kubectl headgate`",
        )

    def delete(self, key: str) -> None:
        self._call("DELETE", f"/v1/rollouts/{key}")

    def forget(self, key: str, router: str) -> None:
        self._call("DELETE", f"/v1/rollouts/{key}/routers/{quote(router, safe='')}")

    def act(self, key: str, action: Json) -> str:
        """In the name that the operating system has for who runs this."""
        headers = {"x-headgate-actor": _user().encode("latin-1", "replace").decode("latin-1")}
        kept: str = self._call("POST", f"/v1/rollouts/{key}/actions", json=action, headers=headers)["id"]
        return kept

    def answer(self, key: str, action_id: str, wait_s: float) -> Json:
        wait_s = min(wait_s, LONG_POLL_S)
        return self._call(
            "GET",
            f"/v1/rollouts/{key}/actions/{action_id}",
            params={"wait": f"{wait_s:.3f}"},
            timeout=CALL_TIMEOUT_S + wait_s,
        )

    def _keys(self) -> list[str]:
        items = self._call("GET", "/v1/rollouts")["items"]
        return [f"{item['namespace']}/{item['name']}" for item in items]

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
        tls = _trusting(base, self._where.ca_file)
        if self._deadline is not None:
            timeout = min(timeout, max(self._deadline - time.monotonic(), CALL_TIMEOUT_LEAST_S))
        asked = quote(f"{base.path.rstrip('/')}{path}", safe="/%") + (
            f"?{urlencode(params)}" if params else ""
        )
        sent = {"authorization": f"Bearer {_token(token_file)}", **(headers or {})}
        try:
            for _ in range(TRIES):
                answer = _exchange(base, tls, timeout, method, asked, sent, json)
                if answer.status != HTTPStatus.MISDIRECTED_REQUEST:
                    break
        except ssl.SSLCertVerificationError as error:
            raise Failure(
                f"the certificate of {url} is refused: {error.verify_message}",
                "name the authority it is of with --api-ca FILE, such as ca.crt of the ConfigMap headgate-ca",
            ) from error
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


def _trusting(base: SplitResult, ca_file: Path | None) -> ssl.SSLContext | None:
    """TLS to the address, None in clear; Failure where the token would leave the machine so."""
    if base.scheme == "http":
        if not is_loopback(base.hostname or ""):
            raise Failure(
                f"the token would go to {base.netloc} in clear",
                "write https://, or reach it by a port of this machine (kubectl port-forward)",
            )
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise Failure(
            f"the authorities in {ca_file} cannot be read: {error}", "name a file of certificates in PEM form"
        ) from error


def _exchange(
    base: SplitResult,
    tls: ssl.SSLContext | None,
    timeout_s: float,
    method: str,
    asked: str,
    headers: Mapping[str, str],
    data: Mapping[str, Any] | None,
) -> _Answer:
    """One request and its answer; no proxy sees the token, and no redirect is followed."""
    host = base.hostname or ""
    connection = (
        http.client.HTTPConnection(host, base.port, timeout=timeout_s)
        if tls is None
        else http.client.HTTPSConnection(host, base.port, timeout=timeout_s, context=tls)
    )
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
            f"no controller runs with its state in {where.state}{where.also_tried}",
            "start one with `headgate up -f rollout.yaml`, or say where it is: --state DIR, or --api URL --token-file FILE; "
            "for a cluster --context NAME",
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


def _user() -> str:
    """The operating system's name of who runs this."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
