"""Shadows' counters as the agent tells them: every present pair has a row, and rows of before come after them."""

from pathlib import Path

from headgate.wire.plan import SLOTS, Condition, Match, PlanVersion, Shadow, SlotRange
from headgate.wire.telemetry import ShadowCounters
from router.agent.shared import Boot, Shared
from router.core.channel import Assignment
from router.core.counters import QUEUE_FULL, Block, drop_cell, layout
from tests.router.agent.bench import make_plan

COLUMNS = {f"id-{number}": number for number in range(1, 5)}


def assignment(match: Match | None = None) -> Assignment:
    """v1 and v2 have live traffic; v2, v3 and v4 are shadows."""
    versions = tuple(
        PlanVersion(f"v{number}", f"id-{number}", "stable" if number == 1 else "candidate")
        for number in range(1, 5)
    )
    shadows = tuple(Shadow(name, 1_000_000) for name in ("v2", "v3", "v4"))
    return Assignment(make_plan(1, 1, share=500, versions=versions, shadows=shadows, match=match), COLUMNS)


def row(live: int, shadow: int, **counted: int) -> ShadowCounters:
    return ShadowCounters(
        shadow=f"v{shadow}",
        shadow_identity=f"id-{shadow}",
        live=f"v{live}",
        live_identity=f"id-{live}",
        **counted,
    )


def shared(tmp_path: Path) -> tuple[Shared, Block]:
    counters = memoryview(bytearray(layout(1)))
    return Shared(tmp_path, Boot("b", 1.0), counters), Block(counters, 0)


def pairs(rows: tuple[ShadowCounters, ...]) -> list[tuple[str, str]]:
    return [(one.live, one.shadow) for one in rows]


PRESENT = [("v1", "v2"), ("v1", "v3"), ("v2", "v3"), ("v1", "v4"), ("v2", "v4")]


def test_every_shadow_has_a_row_against_every_other_live_version_before_rows_of_the_past(
    tmp_path: Path,
) -> None:
    found = shared(tmp_path)[0].shadows(assignment(), [row(4, 3, pairs=9), row(2, 3, pairs=5)])
    assert pairs(found) == [*PRESENT, ("v4", "v3")]
    assert [one.pairs for one in found] == [0, 0, 5, 0, 0, 9]


def test_a_version_that_only_matching_requests_reach_is_compared_unless_they_all_do(tmp_path: Path) -> None:
    half = (SlotRange(0, SLOTS // 2, "v1"), SlotRange(SLOTS // 2, SLOTS, "v3"))
    for slots, more in ((half, [("v3", "v2"), ("v3", "v4")]), ((SlotRange(0, SLOTS, "v3"),), [])):
        match = Match((Condition("header:x-a"),), slots)
        found = shared(tmp_path)[0].shadows(assignment(match), [])
        assert sorted(pairs(found)) == sorted([*PRESENT, *more])


def test_copies_that_workers_dropped_are_offered_and_dropped_of_their_pair_alone(tmp_path: Path) -> None:
    view, block = shared(tmp_path)
    starts = {identity: block.claim(column, identity)[0] for identity, column in COLUMNS.items()}
    block.cells[starts["id-2"] + drop_cell(COLUMNS["id-4"], QUEUE_FULL)] = 3
    found = view.shadows(assignment(), [row(2, 4, offered=10, pairs=10)])
    counted = {(one.live, one.shadow): (one.offered, one.dropped) for one in found if one.offered}
    assert counted == {("v2", "v4"): (13, {"queue_full": 3})}
