"""The agent's process: its parts put together on one event loop, and ended together.

A part that fails with an error nobody foresaw ends the process; the supervisor starts it again, and meanwhile the
workers serve on.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn

from headgate.log import Log
from router.agent import controller as link
from router.agent.admin import Access, admin
from router.agent.follow import Follower
from router.agent.inforce import InForce
from router.agent.metrics import RouterCollector
from router.agent.report import EVERY_S, Reporter, Sender, every
from router.agent.shared import Shared, attach
from router.agent.stats import History
from router.files import on_hangup

_LAST_REPORT_S: Final = 1.0
_CONNECTIONS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Duty:
    """What an agent is started with. The plan comes from `controller`, or from `plan_file`, never from both.

    `admin_fd` is the listening socket of the admin API, which the supervisor owns.
    """

    run: Path
    rollout: str
    router: str
    admin_fd: int
    controller: link.Address | None = None
    plan_file: Path | None = None


async def serve(duty: Duty) -> None:
    """Do the agent's work until SIGTERM."""
    log = Log("agent")
    shared = attach(duty.run)
    in_force = InForce(shared, duty.rollout, log)
    in_force.start_from(duty.run)
    in_force.refresh()
    reporter = Reporter(shared, in_force, duty.router)
    history = History()
    async with contextlib.AsyncExitStack() as stack:
        server = await in_force.processes.listen(duty.run)
        stack.callback(server.close)
        parts = [
            in_force.watch(),
            in_force.keep(),
            every(EVERY_S, lambda: history.add(reporter.build())),
            _admin(duty, shared, in_force, history, reporter),
        ]
        sender: Sender | None = None
        if duty.controller is not None:
            controller = await stack.enter_async_context(
                link.Controller(duty.controller, duty.rollout, duty.router)
            )
            sender = Sender(reporter, controller, log)
            parts += [Follower(controller, in_force, log).run(), sender.run()]
        if duty.plan_file is not None:
            parts.append(_read_on_hangup(duty.plan_file, in_force, log))
        await _until_terminated([asyncio.ensure_future(part) for part in parts])
        if sender is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(sender.send(), _LAST_REPORT_S)
    log.info("stopped")


async def _until_terminated(parts: list["asyncio.Future[None]"]) -> None:
    """Wait for SIGTERM or SIGINT, then end all parts; raise what ended one of them before."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    done, _ = await asyncio.wait(
        [asyncio.ensure_future(_set(told)), *parts], return_when=asyncio.FIRST_COMPLETED
    )
    for part in parts:
        part.cancel()
    await asyncio.gather(*parts, return_exceptions=True)
    for part in done:
        part.result()


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def _read_on_hangup(plan_file: Path, in_force: InForce, log: Log) -> None:
    """Offer the plan file again at each SIGHUP."""
    hangup = asyncio.Event()
    on_hangup(asyncio.get_running_loop(), hangup.set)
    while True:
        await hangup.wait()
        hangup.clear()
        try:
            in_force.offer(plan_file.read_bytes())
        except OSError as error:
            log.warning("plan file unreadable, the last plan stays", path=plan_file, why=error)


class _Server(uvicorn.Server):
    """uvicorn without its own idea of signals: this process has one already."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _admin(duty: Duty, shared: Shared, in_force: InForce, history: History, reporter: Reporter) -> None:
    listening = socket.socket(fileno=duty.admin_fd)
    host = listening.getsockname()[0]
    token_file = duty.controller.token_file if duty.controller is not None else None
    app = admin(
        shared,
        in_force,
        history,
        RouterCollector(reporter.build, lambda: in_force.assignment, shared),
        Access(is_loopback=host == "::1" or host.startswith("127."), token_file=token_file),
    )
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        lifespan="off",
        limit_concurrency=_CONNECTIONS_MAX,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    await _Server(config).serve(sockets=[listening])
