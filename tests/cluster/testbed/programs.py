"""One process of the testbed: its log, its signals, and a promise that it never outlives who started it."""

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

TAIL_LINES: Final = 30
KILLED_S: Final = 20.0


class Program:
    """A program that can be stopped, killed, suspended and started again with the same command line.

    The kernel kills it when the *thread* that called `start` ends, however that ends (PR_SET_PDEATHSIG, set by
    setpriv of util-linux): start it from a thread that lives as long as the program should.
    """

    def __init__(self, name: str, command: Sequence[str | Path], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = [str(word) for word in command]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert not self.alive, f"{self.name} is running"
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self._command],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for whoever runs the tests; we end the programs in order
            )

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    def stop(self, patience_s: float = 20.0) -> None:
        """Ask it to end (SIGTERM), and kill it if it does not within so many seconds."""
        if not self.alive:
            return
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        try:
            self._wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        if self.alive:
            self._signal(signal.SIGKILL)
            self._wait(KILLED_S)

    def suspend(self) -> None:
        """SIGSTOP: its connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def tail(self) -> str:
        """The end of its log, under its name, for messages."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"--- the end of {self.name}'s log", *lines[-TAIL_LINES:]])

    def _signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def _wait(self, seconds: float) -> None:
        assert self._process is not None
        self._process.wait(seconds)


def free_port() -> int:
    """A port of 127.0.0.1 that the kernel says is free; somebody may be quicker to take it, so be ready to retry."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
