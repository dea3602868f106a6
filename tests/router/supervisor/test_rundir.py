"""The run directory: whose it is, what stays in it and what is made anew."""

import json
import os
import stat
from pathlib import Path

import pytest

from router.core.channel import RUN_FILES
from router.core.counters import layout
from router.supervisor.rundir import CannotUse, claim, holder_of


def test_a_claimed_directory_is_private_and_has_a_boot_and_empty_counters(tmp_path: Path) -> None:
    run = claim(tmp_path / "deep" / "run", workers=2)
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o700
    boot = json.loads((run.path / RUN_FILES.boot).read_text())
    assert boot == {"boot": run.boot, "startedAt": run.started_at}
    assert (run.path / RUN_FILES.counters).read_bytes() == bytes(layout(2))
    run.release()


def test_a_second_claim_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    run = claim(tmp_path, workers=1)
    with pytest.raises(CannotUse, match=f"in use by the router with pid {os.getpid()}"):
        claim(tmp_path, workers=1)
    assert json.loads((tmp_path / RUN_FILES.boot).read_text())["boot"] == run.boot
    assert holder_of(tmp_path) == os.getpid()
    run.release()
    assert holder_of(tmp_path) is None


def test_a_new_life_keeps_what_was_learned_and_counts_from_nothing(tmp_path: Path) -> None:
    first = claim(tmp_path, workers=1)
    (tmp_path / RUN_FILES.plan).write_bytes(b"plan")
    (tmp_path / RUN_FILES.trips).write_bytes(b"trips")
    (tmp_path / RUN_FILES.counters).write_bytes(b"\1" * layout(1))
    first.release()
    second = claim(tmp_path, workers=1)
    assert second.boot != first.boot
    assert (tmp_path / RUN_FILES.plan).read_bytes() == b"plan"
    assert (tmp_path / RUN_FILES.trips).read_bytes() == b"trips"
    assert not any((tmp_path / RUN_FILES.counters).read_bytes())
    second.release()


def test_an_orphan_of_the_last_life_cannot_count_into_this_one(tmp_path: Path) -> None:
    first = claim(tmp_path, workers=1)
    with (tmp_path / RUN_FILES.counters).open("r+b") as orphan:
        first.release()
        second = claim(tmp_path, workers=1)
        orphan.write(b"\1" * 64)
    assert not any((tmp_path / RUN_FILES.counters).read_bytes())
    second.release()


def test_a_path_that_is_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotUse, match=f"run directory {tmp_path}/file"):
        claim(tmp_path / "file", workers=1)


def test_a_life_that_did_not_end_in_order_is_known_to_the_next(tmp_path: Path) -> None:
    first = claim(tmp_path, workers=1)
    os.close(first.lock)
    second = claim(tmp_path, workers=1)
    second.release()
    third = claim(tmp_path, workers=1)
    third.release()
    assert [first.was_killed, second.was_killed, third.was_killed] == [False, True, False]
