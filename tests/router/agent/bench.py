"""An agent as the real process it is, a small real controller over HTTP, and workers that keep their side of the contract."""

import asyncio
import contextlib
import json
import mmap
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from headgate.wire.codec import decode_telemetry, encode
from headgate.wire.plan import Applied, Endpoint, PlanVersion, RoutePlan, SlotRange
from headgate.wire.telemetry import ShadowCounters, Telemetry
from router.core.channel import RUN_FILES, Assignment, Frames, Hello, Report, frame
from router.core.counters import ENDPOINTS_REVISION, EPOCH, SERVING, STATE, Block
from router.supervisor.rundir import RunDirectory, claim
from router.supervisor.sockets import Address, address_of, listen

DEADLINE_S = 60.0
ROLLOUT = "ml/fraud"


def until(condition: Callable[[], Any], what: str = "") -> Any:
    """What the condition gives once it gives something; fails after a generous deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.005)
    return found


def make_plan(
    epoch: int = 1, generation: int = 1, revision: int = 0, *, share: int = 0, **more: Any
) -> RoutePlan:
    """v1 is stable, v2 has `share` basis points."""
    slots = [SlotRange(0, 10_000 - share, "v1")] + (
        [SlotRange(10_000 - share, 10_000, "v2")] if share else []
    )
    fields: dict[str, Any] = {
        "rollout": ROLLOUT,
        "epoch": epoch,
        "generation": generation,
        "endpoints_revision": revision,
        "salt": "salt",
        "stable": "v1",
        "versions": (
            PlanVersion("v1", "id-1", "stable", (Endpoint("127.0.0.1", 9),)),
            PlanVersion("v2", "id-2", "candidate", (Endpoint("127.0.0.1", 9),)),
        ),
        "slots": tuple(slots),
    }
    return RoutePlan(**{**fields, **more})


class SmallController:
    """Offers `plan` by long poll and keeps what routers say. `answer_status`, if set, is all it ever answers."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.plan: RoutePlan | None = None
        self.raw: bytes | None = None
        self.answer_status: int | None = None
        self.location = ""
        self.polls: list[dict[str, str]] = []
        self.telemetry: list[Telemetry] = []
        self._socket = listen(Address("127.0.0.1", port))
        self.port = address_of(self._socket).port
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            self._app(),
            log_level="error",
            lifespan="off",
            timeout_graceful_shutdown=1,
            ssl_context_factory=None if tls is None else lambda config, default: tls,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve(sockets=[self._socket]))
        )
        self._thread.start()
        until(lambda: self._server.started, "the controller started")

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(DEADLINE_S)
        with contextlib.suppress(OSError):
            self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def acknowledged(self, plan: RoutePlan) -> bool:
        return any(poll["applied"] == str(plan.triple) for poll in self.polls)

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/v1/routes/ml/fraud")
        async def routes(request: Request) -> Response:
            seen = {**request.query_params, **{f"header {k}": v for k, v in request.headers.items()}}
            self.polls.append(seen)
            return await self._answer(request.query_params["applied"], float(request.query_params["wait"]))

        @app.post("/v1/telemetry")
        async def telemetry(request: Request) -> Response:
            if self.answer_status is not None:
                return Response(status_code=self.answer_status, headers=self._headers())
            self.telemetry.append(decode_telemetry(await request.body()))
            return Response(status_code=204)

        return app

    def _headers(self) -> dict[str, str]:
        return {"location": self.location} if self.location else {}

    async def _answer(self, applied: str, wait_s: float) -> Response:
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and not self._server.should_exit:
            if self.answer_status is not None:
                return Response(status_code=self.answer_status, headers=self._headers())
            if self.raw is not None:
                return Response(self.raw)
            if self.plan is not None and str(self.plan.triple) != applied:
                return Response(encode(self.plan))
            await asyncio.sleep(0.005)
        return Response(status_code=304)


