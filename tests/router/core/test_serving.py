"""Which plan a worker runs: never an older one, never an unsound one, and each refusal names its reason."""

from hypothesis import given
from hypothesis import strategies as st

from headgate.wire.plan import NOTHING_APPLIED, Applied, PlanVersion, RoutePlan, SlotRange
from router.core.channel import Assignment
from router.core.serving import refusal


def assignment(epoch: int = 1, generation: int = 1, revision: int = 0, **columns: int) -> Assignment:
    plan = RoutePlan(
        rollout="ml/fraud",
        epoch=epoch,
        generation=generation,
        endpoints_revision=revision,
        salt="s",
        stable="v1",
        versions=(PlanVersion("v1", "i1", "stable"), PlanVersion("v2", "i2", "candidate")),
        slots=(SlotRange(0, 10_000, "v1"),),
    )
    return Assignment(plan, columns or {"i1": 0, "i2": 1})


@given(*(st.integers(0, 3) for _ in range(6)))
def test_a_worker_never_goes_back(a: int, b: int, c: int, d: int, e: int, f: int):
    running = Applied(a, b, c)
    accepted = not refusal(assignment(d, e, f), running)
    assert accepted is ((d, e) >= (a, b)), "endpoints come and go; epoch and generation only grow"


def test_a_first_plan_is_taken_and_the_same_again_is_no_fault():
    assert refusal(assignment(), NOTHING_APPLIED) == ""
    assert refusal(assignment(), Applied(1, 1, 0)) == ""


def test_refusals_name_plan_and_reason():
    assert (
        refusal(assignment(1, 9), Applied(2, 1, 0))
        == "plan 1.9.0 refused: epoch 1 is older than 2, which runs"
    )
    assert "generation 1 is older than 2" in refusal(assignment(1, 1), Applied(1, 2, 0))
    assert (
        refusal(assignment(i1=0), NOTHING_APPLIED) == "plan 1.1.0 refused: columns: none for v2, identity i2"
    )
    assert "columns: 7 of v2 is also that of identity i1" in refusal(assignment(i1=7, i2=7), NOTHING_APPLIED)
    assert "columns: 32 of v2 is not in 0 … 31" in refusal(assignment(i1=0, i2=32), NOTHING_APPLIED)
