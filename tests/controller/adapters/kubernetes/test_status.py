"""The status as people read it and as the core remembers it: both ways, and what is damaged."""

import base64
import zlib
from typing import Any

import pytest

from controller.adapters.kubernetes import status
from controller.adapters.kubernetes.status import Kept, Unreadable
from controller.core.status import ActionResult, DecisionRecord, Reason, Status
from controller.crd.published import RolloutStatus
from tests.contract.store.suite import FULL_STATUS, RESULT
from tests.controller.adapters.kubernetes.scene import Scene, play

KEPT = Kept(FULL_STATUS, (RESULT,), (ActionResult("a", False, "no"),), "v7", 3)
RECORD = DecisionRecord(
    1_700_000_000.125, Reason.WEIGHT_RAISED, "v8", 0, 550, "canary 5.5 %", "it is ready", 4, 9, "ann"
)


def test_what_is_remembered_comes_back_as_it_was() -> None:
    assert status.decode(status.encode(KEPT)) == KEPT


def test_nothing_stored_is_a_fresh_status() -> None:
    assert status.decode(None) == status.decode("") == Kept(Status())


@pytest.mark.parametrize(
    "damaged",
    [
        "hello",
        "%%%",
        7,
        ["x"],
        status.encode(KEPT)[:-8],
        status.pack(b"[1, 2]"),
        status.pack(b'{"status": {"phase": "Dancing"}}'),
        status.pack(b"\xff\xfe"),
        status.pack(b"[" * 100_000),
        base64.b64encode(zlib.compress(b"")).decode(),
    ],
    ids=lambda damaged: str(damaged)[:20],
)
def test_anything_else_is_unreadable_and_says_so(damaged: object) -> None:
    with pytest.raises(Unreadable, match=r"\w+"):
        status.decode(damaged)


def test_a_field_that_unfolds_without_end_is_not_unfolded() -> None:
    bomb = base64.b64encode(zlib.compress(b"x" * (status.UNPACKED_BYTES_MAX + 1))).decode()
    assert len(bomb) < 10_000
    with pytest.raises(Unreadable, match="too large"):
        status.unpack(bomb)


def test_a_decision_is_read_back_from_what_people_read() -> None:
    written = status.decision(RECORD)
    assert (written["weightBefore"], written["weightAfter"]) == ("0%", "5.5%")
    assert status.record_of(written) == RECORD


@pytest.mark.parametrize(
    "written", [None, 3, {}, {"at": "yesterday"}, {**status.decision(RECORD), "reason": "Whim"}], ids=str
)
def test_a_decision_that_cannot_be_read_is_passed_over(written: object) -> None:
    assert status.record_of(written) is None


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    times: list[tuple[str, str]] = []

    async def story(scene: Scene) -> None:
        await scene.apply()
        for _ in range(8):
            await scene.turn(1)
            ready = next(one for one in scene.status()["conditions"] if one["type"] == "Ready")
            times.append((ready["status"], ready["lastTransitionTime"]))

    play(story)
    assert {state for state, _ in times} == {"True", "False"}
    assert len({time for state, time in times if state == "True"}) == 1


def test_every_status_that_is_written_is_one_that_the_api_server_takes() -> None:
    seen: list[dict[str, Any]] = []

    async def story(scene: Scene) -> None:
        scene.cluster.after_write = lambda method, path: seen.append(scene.status())
        await scene.apply()
        await scene.turn(5)
        await scene.apply(target="v2")
        await scene.turn(20)
        await scene.apply(target="v3")
        await scene.turn(8)
        await scene.act("rollback", "v3", reason="x" * 1024, requestedBy="y" * 512)
        await scene.turn(5)

    play(story)
    assert len(seen) > 10
    for written in seen:
        RolloutStatus.model_validate(written)
    assert seen[-1]["history"][0]["version"] == "v3"  # the newest first
    assert len(seen[-1]["history"]) == 2


def test_a_status_that_fits_is_left_as_it_is() -> None:
    told = {
        "phase": "Healthy",
        "history": [],
        "checks": [],
        "decisions": [{"message": "m"}],
        "conditions": [],
    }
    body, has_room = status.fitted(told, KEPT, b"evidence")
    assert {name: body[name] for name in told} == told
    assert status.unpack(body["evidence"]) == b"evidence"
    assert has_room


def test_what_is_not_said_any_more_is_taken_out_of_the_object() -> None:
    assert status.patch_of({"phase": "Healthy"})["weights"] is None
