"""The story that `make run-kube` tells, without its last two chapters: a real Kubernetes API, models by URL, kubectl."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.fixtures import ALSO_NEEDED
from tests.cluster.testbed import binaries

ROOT = Path(__file__).parents[2]
STORY = ROOT / "examples" / "digits" / "story.py"


@pytest.mark.needs(*binaries.PACKAGES, *ALSO_NEEDED)
@pytest.mark.timeout(900)
def test_every_outcome_is_the_expected_one_and_no_request_is_lost(tmp_path: Path) -> None:
    """On a testbed of its own, as the target has: it installs what all namespaces of a cluster share."""
    run, summary = tmp_path / "run", tmp_path / "summary.json"
    command = [sys.executable, "-m", "tests.cluster.testbed", sys.executable, STORY, "--cluster", "--short"]
    told = subprocess.run(
        [*command, "--run", run, "--summary", summary],
        capture_output=True, text=True, check=False, timeout=850, cwd=ROOT,
    )  # fmt: skip
    logs = "".join(log.read_text(errors="replace")[-3000:] for log in run.glob("state/logs/*.log"))
    assert told.returncode == 0, told.stdout + told.stderr + logs
    figures = json.loads(summary.read_text())
    assert [outcome["seen"] for outcome in figures["outcomes"]] == [
        outcome["expected"] for outcome in figures["outcomes"]
    ]
    assert figures["requests"]["lost"] == 0
    assert figures["requests"]["sent"] > 1_000
    assert figures["auto_rollback_s"] > 0
