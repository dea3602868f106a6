"""`make` is the front door: what it promises exists, and a machine that lacks something is told in a sentence."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make") or "make"


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MAKE, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )


def promised() -> list[str]:
    return re.findall(r"^  make (\S+)", make().stdout, re.MULTILINE)


def test_make_alone_explains_every_target_of_the_readme() -> None:
    documented = set(re.findall(r"`make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert documented
    assert documented <= set(promised())


def test_every_promised_target_exists() -> None:
    assert {"run", "test", "check", "help"} <= set(promised())
    for target in promised():
        planned = make("--dry-run", "--assume-old=requirements.lock", target)
        assert planned.returncode == 0, planned.stderr
        assert planned.stdout


def a_python(folder: Path, name: str, *, fits: bool, version: str) -> None:
    """An interpreter as far as scripts/find-python looks at one: it answers two questions."""
    program = folder / name
    answer = "exit 0" if fits else "exit 1"
    program.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) {answer} ;; *) echo {version} ;; esac\n')
    program.chmod(0o755)


def find_python(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(folder), **variables}
    script = ["/bin/sh", str(ROOT / "scripts" / "find-python")]
    return subprocess.run(script, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cat = shutil.which("cat")
    assert cat is not None
    os.symlink(cat, tmp_path / "cat")
    return tmp_path


def test_the_first_python_that_fits_is_taken(folder: Path) -> None:
    a_python(folder, "python3", fits=False, version="3.10")
    a_python(folder, "python3.12", fits=True, version="3.12")
    a_python(folder, "python3.11", fits=True, version="3.11")
    assert find_python(folder).stdout.strip() == str(folder / "python3.12")


def test_the_python_that_one_names_is_the_only_one_tried(folder: Path) -> None:
    a_python(folder, "python3", fits=True, version="3.12")
    a_python(folder, "mine", fits=False, version="3.9")
    refused = find_python(folder, PYTHON="mine")
    assert refused.returncode == 1
    assert "mine is Python 3.9: too old" in refused.stderr


@pytest.mark.parametrize(
    ("version", "sentence"),
    [("3.10", "3.10: too old"), ("2.7", "2.7: too old"), ("3.12", "apt-get install python3.12-venv")],
)
def test_a_python_that_does_not_fit_is_named_with_what_it_lacks(
    folder: Path, version: str, sentence: str
) -> None:
    a_python(folder, "python3.11", fits=False, version=version)
    refused = find_python(folder)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert sentence in refused.stderr
    assert "apt-get install python3" in refused.stderr


def test_without_the_python_one_named_the_sentence_says_so(folder: Path) -> None:
    refused = find_python(folder, PYTHON="no-such-python")
    assert refused.returncode == 1
    assert "no-such-python is not on PATH" in refused.stderr