class SmallWorker:
    """A worker's side of the contract, in this process: its block of shared memory and its line to the agent.

    `refuses` is what it says to every plan instead of applying it; while `is_deaf` it is alive and not connected.
    """

    def __init__(self, run: Path, index: int = 0, *, refuses: str = "", is_deaf: bool = False) -> None:
        self.run, self.index, self.refuses, self.is_deaf = run, index, refuses, is_deaf
        self.assignment: Assignment | None = None
        with (run / RUN_FILES.counters).open("r+b") as file:
            self.cells = memoryview(mmap.mmap(file.fileno(), 0))
        self.block = Block(self.cells, index)
        self.block.begin(os.getpid(), int(time.time() * 1000))
        self.block.cells[STATE] = SERVING
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._talk_forever, daemon=True)
        self._thread.start()

    def become(self, state: int) -> None:
        self.block.cells[STATE] = state

    def close(self) -> None:
        self._closed.set()
        self._thread.join(DEADLINE_S)

    def _talk_forever(self) -> None:
        while not self._closed.wait(0.01):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
                if not self.is_deaf:
                    line.connect(str(self.run / RUN_FILES.agent_socket))
                    self._talk(line)

    def _talk(self, line: socket.socket) -> None:
        line.settimeout(0.01)
        line.sendall(frame(Hello("worker", self.index, os.getpid())))
        frames = Frames(Assignment)
        while not self._closed.is_set() and not self.is_deaf:
            with contextlib.suppress(TimeoutError):
                data = line.recv(65536)
                if not data:
                    return
                for message in frames.feed(data):
                    assert isinstance(message, Assignment)
                    line.sendall(frame(self._take(message)))

    def _take(self, assignment: Assignment) -> Report:
        self.assignment = assignment
        if not self.refuses:
            self.block.write_applied(assignment.plan.triple)
            for version in assignment.plan.versions:
                self.block.claim(assignment.columns[version.identity], version.identity)
        running = Applied(*self.block.cells[EPOCH : ENDPOINTS_REVISION + 1])
        return Report(str(running), self.refuses)


class AgentProcess:
    """`python -m router.agent` on a run directory of its own."""

    def __init__(self, folder: Path, workers: int = 1) -> None:
        self.directory: RunDirectory = claim(folder / "run", workers)
        self.run = self.directory.path
        self._admin = listen(Address("127.0.0.1", 0))
        self.admin = address_of(self._admin).url
        self._log = folder / "agent.log"
        self.words: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> "AgentProcess":
        self.words = list(words) or self.words
        argv = [sys.executable, "-m", "router.agent", "--run", str(self.run), "--rollout", ROLLOUT]
        argv += ["--id", "r1", "--admin-fd", str(self._admin.fileno()), *self.words]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(argv, pass_fds=[self._admin.fileno()], stderr=log, stdout=log)
        return self

    def follow(self, controller: SmallController, *words: str) -> "AgentProcess":
        token = self.run / "token"
        token.write_text("s3cret\n")
        return self.start("--controller", controller.url, "--token-file", str(token), *words)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self._admin.close()
        self.directory.release()

    def log(self) -> str:
        return self._log.read_text()

    def ask(self, path: str, host: str = "localhost") -> tuple[int, str]:
        """Status and body of an admin request."""
        request = urllib.request.Request(self.admin + path, headers={"host": host})
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def get(self, path: str) -> Any:
        status, body = self.ask(path)
        assert status == 200, body
        return json.loads(body)

    def refusal(self, path: str) -> tuple[int, str]:
        """Status of an admin request that is refused, and what is wrong with it."""
        status, body = self.ask(path)
        return status, json.loads(body)["error"]["what"]


class SmallObserver:
    """The observer's line to the agent: says what it is told to say."""

    def __init__(self, run: Path) -> None:
        self._line = socket.socket(socket.AF_UNIX)
        self._line.settimeout(DEADLINE_S)
        self._line.connect(str(run / RUN_FILES.agent_socket))
        self._line.sendall(frame(Hello("observer", 0, os.getpid())))

    def say(self, *shadows: ShadowCounters, error: str = "") -> None:
        self._line.sendall(frame(Report("1.1.0", error, shadows)))

    def close(self) -> None:
        self._line.close()


class Bench:
    """Makes the parts of a test and closes them after it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[Any] = []

    def _keep(self, part: Any) -> Any:
        self._open.append(part)
        return part

    def controller(self, port: int = 0, tls: ssl.SSLContext | None = None) -> SmallController:
        """With `tls` it is served by HTTPS only."""
        found: SmallController = self._keep(SmallController(port, tls))
        return found

    def agent(self, workers: int = 1) -> AgentProcess:
        found: AgentProcess = self._keep(AgentProcess(self._folder, workers))
        return found

    def worker(self, run: Path, index: int = 0, **how: Any) -> SmallWorker:
        found: SmallWorker = self._keep(SmallWorker(run, index, **how))
        return found

    def observer(self, run: Path) -> SmallObserver:
        until((run / RUN_FILES.agent_socket).exists, "the agent listens")
        found: SmallObserver = self._keep(SmallObserver(run))
        return found

    def close(self) -> None:
        for part in reversed(self._open):
            part.close()

    until = staticmethod(until)
    plan = staticmethod(make_plan)
