"""Keeps the router's processes running, and ends them in order. One thread, no event loop, nothing else to do.

SIGTERM or SIGINT: those that serve get SIGTERM and drain, then the others; each group has a deadline, then SIGKILL.
A second SIGTERM or SIGINT makes the deadline now. SIGHUP goes to all.
"""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from headgate.log import Log
from router.supervisor.backoff import BackOff
from router.supervisor.children import Command, spawn
from router.supervisor.handover import Estate

OTHERS_STOP_S: Final = 5.0
"""How long the processes that hold no requests have to end."""

_READY_POLL_S: Final = 0.02
_IDLE_S: Final = 3600.0
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class _Child:
    command: Command
    back_off: BackOff
    pid: int | None = None
    started: float = 0.0
    start_at: float = 0.0
    owes_hangup: bool = False
    """Whether a SIGHUP came while it did not run; it is sent as soon as it does."""


@dataclass(slots=True)
class Supervisor:
    """Runs `commands` until it is told to stop. `drain_s` bounds how long those that serve may take to end.

    `is_ready` is asked a few dozen times a second until it says yes; then `announce` is called, once. From then on a
    successor may take over what is in `estate`; `was_succeeded` says whether one did.
    """

    commands: Sequence[Command]
    log: Log
    drain_s: float
    on_stop: Callable[[], None]
    is_ready: Callable[[], bool]
    announce: Callable[[], None]
    estate: Estate | None = None
    _children: list[_Child] = field(default_factory=list)
    _is_announced: bool = False
    _is_handing_over: bool = False
    _was_told: bool = False
    was_succeeded: bool = False

    def run(self) -> int:
        """0 when all ended in time after a signal, 1 when some had to be killed."""
        self._children = [_Child(one, BackOff(is_urgent=one.serves)) for one in self.commands]
        with _signals(self._watched) as wait:
            while not (self._told_to_stop(wait(self._pause_s())) or self._is_succeeded(wait)):
                self._reap()
                self._start_due()
                self._announce_once()
            return self._stop(wait)

    def _told_to_stop(self, numbers: Sequence[int]) -> bool:
        if signal.SIGHUP in numbers:
            self.log.info("reload")
            self._reap()  # or it would go to the dead
            self._send(self._children, signal.SIGHUP)
            for child in self._children:
                child.owes_hangup = child.pid is None
        return self._was_told or any(number in _ENDING for number in numbers)

    def _watched(self) -> list[socket.socket]:
        return self.estate.watched() if self.estate is not None else []

    def _is_succeeded(self, wait: Callable[[float], Sequence[int]]) -> bool:
        """Let a successor take over, as far as it has come by now; whether it serves."""
        estate = self.estate
        if estate is None:
            return False
        if estate.is_asked():
            self.log.info("handing over to a successor")
            self._is_handing_over = True
            others = [child for child in self._children if not child.command.serves]
            self._end(others, OTHERS_STOP_S, wait)
            estate.hand_over()
        outcome = estate.outcome() if self._is_handing_over else None
        if outcome is False:
            self.log.error("the successor did not come up, serving on")
            self._is_handing_over = False
            estate.take_back()
        self.was_succeeded = outcome is True
        return self.was_succeeded

    def _pause_s(self) -> float:
        if not self._is_announced:
            return _READY_POLL_S
        due = [child.start_at for child in self._startable() if child.pid is None]
        return max(0.0, min(due) - time.monotonic()) if due else _IDLE_S

    def _startable(self) -> list[_Child]:
        """While a successor comes up, only what serves is kept running."""
        return [one for one in self._children if one.command.serves or not self._is_handing_over]

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._startable():
            if child.pid is None and child.start_at <= now:
                child.pid, child.started = spawn(child.command), now
                self.log.info("process started", name=child.command.name, pid=child.pid)
                if child.owes_hangup:
                    child.owes_hangup = False
                    self._send([child], signal.SIGHUP)

    def _reap(self) -> None:
        for pid, status in _ended():
            child = next((one for one in self._children if one.pid == pid), None)
            if child is not None:
                self._bury(child, os.waitstatus_to_exitcode(status))

    def _bury(self, child: _Child, code: int) -> None:
        now = time.monotonic()
        child.back_off, delay_s = child.back_off.died(now - child.started)
        child.start_at = now + delay_s
        self.log.warning(
            "process ended, starts again",
            name=child.command.name,
            pid=child.pid,
            cause=_cause(code),
            lived_s=f"{now - child.started:.1f}",
            again_in_s=f"{delay_s:.1f}",
        )
        child.pid = None

    def _announce_once(self) -> None:
        if not self._is_announced and self.is_ready():
            self._is_announced = True
            self.announce()
            if self.estate is not None:
                self.estate.open()

    def _stop(self, wait: Callable[[float], Sequence[int]]) -> int:
        self.log.info("stopping", drain_s=self.drain_s)
        if self.estate is not None:
            self.estate.close()
        self.on_stop()
        serving = [child for child in self._children if child.command.serves]
        others = [child for child in self._children if not child.command.serves]
        killed = self._end(serving, self.drain_s, wait) + self._end(others, OTHERS_STOP_S, wait)
        self.log.info("stopped", killed=killed)
        return 1 if killed else 0

    def _end(
        self, children: Sequence[_Child], within_s: float, wait: Callable[[float], Sequence[int]]
    ) -> int:
        """SIGTERM, then SIGKILL for those that are still there at the deadline; how many those were."""
        self._send(children, signal.SIGTERM)
        deadline = time.monotonic() + within_s
        while _alive(children) and time.monotonic() < deadline:
            numbers = wait(max(0.0, min(1.0, deadline - time.monotonic())))
            self._forget_ended()
            if any(number in _ENDING for number in numbers):
                self._was_told = True
                deadline = time.monotonic()
        late = _alive(children)
        for child in late:
            self.log.error(
                "process had to be killed", name=child.command.name, pid=child.pid, after_s=within_s
            )
        self._send(late, signal.SIGKILL)
        while _alive(late):
            wait(0.1)
            self._forget_ended()
        return len(late)

    def _forget_ended(self) -> None:
        ended = {pid for pid, _ in _ended()}
        for child in self._children:
            if child.pid in ended:
                child.pid = None

    def _send(self, children: Sequence[_Child], number: signal.Signals) -> None:
        for child in children:
            if child.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)


def _alive(children: Sequence[_Child]) -> list[_Child]:
    return [child for child in children if child.pid is not None]


def _ended() -> Iterator[tuple[int, int]]:
    """`(pid, wait status)` of every process that ended, also of orphans that became ours as pid 1 of a container."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


@contextmanager
def _signals(
    watched: Callable[[], Sequence[socket.socket]],
) -> Iterator[Callable[[float], Sequence[int]]]:
    """A function that waits for signals, at most so many seconds, and says which came.

    It also ends when one of the sockets that are `watched` has something to say.
    """
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    before = [(number, signal.signal(number, lambda *_: None)) for number in numbers]
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def wait(timeout_s: float) -> Sequence[int]:
        select.select([reader, *watched()], [], [], timeout_s)
        with suppress(BlockingIOError):
            return reader.recv(4096)
        return b""

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before:
            signal.signal(number, handler)
        reader.close()
        writer.close()
