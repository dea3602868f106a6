"""Headgate as a person uses it: its command and what that prints, nothing from inside."""

import json
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

HEADGATE = Path(sys.executable).with_name("headgate")
VERB_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30

Found = TypeVar("Found")


class Unexpected(Exception):
    """Something did not happen, or something else did; the message says what."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One change of a version's share, and when the controller decided it (seconds since the epoch)."""

    at: float
    version: str
    reason: str
    sentence: str

    @classmethod
    def parse(cls, taken: dict[str, Any]) -> Self:
        at = datetime.fromisoformat(taken["at"]).timestamp()
        return cls(at, taken["version"], taken["reason"], taken["sentence"])


@dataclass(frozen=True, slots=True)
class Seen:
    """The rollout as `headgate get -w -o json` showed it, and when (seconds since the epoch).

    `decisions` are in the order in which they were taken.
    """

    at: float
    phase: str
    message: str
    stage: str
    decisions: tuple[Decision, ...]
    stable: str | None
    candidate: str | None
    weights: dict[str, int]
    acknowledged: int
    history: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, document: dict[str, Any], at: float) -> Self:
        """What the command printed; weights are in basis points, `acknowledged` is the candidate's least share."""
        status = document["status"]
        acknowledged = ((status["weights"] or {}).get("acknowledged") or {}).get("low") or {"basisPoints": 0}
        return cls(
            at=at,
            phase=status["phase"],
            message=status["message"],
            stage=(status["stage"] or {"title": ""})["title"],
            decisions=tuple(Decision.parse(taken) for taken in reversed(document["decisions"])),
            stable=status["stableVersion"],
            candidate=status["candidateVersion"],
            weights={version["name"]: version["weight"]["basisPoints"] for version in status["versions"]},
            acknowledged=acknowledged["basisPoints"],
            history=tuple((ended["version"], ended["outcome"]) for ended in status["history"]),
        )

    @property
    def is_at_rest(self) -> bool:
        return self.phase in ("Healthy", "RolledBack")

    def last_outcome(self, version: str) -> str | None:
        """How the newest trial of `version` ended: Promoted, RolledBack …; None while it never ended."""
        return next((outcome for name, outcome in reversed(self.history) if name == version), None)


@dataclass
class Headgate(ABC):
    """What every way to run Headgate has in common: a rollout that is watched, with everything that is kept in `state`."""

    CALLED: ClassVar[tuple[str, ...]]
    """How its command is called."""

    FIRST: ClassVar[tuple[str, ...]]
    """The first command that a person types."""

    state: Path
    rollout: str
    router: str = ""
    seen: Seen | None = None
    on_change: Callable[[Seen], None] = lambda seen: None
    _watch: subprocess.Popen[str] | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @abstractmethod
    def begin(self, file: Path) -> None:
        """Start all that is needed for the rollout in `file`, until clients can be sent to `router`; begin to watch."""

    @abstractmethod
    def apply(self, file: Path) -> None:
        """Apply the rollout in `file`, another form of the first."""

    def applies(self, file: str) -> tuple[str, ...]:
        """The command that a person types for that."""
        return (*self.FIRST[:1], "apply", "-f", file)

    @abstractmethod
    def typed(self, *arguments: str) -> tuple[str, ...]:
        """The whole command line of a verb of Headgate."""

    @abstractmethod
    def reports(self, state: Path) -> tuple[str, ...]:
        """The command that shows the comparison records, where everything is kept in `state`."""

    @abstractmethod
    def stop(self) -> dict[str, int | None]:
        """Stop all that was started, cleanly; the exit code of each program of Headgate, None if it never ran."""

    @property
    @abstractmethod
    def logs(self) -> tuple[Path, ...]:
        """Where to look when something did not happen."""

    def verb(self, *arguments: str) -> None:
        """Run one verb of Headgate to its end; raises Unexpected unless it ends with 0."""
        run(*self.typed(*arguments))

    def wait(self, what: str, holds: Callable[[Seen], bool], timeout_s: float) -> Seen:
        """The first state of the rollout for which `holds`; raises Unexpected after `timeout_s`."""
        with self._changed:
            if (
                self._changed.wait_for(lambda: self.seen is not None and holds(self.seen), timeout_s)
                and self.seen
            ):
                return self.seen
        last = f"{self.seen.phase}: {self.seen.message}" if self.seen else "nothing was seen of the rollout"
        raise Unexpected(f"{what} did not happen within {timeout_s:g} s ({last})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _follow(self) -> None:
        """From now on know the newest state of the rollout."""
        command = self.typed("get", self.rollout, "--watch", "-o", "json")
        self._watch = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, args=(self._watch,), daemon=True).start()

    def _follow_no_more(self) -> None:
        if self._watch is not None:
            self._watch.terminate()
            self._watch.wait(STOP_TIMEOUT_S)

    def _read(self, watch: subprocess.Popen[str]) -> None:
        for line in watch.stdout or ():
            with (self.state.parent / "status.jsonl").open("a") as states:
                states.write(line)
            seen = Seen.parse(json.loads(line), time.time())
            self.on_change(seen)
            with self._changed:
                self.seen = seen
                self._changed.notify_all()


