"""Headgate as a person uses it: its command and what that prints, nothing from inside."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HEADGATE = Path(sys.executable).with_name("headgate")
VERB_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


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
class Headgate:
    """`headgate up` with its state in `state`, and the other verbs pointed at it."""

    state: Path
    rollout: str
    router: str = ""
    seen: Seen | None = None
    on_change: Callable[[Seen], None] = lambda seen: None
    _up: subprocess.Popen[bytes] | None = None
    _watch: subprocess.Popen[str] | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def up(self, file: Path) -> None:
        """Start controller and router, wait until they say where they listen, and begin to watch."""
        command = [
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
        with (self.state.parent / "headgate-up.log").open("wb") as log:
            self._up = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.router = self._endpoints(deadline=time.monotonic() + VERB_TIMEOUT_S)["router"]
        watch = [str(HEADGATE), "get", self.rollout, "--watch", "-o", "json", "--state", str(self.state)]
        self._watch = subprocess.Popen(watch, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, args=(self._watch,), daemon=True).start()

    def verb(self, *arguments: str | Path) -> None:
        """Run one verb to its end; raises Unexpected unless it ends with 0."""
        try:
            done = subprocess.run(
                [HEADGATE, *arguments, "--state", self.state],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=VERB_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as late:
            raise Unexpected(f"headgate {arguments[0]} was still running after {VERB_TIMEOUT_S} s") from late
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise Unexpected(f"headgate {arguments[0]} ended with {done.returncode}: {said}")

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

    def down(self) -> int | None:
        """Stop what `up` started, cleanly; the exit code of `headgate up`."""
        if self._watch is not None:
            self._watch.terminate()
            self._watch.wait(STOP_TIMEOUT_S)
        if self._up is None:
            return None
        self._up.terminate()
        try:
            return self._up.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._up.kill()
            return self._up.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def _endpoints(self, deadline: float) -> dict[str, str]:
        file = self.state / "endpoint.json"
        while time.monotonic() < deadline and self._up is not None:
            if self._up.poll() is not None:
                break
            if file.exists():
                found: dict[str, str] = json.loads(file.read_text())
                return found
            time.sleep(0.05)
        log = self.state.parent / "headgate-up.log"
        last = (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]
        raise Unexpected(f"headgate up did not start; the end of {log}: {last}")

    def _read(self, watch: subprocess.Popen[str]) -> None:
        for line in watch.stdout or ():
            with (self.state.parent / "status.jsonl").open("a") as states:
                states.write(line)
            seen = Seen.parse(json.loads(line), time.time())
            self.on_change(seen)
            with self._changed:
                self.seen = seen
                self._changed.notify_all()
