"""Headgate's main job on real models, live in a terminal; `make run` calls this, `make run-kube` on a Kubernetes API.

A good version is shadowed, ramped and promoted; a wrong one is stopped before any user saw an answer of it; one that
breaks under live traffic is rolled back; a blue-green rollout flips, and an operator takes it back. It drives
Headgate only by its command, measures only what users got and what the observer recorded, and ends with 0 only if
every outcome was the expected one.
"""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import measure
import msgspec
import train
from cluster import Cluster
from command import Headgate, Local, Unexpected
from rich import box
from rich.table import Table
from screen import Screen, Users
from traffic import Answer, answers_of, summarise

from headgate.wire.record import ComparisonRecord

HERE = Path(__file__).parent
ROLLOUT = "digits"
RATE = 200
USERS = 2_000
TRAFFIC_MAX_S = 600
WATCH_THE_FLIP_S = 4.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One thing that must come out as expected."""

    name: str
    expected: str
    seen: str

    @property
    def is_expected(self) -> bool:
        return self.seen == self.expected


class Story:
    """The chapters named, in order; each says what it saw, and nothing is judged before the end."""

    def __init__(self, headgate: Headgate, screen: Screen, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self.headgate = headgate
        self.screen = screen
        self.ended: dict[str, str] = {}
        self.commanded_at: float | None = None
        self.decided_at: float | None = None

    def tell(self) -> None:
        """Its chapters; the first that does not come to its end is the last."""
        chapters: dict[str, Callable[[], str]] = {
            "v2": self.good_version,
            "v3": self.wrong_version,
            "v4": self.breaking_version,
            "v5 flips": self.flip,
            "v5 back": self.operator_takes_it_back,
        }
        for name in self.names:
            try:
                self.ended[name] = chapters[name]()
            except Unexpected as problem:
                self.ended[name] = str(problem)
                self.screen.line(str(problem), "bold red")
                return

    def good_version(self) -> str:
        self.screen.chapter("v2 is better: shadowed, ramped up, promoted")
        return self._try("v2", timeout_s=180)

    def wrong_version(self) -> str:
        self.screen.chapter("v3 answers fast and without errors, and is wrong: its server forgot the scaler")
        return self._try("v3", timeout_s=120)

    def breaking_version(self) -> str:
        self.screen.chapter("v4 agrees in shadow and breaks under live traffic")
        return self._try("v4", timeout_s=150)

    def _try(self, version: str, timeout_s: float) -> str:
        self._type("set-target", ROLLOUT, version)
        seen = self.headgate.wait(
            f"an end of the trial of {version}",
            lambda seen: seen.is_at_rest and seen.last_outcome(version) is not None,
            timeout_s,
        )
        return f"{seen.last_outcome(version)}, {seen.stable} is stable"

    def flip(self) -> str:
        self.screen.chapter("v5, blue-green: everyone moves at once")
        self.say(*self.headgate.applies("bluegreen.yaml"))
        self.headgate.apply(HERE / "bluegreen.yaml")
        self.headgate.wait(
            "the flip to v5", lambda seen: seen.candidate == "v5" and seen.acknowledged == 10_000, 60
        )
        time.sleep(WATCH_THE_FLIP_S)
        return "v5 has 100 %"

    def operator_takes_it_back(self) -> str:
        self.screen.chapter("an operator does not like it")
        self.commanded_at = time.time()
        self._type("rollback", ROLLOUT, "--reason", "customers complain")
        self.screen.line("the command ended with 0: every router acknowledged")
        seen = self.headgate.wait(
            "the end of v5",
            lambda seen: seen.is_at_rest and seen.last_outcome("v5") is not None,
            timeout_s=30,
        )
        self.decided_at = next(
            (
                taken.at
                for taken in reversed(seen.decisions)
                if (taken.version, taken.reason) == ("v5", "RollingBack")
            ),
            None,
        )
        return f"{seen.last_outcome('v5')}, {seen.stable} is stable"

    def _type(self, *arguments: str) -> None:
        """Run a verb of Headgate as a person would."""
        self.say(*self.headgate.CALLED, *arguments)
        self.headgate.verb(*arguments)

    def say(self, *words: str) -> None:
        """Show a command before it is run."""
        self.screen.line(f"$ {shlex.join(words)}", "bold")


WHAT = {
    "v1": "the first",
    "v2": "a better one",
    "v3": "forgets its scaler",
    "v4": "breaks when live",
    "v5": "good as well",
}
EXPECTED_ENDS = {
    "v2": ("v2, the better model", "Promoted, v2 is stable"),
    "v3": ("v3, the wrong model", "RolledBack, v2 is stable"),
    "v4": ("v4, the breaking server", "RolledBack, v2 is stable"),
    "v5 flips": ("v5, blue-green", "v5 has 100 %"),
    "v5 back": ("v5, after the operator's rollback", "RolledBack, v2 is stable"),
}
ALL = tuple(EXPECTED_ENDS)
SHORT = ("v2", "v3", "v4")


def outcomes(
    ended: dict[str, str],
    answers: list[Answer],
    v3_says: int | None,
    shut_down: Mapping[str, int | None],
    chapters: Iterable[str] = ALL,
) -> list[Outcome]:
    """What was expected and what was seen, from how these chapters ended, what users got, what v3's server counted, and
    with which exit codes Headgate's programs ended."""
    served = {version: len(measure.answered(answers, version)) for version in train.VERSIONS}
    others = sum(answer.outcome == "failed" and answer.version != "v4" for answer in answers)
    lost = sum(answer.outcome == "lost" for answer in answers)
    return [
        *(
            Outcome(name, expected, ended.get(key, "not reached"))
            for key, (name, expected) in EXPECTED_ENDS.items()
            if key in chapters
        ),
        Outcome("users' answers from v3", "0", str(served["v3"])),
        Outcome("the same by v3's own count", "0", "not known" if v3_says is None else str(v3_says)),
        Outcome("users' answers from v4", "some", "some" if served["v4"] else "none"),
        Outcome("failed, but not at v4", "0", str(others)),
        Outcome("requests lost", "0", str(lost)),
        *(
            Outcome(f"{program}, when stopped", "exit code 0", f"exit code {code}")
            for program, code in shut_down.items()
        ),
    ]


