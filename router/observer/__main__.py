"""The observer as a process: sockets, clock and disk around `Observer`."""

import argparse
import asyncio
import gc
import json
import secrets
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from headgate.log import Log
from headgate.reach import Reach
from router import tls
from router.core import reach
from router.core.channel import RUN_FILES, Assignment, Report
from router.files import socket_path
from router.observer.access import STDERR, AccessFile
from router.observer.agent import AgentLine
from router.observer.intake import Intake
from router.observer.observer import Observer
from router.observer.records import RecordLog
from router.observer.tallies import Tallies, reported

REPORT_S: Final = 1.0
FLUSH_S: Final = 0.25


class Process:
    """The observer of one run directory."""

    def __init__(self, run: Path, log: Log, upstream: tls.Client, may_reach: Reach, access_log: str) -> None:
        """`access_log` is where its lines go. Unusable if `upstream` names files that are of no use."""
        self._run = run
        self._log = log
        self._records = RecordLog(run / RUN_FILES.records, log)
        self._tallies = Tallies(run / RUN_FILES.shadows, _boot(run), log)
        self._tls = tls.Followed(upstream, log)
        self._access = AccessFile(access_log, log)
        self._observer = Observer(self._tallies, self._records, secrets.token_bytes(32), self._tls, may_reach)
        self._agent = AgentLine(socket_path(run, RUN_FILES.agent_socket), self._follow, log)
        self._intake = Intake(
            socket_path(run, RUN_FILES.observer_socket), self._observer.take, log, self._access.take
        )
        self._refused = ""
        self._kept = reported(self._tallies.snapshot("", 0.0))  # as the file has it

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then what was compared is on disk."""
        self._start_from_file()
        await self._intake.open()
        self._log.info(
            "observing", socket=self._run / RUN_FILES.observer_socket, applied=self._observer.plans.applied
        )
        talking = asyncio.create_task(self._agent.run())
        try:
            await self._tick(stop)
        finally:
            self._intake.close()
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
            await self._observer.close()
            await self._flush()
            await self._report()
            self._records.close()

    def _follow(self, assignment: Assignment) -> None:
        """A plan from the agent: taken or refused, and answered either way."""
        self._refused = self._observer.follow(assignment)
        if self._refused:
            self._log.warning("plan refused", why=self._refused)
        self._say()

    def _start_from_file(self) -> None:
        path = self._run / RUN_FILES.plan
        try:
            assignment = msgspec.msgpack.decode(path.read_bytes(), type=Assignment)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._log.warning(
                "the last plan cannot be read; waiting for the agent's", path=path, why=str(error)[:200]
            )
            return
        self._observer.follow(assignment)

    async def _tick(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        next_report = loop.time() + REPORT_S
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), FLUSH_S)
            await self._flush()
            if loop.time() >= next_report:
                next_report = loop.time() + REPORT_S
                self._observer.tidy()
                await asyncio.to_thread(self._tls.refresh)
                await self._report()

    async def _flush(self) -> None:
        """Write the waiting records, in a thread: a slow disk must not keep shadows waiting."""
        waiting = self._access.waiting()
        if waiting:
            await asyncio.to_thread(self._access.write, waiting)
        plan, lines = self._observer.plans.in_force, self._records.take()
        if plan is None or not lines:
            return
        bytes_max = plan.capture.records_bytes_max
        for lost in await asyncio.to_thread(self._records.write, lines, bytes_max):
            self._tallies.of(lost.pairing).drop("record_log_full")

    async def _report(self) -> None:
        """Keep the counters, then report what was kept."""
        plan = self._observer.plans.in_force
        if plan is None:
            return
        snapshot = self._tallies.snapshot(plan.rollout, time.time())
        await asyncio.to_thread(self._tallies.save, snapshot)
        self._kept = reported(snapshot)
        self._say()

    def _say(self) -> None:
        """Every report has all counters, or the agent would take them for gone; only such as are on disk already."""
        self._agent.say(Report(self._observer.plans.applied, self._refused, self._kept))


def _boot(run: Path) -> str:
    """The id of this life of the router."""
    content = json.loads((run / RUN_FILES.boot).read_bytes())
    return str(content["boot"])


async def _serve(process: Process) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await process.run(stop)


def main() -> int:
    """Run until SIGTERM; 1 if the run directory is not one."""
    parser = argparse.ArgumentParser(prog="python -m router.observer", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the router's run directory")
    tls.add_client_to(parser)
    reach.add_to(parser)
    parser.add_argument("--access-log", default=STDERR, help="where the workers' lines go; - is stderr")
    given = parser.parse_args()
    run: Path = given.run
    output = Log("observer")
    gc.set_threshold(50_000, 20, 50)  # each pair makes hundreds of objects and no cycles
    try:
        process = Process(run, output, tls.client_of(given), reach.told(given), given.access_log)
        uvloop.run(_serve(process))
    except (OSError, ValueError, KeyError, tls.Unusable) as error:
        output.error("the observer cannot start", run=run, why=str(error)[:300])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
