"""The newest usable requests of a record log as the observer writes it."""

import json
from pathlib import Path
from typing import Any

import msgspec

from controller.adapters.warmup.recorded import recorded
from controller.core.spec import WarmRequest, Warmup
from headgate.wire.record import ComparisonRecord, Side


def line(request: Any, status: int = 200) -> bytes:
    side = Side(version="v1", status=status, latency_ms=1.0)
    record = ComparisonRecord(
        at=1.0, rollout="default/sum", live=side, shadow=side, verdict="agree", request=request
    )
    return msgspec.json.encode(record) + b"\n"


def bodies(found: tuple[WarmRequest, ...]) -> list[Any]:
    return [json.loads(request.body) for request in found]


def wanted(count: int) -> Warmup:
    return Warmup(recorded_path="/infer", count=count)


def test_the_newest_come_first_across_segments_and_no_more_than_wanted(tmp_path: Path) -> None:
    (tmp_path / "records-00000001.jsonl").write_bytes(line({"n": 1}) + line({"n": 2}))
    (tmp_path / "records-00000002.jsonl").write_bytes(line({"n": 3}) + line({"n": 4}))
    assert bodies(recorded(tmp_path, wanted(3))) == [{"n": 4}, {"n": 3}, {"n": 2}]
    assert {request.path for request in recorded(tmp_path, wanted(3))} == {"/infer"}


def test_what_was_not_kept_or_not_answered_well_is_left_out(tmp_path: Path) -> None:
    lines = line(None) + line({"n": 1}, 500) + line({"n": 2}, 400) + line({"n": 3})
    (tmp_path / "records-00000001.jsonl").write_bytes(lines)
    assert bodies(recorded(tmp_path, wanted(9))) == [{"n": 3}]


def test_broken_and_cut_off_lines_are_passed_over(tmp_path: Path) -> None:
    lines = b'\xff\n[1]\n{"live":3}\n\n' + line({"n": 1}) + line({"n": 2})[:-9]
    (tmp_path / "records-00000001.jsonl").write_bytes(lines)
    assert bodies(recorded(tmp_path, wanted(9))) == [{"n": 1}]


def test_where_nothing_is_recorded_there_is_nothing(tmp_path: Path) -> None:
    assert recorded(tmp_path / "records", wanted(9)) == ()
