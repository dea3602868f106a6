"""The official client's configuration, credentials and connections, made unable to hang, grow or wander.

Left alone its connections wait between any two bytes as long as they were told to wait for the first, answers have no
size limit and redirects are followed. A `Call` bounds one exchange as a whole. Importing this module costs a quarter of a second and 35 MiB, so only
`Api.connect` does it.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import urllib3
import yaml
from kubernetes.client import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException, load_incluster_config
from kubernetes.config.incluster_config import SERVICE_HOST_ENV_NAME, SERVICE_TOKEN_FILENAME
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from controller.adapters.bounded import Bounded
from controller.adapters.kubernetes.errors import Fenced, Misconfigured, TooLarge, Unavailable
from controller.adapters.kubernetes.settings import Settings

CONNECT_S: Final = 3.0
RELOAD_EVERY_S: Final = 5.0
CREDENTIALS_S: Final = 5.0
_CHUNK_BYTES: Final = 256 * 1024
_POOL_SIZE: Final = 32
_UNREADABLE: Final = (ConfigException, OSError, ValueError, LookupError, TypeError, AttributeError)
"""What the official client raises for a kubeconfig that is none; it takes the shape of the file for granted."""


class Call(Bounded):
    """One exchange with the API server. `may_send` is asked right before sending."""

    def __init__(
        self,
        name: str,
        deadline_s: float,
        may_send: Callable[[], bool] | None = None,
        *,
        idle_s: float | None = None,
    ) -> None:
        """`idle_s`: how long the socket itself waits for a byte; None: as long as the exchange may last."""
        super().__init__(deadline_s)
        self.name = name
        self.idle_s = idle_s
        self._may_send = may_send

    def left_s(self) -> float:
        """Seconds left; Unavailable if there are none."""
        left = self.remaining_s
        if left <= 0:
            raise Unavailable(f"{self.name}: no answer in time")
        return left

    def begins(self, connection: HTTPConnection) -> None:
        """The request is about to be sent over this connection, which stands; raises if it must not be."""
        self.uses(connection)
        self.left_s()
        if self._may_send is not None and not self._may_send():
            raise Fenced(f"{self.name}: not sent, this controller leads no more")


class _Running(threading.local):
    call: Call | None = None


_running = _Running()


class _Watched(HTTPConnection):
    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _sends(self)
        super().putrequest(*args, **kwargs)


class _WatchedTls(HTTPSConnection):
    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _sends(self)
        super().putrequest(*args, **kwargs)


def _sends(connection: HTTPConnection) -> None:
    """Last look before the first byte. The connection is made here first, so that no slow handshake comes after it."""
    if _running.call is not None:
        if connection.sock is None:
            connection.connect()
        _running.call.begins(connection)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTls


@contextmanager
def _translated(call: Call) -> Iterator[None]:
    """What the libraries raise, as Unavailable with a text for people."""
    _running.call = call
    try:
        yield
    except (HTTPError, OSError, ValueError) as error:
        raise Unavailable(f"{call.name}: {_reason(error)}") from error
    finally:
        _running.call = None


def _reason(error: Exception) -> str:
    text = str(error).split("object at 0x", 1)[0] if "object at 0x" in str(error) else str(error)
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        text = cause.strerror
    return f"{type(error).__name__} ({text[:300]})"


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster and how to speak to it, as configured at one moment."""

    configuration: Configuration
    pool: urllib3.PoolManager
    namespace: str


@dataclass(frozen=True, slots=True)
class _Credentials:
    """The headers that sign in, of which configuration, and when they were asked for."""

    headers: Mapping[str, str]
    access: Access
    at: float


