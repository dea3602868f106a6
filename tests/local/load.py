"""Constant open-loop load whose every request is accounted for: which answer it got, and that it was its own."""

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Load:
    """Sends `rate` requests a second to `url` in a thread, from start to stop, each with an id of its own.

    `lost`: no answer at all. `mixed`: the answer to another request. `failed`: 5xx, by version. Times are Unix seconds.
    Every `beta`-th user (0: none) sends `x-beta: 1`; `beta_answers` are those that these users got, by version.
    """

    url: str
    rate: float = 50.0
    users: int = 200
    beta: int = 0
    sent: int = 0
    lost: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    beta_answers: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    last_seen: dict[str, float] = field(default_factory=dict)
    causes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more and wait for the answers that are under way."""
        self._stop.set()
        self._thread.join(60)

    def without_loss(self) -> None:
        """Every request was answered, by its own answer, and none failed at the router's hands."""
        assert self.sent > 0
        assert not self.lost, self.lost[:5]
        assert not self.mixed, self.mixed[:5]
        assert not self.causes, self.causes

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=100)
        async with httpx.AsyncClient(
            base_url=self.url, limits=limits, timeout=30.0, trust_env=False
        ) as client:
            pending: set[asyncio.Task[None]] = set()
            began = time.monotonic()
            while not self._stop.is_set():
                due = began + self.sent / self.rate
                await asyncio.sleep(max(due - time.monotonic(), 0))
                task = asyncio.create_task(self._one(client, self.sent))
                self.sent += 1
                pending.add(task)
                task.add_done_callback(pending.discard)
            if pending:
                await asyncio.wait(pending, timeout=40)

    async def _one(self, client: httpx.AsyncClient, number: int) -> None:
        name = f"request-{number}"
        body = {
            "id": name,
            "inputs": [{"name": "x", "datatype": "INT64", "shape": [1, 2], "data": [number, 0]}],
        }
        user = number % self.users
        is_beta = self.beta > 0 and user % self.beta == 0
        headers = {"x-user-id": f"user-{user}", "x-request-id": name} | ({"x-beta": "1"} if is_beta else {})
        try:
            answer = await client.post("/v2/models/sum/infer", json=body, headers=headers)
        except httpx.HTTPError as error:
            self.lost.append(f"{name}: {error!r}")
            return
        version = answer.headers.get("x-headgate-version", "none")
        self.last_seen[version] = time.time()
        self.answers[version] += 1
        self.beta_answers[version] += is_beta
        if answer.status_code >= 500:
            self.failed[version] += 1
            cause = _cause(answer)
            if cause:
                self.causes[f"{answer.status_code} {cause}"] += 1
        elif answer.json().get("id") != name:
            self.mixed.append(f"{name} got {answer.text[:200]}")


def _cause(answer: httpx.Response) -> str:
    """Why the router itself refused or failed the request; empty for a model's own answer."""
    try:
        said: Any = answer.json()
    except ValueError:
        return "not JSON"
    error = said.get("error") if isinstance(said, dict) else None
    return str(error.get("cause")) if isinstance(error, dict) else ""
