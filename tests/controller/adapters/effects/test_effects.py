"""Hooks and notifications against a real server: tried again, never doubled, bounded, and kept out of this machine."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from controller.adapters.effects import HttpEffects
from controller.core.effects import Effect, EffectOutcome, Kind
from headgate.log import Log
from tests.controller.adapters.effects.receiver import Receiver, says

KEY = "default/fraud"


def hook(url: str, **changes: object) -> Effect:
    effect = Effect(
        id="e1",
        kind=Kind.HOOK,
        name="gate",
        to=url,
        type="before-increase",
        at=1_795_000_000.0,
        version="v8",
        identity="hash-of-v8",
        attempt=2,
        stable="v7",
        weight=2500,
        sentence="v8 is about to enter canary 25 %",
        timeout_s=20.0,
        retries=2,
    )
    return replace(effect, **changes)  # type: ignore[arg-type]


class Runner:
    """The adapter, and waiting for what it says."""

    def __init__(self, allowed: tuple[str, ...], sinks: dict[str, str]) -> None:
        self.news = asyncio.Event()
        self.effects = HttpEffects(
            sinks=sinks,
            allowed=allowed,
            on_news=lambda key: self.news.set(),
            log=Log("test"),
            backoff_first_s=0.01,
        )

    async def outcome(self, effect: Effect) -> EffectOutcome:
        self.effects.run(KEY, (effect,))
        async with asyncio.timeout(60):
            while not self.effects.outcomes(KEY):
                self.news.clear()
                await self.news.wait()
        (outcome,) = self.effects.outcomes(KEY)
        return outcome


def running(
    go: Callable[[Runner], Awaitable[None]], *allowed: str, sinks: dict[str, str] | None = None
) -> None:
    async def whole() -> None:
        runner = Runner(allowed, sinks or {})
        try:
            await go(runner)
        finally:
            await runner.effects.close()

    asyncio.run(whole())


def outcome_of(effect: Effect, *allowed: str, sinks: dict[str, str] | None = None) -> EffectOutcome:
    found: list[EffectOutcome] = []

    async def go(runner: Runner) -> None:
        found.append(await runner.outcome(effect))

    running(go, *allowed, sinks=sinks)
    return found[0]


def test_a_hook_is_a_cloud_event_with_an_idempotency_key() -> None:
    with Receiver() as receiver:
        outcome = outcome_of(hook(f"{receiver.url}/gate?team=fraud"), receiver.url)
    assert outcome == EffectOutcome("e1", is_success=True)
    (received,) = receiver.received
    assert received.path == "/gate?team=fraud"
    assert received.headers["idempotency-key"] == "e1"
    assert received.headers["content-type"] == "application/cloudevents+json"
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert received.body == {
        "specversion": "1.0",
        "id": "e1",
        "type": "dev.headgate.rollout.before-increase",
        "source": "/rollouts/default/fraud",
        "subject": "v8",
        "time": "2026-11-18T11:06:40.000Z",
        "datacontenttype": "application/json",
        "data": {
            "rollout": KEY,
            "kind": "hook",
            "name": "gate",
            "version": "v8",
            "identity": "hash-of-v8",
            "attempt": 2,
            "stable": "v7",
            "weightBasisPoints": 2500,
            "message": "v8 is about to enter canary 25 %",
        },
    }


def test_a_servers_trouble_is_tried_again_with_the_same_key() -> None:
    with Receiver([says(500), says(429), says(200, "fine")]) as receiver:
        assert outcome_of(hook(receiver.url), receiver.url).is_success
    assert [received.headers["idempotency-key"] for received in receiver.received] == ["e1"] * 3


def test_after_the_last_try_the_outcome_says_what_the_server_said() -> None:
    with Receiver([says(503, "back at nine\nsecond line")]) as receiver:
        outcome = outcome_of(hook(receiver.url), receiver.url)
    assert outcome.message == "503 Service Unavailable: back at nine, 3 times"
    assert len(receiver.received) == 3


def test_a_no_is_not_tried_again() -> None:
    with Receiver([says(409, "nobody is on duty")]) as receiver:
        outcome = outcome_of(hook(receiver.url), receiver.url)
    assert outcome == EffectOutcome("e1", is_success=False, message="409 Conflict: nobody is on duty")
    assert len(receiver.received) == 1


def test_a_redirect_is_not_followed() -> None:
    with Receiver() as other, Receiver([says(307, location=other.url)]) as receiver:
        outcome = outcome_of(hook(receiver.url), receiver.url)
    assert "redirects are not followed" in outcome.message
    assert other.received == []


@pytest.mark.parametrize("how", ["hangs", "drips"])
def test_a_try_has_a_deadline_for_all_of_it(how: str) -> None:
    with Receiver() as receiver:
        receiver.answers = [getattr(receiver, how)]
        outcome = outcome_of(hook(receiver.url, timeout_s=0.5, retries=1), receiver.url)
    assert outcome.message == "no answer within 0.5 s, 2 times"


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    with Receiver() as receiver:
        receiver.answers = [receiver.floods]
        outcome = outcome_of(hook(receiver.url), receiver.url)
    assert outcome.message.startswith("400 Bad Request: too much too much")
    assert len(outcome.message) < 250


def test_a_server_that_is_not_there_is_an_outcome() -> None:
    with Receiver() as receiver:
        url = receiver.url
    assert "3 times" in outcome_of(hook(url), url).message
    assert not outcome_of(hook("http://no-such-host.invalid/"), url).is_success


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0",
        "2130706433",
        "169.254.169.254",
        "100.100.100.200",
        "[fe80::1]",
        "[fd00:ec2::254]",
    ],
)
def test_a_hook_does_not_reach_this_machine_its_link_or_a_clouds_secrets(host: str) -> None:
    with Receiver() as receiver:
        outcome = outcome_of(hook(f"http://{host}:{receiver.port}/"))
    assert not outcome.is_success
    assert "hooks may not reach" in outcome.message
    assert receiver.received == []


@pytest.mark.parametrize(
    ("path", "is_reached"),
    [
        ("/hooks", True),
        ("/hooks/gate?x=/../", True),
        ("/hooksmith", False),
        ("/", False),
        ("/hooks/../admin", False),
        ("/hooks/%2e%2e/admin", False),
        ("/hooks/..%5cadmin", False),
    ],
)
def test_what_is_allowed_is_a_path_and_what_is_below_it(path: str, is_reached: bool) -> None:
    with Receiver() as receiver:
        outcome = outcome_of(hook(receiver.url + path), f"{receiver.url}/hooks")
    assert outcome.is_success is is_reached
    assert len(receiver.received) == is_reached


def test_an_allowed_host_is_that_port_and_scheme_only() -> None:
    with Receiver() as receiver, Receiver() as other:
        assert not outcome_of(hook(other.url), receiver.url).is_success
        assert not outcome_of(hook(receiver.url), receiver.url.replace("http", "https")).is_success
        assert not outcome_of(hook(f"http://localhost:{receiver.port}"), receiver.url).is_success
    assert receiver.received == other.received == []


def test_a_sink_is_known_by_its_name_and_may_be_anywhere() -> None:
    with Receiver() as receiver:
        told = hook("chat", kind=Kind.NOTIFICATION, name="chat", type="promoted")
        assert outcome_of(told, sinks={"chat": receiver.url}).is_success
        unknown = outcome_of(hook("pager", kind=Kind.NOTIFICATION), sinks={"chat": receiver.url})
    assert unknown.message == "there is no sink pager: start the controller with --sink pager=URL"
    assert [received.body["type"] for received in receiver.received] == ["dev.headgate.rollout.promoted"]


def test_what_runs_or_has_ended_is_not_run_again() -> None:
    with Receiver() as receiver:

        async def go(runner: Runner) -> None:
            effect = hook(receiver.url)
            runner.effects.run(KEY, (effect,))
            await runner.outcome(effect)
            for _ in range(3):
                await runner.outcome(effect)

        running(go, receiver.url)
    assert len(receiver.received) == 1


def test_what_is_wanted_no_more_is_given_up_and_forgotten() -> None:
    with Receiver() as receiver:
        receiver.answers = [receiver.hangs]

        async def go(runner: Runner) -> None:
            runner.effects.run(KEY, (hook(receiver.url),))
            async with asyncio.timeout(30):
                while not receiver.received:
                    await asyncio.sleep(0.01)
            runner.effects.run("default/other", ())
            runner.effects.run(KEY, ())
            assert runner.effects.outcomes(KEY) == ()
            receiver.answers = [says(204)]
            assert (await runner.outcome(hook(receiver.url, id="e2"))).is_success

        running(go, receiver.url)


def test_the_next_controller_sends_what_was_not_recorded_again_with_the_same_key() -> None:
    with Receiver() as receiver:
        for _ in range(2):
            assert outcome_of(hook(receiver.url), receiver.url).is_success
    assert [received.body["id"] for received in receiver.received] == ["e1", "e1"]


def test_a_receiver_that_hangs_delays_no_other() -> None:
    with Receiver() as slow, Receiver() as quick:
        slow.answers = [slow.hangs]

        async def go(runner: Runner) -> None:
            slow_one, quick_one = hook(slow.url, id="slow"), hook(quick.url, id="quick")
            runner.effects.run(KEY, (slow_one, quick_one))
            async with asyncio.timeout(30):
                while not runner.effects.outcomes(KEY):
                    await asyncio.sleep(0.01)
            assert [outcome.id for outcome in runner.effects.outcomes(KEY)] == ["quick"]

        running(go, slow.url, quick.url)
    assert threading.active_count() < 20
