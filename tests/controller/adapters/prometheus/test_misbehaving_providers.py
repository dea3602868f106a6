"""Whatever a provider does, the answer is a value, in bounded time, with the reason in one line."""

import asyncio
import gzip
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from controller.adapters.prometheus.counters import PrometheusCounters
from controller.core.analysis.inputs import Counts, Measurement, Missing
from controller.core.checks import PrometheusQuery
from controller.crd.providers import Auth
from tests.controller.adapters.prometheus.servers import QUERY, answering, ask, matrix, misbehaving, patient


def why(found: Measurement) -> str:
    assert isinstance(found, Missing), found
    assert "\n" not in found.why
    assert len(found.why) <= 250
    return found.why


def a_port_nobody_listens_on() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_refused_connection_is_missing() -> None:
    found = why(ask(f"http://127.0.0.1:{a_port_nobody_listens_on()}"))
    assert found == "prometheus 'main': `events`: connection refused"


def test_a_provider_nobody_configured_is_missing_and_the_known_ones_are_named() -> None:
    found = why(ask("http://127.0.0.1:1", PrometheusQuery("other", QUERY.events, QUERY.total)))
    assert found == "'other' is no metric provider of this controller (configured: main)"


def hang(connection: socket.socket) -> None:
    connection.recv(1)


def trickle_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def trickle_body(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"status":"')
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize("talk", [hang, trickle_head, trickle_body])
def test_a_provider_that_never_finishes_is_missing_at_the_deadline_and_its_thread_ends(talk) -> None:
    with misbehaving(talk) as url:
        found = why(ask(url, provider=patient(url, 1.0)))
        assert "it did not answer" in found
        ends_at = time.monotonic() + 30
        while any(thread.name.startswith("prometheus-main") for thread in threading.enumerate()):
            assert time.monotonic() < ends_at, "the provider's thread never ended"
            time.sleep(0.05)


def test_503_with_retry_after_an_hour_is_missing_at_once() -> None:
    with misbehaving(answering(b"busy", "503 Service Unavailable", ("Retry-After: 3600",))) as url:
        started = time.monotonic()
        assert why(ask(url, provider=patient(url, 60))).endswith("it answered with status 503")
        assert time.monotonic() - started < 50


def test_redirects_are_not_followed() -> None:
    asked: list[bytes] = []

    def other(connection: socket.socket) -> None:
        asked.append(b"")

    with (
        misbehaving(other) as elsewhere,
        misbehaving(
            answering(b"", "307 Temporary Redirect", (f"Location: {elsewhere}/api/v1/query",))
        ) as url,
    ):
        assert "it redirects (status 307), which is not followed" in why(ask(url))
    assert not asked


def test_a_body_of_ten_gigabytes_is_left_after_five_mebibytes() -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        while True:
            sent += connection.send(b" " * 65536)

    with misbehaving(flood) as url:
        assert "larger than 5 MiB" in why(ask(url, provider=patient(url, 60)))
    assert sent < 60_000_000


def test_a_compressed_answer_is_refused_unread() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    with misbehaving(answering(bomb, headers=("Content-Encoding: gzip",))) as url:
        assert "compressed" in why(ask(url))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "not JSON"),
        (b"", "not JSON"),
        (b'{"status": "success"', "not JSON"),
        (b'{"status": "success", "data": {"resultType": "matrix", "result": [NaN]}}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not one of Prometheus"),
        (b"null", "not one of Prometheus"),
        (b"{}", "refused the query"),
        (b'{"status": "success"}', "no result"),
        (b'{"status": "success", "data": {"resultType": "matrix"}}', "no result"),
        (b'{"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}', "gives a scalar"),
        (b'{"status": "success", "data": {"resultType": "vector", "result": []}}', "gives a vector"),
        (b'{"status": "success", "data": {"resultType": "matrix", "result": {}}}', "not a list"),
        (matrix({"metric": {}}), "not one of plain numbers"),
        (matrix({"metric": {}, "histograms": []}), "not one of plain numbers"),
        (matrix({"metric": {}, "values": [[1, "much"]]}), "not one of plain numbers"),
        (matrix({"metric": {}, "values": [[1]]}), "not one of plain numbers"),
        (matrix({"metric": [], "values": []}), "not one of plain numbers"),
        (matrix(*({"metric": {"pod": str(i)}, "values": []} for i in range(501))), "501 series"),
    ],
)
def test_nonsense_is_missing_with_what_is_wrong(body: bytes, said: str) -> None:
    with misbehaving(answering(body)) as url:
        assert said in why(ask(url))


