"""A real API server with many rollouts, and the real `headgate controller` as a process whose costs are read from outside."""

import asyncio
import json
import os
import re
import secrets
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx

from bench.controller.objects import Json, rollouts
from tests.cluster.testbed.cluster import ADMIN, Testbed
from tests.cluster.testbed.programs import Program, free_port
from tests.cluster.whole import install

HEADGATE: Final = Path(sys.executable).with_name("headgate")
AT_ONCE: Final = 16
WAIT_S: Final = 600.0
NO_ELECTION: Final = ("--no-leader-election",)

_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Controller:
    """One `headgate controller` for a namespace of the cluster."""

    def __init__(
        self, cluster: Testbed, namespace: str, folder: Path, name: str, options: Sequence[str], user: str
    ) -> None:
        self.user = user
        self._heard: dict[str, int] = {}
        self.port = free_port()
        self.token = secrets.token_urlsafe(16)
        token_file = folder / f"{name}.token"
        token_file.write_text(self.token)
        self.program = Program(
            name,
            [HEADGATE, "controller", "--kubeconfig", cluster.kubeconfig(user, namespace=namespace), "--api",
             f"127.0.0.1:{self.port}", "--token-file", token_file,
             "--allow-address", "127.0.0.0/8", *options],
            folder,
        )  # fmt: skip

    def start(self) -> float:
        """Start it; the monotonic second at which that was."""
        began = time.monotonic()
        self.program.start()
        return began

    async def ready(self) -> float:
        """The monotonic second at which it said that it had reconciled every rollout once."""
        async with httpx.AsyncClient(trust_env=False) as client:
            ends_at = time.monotonic() + WAIT_S
            while time.monotonic() < ends_at:
                with suppress(httpx.TransportError):
                    if (await client.get(f"http://127.0.0.1:{self.port}/readyz")).status_code == 200:
                        return time.monotonic()
                if not self.program.alive:
                    raise RuntimeError(f"the controller has ended: {self.program.tail()}")
                await asyncio.sleep(0.02)
        raise TimeoutError(f"not ready within {WAIT_S:.0f} s: {self.program.tail()}")

    async def says(self, *words: str, again: bool = False) -> None:
        """Wait until its log has any of these words; with `again`, once more than it has had when this was last awaited."""
        ends_at = time.monotonic() + WAIT_S
        while not any(self.said.count(word) > (self._heard.get(word, 0) if again else 0) for word in words):
            if time.monotonic() > ends_at:
                raise TimeoutError(f"it did not say {' or '.join(words)}: {self.said[-1000:]}")
            await asyncio.sleep(0.05)
        self._heard = {word: self.said.count(word) for word in (*self._heard, *words)}

    async def ended(self) -> None:
        """Wait until its process is gone."""
        ends_at = time.monotonic() + WAIT_S
        while self.program.alive:
            if time.monotonic() > ends_at:
                raise TimeoutError(f"it still runs: {self.said[-1000:]}")
            await asyncio.sleep(0.02)

    @property
    def said(self) -> str:
        """Its log so far."""
        return self.program.log.read_text() if self.program.log.exists() else ""

    @property
    def cpu_s(self) -> float:
        """Seconds of processor it has used."""
        fields = Path(f"/proc/{self.program.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def memory_mib(self) -> float:
        """Resident memory now."""
        status = Path(f"/proc/{self.program.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    async def reconciles(self) -> dict[float, float]:
        """How many reconciles took at most so many seconds, over all outcomes, since it started."""
        async with httpx.AsyncClient(
            trust_env=False, headers={"Authorization": f"Bearer {self.token}"}
        ) as client:
            text = (await client.get(f"http://127.0.0.1:{self.port}/metrics", timeout=30.0)).text
        counts: dict[float, float] = {}
        for bound, count in re.findall(r'headgate_reconcile_seconds_bucket{le="([^"]+)",[^}]*} (\S+)', text):
            counts[float(bound)] = counts.get(float(bound), 0.0) + float(count)
        return counts


class Scene:
    """A namespace with rollouts; everything a person or a workload would write goes straight to the API server."""

    def __init__(self, cluster: Testbed, namespace: str) -> None:
        install(cluster)
        self.cluster = cluster
        self.namespace = namespace
        self.client = httpx.AsyncClient(
            base_url=cluster.url,
            verify=ssl.create_default_context(cafile=str(cluster.authority.certificate)),
            headers={"Authorization": f"Bearer {cluster.token()}"},
            timeout=60.0,
            trust_env=False,
            limits=httpx.Limits(max_connections=AT_ONCE + 4),
        )

    async def begin(self) -> None:
        await self.create("/api/v1/namespaces", [{"metadata": {"name": self.namespace}}])

    async def close(self) -> None:
        await self.client.aclose()

    def controller(
        self, name: str = "controller", options: Sequence[str] = NO_ELECTION, user: str = ADMIN
    ) -> Controller:
        return Controller(self.cluster, self.namespace, self.cluster.folder, name, options, user)

    def key(self, name: str) -> str:
        return f"{self.namespace}/{name}"

    async def create(
        self, path: str, objects: Iterable[Json], on_created: Callable[[str], None] = lambda name: None
    ) -> None:
        """Create them all in the collection, some at once; `on_created(name)` after each."""
        await self._each((("POST", path, one) for one in objects), on_created)

    async def put(self, objects: Iterable[tuple[str, Json]]) -> None:
        """Write these objects whole, by path."""
        await self._each((("PUT", path, one) for path, one in objects))

    async def patch(self, name: str, body: Json) -> None:
        """A merge patch of one rollout, as `kubectl patch` would send it."""
        await self._ask("PATCH", rollouts(self.namespace, name), body)

    async def patch_all(self, names: Iterable[str], body: Json) -> None:
        await self._each(("PATCH", rollouts(self.namespace, name), body) for name in names)

    async def rollouts(self) -> dict[str, Json]:
        """All rollouts by name."""
        found: dict[str, Json] = {}
        after = ""
        while True:
            params = {"limit": "500", **({"continue": after} if after else {})}
            answer = await self.client.get(rollouts(self.namespace), params=params)
            page = answer.raise_for_status().json()
            found |= {one["metadata"]["name"]: one for one in page["items"]}
            after = page["metadata"].get("continue", "")
            if not after:
                return found

    async def until_healthy(self, count: int) -> float:
        """The monotonic second at which so many rollouts were seen Healthy, by watches as `kubectl get -w` has them."""
        async with asyncio.timeout(WAIT_S):
            while True:
                healthy = {name for name, one in (await self.rollouts()).items() if is_healthy(one)}
                if len(healthy) >= count or await self._watch_healthy(healthy, count):
                    return time.monotonic()

    async def _watch_healthy(self, healthy: set[str], count: int) -> bool:
        """Add those that become Healthy until there are so many; False when the server ended the watch before."""
        params = {"watch": "true", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan",
                  "allowWatchBookmarks": "true", "resourceVersion": "0", "timeoutSeconds": "300"}  # fmt: skip
        path = rollouts(self.namespace)
        async with self.client.stream("GET", path, params=params, timeout=WAIT_S) as events:
            async for line in events.aiter_lines():
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED") and is_healthy(event["object"]):
                    healthy.add(event["object"]["metadata"]["name"])
                if len(healthy) >= count:
                    return True
        return False

    async def _each(
        self, asked: Iterable[tuple[str, str, Json]], on_done: Callable[[str], None] = lambda name: None
    ) -> None:
        waiting = iter(asked)

        async def some() -> None:
            for method, path, body in waiting:
                await self._ask(method, path, body)
                on_done(body.get("metadata", {}).get("name", ""))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(some())

    async def _ask(self, method: str, path: str, body: Json) -> None:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = await self.client.request(
            method, path, content=json.dumps(body), headers={"Content-Type": kind}
        )
        if answer.status_code >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")


def is_healthy(one: Json) -> bool:
    status: dict[str, Any] = one.get("status") or {}
    is_current = status.get("observedGeneration") == one["metadata"]["generation"]
    return is_current and status.get("phase") == "Healthy"
