"""What the observer does with a copy, from its arrival to its record; the processes' edges are passed in.

One lane per shadow: at most `concurrency_max` exchanges at a time, a bounded queue before them. Everything a copy
holds is bounded twice, by count and by bytes, and what does not fit is dropped and counted at once. Each shadow of a
plan has its part of the bytes, so that one that hangs or answers without end costs the others no pair.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from headgate.reach import ANYWHERE, Reach
from headgate.redaction import Unredactable
from router.core.channel import Assignment, Copy
from router.core.join import Answer, Outcome, Refused, join
from router.core.replay import refusal, request_for
from router.core.sketch import Pairing
from router.observer.client import ByteBudget, Client, Limits
from router.observer.keep import Kept, is_kept, line_of, with_labels_redacted
from router.observer.plans import Plans, Replay
from router.observer.records import Line, RecordLog
from router.observer.tallies import Tallies
from router.tls import Followed

QUEUE_MAX: Final = 1024
"""How many copies wait for one shadow."""

COPY_BYTES_MAX: Final = 64 * 1024 * 1024
"""How many bytes of copies are held at a time, waiting or being replayed, over all shadows.

A copy counts once for each of its shadows.
"""

ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""How many bytes of shadows' answers are held at a time."""

HEADS_BYTES_MAX: Final = 256 * 1024
"""What the heads of a copy may take beside its two bodies, when a shadow's part is at its smallest."""

EARLY_MAX: Final = 256
"""How many copies wait for the plan they were sampled under."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One copy for one shadow."""

    copy: Copy
    replay: Replay
    pairing: Pairing
    bytes_held: int


@dataclass(slots=True)
class _Lane:
    """One shadow's queue, how many exchanges are under way, and its parts of what may be held."""

    copies: ByteBudget
    answers: ByteBudget
    waiting: deque[_Job] = field(default_factory=deque)
    running: int = 0


