"""Every transcript tells what is decided, to the letter; and a restart at any instant changes nothing of it."""

import os
from pathlib import Path

import pytest

from tests.transcripts.narrator import Narrator, rewrite

TRANSCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 10


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_transcript_tells_what_is_decided(path: Path) -> None:
    text = path.read_text()
    told = rewrite(text)
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        path.write_text(told)
        return
    assert text == told


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_a_restart_before_every_decision_changes_nothing(path: Path) -> None:
    text = path.read_text()
    assert rewrite(text, Narrator(restarts_always=True)) == text


def test_a_changed_decision_shows_as_a_difference() -> None:
    changed = (
        Path(__file__)
        .with_name("canary-promoted.txt")
        .read_text()
        .replace("errors says Pass", "errors says Fail")
    )
    assert rewrite(changed) != changed
