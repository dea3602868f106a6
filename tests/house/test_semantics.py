"""docs/semantics.md promises nothing that no test or transcript proves."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "semantics.md"
LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, without the heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {index - 1 for index, line in enumerate(lines) if set(line) <= set("|-")}
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for index, line in enumerate(lines)
        if index not in heads and not set(line) <= set("|-")
    ]


def faults(row: list[str]) -> list[str]:
    """What is wrong with the row's proofs, in words."""
    links = LINK.findall(row[-1])
    if not links:
        return [] if re.match(r"not yet: .*issue \d", row[-1]) else [f"{row[0]}: nothing proves it"]
    found = []
    for name, target in links:
        path = (DOCUMENT.parent / target).resolve()
        if not path.is_file():
            found.append(f"{row[0]}: there is no {target}")
        elif path.suffix == ".txt" and path.stem != name:
            found.append(f"{row[0]}: {name} leads to {path.name}")
        elif path.suffix == ".py" and not re.search(
            rf"^\s*(async )?def {name}\(", path.read_text(), re.MULTILINE
        ):
            found.append(f"{row[0]}: there is no {name} in {target}")
    return found


@pytest.mark.parametrize("row", rows(DOCUMENT.read_text()), ids=lambda row: row[0])
def test_the_row_is_proved_by_what_it_names_or_says_which_issue_brings_it(row: list[str]) -> None:
    assert len(row) == 3
    assert not faults(row)


def test_every_situation_of_the_table_is_there() -> None:
    assert len(rows(DOCUMENT.read_text())) >= 45


def test_a_proof_that_does_not_exist_is_noticed() -> None:
    assert faults(["a", "b", "[gone](../tests/transcripts/gone.txt)"])
    assert faults(["a", "b", "[guard](../tests/transcripts/approval.txt)"])
    assert faults(["a", "b", "[test_nothing_of_the_kind](../tests/house/test_semantics.py)"])
    assert faults(["a", "b", ""])
    assert faults(["a", "b", "surely"])
