"""The observer against real shadows on real sockets: sound, slow, huge, broken; every copy ends counted, memory flat."""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from headgate.log import Log
from headgate.reach import Reach
from headgate.wire.plan import Capture, Endpoint, PlanVersion, Shadow
from headgate.wire.telemetry import ShadowCounters
from router.core.channel import Assignment
from router.observer import observer as observer_module
from router.observer.observer import Observer
from router.observer.records import RecordLog
from router.observer.tallies import Tallies
from router.tls import Client, Followed, Server
from tests.router.authority import Authority
from tests.router.observer.shadow_servers import (
    Sound,
    copy_of,
    cut_short,
    endless_head,
    hanging,
    huge,
    nonsense,
    plan_for,
    read_request,
    resetting,
    response,
    serving,
    until,
    v2_answer,
)

KEY = b"k" * 32


class Bench:
    """An observer without its process: what it counted and what it would write."""

    def __init__(self, folder: Path, tls: Client) -> None:
        self.tallies = Tallies(folder / "shadows.json", "boot", Log("test"))
        self.records = RecordLog(folder / "records", Log("test"))
        self.observer = Observer(self.tallies, self.records, KEY, Followed(tls, Log("test")))

    @property
    def counted(self) -> ShadowCounters:
        found = self.tallies.snapshot("ml/digits", 0.0).shadows
        assert len(found) == 1
        return found[0]

    def of(self, shadow: str) -> ShadowCounters:
        found = self.tallies.snapshot("ml/digits", 0.0).shadows
        none = ShadowCounters(shadow=shadow, shadow_identity="none", live="v1", live_identity="none")
        return next((one for one in found if one.shadow == shadow), none)

    async def settled(self) -> ShadowCounters:
        await until(lambda: self.observer.is_idle, 60)
        assert self.observer._copies.held == 0
        assert self.observer._answers.held == 0
        return self.counted


SYSTEM = Client()


def observing(folder: Path, work: Callable[[Bench], Awaitable[None]], tls: Client = SYSTEM) -> None:
    async def run() -> None:
        bench = Bench(folder, tls)
        try:
            await work(bench)
        finally:
            await bench.observer.close()

    asyncio.run(run())


