"""The controller's own certificate authority on a cluster: kept in a Secret, made once, renewed in good time.

Whatever replica comes first makes it: a write carries the version that it saw, so of two that race one loses and reads
what the other made. Each replica issues its own serving certificate, which is never stored. A new authority is first
only published beside the old one, then used, and the old one is still believed for as long as anything it issued may be
in use. So there is no moment at which a router that reads the published authorities meets one that it does not know.
"""

import asyncio
import base64
import binascii
import random
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from controller.adapters.certificates import (
    DAY_S,
    SERVING_S,
    Pair,
    ServerTls,
    Unusable,
    checked,
    ends_at,
    issued,
    made_at,
    made_authority,
    when,
)
from controller.adapters.kubernetes.api import Api, ApiError, Conflict, NotFound, path_of
from controller.adapters.kubernetes.backoff import Backoff
from controller.adapters.kubernetes.raw import mapping, text
from headgate.log import Log

SECRET: Final = "headgate-tls"  # noqa: S105  an object's name
ROTATE: Final = "headgate.dev/rotate"
"""An annotation on the Secret by which a person asks for a new authority now; it goes when that is made."""

RENEW_BEFORE_S: Final = 90 * DAY_S
OVERLAP_S: Final = DAY_S
"""A new authority is published for so long before anything is issued by it: kubelets take minutes, people longer."""

SERVING_LEAST_S: Final = SERVING_S / 3
LOOK_S: Final = 20.0
"""The Secret is read again so often. It is not watched: a right to watch would be a right to read others."""