def test_an_error_in_the_query_is_told_in_prometheus_own_words() -> None:
    body = json.dumps(
        {"status": "error", "errorType": "bad_data", "error": "parse error: unexpected }"}
    ).encode()
    with misbehaving(answering(body, "400 Bad Request")) as url:
        assert "refused the query (status 400): parse error: unexpected }" in why(ask(url))


def test_a_connection_that_breaks_in_the_middle_is_missing() -> None:
    def tear(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

    with misbehaving(tear) as url:
        why(ask(url))


def test_nan_and_infinity_come_as_they_are_for_the_judge_to_leave_out() -> None:
    body = matrix({"metric": {"pod": "a"}, "values": [[1, "NaN"], [2, "+Inf"], [3, "-Inf"], [4, "5"]]})
    with misbehaving(answering(body)) as url:
        found = ask(url)
    assert isinstance(found, Counts)
    (samples,) = found.total.values()
    assert [str(value) for _, value in samples] == ["nan", "inf", "-inf", "5.0"]


def test_an_empty_answer_is_no_series() -> None:
    with misbehaving(answering(matrix())) as url:
        assert ask(url) == Counts({}, {})


def test_warnings_are_kept() -> None:
    with misbehaving(answering(matrix(warnings=["a store is away"]))) as url:
        found = ask(url)
    assert isinstance(found, Counts)
    assert found.warnings == ("a store is away", "a store is away")


def test_a_bearer_token_is_read_for_every_query_and_its_absence_is_missing(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with misbehaving(answering(matrix())) as url:
        provider = patient(url, auth=Auth.model_validate({"bearerFile": str(token)}))
        assert ask(url, provider=provider) == Counts({}, {})
        token.unlink()
        assert "its bearerFile" in why(ask(url, provider=provider))
        assert "no such file or directory" in why(ask(url, provider=provider))
        token.write_text("two\nlines")
        refused = why(ask(url, provider=provider))
        assert "holds no credential: one line of text is wanted" in refused
        assert "two" not in refused


def test_a_slow_provider_delays_no_other_and_even_a_crowd_of_questions_ends_at_the_deadline() -> None:
    async def look(slow: str, quick: str) -> list[Measurement]:
        counters = PrometheusCounters({"slow": patient(slow, 8), "quick": patient(quick, 8)})
        query = PrometheusQuery("slow", QUERY.events, QUERY.total)
        crowd = [asyncio.create_task(counters.counts(query, f"v{n}")) for n in range(30)]
        found = await counters.counts(PrometheusQuery("quick", QUERY.events, QUERY.total), "v8")
        assert found == Counts({}, {})
        assert not any(one.done() for one in crowd)
        answers = await asyncio.wait_for(asyncio.gather(*crowd), 60)
        await counters.close()
        return answers

    with misbehaving(hang) as slow, misbehaving(answering(matrix())) as quick:
        answers = asyncio.run(look(slow, quick))
    assert len(answers) == 30
    assert all("it did not answer" in why(one) for one in answers)


def test_a_cancelled_question_leaves_no_thread_behind() -> None:
    async def look(url: str) -> None:
        counters = PrometheusCounters({"main": patient(url, 60)})
        task = asyncio.create_task(counters.counts(QUERY, "v8"))
        await asyncio.to_thread(asked.wait, 30)
        task.cancel()
        await asyncio.wait({task})
        await asyncio.wait_for(counters.close(), 60)

    asked = threading.Event()

    def notice_and_hang(connection: socket.socket) -> None:
        asked.set()
        hang(connection)

    with misbehaving(notice_and_hang) as url:
        asyncio.run(look(url))


def test_a_provider_that_comes_back_is_asked_again() -> None:
    answers = [b"nonsense", matrix(), matrix()]

    def talk(connection: socket.socket) -> None:
        answering(answers.pop(0))(connection)

    async def look(url: str) -> list[Measurement]:
        counters = PrometheusCounters({"main": patient(url)})
        try:
            return [await counters.counts(QUERY, "v8") for _ in range(2)]
        finally:
            await counters.close()

    with misbehaving(talk) as url:
        first, second = asyncio.run(look(url))
    assert isinstance(first, Missing)
    assert second == Counts({}, {})


def test_a_query_that_does_not_name_the_version_is_refused_before_it_is_sent() -> None:
    found = why(ask("http://127.0.0.1:1", PrometheusQuery("main", "errors_total", QUERY.total)))
    assert "`events`: it has no {{version}}, so both versions would be the same series" in found
