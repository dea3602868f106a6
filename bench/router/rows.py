"""The rows of the table, each measured on its own: what ran, round by round, and the targets that it answers."""

import os
import resource
import signal
import socket
import statistics
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

import uvloop

from bench.report import Target
from bench.router import load, servers
from bench.router.load import Heard, Saturation
from bench.router.machine import Cores, memory_mb
from bench.router.peers import Proxy, headgate, peer, plan_of, shadowed
from headgate.wire.codec import encode


@dataclass(frozen=True, slots=True)
class Scale:
    """How long and how often: `rounds` of `seconds` each."""

    rounds: int
    seconds: int
    rate_seconds: int
    connections: int
    flips: int


QUICK: Final = Scale(rounds=3, seconds=3, rate_seconds=5, connections=10_000, flips=300)
FULL: Final = Scale(rounds=5, seconds=10, rate_seconds=30, connections=10_000, flips=10_000)


@dataclass(slots=True)
class Bench:
    """What all rows share; `programs` are the peers that are there, by name."""

    cores: Cores
    folder: Path
    scale: Scale
    model: int
    model_pid: int
    programs: dict[str, str]
    targets: list[Target] = field(default_factory=list)
    runs: dict[str, Any] = field(default_factory=dict)
    _made: int = 0

    def place(self, name: str) -> Path:
        """A folder that nobody has yet."""
        self._made += 1
        return self.folder / f"{self._made}-{name}"

    @contextmanager
    def proxies(
        self, names: Sequence[str], *, mirrors: bool = False, buffers: bool = True, model: int | None = None
    ) -> Iterator[list[Proxy]]:
        """Headgate and those peers that are there, all at the same time in front of the same server."""
        port = self.model if model is None else model
        with ExitStack() as stack:
            plan = shadowed(port, port) if mirrors else plan_of(port)
            found = [stack.enter_context(headgate(self.cores, self.place("headgate"), plan))]
            for name in names:
                if name in self.programs:
                    one = peer(
                        name,
                        self.programs[name],
                        self.cores,
                        self.place(name),
                        port,
                        mirrors=mirrors,
                        buffers=buffers,
                    )
                    found.append(stack.enter_context(one))
            yield found

    def saturated(self, row: str, found: Sequence[Proxy], **how: Any) -> dict[str, float]:
        """Requests a second of each, medians over rounds in turns; failures are said, not hidden."""
        rounds: dict[str, list[Saturation]] = {one.name: [] for one in found}
        for _ in range(self.scale.rounds):
            for one in found:
                rounds[one.name].append(
                    load.saturate(one.port, one.pid, one.folder, self.cores.others, self.scale.seconds, **how)
                )
        self.runs[row] = {name: [asdict(one) for one in several] for name, several in rounds.items()}
        for name, several in rounds.items():
            said = statistics.median(one.requests_s for one in several)
            cpu, busy = (
                statistics.median(getattr(one, what) for one in several) for what in ("cpu_us", "busy")
            )
            failed = sum(one.failed for one in several)
            print(
                f"  {row:24} {name:9} {said:10,.0f}/s  {cpu:7.1f} µs CPU  {busy:4.0%} of its core"
                + (f"  {failed} FAILED" if failed else "")
                + ("  (something else was the limit)" if busy < 0.85 else "")
            )
        return {
            name: statistics.median(one.requests_s for one in several) for name, several in rounds.items()
        }

    def ratio(self, name: str, rates: dict[str, float], other: str, bound: float) -> None:
        """A target against a peer, if it was there."""
        if other in rates:
            value = round(rates["headgate"] / rates[other], 3)
            self.targets.append(Target(f"{name}, x {other}", value, ">=", bound))


def split(bench: Bench) -> None:
    """Plain weighted split, 200-byte JSON, eight connections."""
    with bench.proxies(("nginx", "haproxy", "envoy")) as found:
        direct = load.saturate(
            bench.model, bench.model_pid, bench.folder, bench.cores.others, bench.scale.seconds
        )
        bench.runs["load side alone"] = asdict(direct)
        print(f"  {'load side alone':24} {'':9} {direct.requests_s:10,.0f}/s")
        rates = bench.saturated("split", found)
        bench.ratio("plain split, requests/s", rates, "nginx", 0.85)
        bench.ratio("plain split, requests/s", rates, "envoy", 2.5)
        rates = bench.saturated("new connections", found, closes=True)
        bench.ratio("new connections/s", rates, "envoy", 1.0)


