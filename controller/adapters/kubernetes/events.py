"""Kubernetes Events of a rollout: what happened, for `kubectl describe` and `kubectl get events`.

Best effort, in the background: no decision waits for an Event or fails with one. The reasons are the core's closed
list. The same event again within a while is told once, a rollout that talks too much is cut short, and so is a queue
that the API server does not take.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

from controller.adapters.kubernetes.api import Api, path_of
from controller.adapters.kubernetes.errors import ApiError, Conflict
from controller.core.status import Event, Reason
from controller.crd.models import API_VERSION, KIND
from headgate.log import Log

QUEUE_MAX: Final = 1_000
NOTE_BYTES_MAX: Final = 1_000
SAME_S: Final = 600.0
"""The same event of the same rollout within this is told once."""

BURST: Final = 25
REFILL_S: Final = 10.0
"""A rollout may tell so many events at once, and one more each time so many seconds went by."""

KNOWN_MAX: Final = 10_000
TIMEOUT_S: Final = 5.0

WARNINGS: Final = frozenset(
    {
        Reason.ROLLING_BACK,
        Reason.WORLD_DRIFT,
        Reason.OVERRIDDEN,
        Reason.STALLED,
        Reason.NOT_WARM,
        Reason.NOT_READY,
        Reason.ACTION_REFUSED,
        Reason.HOOK_FAILED,
        Reason.NOTIFICATION_FAILED,
        Reason.BUG,
    }
)


@dataclass(frozen=True, slots=True)
class About:
    """The rollout an Event is about."""

    namespace: str
    name: str
    uid: str


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Events:
    """Posts Events while `run` runs. `is_leader` is asked before each; `now` gives Unix seconds."""

    def __init__(
        self, api: Api, *, instance: str, is_leader: Callable[[], bool], now: Callable[[], float], log: Log
    ) -> None:
        self._api = api
        self._instance = instance[:128]
        self._is_leader = is_leader
        self._now = now
        self._log = log
        self._waiting: deque[tuple[About, Event, bool]] = deque(maxlen=QUEUE_MAX)
        self._news = asyncio.Event()
        self._told: OrderedDict[str, float] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def tell(self, about: About, events: Sequence[Event], *, is_lasting: bool = False) -> None:
        """Tell of these soon, unless they were told just now or are too many; waits for nothing.

        What `is_lasting` is told again only when the API server has forgotten it, also by the next controller.
        """
        for event in events:
            if not self._was_told(about, event) and self._may_tell(about):
                self._waiting.append((about, event, is_lasting))
        self._news.set()

    async def run(self) -> None:
        """Post what waits, for ever; what the API server does not take is given up."""
        while True:
            while self._waiting:
                about, event, is_lasting = self._waiting.popleft()
                try:
                    await self._post(about, event, is_lasting=is_lasting)
                except Exception as error:  # noqa: BLE001  the outermost frame: one event's bug silences no other
                    self._log.error("an event was not told", rollout=about.name, why=repr(error))
            self._news.clear()
            await self._news.wait()

    def _was_told(self, about: About, event: Event) -> bool:
        name = _digest(about.uid, event.reason.value, event.message)
        before, now = self._told.pop(name, None), self._now()
        self._told[name] = now if before is None or now - before > SAME_S else before
        while len(self._told) > KNOWN_MAX:
            self._told.popitem(last=False)
        return self._told[name] == before

    def _may_tell(self, about: About) -> bool:
        now = self._now()
        bucket = self._buckets.pop(about.uid, None) or _Bucket(BURST, now)
        left = min(bucket.left + max(now - bucket.at, 0.0) / REFILL_S, BURST)
        self._buckets[about.uid] = _Bucket(max(left - 1, 0.0) if left >= 1 else left, now)
        while len(self._buckets) > KNOWN_MAX:
            self._buckets.popitem(last=False)
        return left >= 1

    async def _post(self, about: About, event: Event, *, is_lasting: bool) -> None:
        if not self._is_leader():
            return
        path = path_of("events.k8s.io", "v1", "events", about.namespace)
        try:
            posted = event_object(about, event, self._instance, is_lasting=is_lasting)
            await self._api.create(path, posted, timeout_s=TIMEOUT_S)
        except Conflict:
            return  # it was told before a crash
        except ApiError as error:
            self._log.warning(
                "an event was not told", rollout=f"{about.namespace}/{about.name}", why=str(error)
            )


def event_object(about: About, event: Event, instance: str, *, is_lasting: bool = False) -> dict[str, Any]:
    """The Event; its name follows from what it says, so that one that was posted already is refused."""
    when = "" if is_lasting else str(event.at)
    digest = _digest(about.uid, event.reason.value, event.message, when)
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name[:200]}.{digest}", "namespace": about.namespace},
        "eventTime": datetime.fromtimestamp(event.at, UTC)
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z"),
        "reportingController": "headgate.dev/controller",
        "reportingInstance": instance,
        "action": "Reconcile",
        "reason": event.reason.value,
        "type": "Warning" if event.reason in WARNINGS else "Normal",
        "note": event.message.encode()[:NOTE_BYTES_MAX].decode(errors="ignore"),
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        },
    }


def _digest(*parts: str) -> str:
    return blake2b("|".join(parts).encode(), digest_size=8).hexdigest()
