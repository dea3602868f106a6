"""A whole router with several shadows, and with several candidates: each compared, counted, shown and tripped for itself."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner

from headgate.wire.codec import encode
from headgate.wire.plan import (
    Comparison,
    Endpoint,
    IdentityKey,
    PlanVersion,
    RoutePlan,
    Shadow,
    SlotRange,
)
from router.cli.report import report
from router.core.channel import RUN_FILES
from router.core.guard import read_trips
from tests.router.agent.bench import DEADLINE_S
from tests.router.cli.served import Router
from tests.router.observer.shadow_servers import (
    Handler,
    Sound,
    hanging,
    nonsense,
    read_request,
    response,
    serving,
    v2_answer,
)

ALL = 1_000_000
PATH = "/v2/models/digits/infer"


@contextmanager
def started(folder: Path, plan: RoutePlan) -> Iterator[Router]:
    """A router with this plan, as a user starts it."""
    file = folder / "plan.json"
    file.write_bytes(encode(plan))
    router = Router(folder)
    try:
        yield router.start("--plan", str(file), "--workers", "2")
    finally:
        router.close()


def plan_of(
    endpoints: dict[str, Endpoint], weights: dict[str, int], roles: dict[str, str] | None = None, **more: Any
) -> RoutePlan:
    """The first version is stable, the others are candidates unless `roles` says otherwise."""
    stable = next(iter(endpoints))
    settings: dict[str, Any] = {
        "rollout": "ml/fraud",
        "epoch": 1,
        "generation": 1,
        "salt": "pepper",
        "stable": stable,
        "versions": tuple(
            PlanVersion(
                name,
                f"id-{name}",
                (roles or {}).get(name, "stable" if name == stable else "candidate"),
                (endpoint,),
            )
            for name, endpoint in endpoints.items()
        ),
        "slots": slots_of(weights),
        "identity": IdentityKey(("header:x-user-id",)),
        "comparison": Comparison(task="classification", label="label"),
    }
    return RoutePlan(**(settings | more))


def slots_of(weights: dict[str, int]) -> tuple[SlotRange, ...]:
    found, start = [], 0
    for name, weight in weights.items():
        found.append(SlotRange(start, start + weight, name))
        start += weight
    return tuple(found)


async def until(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        while not (found := await condition()):
            await asyncio.sleep(0.05)
    assert found, what
    return found


class Client:
    """Asks the router, and reads its metrics."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._http = httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False)

    async def ask(self, user: str = "u") -> tuple[int, str]:
        answer = await self._http.post(
            f"http://{self._router.ready['listen']}{PATH}",
            content=b'{"inputs": []}',
            headers={"x-user-id": user, "content-type": "application/json"},
        )
        return answer.status_code, answer.headers["x-headgate-version"]

    async def is_administered(self) -> bool:
        return (await self._http.get(f"http://{self._router.ready['admin']}/healthz")).status_code == 200

    async def metrics(self) -> dict[str, float]:
        text = (await self._http.get(f"http://{self._router.ready['admin']}/metrics")).text
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name.removeprefix("headgate_router_"): float(value) for name, value in lines}

    async def when_idle(self) -> dict[str, dict[str, float]] | None:
        """What the split picked each version for since the start, by class; None while something is in flight."""
        metrics = await self.metrics()
        if any(value for name, value in metrics.items() if name.startswith("in_flight")):
            return None
        found: dict[str, dict[str, float]] = {}
        for name, value in metrics.items():
            if name.startswith("requests_total"):
                labels = dict(label.split("=") for label in name[len("requests_total{") : -1].split(","))
                found.setdefault(json.loads(labels["version"]), {})[json.loads(labels["class"])] = value
        return found


