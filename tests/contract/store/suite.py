"""What every `Store` must do, whichever it is; a new adapter, or a fake, gets a class of its own that gives it as `store`."""

import asyncio
import inspect
from typing import Any

import pytest

from controller.core.checks import CheckResult, Lack, Verdict
from controller.core.status import (
    Action,
    ActionResult,
    Candidate,
    Cause,
    Decision,
    DecisionRecord,
    Event,
    Failed,
    Outcome,
    Pause,
    Phase,
    Reason,
    Retiring,
    Status,
    Verb,
    VersionRef,
)
from controller.ports import Recorded
from headgate.wire.plan import SlotRange

KEY = "default/fraud"


def document(key: str = KEY, target: str = "v8") -> dict[str, Any]:
    """A sound rollout, as it is stored."""
    namespace, _, name = key.partition("/")
    versions = [
        {"name": version, "url": f"http://127.0.0.1:{port}"} for version, port in (("v7", 9007), ("v8", 9008))
    ]
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "ModelRollout",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "target": target,
            "initialStable": "v7",
            "versions": versions,
            "strategy": {"canary": {"weights": ["5%", "50%"], "every": "60s"}},
        },
    }


DOCUMENT = document()


class Called:
    """The store with its coroutines called as if they were functions, all on one loop."""

    def __init__(self, store: Any, runner: asyncio.Runner) -> None:
        self._store = store
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if not inspect.iscoroutinefunction(method):
            return method
        return lambda *arguments: self._runner.run(method(*arguments))


def decision(status: Status | None = None, **parts: Any) -> Decision:
    return Decision(status=status or Status(message="all is well"), plan=None, running={}, **parts)


def recorded(made: Decision, *results: CheckResult) -> Recorded:
    return Recorded(decision=made, analysis=b'{"engine":"\x00\xff"}', results=results)


def action(name: str, verb: Verb = Verb.ROLLBACK) -> Action:
    return Action(id=name, verb=verb, version="v8", actor="ada", reason="p99 doubled", at=1.5)


FULL_STATUS = Status(
    observed_generation=3,
    phase=Phase.ROLLING_BACK,
    message="v8 is rolled back – « zurück »",
    stable=VersionRef("v7", "a" * 20),
    is_stable_proven=True,
    candidate=Candidate("v8", "b" * 20, step=2, step_s=12.25, acknowledged_at=17.0),
    failed=(Failed("v6", "c" * 20, 1, Cause.GUARD, "tripped", 1700000000.125),),
    retiring=(Retiring("v5", "d" * 20, 7, 60.0, 0.0),),
    slots=(SlotRange(0, 9500, "v7"), SlotRange(9500, 10_000, "v8")),
    salt="s",
    epoch=4,
    paused=Pause("ada", "lunch", 3.0),
    handled=("a1", "a2"),
    history=(Outcome("v6", "c" * 20, "RolledBack", "tripped", 1.0, 2.0),),
    recent_weights=((7, 500), (8, 0)),
)
RESULT = CheckResult(
    "errors",
    Verdict.FAIL,
    Lack.NONE,
    "error rate 2.24 % → Fail",
    is_fresh=True,
    estimate=0.0224,
    low=-1e-9,
    samples=625,
)