class Observer:
    """Takes copies; its counters and records are in the `tallies` and `records` it was given."""

    def __init__(
        self, tallies: Tallies, records: RecordLog, key: bytes, tls: Followed, reach: Reach = ANYWHERE
    ) -> None:
        """`key` is the secret of hashed fields, `tls` how shadows are spoken to, `reach` where they may be."""
        self.plans = Plans()
        self._tallies = tallies
        self._records = records
        self._key = key
        self._copies = ByteBudget(COPY_BYTES_MAX)
        self._answers = ByteBudget(ANSWER_BYTES_MAX)
        self._client = Client(tls, reach)
        self._lanes: dict[str, _Lane] = {}
        self._early: deque[Copy] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, assignment: Assignment) -> str:
        """Take a plan and the copies that waited for it; why it was refused, else empty."""
        why = self.plans.follow(assignment)
        if not why:
            for lane in self._lanes.values():
                self._share(lane)
            self._take_early()
        return why

    def take(self, copy: Copy) -> None:
        """Begin with a copy, or drop it; returns at once."""
        may_wait = self.plans.is_ahead(copy) and len(self._early) < EARLY_MAX
        if may_wait and self._copies.take(_size(copy)):
            self._early.append(copy)
        else:
            self._offer(copy)

    def tidy(self) -> None:
        """Once a second: let go of what waited for a plan that did not come, and of idle connections."""
        self._take_early()
        self._client.sweep(self.plans.endpoints())
        for name in [name for name, lane in self._lanes.items() if not (lane.running or lane.waiting)]:
            del self._lanes[name]

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self._tasks and not self._early and not any(one.waiting for one in self._lanes.values())

    async def close(self) -> None:
        """End what waits and what is under way, uncounted; nothing is counted afterwards."""
        for lane in self._lanes.values():
            lane.waiting.clear()
        self._early.clear()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._client.close()

    def _take_early(self) -> None:
        waited, self._early = self._early, deque()
        for copy in waited:
            self._copies.give(_size(copy))
            self._offer(copy)

    def _offer(self, copy: Copy) -> None:
        for name in copy.shadows:
            replay = self.plans.replay(copy, name)
            if replay is not None:  # else that shadow is over, and nobody asks about it any more
                self._enqueue(copy, replay)

    def _enqueue(self, copy: Copy, replay: Replay) -> None:
        pairing = Pairing(replay.version.name, replay.version.identity, copy.live, copy.live_identity)
        job = _Job(copy, replay, pairing, _size(copy))
        refused = _unfit(copy) or refusal(
            copy.method, copy.target.decode("latin-1"), replay.plan.counted_paths
        )
        if refused is not None:
            self._end(job, refused)
            return
        lane = self._lane(replay.version.identity)
        if len(lane.waiting) >= QUEUE_MAX or not lane.copies.take(job.bytes_held):
            self._end(job, Refused("queue_full", "too many copies wait"))
            return
        lane.waiting.append(job)
        self._start(lane)

    def _lane(self, identity: str) -> _Lane:
        lane = self._lanes.get(identity)
        if lane is None:
            lane = _Lane(ByteBudget(0, self._copies), ByteBudget(0, self._answers))
            self._lanes[identity] = lane
            self._share(lane)
        return lane

    def _share(self, lane: _Lane) -> None:
        """Give a lane its part: an even one, but never less than one exchange at its largest needs."""
        plan = self.plans.in_force
        shadows, body_max = (len(plan.shadows), plan.capture.body_bytes_max) if plan is not None else (1, 0)
        lane.copies.bytes_max = max(COPY_BYTES_MAX // max(shadows, 1), 2 * body_max + HEADS_BYTES_MAX)
        lane.answers.bytes_max = max(ANSWER_BYTES_MAX // max(shadows, 1), body_max)

    def _start(self, lane: _Lane) -> None:
        """Begin as many exchanges as the shadow may have at a time."""
        while lane.waiting and lane.running < lane.waiting[0].replay.shadow.concurrency_max:
            job = lane.waiting.popleft()
            lane.running += 1
            task = asyncio.get_running_loop().create_task(self._run(job, lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, job: _Job, lane: _Lane) -> None:
        body_bytes = 0
        try:
            answer = await self._replayed(job, lane.answers)
            body_bytes = len(answer.body) if isinstance(answer, Answer) else 0
            self._end(job, answer)
        finally:
            lane.answers.give(body_bytes)
            lane.copies.give(job.bytes_held)
            lane.running -= 1
            self._start(lane)

    async def _replayed(self, job: _Job, budget: ByteBudget) -> Answer | Refused:
        """The shadow's answer; where nothing could be connected to, the next endpoint is tried once."""
        replay = job.replay
        bytes_max = replay.plan.capture.body_bytes_max
        limits = Limits(replay.shadow.timeout_ms / 1000, bytes_max, budget)
        answer: Answer | Refused = Refused("shadow_error", "the shadow has no ready endpoint")
        for endpoint in self._client.least_busy(replay.endpoints)[:2]:
            request = request_for(job.copy, replay.version, endpoint, bytes_max)
            if isinstance(request, Refused):
                return request
            answer = await self._client.ask(endpoint, request, limits)
            if isinstance(answer, Answer) or answer.reason != "shadow_error":
                return answer
        return answer

    def _end(self, job: _Job, answer: Answer | Refused) -> None:
        """Compare, count and record: what every offered copy comes to, once."""
        copy, plan = job.copy, job.replay.plan
        live = Answer(copy.status, copy.latency_s, copy.answer_head, copy.answer_body)
        target = copy.target.decode("latin-1")
        outcome = join(target, live, answer, plan.comparison, plan.capture.body_bytes_max)
        try:
            outcome = with_labels_redacted(outcome, plan, self._key)
            self._tallies.of(job.pairing).add(outcome, live.latency_s, answer.latency_s)
            if is_kept(outcome, copy.request_id, plan.capture):
                self._record(job, outcome, answer)
        except Unredactable:
            self._tallies.of(job.pairing).drop("redaction_failed")

    def _record(self, job: _Job, outcome: Outcome, answer: Answer | Refused) -> None:
        kept = Kept(job.copy, job.replay.plan, job.replay.version, outcome, answer)
        if not self._records.add(Line(job.pairing, line_of(kept, self._key))):
            self._tallies.of(job.pairing).drop("record_log_full")


def _size(copy: Copy) -> int:
    return len(copy.request_head) + len(copy.request_body) + len(copy.answer_head) + len(copy.answer_body)


def _unfit(copy: Copy) -> Refused | None:
    """The worker's reason for a copy without bodies."""
    if not copy.cut:
        return None
    for reason in ("body_too_large", "client_cancelled", "live_error", "queue_full"):
        if copy.cut == reason:
            return Refused(reason, "the worker kept no bodies")
    return Refused("undecodable", "the worker kept no bodies")
