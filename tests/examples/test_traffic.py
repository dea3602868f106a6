"""The load generator counts every request once, and charges a stalled server for all who had to wait."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from traffic import Answer, Generator, Load, answers_of, summarise

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return head + await reader.readexactly(int(length.split(b":")[1]))


def answers(raw: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            try:
                await read_request(reader)
            except asyncio.IncompleteReadError:
                break
            writer.write(raw)
        writer.close()

    return handle


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.close()


async def is_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


BODY = b'{"model_version": "v9", "outputs": [{"name": "label", "data": [7]}]}'
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
NAMED = b"HTTP/1.1 200 OK\r\nX-Headgate-Version: v8\r\nContent-Length: 2\r\n\r\n{}"
BROKEN = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"


def load_on(handler: Handler, models: Path, **changes: float) -> list[Answer]:
    async def run() -> list[Answer]:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        kept: list[Answer] = []
        wanted = {"rate": 100, "duration_s": 0.5, "timeout_s": 30.0} | changes
        generator = Generator(Load(f"http://127.0.0.1:{port}", **wanted), models / "traffic.npz", kept.append)
        async with asyncio.timeout(100):
            await generator.run()
        server.close()
        return kept

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("raw", "version", "label"), [(GOOD, "v9", 7), (CHUNKED, "v9", 7), (NAMED, "v8", None)]
)
def test_every_request_is_recorded_with_who_answered(
    models: Path, raw: bytes, version: str, label: int | None
) -> None:
    kept = load_on(answers(raw), models)
    assert len(kept) == len({answer.request_id for answer in kept}) == 50
    assert {(answer.outcome, answer.version, answer.label) for answer in kept} == {("ok", version, label)}
    assert all(answer.sent >= answer.intended - 0.001 for answer in kept)


@pytest.mark.parametrize(
    ("handler", "outcome", "error"),
    [
        (answers(BROKEN), "failed", None),
        (closes, "lost", "IncompleteReadError"),
        (answers(b"nonsense\r\n\r\n"), "lost", "IndexError"),
    ],
)
def test_a_bad_answer_is_failed_and_none_is_lost(
    models: Path, handler: Handler, outcome: str, error: str | None
) -> None:
    kept = load_on(handler, models)
    assert {answer.outcome for answer in kept} == {outcome}
    assert all((error or "None") in str(answer.error) for answer in kept)


def test_silence_is_lost_after_the_time_out_and_charged_in_full(models: Path) -> None:
    kept = load_on(is_silent, models, timeout_s=0.5)
    assert {answer.outcome for answer in kept} == {"lost"}
    assert all(answer.latency_ms >= 490 for answer in kept)


def test_no_more_than_the_maximum_is_in_flight_and_the_rest_is_lost_not_forgotten(models: Path) -> None:
    kept = load_on(is_silent, models, timeout_s=3.0, in_flight_max=5)
    assert len(kept) == 50
    assert sum("not sent" in str(answer.error) for answer in kept) >= 40
    assert {answer.outcome for answer in kept} == {"lost"}


def test_nobody_listening_is_lost(models: Path) -> None:
    kept: list[Answer] = []

    async def run() -> None:
        server = await asyncio.start_server(closes, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        load = Load(f"http://127.0.0.1:{port}", rate=100, duration_s=0.1)
        await Generator(load, models / "traffic.npz", kept.append).run()

    asyncio.run(run())
    assert [answer.outcome for answer in kept] == ["lost"] * 10


def test_a_record_reads_back_as_it_was_written(
    models: Path, serve: Callable[[str], str], tmp_path: Path
) -> None:
    out = tmp_path / "answers.jsonl"
    command = [
        sys.executable,
        "traffic.py",
        serve("v2"),
        "--duration",
        "1",
        "--images",
        str(models / "traffic.npz"),
    ]
    done = subprocess.run(
        [*command, "--out", str(out)], cwd=DIGITS, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    kept = list(answers_of(out.read_text().splitlines()))
    assert json.loads(done.stdout)["sent"] == summarise(kept).ok == len(kept) == 120
    assert sum(answer.label == answer.truth for answer in kept) > 110
    assert {answer.version for answer in kept} == {"v2"}


@pytest.mark.parametrize(
    ("change", "named"),
    [({"rate": 0}, "rate"), ({"duration_s": 1e9}, "duration_s"), ({"url": "localhost:80"}, "url")],
)
def test_an_unbounded_or_unclear_load_is_refused(change: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named} is "):
        Load(**({"url": "http://127.0.0.1:1"} | change))
