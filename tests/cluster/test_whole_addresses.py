"""What a rollout's author names is asked in the controller's place: not everything that it could reach is."""

from pathlib import Path

import pytest

from tests.cluster.testbed.cluster import Testbed
from tests.cluster.whole import Whole, install, rollout, until

METADATA = {"name": "v1", "url": "http://169.254.169.254", "readiness": {"httpGet": {"path": "/latest/"}}}


@pytest.mark.timeout(200)
def test_a_version_at_a_clouds_metadata_is_not_asked_and_the_status_says_why_and_what_allows_it(
    cluster: Testbed, namespace: str, tmp_path: Path
) -> None:
    install(cluster)
    with Whole(cluster, namespace, tmp_path) as whole:
        whole.controller.start()
        whole.apply(rollout([METADATA]))
        said = "it is not asked: 169.254.169.254 is link-local, where clouds keep credentials"
        until("it is said", lambda: said in str(whole.status()), 90, whole.says)
        assert "--allow-address 169.254.169.254" in str(whole.status())