RACES_MAX: Final = 5
_CURRENT: Final = ("ca.crt", "ca.key")
_NEXT: Final = ("next.crt", "next.key")
_PREVIOUS: Final = "previous.crt"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the Secret holds: who issues now, who will, and the certificate of who did."""

    current: Pair
    next: Pair | None = None
    previous: bytes = b""

    @property
    def bundle(self) -> str:
        """The authorities to believe, the issuing one first."""
        following = self.next.certificate if self.next is not None else b""
        return b"".join((self.current.certificate, following, self.previous)).decode("ascii")


def advanced(kept: Kept | None, now: float, *, is_asked: bool = False) -> Kept:
    """What there should be now: an authority, another beside it when it is old or `is_asked`, and that one in its place
    when it has been known for long enough. One step at a time; the same again where nothing is due."""
    if kept is None:
        return Kept(made_authority(now))
    ends = ends_at(kept.current.certificate)
    if kept.next is not None:
        known_s = now - made_at(kept.next.certificate)
        if known_s >= OVERLAP_S or ends <= now:
            return Kept(kept.next, None, kept.current.certificate)
        return kept
    if ends <= now:
        return Kept(made_authority(now))
    if is_asked or ends - now < RENEW_BEFORE_S:
        return replace(kept, next=made_authority(now))
    if kept.previous and now - made_at(kept.current.certificate) >= OVERLAP_S + SERVING_S:
        return replace(kept, previous=b"")
    return kept


class Authority:
    """Keeps `tls` in certificates for `names`, and `bundle` what routers should believe ("" until that is known).

    `on_bundle()` is called, on the event loop, when the bundle is another one. `run` has to be running.
    """

    def __init__(
        self,
        api: Api,
        tls: ServerTls,
        names: Sequence[str],
        *,
        on_bundle: Callable[[], None],
        now: Callable[[], float],
        log: Log,
        look_s: float = LOOK_S,
    ) -> None:
        self._api = api
        self._tls = tls
        self._names = tuple(names)
        self._on_bundle = on_bundle
        self._now = now
        self._log = log
        self._look_s = look_s
        self._issuer: Pair | None = None
        self._told = ""
        self.bundle = ""
        # Probes are answered from the start, also while the cluster is not; whoever verifies waits.
        tls.use(issued(made_authority(now()), self._names, now()))

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        backoff = Backoff(first_s=0.5, last_s=self._look_s)
        while True:
            try:
                await self.look()
            except ApiError as error:
                self._tell(f"{error}; the Role headgate-controller-tls has what is needed")
                await asyncio.sleep(backoff.failed(error.retry_after_s))
            except Unusable as error:
                self._tell(str(error))
                await asyncio.sleep(self._look_s)
            except Exception as error:  # noqa: BLE001  the outermost frame: without renewal nobody is let in one day
                self._tell(f"{error!r}, {traceback.format_exc(limit=-4)}")
                await asyncio.sleep(self._look_s)
            else:
                self._told = ""
                backoff.succeeded()
                await asyncio.sleep(self._look_s * random.uniform(0.75, 1.0))  # noqa: S311  no secret

    async def look(self) -> None:
        """Read the Secret, bring it up to date, and use it. ApiError: nothing is known anew; Unusable: it holds nonsense."""
        for _ in range(RACES_MAX):
            found = await self._read()
            kept = _kept(found) if found is not None else None
            wanted = advanced(kept, self._now(), is_asked=bool(_asked(found)))
            try:
                if wanted != kept:
                    await self._write(found, wanted)
            except Conflict:
                continue  # another replica was first: what it wrote counts
            self._use(wanted)
            return
        raise Conflict(f"Secret {self._api.namespace}/{SECRET} is written by somebody else again and again")

    async def _read(self) -> dict[str, Any] | None:
        try:
            return await self._api.get(self._path(SECRET))
        except NotFound:
            return None

    async def _write(self, found: Mapping[str, Any] | None, wanted: Kept) -> None:
        if found is None:
            await self._api.create(self._path(None), _secret(self._api.namespace, wanted))
        else:
            annotations = {name: value for name, value in _annotations(found).items() if name != ROTATE}
            metadata = {**mapping(found, "metadata"), "annotations": annotations}
            await self._api.replace(
                self._path(SECRET), {**found, "metadata": metadata, "data": _data(wanted)}
            )
        self._log.info("authority written", secret=SECRET, until=when(ends_at(wanted.current.certificate)))

    def _use(self, kept: Kept) -> None:
        now = self._now()
        if kept.current != self._issuer or self._tls.ends_at - now < SERVING_LEAST_S:
            self._tls.use(issued(kept.current, self._names, now))
            self._issuer = kept.current
            self._log.info("serving certificate issued", until=when(self._tls.ends_at))
        if kept.bundle != self.bundle:
            self.bundle = kept.bundle
            self._on_bundle()

    def _tell(self, why: str) -> None:
        if why != self._told:
            self._told = why
            self._log.error("the authority in the Secret cannot be used", secret=SECRET, why=why)

    def _path(self, name: str | None) -> str:
        return path_of("", "v1", "secrets", self._api.namespace, name)


def _asked(found: Mapping[str, Any] | None) -> str:
    return text(_annotations(found), ROTATE)


def _annotations(found: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return mapping(found, "metadata", "annotations")


def _kept(found: Mapping[str, Any]) -> Kept | None:
    """What the Secret holds; None for an empty one, such as comes with the manifests. Unusable for anything else."""
    data = mapping(found, "data")
    if not data:
        return None
    try:
        current = _pair(data, _CURRENT)
        following = _pair(data, _NEXT) if _NEXT[0] in data else None
        previous = _decoded(data, _PREVIOUS) if _PREVIOUS in data else b""
        if previous:
            ends_at(previous)
    except Unusable as error:
        name = f"{text(found, 'metadata', 'namespace')}/{SECRET}"
        raise Unusable(
            f"Secret {name}: {error}: put it right, or take all of its data away for a new one"
        ) from error
    return Kept(current, following, previous)


def _pair(data: Mapping[str, Any], names: tuple[str, str]) -> Pair:
    return checked(Pair(*(_decoded(data, name) for name in names)))


def _decoded(data: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(text(data, name), validate=True)
    except binascii.Error as error:
        raise Unusable(f"{name} is not base64") from error


def _data(kept: Kept) -> dict[str, str]:
    held = dict(zip(_CURRENT, (kept.current.certificate, kept.current.key), strict=True))
    if kept.next is not None:
        held |= dict(zip(_NEXT, (kept.next.certificate, kept.next.key), strict=True))
    if kept.previous:
        held[_PREVIOUS] = kept.previous
    return {name: base64.b64encode(value).decode("ascii") for name, value in held.items()}


def _secret(namespace: str, kept: Kept) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": SECRET,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "headgate"},
        },
        "data": _data(kept),
    }
