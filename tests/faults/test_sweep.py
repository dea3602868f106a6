"""What `make faults` makes of its crash points: nothing that went wrong is left out, nor that too few crashes came."""

import pytest

from tests.faults.__main__ import Point, Tally
from tests.faults.crashes import Run
from tests.faults.proxy.proxy import Exchange
from tests.faults.stories import CANARY, End
from tests.local.load import Load

DEATH = Exchange(
    7, 0.0, "patch", "modelrollouts", "headgate.dev", "ml", "sum", "/", "headgate", fault="KillAfter"
)
POINT = Point(CANARY, 7, "after")


def ended(phase: str = "Healthy", *, is_dead: bool = True, wrongs: tuple[str, ...] = ()) -> Run:
    end = End({"phase": phase}, Load("http://127.0.0.1:9"))
    return Run(end, [DEATH], [DEATH] if is_dead else [], wrongs)


def test_what_went_wrong_is_told_of_each_point_also_of_one_whose_crash_never_came() -> None:
    tally = Tally(CANARY, ended(wrongs=("lost a request",)))
    assert tally.count(POINT, ended()) == []
    tally.count(POINT, ended("Stalled"))
    tally.count(POINT, ended("Stalled", is_dead=False))
    tally.count(POINT, ended(is_dead=False, wrongs=("two leaders",)))
    tally.count(POINT, TimeoutError("for ever"))
    assert tally.verdict == [
        "canary, without a crash: lost a request",
        "canary, after write 7: it ended as {'phase': 'Stalled'}, and without the crash as {'phase': 'Healthy'}",
        "canary, after write 7, which never came: it ended as {'phase': 'Stalled'}, and without the crash as "
        "{'phase': 'Healthy'}",
        "canary, after write 7, which never came: two leaders",
        "canary, after write 7: TimeoutError('for ever')",
    ]
    assert (tally.tried, tally.missed) == (3, 2)


@pytest.mark.parametrize(
    ("tried", "missed", "said"),
    [
        (0, 0, []),
        (1, 2, []),
        (1, 3, ["canary: 3 of 4 crashes never came"]),
        (90, 10, []),
        (89, 11, ["canary: 11 of 100 crashes never came"]),
    ],
)
def test_more_than_a_few_crashes_that_never_came_are_wrong(tried: int, missed: int, said: list[str]) -> None:
    tally = Tally(CANARY, ended())
    for is_dead, times in ((True, tried), (False, missed)):
        for _ in range(times):
            tally.count(POINT, ended(is_dead=is_dead))
    assert tally.verdict == said
