"""The story that `make run` tells, whole: real models, real router, real controller, real users."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
FIGURES = {"outcomes", "requests", "auto_rollback_s", "operator_rollback_ms", "agreement"}


@pytest.mark.timeout(900)
def test_every_outcome_is_the_expected_one_and_no_request_is_lost(tmp_path: Path) -> None:
    command = [
        sys.executable,
        DIGITS / "story.py",
        "--run",
        tmp_path / "run",
        "--summary",
        tmp_path / "summary.json",
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=850, cwd=tmp_path)
    log = tmp_path / "run" / "headgate-up.log"
    assert told.returncode == 0, told.stdout + told.stderr + (log.read_text() if log.exists() else "")
    figures = json.loads((tmp_path / "summary.json").read_text())
    assert set(figures) == FIGURES
    assert all(outcome["seen"] == outcome["expected"] for outcome in figures["outcomes"])
    assert figures["requests"]["lost"] == 0
    assert figures["requests"]["sent"] > 1_000
    assert figures["agreement"]["v2"]["overall"] > 0.95
    assert figures["agreement"]["v3"]["overall"] < 0.85
    assert figures["agreement"]["v3"]["worst_digit"] == 4
    assert figures["auto_rollback_s"] > 0
    assert figures["operator_rollback_ms"] >= 0
