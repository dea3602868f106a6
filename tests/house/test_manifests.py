"""What is generated is what is committed."""

import pytest

from scripts.manifests import FOLDER, rendered


@pytest.mark.parametrize("name", rendered())
def test_the_generated_manifests_are_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text() == rendered()[name], "out of date: `make manifests` writes it again"


def test_nothing_lies_among_the_generated_manifests_that_is_not_generated() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"kustomization.yaml", *rendered()}