@dataclass
class Local(Headgate):
    """`headgate up` on this machine, and the other verbs pointed at its state."""

    CALLED = ("headgate",)
    FIRST = ("headgate", "up", "-f", "rollout.yaml")

    _up: subprocess.Popen[bytes] | None = None

    def begin(self, file: Path) -> None:
        command: list[str | Path] = [
            HEADGATE,
            "up",
            "-f",
            file,
            "--state",
            self.state,
            "--listen",
            "127.0.0.1:0",
            "--api",
            "127.0.0.1:0",
        ]
        self._up = start(self.logs[0], *command)
        until("headgate up is ready", (self.state / "endpoint.json").exists, self._up, self.logs[0])
        self.router = json.loads((self.state / "endpoint.json").read_text())["router"]
        self._follow()

    def apply(self, file: Path) -> None:
        self.verb("apply", "-f", str(file))

    def typed(self, *arguments: str) -> tuple[str, ...]:
        return (str(HEADGATE), *arguments, "--state", str(self.state))

    def reports(self, state: Path) -> tuple[str, ...]:
        return ("headgate", "report", self.rollout, "--state", str(state))

    def stop(self) -> dict[str, int | None]:
        self._follow_no_more()
        return {"headgate up": stopped(self._up)}

    @property
    def logs(self) -> tuple[Path, ...]:
        return (self.state.parent / "headgate-up.log", self.state / "logs")


def run(*command: str | Path, given: str = "") -> str:
    """Run the command to its end with `given` as its input; what it printed. Raises Unexpected unless it ends with 0."""
    what = " ".join([Path(command[0]).name, *map(str, command[1:3])])
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, check=False, timeout=VERB_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as late:
        raise Unexpected(f"{what} was still running after {VERB_TIMEOUT_S} s") from late
    if done.returncode != 0:
        raise Unexpected(f"{what} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def start(log: Path, *command: str | Path, folder: Path | None = None) -> subprocess.Popen[bytes]:
    """Start the command, in `folder`; what it says goes into `log`."""
    with log.open("wb") as said:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=folder)


def until(what: str, holds: Callable[[], Found], process: subprocess.Popen[bytes], log: Path) -> Found:
    """Wait until it holds; Unexpected, with the end of the log, once the process has ended or it takes too long."""
    deadline = time.monotonic() + VERB_TIMEOUT_S
    while not (found := holds()):
        if process.poll() is not None or time.monotonic() > deadline:
            last = (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]
            raise Unexpected(f"not within {VERB_TIMEOUT_S} s: {what}; the end of {log}: {last}")
        time.sleep(0.05)
    return found


def stopped(process: subprocess.Popen[bytes] | None) -> int | None:
    """Ask it to end, and kill it if it does not; its exit code, None if it was never started."""
    if process is None:
        return None
    process.terminate()
    try:
        return process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
