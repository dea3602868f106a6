"""Puts a router together: sockets, run directory, plan, and the command line of each process, under one supervisor."""

import json
import os
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from headgate.files import replace_file
from headgate.log import Log
from headgate.wire.codec import Malformed, decode_plan
from headgate.wire.plan import RoutePlan
from router import tls
from router.agent import planfile, plans
from router.agent.shared import attach
from router.core import reach
from router.core.channel import RUN_FILES
from router.core.counters import SERVING
from router.proxy import options
from router.settings import Invalid, Settings, Where, default_router, parse_address, parse_where
from router.supervisor.children import Command
from router.supervisor.handover import Estate, Inherited, take_over
from router.supervisor.rundir import RunDirectory, claim
from router.supervisor.sockets import Address, CannotListen, SocketPath, address_of, listen, listen_unix
from router.supervisor.supervisor import Supervisor

READY_FILE: Final = "ready.json"
"""Inside the run directory, as `--ready-file` names it elsewhere: addresses and pid while the router accepts."""

ID_FILE: Final = "id"
"""Inside the run directory: what the controller calls this router, so that a restart is no new router to it."""

OBSERVER_NICE: Final = 10
_LEFTOVERS_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Opened:
    """What the supervisor holds for the whole life: descriptors of the listening sockets, and where they listen."""

    listen: tuple[Where, ...]
    listen_fds: tuple[int, ...]
    admin: Address
    admin_fd: int


def read_plan(path: Path) -> RoutePlan:
    """The plan in a file that a person wrote. Invalid names the field that is wrong."""
    try:
        return decode_plan(path.read_bytes())
    except OSError as error:
        raise Invalid(f"--plan {path}: {error.strerror or error}") from error
    except Malformed as error:
        raise Invalid(f"--plan {path}: {error}") from error


def run(settings: Settings) -> int:
    """Serve until told to stop; the exit code. Invalid, CannotUse or CannotListen when it cannot begin."""
    settings.check()
    plan = read_plan(settings.plan) if settings.plan is not None else None
    os.umask(0o077)
    inherited = take_over(settings.run.absolute()) if settings.takes_over else None
    directory = claim(settings.run, settings.workers, inherited.lock if inherited is not None else None)
    log = Log("supervisor")
    _prepare_plan(directory.path, settings.rollout, plan, log)
    opened = _open(settings, inherited, within_s=_LEFTOVERS_S if directory.was_killed else 0.0)
    ready = Ready(settings, directory, opened, plan)

    def on_ready() -> None:
        ready.announce()
        if inherited is not None:
            inherited.confirm()

    def on_stop() -> None:
        if not supervisor.was_succeeded:
            ready.withdraw()
        # While any process has it open, the kernel takes connections that nobody will serve.
        for descriptor in opened.listen_fds:
            os.close(descriptor)
        for one in opened.listen:
            if isinstance(one, SocketPath) and not supervisor.was_succeeded:
                one.path.unlink(missing_ok=True)

    supervisor = Supervisor(
        commands=commands(settings, directory.path, opened, _identity(settings, directory.path, opened)),
        log=log,
        drain_s=settings.drain_s,
        on_stop=on_stop,
        is_ready=ready.is_ready,
        announce=on_ready,
        estate=Estate(
            directory.path,
            directory.lock,
            [(str(where), fd) for where, fd in zip(opened.listen, opened.listen_fds, strict=True)],
            (str(opened.admin), opened.admin_fd),
        ),
    )
    code = supervisor.run()
    if not supervisor.was_succeeded:
        directory.release()
    return code


def commands(settings: Settings, run: Path, opened: Opened, router: str) -> list[Command]:
    """The processes of the router with that id: what `ps` shows is all they were told."""
    python = (sys.executable, "-m")
    here = ("--run", str(run))
    told = [word for one in opened.listen_fds for word in ("--fd", str(one))] + options.words(
        replace(settings.serving, reach=settings.reach)
    )
    workers = [
        Command(
            name=f"worker {index}",
            argv=(*python, "router.proxy", *here, "--index", str(index), *told),
            fds=opened.listen_fds,
            serves=True,
        )
        for index in range(settings.workers)
    ]
    observer = Command(
        name="observer",
        argv=(*python, "router.observer", *here, *_observer_words(settings)),
        nice=OBSERVER_NICE,
    )
    agent = Command(
        name="agent",
        argv=(*python, "router.agent", *here, *_agent_words(settings, opened, router)),
        fds=(opened.admin_fd,),
    )
    return [*workers, agent, observer]


def _observer_words(settings: Settings) -> list[str]:
    words = [*tls.client_words(settings.serving.upstream_tls), *reach.words(settings.reach)]
    if settings.access_log is None:
        return words
    return [
        *words,
        "--access-log",
        settings.access_log if settings.access_log == "-" else str(Path(settings.access_log).absolute()),
    ]


