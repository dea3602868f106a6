"""What the README and the documents show works: their specs are accepted, their commands and files exist."""

import re
from pathlib import Path

import click
import pytest

from controller.crd import Parsed, load_documents, parse
from headgate.cli import root

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/*.yaml")),
]


def test_every_spec_in_the_readme_is_accepted() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        documents = load_documents(block)
        assert isinstance(documents, tuple), documents
        assert isinstance(parse(documents[0].content), Parsed), parse(documents[0].content)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_is_named_exists(document: Path) -> None:
    named = set(re.findall(r"[`$#/] ?headgate ([a-z][a-z-]+)\b", document.read_text()))
    verbs = set(root().list_commands(click.Context(root())))
    assert named <= verbs, named - verbs


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if path.suffix == ".md"], ids=lambda path: path.name
)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        assert target.startswith("https://") or (document.parent / target).exists(), target
