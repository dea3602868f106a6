"""Starting the other processes so that none of them can outlive the supervisor unnoticed.

On Linux the kernel sends each child SIGTERM when the supervisor dies, however it dies (PR_SET_PDEATHSIG): a worker
then closes its copy of the listening socket at once and drains, so that a new supervisor can listen there. No
child has to take part in this, as it would with a pipe to watch.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_EXEC_FAILED: Final = 127


@dataclass(frozen=True, slots=True)
class Command:
    """A process to keep running. `fds` are the descriptors it inherits besides stderr, under the same numbers."""

    name: str
    argv: tuple[str, ...]
    fds: tuple[int, ...] = ()
    nice: int = 0
    serves: bool = False
    """Whether it answers requests: it is restarted at once the first time, and drains before the others end."""


def spawn(command: Command) -> int:
    """Start the process in a session of its own (a terminal's Ctrl-C is the supervisor's to handle); its pid.

    It begins with SIGHUP blocked: one that comes while it starts is kept until it unblocks it (`router.files.on_hangup`).
    """
    supervisor = os.getpid()
    bind_to_parent = _parent_death_signal()
    # What arrives between fork and exec must reach neither our handlers in the child nor get lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _become(command, supervisor, bind_to_parent, before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _become(
    command: Command, supervisor: int, bind_to_parent: Callable[[], None], mask: set[int | signal.Signals]
) -> None:
    """In the child: never returns."""
    try:
        os.setsid()
        bind_to_parent()
        if os.getppid() != supervisor:  # it died before the kernel knew
            os._exit(_EXEC_FAILED)
        os.nice(command.nice)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)  # stdout is the supervisor's: its one line says that the router is ready
        for descriptor in command.fds:
            os.set_inheritable(descriptor, True)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        # SIGHUP goes to all: who has no use for it must not die of it, and who has waits for it from the beginning.
        signal.pthread_sigmask(signal.SIG_SETMASK, mask | {signal.SIGHUP})
        os.execv(command.argv[0], command.argv)  # noqa: S606 - argv is ours; no shell is wanted
    finally:
        os._exit(_EXEC_FAILED)


def _parent_death_signal() -> Callable[[], None]:
    """What the child calls to be told of the supervisor's death; looked up before the fork."""
    if sys.platform != "linux":
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def bind() -> None:
        if prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0):
            os._exit(_EXEC_FAILED)

    return bind
