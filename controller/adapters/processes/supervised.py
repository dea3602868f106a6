"""One replica that shall run: a task that keeps it running and asked, and answers for its state from memory.

starting ─► ready ⇄ unready          (readiness)
    └──────────┴───────┴──► exited ─► starting …   (after a back-off)
"""

import asyncio
import os
import secrets
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from controller.adapters.processes import logs
from controller.adapters.processes.child import TOKEN_VARIABLE, Child, spawn
from controller.adapters.processes.health import HEALTHY_AFTER_S, Exits, Health
from controller.adapters.processes.ledger import Entry, Ledger
from controller.adapters.processes.ports import Ports
from controller.adapters.processes.probe import ask
from controller.adapters.processes.version import Probe, ProcessVersion
from headgate.log import Log
from headgate.wire.plan import Endpoint

INHERITED: Final = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
    "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS",
)  # fmt: skip
"""The only variables of ours that a model server sees; all others (tokens, keys) it gets by its own `env` or not at all."""
LOG_CHECK_S: Final = 60.0
STARTING_PERIOD_S: Final = 0.2
"""How often a process that is not ready is asked at least: each missed moment is one without its capacity."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all versions share: the list of what runs, the ports, where logs go, and whom to tell of a change."""

    ledger: Ledger
    ports: Ports
    log_folder: Path
    on_change: Callable[[str], None]
    log: Log

    def tell_of_fault(self, key: str) -> None:
        """Log the exception that is being handled, a fault of ours."""
        self.log.error("supervision failed, goes on", rollout=key, why=traceback.format_exc())


@dataclass(slots=True)
class Local:
    """A replica we start. `child` is set while a process runs, also one adopted from an earlier controller.

    `restarts_asked` is what the next process is started under.
    """

    version: ProcessVersion
    entry: Entry
    around: Surroundings
    child: Child | None = None
    health: Health = field(default_factory=Health)
    exits: Exits = field(default_factory=Exits)
    starts: int = 0
    was_ready: bool = False
    has_ended_ready: bool = False
    trouble: str = ""
    restarts_asked: int = 0
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        entry = self.entry
        self.log = logs.log_path(self.around.log_folder, entry.key, self.version.name, entry.number)
        if self.child is not None:
            self.starts = 1
            self.was_ready = self.health.is_ready

    async def run(self) -> None:
        """Keep it running until cancelled; then the process goes on, and `end` or `release` says what becomes of it."""
        while True:
            if self.child is None:
                self.child = self._start()
                self._changed()
            if self.child is not None:
                await self._watch(self.child)
                self._exited(self.child)
            self.exits = self.exits.after(_now())
            self._changed()
            await asyncio.sleep(self.exits.backoff_s)

    async def end(self) -> None:
        """End the process and all it started; returns when they are gone."""
        self.withdraw()
        if self.child is not None:
            await self.child.end(self.version.stop_grace_s)
            self._exited(self.child)
        self.around.ports.give_back(self.entry.port)

    def release(self) -> None:
        """Let the process go on without us."""
        if self.child is not None:
            self.child.release()

    @property
    def is_ready(self) -> bool:
        return self.child is not None and self.health.is_ready

    @property
    def may_have_requests(self) -> bool:
        """Could a router have sent it a request that it still answers?"""
        return self.child is not None and (self.was_ready or self.child.popen is None)

    @property
    def restarts(self) -> int:
        """How often it was started again after it had ended."""
        return max(self.starts - 1, 0)

    def withdraw(self) -> None:
        """It gets no more traffic, from the next controller neither."""
        if self.child is not None:
            self.health = Health()
            self._note(is_ready=False)

    def message(self) -> str:
        if self.child is None and not self.trouble:
            return "it is not started yet"
        if self.child is None:
            return f"{self.trouble}{self.exits.described()}; see the last lines of {self.log}"
        running = f"process {self.child.pid} on port {self.entry.port}"
        if self.health.is_ready:
            return f"{running} is ready"
        word = "is unready" if self.was_ready else "runs and is not ready yet"
        return f"{running} {word}: {self.health.why_not}"

    def endpoint(self) -> Endpoint:
        return Endpoint(host="127.0.0.1", port=self.entry.port)

    def _start(self) -> Child | None:
        """A fresh process, noted before and after it starts; None, and `trouble`, when it cannot be started."""
        self.health, self.was_ready = Health(), False
        self.starts += 1
        try:
            port = self._port()
            self._note(token=secrets.token_hex(16), port=port, is_alive=True, restarts=self.restarts_asked)
            child = self._spawn(port)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the command
            self.trouble = (
                f"{self.version.command[0]} cannot be started in {self.version.folder} ({_why(error)})"
            )
            return None
        self._note(pid=child.pid, started=child.started)
        self._say("model server started", replica=self.entry.number, pid=child.pid, port=port)
        return child

    def _port(self) -> int:
        """The port it had, if the last start got ready on it and nobody took it; else another."""
        had = self.entry.port
        self.around.ports.give_back(had)
        return self.around.ports.take(had if self.has_ended_ready else 0)

    def _spawn(self, port: int) -> Child:
        def filled(text: str) -> str:
            return text.replace("{port}", str(port)).replace("{python}", sys.executable)

        command = tuple(filled(part) for part in self.version.command)
        env = {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "PYTHONUNBUFFERED": "1",  # or the last lines before a crash never reach the log
            **{name: filled(value) for name, value in self.version.env.items()},
            TOKEN_VARIABLE: self.entry.token,
        }
        with suppress(OSError):  # a disk too full for our line may still have room for the process
            logs.bound(self.log)
            logs.say(self.log, f"starting on port {port}")
        return spawn(command, env, self.version.folder, self.log)

    async def _watch(self, child: Child) -> None:
        """Ask for readiness until the process has ended."""
        tasks = (asyncio.create_task(child.exited()), asyncio.create_task(self._ask()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self) -> None:
        probe: Probe = self.version.probe
        ready_since = log_checked = _now()
        while True:
            before = self.health
            self.health = before.after(await ask(probe, self.endpoint()), probe.failures)
            now = _now()
            if self.health.is_ready != before.is_ready:
                ready_since = now
                self.was_ready = self.was_ready or self.health.is_ready
                self._note(is_ready=self.health.is_ready)
            if self.health.is_ready and self.exits.streak and now - ready_since >= HEALTHY_AFTER_S:
                self.exits = Exits()
                self._changed()
            if (self.health.is_ready, self.health.why_not) != (before.is_ready, before.why_not):
                self._changed()
            if now - log_checked >= LOG_CHECK_S:
                log_checked = now
                with suppress(OSError):
                    logs.bound(self.log)
            await asyncio.sleep(
                probe.period_s if self.health.is_ready else min(probe.period_s, STARTING_PERIOD_S)
            )

    def _exited(self, child: Child) -> None:
        self.trouble = child.how_it_ended()
        self._say("model server ended", replica=self.entry.number, how=self.trouble)
        self.has_ended_ready = self.was_ready
        child.release()
        self.child, self.health = None, Health()
        self._note(pid=None, started=None, is_ready=False, is_alive=False)

    def _note(self, **changed: Any) -> None:
        self.entry = replace(self.entry, **changed)
        self.around.ledger.note(self.entry)

    def _say(self, message: str, **fields: object) -> None:
        self.around.log.info(message, rollout=self.entry.key, version=self.version.name, **fields)

    def _changed(self) -> None:
        self.around.on_change(self.entry.key)


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    return str(error)


def _now() -> float:
    return asyncio.get_running_loop().time()
