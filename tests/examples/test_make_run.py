"""The story that `make run` tells, whole: real models, real router, real controller, real users."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
FIGURES = {"outcomes", "requests", "auto_rollback_s", "operator_rollback_ms", "agreement"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder with a short path: the router's sockets live below it, and their paths have at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="hg-", dir="/tmp") as made:
        yield Path(made)


@pytest.mark.timeout(900)
def test_every_outcome_is_the_expected_one_and_no_request_is_lost(folder: Path) -> None:
    command = [
        sys.executable,
        DIGITS / "story.py",
        "--run",
        folder / "run",
        "--summary",
        folder / "summary.json",
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=850, cwd=folder)
    log = folder / "run" / "headgate-up.log"
    assert told.returncode == 0, told.stdout + told.stderr + (log.read_text() if log.exists() else "")
    figures = json.loads((folder / "summary.json").read_text())
    assert set(figures) == FIGURES
    assert all(outcome["seen"] == outcome["expected"] for outcome in figures["outcomes"])
    assert figures["requests"]["lost"] == 0
    assert figures["requests"]["sent"] > 1_000
    assert figures["agreement"]["v2"]["overall"] > 0.95
    assert figures["agreement"]["v3"]["overall"] < 0.85
    assert figures["agreement"]["v3"]["worst_digit"] == 4
    assert figures["auto_rollback_s"] > 0
    assert figures["operator_rollback_ms"] >= 0