def run(test: Callable[[AsyncExitStack], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with AsyncExitStack() as stack:
            await test(stack)

    asyncio.run(asyncio.wait_for(whole(), 110))


async def endpoints_of(stack: AsyncExitStack, **handlers: Handler) -> dict[str, Endpoint]:
    return {name: await stack.enter_async_context(serving(one)) for name, one in handlers.items()}


def sound(label: int) -> Sound:
    return Sound(lambda body: v2_answer(label))


async def failing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_request(reader)
        writer.write(response(b"{}", 500))


def test_four_shadows_are_compared_counted_and_shown_each_for_itself(tmp_path: Path) -> None:
    shadows = (
        Shadow("v2", ALL),
        Shadow("v3", ALL, timeout_ms=300),
        Shadow("v4", ALL),
        Shadow("v5", ALL // 4),
    )

    async def test(stack: AsyncExitStack) -> None:
        endpoints = await endpoints_of(stack, v1=sound(4), v2=sound(4), v3=hanging, v4=nonsense, v5=sound(7))
        plan = plan_of(endpoints, {"v1": 10_000}, shadows=shadows)
        router = await asyncio.to_thread(stack.enter_context, started(tmp_path, plan))
        client = Client(router)
        for number in range(200):
            assert await client.ask(f"u{number}") == (200, "v1")

        def of(metrics: dict[str, float], name: str, shadow: str, more: str = "") -> float:
            return metrics[f'shadow_{name}_total{{live="v1",{more}rollout="ml/fraud",shadow="{shadow}"}}']

        async def complete() -> dict[str, float] | None:
            found = await client.metrics()
            ended = {
                one: of(found, "pairs", one)
                + sum(value for key, value in found.items() if "dropped" in key and f'shadow="{one}"' in key)
                for one in ("v2", "v3", "v4", "v5")
            }
            return found if set(ended.values()) == {200.0} else None

        found = await until(complete, "every copy of every shadow has come to its end")
        unseen = of(found, "dropped", "v2", 'reason="queue_full",')
        assert unseen < 100, "only before the observer was there"
        assert of(found, "pairs", "v2") == 200 - unseen
        assert of(found, "disagreements", "v2") == 0
        assert of(found, "pairs", "v3") == of(found, "pairs", "v4") == 0
        assert of(found, "dropped", "v3", 'reason="timeout",') == 200 - unseen
        assert of(found, "dropped", "v4", 'reason="shadow_error",') == 200 - unseen
        assert of(found, "failed", "v3") == of(found, "failed", "v4") == 200 - unseen
        assert 10 < of(found, "pairs", "v5") < 100, "a quarter, but for chance"
        assert of(found, "disagreements", "v5") == of(found, "pairs", "v5")
        assert of(found, "dropped", "v5", 'reason="sampled_out",') > 100
        assert [one for one in found if "shadow_pairs" in one and 'live="v2"' in one] == []

        words = ["--state", str(tmp_path), "-o", "json"]
        told = CliRunner().invoke(report, words, standalone_mode=False, catch_exceptions=False)
        sections = {one["shadow"]: one for one in json.loads(told.output)["sections"]}
        assert sorted(sections) == ["v2", "v3", "v4", "v5"]
        assert sections["v2"]["disagreement"]["events"] == 0
        assert sections["v5"]["disagreement"]["estimate"] == 1.0
        assert sections["v3"]["decision"]["verdict"] == sections["v4"]["decision"]["verdict"] == "NO DATA"

    run(test)


USERS = [f"u{number}" for number in range(150)]


async def versions_of(client: Client, users: list[str]) -> dict[str, str]:
    """Which version answers each user now."""
    return {user: (await client.ask(user))[1] for user in users}


def test_a_trip_of_one_candidate_leaves_the_other_s_users_where_they_are(tmp_path: Path) -> None:
    async def test(stack: AsyncExitStack) -> None:
        endpoints = await endpoints_of(stack, v7=sound(4), v8=failing, v9=sound(4))
        plan = plan_of(endpoints, {"v7": 4_000, "v8": 3_000, "v9": 3_000})
        router = await asyncio.to_thread(stack.enter_context, started(tmp_path, plan))
        client = Client(router)
        before = await versions_of(client, USERS)
        assert set(before.values()) == {"v7", "v8", "v9"}

        async def is_tripped() -> bool:
            return "v8" not in (await versions_of(client, USERS)).values()

        await until(is_tripped, "the guard trips v8")
        after = await versions_of(client, USERS)
        assert after == {user: "v7" if one == "v8" else one for user, one in before.items()}
        (trip,) = read_trips((router.run / RUN_FILES.trips).read_bytes())
        assert (trip.version, trip.stable_failed) == ("v8", 0)

        found = await until(client.when_idle, "all has ended")
        assert trip.failed == trip.requests >= 20
        assert sum(found["v8"].values()) == found["v8"]["5xx"] >= 20, "it failed each time"
        assert [sum(found[name].values()) - found[name]["2xx"] for name in ("v7", "v9")] == [0, 0]
        tripped = await client.metrics()
        shown = {
            name: tripped[f'guard_tripped{{rollout="ml/fraud",version="{name}"}}'] for name in before.values()
        }
        assert shown == {"v7": 0, "v8": 1, "v9": 0}

    run(test)


def test_a_candidate_that_is_retired_ends_its_requests_and_the_other_keeps_its_users(tmp_path: Path) -> None:
    async def test(stack: AsyncExitStack) -> None:
        gate, arrived = asyncio.Event(), asyncio.Event()
        gate.set()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await read_request(reader)
                if not gate.is_set():
                    arrived.set()
                await gate.wait()
                writer.write(response(v2_answer(4)))

        endpoints = await endpoints_of(stack, v7=sound(4), v8=slow, v9=sound(4))
        plan = plan_of(endpoints, {"v7": 4_000, "v8": 3_000, "v9": 3_000})
        router = await asyncio.to_thread(stack.enter_context, started(tmp_path, plan))
        client = Client(router)
        await until(client.is_administered, "the agent hears signals")
        before = await versions_of(client, USERS)
        of_v8 = next(user for user, one in before.items() if one == "v8")
        gate.clear()
        under_way = asyncio.create_task(client.ask(of_v8))
        await asyncio.wait_for(arrived.wait(), DEADLINE_S)
        more = plan_of(endpoints, {"v7": 6_000, "v9": 4_000}, roles={"v8": "retired"}, generation=2)
        (tmp_path / "plan.json").write_bytes(encode(more))
        assert router.process is not None
        router.process.send_signal(signal.SIGHUP)

        async def is_applied() -> bool:
            return (await client.metrics())['applied_generation{rollout="ml/fraud"}'] == 2

        await until(is_applied, "the plan")
        after = await versions_of(client, USERS)
        assert "v8" not in after.values()
        assert all(after[user] == "v9" for user, one in before.items() if one == "v9"), "v9 was only raised"

        async def is_in_flight() -> bool:
            return (await client.metrics())['in_flight{rollout="ml/fraud",version="v8"}'] == 1

        await until(is_in_flight, "the request is under way still")
        gate.set()
        assert await under_way == (200, "v8"), "it ended where it began"
        found = await until(client.when_idle, "v8 has drained")
        answered = [*before.values(), *after.values(), "v8"]
        assert {name: one["2xx"] for name, one in found.items()} == Counter(answered)

    run(test)
