"""Which branches of the decision core a run of the simulator never took.

A branch that nothing in the made-up world reaches is either dead or untried, so it is a failure; unless it stands
in REVIEWED, with the reason.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).parents[2]
CORE = ROOT / "controller" / "core"

REVIEWED_FILES = {
    "schedule.py": "time zones, their changes and far horizons: tests/controller/core/test_schedule.py",
    "invariants.py": "a violation would be a bug; tests/controller/core/test_invariants.py makes each of them",
}

NARROWED = "tells the type checker what the callers have made sure of"

REVIEWED: dict[tuple[str, str], str] = {
    ("draft.py", "while len(others) >= FAILED_MAX:"): "32 failures: tests/controller/core/test_draft.py",
    ("draft.py", "if stable is None:"): NARROWED,
    ("draft.py", "if candidate is None or candidate.failed is None:"): NARROWED,
    ("draft.py", "if candidate is None or stable is None:"): NARROWED,
    ("explain.py", "if status.stable is None:"): NARROWED,
    ("explain.py", "if stable is None:"): NARROWED,
    ("plan.py", "if status.stable is not None:"): NARROWED,
    ("rivals.py", "if status.stable is not None:"): NARROWED,
    (
        "trial.py",
        "for rival in draft.status.rivals:",
    ): "whoever no step to come names has left before: tests/controller/core/test_rivals.py restores one that has not",
    (
        "hooks.py",
        "if asked.answer is not Answer.SUCCEEDED:",
    ): "a person goes past a hook that has not answered: tests/controller/core/test_rivals.py",
    (
        "explain.py",
        "if target is not None and target.name == status.stable.name and target.identity != status.stable.identity:",
    ): "redefining stable is refused at the edge: tests/controller/crd/test_parse.py",
    ("explain.py", "case NoSlower(quantile, slower):"): "the last of a closed union",
    (
        "plan.py",
        "if retiring.name not in found and len(found) < 8:",
    ): "nine versions at once: tests/controller/core/test_plan.py",
    (
        "trial.py",
        "if is_failed(status, stable.identity) and drafts.weight_of(draft, candidate.name):",
    ): "rare; found by seed 0 before it was mended, now in tests/controller/core/test_trial.py",
}
"""By file and the text of the line that the branch leaves from."""


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


def never_taken(data_files: Iterable[Path]) -> Iterator[tuple[str, int, str, str]]:
    """File, line and text of each branch that no run took, and why that is well, "" if it is not."""
    with tempfile.TemporaryDirectory() as folder:
        watch = watcher(Path(folder) / "all")
        watch.combine([str(path) for path in data_files], keep=True)
        report = Path(folder) / "report.json"
        watch.json_report(outfile=str(report))
        found = json.loads(report.read_text())["files"]
    for name, file in sorted(found.items()):
        lines = (
            (ROOT / name).read_text().splitlines()
            if not Path(name).is_absolute()
            else Path(name).read_text().splitlines()
        )
        short = Path(name).name
        gone = {(start, end) for start, end in file["missing_branches"]}
        for start, end in sorted(gone):
            text = lines[start - 1].strip()
            to = lines[abs(end) - 1].strip() if end > 0 else "the end of the function"
            yield short, start, f"{text}  →  {to}", REVIEWED.get((short, text), "")
        if not gone and not file["executed_lines"]:
            yield short, 1, "nothing of it was run", ""
