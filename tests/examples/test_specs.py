"""The rollout specs of the examples are right, and those of one rollout agree on what its versions are."""

from pathlib import Path

import pytest

from controller.crd import Parsed, load_documents, parse, version_documents

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda file: file.name)
def test_every_spec_is_accepted(file: Path) -> None:
    documents = load_documents(file.read_bytes())
    assert isinstance(documents, tuple), documents
    for document in documents:
        parsed = parse(document.content)
        assert isinstance(parsed, Parsed), parsed


def test_both_digits_specs_mean_the_same_versions() -> None:
    found = []
    for name in ("rollout.yaml", "bluegreen.yaml"):
        documents = load_documents((EXAMPLES / "digits" / name).read_bytes())
        assert isinstance(documents, tuple), documents
        found.append(version_documents(documents[0].content))
    assert found[0] == found[1]
    assert len(found[0]) == 5
