"""The queue of keys: once waiting, one at a time, nothing lost."""

import asyncio

from controller.reconcile.queue import WorkQueue


def test_a_key_added_twice_waits_once() -> None:
    async def story() -> list[str | None]:
        queue = WorkQueue()
        queue.add("a")
        queue.add("b")
        queue.add("a")
        taken = [await queue.get(), await queue.get()]
        queue.close()
        return [*taken, await queue.get()]

    assert asyncio.run(story()) == ["a", "b", None]


def test_a_key_added_while_it_runs_comes_back_after_it_is_done_and_not_before() -> None:
    async def story() -> str | None:
        queue = WorkQueue()
        queue.add("a")
        await queue.get()
        queue.add("a")
        getting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        assert not getting.done()
        queue.done("a")
        return await getting

    assert asyncio.run(story()) == "a"


def test_an_urgent_key_goes_first() -> None:
    async def story() -> str | None:
        queue = WorkQueue()
        queue.add("a")
        queue.add("b", urgent=True)
        return await queue.get()

    assert asyncio.run(story()) == "b"


def test_a_key_that_waits_for_its_time_runs_at_once_when_something_happens() -> None:
    async def story() -> str | None:
        queue = WorkQueue()
        queue.add_after("a", 3600.0)
        queue.add("a")
        return await queue.get()

    assert asyncio.run(story()) == "a"


def test_a_key_comes_when_its_time_is_up() -> None:
    async def story() -> str | None:
        queue = WorkQueue()
        queue.add_after("a", 0.01)
        return await queue.get()

    assert asyncio.run(story()) == "a"


def test_a_forgotten_key_does_not_come() -> None:
    async def story() -> str | None:
        queue = WorkQueue()
        queue.add("a")
        queue.add_after("c", 0.0)
        queue.forget("a")
        queue.forget("c")
        queue.add("b")
        return await queue.get()

    assert asyncio.run(story()) == "b"
