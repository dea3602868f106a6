"""Plants one fault at a time in a copy of the tree and asks whether the fast suite notices.

A suite that is green says something only if it turns red when the code is wrong. Every fault is a line of
`controller/core` as somebody might have mistyped or misunderstood it; one that no test notices is a missing test.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[2]
COPIED = ("controller", "router", "headgate", "tests", "pyproject.toml")
TIMES_AS_LONG = 5.0
BESIDES_S = 60.0
"""With a fault a suite may take so many times as long as without, and so much more; then nobody knows."""

Suite = tuple[str, ...]

ANALYSIS_TESTS = "tests/controller/core/analysis"
CORE: tuple[Suite, ...] = (
    ("tests/controller/core", f"--ignore={ANALYSIS_TESTS}", "tests/transcripts"),
    ("tests/controller/reconcile", "tests/properties"),
)
ANALYSIS: tuple[Suite, ...] = ((ANALYSIS_TESTS,), ("tests/controller/reconcile",))
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
    UNDECIDED = "UNDECIDED"
    """The suite did not end in time: the fault made it hang, or the machine was busy."""
    SURVIVED = "SURVIVED"
    BROKEN = "DOES NOT RUN"


def suites_of(fault: Fault) -> tuple[Suite, ...]:
    """The suites that are to notice the fault."""
    return ANALYSIS if fault.file.startswith("analysis/") else CORE


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
    """A copy of the tree to plant in; one fault at a time. `said` is the end of what the suite said last.

    `limits_s` says how long each suite may take with a fault in the tree; `measure` finds that out.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.said = ""
        self.limits_s: dict[Suite, float] = {}
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy(source, folder / name)

    def measure(self, *suites: Suite) -> None:
        """Run the suites on the sound tree, here and now, which sets their limits; AssertionError if one is not green."""
        for suite in suites:
            started = time.monotonic()
            outcome = self._run(suite, None)
            took_s = time.monotonic() - started
            assert outcome is Noticed.SURVIVED, (
                f"the suite is not green without any fault: mend that first\n{self.said}"
            )
            self.limits_s[suite] = TIMES_AS_LONG * took_s + BESIDES_S

    def try_out(self, fault: Fault, *suites: Suite) -> Noticed:
        """Whether one of these suites notices the fault; without any named, those that are about its file."""
        path = self._folder / fault.path
        sound = path.read_text()
        try:
            self._write(path, planted(sound, fault))
            return self.judge(*(suites or suites_of(fault)))
        finally:
            self._write(path, sound)

    def judge(self, *suites: Suite) -> Noticed:
        """What the first suite that notices anything, or does not end, says of the tree as it is."""
        outcomes = (self._run(suite, self.limits_s[suite]) for suite in suites)
        return next((outcome for outcome in outcomes if outcome is not Noticed.SURVIVED), Noticed.SURVIVED)

    def _run(self, suite: Suite, limit_s: float | None) -> Noticed:
        unless = " and ".join(f"not {name}" for name in SLOW)
        command = [sys.executable, "-m", "pytest", *suite, "-x", "-q", "--tb=line", "-p", "no:cacheprovider"]
        command += ["-k", unless, "--hypothesis-seed=0", "-o", "timeout=0"]
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
                timeout=limit_s,
            )
        except subprocess.TimeoutExpired:
            self.said = f"not done after {limit_s:.0f} s"
            return Noticed.UNDECIDED
        self.said = done.stdout[-2000:]
        if "Failed: Timeout" in done.stdout:  # a test that sets its own limit
            return Noticed.UNDECIDED
        return {0: Noticed.SURVIVED, 1: Noticed.CAUGHT}.get(done.returncode, Noticed.BROKEN)

    def _write(self, path: Path, text: str) -> None:
        """Write the file and forget its compiled form: within one second Python would not see that it changed."""
        path.write_text(text)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()


def try_all(faults: tuple[Fault, ...], folder: Path, at_once: int = 2) -> Iterator[tuple[Fault, Noticed]]:
    """Every fault with what came of it, in their order.

    First every garden measures the suites without any fault, at the same time as they will run with one.
    AssertionError if they are not green.
    """
    gardens = [Garden(folder / f"garden-{number}") for number in range(at_once)]
    needed = tuple(dict.fromkeys(suite for fault in faults for suite in suites_of(fault)))
    free: SimpleQueue[Garden] = SimpleQueue()

    def in_a_garden(fault: Fault) -> Noticed:
        garden = free.get()
        try:
            return garden.try_out(fault)
        finally:
            free.put(garden)

    with ThreadPoolExecutor(at_once) as pool:
        for measured in [pool.submit(garden.measure, *needed) for garden in gardens]:
            measured.result()
        for garden in gardens:
            free.put(garden)
        outcomes = [pool.submit(in_a_garden, fault) for fault in faults]
        for fault, outcome in zip(faults, outcomes, strict=True):
            yield fault, outcome.result()
