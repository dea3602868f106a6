"""Who calls the controller's API on a cluster: the API server reviews the token, then what its bearer may.

Routers bring the projected token of their ServiceAccount, made for the audience `headgate`, and need the verb `route`
on their own rollout and nothing else. Answers are kept for a minute; while the API server is away the last ones hold
for ten, for a router whose counters nobody takes is blind evidence, not safety.
"""

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
TOKEN_CHARACTERS_MAX: Final = 16_384
_REVIEWS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_QUESTIONS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

Answer = tuple[bool, Any]
"""Yes or no; with a yes to a token its bearer, with a no the reason."""


@dataclass(slots=True)
class _Kept:
    answer: Answer
    at: float


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
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    async def refusal(self, token: str, wish: Wish) -> Denied | None:
        """Why the bearer may not; None if they may."""
        if self._is_shared(token):
            return None
        if not token or len(token) > TOKEN_CHARACTERS_MAX:
            return _unknown("there is no token in it")
        try:
            known, bearer = await self._ask("who", token, lambda: self._review(token))
            if not known:
                return _unknown(str(bearer))
            if not wish.verb:
                return None
            allowed, why = await self._ask(
                f"{wish.verb} {wish.key} {wish.path if not wish.key else ''}",
                token,
                lambda: self._may(bearer, wish),
            )
        except ApiError as error:
            return Denied(
                503, f"the API server cannot be asked who this is: {error}", "ask again in a moment"
            )
        return None if allowed else _forbidden(bearer, wish, str(why))

    async def _ask(self, question: str, token: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer, asked anew when it is old; the old one while nobody answers."""
        name, now = sha256(f"{question}\n{token}".encode()).digest(), self._monotonic()
        kept = self._kept.get(name)
        if kept is not None and now - kept.at < FRESH_S:
            return kept.answer
        try:
            answer = await ask()
        except ApiError:
            if kept is not None and now - kept.at < STALE_S:
                return kept.answer
            raise
        self._kept[name] = _Kept(answer, now)
        self._kept.move_to_end(name)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return answer

    async def _review(self, token: str) -> Answer:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        status = mapping(await self._api.create(_REVIEWS, body), "status")
        if status.get("authenticated") is not True:
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
