"""What makes a pod template another version."""

from typing import Any

import pytest

from controller.crd.revisions import revision_of

TEMPLATE: dict[str, Any] = {
    "metadata": {"annotations": {"headgate.dev/model-digest": "sha256:aa"}},
    "spec": {"containers": [{"name": "model", "image": "registry.example/fraud:8"}]},
}


def annotated(digest: str) -> dict[str, Any]:
    return {**TEMPLATE, "metadata": {"annotations": {"headgate.dev/model-digest": digest}}}


def test_the_same_template_is_the_same_version() -> None:
    assert revision_of("fraud", TEMPLATE, 8080, {}) == revision_of("fraud", annotated("sha256:aa"), 8080, {})


def test_another_model_behind_the_same_image_is_another_version() -> None:
    one, other = (revision_of("fraud", annotated(digest), 8080, {}) for digest in ("sha256:aa", "sha256:bb"))
    assert one.identity != other.identity
    assert one.name != other.name


@pytest.mark.parametrize("changed", [{"port": 9000}, {"secrets": {"key": "1f"}}])
def test_another_port_or_secret_is_another_version(changed: dict[str, Any]) -> None:
    port, secrets = changed.get("port", 8080), changed.get("secrets")
    other = revision_of("fraud", TEMPLATE, port, {}, secrets)
    assert other.identity != revision_of("fraud", TEMPLATE, 8080, {}).identity