def live_requests_by_own_count(version: str, state: Path) -> int | None:
    """How many live requests the version's server says, in its log, that it answered; None without such a line."""
    lines = [line for log in state.rglob("*.log") for line in log.read_text(errors="replace").splitlines()]
    found = [re.match(rf"{version} answered (\d+) live requests", line) for line in lines]
    counts = [int(each[1]) for each in found if each]
    return sum(counts) if counts else None


def records_under(state: Path) -> Iterable[ComparisonRecord]:
    """Every comparison record that the observer left below `state`."""
    decoder = msgspec.json.Decoder(ComparisonRecord)
    for file in sorted(state.rglob("records-*.jsonl")):
        for line in file.read_bytes().splitlines():
            yield decoder.decode(line)


def agreements(state: Path) -> dict[str, measure.Agreement]:
    records = list(records_under(state))
    found = {version: measure.agreement(measure.digit_pairs(records, version)) for version in train.VERSIONS}
    return {version: agreement for version, agreement in found.items() if agreement is not None}


def summary(
    story: Story, answers: list[Answer], state: Path, shut_down: Mapping[str, int | None]
) -> dict[str, Any]:
    """What goes to run-summary.json."""
    totals = summarise(answers)
    found = outcomes(story.ended, answers, live_requests_by_own_count("v3", state), shut_down, story.names)
    return {
        "outcomes": [asdict(outcome) for outcome in found],
        "requests": {"sent": totals.sent, "failed": totals.failed, "lost": totals.lost},
        "auto_rollback_s": measure.auto_rollback_s(answers, "v4"),
        "operator_rollback_ms": measure.operator_rollback_ms(answers, "v5", story.commanded_at),
        "agreement": {version: asdict(found) for version, found in agreements(state).items()},
    }