def _agent_words(settings: Settings, opened: Opened, router: str) -> list[str]:
    words = ["--rollout", settings.rollout, "--id", router, "--admin-fd", str(opened.admin_fd)]
    if settings.plan is not None:
        words += ["--plan", str(settings.plan.absolute())]
    for url in settings.controllers:
        words += ["--controller", url]
    if settings.token_file is not None:
        words += ["--token-file", str(settings.token_file.absolute())]
    if settings.controller_ca is not None:
        words += ["--controller-ca", str(settings.controller_ca.absolute())]
    for host in settings.controller_hosts:
        words += ["--controller-host", host]
    return words


def _identity(settings: Settings, run: Path, opened: Opened) -> str:
    """The id that was given, else that of the last life, else one made of the machine and the port."""
    path = run / ID_FILE
    kept = path.read_text().strip() if path.is_file() else ""
    found = settings.router or kept or default_router(opened.listen[0])
    if found != kept:
        replace_file(path, found.encode())
    return found


def _prepare_plan(run: Path, rollout: str, plan: RoutePlan | None, log: Log) -> None:
    """Leave in the plan file what the processes shall start from.

    A plan that a person gave is the truth, whatever was in force before: nobody runs anything yet. Without one the
    last good plan stays, unless it cannot be read (set aside) or is another rollout's (refused: it would be served).
    """
    try:
        kept = planfile.load(run)
    except planfile.Unreadable as error:
        aside = run / f"{RUN_FILES.plan}.unreadable"
        (run / RUN_FILES.plan).replace(aside)
        log.warning("plan file set aside", to=aside, why=error)
        kept = None
    if kept is not None and kept.plan.rollout != rollout:
        raise Invalid(f"--run {run}: it belongs to {kept.plan.rollout}, not to {rollout}; give each its own")
    if plan is not None:
        planfile.save(run, plans.assigned(plan, kept.columns if kept is not None else {}))


def _open(settings: Settings, inherited: Inherited | None, within_s: float) -> Opened:
    """Open all sockets that were not inherited.

    `within_s`: how long workers of a killed supervisor may take to let go of the port.
    """
    deadline = time.monotonic() + within_s
    found = [_one(where, settings.socket_mode, inherited, deadline) for where in settings.listen]
    admin, admin_fd = _admin(settings.admin, inherited)
    if inherited is not None:
        inherited.close_rest()
    return Opened(tuple(one for one, _ in found), tuple(fd for _, fd in found), admin, admin_fd)


def _admin(where: Address, inherited: Inherited | None) -> tuple[Address, int]:
    taken = inherited.take_admin(str(where)) if inherited is not None else None
    if taken is not None:
        return parse_address(taken[0]), taken[1]
    opened = listen(where)
    return address_of(opened), opened.detach()


def _one(where: Where, mode: int, inherited: Inherited | None, deadline: float) -> tuple[Where, int]:
    """Where a socket listens, and its descriptor."""
    taken = inherited.take(str(where)) if inherited is not None else None
    if taken is not None:
        return parse_where(taken[0]), taken[1]
    opened = _open_one(where, mode, deadline)
    return where if isinstance(where, SocketPath) else address_of(opened), opened.detach()


def _open_one(where: Where, mode: int, deadline: float) -> socket.socket:
    while True:
        try:
            return listen_unix(where, mode) if isinstance(where, SocketPath) else listen(where)
        except CannotListen:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.05)


class Ready:
    """Knows when the router accepts, and says so: one line on stdout, and the ready files."""

    def __init__(
        self, settings: Settings, directory: RunDirectory, opened: Opened, plan: RoutePlan | None
    ) -> None:
        self._settings = settings
        self._opened = opened
        self._plan = plan
        self._shared = attach(directory.path)
        self._files = [directory.path / READY_FILE]
        if settings.ready_file is not None:
            self._files.append(settings.ready_file.absolute())

    def is_ready(self) -> bool:
        """Whether every worker serves, and by the plan that was given on the command line, if one was."""
        serving = [worker for worker in self._shared.workers() if worker.state == SERVING]
        if len(serving) < self._settings.workers:
            return False
        return self._plan is None or all(worker.applied == self._plan.triple for worker in serving)

    def announce(self) -> None:
        everywhere, admin = self._opened.listen, self._opened.admin
        said: dict[str, object] = {"listen": str(everywhere[0]), "admin": str(admin), "pid": os.getpid()}
        if everywhere[1:]:
            said["also"] = [str(one) for one in everywhere[1:]]
        content = json.dumps(said).encode()
        for path in self._files:
            replace_file(path, content)
        scheme = "https" if self._settings.serving.server_tls is not None else "http"
        urls = " and ".join(_url(one, scheme) for one in everywhere)
        print(f"router: serving {self._settings.rollout} on {urls}, admin {admin.url}", flush=True)

    def withdraw(self) -> None:
        for path in self._files:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _url(where: Where, scheme: str) -> str:
    return where.url if isinstance(where, SocketPath) else where.url.replace("http", scheme, 1)
