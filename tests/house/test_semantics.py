"""docs/semantics.md promises nothing that no test or transcript proves."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "semantics.md"
LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


SITUATIONS = (
    "first deployment",
    "new version in the middle of a rollout",
    "target set back to stable",
    "rollback after promotion",
    "stages edited in the middle of a rollout",
    "rollback",
    "stable itself is broken",
    "candidate has no ready endpoint",
    "a new version is slow at first",
    "stable loses its endpoints",
    "one of several replicas dies",
    "a replica has to go",
    "the controller dies while replicas are replaced",
    "pause",
    "a check fails",
    "metrics missing, stale, NaN, provider down",
    "both versions degrade together",
    "a shadow answers otherwise than stable",
    "approval expires",
    "a step's clock",
    "the guard tripped at a router",
    "someone edits the route or replicas by hand",
    "a router is pinned by hand",
    "a router refuses its plan, is silent, or lags",
    "rollout deleted",
    "controller restarted at any instant",
    "outside its windows, or in a freeze",
    "clocks change",
    "a hook before something",
    "a rollback while a hook is asked",
    "the controller dies while a hook is under way",
    "no controller, and it burns",
    "an existing Service in front",
    "a running Deployment is adopted",
    "two controllers",
    "two rollouts on one target",
    "scaled to zero",
    "requests that match (A/B)",
    "several candidates (A/B/n)",
    "several shadows",
    "another one of those that take part becomes the target",
    "replicas are missing",
    "a router is behind, replicas could go",
    "a version leaves",
    "a stored status that cannot be",
)
"""What may happen, each a row of the first table."""

WORDS = (
    "version identity",
    "stable",
    "error of a version",
    "the self-selected",
    "where stable has no traffic",
    "strict is a warning",
    "clocks",
    "inconclusive",
    "fresh",
    "rollback",
    "promote",
    "skip-stage",
    "undo",
    "target and rivals",
    "retry",
    "resume",
    "approve",
    "risk budget",
    "dry run",
    "capacity",
    "replica",
    "restart",
    "long connections",
    "`traffic.httpRoute`",
    "order under fire",
)
"""What may be misunderstood, each a row of the second table."""


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, without the heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {index - 1 for index, line in enumerate(lines) if set(line) <= set("|-")}
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for index, line in enumerate(lines)
        if index not in heads and not set(line) <= set("|-")
    ]


def section(text: str, heading: str) -> str:
    """What stands below the heading, until the next of its rank."""
    _, _, below = text.partition(f"{heading}\n")
    return below.partition("\n# ")[0]


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


@pytest.mark.parametrize(
    ("heading", "promised"), [("# What happens when", SITUATIONS), ("# Words with one meaning", WORDS)]
)
def test_every_promise_is_a_row_of_its_table_once_and_every_row_is_a_promise(
    heading: str, promised: tuple[str, ...]
) -> None:
    named = [row[0] for row in rows(section(DOCUMENT.read_text(), heading))]
    assert sorted(named) == sorted(promised)


def test_a_section_ends_where_the_next_begins() -> None:
    text = "# One\n| a | b |\n|---|---|\n| 1 | 2 |\n## more\n| 3 | 4 |\n# Two\n| 5 | 6 |\n"
    assert rows(section(text, "# One")) == [["1", "2"], ["3", "4"]]
    assert rows(section(text, "# Two")) == [["5", "6"]]
    assert rows(section(text, "# Three")) == []


def test_a_proof_that_does_not_exist_is_noticed() -> None:
    assert faults(["a", "b", "[gone](../tests/transcripts/gone.txt)"])
    assert faults(["a", "b", "[guard](../tests/transcripts/approval.txt)"])
    assert faults(["a", "b", "[test_nothing_of_the_kind](../tests/house/test_semantics.py)"])
    assert faults(["a", "b", ""])
    assert faults(["a", "b", "surely"])
