"""Who calls the controller's API on a cluster: the API server reviews the token, then what its bearer may.

Routers bring the projected token of their ServiceAccount, made for the audience `headgate`, and need the verb `route`
on their own rollout and nothing else. Answers are kept for a minute; while the API server is away the last ones hold
for ten, for a router whose counters nobody takes is blind evidence, not safety.

Anybody who reaches the port can send tokens: of those that are not known few are reviewed at a time, and what was
refused is kept apart, so that it pushes out nobody who is known.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from controller.adapters.kubernetes.api import Api
from controller.adapters.kubernetes.errors import ApiError
from controller.adapters.kubernetes.raw import mapping, text, words
from controller.ports import Denied, Wish

AUDIENCE: Final = "headgate"
FRESH_S: Final = 60.0
STALE_S: Final = 600.0
KEPT_MAX: Final = 4096
"""So many answers are kept, of each kind: yes, and no."""

UNKNOWN_AT_ONCE: Final = 4
"""So many tokens that are not known are reviewed at a time."""

UNKNOWN_MAX: Final = 2048
"""So many wait for that; more are told to come again."""

TOKEN_CHARACTERS_MAX: Final = 16_384
_REVIEWS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_QUESTIONS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

Answer = tuple[bool, Any]
"""Yes or no; with a yes to a token its bearer, with a no the reason."""


@dataclass(slots=True)
class _Kept:
    answer: Answer
    at: float


class _Crowded(Exception):
    """Too many wait to become known."""


class ClusterAccess:
    """Implements `ports.Access`. `is_shared` knows a token that may do everything, for those who want one."""

    def __init__(
        self,
        api: Api,
        is_shared: Callable[[str], bool] = lambda token: False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._is_shared = is_shared
        self._monotonic = monotonic
        self._yes: OrderedDict[bytes, _Kept] = OrderedDict()
        self._no: OrderedDict[bytes, _Kept] = OrderedDict()
        self._turn = asyncio.Semaphore(UNKNOWN_AT_ONCE)
        self._unknown = 0

    async def refusal(self, token: str, wish: Wish) -> Denied | None:
        """Why the bearer may not; None if they may."""
        if self._is_shared(token):
            return None
        if not token or len(token) > TOKEN_CHARACTERS_MAX:
            return _unknown("there is no token in it")
        try:
            known, bearer = await self._who(token)
            if not known:
                return _unknown(str(bearer))
            if not wish.verb:
                return None
            what = f"{wish.verb} {wish.key} {wish.path if not wish.key else ''}"
            allowed, why = await self._ask(_name(what, token), lambda: self._may(bearer, wish))
        except ApiError as error:
            return Denied(
                503, f"the API server cannot be asked who this is: {error}", "ask again in a moment"
            )
        except _Crowded:
            return Denied(503, "too many ask whom nobody knows yet", "ask again in a moment")
        return None if allowed else _forbidden(bearer, wish, str(why))

    async def _who(self, token: str) -> Answer:
        """Who bears the token; who was known before does not wait behind those who are not."""
        name = _name("who", token)
        if name in self._yes or self._fresh(name) is not None:
            return await self._ask(name, lambda: self._review(token))
        if self._unknown >= UNKNOWN_MAX:
            raise _Crowded
        self._unknown += 1
        try:
            async with self._turn:
                return await self._ask(name, lambda: self._review(token))
        finally:
            self._unknown -= 1

    def _fresh(self, name: bytes) -> _Kept | None:
        """The answer that needs not be asked again."""
        kept = self._yes.get(name) or self._no.get(name)
        return kept if kept is not None and self._monotonic() - kept.at < FRESH_S else None

    async def _ask(self, name: bytes, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer, asked anew when it is old; the old one while nobody answers."""
        if (fresh := self._fresh(name)) is not None:
            return fresh.answer
        kept, now = self._yes.get(name) or self._no.get(name), self._monotonic()
        try:
            answer = await ask()
        except ApiError:
            if kept is not None and now - kept.at < STALE_S:
                return kept.answer
            raise
        self._keep(name, _Kept(answer, now))
        return answer

    def _keep(self, name: bytes, kept: _Kept) -> None:
        """Beside others of its kind; what was known the longest ago goes."""
        mine, other = (self._yes, self._no) if kept.answer[0] else (self._no, self._yes)
        other.pop(name, None)
        mine[name] = kept
        mine.move_to_end(name)
        while len(mine) > KEPT_MAX:
            mine.popitem(last=False)

    async def _review(self, token: str) -> Answer:
        """An API server that does not know audiences names none in its answer: the token is for itself then."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        status = mapping(await self._api.create(_REVIEWS, body), "status")
        audiences = status.get("audiences")
        is_for_us = isinstance(audiences, list) and AUDIENCE in audiences
        if status.get("authenticated") is not True or not is_for_us:
            return False, words(
                status, "error"
            ) or f"it is no token of this cluster for the audience {AUDIENCE}"
        return True, mapping(status, "user")

    async def _may(self, bearer: Any, wish: Wish) -> Answer:
        namespace, _, name = wish.key.partition("/")
        what = (
            {
                "resourceAttributes": {
                    "group": "headgate.dev",
                    "resource": "modelrollouts",
                    "verb": wish.verb,
                    "namespace": namespace,
                    "name": name,
                }
            }
            if wish.key
            else {"nonResourceAttributes": {"path": wish.path, "verb": wish.verb}}
        )
        who = {"user": bearer.get("username", ""), "groups": bearer.get("groups", [])}
        more = {name: bearer[name] for name in ("uid", "extra") if name in bearer}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {**who, **more, **what},
        }
        status = mapping(await self._api.create(_QUESTIONS, body), "status")
        return status.get("allowed") is True, words(status, "reason")


def _name(question: str, token: str) -> bytes:
    return sha256(f"{question}\n{token}".encode()).digest()


def _unknown(why: str) -> Denied:
    return Denied(
        401,
        f"it is not known who asks: {why}",
        "send `Authorization: Bearer TOKEN` with the token of a ServiceAccount, projected for the audience "
        f"{AUDIENCE} (see manifests/router)",
    )


def _forbidden(bearer: Any, wish: Wish, why: str) -> Denied:
    on = (
        f"modelrollouts/{wish.key.partition('/')[2]} in {wish.key.partition('/')[0]}"
        if wish.key
        else wish.path
    )
    who = text(bearer, "username")
    return Denied(
        403,
        f"{who} may not {wish.verb} {on}" + (f": {why}" if why else ""),
        f"give {who} a Role with the verb {wish.verb} on it, group headgate.dev",
    )
