"""What is SQLite's own: durability, one writer, damage, a full disk, migrations, bounds."""

import os
import random
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controller.adapters import sqlite
from controller.adapters.sqlite import SqliteStore
from controller.core.status import Action, ActionResult, Decision, Event, Reason, Status, Verb
from controller.errors import StoreInUse, StoreUnavailable, StoreUnreadable
from controller.ports import Recorded
from tests.controller.at_once import at_once

WRITER = Path(__file__).with_name("writer.py")
KEY = "default/fraud"
KILLS = 40


def a_decision(number: int) -> Recorded:
    return Recorded(
        decision=Decision(
            status=Status(observed_generation=number),
            plan=None,
            running={},
            events=(Event(float(number), Reason.STARTED, "x" * 200),),
            actions=(ActionResult(f"a{number}", True, "done"),),
        ),
        analysis=b"",
        results=(),
    )


def record_many(store: SqliteStore, count: int) -> None:
    for number in range(1, count):
        at_once(store.record(KEY, a_decision(number)))


def writer(path: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WRITER), str(path), *more], stdout=subprocess.PIPE, text=True
    )


def test_a_writer_killed_at_any_instant_loses_nothing_it_was_told_is_safe(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    chance = random.Random(7)
    acknowledged = 0
    for _ in range(KILLS):
        child = writer(path)
        assert child.stdout is not None
        for _ in range(chance.randrange(1, 12)):
            acknowledged = int(child.stdout.readline())
        # Somewhere inside one of the next writes: the pipe tells when the last one ended, not what it does now.
        for _ in range(chance.randrange(20_000)):
            pass
        child.kill()
        rest = (
            child.stdout.read()
        )  # not communicate(): it would pass over the lines that readline has buffered
        child.wait(timeout=60)
        acknowledged = max(
            [acknowledged, *(int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n"))]
        )
        acknowledged = check_whole(path, acknowledged)
    assert acknowledged > KILLS


def check_whole(path: Path, acknowledged: int) -> int:
    """The file is sound, the acknowledged write is there, and every write is there whole or not at all."""
    store = SqliteStore(path)
    stored = store.load(KEY)
    assert stored is not None
    number = stored.status.observed_generation
    assert number in (acknowledged, acknowledged + 1)  # one more may have been committed and not told
    assert stored.analysis == str(number).encode()
    assert [record.generation for record in store.records(KEY, 3)] == list(range(number, 0, -1))[:3]
    assert [event.at for event in store.events(KEY, 3)] == list(range(number, 0, -1))[:3]
    assert store.action_result(f"a{number}") is not None
    assert len(store.pending_actions(KEY)) <= KILLS
    store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return number


def test_a_full_disk_is_said_and_what_was_safe_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    child = writer(path, str(512 * 1024))
    out, _ = child.communicate(timeout=120)
    lines = out.splitlines()
    assert child.returncode == 3
    assert str(path) in lines[-1]
    assert "nothing was written" in lines[-1]
    check_whole(path, int(lines[-2]))


def test_after_a_full_disk_the_same_store_goes_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    at_once(store.put_document(KEY, {"spec": {}}))
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(StoreUnavailable, match=r"full.*nothing was written"):
        record_many(store, 1000)
    before = store.load(KEY)
    assert before is not None
    assert len(store.events(KEY, 1000)) == before.status.observed_generation
    store._db.execute("PRAGMA max_page_count = 1073741823")
    at_once(store.record(KEY, a_decision(5000)))
    after = store.load(KEY)
    assert after is not None
    assert after.status.observed_generation == 5000
    store.close()


def test_a_second_controller_is_told_who_has_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    child = writer(path)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        with pytest.raises(StoreInUse, match=rf"state\.db is in use .*process {child.pid}"):
            SqliteStore(path)
    finally:
        child.kill()
        child.communicate(timeout=60)
    SqliteStore(path).close()


def test_a_damaged_file_is_named_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    for number in range(40):
        at_once(store.put_document(f"default/r{number}", {"spec": {"filler": "x" * 2000}}))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 4 : 4096 * 12] = os.urandom(4096 * 8)
    path.write_bytes(content)
    with pytest.raises(StoreUnreadable, match=r"state\.db is damaged .*move it away.*apply"):
        SqliteStore(path)
    assert path.read_bytes() == bytes(content)


@pytest.mark.parametrize("content", [b"not a database at all" * 400, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_named_and_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(StoreUnreadable, match=r"state\.db"):
        SqliteStore(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "bookmarks.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreUnreadable, match="another program's"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_newer_releases_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SqliteStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(sqlite.MIGRATIONS) + 1}")
    with pytest.raises(StoreUnreadable, match="newer release"):
        SqliteStore(path)


def test_an_older_releases_file_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    at_once(store.put_document(KEY, {"spec": {}}))
    store.close()
    later = (*sqlite.MIGRATIONS, ("CREATE TABLE extra (name TEXT)",))
    monkeypatch.setattr(sqlite, "MIGRATIONS", later)
    store = SqliteStore(path)
    assert store.keys() == (KEY,)
    assert store._db.execute("PRAGMA user_version").fetchone() == (len(later),)
    store.close()


def test_the_files_are_for_their_owner_only(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        store = SqliteStore(tmp_path / "state" / "state.db")
        at_once(store.put_document(KEY, {"spec": {}}))
        files = sorted((tmp_path / "state").iterdir())
        assert [file.name for file in files] == ["state.db", "state.db-shm", "state.db-wal", "state.db.lock"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
        store.close()
    finally:
        os.umask(previous)


def test_records_events_and_decided_actions_are_bounded_and_open_actions_are_not_lost(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db", rows_max=10)
    at_once(store.put_document(KEY, {"spec": {}}))
    at_once(store.add_action(KEY, Action("open", Verb.PAUSE, "v8", "ada")))
    for number in range(30):
        at_once(store.add_action(KEY, Action(f"a{number}", Verb.PROMOTE, "v8", "ada")))
        at_once(store.record(KEY, a_decision(number)))
    assert [event.at for event in store.events(KEY, 1000)] == list(range(29, 19, -1))
    assert store.action_result("a19") is None
    assert store.action_result("a20") == (True, "done")
    assert [action.id for action in store.pending_actions(KEY)] == ["open"]
    store.close()


def test_fields_of_a_later_release_are_passed_over_and_missing_ones_have_defaults(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    at_once(store.put_document(KEY, {"spec": {}}))
    store._db.execute("UPDATE rollouts SET status = ?", (b'{"message":"hello","novelty":{"a":1}}',))
    stored = store.load(KEY)
    assert stored is not None
    assert stored.status == Status(message="hello")
    store.close()


def test_a_status_that_cannot_be_read_names_its_rollout_and_spares_the_others(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    at_once(store.put_document(KEY, {"spec": {}}))
    at_once(store.put_document("default/other", {"spec": {}}))
    store._db.execute("UPDATE rollouts SET status = ? WHERE key = ?", (b'{"phase":"Dancing"}', KEY))
    with pytest.raises(StoreUnreadable, match=r"the status of rollout default/fraud"):
        store.load(KEY)
    assert store.load("default/other") is not None
    store.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match=r"file/state\.db"):
        SqliteStore(tmp_path / "file" / "state.db")


def test_a_closed_store_says_so_instead_of_pretending(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.keys()


def test_threads_take_their_turn(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    at_once(store.put_document(KEY, {"spec": {}}))

    def ask(number: int) -> int:
        at_once(store.add_action(KEY, Action(f"a{number}", Verb.PROMOTE, "v8", "ada")))
        at_once(store.record(KEY, a_decision(number)))
        return at_once(store.acquire_epoch(0))

    with ThreadPoolExecutor(8) as pool:
        epochs = list(pool.map(ask, range(100)))
    assert sorted(epochs) == list(range(1, 101))
    assert store.pending_actions(KEY) == ()
    assert len(store.events(KEY, 1000)) == 100
    store.close()
