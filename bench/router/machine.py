"""Processes that a benchmark starts: on which cores, what they cost, how much memory they take."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

PATIENCE_S: Final = 60.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core is for what is measured, and which are for all the rest."""

    measured: int
    others: tuple[int, ...]

    @classmethod
    def of_this_machine(cls) -> "Cores":
        first, *rest = sorted(os.sched_getaffinity(0))
        return cls(first, tuple(rest) or (first,))


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until it holds; RuntimeError after a minute."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"never happened: {what}")
        time.sleep(0.01)


def free_port() -> int:
    """A port that the kernel has just given, for programs that cannot be handed a socket."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def process(
    argv: Sequence[str], cores: Sequence[int], log: IO[bytes], port: int | None = None
) -> Iterator[int]:
    """A process on these cores until the end, ready once the port accepts; its pid."""
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cores)), *argv]
    started = subprocess.Popen(pinned, stdout=log, stderr=log)
    try:
        if port is not None:
            until(lambda: started.poll() is not None or accepts(port), f"{argv[0]} accepts")
        if started.poll() is not None:
            raise RuntimeError(f"{argv[0]} ended: {Path(log.name).read_text()[-800:]}")
        yield started.pid
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            started.kill()


def family(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def cpu_s(pid: int) -> float:
    """Processor time of the process and all below it so far."""
    total = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def memory_mb(pid: int) -> float:
    """Resident memory of this process alone, shared pages in full."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
