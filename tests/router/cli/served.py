"""A whole router as a user starts it, and model servers for it to route to."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from headgate.wire.codec import encode
from headgate.wire.plan import Endpoint, PlanVersion, RoutePlan, SlotRange
from tests.router.agent.bench import DEADLINE_S, until

ROLLOUT = "ml/fraud"


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


class ModelServer:
    """Answers every request with the name of its version; `/slow` not before `finish` is set."""

    def __init__(self, name: str) -> None:
        self.is_asked_slowly = threading.Event()
        self.finish = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                if self.path == "/slow":
                    outer.is_asked_slowly.set()
                    outer.finish.wait(DEADLINE_S)
                self.send_response(200)
                self.send_header("content-length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(DEADLINE_S)


def make_plan(ports: dict[str, int], *, generation: int = 1, all_to: str = "v1") -> RoutePlan:
    """Every request goes to `all_to`; v1 is stable."""
    return RoutePlan(
        rollout=ROLLOUT,
        epoch=1,
        generation=generation,
        salt="salt",
        stable="v1",
        versions=tuple(
            PlanVersion(
                name, f"id-{name}", "stable" if name == "v1" else "candidate", (Endpoint("127.0.0.1", port),)
            )
            for name, port in ports.items()
        ),
        slots=(SlotRange(0, 10_000, all_to),),
    )


class Router:
    """`python -m router …` with a run directory of its own; `start` waits until it says that it is ready."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self.ready_file = folder / "ready.json"
        self._log = folder / "router.log"
        self.process: subprocess.Popen[str] | None = None

    def start(
        self, *words: str, listen: str = "127.0.0.1:0", scheme: str = "http", **environment: str
    ) -> "Router":
        argv = [
            sys.executable,
            "-m",
            "router",
            *words,
            "--run",
            str(self.run),
            "--ready-file",
            str(self.ready_file),
        ]
        more = ["--listen", listen, "--admin", "127.0.0.1:0", "--drain", "20"]
        argv = [*argv[:3], *more, *argv[3:]]  # first, so that what a test listens on comes after it
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **environment}
            )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        assert self.said.startswith(f"router: serving ml/fraud on {scheme}://127.0.0.1:"), self.log()
        return self

    @property
    def ready(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ready_file.read_text())
        return found

    def log(self) -> str:
        return self._log.read_text()

    def get(self, where: str = "listen", path: str = "/") -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.ready[where], timeout=DEADLINE_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def children(self) -> dict[str, int]:
        """Pid by name of each process, as the log last said."""
        found = {}
        for line in self.log().splitlines():
            if "process started" in line:
                name = line.partition("name=")[2].rpartition(" pid=")[0].strip('"')
                found[name] = int(line.rpartition("pid=")[2])
        return found

    def kill_child(self, name: str) -> None:
        """SIGKILL it and wait until another runs in its place."""
        pid = self.children()[name]
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.children()[name] != pid, f"{name} runs again")

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.communicate()


def call(*words: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `python -m router …` that is expected to end by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "router", *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


class Stage:
    """Two model servers, plans for them, and routers that are stopped in the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.servers = {name: ModelServer(name) for name in ("v1", "v2")}
        self._routers: list[Router] = []
        self.ports = {name: server.port for name, server in self.servers.items()}
        self.plan_file = folder / "plan.json"
        self.write_plan()

    def write_plan(self, **how: Any) -> RoutePlan:
        plan = make_plan(self.ports, **how)
        self.plan_file.write_bytes(encode(plan))
        return plan

    def router(self, name: str = "one") -> Router:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        found = Router(folder)
        self._routers.append(found)
        return found

    def serving(self, *words: str) -> Router:
        return self.router().start("--plan", str(self.plan_file), *words)

    def close(self) -> None:
        for router in self._routers:
            router.close()
        for server in self.servers.values():
            server.close()
