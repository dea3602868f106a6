"""What is generated is what is committed."""

import pytest

from scripts.manifests import CHART, CRDS, ROOT, rendered

RENDERED = rendered()
BY_HAND = {
    CRDS: {"kustomization.yaml"},
    CHART / "crds": set(),
    CHART / "templates": {"NOTES.txt", "networkpolicy.yaml"},
}


@pytest.mark.parametrize("path", RENDERED)
def test_the_generated_manifests_are_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text() == RENDERED[path], "out of date: `make manifests` writes it again"


@pytest.mark.parametrize("folder", BY_HAND, ids=str)
def test_nothing_lies_among_the_generated_manifests_that_is_not_known(folder: str) -> None:
    generated = {path.rpartition("/")[2] for path in RENDERED if path.startswith(f"{folder}/")}
    assert {path.name for path in (ROOT / folder).iterdir()} == generated | BY_HAND[folder]
