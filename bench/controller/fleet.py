"""Routers that route nothing: each polls for its rollout's plan, obeys at once, and reports each second if it is told to.

They speak the wire as `headgate router` does, with its messages; a thousand real ones would need more than the machine has.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from headgate.histogram import BUCKETS
from headgate.wire.plan import NOTHING_APPLIED, Applied, RoutePlan
from headgate.wire.telemetry import Outcomes, Telemetry, VersionCounters

ROUTER: Final = "r1"
AGAIN_S: Final = 1.0
"""A real router that has no plan asks again after as long."""

REQUESTS_PER_S: Final = 100
BOOT: Final = "0f8fad5b-d9cb-469f-a165-70867728950e"

_plans: Final = msgspec.json.Decoder(RoutePlan)


class Connection:
    """One connection of HTTP/1.1 to the controller, made again when it broke."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of the answer; OSError if there is none."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(
                f"{method} {target} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            return await _answer(reader)
        except (OSError, EOFError, asyncio.CancelledError) as error:
            self.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise OSError(str(error)) from error

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
        self._streams = None


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = head.partition("content-length:")[2].partition("\r\n")[0].strip()
    return int(head.split(" ", 2)[1]), await reader.readexactly(int(length or 0))


@dataclass(slots=True)
class Router:
    """One simulated router: the plan it runs, and what it would have counted."""

    rollout: str
    plan: RoutePlan | None = None
    applied: Applied = NOTHING_APPLIED
    planned_at: float = 0.0
    counted: dict[str, int] = field(default_factory=dict)

    def count(self) -> None:
        """One more second of requests, split as the plan says."""
        for name, weight in (self.plan.weights() if self.plan is not None else {}).items():
            self.counted[name] = self.counted.get(name, 0) + REQUESTS_PER_S * weight // 10_000

    def report(self) -> Telemetry:
        plan, now = self.plan, time.time()
        versions = plan.versions if plan is not None else ()
        return Telemetry(
            rollout=self.rollout,
            router=ROUTER,
            boot=BOOT,
            started_at=0.0,
            at=now,
            applied=str(self.applied),
            versions=tuple(
                VersionCounters(
                    version=version.name,
                    identity=version.identity,
                    attempt=version.attempt,
                    picked=_outcomes(self.counted.get(version.name, 0)),
                    half=_outcomes(self.counted.get(version.name, 0) // 2),
                )
                for version in versions
            ),
        )


def _outcomes(requests: int) -> Outcomes:
    """So many answers, one in a thousand failed, spread over thirty buckets."""
    histogram = [0] * BUCKETS
    for bucket in range(30):
        histogram[40 + bucket] = requests // 30
    return Outcomes(requests=requests, failed=requests // 1000, latency=tuple(histogram))


class Fleet:
    """One router for each rollout, in tasks of the running loop. `on_plan(router)` is called with each new plan."""

    def __init__(
        self,
        port: int,
        token: str,
        keys: Iterable[str],
        on_plan: Callable[[Router], None] = lambda router: None,
    ) -> None:
        self.routers = {key: Router(key) for key in keys}
        self._port = port
        self._token = token
        self._on_plan = on_plan
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, keys: Iterable[str] | None = None) -> None:
        """From now on these routers poll; all of them, if none are named."""
        chosen = self.routers.values() if keys is None else [self.routers[key] for key in keys]
        self._tasks += [asyncio.create_task(self._poll(router)) for router in chosen]

    def report(self, keys: Iterable[str]) -> None:
        """From now on these routers report each second, spread over it."""
        chosen = [self.routers[key] for key in keys]
        self._tasks += [
            asyncio.create_task(self._report(router, index / len(chosen)))
            for index, router in enumerate(chosen)
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def until(self, holds: Callable[[Router], bool], within_s: float) -> None:
        """Wait until it holds for every router; TimeoutError says for how many it does not."""
        ends_at = time.monotonic() + within_s
        while lacking := [router.rollout for router in self.routers.values() if not holds(router)]:
            if time.monotonic() > ends_at:
                raise TimeoutError(
                    f"{len(lacking)} routers are not where they should be, such as {lacking[0]}"
                )
            await asyncio.sleep(0.01)

    async def _poll(self, router: Router) -> None:
        connection = Connection(self._port, self._token)
        try:
            while True:
                target = f"/v1/routes/{router.rollout}?router={ROUTER}&applied={router.applied}&wait=30"
                try:
                    status, body = await connection.ask("GET", target)
                except OSError:
                    status, body = 0, b""
                if status == 200:
                    router.plan = _plans.decode(body)
                    router.applied, router.planned_at = router.plan.triple, time.monotonic()
                    self._on_plan(router)
                elif status != 304:
                    await asyncio.sleep(AGAIN_S)
        finally:
            connection.close()

    async def _report(self, router: Router, delay_s: float) -> None:
        connection = Connection(self._port, self._token)
        await asyncio.sleep(delay_s)
        try:
            while True:
                router.count()
                with suppress(OSError):
                    await connection.ask("POST", "/v1/telemetry", msgspec.json.encode(router.report()))
                await asyncio.sleep(1.0)
        finally:
            connection.close()
