"""Columns that stay, and acknowledgement that never says more than is true."""

from hypothesis import given
from hypothesis import strategies as st

from headgate.wire.plan import NOTHING_APPLIED, Applied, PlanVersion, RoutePlan
from router.agent.plans import acknowledged, assigned, refusal, said
from router.core.counters import ABSENT, COLUMNS, DRAINING, SERVING, STARTING, STOPPED, WorkerState
from router.core.serving import refusal as workers_refusal
from tests.router.agent.bench import make_plan

T1, T2, T3 = Applied(1, 1, 0), Applied(1, 2, 0), Applied(2, 1, 0)


def of_identities(identities: list[str], generation: int = 1) -> RoutePlan:
    versions = tuple(
        PlanVersion(f"v{index}", identity, "stable" if index == 0 else "candidate")
        for index, identity in enumerate(identities)
    )
    return make_plan(1, generation, versions=versions, stable="v0", slots=())


def worker(applied: Applied, state: int = SERVING) -> WorkerState:
    return WorkerState(0, state, 1, 0, 0, applied, 0, 0, 0, 0)


identities = st.lists(st.integers(0, 60).map("id-{}".format), min_size=1, max_size=16, unique=True)


@given(st.lists(identities, min_size=1, max_size=12))
def test_every_plan_of_any_history_gets_columns_of_its_own_that_a_worker_takes(
    history: list[list[str]],
) -> None:
    columns: dict[str, int] = {}
    for names in history:
        before, columns = columns, assigned(of_identities(names), columns).columns
        assert len(set(columns.values())) == len(columns) <= COLUMNS
        assert set(columns.values()) <= set(range(COLUMNS))
        assert set(names) <= columns.keys()
        assert all(columns[name] == before[name] for name in names if name in before)


@given(st.lists(identities, min_size=1, max_size=2))
def test_an_identity_that_comes_back_soon_finds_its_column_again(history: list[list[str]]) -> None:
    first = assigned(of_identities(history[0]), {})
    between = assigned(of_identities(history[-1]), first.columns)
    again = assigned(of_identities(history[0]), between.columns)
    assert {name: again.columns[name] for name in history[0]} == {
        name: first.columns[name] for name in history[0]
    }


def test_the_column_that_was_not_used_for_longest_goes_first() -> None:
    columns: dict[str, int] = {}
    for number in range(COLUMNS):
        columns = assigned(of_identities(["stable", f"id-{number}"]), columns).columns
    assert "id-0" not in columns
    assert {"stable", "id-1", f"id-{COLUMNS - 1}"} <= columns.keys()


def test_a_worker_takes_what_was_assigned() -> None:
    plan = make_plan()
    assert workers_refusal(assigned(plan, {}), NOTHING_APPLIED) == ""


def test_what_is_acknowledged_is_the_oldest_plan_of_the_live_workers() -> None:
    assert acknowledged(T1, [worker(T3), worker(T2)]) == T2
    assert acknowledged(T1, [worker(T2), worker(T2, DRAINING)]) == T2
    assert acknowledged(T1, [worker(T2), worker(T1, STOPPED), worker(T1, ABSENT)]) == T2
    assert acknowledged(T2, [worker(T1)]) == T1


def test_without_a_live_worker_nothing_moves() -> None:
    assert acknowledged(T2, []) == T2
    assert acknowledged(T2, [worker(NOTHING_APPLIED, STARTING)]) == T2


def test_a_worker_that_starts_lets_nothing_new_be_acknowledged() -> None:
    starting = worker(NOTHING_APPLIED, STARTING)
    assert acknowledged(T1, [worker(T2), starting]) == T1
    assert acknowledged(T2, [worker(T1), starting]) == T1


applied = st.builds(Applied, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
states = st.sampled_from([ABSENT, STARTING, SERVING, DRAINING, STOPPED])


@given(applied, st.lists(st.builds(worker, applied, states), max_size=4))
def test_nothing_is_ever_acknowledged_that_a_live_worker_does_not_run(
    before: Applied, workers: list[WorkerState]
) -> None:
    found = acknowledged(before, workers)
    assert all(found <= one.applied for one in workers if one.is_live)
    assert found == before or found < before or any(one.applied == found for one in workers)


def test_the_same_plan_again_is_no_refusal_and_a_newer_epoch_may_begin_low() -> None:
    plan = make_plan(2, 9)
    assert refusal(plan, "ml/fraud", plan) is None
    assert refusal(make_plan(3, 1), "ml/fraud", plan) is None
    assert refusal(make_plan(2, 9, 1), "ml/fraud", plan) is None
    assert refusal(make_plan(2, 9, 1), "ml/fraud", make_plan(2, 9, 2)) is not None


def test_our_own_refusal_is_said_before_those_of_the_processes() -> None:
    assert said("mine", [("worker 0", "theirs")]) == "mine"
    assert said("", [("observer", ""), ("worker 0", "a"), ("worker 1", "b")]) == "worker 0: a; worker 1: b"
