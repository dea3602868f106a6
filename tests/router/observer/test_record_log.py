"""The record log: bounded, whole lines only, and a full disk costs records and nothing else."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headgate.log import Log
from router.core.sketch import Pairing
from router.observer.records import BUFFERED_BYTES_MAX, Line, RecordLog, segments

PAIRING = Pairing("v2", "id-v2", "v1", "id-v1")


def lines(count: int, size: int = 100, start: int = 0) -> list[Line]:
    return [
        Line(PAIRING, (b"%d:" % (start + number)).ljust(size - 1, b"x") + b"\n") for number in range(count)
    ]


def stored(folder: Path) -> list[bytes]:
    return [line for _, path in segments(folder) for line in path.read_bytes().splitlines(keepends=True)]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel refuses to let any file grow beyond `size` (EFBIG, also for the part of a write beyond it)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_are_appended_whole_and_only_the_owner_may_read_them(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "records", Log("test"))
    assert log.write(lines(3), 1 << 20) == ()
    assert log.write(lines(2, start=3), 1 << 20) == ()
    log.close()
    assert stored(tmp_path / "records") == [line.content for line in lines(5)]
    ((_, path),) = segments(tmp_path / "records")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_restarted_log_begins_a_segment_of_its_own(tmp_path: Path) -> None:
    for start in range(3):
        log = RecordLog(tmp_path, Log("test"))
        log.write(lines(1, start=start), 1 << 20)
        log.close()
    assert [path.name for _, path in segments(tmp_path)] == [f"records-0000000{n}.jsonl" for n in (1, 2, 3)]


def test_the_log_never_holds_more_than_its_bound_and_loses_the_oldest_first(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, Log("test"))
    bound = 65_536
    for start in range(0, 3000, 10):
        assert log.write(lines(10, start=start), bound) == ()
        assert sum(path.stat().st_size for _, path in segments(tmp_path)) <= bound
    kept = stored(tmp_path)
    assert kept == [line.content for line in lines(len(kept), start=3000 - len(kept))]
    assert len(kept) * 100 > bound * 3 / 4


def test_a_bound_that_a_plan_lowers_is_kept_from_then_on(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, Log("test"))
    log.write(lines(5000), 1 << 20)
    log.write(lines(1, start=5000), 65_536)
    log.write(lines(1, start=5001), 65_536)
    assert sum(path.stat().st_size for _, path in segments(tmp_path)) <= 65_536
    assert stored(tmp_path)[-1].startswith(b"5001:")


def test_a_line_larger_than_a_segment_is_lost_and_the_others_are_not(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, Log("test"))
    small, large = lines(2), lines(1, size=20_000)
    assert log.write([small[0], *large, small[1]], 65_536) == tuple(large)
    assert stored(tmp_path) == [line.content for line in small]


def test_a_full_disk_loses_lines_but_leaves_no_half_one_and_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = RecordLog(tmp_path, Log("test"))
    log.write(lines(3), 1 << 20)
    with files_of_at_most(350):
        for _ in range(5):
            assert len(log.write(lines(2, start=3), 1 << 20)) == 2
            assert stored(tmp_path) == [line.content for line in lines(3)]
    assert log.write(lines(2, start=3), 1 << 20) == ()
    assert stored(tmp_path) == [line.content for line in lines(5)]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "records are lost until there is room again" in said[0]
    assert "File too large" in said[0]
    assert "records are written again" in said[1]


def test_a_folder_that_cannot_be_made_loses_lines_until_it_can(tmp_path: Path) -> None:
    blocked = tmp_path / "records"
    blocked.write_text("in the way")
    log = RecordLog(blocked, Log("test"))
    assert len(log.write(lines(2), 1 << 20)) == 2
    blocked.unlink()
    assert log.write(lines(2), 1 << 20) == ()


def test_records_removed_by_hand_do_no_harm(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, Log("test"))
    for start in range(0, 2000, 10):
        log.write(lines(10, start=start), 65_536)
        if start == 1000:
            for _, path in segments(tmp_path):
                path.unlink()
    assert stored(tmp_path)[-1].startswith(b"1999:")


def test_waiting_lines_are_bounded(tmp_path: Path) -> None:
    log = RecordLog(tmp_path, Log("test"))
    big = lines(1, size=1 << 20)[0]
    assert [log.add(big) for _ in range(5)] == [True] * (BUFFERED_BYTES_MAX >> 20) + [False]
    assert len(log.take()) == 4
    assert log.add(big)


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(bytes(200_000))
    (tmp_path / "records-1.jsonl").write_bytes(b"not ours\n")
    log = RecordLog(tmp_path, Log("test"))
    for start in range(0, 2000, 10):
        log.write(lines(10, start=start), 65_536)
    assert sorted(os.listdir(tmp_path))[0] == "notes.txt"
    assert (tmp_path / "records-1.jsonl").read_bytes() == b"not ours\n"
