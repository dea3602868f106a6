"""The judgement of the story: what it calls expected, from records small enough to read."""

from pathlib import Path

import msgspec
import pytest
from story import EXPECTED_ENDS, SHORT, Outcome, agreements, empty, live_requests_by_own_count, outcomes
from traffic import Answer

from headgate.wire.record import ComparisonRecord, Side

AS_EXPECTED = {key: expected for key, (_, expected) in EXPECTED_ENDS.items()}
CLEANLY = {"headgate up": 0}
USERS = [
    Answer("r-1", "u", 1.0, 1.0, 5.0, 200, "v1"),
    Answer("r-2", "u", 2.0, 2.0, 5.0, 500, "v4"),
    Answer("r-3", "u", 3.0, 3.0, 5.0, 200, "v4"),
]


def unexpected(found: list[Outcome]) -> list[str]:
    return [outcome.name for outcome in found if not outcome.is_expected]


def test_a_run_in_which_everything_went_well_has_no_unexpected_outcome() -> None:
    assert unexpected(outcomes(AS_EXPECTED, USERS, 0, CLEANLY)) == []


def test_a_short_story_expects_nothing_of_chapters_that_it_does_not_tell() -> None:
    ended = {key: AS_EXPECTED[key] for key in SHORT}
    assert unexpected(outcomes(ended, USERS, 0, CLEANLY, SHORT)) == []
    assert unexpected(outcomes({}, USERS, 0, CLEANLY, SHORT)) == [EXPECTED_ENDS[key][0] for key in SHORT]


@pytest.mark.parametrize("chapter", EXPECTED_ENDS)
def test_a_chapter_that_ended_otherwise_or_was_not_reached_is_unexpected(chapter: str) -> None:
    name = EXPECTED_ENDS[chapter][0]
    assert unexpected(outcomes(AS_EXPECTED | {chapter: "Promoted, v3 is stable"}, USERS, 0, CLEANLY)) == [
        name
    ]
    ended = {key: end for key, end in AS_EXPECTED.items() if key != chapter}
    assert unexpected(outcomes(ended, USERS, 0, CLEANLY)) == [name]


@pytest.mark.parametrize(
    ("more", "name"),
    [
        (Answer("r-4", "u", 4.0, 4.0, 5.0, 200, "v3"), "users' answers from v3"),
        (Answer("r-4", "u", 4.0, 4.0, 5.0, 502, "v1"), "failed, but not at v4"),
        (Answer("r-4", "u", 4.0, 4.0, 5.0, 503, None), "failed, but not at v4"),
        (Answer("r-4", "u", 4.0, 4.0, 5.0, None, None, error="reset"), "requests lost"),
    ],
)
def test_one_request_that_went_wrong_is_unexpected(more: Answer, name: str) -> None:
    assert unexpected(outcomes(AS_EXPECTED, [*USERS, more], 0, CLEANLY)) == [name]


def test_a_v4_that_nobody_reached_proves_nothing() -> None:
    assert unexpected(outcomes(AS_EXPECTED, USERS[:1], 0, CLEANLY)) == ["users' answers from v4"]


@pytest.mark.parametrize("count", [None, 3])
def test_v3_must_say_itself_that_no_live_request_came(count: int | None) -> None:
    assert unexpected(outcomes(AS_EXPECTED, USERS, count, CLEANLY)) == ["the same by v3's own count"]


def test_v3s_own_count_is_the_sum_over_its_lives(tmp_path: Path) -> None:
    assert live_requests_by_own_count("v3", tmp_path) is None
    (tmp_path / "logs").mkdir()
    line = "v{} answered {} live requests and 7 copies"
    (tmp_path / "logs" / "a.log").write_text(f"INFO: hello\n{line.format(3, 2)}\n{line.format(3, 0)}\n")
    (tmp_path / "logs" / "b.log").write_text(f"{line.format(4, 9)}\n{line.format(3, 1)}\n")
    assert live_requests_by_own_count("v3", tmp_path) == 3


def test_agreement_comes_from_every_record_file_below_the_state(tmp_path: Path) -> None:
    for number, direction in ((1, None), (2, "4->9")):
        record = ComparisonRecord(
            at=1.0,
            rollout="default/digits",
            live=Side(version="v2", status=200, latency_ms=1.0),
            shadow=Side(version="v3", status=200, latency_ms=1.0),
            verdict="disagree" if direction else "agree",
            slices={"class": "4"},
            direction=direction,
        )
        folder = tmp_path / "records" / str(number)
        folder.mkdir(parents=True)
        (folder / "records-00000001.jsonl").write_bytes(msgspec.json.encode(record) + b"\n")
    found = agreements(tmp_path)
    assert list(found) == ["v3"]
    assert (found["v3"].pairs, found["v3"].overall, found["v3"].worst_digit) == (2, 0.5, 4)


def test_the_story_removes_only_a_folder_that_a_story_made(tmp_path: Path) -> None:
    mine = tmp_path / "run"
    empty(mine)
    (mine / "state").mkdir()
    empty(mine)
    assert not (mine / "state").exists()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").touch()
    with pytest.raises(SystemExit, match="not from an earlier story"):
        empty(theirs)
    assert (theirs / "thesis.tex").exists()
