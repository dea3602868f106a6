"""nginx, HAProxy and, where it is on PATH, Envoy: plain keep-alive proxies in front of the same recording model server.

`python -m tests.router.wire.peers` prints the table of differences between them and the router.
"""

import asyncio
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from headgate.wire.plan import Endpoint, Limits, PlanVersion
from tests.router.proxy.proxy_world import plan_of, serving, until
from tests.router.wire.corpus import LIMIT, REQUESTS, TAIL, Case
from tests.router.wire.talk import Recorder, converse, source

NGINX: Final = """
daemon off; worker_processes 1; pid {run}/nginx.pid; error_log {run}/nginx.log; user root;
events {{ worker_connections 512; }}
http {{
    access_log off; client_body_temp_path {run}/body; proxy_temp_path {run}/proxy;
    client_header_timeout 2s; client_body_timeout 2s; large_client_header_buffers 4 8k;
    upstream model {{ server 127.0.0.1:{model}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""
HAPROXY: Final = """
global
    maxconn 512
defaults
    mode http
    timeout connect 5s
    timeout client 2s
    timeout http-request 2s
    timeout server 20s
    option forwardfor
frontend clients
    bind 127.0.0.1:{port}
    default_backend model
backend model
    http-reuse always
    server model 127.0.0.1:{model}
"""
ENVOY: Final = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          codec_type: HTTP1
          use_remote_address: true
          request_headers_timeout: 2s
          stream_idle_timeout: 2s
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: model}}}}]}}
  clusters:
  - name: model
    type: STATIC
    load_assignment:
      cluster_name: model
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {model}}}}}}}
"""

REQUIRED: Final = ("nginx", "haproxy")
SLOW_S: Final = 20.0
"""Above every time-out of the peers: who has not closed by then waits for more."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one proxy made of one case: the statuses it answered, and the requests that the model server saw."""

    statuses: tuple[int, ...]
    seen: tuple[str, ...]

    def __str__(self) -> str:
        if self.seen:
            return f"forwards {len(self.seen)}" + (
                "" if self.is_sound else f", then {self.statuses[-1:] or 'closes'}"
            )
        return str(self.statuses[0]) if self.statuses else "closes"

    @property
    def is_sound(self) -> bool:
        """Whether each request that a model server saw was answered, and nothing else."""
        return self.statuses == (200,) * len(self.seen)


Table = dict[str, dict[str, Outcome]]
"""By case, by proxy; the router is `headgate`."""


def free_port() -> int:
    """A port that the kernel has just given, for programs that cannot be handed a socket."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def command(name: str, run: Path, port: int, model: int) -> list[str]:
    """How a peer is started, its configuration written into `run`."""
    text = {"nginx": NGINX, "haproxy": HAPROXY, "envoy": ENVOY}[name]
    file = run / f"{name}.yaml"
    file.write_text(text.format(run=run, port=port, model=model))
    return {
        "nginx": ["nginx", "-p", str(run), "-e", str(run / "nginx.log"), "-c", str(file)],
        "haproxy": ["haproxy", "-db", "-f", str(file)],
        "envoy": ["envoy", "-c", str(file), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"],
    }[name]


def accepts(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def peer(name: str, run: Path, model: int) -> AsyncIterator[int]:
    """A started peer; gives its port."""
    port = free_port()
    with (run / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(command(name, run, port, model), stdout=log, stderr=log)
        try:
            await until(lambda: process.poll() is not None or accepts(port), f"{name} accepts")
            assert process.poll() is None, (run / f"{name}.log").read_text()
            yield port
        finally:
            process.terminate()
            process.wait(30)


async def outcome(port: int, recorder: Recorder, case: Case, turn: asyncio.Semaphore) -> Outcome:
    """What the proxy on that port makes of the case, sent whole."""
    address = source()
    raw = case.raw if case.is_cut else case.raw + TAIL
    async with turn:
        heard = await converse(port, [raw], address, is_cut=case.is_cut, patience_s=SLOW_S)
    statuses = tuple(one.status for one in heard.answers if one.status >= 200)
    return Outcome(statuses, tuple(str(one) for one in recorder.seen[address]))


async def compare(run: Path, cases: Sequence[Case] = REQUESTS) -> Table:
    """The table of what each proxy makes of each case."""
    found: Table = {case.name: {} for case in cases}
    async with AsyncExitStack() as stack:
        recorder = await Recorder().start()
        stack.push_async_callback(recorder.stop)
        endpoint = Endpoint("127.0.0.1", recorder.port)
        v1 = PlanVersion(name="v1", identity="id-v1", role="stable", endpoints=(endpoint,))
        plan = plan_of(v1, limits=Limits(header_bytes_max=LIMIT))
        router = await stack.enter_async_context(serving(run, plan))
        ports = {"headgate": router.port}
        for name in (*REQUIRED, *(["envoy"] if shutil.which("envoy") else [])):
            ports[name] = await stack.enter_async_context(peer(name, run, recorder.port))
        turn = asyncio.Semaphore(32)
        for name, port in ports.items():
            outcomes = await asyncio.gather(*(outcome(port, recorder, case, turn) for case in cases))
            for case, one in zip(cases, outcomes, strict=True):
                found[case.name][name] = one
    return found


def differences(table: Table) -> dict[str, dict[str, Outcome]]:
    """The rows where not all saw the same requests to forward, or not all refused."""
    return {name: row for name, row in table.items() if len({one.seen for one in row.values()}) > 1}


def refused_by_all_others(table: Table) -> list[str]:
    """The cases of which the router forwarded more requests than any peer did."""
    return [
        name
        for name, row in table.items()
        if len(row["headgate"].seen) > max(len(one.seen) for peer, one in row.items() if peer != "headgate")
    ]


def read_as_nobody_else(table: Table) -> list[str]:
    """The cases of which the router forwarded requests that no peer forwarded like that: other bodies, other ends."""
    return [
        name
        for name, row in table.items()
        if row["headgate"].seen
        and all(one.seen != row["headgate"].seen for peer, one in row.items() if peer != "headgate")
    ]


def shown(table: Table) -> str:
    """The differences as a Markdown table."""
    rows = differences(table)
    names = list(next(iter(table.values())))
    lines = [f"| message | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {case} | {' | '.join(str(row[name]) for name in names)} |" for case, row in rows.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(shown(uvloop.run(compare(Path(folder)))))
