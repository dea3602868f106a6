"""The rule of tests/conftest.py, tried on small suites in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SUITE = {
    "needs": """
        import pytest

        @pytest.mark.needs("no-such-program")
        def test_a(): ...

        @pytest.mark.needs("no-such-program")
        def test_b(): ...

        @pytest.mark.needs("sh")
        def test_runs_because_sh_is_there(): ...
    """,
    "plain skip": """
        import pytest

        def test_runs(): ...

        def test_skips():
            pytest.skip("not today")
    """,
    "skipped module": """
        import pytest

        pytest.importorskip("no_such_module")
    """,
}


def run(tmp_path: Path, suite: str, *, ci: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = needs(program)\n")
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    lines = SUITE[suite].splitlines()
    (tmp_path / "test_suite.py").write_text("\n".join(line[8:] for line in lines))
    (tmp_path / "test_more.py").write_text("def test_passes(): ...\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_a_missing_program_skips_and_the_end_says_which_how_often_and_how_to_get_it(tmp_path: Path) -> None:
    result = run(tmp_path, "needs", ci="")
    assert result.returncode == 0, result.stdout
    assert "2 passed, 2 skipped" in result.stdout
    assert "NOT TESTED, for want of a program" in result.stdout
    assert "no-such-program: 2 tests. To get it: install it" in result.stdout


def test_in_ci_a_missing_program_is_a_failure(tmp_path: Path) -> None:
    result = run(tmp_path, "needs", ci="true")
    assert result.returncode == 1, result.stdout
    assert "2 passed, 2 errors" in result.stdout
    assert "no-such-program is not on PATH" in result.stdout


@pytest.mark.parametrize("suite", ["plain skip", "skipped module"])
def test_in_ci_any_skip_fails_the_run(tmp_path: Path, suite: str) -> None:
    result = run(tmp_path, suite, ci="true")
    assert result.returncode == 1, result.stdout
    assert "SKIPPED IN CI, so this run has failed" in result.stdout


@pytest.mark.parametrize("ci", ["", "false", "0"])
def test_elsewhere_a_skip_is_no_failure(tmp_path: Path, ci: str) -> None:
    assert run(tmp_path, "plain skip", ci=ci).returncode == 0
