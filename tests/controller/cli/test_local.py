"""The verbs' way to the API where several controllers answer at one address."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controller.cli.failures import Failure
from controller.cli.local import TRIES, LocalClient
from controller.cli.where import Where


class Replicas(ThreadingHTTPServer):
    """A Service in front of controllers: the first `waiting` connections reach one that does not lead."""

    waiting = 0


class Answering(BaseHTTPRequestHandler):
    server: Replicas

    def do_GET(self) -> None:
        leads = self.server.waiting == 0
        self.server.waiting -= not leads
        body = (
            b'{"items": []}'
            if leads
            else b'{"error": {"what": "this controller does not lead", "do": "ask"}}'
        )
        self.send_response(200 if leads else 421)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def replicas() -> Iterator[Replicas]:
    with Replicas(("127.0.0.1", 0), Answering) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.fixture
def client(replicas: Replicas, tmp_path: Path) -> LocalClient:
    (tmp_path / "token").write_text("secret")
    return LocalClient(Where(state=tmp_path, api=f"http://127.0.0.1:{replicas.server_address[1]}"))


def test_a_controller_that_does_not_lead_is_asked_again_until_the_leader_answers(
    replicas: Replicas, client: LocalClient
) -> None:
    replicas.waiting = 3
    assert client.rollouts() == []


def test_where_nobody_leads_that_is_said(replicas: Replicas, client: LocalClient) -> None:
    replicas.waiting = TRIES
    with pytest.raises(Failure, match="does not lead"):
        client.rollouts()
    assert replicas.waiting == 0
