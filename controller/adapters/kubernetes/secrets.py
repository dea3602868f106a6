"""Digests of the Secrets that pod templates ask to have tracked: whether a content is another one, and nothing more of it.

A Secret is read by its name alone, so that a Role can allow that one and no other; it is not listed and not watched but
read again every half minute. Its content is hashed at once and let go. The hash is keyed with the Secret's UID, so that
no table of hashes finds it; UIDs are no secrets, and who knows this one can try short passwords against the digest.
"""

import asyncio
import hashlib
import hmac
import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from controller.adapters.kubernetes.api import Api, ApiError, Forbidden, NotFound, path_of
from controller.adapters.kubernetes.backoff import about
from controller.adapters.kubernetes.raw import mapping, text
from controller.errors import StoreUnavailable
from headgate.log import Log

LOOK_S: Final = 30.0
AT_ONCE: Final = 4
"""So many are read at the same time."""

DIGEST_CHARS: Final = 20
TRACKED_MAX: Final = 16
"""Secrets that one rollout may track."""


class Unread(StoreUnavailable):
    """What the content is now is not known yet; it is asked for."""


class Unreadable(StoreUnavailable):
    """What the content is cannot be known until a person acts: the text says how."""


@dataclass(slots=True)
class _Asked:
    """A Secret that rollouts track: who asks, its digest ("": none is known), and why it cannot be read, if it cannot."""

    by: set[str] = field(default_factory=set)
    digest: str = ""
    trouble: str = ""


class Secrets:
    """`on_change(key)` is called with each rollout for which `digest` would answer differently. `run` has to be running."""

    def __init__(
        self, api: Api, on_change: Callable[[str], None], log: Log, *, look_s: float = LOOK_S
    ) -> None:
        self._api = api
        self._on_change = on_change
        self._log = log
        self._look_s = look_s
        self._asked: dict[str, _Asked] = {}
        self._new = asyncio.Event()

    def track(self, key: str, names: tuple[str, ...]) -> None:
        """The rollout tracks these Secrets of its namespace, and no others."""
        namespace = key.partition("/")[0]
        wanted = {f"{namespace}/{name}" for name in names}
        for name, asked in tuple(self._asked.items()):
            if name not in wanted:
                asked.by.discard(key)
            if not asked.by:
                del self._asked[name]
        for name in wanted:
            if name not in self._asked:
                self._asked[name] = _Asked()
                self._new.set()
            self._asked[name].by.add(key)

    def digest(self, name: str) -> str:
        """Of the tracked Secret `namespace/name`; Unread or Unreadable if there is none now."""
        asked = self._asked[name]
        if asked.trouble:
            raise Unreadable(asked.trouble)
        if not asked.digest:
            raise Unread(f"Secret {name} has not been read yet")
        return asked.digest

    async def run(self) -> None:
        """Read what is tracked, again and again, until cancelled."""
        while True:
            self._new.clear()
            gate = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*(self._look(name, gate) for name in tuple(self._asked)))
            try:
                async with asyncio.timeout(about(self._look_s)):
                    await self._new.wait()
            except TimeoutError:
                continue

    async def _look(self, name: str, gate: asyncio.Semaphore) -> None:
        try:
            async with gate:
                digest, trouble = await self._read(name)
        except Exception as error:  # noqa: BLE001  the outermost frame: one odd Secret must not stop the others
            trace = "".join(traceback.format_tb(error.__traceback__, -4))  # its text might quote the content
            self._log.error(
                "reading a tracked Secret failed", secret=name, why=type(error).__name__, traceback=trace
            )
            return
        asked = self._asked.get(name)
        if asked is None or (digest, trouble) in (("", ""), (asked.digest, asked.trouble)):
            return
        asked.digest, asked.trouble = digest, trouble
        self._log.info("tracked Secret read", secret=name, trouble=trouble or None)
        for key in tuple(asked.by):
            self._on_change(key)

    async def _read(self, name: str) -> tuple[str, str]:
        """Its digest, or why there is none; neither while the API server does not answer."""
        namespace, _, own = name.partition("/")
        try:
            return digest_of(await self._api.get(path_of("", "v1", "secrets", namespace, own))), ""
        except NotFound:
            return "", f"there is no Secret {name}: create it, or take it out of the annotation"
        except Forbidden:
            return "", (
                f"the controller may not read Secret {name}: give it a Role with the verb get on that name "
                "(manifests/examples/tracked-secret.yaml), or take it out of the annotation"
            )
        except ValueError:
            return "", f"{name!r} is not the name of a Secret: correct the annotation"
        except ApiError:
            return "", ""


def digest_of(found: Mapping[str, Any]) -> str:
    """What changes with the Secret's content and with nothing else of it, and tells nothing of it."""
    content = json.dumps(
        {"type": text(found, "type"), "data": mapping(found, "data")}, sort_keys=True, separators=(",", ":")
    )
    key = text(found, "metadata", "uid").encode()
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()[:DIGEST_CHARS]
