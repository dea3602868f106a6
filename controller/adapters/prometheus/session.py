"""An HTTP session that cannot hang, grow or wander: what prometheus-api-client is given in place of its own.

Left alone the library waits long (`timeout=1` took 36 s against a 503 with Retry-After), reads answers of any size,
follows redirects, and drops what Prometheus says beside the result. A `Call` bounds one piece of work as a whole.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Retry
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from controller.adapters.bounded import Bounded
from controller.crd.providers import Provider

BODY_BYTES_MAX: Final = 5 * 1024 * 1024
CONNECT_S: Final = 2.0
_CHUNK_BYTES: Final = 64 * 1024


class Unavailable(Exception):
    """The provider gave no usable answer; the text says why in one line, without its address."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Prometheus said: the type of the result, the result, and its warnings."""

    result_type: str
    result: Any
    warnings: tuple[str, ...]


class Call(Bounded):
    """One piece of work for a provider."""

    def left_s(self) -> float:
        """Seconds left; Unavailable if there are none."""
        left = self.remaining_s
        if left <= 0:
            raise Unavailable("it did not answer in time")
        return left


class _Running(threading.local):
    call: Call | None = None


_running = _Running()


class _Watched(HTTPConnection):
    def connect(self) -> None:
        _note(self)
        super().connect()
        _note(self)

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _note(self)
        super().putrequest(*args, **kwargs)


class _WatchedTls(HTTPSConnection):
    def connect(self) -> None:
        _note(self)
        super().connect()
        _note(self)

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _note(self)
        super().putrequest(*args, **kwargs)


def _note(connection: HTTPConnection) -> None:
    if _running.call is not None:
        _running.call.uses(connection)
        _running.call.left_s()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTls


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


class _Response(requests.Response):
    """A response whose body was already read, within bounds, and parsed."""

    def __init__(self, payload: Any) -> None:
        super().__init__()
        self.status_code = 200
        self._payload = payload

    def json(self, **_: Any) -> Any:
        return self._payload


class Session(requests.Session):
    """A session for one thread at a time. `heard` is what Prometheus said last, with all that the library drops."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False  # no proxy and no credentials that the configuration did not name
        self.heard: Answer | None = None

    def answered(self) -> Answer:
        """What Prometheus said to the last query; Unavailable if it said nothing."""
        if self.heard is None:
            raise Unavailable("it gave no answer")
        return self.heard

    def mount(self, prefix: str | bytes, adapter: Any) -> None:
        """Only our own adapter: the library would mount one without deadlines."""
        super().mount(prefix, _Adapter(max_retries=Retry(0), pool_connections=1, pool_maxsize=1))

    def request(self, method: str | bytes, url: str | bytes, **kwargs: Any) -> requests.Response:  # type: ignore[override]  # the library calls it by name only
        """The answer, parsed; Unavailable for anything but a success of Prometheus' API."""
        call = _running.call or Call(CONNECT_S)
        left = call.left_s()
        kwargs.update(timeout=(min(CONNECT_S, left), left), stream=True, allow_redirects=False)
        kwargs["headers"] = {**(kwargs.get("headers") or {}), "Accept-Encoding": "identity"}
        with super().request(method, url, **kwargs) as response:
            if 300 <= response.status_code < 400:
                raise Unavailable(f"it redirects (status {response.status_code}), which is not followed")
            payload = _parsed(_body(response, call), response.status_code)
        self.heard = _answer(payload, response.status_code)
        return _Response(payload)


class Client:
    """One connection to one provider, for one thread at a time."""

    def __init__(self, provider: Provider) -> None:
        self._session = Session()
        self._connect = PrometheusConnect(url=provider.url.rstrip("/"), retry=Retry(0), session=self._session)
        tls = provider.tls
        self._session.verify = tls.ca_file or True
        self._session.cert = None if not tls.cert_file or not tls.key_file else (tls.cert_file, tls.key_file)

    def query(self, promql: str, headers: Mapping[str, str], call: Call) -> Answer:
        """What an instant query gives, within the deadline of `call`; Unavailable says in one line why it gives nothing."""
        return self._asked(lambda: self._connect.custom_query(promql), headers, call)

    def query_range(
        self, promql: str, since: int, until: int, step_s: int, headers: Mapping[str, str], call: Call
    ) -> Answer:
        """The same for the values at `since` … `until` (Unix seconds), each `step_s` seconds."""
        first, last = (datetime.fromtimestamp(at, UTC) for at in (since, until))
        return self._asked(
            lambda: self._connect.custom_query_range(promql, first, last, str(step_s)), headers, call
        )

    def _asked(self, ask: Callable[[], object], headers: Mapping[str, str], call: Call) -> Answer:
        _running.call = call
        self._connect.headers = dict(headers)
        self._session.heard = None
        try:
            ask()
        except Unavailable:
            raise
        except PrometheusApiClientException as error:
            raise Unavailable("it answered with an error") from error
        except (requests.RequestException, HTTPError, OSError, ValueError, TypeError, KeyError) as error:
            call.left_s()
            raise Unavailable(_in_words(error)) from error
        finally:
            _running.call = None
            call.releases()
        return self._session.answered()

    def close(self) -> None:
        self._connect.close()


def _body(response: requests.Response, call: Call) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Unavailable("its answer is compressed, which was not asked for")
    body = bytearray()
    while chunk := response.raw.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise Unavailable(f"its answer is larger than {BODY_BYTES_MAX // 1024 // 1024} MiB")
        call.left_s()
    return bytes(body)


def _parsed(body: bytes, status: int) -> Any:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        if status != 200:
            raise Unavailable(f"it answered with status {status}") from error
        raise Unavailable("its answer is not JSON") from error


def _answer(payload: Any, status: int) -> Answer:
    if not isinstance(payload, dict):
        raise Unavailable(f"its answer (status {status}) is not one of Prometheus")
    if payload.get("status") != "success" or status != 200:
        said = payload.get("error")
        reason = f": {said}" if isinstance(said, str) else ""
        raise Unavailable(f"it refused the query (status {status}){one_line(reason)}")
    data = payload.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("resultType"), str) or "result" not in data:
        raise Unavailable("its answer has no result")
    warnings = payload.get("warnings")
    said_too = warnings if isinstance(warnings, list) else []
    return Answer(data["resultType"], data["result"], tuple(one_line(str(text)) for text in said_too[:5]))


def _in_words(error: BaseException) -> str:
    """The first cause in the chain that the operating system or the protocol names."""
    seen: list[BaseException] = []
    todo: list[object] = [error]
    while todo and len(seen) < 20:
        cause = todo.pop(0)
        if not isinstance(cause, BaseException) or cause in seen:
            continue
        seen.append(cause)
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException) and cause.strerror:
            return cause.strerror.lower()
        if isinstance(cause, TimeoutError | requests.Timeout):
            return "it did not answer in time"
        todo += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
    return f"it could not be asked ({type(error).__name__})"


def one_line(text: str) -> str:
    """At most 200 characters without line ends."""
    return " ".join(text.split())[:200]
