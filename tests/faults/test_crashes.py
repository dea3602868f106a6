"""The controller dies at the writes that matter most, in one story after the other; `make faults` tries every write."""

from pathlib import Path

import pytest

from tests.cluster.testbed.cluster import Testbed
from tests.faults.crashes import SIDES, Side, Stage
from tests.faults.scene import Versions
from tests.faults.stories import CANARY

pytestmark = pytest.mark.timeout(600)

ROLLOUTS = ("modelrollouts",)
STATUS = ("modelrollouts/status",)
DEATHS = {
    "the finalizer": {"resources": ROLLOUTS, "nth": 1},
    "the first status": {"resources": STATUS, "nth": 1},
    "the first share": {"resources": STATUS, "says": '"WeightRaised"', "nth": 1},
    "the action's answer": {"resources": ("rolloutactions/status",), "nth": 1},
    "the promotion": {"resources": STATUS, "says": '"Promoted"', "nth": 1},
    "the finalizer's end": {"resources": ROLLOUTS, "says": '"finalizers":[]', "nth": 1},
}


@pytest.fixture
def stage(cluster: Testbed, tmp_path: Path, model_versions: Versions) -> Stage:
    return Stage(cluster, tmp_path, model_versions)


@pytest.mark.parametrize("side", SIDES)
def test_a_canary_ends_as_ever_though_the_controller_dies_at_each_write_that_matters(
    stage: Stage, side: Side
) -> None:
    run = stage.run(f"crash-{side}", CANARY, side, list(DEATHS.values()))
    assert len(run.died_at) == len(DEATHS), [(one.verb, one.resource, one.body) for one in run.died_at]
    assert not run.wrongs, run.wrongs
