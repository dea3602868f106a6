"""Who may ask the admin API, where it is not on loopback: the kernel's own address decides, so this asks the application."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from headgate.log import Log
from router.agent.admin import Access, admin
from router.agent.inforce import InForce
from router.agent.metrics import RouterCollector
from router.agent.report import Reporter
from router.agent.shared import attach
from router.agent.stats import History, window_s
from router.supervisor.rundir import claim

GUARDED = ("/metrics", "/v1/plan", "/v1/stats")
OPEN = ("/healthz", "/readyz")


@pytest.fixture
def exposed(tmp_path: Path) -> Iterator[FastAPI]:
    directory = claim(tmp_path / "run", workers=1)
    (tmp_path / "token").write_text("s3cret\n")
    shared = attach(directory.path)
    in_force = InForce(shared, "ml/fraud", Log("agent"))
    collector = RouterCollector(Reporter(shared, in_force, "r1").build, lambda: in_force.assignment, shared)
    access = Access(is_loopback=False, token_file=tmp_path / "token")
    app = admin(shared, in_force, History(), collector, access)
    assert {getattr(route, "path", "") for route in app.routes} == {*GUARDED, *OPEN}
    yield app
    directory.release()


def ask(app: FastAPI, path: str, authorization: str | None = None) -> httpx.Response:
    async def asked() -> httpx.Response:
        headers = [] if authorization is None else [(b"authorization", authorization.encode())]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(asked())


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize(
    "given", [None, "", "Bearer ", "Bearer wrong", "Basic s3cret", "s3cret", "Bearer s3cret\u00e9"]
)
def test_beyond_loopback_nothing_is_told_without_the_token(
    exposed: FastAPI, path: str, given: str | None
) -> None:
    answer = ask(exposed, path, given)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", GUARDED)
def test_beyond_loopback_the_token_opens(exposed: FastAPI, path: str) -> None:
    assert ask(exposed, path, "Bearer s3cret").status_code != 401


@pytest.mark.parametrize("path", OPEN)
def test_probes_need_no_token_and_tell_nothing_but_readiness(exposed: FastAPI, path: str) -> None:
    assert ask(exposed, path).status_code in (200, 503)


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("60s", 60), ("5m", 300), ("300s", 300)])
def test_a_window_is_seconds_or_minutes(text: str, seconds: int) -> None:
    assert window_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "301s", "6m", "60", "1h", "-1s", "1.5s", "s", "9" * 50 + "s"])
def test_any_other_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 60s"):
        window_s(text)
