"""Which branches of the decision core a run of the simulator never took.

A branch that nothing in the made-up world reaches is either dead or untried, so it is a failure; unless it stands
in REVIEWED, with the reason.
"""

import ast
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).parents[2]
CORE = ROOT / "controller" / "core"

REVIEWED_FILES = {
    "schedule.py": "time zones, their changes and far horizons: tests/controller/core/test_schedule.py",
    "invariants.py": "a violation would be a bug; tests/controller/core/test_invariants.py makes each of them",
}

NARROWED = "tells the type checker what the callers have made sure of"

REVIEWED: dict[tuple[str, str, str], str] = {
    (
        "draft.py",
        "latch",
        "while len(others) >= FAILED_MAX:",
    ): "32 failures: tests/controller/core/test_draft.py",
    ("draft.py", "set_weight", "if stable is None:"): NARROWED,
    ("draft.py", "take_away", "if candidate is None or candidate.failed is None:"): NARROWED,
    ("draft.py", "end_trial", "if candidate is None or stable is None:"): NARROWED,
    ("explain.py", "place", "if status.stable is None:"): NARROWED,
    ("explain.py", "_first", "if stable is None:"): NARROWED,
    ("plan.py", "_versions", "if status.stable is not None:"): NARROWED,
    ("rivals.py", "_wanted", "if status.stable is not None:"): NARROWED,
    (
        "trial.py",
        "_promote",
        "for rival in draft.status.rivals:",
    ): "whoever no step to come names has left before: tests/controller/core/test_rivals.py restores one that has not",
    (
        "hooks.py",
        "beside",
        "if asked.answer is not Answer.SUCCEEDED:",
    ): "a person goes past a hook that has not answered: tests/controller/core/test_rivals.py",
    (
        "hooks.py",
        "beside",
        "if asked is None:",
    ): "nothing of ours forgets what was asked: tests/controller/core/test_rivals.py restores a status that did",
    ("explain.py", "limit_text", "case Within(of=of, at=at):"): "the last of a closed union",
}
"""By file, function and the text of the line that the branch leaves from."""


def watcher(data_file: Path) -> Coverage:
    """Watches the branches of the core, all but the analysis, whose own tests are exact."""
    watch = Coverage(
        data_file=str(data_file),
        branch=True,
        include=[f"{CORE}/*.py"],
        omit=[f"{CORE}/analysis/*", *(f"{CORE}/{name}" for name in REVIEWED_FILES)],
        config_file=False,
    )
    watch.exclude("assert_never")
    watch.exclude("case _:")
    return watch


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch that no run took, where it leaves from and where it would have led."""

    file: str
    function: str
    line: int
    text: str
    to: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What stands in REVIEWED for it."""
        return self.file, self.function, self.text

    @property
    def reason(self) -> str:
        """Why it is well that it was never taken, "" if it is not."""
        return REVIEWED.get(self.key, "")

    def __str__(self) -> str:
        return f"{self.file}:{self.line}  {self.function}: {self.text}  →  {self.to}"


def never_taken(data_files: Iterable[Path]) -> Iterator[Branch]:
    """Each branch that no run took."""
    with tempfile.TemporaryDirectory() as folder:
        watch = watcher(Path(folder) / "all")
        watch.combine([str(path) for path in data_files], keep=True)
        report = Path(folder) / "report.json"
        watch.json_report(outfile=str(report))
        found = json.loads(report.read_text())["files"]
    for name, file in sorted(found.items()):
        source = (ROOT / name).read_text()  # an absolute name stays what it is
        lines, functions = source.splitlines(), functions_of(source)
        short = Path(name).name
        for start, end in sorted({(start, end) for start, end in file["missing_branches"]}):
            to = lines[end - 1].strip() if end > 0 else "the end of the function"
            yield Branch(short, functions.get(start, ""), start, lines[start - 1].strip(), to)
        if not file["missing_branches"] and not file["executed_lines"]:
            yield Branch(short, "", 1, "the whole file", "nothing of it was run")


def functions_of(source: str) -> dict[int, str]:
    """By line number the name of the innermost function around it; a line outside of all is not there."""
    found: dict[int, str] = {}
    for node in ast.walk(ast.parse(source)):  # outer functions come before those inside them
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found |= dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), node.name)
    return found


def unused(branches: Iterable[Branch]) -> list[tuple[str, str, str]]:
    """The entries of REVIEWED that excuse none of these: the line is gone, or the branch is taken now."""
    return sorted(set(REVIEWED) - {branch.key for branch in branches})
