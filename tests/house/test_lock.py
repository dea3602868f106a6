"""The lock installs the same packages everywhere, from whatever index the machine has."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
problems = runpy.run_path(str(ROOT / "scripts" / "check_lock.py"))["problems"]

PYPROJECT = """
[build-system]
requires = ["hatchling"]
[project]
dependencies = ["click>=8.1", "Some.Name>=2"]
[project.optional-dependencies]
dev = ["pytest>=8"]
"""
LOCK = """\
click==8.2.0 \\
    --hash=sha256:aa
hatchling==1.0 \\
    --hash=sha256:bb
pytest==8.3 ; python_full_version < '3.12' \\
    --hash=sha256:cc
    # via headgate
pytest==9.0 ; python_full_version >= '3.12' \\
    --hash=sha256:cc
some-name==2.1 \\
    --hash=sha256:dd
"""


def test_the_lock_of_this_repository_is_sound() -> None:
    assert problems((ROOT / "pyproject.toml").read_text(), (ROOT / "requirements.lock").read_text()) == []


def test_a_sound_lock_has_no_problem() -> None:
    assert problems(PYPROJECT, LOCK) == []


@pytest.mark.parametrize(
    ("good", "bad", "sentence"),
    [
        (
            "click==8.2.0",
            "--index-url https://example.invalid/simple\nclick==8.2.0",
            "line 1 names an address",
        ),
        ("click==8.2.0", "--extra-index-url=mirror\nclick==8.2.0", "line 1 names an address"),
        ("click==8.2.0 \\", "click==8.2.0 @ file:///tmp/click.whl \\", "line 1 names an address"),
        ("--hash=sha256:bb", "# via nothing", "hatchling==1.0 has no hash"),
        ("some-name==2.1", "other-name==2.1", "Some.Name>=2 of pyproject.toml is not pinned"),
        ("pytest==8.3", "pytest==7.4", "pytest is pinned at 7.4, pyproject.toml asks for >=8"),
    ],
)
def test_each_broken_promise_is_a_sentence(good: str, bad: str, sentence: str) -> None:
    assert any(sentence in problem for problem in problems(PYPROJECT, LOCK.replace(good, bad)))
