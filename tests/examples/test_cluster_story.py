"""The story on a cluster: the rollouts are those of the folder, with a URL where a version is a process."""

from pathlib import Path

import pytest
import yaml
from cluster import NAMESPACE, Cluster, address_in, versions_of

from controller.crd import Parsed, parse
from controller.crd.places import Place

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.mark.parametrize("name", ["rollout.yaml", "bluegreen.yaml"])
def test_each_version_is_brought_by_its_url_and_everything_else_is_as_written(
    name: str, tmp_path: Path
) -> None:
    names = versions_of(DIGITS / name)
    urls = {version: f"http://127.0.0.1:{9000 + number}" for number, version in enumerate(names)}
    story = Cluster(tmp_path, "digits", _urls=urls)
    brought = yaml.safe_load(story.brought(DIGITS / name).read_text())
    written = yaml.safe_load((DIGITS / name).read_text())
    assert isinstance(parse(brought, place=Place.CLUSTER), Parsed)
    assert brought["metadata"] == {"name": "digits", "namespace": NAMESPACE}
    assert {version["name"]: version["url"] for version in brought["spec"].pop("versions")} == urls
    del written["spec"]["versions"]
    assert brought["spec"] == written["spec"]


def test_a_model_servers_address_is_what_it_says(tmp_path: Path) -> None:
    log = tmp_path / "v1.log"
    log.write_text("INFO: started\n")
    assert address_in(log) == ""
    log.write_text("INFO: started\nINFO: Uvicorn running on http://127.0.0.1:41234 (Press CTRL+C to quit)\n")
    assert address_in(log) == "http://127.0.0.1:41234"


def test_a_story_that_never_began_has_nothing_to_stop(tmp_path: Path) -> None:
    assert Cluster(tmp_path, "digits").stop() == {"headgate router": None, "headgate controller": None}
