"""Events: told once, in the closed list's words, never at the price of a decision."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from controller.adapters.kubernetes import events
from controller.adapters.kubernetes.events import BURST, About, Events, event_object
from controller.core.status import Event, Reason
from headgate.log import Log
from tests.controller.adapters.kubernetes.memory_cluster import Cluster, refused

ABOUT = About("ml", "fraud", "uid-1")


class Scene:
    """Events over an API server in memory, on a clock that is set by hand."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.now = 1_000.0
        self.is_leader = True
        self.events = Events(
            self.cluster,  # type: ignore[arg-type]
            instance="pod-1",
            is_leader=lambda: self.is_leader,
            now=lambda: self.now,
            log=Log("test"),
        )

    def tell(self, *messages: str, reason: Reason = Reason.STARTED, about: About = ABOUT) -> None:
        self.events.tell(about, [Event(self.now, reason, message) for message in messages])

    async def posted(self) -> list[str]:
        """The notes of all Events there are, once nothing waits any more."""
        running = asyncio.create_task(self.events.run())
        async with asyncio.timeout(30):
            while self.events._waiting:
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)
        running.cancel()
        return [made["note"] for made in self.cluster.objects.values()]


def play(story: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        await story(Scene())

    asyncio.run(whole())


def test_an_event_names_its_rollout_its_reason_and_who_told() -> None:
    made = event_object(ABOUT, Event(1_000.5, Reason.ROLLING_BACK, "v8 is rolled back"), "pod-1")
    assert (made["reason"], made["type"], made["note"]) == ("RollingBack", "Warning", "v8 is rolled back")
    assert made["eventTime"] == "1970-01-01T00:16:40.500000Z"
    assert made["regarding"]["uid"] == "uid-1"
    assert made["reportingInstance"] == "pod-1"
    assert event_object(ABOUT, Event(1.0, Reason.PROMOTED, "v8"), "pod-1")["type"] == "Normal"


def test_a_note_is_cut_where_the_api_server_would_refuse_it_and_not_inside_a_character() -> None:
    made = event_object(ABOUT, Event(1.0, Reason.STARTED, "ä" * 3_000), "pod-1")
    assert len(made["note"].encode()) <= 1_024
    assert set(made["note"]) == {"ä"}


def test_the_same_event_is_told_once_within_a_while() -> None:
    async def story(scene: Scene) -> None:
        scene.tell("a", "a", "b")
        scene.now += 60
        scene.tell("a")
        assert sorted(await scene.posted()) == ["a", "b"]
        scene.now += events.SAME_S
        scene.tell("a")
        assert sorted(await scene.posted()) == ["a", "a", "b"]

    play(story)


def test_one_that_was_posted_before_a_crash_is_not_there_twice() -> None:
    async def story(scene: Scene) -> None:
        scene.tell("a")
        await scene.posted()
        again = Scene()
        again.cluster = scene.cluster
        again.events._api = scene.cluster  # type: ignore[assignment]
        again.tell("a")
        assert await again.posted() == ["a"]

    play(story)


def test_a_rollout_that_talks_too_much_is_cut_short_and_others_are_heard() -> None:
    async def story(scene: Scene) -> None:
        scene.tell(*(str(number) for number in range(200)))
        scene.tell("quiet", about=About("ml", "other", "uid-2"))
        assert await scene.posted() == [*(str(number) for number in range(BURST)), "quiet"]
        scene.now += 2 * events.REFILL_S
        scene.tell("x", "y", "z")
        assert (await scene.posted())[-2:] == ["x", "y"]

    play(story)


@pytest.mark.parametrize("code", [403, 500, 422])
def test_an_event_that_the_server_does_not_take_is_given_up(code: int) -> None:
    async def story(scene: Scene) -> None:
        def refuse(method: str, path: str) -> None:
            raise refused(code)

        scene.cluster.before_write = refuse
        scene.tell("a")
        assert await scene.posted() == []
        scene.cluster.before_write = lambda method, path: None
        scene.tell("b")
        assert await scene.posted() == ["b"]

    play(story)


def test_an_ex_leader_tells_nothing() -> None:
    async def story(scene: Scene) -> None:
        scene.is_leader = False
        scene.tell("a")
        assert await scene.posted() == []

    play(story)


def test_what_waits_is_bounded() -> None:
    async def story(scene: Scene) -> None:
        for number in range(events.QUEUE_MAX + 50):
            scene.tell("a", about=About("ml", f"r{number}", f"uid-{number}"))
        assert len(await scene.posted()) == events.QUEUE_MAX

    play(story)