def show(screen: Screen, data: dict[str, Any], answers: list[Answer], decided_at: float | None) -> None:
    screen.chapter("What was measured")
    table = Table("", "expected", "seen", box=box.SIMPLE_HEAD, pad_edge=False)
    for each in data["outcomes"]:
        outcome = Outcome(**each)
        table.add_row(
            outcome.name, outcome.expected, outcome.seen, style="" if outcome.is_expected else "bold red"
        )
    screen.console.print(table)
    totals = summarise(answers)
    after_decision_ms = measure.operator_rollback_ms(answers, "v5", decided_at)
    by_v4 = sum(answer.outcome == "failed" for answer in measure.answered(answers, "v4"))
    lines = [
        f"requests: {totals.sent} sent, {totals.failed} failed ({by_v4} of them at v4), {totals.lost} lost",
        f"latency: {number(totals.latency_ms_p50, 'ms')} median, {number(totals.latency_ms_p99, 'ms')} for the slowest 1 %",
        f"v4, from its first bad answer to its last request: {number(data['auto_rollback_s'], 's')}",
        f"v5, from the operator's command to its last request: {number(data['operator_rollback_ms'], 'ms')}"
        f" (from the controller's decision: {number(after_decision_ms, 'ms')})",
    ]
    lines += [
        f"{version} gave stable's digit in {100 * found['overall']:.1f} % of {found['pairs']} pairs; "
        f"worst on {found['worst_digit']}: {100 * found['on_worst_digit']:.1f} %"
        for version, found in data["agreement"].items()
    ]
    for line in lines:
        screen.console.print(line)


def number(value: float | None, unit: str) -> str:
    return "not measured" if value is None else f"{value:.1f} {unit}"


def run(story: Story, traffic_file: Path) -> dict[str, int | None]:
    """Tell the story under traffic; the exit codes of Headgate's programs."""
    headgate, screen = story.headgate, story.screen
    story.say(*headgate.FIRST)
    headgate.begin(HERE / "rollout.yaml")
    headgate.wait("v1 is stable", lambda seen: seen.phase == "Healthy" and seen.stable == "v1", timeout_s=120)
    screen.line(f"v1 serves; {RATE} requests a second begin, from {USERS} users")
    command = [
        sys.executable,
        str(HERE / "traffic.py"),
        headgate.router,
        "--rate",
        str(RATE),
        "--users",
        str(USERS),
    ]
    command += ["--duration", str(TRAFFIC_MAX_S), "--out", str(traffic_file)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as users:
        try:
            story.tell()
        finally:
            users.terminate()
    return headgate.stop()


def empty(folder: Path) -> None:
    """Make `folder` new; refuses to remove one that this story did not make."""
    mark = folder / ".made-by-story"
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        sys.exit(f"{folder} is there and not from an earlier story: remove it or name another with --run")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("run"), help="folder for state, logs and records")
    parser.add_argument("--summary", type=Path, default=Path("run-summary.json"), help="the figures as data")
    parser.add_argument(
        "--cluster", action="store_true", help="on the Kubernetes API of the present kubeconfig, by kubectl"
    )
    parser.add_argument("--short", action="store_true", help="without v5, the blue-green rollout")
    arguments = parser.parse_args()
    folder: Path = arguments.run.resolve()
    empty(folder)
    traffic_file = folder / "traffic.jsonl"
    screen = Screen(WHAT, Users(traffic_file))
    screen.chapter("Five models learn to read digits (scikit-learn)")
    for version, share in train.train(train.MODELS).items():
        kind = train.VERSIONS[version][0] if version in train.VERSIONS else "as it is served"
        screen.line(f"{version}, {kind}: {100 * share:.1f} % of the held-out images right")
    way: type[Headgate] = Cluster if arguments.cluster else Local
    with way(folder / "state", ROLLOUT, on_change=screen.change) as headgate, screen.live:
        story = Story(headgate, screen, SHORT if arguments.short else ALL)
        try:
            shut_down = run(story, traffic_file)
        except Unexpected as problem:
            sys.exit(str(problem))
    answers = list(answers_of(traffic_file.read_text().splitlines()))
    data = summary(story, answers, folder / "state", shut_down)
    arguments.summary.write_text(json.dumps(data, indent=2) + "\n")
    show(screen, data, answers, story.decided_at)
    is_expected = all(Outcome(**each).is_expected for each in data["outcomes"])
    screen.console.print(f"{'Every' if is_expected else 'NOT every'} outcome was the expected one.")
    if not is_expected:
        screen.console.print(f"Why: {', '.join(map(str, (*headgate.logs, folder / 'status.jsonl')))}")
    records = shlex.join(headgate.reports(arguments.run / "state"))
    screen.console.print(f"{arguments.summary}; records: {records}")
    sys.exit(0 if is_expected else 1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; everything that was started has been stopped")