class AnyStore:
    """The contract; `store` is a fixture of the class that inherits it."""

    def test_the_first_document_is_generation_1(self, store: Called) -> None:
        stored = store.put_document(KEY, DOCUMENT)
        assert (stored.key, stored.generation, stored.document) == (KEY, 1, DOCUMENT)
        assert (stored.status, stored.analysis, stored.results, stored.deleting) == (Status(), b"", (), False)
        assert store.load(KEY) == stored
        assert store.keys() == (KEY,)

    def test_the_same_document_again_changes_nothing(self, store: Called) -> None:
        first = store.put_document(KEY, DOCUMENT)
        assert store.put_document(KEY, dict(reversed(DOCUMENT.items()))) == first

    def test_another_document_raises_the_generation_and_keeps_the_status(self, store: Called) -> None:
        store.put_document(KEY, DOCUMENT)
        store.record(KEY, recorded(decision(FULL_STATUS), RESULT))
        changed = store.put_document(KEY, document(target="v7"))
        assert (changed.generation, changed.status, changed.results) == (2, FULL_STATUS, (RESULT,))

    def test_a_rollout_that_is_not_there_is_none(self, store: Called) -> None:
        assert store.load(KEY) is None
        assert store.keys() == ()
        assert store.records(KEY, 10) == ()
        assert store.events(KEY, 10) == ()
        assert store.pending_actions(KEY) == ()
        assert store.members(KEY) == ()

    def test_what_was_recorded_comes_back_as_it_was(self, store: Called) -> None:
        store.put_document(KEY, DOCUMENT)
        store.record(KEY, recorded(decision(FULL_STATUS), RESULT))
        stored = store.load(KEY)
        assert stored is not None
        assert stored.status == FULL_STATUS
        assert stored.results == (RESULT,)
        assert stored.analysis == b'{"engine":"\x00\xff"}'

    def test_records_and_events_come_newest_first_and_no_more_than_asked(self, store: Called) -> None:
        store.put_document(KEY, DOCUMENT)
        for number in range(3):
            pair = (number * 2, number * 2 + 1)
            store.record(
                KEY,
                recorded(
                    decision(
                        records=tuple(
                            DecisionRecord(
                                at,
                                Reason.WEIGHT_RAISED,
                                "v8",
                                0,
                                500,
                                "canary",
                                "raised",
                                1,
                                at,
                                checks=(RESULT,),
                            )
                            for at in pair
                        ),
                        events=tuple(Event(at, Reason.STAGE_ENTERED, f"event {at}") for at in pair),
                    )
                ),
            )
        assert [record.generation for record in store.records(KEY, 4)] == [5, 4, 3, 2]
        assert store.records(KEY, 1)[0].checks == (RESULT,)
        assert [event.message for event in store.events(KEY, 100)] == [
            f"event {at}" for at in (5, 4, 3, 2, 1, 0)
        ]

    def test_actions_wait_in_order_until_they_are_decided(self, store: Called) -> None:
        store.put_document(KEY, DOCUMENT)
        store.add_action(KEY, action("b"))
        store.add_action(KEY, action("a", Verb.PAUSE))
        assert store.pending_actions(KEY) == (action("b"), action("a", Verb.PAUSE))
        assert store.action_result("b") is None
        store.record(KEY, recorded(decision(actions=(ActionResult("b", False, "v8 is not on trial"),))))
        assert store.pending_actions(KEY) == (action("a", Verb.PAUSE),)
        assert store.action_result("b") == (False, "v8 is not on trial")
        assert store.action_result("nobody") is None

    def test_the_same_action_twice_is_one_also_after_it_was_decided(self, store: Called) -> None:
        store.put_document(KEY, DOCUMENT)
        store.add_action(KEY, action("a"))
        store.add_action(KEY, action("a", Verb.PROMOTE))
        assert store.pending_actions(KEY) == (action("a"),)
        store.record(KEY, recorded(decision(actions=(ActionResult("a", True, "done"),))))
        store.add_action(KEY, action("a"))
        assert store.pending_actions(KEY) == ()
        assert store.action_result("a") == (True, "done")

    def test_members_count_until_they_are_forgotten(self, store: Called) -> None:
        store.put_document(KEY, DOCUMENT)
        store.add_member(KEY, "router-1")
        store.add_member(KEY, "router-1")
        store.add_member(KEY, "router-2")
        assert sorted(store.members(KEY)) == ["router-1", "router-2"]
        assert store.forget_member(KEY, "router-1")
        assert not store.forget_member(KEY, "router-1")
        assert store.members(KEY) == ("router-2",)

    def test_deletion_is_asked_for_and_then_leaves_nothing(self, store: Called) -> None:
        assert not store.mark_deleting(KEY)
        store.put_document(KEY, DOCUMENT)
        store.put_document("default/other", document("default/other"))
        store.add_action(KEY, action("a"))
        store.add_member(KEY, "router-1")
        store.record(KEY, recorded(decision(events=(Event(1, Reason.STARTED, "started"),))))
        assert store.mark_deleting(KEY)
        stored = store.load(KEY)
        assert stored is not None
        assert stored.deleting
        store.delete(KEY)
        assert store.keys() == ("default/other",)
        assert (store.load(KEY), store.events(KEY, 9), store.pending_actions(KEY), store.members(KEY)) == (
            None,
            (),
            (),
            (),
        )

    def test_a_rollout_created_again_goes_on_with_its_numbers(self, store: Called) -> None:
        """Routers that still run its last plan would refuse a lower generation as older."""
        store.put_document(KEY, DOCUMENT)
        store.put_document(KEY, document(target="v7"))
        store.record(KEY, recorded(decision(Status(generation=57, message="gone soon"))))
        store.delete(KEY)
        created = store.put_document(KEY, DOCUMENT)
        assert created.status == Status(generation=57)

    def test_a_decision_about_a_rollout_that_is_gone_is_refused(self, store: Called) -> None:
        with pytest.raises(KeyError):
            store.record(KEY, recorded(decision()))
        assert store.keys() == ()

    def test_rollouts_do_not_see_each_other(self, store: Called) -> None:
        for key in ("a/x", "b/x"):
            store.put_document(key, document(key))
        store.record("a/x", recorded(decision(FULL_STATUS, events=(Event(1, Reason.STARTED, "started"),))))
        store.add_member("a/x", "router-1")
        store.add_action("a/x", action("a"))
        other = store.load("b/x")
        assert other is not None
        assert other.status == Status()
        assert (store.events("b/x", 9), store.members("b/x"), store.pending_actions("b/x")) == ((), (), ())

    def test_each_epoch_is_higher_than_every_one_before_and_than_what_was_seen(self, store: Called) -> None:
        assert store.acquire_epoch(0) == 1
        assert store.acquire_epoch(0) == 2
        assert store.acquire_epoch(41) == 42
        assert store.acquire_epoch(7) == 43

    def test_the_generation_counts_exactly_the_changes(self, store: Called) -> None:
        changes, before = store.put_document(KEY, DOCUMENT).generation, "v8"
        for target in ("v8", "v7", "v7", "v8", "v7", "v8", "v8", "v8", "v7"):
            changes += target != before
            before = target
            assert store.put_document(KEY, document(target=target)).generation == changes

    def test_a_decision_that_changes_the_document_writes_both_or_neither(self, store: Called) -> None:
        store.put_document(KEY, DOCUMENT)
        changed = Recorded(decision(Status(epoch=3)), b"", (), document(target="v7"))
        store.record(KEY, changed)
        stored = store.load(KEY)
        assert stored is not None
        assert (stored.document, stored.generation, stored.status.epoch) == (document(target="v7"), 2, 3)
        with pytest.raises(KeyError):
            store.record("default/none", changed)
        assert store.load("default/none") is None
