"""One operating-system process that outlives us: started in a session of its own, adopted by proof, ended as a group.

Exits are seen through a pidfd, which works for a child and for the orphan of an earlier controller alike. A process
id alone proves nothing, since ids are reused: the start time in /proc does.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TOKEN_VARIABLE: Final = "HEADGATE_PROCESS"  # noqa: S105  (names a variable)
"""In the environment of every process started here: tells a process from every other, also one whose id was never noted."""


@dataclass(slots=True)
class Child:
    """A process we answer for. `popen` is None for one that an earlier controller started."""

    pid: int
    started: int
    pidfd: int
    popen: subprocess.Popen[bytes] | None = None
    returncode: int | None = None

    async def exited(self) -> None:
        """Return once the process has ended; its group is then ended too, and its status (of a child) is known."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self.pidfd, _resolve, ended)
        try:
            await ended
        finally:
            loop.remove_reader(self.pidfd)
        self.signal(signal.SIGKILL)  # what it left behind would keep its port
        if self.popen is not None:
            self.returncode = self.popen.wait()

    async def end(self, grace_s: float) -> None:
        """SIGTERM to the group, SIGKILL after `grace_s`."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await self.exited()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.exited()

    def signal(self, number: int) -> None:
        """Send a signal to the whole group, if there is still one."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def release(self) -> None:
        """Let go of it without ending it."""
        os.close(self.pidfd)
        if self.popen is not None and self.popen.returncode is None:
            self.popen.returncode = 0  # it lives on without us: Popen must neither wait for it nor warn

    def how_it_ended(self) -> str:
        """Such as `exited with status 3`."""
        if self.returncode is None:
            return "ended (an earlier controller started it, so its status is not known)"
        if self.returncode < 0:
            return f"was killed by {signal.Signals(-self.returncode).name}"
        return f"exited with status {self.returncode}"


def _resolve(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def spawn(command: tuple[str, ...], env: Mapping[str, str], folder: Path, log: Path) -> Child:
    """Start it in a session of its own, writing to `log`. OSError when it cannot be started."""
    with log.open("ab") as output:
        popen = subprocess.Popen(  # noqa: S603  (the user's own command, no shell)
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Our own child stays in /proc until we wait for it, so these cannot miss it.
    return Child(popen.pid, start_time(popen.pid) or 0, os.pidfd_open(popen.pid), popen)


def adopt(pid: int, started: int) -> Child | None:
    """The process of that id and start time, if it still runs."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    # Asked after the descriptor was opened: if the times agree, the descriptor is that process.
    if start_time(pid) == started:
        return Child(pid, started, pidfd)
    os.close(pidfd)
    return None


def find(token: str) -> tuple[int, int] | None:
    """Id and start time of the session leader that carries this token; for a start whose id was never noted."""
    wanted = f"{TOKEN_VARIABLE}={token}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            pid = int(entry.name)
            if wanted in (entry / "environ").read_bytes().split(b"\0") and os.getsid(pid) == pid:
                started = start_time(pid)
                return None if started is None else (pid, started)
    return None


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (field 22 of proc(5) stat); None if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return None
    fields = text[text.rfind(")") + 2 :].split()  # the name before may contain anything
    return None if fields[0] in "ZX" else int(fields[19])