def bodies(bench: Bench) -> None:
    """Requests and answers of 300 KB and 1 MB."""
    with bench.proxies(("nginx", "haproxy", "envoy")) as found:
        for size in servers.BODIES:
            rates = bench.saturated(f"{size:,} bytes", found, path=f"/bodies/{size}", body_bytes=size)
            bench.ratio(f"{size // 1000} KB bodies both ways, requests/s", rates, "envoy", 1.0)


def latency(bench: Bench) -> None:
    """What a proxy adds at 500 requests a second."""
    with bench.proxies(("nginx", "haproxy", "envoy")) as found:
        ports = {"direct": bench.model} | {one.name: one.port for one in found}
        p99 = _in_turns(bench, "latency at 500/s", ports, 500)
    added = p99["headgate"] - p99["direct"]
    bench.targets.append(Target("added at 500 requests/s, p99, ms", round(added, 3), "<=", 0.25))


def _in_turns(bench: Bench, row: str, ports: dict[str, int], rate: float) -> dict[str, float]:
    """The p99 of each port in milliseconds, medians over rounds in turns."""
    rounds: dict[str, list[Heard]] = {name: [] for name in ports}
    for _ in range(bench.scale.rounds):
        for name, port in ports.items():
            rounds[name].append(_asked(bench, port, rate))
    bench.runs[row] = {
        name: [
            {"p50_ms": one.quantile_ms(0.5), "p99_ms": one.quantile_ms(0.99), "lost": len(one.lost)}
            for one in several
        ]
        for name, several in rounds.items()
    }
    for name, several in rounds.items():
        p50, p99 = (statistics.median(one.quantile_ms(q) for one in several) for q in (0.5, 0.99))
        print(
            f"  {row:24} {name:9} p50 {p50:7.3f} ms  p99 {p99:7.3f} ms  lost {sum(len(one.lost) for one in several)}"
        )
    return {
        name: statistics.median(one.quantile_ms(0.99) for one in several) for name, several in rounds.items()
    }


def _asked(bench: Bench, port: int, rate: float) -> Heard:
    """Constant load from this process."""
    return uvloop.run(load.at_rate(port, rate, bench.scale.rate_seconds))


def shadow(bench: Bench) -> None:
    """Every request copied; Headgate also compares each pair."""
    with bench.proxies(("nginx", "envoy"), mirrors=True) as found:
        rates = bench.saturated("100 % shadow", found)
        bench.ratio("100 % shadow with comparison, requests/s", rates, "nginx", 1.0)
        bench.ratio("100 % shadow with comparison, requests/s", rates, "envoy", 2.0)
        _settled(found[0])
        bench.runs["100 % shadow"]["coverage"] = _coverage(found[0])
        print(f"  {'':24} headgate  compared {_coverage(found[0]):.1%} of its requests at saturation")
    with headgate(bench.cores, bench.place("headgate"), shadowed(bench.model, bench.model)) as one:
        heard = _asked(bench, one.port, 1000)
        _settled(one)
        coverage = _coverage(one)
        bench.runs["shadow at 1,000/s"] = {"coverage": coverage, "p99_ms": heard.quantile_ms(0.99)}
        bench.targets.append(
            Target("pairs compared at 1,000 requests/s, ratio", round(coverage, 4), ">=", 0.99)
        )


def _metrics(one: Proxy) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{one.ready['admin']}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")
    }


def _sum(values: dict[str, float], name: str) -> float:
    return sum(
        value for key, value in values.items() if key.partition("{")[0] == f"headgate_router_{name}_total"
    )


def _settled(one: Proxy) -> None:
    """Until no pair is added any more."""
    before = -1.0
    while (now := _sum(_metrics(one), "shadow_pairs")) != before:
        before = now
        time.sleep(2.5)


def _coverage(one: Proxy) -> float:
    values = _metrics(one)
    return _sum(values, "shadow_pairs") / max(_sum(values, "requests"), 1.0)


def stream(bench: Bench) -> None:
    """Server-sent events, chunk by chunk."""
    delays: dict[str, list[float]] = {}
    with (
        servers.odd("stream", bench.cores, bench.place("stream")) as model,
        bench.proxies(("nginx", "haproxy", "envoy"), buffers=False, model=model) as found,
    ):
        ports = {"direct": model} | {one.name: one.port for one in found}
        chunks = bench.scale.rate_seconds * 50
        for _ in range(bench.scale.rounds):
            for name, port in ports.items():
                said = sorted(uvloop.run(load.chunk_delays(port, chunks)))
                delays.setdefault(name, []).append(said[int(chunks * 0.99)])
    bench.runs["chunks, p99 ms"] = delays
    p99 = {name: statistics.median(several) for name, several in delays.items()}
    for name, value in p99.items():
        print(f"  {'chunks':24} {name:9} p99 {value:7.3f} ms")
    added = round(p99["headgate"] - p99["direct"], 3)
    bench.targets.append(Target("added to a chunk of a stream, p99, ms", added, "<=", 0.3))