def test_a_copy_is_replayed_compared_and_recorded(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        sound = Sound(lambda body: v2_answer(7, [0.2, 0.8]))
        async with serving(sound) as endpoint:
            bench.observer.follow(plan_for(endpoint))
            bench.observer.take(copy_of(1))
            counted = await bench.settled()
        assert (counted.offered, counted.pairs, counted.disagreements) == (1, 1, 1)
        assert counted.directions == {"4->7": 1}
        start, headers, body = sound.seen[0]
        assert start == "POST /v2/models/digits/infer HTTP/1.1"
        assert headers["x-headgate-shadow"] == "true"
        assert headers["x-request-id"] == "request-1"
        assert not {"authorization", "cookie"} & headers.keys()
        assert body == copy_of(1).request_body
        (line,) = bench.records.take()
        assert b'"verdict":"disagree"' in line.content

    observing(tmp_path, work)


@pytest.mark.parametrize(("is_trusted", "pairs"), [(True, 1), (False, 0)])
def test_a_shadow_over_tls_is_verified_by_the_authority_that_is_given(
    tmp_path: Path, is_trusted: bool, pairs: int
) -> None:
    authority = Authority(tmp_path)
    server = Server((authority.make("shadow", "127.0.0.1"),)).context()

    async def work(bench: Bench) -> None:
        sound = Sound(lambda body: v2_answer(4))
        async with serving(sound, server) as endpoint:
            bench.observer.follow(plan_for(endpoint))
            bench.observer.take(copy_of(1))
            counted = await bench.settled()
        assert (counted.pairs, len(sound.seen)) == (pairs, pairs)

    observing(tmp_path, work, Client(authority.ca) if is_trusted else SYSTEM)


def test_a_shadow_on_an_address_that_is_refused_gets_no_copy(tmp_path: Path) -> None:
    async def run() -> None:
        bench = Bench(tmp_path, SYSTEM)
        guarded = Observer(bench.tallies, bench.records, KEY, Followed(SYSTEM, Log("test")), Reach(()))
        sound = Sound(lambda body: v2_answer(4))
        async with serving(sound) as endpoint:
            guarded.follow(plan_for(endpoint))
            guarded.take(copy_of(1))
            await until(lambda: guarded.is_idle, 60)
        await guarded.close()
        assert (bench.counted.pairs, sound.connections) == (0, 0)
        assert bench.counted.shadow_failed == 1

    asyncio.run(run())


def test_connections_are_kept_and_never_more_than_allowed_at_a_time(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        sound = Sound(lambda body: v2_answer(4))
        sound.delay_s = 0.002
        async with serving(sound) as endpoint:
            bench.observer.follow(plan_for(endpoint, concurrency_max=3))
            for number in range(200):
                bench.observer.take(copy_of(number))
            counted = await bench.settled()
        assert (counted.pairs, counted.disagreements) == (200, 0)
        assert sound.at_once_max == 3
        assert sound.connections == 3

    observing(tmp_path, work)


@pytest.mark.parametrize(
    ("handler", "reason", "shadow_failed"),
    [
        (hanging, "timeout", 20),
        (resetting, "shadow_error", 20),
        (nonsense, "shadow_error", 20),
        (cut_short, "shadow_error", 20),
        (endless_head, "shadow_error", 20),
        (huge(100 << 20, announced=True), "body_too_large", 0),
        (huge(100 << 20, announced=False), "body_too_large", 0),
        (huge(3 << 19, announced=False), "body_too_large", 0),
    ],
    ids=[
        "hanging",
        "resetting",
        "nonsense",
        "cut short",
        "endless head",
        "100 MB announced",
        "100 MB in chunks",
        "1.5 MB in chunks",
    ],
)
def test_a_bad_shadow_ends_each_copy_with_its_reason(
    tmp_path: Path, handler: Callable[..., Awaitable[None]], reason: str, shadow_failed: int
) -> None:
    async def work(bench: Bench) -> None:
        async with serving(handler) as endpoint:
            bench.observer.follow(
                plan_for(
                    endpoint,
                    capture=Capture(body_bytes_max=1 << 20),
                    timeout_ms=300 if handler is hanging else 60_000,
                )
            )
            for number in range(20):
                bench.observer.take(copy_of(number))
            counted = await bench.settled()
        assert counted.offered == 20
        assert counted.dropped == {reason: 20}
        assert (counted.shadow_failed, counted.pairs) == (shadow_failed, 0)

    observing(tmp_path, work)


def test_shadows_that_answer_without_end_cost_bounded_memory(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with serving(huge(100 << 20, announced=False)) as endpoint:
            bench.observer.follow(plan_for(endpoint, concurrency_max=32, timeout_ms=60_000))
            for number in range(64):
                bench.observer.take(copy_of(number))
            counted = await bench.settled()
        assert counted.offered == 64
        assert set(counted.dropped) <= {"body_too_large", "queue_full"}
        assert sum(counted.dropped.values()) == 64
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        # 64 answers of 100 MB; held at a time: ANSWER_BYTES_MAX, what the sockets and the server of this process hold
        assert grown_mb < 400

    observing(tmp_path, work)


def test_nobody_there_is_a_shadow_error_and_the_other_endpoint_is_tried(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        async with serving(Sound(lambda body: b"{}")) as closed:
            pass
        async with serving(Sound(lambda body: v2_answer(4))) as endpoint:
            bench.observer.follow(plan_for(closed))
            bench.observer.take(copy_of(1))
            assert (await bench.settled()).dropped == {"shadow_error": 1}
            bench.observer.follow(plan_for(closed, endpoint, generation=2))
            for number in range(10):
                bench.observer.take(copy_of(number, generation=2))
                await bench.settled()
        assert (bench.counted.pairs, bench.counted.dropped) == (10, {"shadow_error": 1})

    observing(tmp_path, work)


def test_a_shadow_without_an_endpoint_is_a_shadow_error(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        bench.observer.follow(plan_for())
        bench.observer.take(copy_of(1))
        assert (await bench.settled()).dropped == {"shadow_error": 1}

    observing(tmp_path, work)


def test_a_connection_closed_while_it_rested_costs_no_pair(tmp_path: Path) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(v2_answer(4)))
        await writer.drain()

    async def work(bench: Bench) -> None:
        async with serving(once) as endpoint:
            bench.observer.follow(plan_for(endpoint))
            for number in range(20):
                bench.observer.take(copy_of(number))
                await bench.settled()
        assert bench.counted.pairs == 20

    observing(tmp_path, work)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n%s",
        b"HTTP/1.0 200 OK\r\n\r\n%s",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 87\r\n\r\n%s",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n57\r\n%s\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 87\r\n\r\n%sHTTP/1.1 200 OK\r\n\r\nmore than was asked for",
    ],
    ids=["until close", "HTTP/1.0", "1xx first", "chunked", "with a tail"],
)
def test_every_way_to_end_an_answer_is_understood(tmp_path: Path, raw: bytes) -> None:
    answer = b'{"outputs":[{"name":"label","datatype":"INT64","shape":[1],"data":[4]}],"id":"12345"}  '
    assert len(answer) == 87

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for at in range(0, len(raw % answer), 7):
            writer.write((raw % answer)[at : at + 7])
            await asyncio.sleep(0)

    async def work(bench: Bench) -> None:
        async with serving(serve) as endpoint:
            bench.observer.follow(plan_for(endpoint))
            for number in range(5):
                bench.observer.take(copy_of(number))
            counted = await bench.settled()
        assert (counted.pairs, counted.disagreements, counted.dropped) == (5, 0, {})

    observing(tmp_path, work)


def test_a_connection_on_which_more_came_than_was_asked_for_is_not_used_again(tmp_path: Path) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await read_request(reader)
            writer.write(response(v2_answer(4)) + response(v2_answer(7)))

    async def work(bench: Bench) -> None:
        async with serving(serve) as endpoint:
            bench.observer.follow(plan_for(endpoint))
            for number in range(5):
                bench.observer.take(copy_of(number))
                await bench.settled()
        assert (bench.counted.pairs, bench.counted.disagreements, connections) == (5, 0, 5)

    observing(tmp_path, work)


def test_a_full_queue_drops_at_once_and_says_so(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        async with serving(hanging) as endpoint:
            bench.observer.follow(plan_for(endpoint, concurrency_max=1, timeout_ms=60_000))
            for number in range(observer_module.QUEUE_MAX + 101):
                bench.observer.take(copy_of(number))
            assert bench.counted.dropped == {"queue_full": 100}

    observing(tmp_path, work)


def test_the_bytes_of_waiting_copies_are_bounded(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        async with serving(hanging) as endpoint:
            bench.observer.follow(plan_for(endpoint, concurrency_max=1, timeout_ms=60_000))
            body = bytes(8 << 20)
            for number in range(20):
                bench.observer.take(copy_of(number, body=body))
            assert bench.observer._copies.held <= observer_module.COPY_BYTES_MAX
            assert bench.counted.dropped["queue_full"] == 20 - 7

    observing(tmp_path, work)


def several(*endpoints: Endpoint, **shadow: int) -> Assignment:
    """v1 is live, and a shadow v2, v3 … at each of these endpoints."""
    one = plan_for()
    names = [f"v{number}" for number in range(2, 2 + len(endpoints))]
    versions = [
        PlanVersion(name, f"id-{name}", "candidate", (endpoint,))
        for name, endpoint in zip(names, endpoints, strict=True)
    ]
    plan = msgspec.structs.replace(
        one.plan,
        versions=(one.plan.versions[0], *versions),
        shadows=tuple(Shadow(name, 1_000_000, **shadow) for name in names),
        capture=Capture(body_bytes_max=1 << 20),
    )
    return Assignment(plan, {version.identity: column for column, version in enumerate(plan.versions)})


def test_a_shadow_that_hangs_takes_no_room_from_the_others(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        async with serving(hanging) as hung, serving(Sound(lambda body: v2_answer(4))) as fine:
            bench.observer.follow(several(hung, fine, timeout_ms=60_000))
            for number in range(200):
                copied = copy_of(number, body=bytes(1 << 20))
                bench.observer.take(msgspec.structs.replace(copied, shadows=("v2", "v3")))
                await until(lambda wanted=number + 1: bench.of("v3").offered == wanted)
            assert (bench.of("v3").pairs, bench.of("v3").dropped) == (200, {})
            assert bench.of("v2").dropped["queue_full"] > 100

    observing(tmp_path, work)


def test_shadows_that_answer_without_end_take_no_room_from_the_others(tmp_path: Path) -> None:
    async def slowly_huge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(bytes(1 << 20))[:-1])
        await asyncio.sleep(3600)

    async def work(bench: Bench) -> None:
        sound = Sound(lambda body: v2_answer(4) + b" " * 500_000)
        async with serving(slowly_huge) as one, serving(slowly_huge) as two, serving(sound) as fine:
            bench.observer.follow(several(one, two, fine, timeout_ms=60_000))
            for number in range(100):
                bench.observer.take(msgspec.structs.replace(copy_of(number), shadows=("v2", "v3")))
            await until(
                lambda: "queue_full" in bench.of("v2").dropped and "queue_full" in bench.of("v3").dropped
            )
            for number in range(100, 200):
                bench.observer.take(msgspec.structs.replace(copy_of(number), shadows=("v4",)))
                await until(lambda wanted=number - 99: bench.of("v4").offered == wanted)
            assert (bench.of("v4").pairs, bench.of("v4").dropped) == (100, {})

    observing(tmp_path, work)


@pytest.mark.parametrize(
    ("copied", "reason"),
    [
        (copy_of(cut="body_too_large"), "body_too_large"),
        (copy_of(cut="client_cancelled"), "client_cancelled"),
        (copy_of(cut="something new"), "undecodable"),
        (copy_of(method=b"DELETE"), "method_not_safe"),
        (copy_of(method=b"GET", target=b"/v2/models"), "method_not_safe"),
    ],
)
def test_what_must_not_or_cannot_be_replayed_is_not_sent(tmp_path: Path, copied, reason: str) -> None:
    async def work(bench: Bench) -> None:
        sound = Sound(lambda body: v2_answer(4))
        async with serving(sound) as endpoint:
            bench.observer.follow(plan_for(endpoint))
            bench.observer.take(copied)
            counted = await bench.settled()
        assert counted.dropped == {reason: 1}
        assert sound.seen == []

    observing(tmp_path, work)


def test_the_error_table_says_which_side_failed(tmp_path: Path) -> None:
    statuses = iter([200, 500, 200, 500])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(response(v2_answer(4), next(statuses)))

    async def work(bench: Bench) -> None:
        async with serving(serve) as endpoint:
            bench.observer.follow(plan_for(endpoint))
            for number, status in enumerate([200, 200, 503, 503]):
                bench.observer.take(copy_of(number, status=status))
                counted = await bench.settled()
        assert (counted.pairs, counted.shadow_failed, counted.live_failed, counted.both_failed) == (
            1,
            1,
            1,
            1,
        )
        assert counted.dropped == {"shadow_error": 1, "live_error": 2}

    observing(tmp_path, work)


@pytest.mark.parametrize("has_plan", [True, False])
def test_a_copy_that_is_ahead_of_its_plan_waits_for_it(tmp_path: Path, has_plan: bool) -> None:
    async def work(bench: Bench) -> None:
        async with serving(Sound(lambda body: v2_answer(4))) as endpoint:
            assignment = plan_for(endpoint)
            if has_plan:
                without = msgspec.structs.replace(assignment.plan, shadows=())
                bench.observer.follow(Assignment(without, assignment.columns))
            bench.observer.take(copy_of(1, generation=5))
            assert not bench.observer.is_idle
            bench.observer.follow(plan_for(endpoint, generation=5))
            assert (await bench.settled()).pairs == 1

    observing(tmp_path, work)


def test_a_copy_for_a_shadow_that_is_over_is_let_go(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        bench.observer.follow(plan_for(generation=2))
        bench.observer.take(msgspec.structs.replace(copy_of(1), shadows=("v9",), generation=1))
        bench.observer.take(msgspec.structs.replace(copy_of(1), shadows=("v9",), generation=3))
        bench.observer.tidy()
        assert bench.observer.is_idle
        assert bench.tallies.snapshot("ml/digits", 0.0).shadows == ()

    observing(tmp_path, work)


def test_an_older_plan_is_refused_and_says_why(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        assert bench.observer.follow(plan_for(generation=5, epoch=2)) == ""
        assert "epoch 1 is older" in bench.observer.follow(plan_for(generation=6, epoch=1))
        assert bench.observer.plans.applied == "2.5.0"

    observing(tmp_path, work)


def test_a_version_that_moved_is_asked_where_it_is_now(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        async with serving(Sound(lambda body: v2_answer(4))) as endpoint:
            bench.observer.follow(plan_for(Endpoint("127.0.0.1", 1), generation=1))
            bench.observer.follow(plan_for(endpoint, generation=2))
            bench.observer.take(copy_of(1, generation=1))
            assert (await bench.settled()).pairs == 1

    observing(tmp_path, work)


def test_labels_under_a_rule_are_not_even_counted_in_the_clear(tmp_path: Path) -> None:
    from headgate.wire.plan import RedactRule

    async def work(bench: Bench) -> None:
        async with serving(Sound(lambda body: v2_answer(7))) as endpoint:
            bench.observer.follow(plan_for(endpoint, capture=Capture(redact=(RedactRule("/label", "mask"),))))
            bench.observer.take(copy_of(1))
            counted = await bench.settled()
        assert list(counted.slices) == ["class=***"]
        assert counted.directions == {"***->***": 1}
        (line,) = bench.records.take()
        assert b'"direction":"***->***"' in line.content

    observing(tmp_path, work)
