"""A router beside the controller on one machine: started, taken over, started again, but never needed to live with us.

It runs in a session of its own and serves on when the controller dies. The next controller takes it over if it was
started with the same command; one that was started otherwise is drained and replaced.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from controller.adapters.processes.child import Child, adopt, spawn
from controller.adapters.processes.logs import bound
from headgate.files import replace_file
from headgate.log import Log

READY_S: Final = 20.0
STOP_S: Final = 45.0
"""Longer than a router's drain: it closes every connection in order."""

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 10.0
LOG_S: Final = 60.0
"""How often a router's log is bounded."""

STEADY_S: Final = 30.0
"""A router that lived this long starts its back-off anew when it dies."""


class RouterFailed(Exception):
    """The router could not be started; the text has its own last words."""


@dataclass(frozen=True, slots=True)
class RouterCommand:
    """How one rollout's router is started; `listen` and `admin` are HOST:PORT, port 0 takes a free one."""

    rollout: str
    run: Path
    controller: str
    token_file: Path
    listen: str
    admin: str
    workers: int

    def argv(self) -> tuple[str, ...]:
        """The command, with this very interpreter."""
        words = {
            "--rollout": self.rollout,
            "--controller": self.controller,
            "--token-file": self.token_file,
            "--listen": self.listen,
            "--admin": self.admin,
            "--workers": self.workers,
            "--run": self.run,
            "--ready-file": self.ready_file,
        }
        options = [str(word) for option in words.items() for word in option]
        return (sys.executable, "-m", "router", *options)

    @property
    def ready_file(self) -> Path:
        """Where the router says what it listens on."""
        return self.run.with_name(self.run.name + ".ready.json")

    @property
    def note_file(self) -> Path:
        """Where we note which process it is."""
        return self.run.with_name(self.run.name + ".process.json")

    @property
    def log_file(self) -> Path:
        """Where the router's own words go."""
        return self.run.with_name(self.run.name + ".log")


class RouterProcess:
    """Keeps one router running. `start` returns when it serves; `on_start` is told its addresses each time it does.

    `before` is where it served in an earlier life: where any port will do, that one is taken again if it is free.
    """

    def __init__(
        self,
        command: RouterCommand,
        log: Log,
        on_start: Callable[[Mapping[str, str]], None] = lambda ready: None,
        before: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._log = log
        self._on_start = on_start
        self._child: Child | None = None
        self._watch: asyncio.Task[None] | None = None
        self.ready: Mapping[str, str] = before or {}

    async def start(self) -> None:
        """Take over the running router or start one. RouterFailed when it does not come to serve."""
        self._command.run.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not await self._take_over():
            try:
                await self._spawn()
            except RouterFailed:
                if not self.ready:
                    raise
                self.ready = {}  # somebody else has the old port: any other will do
                await self._spawn()
        self._watch = asyncio.create_task(self._keep())

    async def close(self, *, stop: bool) -> None:
        """Drain and stop the router, or let it serve on for the next controller."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._child is None:
            return
        if stop:
            await self._child.end(STOP_S)
            self._command.note_file.unlink(missing_ok=True)
            self._command.ready_file.unlink(missing_ok=True)
        self._child.release()
        self._child = None

    async def _take_over(self) -> bool:
        noted = _read(self._command.note_file)
        try:
            child = adopt(int(noted["pid"]), int(noted["started"]))
        except (KeyError, ValueError):
            return False
        if child is None:
            return False
        if noted.get("argv") != json.dumps(self._command.argv()):
            self._log.info(
                "router was started with other settings and is replaced", rollout=self._command.rollout
            )
            await child.end(STOP_S)
            child.release()
            return False
        self._child = child
        self.ready = _read(self._command.ready_file)
        self._log.info("router taken over", rollout=self._command.rollout, pid=child.pid)
        self._on_start(self.ready)
        return True

    async def _spawn(self) -> None:
        """Start the router, where the last one listened if there was one. RouterFailed, OSError when it fails."""
        command = self._command
        command.ready_file.unlink(missing_ok=True)
        bound(command.log_file)
        said_before = command.log_file.stat().st_size if command.log_file.exists() else 0
        where = replace(
            command,
            listen=_again(command.listen, self.ready.get("listen")),
            admin=_again(command.admin, self.ready.get("admin")),
        )
        child = spawn(where.argv(), os.environ, Path.cwd(), command.log_file)
        note = {"pid": str(child.pid), "started": str(child.started), "argv": json.dumps(command.argv())}
        _write(command.note_file, note)
        try:
            async with asyncio.timeout(READY_S):
                how = await self._until_ready(child)
        except TimeoutError:
            how = f"was not ready within {READY_S:.0f} s"
        if how:
            await child.end(STOP_S)
            child.release()
            raise RouterFailed(self._why(how, said_before))
        self._child = child
        self.ready = _read(command.ready_file)
        self._log.info(
            "router serves", rollout=command.rollout, pid=child.pid, listen=self.ready.get("listen")
        )
        self._on_start(self.ready)

    async def _until_ready(self, child: Child) -> str:
        """Return once the router serves, "", or has ended, with how it did."""
        exited = asyncio.create_task(child.exited())
        try:
            while not self._command.ready_file.exists():
                if exited.done():
                    return child.how_it_ended()
                await asyncio.sleep(0.02)
        finally:
            exited.cancel()
        return ""

    async def _keep(self) -> None:
        """Start the router again whenever it ends, a little later each time it does not last."""
        failures = 0
        loop = asyncio.get_running_loop()
        while self._child is not None:
            since = loop.time()
            await self._exited(self._child)
            self._log.error("router ended", rollout=self._command.rollout, why=self._child.how_it_ended())
            self._child.release()
            self._child = None
            failures = 0 if loop.time() - since > STEADY_S else failures
            while self._child is None:
                await asyncio.sleep(min(BACKOFF_FIRST_S * 2**failures, BACKOFF_MAX_S))
                failures += 1
                try:
                    await self._spawn()
                except (RouterFailed, OSError) as error:
                    self._log.error("router not started", rollout=self._command.rollout, why=str(error))

    async def _exited(self, child: Child) -> None:
        """Return when the router has ended; keep its log bounded until then."""
        ended = asyncio.create_task(child.exited())
        try:
            while not (await asyncio.wait({ended}, timeout=LOG_S))[0]:
                bound(self._command.log_file)
        finally:
            ended.cancel()

    def _why(self, how: str, said_before: int) -> str:
        with self._command.log_file.open("rb") as log:
            log.seek(said_before)
            words = log.read(4096).decode(errors="replace").strip().splitlines()
        last = words[-1] if words else "it said nothing"
        return f"the router of {self._command.rollout} {how}: {last} (see {self._command.log_file})"


def _again(wanted: str, before: str | None) -> str:
    """Where to listen: as wanted, or where it was before if any port will do."""
    return before if before is not None and wanted.endswith(":0") else wanted


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _write(path: Path, note: Mapping[str, str]) -> None:
    replace_file(path, json.dumps(note).encode())