def memory(bench: Bench) -> None:
    """A worker at rest, and with many connections at rest."""
    wanted = bench.scale.connections
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with headgate(bench.cores, bench.place("headgate"), plan_of(bench.model)) as one:
        idle = memory_mb(one.worker)
        opened: list[socket.socket] = []
        try:
            for _ in range(wanted):
                opened.append(socket.create_connection(("127.0.0.1", one.port), timeout=60))
            opened[-1].sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
            assert opened[-1].recv(4096).startswith(b"HTTP/1.1 200")
            many = memory_mb(one.worker)
        finally:
            for each in opened:
                each.close()
    bench.runs["memory"] = {"idle_mb": idle, "connections": wanted, "connections_mb": many}
    bench.targets.append(Target("memory of a worker, MB", round(idle, 1), "<=", 40))
    bench.targets.append(Target(f"memory with {wanted:,} idle connections, MB", round(many, 1), "<=", 250))


def flips(bench: Bench) -> None:
    """Plan after plan under load: how soon the first request is on it, and that none is lost."""
    with headgate(bench.cores, bench.place("headgate"), plan_of(bench.model, candidate=0)) as one:
        flipping = _Flips(one, bench.model, bench.scale.flips)
        heard = uvloop.run(
            load.at_rate(one.port, 500, 3600, answered=flipping.answered, is_over=lambda: flipping.is_over)
        )
    took = sorted(flipping.took_ms)
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    bench.runs["flips"] = {
        "flips": len(took),
        "requests": len(heard.seconds),
        "lost": heard.lost[:20],
        "p50_ms": p50,
        "p99_ms": p99,
        "max_ms": took[-1],
    }
    print(f"  {'flips':24} headgate  p50 {p50:.1f} ms  p99 {p99:.1f} ms  {len(heard.seconds):,} requests")
    bench.targets.append(Target("plan arrived to first request on it, median, ms", round(p50, 2), "<=", 10))
    bench.targets.append(
        Target(f"requests lost in {len(took):,} changes of plan", float(len(heard.lost)), "<=", 0)
    )


class _Flips:
    """Writes another plan whenever an answer shows that the last one is in force."""

    def __init__(self, one: Proxy, model: int, count: int) -> None:
        self._one = one
        self._model = model
        self._left = count
        self._generation = 1
        self._wanted = "v1"
        self._at = 0.0
        self.took_ms: list[float] = []

    @property
    def is_over(self) -> bool:
        return self._left == 0

    def answered(self, sent: float, version: str) -> None:
        """An answer of this version to a request sent then."""
        if version != self._wanted or self.is_over:
            return
        if self._at:
            self.took_ms.append((sent - self._at) * 1000)
            self._left -= 1
        self._generation += 1
        self._wanted = "v2" if self._generation % 2 == 0 else "v1"
        plan = plan_of(
            self._model, generation=self._generation, candidate=10_000 if self._wanted == "v2" else 0
        )
        (self._one.folder / "plan.json").write_bytes(encode(plan))
        self._at = monotonic()
        os.kill(self._one.pid, signal.SIGHUP)


def bad_shadows(bench: Bench) -> None:
    """A shadow that hangs, is huge or talks nonsense, against none at all: live p99 at 500 requests a second."""
    with ExitStack() as stack:
        none = stack.enter_context(
            headgate(bench.cores, bench.place("headgate"), plan_of(bench.model, candidate=0))
        )
        ports = {"none": none.port}
        for kind in ("hang", "huge", "nonsense"):
            server = stack.enter_context(servers.odd(kind, bench.cores, bench.place(kind)))
            plan = shadowed(bench.model, server, timeout_ms=1000)
            ports[kind] = stack.enter_context(headgate(bench.cores, bench.place("headgate"), plan)).port
        p99 = _in_turns(bench, "shadow that is", ports, 500)
    worst = max(p99[kind] for kind in ports) - p99["none"]
    bound = round(max(1.0, 0.02 * p99["none"]), 3)
    bench.targets.append(Target("added by the worst shadow to live p99, ms", round(worst, 3), "<=", bound))


ROWS: Final[dict[str, Callable[[Bench], None]]] = {
    "split": split,
    "latency": latency,
    "shadow": shadow,
    "bodies": bodies,
    "stream": stream,
    "memory": memory,
    "flips": flips,
    "bad-shadows": bad_shadows,
}
