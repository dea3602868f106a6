"""Who may ask the API for what. Locally one token is everything; on a cluster its own identities and roles decide."""

import hmac
from collections.abc import Mapping
from typing import Final

from controller.ports import ROUTE, Denied, Wish


class SharedToken:
    """Whoever brings this token may do everything."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def is_right(self, token: str) -> bool:
        """Is it the token? Takes as long whatever it is."""
        return hmac.compare_digest(token.encode(), self._token)

    async def refusal(self, token: str, wish: Wish) -> Denied | None:
        """None for the token, 401 for anything else."""
        if self.is_right(token):
            return None
        return Denied(
            401,
            "this needs the controller's token",
            "send `Authorization: Bearer TOKEN`; the token is in the file `token` of the state directory",
        )


_VERBS: Final[Mapping[str, str]] = {"GET": "get", "HEAD": "get"}


def wish_of(method: str, path: str, names: Mapping[str, str]) -> Wish:
    """What a request wants: routers route; what changes a rollout is `update`, what reads it `get`."""
    namespace, name = names.get("namespace"), names.get("name")
    key = f"{namespace}/{name}" if namespace and name else ""
    if path.startswith("/v1/routes/"):
        return Wish(ROUTE, key, path)
    if path == "/v1/telemetry":
        return Wish("", "", path)  # for which rollout is in the body, and asked once that was read
    return Wish(_VERBS.get(method, "update"), key, path)
