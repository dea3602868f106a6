"""What a request wants is named before it is done, and asked of whoever knows who may."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from controller.adapters.sqlite import SqliteStore
from controller.ports import Denied, Wish
from headgate.wire.codec import encode
from tests.controller.api.served import DEADLINE_S, Api, served
from tests.controller.api.test_discovery import telemetry


class Asked:
    """Remembers every wish; refuses those with this verb."""

    def __init__(self) -> None:
        self.wishes: list[Wish] = []
        self.refuses = "nothing"

    async def refusal(self, token: str, wish: Wish) -> Denied | None:
        self.wishes.append(wish)
        return Denied(403, "not you", "ask somebody else") if wish.verb == self.refuses else None


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def api(tmp_path: Path, asked: Asked) -> Iterator[Api]:
    with closing(SqliteStore(tmp_path / "state.db")) as store, served(store, access=asked) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path", "verb", "key"),
    [
        ("GET", "/v1/routes/ml/fraud?router=r1", "route", "ml/fraud"),
        ("GET", "/v1/rollouts/ml/fraud", "get", "ml/fraud"),
        ("GET", "/v1/rollouts", "get", ""),
        ("GET", "/metrics", "get", ""),
        ("POST", "/v1/rollouts/ml/fraud/actions", "update", "ml/fraud"),
        ("PUT", "/v1/rollouts/ml/fraud", "update", "ml/fraud"),
        ("DELETE", "/v1/rollouts/ml/fraud/routers/r1", "update", "ml/fraud"),
    ],
)
def test_what_a_request_wants_is_asked_before_anything_is_done(
    api: Api, asked: Asked, method: str, path: str, verb: str, key: str
) -> None:
    asked.refuses = verb
    answer = api.client.request(method, path)
    assert answer.status_code == 403
    assert answer.json()["error"]["what"] == "not you"
    assert [(wish.verb, wish.key) for wish in asked.wishes] == [(verb, key)]


def test_a_report_is_taken_only_of_who_may_be_a_router_of_the_rollout_that_it_names(
    api: Api, asked: Asked
) -> None:
    asked.refuses = "route"
    answer = api.client.post("/v1/telemetry", content=encode(telemetry()))
    assert answer.status_code == 403
    assert (asked.wishes[-1].verb, asked.wishes[-1].key) == ("route", telemetry().rollout)


def test_an_api_that_is_not_for_this_machine_alone_answers_other_names_and_no_web_page(
    tmp_path: Path,
) -> None:
    with (
        closing(SqliteStore(tmp_path / "state.db")) as store,
        served(store, access=Asked(), is_loopback=False) as running,
    ):
        url = f"http://127.0.0.1:{running.port}/v1/rollouts"
        named = {"host": "headgate-controller.headgate:7000"}
        assert httpx.get(url, headers=named, timeout=DEADLINE_S).status_code == 200
        page = named | {"origin": "http://headgate-controller.headgate:7000"}
        assert httpx.get(url, headers=page, timeout=DEADLINE_S).status_code == 403
