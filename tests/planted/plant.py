"""Plants one fault at a time in a copy of the tree and asks whether the fast suite notices.

A suite that is green says something only if it turns red when the code is wrong. Every fault is a line of
`controller/core` as somebody might have mistyped or misunderstood it; one that no test notices is a missing test.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[2]
COPIED = ("controller", "router", "headgate", "tests", "pyproject.toml")
LIMIT_S = 240.0
"""A suite that takes longer than this hangs, which is noticed too."""

ANALYSIS_TESTS = "tests/controller/core/analysis"
CORE = (
    ("tests/controller/core", f"--ignore={ANALYSIS_TESTS}", "tests/transcripts"),
    ("tests/controller/reconcile", "tests/properties"),
)
ANALYSIS = ((ANALYSIS_TESTS,), ("tests/controller/reconcile",))
"""What is run, the fastest first; the second only when the first notices nothing."""

SLOW = (
    "over_every_path",
    "misses_the_truth",
    "whatever_it_is_given_it_answers",
    "no_numbers_make_it_raise",
    "five_times_the_errors",
    "the_seeded_runs_reach",
)
"""Tests that prove much and take long; the faults must be noticed without them."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault: in `file`, `line` becomes `wrong`; `harm` is what a user would see.

    `file` is below controller/core, or below controller if it begins with `reconcile/`.

    Indentation is left out of both lines. `line` must be found exactly once, in the function or class `inside` if
    that is given: a fault that no longer fits the code is an error, not a pass. `is_sample`: `make test` tries it.
    """

    file: str
    line: str
    wrong: str
    harm: str
    inside: str = ""
    is_sample: bool = False

    @property
    def path(self) -> str:
        return (
            f"controller/{self.file}"
            if self.file.startswith("reconcile/")
            else f"controller/core/{self.file}"
        )


class Stale(Exception):
    """The line of a fault is not in its file, or more than once."""


class Noticed(StrEnum):
    CAUGHT = "caught"
    HANGS = "hangs, caught"
    SURVIVED = "SURVIVED"
    BROKEN = "DOES NOT RUN"


def planted(text: str, fault: Fault) -> str:
    """The text of the file with the fault in it; raises Stale."""
    lines = text.splitlines()
    span = _span(lines, fault)
    found = [index for index in span if lines[index].strip() == fault.line]
    if len(found) != 1:
        where = f"{fault.path}{f', {fault.inside}' if fault.inside else ''}"
        raise Stale(
            f"{where}: {len(found)} lines are `{fault.line}`, one is needed: bring the fault up to date"
        )
    before = lines[found[0]]
    lines[found[0]] = before[: len(before) - len(before.lstrip())] + fault.wrong
    return "\n".join(lines) + "\n"


def _span(lines: list[str], fault: Fault) -> range:
    """The lines of the function or class `inside`, or all."""
    if not fault.inside:
        return range(len(lines))
    starts = [
        index
        for index, line in enumerate(lines)
        if line.strip().startswith(
            (f"def {fault.inside}(", f"class {fault.inside}:", f"class {fault.inside}(")
        )
    ]
    if len(starts) != 1:
        raise Stale(f"{fault.path}: {fault.inside} is defined {len(starts)} times")
    depth = len(lines[starts[0]]) - len(lines[starts[0]].lstrip())
    for index in range(starts[0] + 1, len(lines)):
        line = lines[index]
        if line.strip() and len(line) - len(line.lstrip()) <= depth and not line.strip().startswith(")"):
            return range(starts[0], index)
    return range(starts[0], len(lines))


class Garden:
    """A copy of the tree to plant in; one fault at a time. `said` is the end of what the suite said last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.said = ""
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy(source, folder / name)

    def try_out(self, fault: Fault) -> Noticed:
        """Whether the suite notices the fault."""
        path = self._folder / fault.path
        sound = path.read_text()
        try:
            self._write(path, planted(sound, fault))
            return self.judge(*(ANALYSIS if fault.file.startswith("analysis/") else CORE))
        finally:
            self._write(path, sound)

    def judge(self, *suites: tuple[str, ...]) -> Noticed:
        """What the first suite that notices anything says of the tree as it is."""
        outcomes = (self._run(suite) for suite in suites)
        return next((outcome for outcome in outcomes if outcome is not Noticed.SURVIVED), Noticed.SURVIVED)

    def _run(self, suite: tuple[str, ...]) -> Noticed:
        unless = " and ".join(f"not {name}" for name in SLOW)
        command = [sys.executable, "-m", "pytest", *suite, "-x", "-q", "--tb=line", "-p", "no:cacheprovider"]
        command += ["-k", unless, "--hypothesis-seed=0", "-o", "timeout=100"]
        command += ["-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"]
        environment = {**os.environ, "HEADGATE_QUICK": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        environment.pop("UPDATE_TRANSCRIPTS", None)
        try:
            done = subprocess.run(
                command,
                cwd=self._folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            return Noticed.HANGS
        self.said = done.stdout[-2000:]
        return {0: Noticed.SURVIVED, 1: Noticed.CAUGHT}.get(done.returncode, Noticed.BROKEN)

    def _write(self, path: Path, text: str) -> None:
        """Write the file and forget its compiled form: within one second Python would not see that it changed."""
        path.write_text(text)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()


def try_all(faults: tuple[Fault, ...], folder: Path, at_once: int = 2) -> Iterator[tuple[Fault, Noticed]]:
    """Every fault with what came of it, in their order. The suite must be green without any: AssertionError if not."""
    gardens: SimpleQueue[Garden] = SimpleQueue()
    said: list[str] = []
    for number in range(at_once):
        gardens.put(Garden(folder / f"garden-{number}"))

    def in_a_garden(fault: Fault | None) -> Noticed:
        garden = gardens.get()
        try:
            if fault is not None:
                return garden.try_out(fault)
            outcome = garden.judge(*CORE, *ANALYSIS)
            said.append(garden.said)
            return outcome
        finally:
            gardens.put(garden)

    with ThreadPoolExecutor(at_once) as pool:
        sound = pool.submit(in_a_garden, None)
        outcomes = [pool.submit(in_a_garden, fault) for fault in faults]
        if sound.result() is not Noticed.SURVIVED:
            pool.shutdown(cancel_futures=True)
            raise AssertionError(f"the suite is not green without any fault: mend that first\n{said[0]}")
        for fault, outcome in zip(faults, outcomes, strict=True):
            yield fault, outcome.result()