class Answer:
    """A streamed answer: its status, its headers, and its bytes as they come."""

    def __init__(self, response: BaseHTTPResponse, call: Call) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._call = call

    def some(self) -> bytes:
        """The next bytes, at least one; b"" at the end. Unavailable when the call's time is up or it breaks."""
        self._call.left_s()
        with _translated(self._call):
            return self._response.read1(_CHUNK_BYTES, decode_content=False) or b""

    def all(self, bytes_max: int) -> bytes:
        """The whole body; TooLarge if it is longer."""
        parts, size = [], 0
        while part := self.some():
            size += len(part)
            if size > bytes_max:
                raise TooLarge(
                    f"{self._call.name}: the answer is longer than {bytes_max // 1024} KiB",
                    status=self.status,
                )
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Give the connection back if all was read, close it if not."""
        self._call.releases()
        if self._response.closed:
            self._response.release_conn()
        else:
            self._response.close()


class Transport:
    """Requests to one API server from any thread. After a 401 the configuration is read anew, at most once in 5 s."""

    def __init__(self, settings: Settings) -> None:
        """Misconfigured if there is no usable configuration."""
        self._settings = settings
        self._lock = threading.Lock()
        self._access = load(settings)
        self._loaded_at = time.monotonic()
        self._credentials: _Credentials | None = None
        self.namespace = self._access.namespace
        self.heard_at = float("-inf")

    def open(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, call: Call
    ) -> Answer:
        """Send the request; the answer's body is still to be read. Unavailable if none came."""
        access = self._access
        answer = self._send(access, method, target, headers, body, call)
        if answer.status != 401 or not self._reloaded(access, call):
            return answer
        answer.close()
        return self._send(self._access, method, target, headers, body, call)

    def close(self) -> None:
        """Close all idle connections."""
        self._access.pool.clear()

    def _send(
        self,
        access: Access,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        call: Call,
    ) -> Answer:
        authorization = self._authorization(access, call)
        left = call.left_s()
        with _translated(call):
            response = access.pool.urlopen(
                method,
                access.configuration.host + target,
                body=body,
                headers={**headers, **authorization},
                timeout=urllib3.Timeout(connect=min(CONNECT_S, left), read=call.idle_s or left),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        return Answer(response, call)

    def _authorization(self, access: Access, call: Call) -> Mapping[str, str]:
        """What signs in. The configuration is asked every few seconds (it costs, and may be slow: an external program),
        by one thread at a time; a token that was rotated sooner is found by its 401."""
        known = self._credentials
        if known is not None and known.access is access and time.monotonic() - known.at < CREDENTIALS_S:
            return known.headers
        with self._alone(call):
            try:
                setting = access.configuration.auth_settings().get("BearerToken")
            except _UNREADABLE as error:
                raise Unavailable(f"{call.name}: the credentials cannot be read: {error}") from error
            token = setting["value"] if setting else None
            headers = {"authorization": token.strip()} if token else {}
            self._credentials = _Credentials(headers, access, time.monotonic())
            return headers

    def _reloaded(self, refused: Access, call: Call) -> bool:
        """Is there another configuration than the refused one? Certificates, tokens and files are rotated."""
        with self._alone(call):
            if self._access is not refused:
                return True
            if time.monotonic() - self._loaded_at < RELOAD_EVERY_S:
                return False
            self._loaded_at = time.monotonic()
            try:
                self._access = load(self._settings)
            except Misconfigured:
                return False  # the 401 is what the caller hears
            return True

    @contextmanager
    def _alone(self, call: Call) -> Iterator[None]:
        if not self._lock.acquire(timeout=call.left_s()):
            raise Unavailable(f"{call.name}: the credentials did not come in time")
        try:
            yield
        finally:
            self._lock.release()


def load(settings: Settings) -> Access:
    """The configured cluster: the named kubeconfig or context, else $KUBECONFIG or ~/.kube/config, else the pod's own."""
    configuration = Configuration()
    configuration.connection_pool_maxsize = _POOL_SIZE
    configuration.keep_alive = True
    try:
        namespace = _configure(settings, configuration)
        pool = RESTClientObject(configuration).pool_manager
    except (*_UNREADABLE, yaml.YAMLError) as error:
        raise Misconfigured(f"the cluster's configuration cannot be used: {error}") from error
    pool.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    configuration.host = configuration.host.rstrip("/")
    return Access(configuration, pool, settings.namespace or namespace or "default")


def _configure(settings: Settings, configuration: Configuration) -> str:
    """Fill the configuration in; the namespace it names, "" if none."""
    paths = settings.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    is_there = any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path)
    if is_there:
        return _from_kubeconfig(paths, settings.context, configuration)
    if settings.kubeconfig or settings.context or SERVICE_HOST_ENV_NAME not in os.environ:
        raise Misconfigured(
            f"no cluster: there is no kubeconfig at {paths} (name one with --kubeconfig or KUBECONFIG), "
            "and this is no pod with a service account"
        )
    load_incluster_config(client_configuration=configuration)
    return Path(SERVICE_TOKEN_FILENAME).with_name("namespace").read_text("utf-8").strip()


def _from_kubeconfig(paths: str, context: str | None, configuration: Configuration) -> str:
    config = KubeConfigMerger(paths).config
    loader = KubeConfigLoader(config_dict=config, config_base_path=None, active_context=context)
    loader.load_and_set(configuration)
    chosen = loader.current_context["context"]
    user = next((user for user in config.value["users"] if user["name"] == chosen.get("user")), None)
    plugin = (user.safe_get("user") or {}).get("exec") if user is not None else None
    if plugin and not configuration.api_key and not configuration.cert_file:
        # The client only logs what went wrong there, and would go on as nobody.
        raise Misconfigured(
            f"the credential plug-in {plugin.get('command')!r} of user {chosen['user']!r} gave no credential: run it by hand"
        )
    return str(chosen.get("namespace") or "")
