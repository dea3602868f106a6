"""What is the Kubernetes store's own, beyond the contract: few writes, fences, crashes at every write, damage."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from controller.adapters.kubernetes import status
from controller.adapters.kubernetes.store import FINALIZER
from controller.core.status import Decision, Phase, Status
from controller.errors import NotLeader, NotTakenHere, StoreConflict
from controller.ports import Recorded
from headgate.wire.plan import NOTHING_APPLIED
from tests.controller.adapters.kubernetes.memory_cluster import refused
from tests.controller.adapters.kubernetes.scene import KEY, PATH, Scene, play

SLOW = {"canary": {"weights": ["10%", "50%"], "every": "10m"}}


async def healthy(scene: Scene) -> None:
    """v1 serves."""
    await scene.apply()
    await scene.turn(5)
    assert scene.status()["phase"] == "Healthy"


async def on_trial(scene: Scene, **spec: Any) -> None:
    """v2 has a tenth of the traffic."""
    await healthy(scene)
    await scene.apply(target="v2", **{"strategy": SLOW, **spec})
    await scene.turn(4)
    assert scene.weight("v2") == 1000


# --- few writes -----------------------------------------------------------------------------------------------------


def test_at_rest_nothing_is_written() -> None:
    async def story(scene: Scene) -> None:
        await healthy(scene)
        before = len(scene.cluster.writes)
        await scene.turn(120)
        assert scene.writes(before) == []

    play(story)


def test_a_rollback_takes_few_writes() -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        path = await scene.act("rollback", "v2")
        before = len(scene.cluster.writes)
        await scene.turn(70)
        assert scene.status()["phase"] == "RolledBack"
        assert scene.cluster.objects[path]["status"]["phase"] == "Done"
        written = scene.writes(before)
        assert written.count(("PATCH", "modelrollouts/fraud/status")) == 2
        assert len(written) == 4  # and two Events, which this scene does not post

    play(story)


def test_while_only_clocks_move_little_is_written_and_a_crash_only_holds_back() -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        before = len(scene.cluster.writes)
        await scene.turn(23)
        assert 2 <= len(scene.writes(before)) <= 5
        at_crash = scene.stored().status.candidate
        await scene.crash()
        after = scene.stored().status.candidate
        assert at_crash is not None
        assert after is not None
        assert at_crash.step_s - 6 <= after.step_s <= at_crash.step_s
        assert (after.step, after.acknowledged_at) == (at_crash.step, at_crash.acknowledged_at)

    play(story)


@pytest.mark.parametrize("crash_after", range(10, 17))
def test_evidence_that_a_crash_took_is_counted_again_and_none_of_it_twice(crash_after: int) -> None:
    def samples(crashes: bool) -> int:
        async def story(scene: Scene) -> None:
            check = {
                "name": "errors",
                "metric": "requests.errors",
                "noWorseThan": {"ratio": 1.2, "plus": "1pp"},
            }
            await on_trial(scene, checks=[{**check, "minRequests": 10}])
            scene.requests_per_turn = {"v1": 90, "v2": 10}
            await scene.turn(crash_after)
            if crashes:
                known = scene.stored().results[0].samples
                await scene.crash()
                assert scene.stored().results[0].samples <= known
            await scene.turn(8)
            found.append(scene.stored().results[0].samples)

        found: list[int] = []
        play(story)
        return found[0]

    assert samples(crashes=True) == samples(crashes=False) > 100


def test_what_is_only_in_memory_is_written_at_a_stop_in_order() -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        await scene.turn(13)
        await scene.store.flush()
        kept = scene.stored().status
        await scene.crash()
        assert scene.stored().status == kept

    play(story)


def test_what_people_read_follows_the_routers_though_nothing_is_decided() -> None:
    async def story(scene: Scene) -> None:
        await healthy(scene)
        await scene.registry.poll(KEY, "r2", NOTHING_APPLIED, "", 0.0)
        await scene.turn(7)
        assert condition(scene, "TrafficSynced")["status"] == "False"
        plan = scene.plans[-1]
        await scene.registry.poll(KEY, "r2", plan.triple, "", 0.0)
        await scene.turn(7)
        assert condition(scene, "TrafficSynced")["status"] == "True"

    play(story)


def condition(scene: Scene, kind: str) -> dict[str, Any]:
    (found,) = [one for one in scene.status()["conditions"] if one["type"] == kind]
    result: dict[str, Any] = found
    return result


# --- who may write, and on what -------------------------------------------------------------------------------------


def test_the_finalizer_comes_before_everything_else() -> None:
    async def story(scene: Scene) -> None:
        await scene.apply()
        await scene.turn(1)
        assert scene.writes()[1:3] == [
            ("PATCH", "modelrollouts/fraud"),
            ("PATCH", "modelrollouts/fraud/status"),
        ]
        assert scene.cluster.objects[PATH]["metadata"]["finalizers"] == [FINALIZER]

    play(story)


def test_an_ex_leader_writes_nothing_and_publishes_nothing() -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        scene.is_leader = False
        before, plans = len(scene.cluster.writes), len(scene.plans)
        await scene.act("rollback", "v2")
        await scene.turn(20)
        with pytest.raises(NotLeader):
            await scene.store.add_member(KEY, "r9")
        with pytest.raises(NotLeader):
            await scene.store.acquire_epoch(0)
        assert scene.writes(before) == [("POST", "rolloutactions")]
        assert len(scene.plans) == plans

    play(story)


def test_a_spec_edited_between_the_look_and_the_write_is_decided_anew() -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        edited: list[str] = []

        def edit(method: str, path: str) -> None:
            if path == f"{PATH}/status" and not edited:
                edited.append(path)
                scene.cluster.edit(PATH, lambda found: found["spec"].update(paused=True))

        scene.cluster.before_write = edit
        await scene.act("promote", "v2")
        await scene.turn(6)
        assert edited
        assert scene.status()["phase"] == "Paused"
        assert (
            scene.stored().status.observed_generation == scene.cluster.objects[PATH]["metadata"]["generation"]
        )

    play(story)


def test_a_decision_on_what_is_not_there_any_more_is_refused_before_it_is_sent() -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        stored = scene.stored()
        scene.cluster.edit(PATH, lambda found: found["spec"].update(paused=True))
        before = len(scene.cluster.writes)
        decision = Decision(replace(stored.status, salt="another"), None, {})
        with pytest.raises(StoreConflict):
            await scene.store.record(KEY, Recorded(decision, b"", (), version=stored.version))
        assert scene.writes(before) == []

    play(story)


def test_our_own_notes_between_the_look_and_the_write_are_no_conflict() -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        await scene.turn(3)
        stored = scene.stored()
        await scene.store.add_member(KEY, "r9")
        await scene.store.flush()
        decision = Decision(replace(stored.status, salt="another"), None, {})
        await scene.store.record(KEY, Recorded(decision, b"", (), version=stored.version))
        assert scene.stored().status.salt == "another"
        assert scene.store.members(KEY) == ("r1", "r9")

    play(story)


@pytest.mark.parametrize("code", [409, 429, 500, 422, 403])
def test_a_server_that_refuses_every_second_write_is_outlasted(code: int) -> None:
    async def story(scene: Scene) -> None:
        counted = iter(range(10_000))

        def refuse(method: str, path: str) -> None:
            if method == "PATCH" and next(counted) % 2:
                raise refused(code)

        scene.cluster.before_write = refuse
        await scene.apply()
        await scene.turn(8)
        await scene.apply(target="v2")
        await scene.turn(40)
        assert scene.status()["stableVersion"] == "v2"
        assert scene.status()["phase"] == "Healthy"

    sound(play(story))


def test_people_write_rollouts_and_actions_themselves() -> None:
    async def story(scene: Scene) -> None:
        await healthy(scene)
        stored = scene.stored()
        for refused_call in (scene.store.put_document(KEY, stored.document), scene.store.mark_deleting(KEY)):
            with pytest.raises(NotTakenHere, match="kubectl"):
                await refused_call

    play(story)


def test_a_copy_that_lags_behind_our_own_writes_is_never_read() -> None:
    def writes(lags: bool) -> int:
        async def story(scene: Scene) -> None:
            await healthy(scene)
            await scene.apply(target="v2")
            scene.rollouts.is_lagging = lags
            await scene.turn(30)
            assert scene.status()["stableVersion"] == "v2"

        scene = play(story)
        sound(scene)
        return len(scene.cluster.writes)

    assert writes(lags=True) == writes(lags=False)  # not one was refused


def test_a_new_leader_with_an_old_copy_gives_nobody_a_share_back() -> None:
    """What its predecessor did meanwhile comes to light at its first write, before its first plan."""

    async def story(scene: Scene) -> None:
        await on_trial(scene)
        old = scene.copies()
        for copied in old:
            copied.is_lagging = True
        await scene.act("rollback", "v2")
        await scene.turn(1)
        assert scene.weight("v2") == 0
        plans = len(scene.plans)
        scene.transitions += 1
        await scene.start(old)
        await scene.turn(3)
        assert len(scene.plans) > plans
        assert [plan.weights().get("v2", 0) for plan in scene.plans[plans:]] == [0] * (
            len(scene.plans) - plans
        )

    sound(play(story))


def test_many_routers_at_once_are_all_members() -> None:
    async def story(scene: Scene) -> None:
        await healthy(scene)
        before = len(scene.cluster.writes)
        names = [f"router-{number}" for number in range(40)]
        await asyncio.gather(*(scene.store.add_member(KEY, name) for name in names))
        assert set(names) <= set(scene.store.members(KEY))
        assert len(scene.writes(before)) <= 40
        await scene.crash()
        assert set(names) <= set(scene.store.members(KEY))

    play(story)


def test_a_router_becomes_a_member_also_while_others_write_to_the_rollout() -> None:
    async def story(scene: Scene) -> None:
        await healthy(scene)
        edits = iter(range(3))

        def edit(method: str, path: str) -> None:
            if (number := next(edits, None)) is not None:
                scene.cluster.edit(PATH, lambda found: found["metadata"].update(labels={"n": str(number)}))

        scene.cluster.before_write = edit
        await scene.store.add_member(KEY, "r9")
        assert "r9" in scene.status()["routers"]

    play(story)


# --- a crash at every write -----------------------------------------------------------------------------------------


class Killed(BaseException):
    """The controller is gone from here on."""


async def promotion(scene: Scene) -> None:
    await scene.apply()
    await lives(scene, 6)
    await scene.apply(target="v2")
    await lives(scene, 40)


async def rollback(scene: Scene) -> None:
    await scene.apply()
    await lives(scene, 6)
    await scene.apply(target="v2", strategy=SLOW)
    await lives(scene, 5)
    await scene.act("rollback", "v2")
    await lives(scene, 12)


async def undo(scene: Scene) -> None:
    await scene.apply()
    await lives(scene, 6)
    await scene.apply(target="v2")
    await lives(scene, 40)
    await scene.act("undo", "v2")
    await lives(scene, 40)


async def deletion(scene: Scene) -> None:
    await scene.apply()
    await lives(scene, 6)
    await scene.apply(target="v2", strategy=SLOW)
    await lives(scene, 5)
    await scene.cluster.delete(PATH)
    await lives(scene, 20)


async def lives(scene: Scene, turns: int) -> None:
    """So many turns; a controller that is killed is followed by another one."""
    for _ in range(turns):
        try:
            await scene.turn(1)
        except Killed:
            await scene.crash()


STORIES: dict[str, tuple[Callable[[Scene], Awaitable[None]], Callable[[Scene], object]]] = {
    "promotion": (promotion, lambda scene: (scene.status()["phase"], scene.status()["stableVersion"])),
    "rollback": (
        rollback,
        lambda scene: (
            scene.status()["phase"],
            scene.status()["stableVersion"],
            scene.weight("v2"),
            answers(scene),
        ),
    ),
    "undo": (
        undo,
        lambda scene: (
            scene.status()["stableVersion"],
            scene.cluster.objects[PATH]["spec"]["target"],
            answers(scene),
        ),
    ),
    "deletion": (deletion, lambda scene: (PATH in scene.cluster.objects, scene.weight("v2"))),
}


ENDS: dict[str, object] = {
    "promotion": ("Healthy", "v2"),
    "rollback": ("RolledBack", "v1", 0, [("Done", "rollback of v2 accepted")]),
    "undo": ("v1", "v1", [("Done", "undo of v2 accepted")]),
    "deletion": (False, 0),
}


def answers(scene: Scene) -> list[tuple[str, str]]:
    """Phase and message of every action."""
    actions = [made for made in scene.cluster.objects.values() if made["kind"] == "RolloutAction"]
    return [(action["status"]["phase"], action["status"]["message"]) for action in actions]


def sound(scene: Scene) -> None:
    """What routers were told over all lives: numbers never fall, nobody has more than its step, 10,000 in all."""
    triples = [(plan.epoch, plan.generation) for plan in scene.plans]
    assert triples == sorted(triples)
    for plan in scene.plans:
        assert sum(plan.weights().values()) == 10_000
        assert plan.weights().get("v2", 0) in (0, 1000, 5000, 10_000)


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_write_it_comes_to_the_same_end(name: str, when: str) -> None:
    story, end_of = STORIES[name]
    whole = play(story)
    wanted, count = end_of(whole), 0
    assert wanted == ENDS[name]
    sound(whole)
    writes = [number for number, (method, _) in enumerate(whole.cluster.writes) if method == "PATCH"]
    assert len(writes) > 3
    for nth in range(1, len(writes) + 1):

        async def killed(scene: Scene, nth: int = nth) -> None:
            seen = 0

            def strike(method: str, path: str) -> None:
                nonlocal seen
                seen += method == "PATCH"
                if method == "PATCH" and seen == nth:
                    raise Killed

            setattr(scene.cluster, f"{when}_write", strike)
            await story(scene)

        scene = play(killed)
        assert end_of(scene) == wanted, f"killed {when} write {nth}"
        sound(scene)
        count += 1
    assert count == len(writes)


# --- damage ---------------------------------------------------------------------------------------------------------


def test_a_damaged_state_is_mended_from_memory_and_the_share_stays() -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        before = scene.stored().status
        scene.cluster.edit(PATH, lambda found: found["status"].update(state="bm9uc2Vuc2U="))
        await scene.turn(8)
        assert scene.weight("v2") == 1000
        assert scene.stored().status.candidate is not None
        await scene.crash()
        after = scene.stored().status
        assert (after.stable, after.generation) == (before.stable, before.generation)

    play(story)


@pytest.mark.parametrize("state", ["bm9uc2Vuc2U=", "", None, 7, "eJwDAAAAAAE="])
def test_with_the_state_lost_in_a_crash_all_goes_to_stable_and_waits_for_a_person(state: object) -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        scene.cluster.edit(PATH, lambda found: found["status"].update(state=state))
        await scene.crash()
        await scene.turn(40)
        assert scene.weight("v1") == 10_000
        assert scene.status()["stableVersion"] == "v1"
        assert scene.status()["phase"] == "RolledBack"
        await scene.act("retry", "v2")
        await scene.turn(6)
        assert scene.weight("v2") == 1000

    sound(play(story))


def test_a_lost_state_with_an_unknown_stable_stalls_that_rollout_and_moves_nothing() -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        plans = len(scene.plans)

        def damage(found: dict[str, Any]) -> None:
            found["status"].update(state="?", stableVersion="v0")

        scene.cluster.edit(PATH, damage)
        await scene.crash()
        await scene.turn(5)
        assert scene.status()["phase"] == "Stalled"
        assert "v0" in scene.status()["message"]
        assert scene.status()["state"] == "?"  # for whoever can make something of it
        assert len(scene.plans) == plans
        before = len(scene.cluster.writes)
        await scene.turn(40)
        assert scene.writes(before) == []
        await scene.crash()
        versions = [{"name": f"v{n}", "url": f"http://127.0.0.1:900{n}"} for n in (0, 2)]
        await scene.apply(versions=versions, target="v2", initialStable="v0")
        await scene.turn(6)
        assert (scene.weight("v0"), scene.weight("v2")) == (10_000, 0)

    play(story)


@pytest.mark.parametrize(
    "poison",
    [
        {"spec": "hello"},
        {"spec": None},
        {"spec": {"target": "v9"}},
        {"status": "all is well"},
        {"status": {"conditions": 5, "decisions": [1, {}], "routers": "r1", "history": {}}},
    ],
    ids=str,
)
def test_a_poisonous_object_is_said_or_mended_and_breaks_nothing(poison: dict[str, Any]) -> None:
    async def story(scene: Scene) -> None:
        await healthy(scene)
        scene.cluster.edit(PATH, lambda found: found.update(poison))
        await scene.turn(3)
        await scene.crash()
        await scene.turn(8)
        assert scene.status()["phase"] in ("Stalled", "Healthy")
        if "spec" in poison:
            assert scene.status()["phase"] == "Stalled"
            assert "spec" in scene.status()["message"]
        assert scene.store.keys() == (KEY,)

    play(story)


def test_evidence_that_cannot_be_read_is_handed_on_as_damaged_and_not_as_none() -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        scene.cluster.edit(PATH, lambda found: found["status"].update(evidence="%%%"))
        await scene.crash()
        assert scene.stored().analysis not in (b"", b"%%%")

    play(story)


def test_a_bug_in_the_background_stops_nothing_for_long() -> None:
    async def story(scene: Scene) -> None:
        await healthy(scene)
        path = await scene.act("explode", "v2")
        faults = iter([TypeError("a bug of ours")])

        def fail(method: str, path: str) -> None:
            if (fault := next(faults, None)) is not None:
                raise fault

        scene.cluster.before_write = fail
        assert scene.store.pending_actions(KEY) == ()
        running = asyncio.create_task(scene.store.run())
        async with asyncio.timeout(30):
            while "status" not in scene.cluster.objects[path]:
                await asyncio.sleep(0.01)
        running.cancel()

    play(story)


# --- actions --------------------------------------------------------------------------------------------------------


def test_an_action_that_this_release_does_not_know_is_refused_in_words() -> None:
    async def story(scene: Scene) -> None:
        await healthy(scene)
        path = await scene.act("explode", "v2")
        await scene.turn(2)
        answered = scene.cluster.objects[path]["status"]
        assert answered["phase"] == "Refused"
        assert "'explode' is not an action" in answered["message"]

    play(story)


def test_an_action_for_no_rollout_is_refused_once_none_comes() -> None:
    async def story(scene: Scene) -> None:
        early = await scene.act("pause", "v2")
        await scene.turn(3)
        assert "status" not in scene.cluster.objects[early]
        await healthy(scene)
        assert "v2" in scene.cluster.objects[early]["status"]["message"]
        await scene.cluster.delete(PATH)
        await scene.turn(4)
        late = await scene.act("pause", "v2")
        await scene.turn(14)
        answered = scene.cluster.objects[late]["status"]
        assert answered["phase"] == "Refused"
        assert answered["message"] == f"there is no rollout {KEY}"

    play(story)


def test_a_stalled_rollout_refuses_actions_in_the_words_of_its_fault() -> None:
    async def story(scene: Scene) -> None:
        await healthy(scene)
        scene.cluster.edit(PATH, lambda found: found["spec"].update(target="v9"))
        path = await scene.act("rollback", "v2")
        await scene.turn(3)
        assert scene.status()["phase"] == "Stalled"
        assert scene.cluster.objects[path]["status"]["phase"] == "Refused"
        assert "v9" in scene.cluster.objects[path]["status"]["message"]

    play(story)


def test_an_action_whose_answer_was_lost_is_not_done_twice() -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        path = await scene.act("pause", "v2")
        await scene.turn(2)
        scene.cluster.edit(path, lambda found: found.pop("status"))
        assert scene.store.pending_actions(KEY) == ()
        await scene.act("resume", "v2")
        await scene.turn(2)
        await scene.crash()
        await scene.turn(3)
        assert scene.cluster.objects[path]["status"]["phase"] == "Done"
        assert scene.status()["phase"] == "Progressing"

    play(story)


def test_old_answered_actions_go_and_waiting_ones_stay() -> None:
    async def story(scene: Scene) -> None:
        await healthy(scene)
        for _ in range(60):
            await scene.act("pause", "v2")
        await scene.turn(2)
        answered = [path for path in scene.cluster.objects if "rolloutactions" in path]
        assert len(answered) == 50
        assert answered[-1].endswith("action-60")

    play(story)


def test_a_rollout_that_goes_takes_its_actions_along() -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        await scene.act("pause", "v2")
        await scene.turn(2)
        await scene.cluster.delete(PATH)
        await scene.turn(8)
        assert scene.cluster.objects == {}
        assert scene.store.keys() == ()

    play(story)


def test_a_rollout_made_anew_goes_on_with_the_numbers_of_its_plans() -> None:
    async def story(scene: Scene) -> None:
        await on_trial(scene)
        await scene.cluster.delete(PATH)
        await scene.turn(8)
        await scene.apply(target="v3", initialStable="v3")
        await scene.turn(6)
        assert scene.status()["stableVersion"] == "v3"
        assert scene.weight("v3") == 10_000

    sound(play(story))


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_the_largest_status_stays_under_its_bound_and_can_be_read_back() -> None:
    async def story(scene: Scene) -> None:
        await healthy(scene)
        kept = status.decode(scene.status()["state"])
        told = {**scene.status(), "history": [], "decisions": [], "checks": [], "routers": []}
        long = "ä" * 4000
        told["history"] = [{"version": "v", "message": long[:1024]} for _ in range(20)]
        told["decisions"] = [{"version": "v", "message": long[:1024]} for _ in range(20)]
        told["checks"] = [{"name": str(n), "text": long[:1024]} for n in range(32)]
        told["routers"] = [f"{n:063}" for n in range(256)]
        body, has_room = status.fitted(told, kept, bytes(range(256)) * 400)
        assert status.size(body) <= status.BYTES_MAX
        assert body["routers"] == told["routers"]
        assert status.decode(body["state"]).status.stable == kept.status.stable
        assert has_room

    play(story)


def test_fields_of_a_later_release_are_passed_over_and_missing_ones_have_defaults() -> None:
    packed = status.pack(json.dumps({"status": {"message": "hello", "novelty": 1}, "more": []}).encode())
    assert status.decode(packed).status == Status(message="hello", phase=Phase.PROGRESSING)
